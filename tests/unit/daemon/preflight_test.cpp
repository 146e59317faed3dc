// Specification of preflight.h.
#include "daemon/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace umbel::daemon {
namespace {

using testing::HasSubstr;

// The child is this program anew: what it does is one of these, by the name of the plugin.
using Answer = rt::Result<rt::PluginDescription>;

Answer dying_of(int signal) {
    std::signal(signal, SIG_DFL);
    ::kill(::getpid(), signal);
    return rt::PluginDescription{};
}

const std::map<std::string, Answer (*)(const rt::PluginOptions&)>& behaviours() {
    static const std::map<std::string, Answer (*)(const rt::PluginOptions&)> all{
        {"describes",
         [](const rt::PluginOptions& options) -> Answer {
             return rt::PluginDescription{options.name, options.path, "", {"a", std::string(200'000, 'x'), ""}};
         }},
        {"recites",
         [](const rt::PluginOptions& options) -> Answer {
             std::vector<std::string> lines;
             for (const auto& [key, value, origin] : options.settings) {
                 lines.push_back(key + "=" + value + " " + origin);
             }
             return rt::PluginDescription{options.name, "", options.origin, lines};
         }},
        {"refuses", [](const auto&) -> Answer { return rt::fail(rt::ErrorClass::configuration, "no such file"); }},
        {"fails", [](const auto&) -> Answer { return rt::fail(rt::ErrorClass::failure, "x"); }},
        {"segv", [](const auto&) { return dying_of(SIGSEGV); }},
        {"abrt", [](const auto&) { return dying_of(SIGABRT); }},
        {"exit0", [](const auto&) -> Answer { ::_exit(0); }},
        {"exit3", [](const auto&) -> Answer { ::_exit(3); }},
        {"hangs",
         [](const auto&) -> Answer {
             for (;;) ::pause();
         }},
        {"forks",
         [](const auto&) -> Answer {
             if (::fork() == 0) {
                 ::close(STDOUT_FILENO);  // Nobody but us is to wait for it.
                 ::close(STDERR_FILENO);
                 ::alarm(20);
                 ::pause();
                 ::_exit(0);
             }
             return rt::PluginDescription{"n", "v", "d", {}};
         }},
        {"throws", [](const auto&) -> Answer { throw std::runtime_error("why"); }},
        {"signals",
         [](const auto&) -> Answer {
             sigset_t mask;
             ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
             const bool open = sigismember(&mask, SIGTERM) == 0 && sigismember(&mask, SIGHUP) == 0;
             return rt::PluginDescription{open ? "open" : "blocked", "", "", {}};
         }},
    };
    return all;
}

// Before main(), which knows nothing of it.
__attribute__((constructor)) void perhaps_the_child(int argc, char** argv, char**) {
    preflight_child(argc, argv,
                    [](const rt::PluginOptions& options) { return behaviours().at(options.name)(options); });
}

rt::PluginOptions plugin_that(const std::string& behaves) { return {behaves, "bad.so", "umbel.conf:7", {}}; }

std::string error_of(const std::string& behaves, rt::Nanoseconds timeout = preflight_timeout) {
    const auto result = preflight_in_child(plugin_that(behaves), timeout);
    if (result) return "(accepted)";
    EXPECT_EQ(result.error().error_class, rt::ErrorClass::configuration);
    return result.error().message;
}

// Spec.   What the child finds comes back whole, long texts included.
TEST(Preflight, BringsTheDescriptionBack) {
    const auto result = preflight_in_child(plugin_that("describes"));
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->name, "describes");
    EXPECT_EQ(result->version, "bad.so");
    ASSERT_EQ(result->settings.size(), 3u);
    EXPECT_EQ(result->settings[1], std::string(200'000, 'x'));
}

// Spec.   The child is told the whole section, however much it is.
TEST(Preflight, TellsTheSection) {
    rt::PluginOptions plugin = plugin_that("recites");
    const std::string much(300'000, 'y');
    plugin.settings = {{"a", "1\n2", "umbel.conf:8"}, {"b", "", "command line"}, {"c", much, ""}};
    const auto result = preflight_in_child(plugin);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->description, "umbel.conf:7");
    EXPECT_THAT(result->settings, testing::ElementsAre("a=1\n2 umbel.conf:8", "b= command line", "c=" + much + " "));
}

// Spec.   It may be asked from a process with threads, from any of them, by several at once; what this process has blocked
//         is open in the child.
TEST(Preflight, FromAnyThread) {
    std::vector<std::thread> threads;
    std::atomic<int> good{0};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&good] {
            sigset_t all;
            sigfillset(&all);
            ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
            const auto result = preflight_in_child(plugin_that("signals"));
            if (result && result->name == "open") ++good;
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(good, 4);
}

// Spec.   An error comes back as it is, with its class.
TEST(Preflight, BringsTheErrorBack) {
    EXPECT_EQ(error_of("refuses"), "no such file");
    const auto result = preflight_in_child(plugin_that("fails"));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().error_class, rt::ErrorClass::failure);
}

// Spec.   A crash is the plugin's fault, with its place and the signal's name; this process goes on.
TEST(Preflight, ACrashIsASentence) {
    EXPECT_THAT(error_of("segv"), HasSubstr("umbel.conf:7: plugin.segv: bad.so crashed while it was loaded: SIGSEGV"));
    EXPECT_THAT(error_of("abrt"), HasSubstr("SIGABRT"));
}

// Spec.   A plugin that ends the process, with 0 or otherwise, has not passed.
TEST(Preflight, ExitIsNoAnswer) {
    EXPECT_THAT(error_of("exit0"), HasSubstr("ended the process while it was loaded (exit code 0)"));
    EXPECT_THAT(error_of("exit3"), HasSubstr("(exit code 3)"));
}

// Spec.   A plugin that hangs is ended after the timeout.
TEST(Preflight, AHangIsEnded) {
    EXPECT_THAT(error_of("hangs", std::chrono::milliseconds(500)), HasSubstr("did not finish loading in 500 ms"));
}

// Spec.   A child of the plugin's own, which keeps the pipe open, does not keep the answer back.
TEST(Preflight, ADescendantDoesNotHoldItUp) {
    const auto began = std::chrono::steady_clock::now();
    EXPECT_TRUE(preflight_in_child(plugin_that("forks")));
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15)) << "it waited for the descendant";
}

TEST(Preflight, AnExceptionIsASentence) { EXPECT_THAT(error_of("throws"), HasSubstr("its code threw: why")); }

}  // namespace
}  // namespace umbel::daemon
