// Specification of log_levels.h.
#include "daemon/log_levels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace umbel::daemon {
namespace {

using enum rt::Level;
using std::chrono::seconds;
using testing::HasSubstr;

config::LogSettings settings(rt::Level level, std::vector<config::ModuleLevel> levels = {}) {
    config::LogSettings made;
    made.level = level;
    made.levels = std::move(levels);
    return made;
}
constexpr LogLevels::Time start{};

// Spec.   A module has its own configured level, or the one for all; so has a plugin that comes later.
TEST(LogLevels, FollowTheConfiguration) {
    LogLevels levels(settings(info, {{"http", debug}, {"daemon", error}}));
    levels.set_plugins({"http", "echo"});
    EXPECT_EQ(levels.level_of("http"), debug);
    EXPECT_EQ(levels.level_of("echo"), info);
    EXPECT_EQ(levels.level_of("daemon"), error);
    EXPECT_EQ(levels.level_of("runtime"), info);
    EXPECT_EQ(levels.rows().size(), 4u);
}

// Spec.   What is set holds until its time is over, then what is configured (I1); of two settings the later counts.
TEST(LogLevels, WhatIsSetExpires) {
    LogLevels levels(settings(info));
    levels.set_plugins({"http", "echo"});
    ASSERT_TRUE(levels.set("http", debug, start + seconds(10)));
    ASSERT_TRUE(levels.set("echo", trace, std::nullopt));
    EXPECT_FALSE(levels.expire(start + seconds(9)));
    EXPECT_EQ(levels.level_of("http"), debug);
    EXPECT_TRUE(levels.expire(start + seconds(10)));
    EXPECT_EQ(levels.level_of("http"), info);
    EXPECT_EQ(levels.level_of("echo"), trace);
    ASSERT_TRUE(levels.set("http", debug, start + seconds(20)));
    ASSERT_TRUE(levels.set("http", error, std::nullopt));
    EXPECT_FALSE(levels.expire(start + seconds(100)));
    EXPECT_EQ(levels.level_of("http"), error);
    ASSERT_TRUE(levels.set("http", std::nullopt, start + seconds(200)));
    EXPECT_EQ(levels.level_of("http"), info);
    EXPECT_FALSE(levels.expire(start + seconds(300)));
}

// Spec.   "all" is every module; an unknown one is an error that names those there are.
TEST(LogLevels, AllAndNobody) {
    LogLevels levels(settings(info));
    levels.set_plugins({"http"});
    ASSERT_TRUE(levels.set("all", warning, std::nullopt));
    for (const auto& row : levels.rows()) EXPECT_EQ(row.level(), warning) << row.module;
    const auto refused = levels.set("htpp", debug, std::nullopt);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("no module \"htpp\"; there are: all, daemon, runtime, http"));
}

// Spec.   Other settings and other plugins leave alone what was set at run time.
TEST(LogLevels, AReloadKeepsWhatWasSet) {
    LogLevels levels(settings(info));
    levels.set_plugins({"http"});
    ASSERT_TRUE(levels.set("http", trace, std::nullopt));
    levels.configure(settings(error));
    levels.set_plugins({"echo", "http"});
    EXPECT_EQ(levels.level_of("http"), trace);
    EXPECT_EQ(levels.level_of("echo"), error);
    EXPECT_EQ(levels.level_of("daemon"), error);
}

}  // namespace
}  // namespace umbel::daemon
