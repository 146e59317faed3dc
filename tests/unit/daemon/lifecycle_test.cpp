// Specification of lifecycle.h.
#include "daemon/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "fake_runtime.h"
#include "temporary_folder.h"

namespace umbel::daemon {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Gives its signals one after the other, each after as many waits as it says; none while `reload` is under way.
class ScriptedSignals final : public SignalSource {
public:
    struct Step {
        int waits;
        int signal;
    };
    explicit ScriptedSignals(std::deque<Step> steps, const Reload* reload = nullptr)
        : steps_(std::move(steps)), reload_(reload) {}
    std::optional<int> wait(rt::Nanoseconds timeout) override {
        const bool held = reload_ != nullptr && reload_->under_way();
        if (held || steps_.empty() || steps_.front().waits-- > 0) {
            std::this_thread::sleep_for(std::min<rt::Nanoseconds>(timeout, std::chrono::milliseconds(1)));
            return std::nullopt;
        }
        const int signal = steps_.front().signal;
        steps_.pop_front();
        return signal;
    }

private:
    std::deque<Step> steps_;
    const Reload* reload_;
};

/// One run of a life, and what could be seen of it.
struct Seen {
    int exit_code = -1;
    std::vector<std::string> events;
    std::vector<std::string> abandoned;
};

Seen lived(
    FakeRuntime& runtime, std::deque<ScriptedSignals::Step> steps,
    rt::Nanoseconds drain_timeout = std::chrono::seconds(10), const std::function<void()>& on_abandon = [] {},
    Reload* reload = nullptr) {
    const TemporaryFolder folder;
    auto log = Log::open({.level = rt::Level::debug, .sink = folder / "log", .levels = {}});
    EXPECT_TRUE(log);
    ScriptedSignals signals(std::move(steps), reload);
    Seen seen;
    LifecycleOptions options;
    options.drain_timeout = drain_timeout;
    options.reload = reload;
    options.cancel_timeout = std::chrono::milliseconds(50);
    options.stop_timeout = std::chrono::milliseconds(200);
    options.abandon = [&](const std::string& why) {
        seen.abandoned.push_back(why);
        on_abandon();
    };
    seen.exit_code = live(runtime, **log, signals, options);
    log->reset();
    for (const std::string& line : lines_of(folder / "log")) {
        const auto parsed = nlohmann::json::parse(line);
        std::string event = parsed["event"];
        // Written by the log's thread, before or after what the reload says.
        if (event == "log_reopened" && reload != nullptr) continue;
        for (const char* key : {"exit_code", "plugin.echo", "changed", "problems", "plugin", "drain_timeout_ms"}) {
            if (key == std::string_view("drain_timeout_ms") && reload == nullptr) continue;
            if (parsed.contains(key)) event += " " + parsed[key].dump();
        }
        seen.events.push_back(event);
    }
    return seen;
}

// Spec.   start → ready → SIGTERM → drain → stop; exit 0; `stopped` is the last line (I1).
TEST(Lifecycle, AnOrdinaryLife) {
    FakeRuntime runtime;
    runtime.looks_until_ready = 3;
    runtime.looks_until_drained = 3;
    runtime.announced = {{"echo", "listening on 127.0.0.1:7"}};
    const Seen seen = lived(runtime, {{5, SIGTERM}});
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(seen.events, ElementsAre("ready \"listening on 127.0.0.1:7\"", "draining", "stopped 0"));
    EXPECT_THAT(runtime.calls, ElementsAre("start", "begin_drain", "stop"));
    EXPECT_THAT(seen.abandoned, IsEmpty());
}

// Spec.   What is not finished after drain_timeout is cancelled; the exit code is still 0.
TEST(Lifecycle, CancelsAfterTheDrainTimeout) {
    FakeRuntime runtime;
    runtime.looks_until_drained = -1;
    const Seen seen = lived(runtime, {{1, SIGINT}}, std::chrono::milliseconds(20));
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(seen.events, ElementsAre("ready", "draining", "drain_timed_out", "stopped 0"));
    EXPECT_THAT(runtime.calls, ElementsAre("start", "begin_drain", "cancel_operations", "stop"));
}

// Spec.   The daemon stops even if what was cancelled does not end.
TEST(Lifecycle, StopsEvenIfCancellingDoesNotHelp) {
    FakeRuntime runtime;
    runtime.looks_until_drained = -1;
    runtime.cancel_helps = false;
    const Seen seen = lived(runtime, {{1, SIGINT}}, rt::Nanoseconds(0));
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(runtime.calls, ElementsAre("start", "begin_drain", "cancel_operations", "stop"));
}

// Spec.   A second SIGTERM or SIGINT while it drains ends it at once, non-zero (I2): no cancelling, no stopping.
TEST(Lifecycle, ASecondSignalEndsItAtOnce) {
    for (const int second : {SIGTERM, SIGINT}) {
        FakeRuntime runtime;
        runtime.looks_until_drained = -1;
        const Seen seen = lived(runtime, {{1, SIGTERM}, {1, second}});
        EXPECT_NE(seen.exit_code, 0);
        EXPECT_THAT(seen.abandoned, ElementsAre(HasSubstr(signal_name(second) + " came a second time")));
        EXPECT_THAT(runtime.calls, ElementsAre("start", "begin_drain"));
    }
}

// Spec.   While the executors end, a signal still ends the daemon at once, and so does their not ending (I2).
TEST(Lifecycle, AStopThatHangsIsAbandoned) {
    for (const bool with_signal : {true, false}) {
        std::atomic<bool> released{false};
        FakeRuntime runtime;
        runtime.on_stop = [&] {
            while (!released.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        };
        std::deque<ScriptedSignals::Step> steps{{1, SIGTERM}};
        if (with_signal) steps.push_back({3, SIGTERM});
        const Seen seen = lived(runtime, steps, std::chrono::seconds(10), [&] { released.store(true); });
        EXPECT_NE(seen.exit_code, 0);
        EXPECT_THAT(seen.abandoned,
                    ElementsAre(HasSubstr(with_signal ? "SIGTERM came while" : "did not end in 200 ms")));
    }
}

// Spec.   A runtime that cannot start ends the daemon with its error's exit code; nothing is ready.
TEST(Lifecycle, AFailedStartEndsIt) {
    for (const auto& [error_class, code] : std::vector<std::pair<rt::ErrorClass, int>>{
             {rt::ErrorClass::system, 71}, {rt::ErrorClass::configuration, 78}, {rt::ErrorClass::failure, 1}}) {
        FakeRuntime runtime;
        runtime.start_result = rt::fail(error_class, "io_uring_setup was refused");
        const Seen seen = lived(runtime, {});
        EXPECT_EQ(seen.exit_code, code);
        EXPECT_THAT(seen.events,
                    ElementsAre("start_failed " + std::to_string(code), "stopped " + std::to_string(code)));
    }
}

// Spec.   A plugin that fails before it is ready ends the daemon.
TEST(Lifecycle, APluginThatFailsEndsIt) {
    FakeRuntime runtime;
    runtime.looks_until_ready = 2;
    runtime.state_after_start = rt::RuntimeState::failed;
    runtime.failure_reason = {rt::ErrorClass::failure, "plugin.echo: address in use"};
    const Seen seen = lived(runtime, {});
    EXPECT_EQ(seen.exit_code, 1);
    EXPECT_THAT(seen.events, ElementsAre("start_failed 1", "stopped 1"));
    EXPECT_THAT(runtime.calls, ElementsAre("start", "stop"));
}

// Spec.   A signal that comes before it is ready drains and stops it: exit 0, never `ready`.
TEST(Lifecycle, ASignalBeforeReadyEndsIt) {
    FakeRuntime runtime;
    runtime.looks_until_ready = 1'000'000;
    const Seen seen = lived(runtime, {{3, SIGTERM}});
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(seen.events, ElementsAre("draining", "stopped 0"));
}

/// A configuration whose file says this.
config::Configuration configuration_of(const std::string& text) {
    auto made = config::configure(text, "umbel.conf", {}, {{0}, 1, {}});
    EXPECT_TRUE(made);
    return *made;
}

// Spec.   SIGHUP reads the configuration anew: what was read counts (log.level, daemon.drain_timeout), plugins are told.
TEST(Lifecycle, HangupReloads) {
    FakeRuntime runtime;
    runtime.prepare_result = rt::PluginChanges{.added = {"new"}, .retired = {"old"}, .reset = {}, .need_restart = {}};
    Reload reload(
        configuration_of("[plugin.old]\n"),
        [] { return configuration_of("[daemon]\ndrain_timeout = 3s\n[plugin.new]\n"); },
        [](const rt::PluginOptions& plugin) -> rt::Result<void> {
            EXPECT_EQ(plugin.name, "new");
            return {};
        });
    const Seen seen = lived(runtime, {{1, SIGHUP}, {5, SIGTERM}}, std::chrono::seconds(10), [] {}, &reload);
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(seen.events, ElementsAre("ready", "reloaded 3", "plugin_added \"new\"", "plugin_retiring \"old\" 3000",
                                         "draining 3000", "stopped 0"));
    EXPECT_THAT(runtime.calls, ElementsAre("start", "prepare_plugins new", "apply_plugins", "begin_drain", "stop"));
}

// Spec.   A problem anywhere, in the files, in a plugin's preflight, in a plugin's own reload: nothing is applied, and what
//         runs is what ran.
TEST(Lifecycle, AReloadWithAProblemChangesNothing) {
    for (const int where : {0, 1, 2}) {
        FakeRuntime runtime;
        if (where == 2) runtime.prepare_result = std::unexpected(std::vector<std::string>{"two", "problems"});
        Reload reload(
            configuration_of(""),
            [where]() -> std::expected<config::Configuration, config::Problems> {
                if (where == 0) return std::unexpected(config::Problems{"umbel.conf:1: wrong", "umbel.conf:2: wrong"});
                return configuration_of("[daemon]\ndrain_timeout = 3s\n[plugin.a]\n[plugin.b]\n");
            },
            [where](const rt::PluginOptions&) -> rt::Result<void> {
                if (where == 1) return rt::fail(rt::ErrorClass::configuration, "it crashed");
                return {};
            });
        const Seen seen = lived(runtime, {{1, SIGHUP}, {5, SIGTERM}}, std::chrono::seconds(10), [] {}, &reload);
        EXPECT_THAT(seen.events, ElementsAre("ready", "reload_refused 2", "draining 10000", "stopped 0"));
        EXPECT_THAT(runtime.calls, testing::Not(testing::Contains("apply_plugins")));
        EXPECT_EQ(reload.running().settings.runtime.plugins.size(), 0u);
    }
}

// Spec.   Without anything to reload, SIGHUP opens the log anew, at any time, and nothing else.
TEST(Lifecycle, HangupReopensTheLog) {
    FakeRuntime runtime;
    const Seen seen = lived(runtime, {{1, SIGHUP}, {50, SIGTERM}});
    EXPECT_EQ(seen.exit_code, 0);
    EXPECT_THAT(seen.events, ElementsAre("ready", "log_reopened", "draining", "stopped 0"));
}

TEST(ExitCodes, AreThoseOfSysexits) {
    EXPECT_EQ(exit_code_of(rt::ErrorClass::usage), 64);
    EXPECT_EQ(exit_code_of(rt::ErrorClass::system), 71);
    EXPECT_EQ(exit_code_of(rt::ErrorClass::configuration), 78);
    EXPECT_EQ(exit_code_of(rt::ErrorClass::failure), 1);
}

TEST(Signals, HaveNames) {
    EXPECT_EQ(signal_name(SIGSEGV), "SIGSEGV");
    EXPECT_EQ(signal_name(SIGTERM), "SIGTERM");
    EXPECT_EQ(signal_name(SIGRTMIN + 3), "signal " + std::to_string(SIGRTMIN + 3));
}

}  // namespace
}  // namespace umbel::daemon
