// Specification of preflight.h.
#include "daemon/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <stdexcept>

namespace umbel::daemon {
namespace {

using testing::HasSubstr;

const rt::PluginOptions plugin{"bad", "bad.so", "umbel.conf:7", {}};

std::string error_of(const Preflight& preflight, rt::Nanoseconds timeout = preflight_timeout) {
    const auto result = preflight_in_child(plugin, preflight, timeout);
    if (result) return "(accepted)";
    EXPECT_EQ(result.error().error_class, rt::ErrorClass::configuration);
    return result.error().message;
}

// Spec.   What the child finds comes back whole, long texts included.
TEST(Preflight, BringsTheDescriptionBack) {
    const auto result = preflight_in_child(plugin, [](const rt::PluginOptions& options) {
        return rt::PluginDescription{options.name, "1.2", "", {"a", std::string(200'000, 'x'), ""}};
    });
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->name, "bad");
    EXPECT_EQ(result->version, "1.2");
    ASSERT_EQ(result->settings.size(), 3u);
    EXPECT_EQ(result->settings[1], std::string(200'000, 'x'));
}

// Spec.   An error comes back as it is, with its class.
TEST(Preflight, BringsTheErrorBack) {
    EXPECT_EQ(error_of([](const auto&) { return rt::fail(rt::ErrorClass::configuration, "no such file"); }),
              "no such file");
    const auto result = preflight_in_child(plugin, [](const auto&) -> rt::Result<rt::PluginDescription> {
        return rt::fail(rt::ErrorClass::failure, "x");
    });
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().error_class, rt::ErrorClass::failure);
}

// Spec.   A crash is the plugin's fault, with its place and the signal's name; this process goes on.
TEST(Preflight, ACrashIsASentence) {
    const auto dying_of = [](int signal) {
        return [signal](const auto&) -> rt::Result<rt::PluginDescription> {
            std::signal(signal, SIG_DFL);
            ::kill(::getpid(), signal);
            return rt::PluginDescription{};
        };
    };
    EXPECT_THAT(error_of(dying_of(SIGSEGV)), HasSubstr("umbel.conf:7: plugin.bad: bad.so crashed while it was loaded: "
                                                       "SIGSEGV"));
    EXPECT_THAT(error_of(dying_of(SIGABRT)), HasSubstr("SIGABRT"));
}

// Spec.   A plugin that ends the process, with 0 or otherwise, has not passed.
TEST(Preflight, ExitIsNoAnswer) {
    EXPECT_THAT(error_of([](const auto&) -> rt::Result<rt::PluginDescription> { ::_exit(0); }),
                HasSubstr("ended the process while it was loaded (exit code 0)"));
    EXPECT_THAT(error_of([](const auto&) -> rt::Result<rt::PluginDescription> { ::_exit(3); }),
                HasSubstr("(exit code 3)"));
}

// Spec.   A plugin that hangs is ended after the timeout.
TEST(Preflight, AHangIsEnded) {
    const auto began = std::chrono::steady_clock::now();
    EXPECT_THAT(error_of(
                    [](const auto&) -> rt::Result<rt::PluginDescription> {
                        for (;;) ::pause();
                    },
                    std::chrono::milliseconds(100)),
                HasSubstr("did not finish loading in 100 ms"));
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

// Spec.   A child of the plugin's own, which keeps the pipe open, does not keep the answer back.
TEST(Preflight, ADescendantDoesNotHoldItUp) {
    const auto began = std::chrono::steady_clock::now();
    const auto result = preflight_in_child(plugin, [](const auto&) -> rt::Result<rt::PluginDescription> {
        if (::fork() == 0) {
            ::alarm(20);
            ::pause();
            ::_exit(0);
        }
        return rt::PluginDescription{"n", "v", "d", {}};
    });
    EXPECT_TRUE(result);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

TEST(Preflight, AnExceptionIsASentence) {
    EXPECT_THAT(error_of([](const auto&) -> rt::Result<rt::PluginDescription> { throw std::runtime_error("why"); }),
                HasSubstr("its code threw: why"));
}

}  // namespace
}  // namespace umbel::daemon
