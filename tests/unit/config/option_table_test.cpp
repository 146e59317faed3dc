// Specification of option_table.h.
#include "config/option_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace umbel::config {
namespace {

using testing::HasSubstr;

std::string error_of(std::string_view key, std::string_view text) {
    const auto value = parse_value(*find_option(key), text);
    return value ? "(accepted)" : value.error().message;
}

// Spec.   The defaults of the table are those of the structures behind it: one source, checked against the other.
TEST(OptionTable, DefaultsAreThoseOfTheStructures) {
    const Settings table = default_settings();
    const Settings plain;
    EXPECT_EQ(table.runtime.executors.count, plain.runtime.executors.count);
    EXPECT_EQ(table.runtime.executors.cpus, plain.runtime.executors.cpus);
    EXPECT_EQ(table.runtime.executors.ring_entries, plain.runtime.executors.ring_entries);
    EXPECT_EQ(table.runtime.executors.completion_entries, plain.runtime.executors.completion_entries);
    EXPECT_EQ(table.runtime.executors.buffer_count, plain.runtime.executors.buffer_count);
    EXPECT_EQ(table.runtime.executors.buffer_size, plain.runtime.executors.buffer_size);
    EXPECT_EQ(table.runtime.executors.time_slice, plain.runtime.executors.time_slice);
    EXPECT_EQ(table.runtime.executors.spin, plain.runtime.executors.spin);
    EXPECT_EQ(table.runtime.executors.kernel_workers, plain.runtime.executors.kernel_workers);
    EXPECT_EQ(table.runtime.actors.memory_limit, plain.runtime.actors.memory_limit);
    EXPECT_EQ(table.runtime.actors.stack_size, plain.runtime.actors.stack_size);
    EXPECT_EQ(table.runtime.actors.max, plain.runtime.actors.max);
    EXPECT_EQ(table.daemon.plugin_dir, plain.daemon.plugin_dir);
    EXPECT_EQ(table.daemon.drain_timeout, plain.daemon.drain_timeout);
    EXPECT_EQ(table.log.level, plain.log.level);
    EXPECT_EQ(table.log.format, plain.log.format);
    EXPECT_EQ(table.log.sink, plain.log.sink);
}

// Spec.   No key is there twice, each is section.name, and each is explained in sentences.
TEST(OptionTable, KeysAreUniqueAndWellFormed) {
    std::set<std::string_view> keys;
    for (const OptionDescription& option : option_table()) {
        EXPECT_TRUE(keys.insert(option.key).second) << option.key;
        EXPECT_FALSE(option.section().empty()) << option.key;
        EXPECT_FALSE(option.name().empty()) << option.key;
        EXPECT_TRUE(option.description.ends_with('.')) << option.key;
        EXPECT_EQ(find_option(option.key), &option);
    }
    EXPECT_EQ(find_option("executors.nothing"), nullptr);
}

// Spec.   The rows of a section stand together: help, dump and umbel.conf name each section once.
TEST(OptionTable, SectionsAreContiguous) {
    std::set<std::string_view> finished;
    std::string_view current;
    for (const OptionDescription& option : option_table()) {
        if (option.section() == current) continue;
        EXPECT_TRUE(finished.insert(option.section()).second) << option.section();
        current = option.section();
    }
}

// Spec.   Both bounds are allowed, what lies beyond is refused with the bound and the range.
TEST(OptionTable, BoundsAreInclusive) {
    for (const OptionDescription& option : option_table()) {
        if (option.type != ValueType::integer) continue;
        EXPECT_TRUE(parse_value(option, std::to_string(option.min)).has_value()) << option.key;
        EXPECT_TRUE(parse_value(option, std::to_string(option.max)).has_value()) << option.key;
        EXPECT_FALSE(parse_value(option, std::to_string(option.min - 1)).has_value()) << option.key;
        EXPECT_FALSE(parse_value(option, std::to_string(option.max + 1)).has_value()) << option.key;
    }
    EXPECT_EQ(error_of("executors.count", "300"), "300 is over 255; allowed: 0 to 255");
    EXPECT_EQ(error_of("executors.ring_entries", "2"), "2 is under 4; allowed: 4 to 32768");
    EXPECT_EQ(error_of("actors.memory_limit", "8GiB"), "8GiB is over 4GiB; allowed: 64KiB to 4GiB");
    EXPECT_EQ(error_of("actors.memory_limit", "4KiB"), "4KiB is under 64KiB; allowed: 64KiB to 4GiB");
    EXPECT_EQ(error_of("executors.time_slice", "2s"), "2s is over 1s; allowed: 10us to 1s");
    EXPECT_THAT(error_of("executors.buffer_size", "16777215TiB"), HasSubstr("is over 2MiB"));
}

// Spec.   A value of the wrong kind is refused, quoted, with what is allowed.
TEST(OptionTable, WrongKindsAreRefused) {
    EXPECT_THAT(error_of("executors.count", "two"), HasSubstr("\"two\""));
    EXPECT_THAT(error_of("executors.count", ""), HasSubstr("allowed: 0 to 255"));
    EXPECT_THAT(error_of("executors.count", "1.5"), HasSubstr("\"1.5\""));
    EXPECT_THAT(error_of("actors.memory_limit", "4MB"), HasSubstr("MB"));
    EXPECT_THAT(error_of("executors.time_slice", "10"), HasSubstr("allowed: 10us to 1s"));
    EXPECT_THAT(error_of("executors.cpus", "0-"), HasSubstr("taskset"));
    EXPECT_EQ(error_of("log.level", "loud"),
              "\"loud\" is none of the choices; allowed: trace, debug, info, warning or error");
    EXPECT_EQ(error_of("log.format", "xml"), "\"xml\" is none of the choices; allowed: json or text");
    EXPECT_THAT(error_of("log.sink", "sdtout"), HasSubstr("\"./sdtout\""));
    EXPECT_THAT(error_of("log.sink", "/var/log/"), HasSubstr("is a folder"));
    EXPECT_THAT(error_of("log.levels", "http"), HasSubstr("\"http\" is not MODULE:LEVEL"));
    EXPECT_THAT(error_of("log.levels", "http:loud"), HasSubstr("\"loud\" is no level"));
    EXPECT_THAT(error_of("log.levels", "a:info b:debug a:info"), HasSubstr("a is there twice"));
    EXPECT_THAT(error_of("log.levels", ":info"), HasSubstr("is not MODULE:LEVEL"));
    EXPECT_TRUE(parse_value(*find_option("log.levels"), "a:info  runtime:debug"));
    EXPECT_THAT(error_of("admin.socket", "sock"), HasSubstr("as in \"./sock\""));
    EXPECT_THAT(error_of("admin.socket", "/run/"), HasSubstr("is a folder"));
    EXPECT_THAT(error_of("log.sink", ""), HasSubstr("none of auto, stdout, stderr, journal"));
}

// Spec.   Choices are stored as what they mean.
TEST(OptionTable, ChoicesFollowTheirEnumerations) {
    const auto stored = [](std::string_view key, std::string_view text) {
        Settings settings;
        find_option(key)->store(*parse_value(*find_option(key), text), settings);
        return settings;
    };
    for (const rt::Level level :
         {rt::Level::trace, rt::Level::debug, rt::Level::info, rt::Level::warning, rt::Level::error}) {
        EXPECT_EQ(stored("log.level", rt::name_of(level)).log.level, level);
    }
    EXPECT_EQ(stored("log.format", "json").log.format, LogFormat::json);
    EXPECT_EQ(stored("log.format", "text").log.format, LogFormat::text);
}

// Spec.   `--help` explains every setting.
TEST(OptionTable, HelpExplainsEverySetting) {
    const std::string help = option_help();
    for (const OptionDescription& option : option_table()) {
        EXPECT_THAT(help, HasSubstr(std::string(option.key) + "\n"));
        EXPECT_THAT(help, HasSubstr(std::string(option.description)));
        EXPECT_THAT(help, HasSubstr(range_text(option)));
    }
}

// Spec.   A slip of the finger finds its word; something else finds nothing.
TEST(Nearest, FindsSlipsAndNothingElse) {
    const std::vector<std::string> words{"executors.count", "executors.cpus", "log.level"};
    EXPECT_EQ(nearest("executors.cuont", words), "executors.count");
    EXPECT_EQ(nearest("log.levle", words), "log.level");
    EXPECT_EQ(nearest("metrics.address", words), "");
    EXPECT_EQ(nearest("", words), "");
    EXPECT_EQ(nearest(std::string(1000, 'x'), words), "");
}

}  // namespace
}  // namespace umbel::config
