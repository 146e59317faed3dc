// Specification of command_line.h.
#include "config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/option_table.h"

namespace umbel::config {
namespace {

using testing::HasSubstr;

std::string error_of(const std::vector<std::string>& arguments) {
    const auto result = parse_command_line(arguments);
    if (result) return "(accepted)";
    EXPECT_EQ(result.error().error_class, rt::ErrorClass::usage);
    return result.error().message;
}

TEST(CommandLine, RunsByDefault) {
    const auto result = parse_command_line({});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->action, Action::run);
    EXPECT_EQ(result->config_file, "/etc/umbel/umbel.conf");
    EXPECT_TRUE(result->assignments.empty());
}

// Spec.   Both spellings of an argument; --set any number of times, in order; a value may hold `=` and may be empty.
TEST(CommandLine, TakesAFileAndSettings) {
    const auto result = parse_command_line({"--config=a.conf", "--set", "log.level=info", "--check-config",
                                            "--set=plugin.a.b=c=d", "--set", "executors.cpus="});
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->action, Action::check_config);
    EXPECT_EQ(result->config_file, "a.conf");
    ASSERT_EQ(result->assignments.size(), 3u);
    EXPECT_EQ(result->assignments[0].key, "log.level");
    EXPECT_EQ(result->assignments[0].value, "info");
    EXPECT_EQ(result->assignments[1].key, "plugin.a.b");
    EXPECT_EQ(result->assignments[1].value, "c=d");
    EXPECT_EQ(result->assignments[2].value, "");
}

TEST(CommandLine, KnowsItsActions) {
    EXPECT_EQ(parse_command_line({"--dump-config"})->action, Action::dump_config);
    EXPECT_EQ(parse_command_line({"--version"})->action, Action::version);
    EXPECT_EQ(parse_command_line({"--help"})->action, Action::help);
}

// Spec.   Whatever is not understood is refused by name: nothing is guessed.
TEST(CommandLine, WrongUsageIsRefused) {
    EXPECT_THAT(error_of({"--conf", "x"}), HasSubstr("--conf"));
    EXPECT_THAT(error_of({"--check"}), HasSubstr("--check"));
    EXPECT_THAT(error_of({"umbel.conf"}), HasSubstr("positional"));
    EXPECT_THAT(error_of({"--config"}), HasSubstr("--config"));
    EXPECT_THAT(error_of({"--config", ""}), HasSubstr("--config"));
    EXPECT_THAT(error_of({"--config", "a", "--config", "b"}), HasSubstr("more than once"));
    EXPECT_THAT(error_of({"--set", "novalue"}), HasSubstr("KEY=VALUE"));
    EXPECT_THAT(error_of({"--set", "=1"}), HasSubstr("KEY=VALUE"));
    EXPECT_THAT(error_of({"--help", "--version"}), HasSubstr("exclude each other"));
    EXPECT_THAT(error_of({"--version=1"}), HasSubstr("--version"));
    EXPECT_THAT(error_of({"-x"}), HasSubstr("--help says"));
}

TEST(CommandLine, HelpNamesEveryOptionAndSetting) {
    const std::string help = help_text();
    for (const char* option : {"--config", "--set", "--check-config", "--dump-config", "--version", "--help"}) {
        EXPECT_THAT(help, HasSubstr(option));
    }
    EXPECT_THAT(help, HasSubstr(option_help()));
}

}  // namespace
}  // namespace umbel::config
