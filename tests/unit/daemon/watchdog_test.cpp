// Specification of watchdog.h.
#include "daemon/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "tests/unit/daemon/fake_runtime.h"
#include "tests/unit/daemon/temporary_folder.h"

namespace umbel::daemon {
namespace {

using namespace std::chrono_literals;

struct Watched {
    explicit Watched(rt::Nanoseconds timeout = 40ms) {
        config::LogSettings settings;
        settings.sink = folder / "log";
        log = std::move(*Log::open(settings));
        watchdog.emplace(runtime, *log, timeout, [this] { ++fed; });
    }
    [[nodiscard]] bool fed_again() {
        const int before = fed;
        return eventually([&] { return fed > before + 1; });  // One may have been on its way.
    }
    template <class Condition>
    [[nodiscard]] static bool eventually(Condition&& condition) {
        for (int i = 0; i < 10'000; ++i) {
            if (condition()) return true;
            std::this_thread::sleep_for(1ms);
        }
        return false;
    }
    std::string lines() {
        watchdog.reset();
        log.reset();
        std::ifstream in(folder / "log");
        return {std::istreambuf_iterator<char>(in), {}};
    }

    TemporaryFolder folder;
    FakeRuntime runtime;
    std::unique_ptr<Log> log;
    std::atomic<int> fed{0};
    std::optional<Watchdog> watchdog;
};

// Spec.   As long as all answer it feeds, and each feed has a roll call of its own (I1).
TEST(Watchdog, FeedsAsLongAsAllAnswer) {
    Watched watched;
    EXPECT_TRUE(watched.fed_again());
    EXPECT_TRUE(watched.fed_again());
    watched.watchdog.reset();
    EXPECT_GE(watched.runtime.roll_calls, watched.fed);
    EXPECT_THAT(watched.lines(), testing::IsEmpty());
}

// Spec.   One silent executor is enough for it not to feed. The log says once who it is and what it runs. When it answers
//         after all, feeding goes on.
// Method. It is silent from before the first roll call on.
TEST(Watchdog, DoesNotFeedForOneThatIsSilent) {
    Watched watched(1h);
    watched.watchdog.reset();
    watched.fed = 0;
    watched.runtime.set_absent({{static_cast<rt::ExecutorIndex>(3), 0xabc, "loop", "trouble"}});
    watched.watchdog.emplace(watched.runtime, *watched.log, 40ms, [&] { ++watched.fed; });
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(watched.fed, 0);
    watched.runtime.set_absent({});
    EXPECT_TRUE(watched.fed_again());
    const std::string lines = watched.lines();
    EXPECT_THAT(lines, testing::HasSubstr(R"("event":"executor_hung")"));
    EXPECT_THAT(lines, testing::HasSubstr(R"("executor":3,"plugin":"trouble","actor":"0xabc")"));
    EXPECT_THAT(lines, testing::HasSubstr("type loop of plugin trouble"));
    EXPECT_EQ(lines.find("executor_hung"), lines.rfind("executor_hung"));
}

// Spec.   It ends at once, whatever it waits for.
TEST(Watchdog, EndsAtOnce) {
    const auto began = std::chrono::steady_clock::now();
    {
        Watched idle(1h);
        Watched waiting(1h);
        waiting.runtime.set_absent({{static_cast<rt::ExecutorIndex>(0), 0, "", nullptr}});
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, 1min);
}

}  // namespace
}  // namespace umbel::daemon
