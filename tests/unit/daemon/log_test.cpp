// Specification of log.h.
#include "daemon/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "fake_runtime.h"
#include "temporary_folder.h"

namespace umbel::daemon {
namespace {

using rt::EventKind;
using testing::ElementsAre;
using testing::HasSubstr;

config::LogSettings to_file(const std::string& file, rt::Level level = rt::Level::info) {
    return {.level = level, .sink = file, .levels = {}};
}

std::vector<std::string> events_in(const std::string& file) {
    std::vector<std::string> events;
    for (const std::string& line : lines_of(file)) {
        const auto parsed = nlohmann::json::parse(line, nullptr, false);
        events.push_back(parsed.is_object() ? parsed["event"].get<std::string>() : "not JSON: " + line);
    }
    return events;
}

// Spec.   Everything handed over before the end is written, ordered by time, and `stopped` comes last (I1), although
//         the runtime reports until the end.
TEST(Log, WritesEverythingAndStoppedLast) {
    const TemporaryFolder folder;
    FakeRuntime runtime;
    auto log = Log::open(to_file(folder / "log"));
    ASSERT_TRUE(log) << log.error().message;
    (*log)->write(line_of(EventKind::starting, "", {1, 1, 0}));
    (*log)->attach(runtime);
    runtime.report(EventKind::plugin_ready, 2'000, "second");
    runtime.report(EventKind::plugin_ready, 1'000, "first");
    std::this_thread::sleep_for(3 * Log::poll_interval);
    for (int i = 0; i < 1000; ++i) runtime.report(EventKind::plugin_log, 3'000 + i, "more");
    (*log)->stop(line_of(EventKind::stopped, "", {0, 0}));
    const auto events = events_in(folder / "log");
    EXPECT_EQ(events.size(), 1004u);
    EXPECT_EQ(events.back(), "stopped");
    EXPECT_EQ(std::ranges::count(events, "plugin_log"), 1000);
    const auto lines = lines_of(folder / "log");
    const auto at = [&](const char* text) {
        return std::ranges::find_if(lines, [&](const std::string& line) { return line.contains(text); });
    };
    EXPECT_LT(at("\"first\""), at("\"second\""));
}

// Spec.   Lines under the level are not written; `stopped` is subject to it as well.
TEST(Log, ObeysTheLevel) {
    const TemporaryFolder folder;
    FakeRuntime runtime;
    auto log = Log::open(to_file(folder / "log", rt::Level::warning));
    ASSERT_TRUE(log);
    (*log)->attach(runtime);
    runtime.report(EventKind::plugin_log, 1, "quiet", rt::Level::info);
    runtime.report(EventKind::plugin_log, 2, "loud", rt::Level::error);
    (*log)->write(line_of(EventKind::config_warning, "w"));
    (*log)->stop(line_of(EventKind::stopped, "", {0, 0}));
    EXPECT_THAT(events_in(folder / "log"), ElementsAre("plugin_log", "config_warning"));
}

// Spec.   Events the executors had to drop are reported, those dropped at the very end included: none is counted twice.
TEST(Log, ReportsWhatWasDropped) {
    const TemporaryFolder folder;
    FakeRuntime runtime;
    auto log = Log::open(to_file(folder / "log"));
    ASSERT_TRUE(log);
    (*log)->attach(runtime);
    runtime.drop(5);
    std::this_thread::sleep_for(3 * Log::poll_interval);
    runtime.drop(2);
    (*log)->stop(line_of(EventKind::stopped, "", {0, 0}));
    std::int64_t dropped = 0;
    std::int64_t total = 0;
    for (const std::string& line : lines_of(folder / "log")) {
        const auto parsed = nlohmann::json::parse(line);
        if (parsed["event"] != "log_dropped") continue;
        dropped += parsed["dropped"].get<std::int64_t>();
        total = parsed["dropped_total"].get<std::int64_t>();
    }
    EXPECT_EQ(dropped, 7);
    EXPECT_EQ(total, 7);
}

// Spec.   reopen() goes on in a new file after the old one was moved away; no line is lost or written twice.
TEST(Log, ReopensItsFile) {
    const TemporaryFolder folder;
    auto log = Log::open(to_file(folder / "log"));
    ASSERT_TRUE(log);
    (*log)->write(line_of(EventKind::starting, "", {1, 1, 0}));
    std::this_thread::sleep_for(3 * Log::poll_interval);
    std::filesystem::rename(folder / "log", folder / "log.1");
    (*log)->write(line_of(EventKind::ready, "", {1}));
    (*log)->reopen();
    (*log)->stop(line_of(EventKind::stopped, "", {0, 0}));
    EXPECT_THAT(events_in(folder / "log.1"), ElementsAre("starting", "ready"));
    EXPECT_THAT(events_in(folder / "log"), ElementsAre("log_reopened", "stopped"));
}

// Spec.   If the new file cannot be opened, the old one stays in use and says so.
TEST(Log, KeepsItsFileIfThereIsNoNewOne) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder / "logs");
    auto log = Log::open(to_file(folder / "logs/log"));
    ASSERT_TRUE(log);
    std::filesystem::rename(folder / "logs", folder / "moved");
    (*log)->reopen();
    (*log)->stop(line_of(EventKind::stopped, "", {0, 0}));
    EXPECT_THAT(events_in(folder / "moved/log"), ElementsAre("log_failed", "stopped"));
    EXPECT_FALSE(std::filesystem::exists(folder / "logs")) << "a missing folder is not made: the path may be misspelt";
}

// Spec.   A sink that cannot be opened is a configuration error; check() finds it out without making a file.
TEST(Log, RefusesAPlaceItCannotWriteTo) {
    const TemporaryFolder folder;
    for (const std::string& file : {std::string("/nonexistent/log"), folder / ""}) {
        const auto log = Log::open(to_file(file));
        ASSERT_FALSE(log);
        EXPECT_EQ(log.error().error_class, rt::ErrorClass::configuration);
        EXPECT_THAT(log.error().message, HasSubstr("log.sink: "));
        EXPECT_FALSE(Log::check(to_file(file)));
    }
    EXPECT_TRUE(Log::check(to_file(folder / "log")));
    EXPECT_FALSE(std::filesystem::exists(folder / "log"));
}

TEST(Log, WritesTextForPeople) {
    const TemporaryFolder folder;
    auto log = Log::open({.format = config::LogFormat::text, .sink = folder / "log", .levels = {}});
    ASSERT_TRUE(log);
    (*log)->stop(line_of(EventKind::stopped, "the end", {0, 3}));
    EXPECT_THAT(lines_of(folder / "log"),
                ElementsAre(HasSubstr("Z INFO    stopped the end (exit_code=0, drain_ms=3)")));
}

}  // namespace
}  // namespace umbel::daemon
