// Specification of quantity.h.
#include "runtime/base/quantity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

namespace umbel::rt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::uint64_t max_u64 = std::numeric_limits<std::uint64_t>::max();

// The message of a result that must be an error of the operator's.
template <class T>
std::string refusal(const Result<T>& result) {
    if (result) return "(accepted)";
    EXPECT_EQ(result.error().error_class, ErrorClass::configuration);
    EXPECT_EQ(result.error().message.find('\n'), std::string::npos);
    return result.error().message;
}

// Spec.   A size is a whole number of bytes, or of a binary unit, with or without blanks around the unit.
TEST(ParseBytes, TakesNumbersAndBinaryUnits) {
    const std::pair<std::string_view, Bytes> cases[] = {
        {"0", 0_B},         {"4096", 4096_B},      {"4096B", 4096_B}, {"64KiB", 64_KiB},
        {"64 KiB", 64_KiB}, {" 64\tKiB ", 64_KiB}, {"2MiB", 2_MiB},   {"1GiB", 1_GiB},
        {"1TiB", 1024_GiB}, {"007KiB", 7_KiB},
    };
    for (const auto& [text, size] : cases) {
        const auto read = parse_bytes(text);
        ASSERT_TRUE(read) << text << ": " << read.error().message;
        EXPECT_EQ(*read, size) << text;
    }
}

// Spec.   What is not a size is refused with what was written, the cause and what is accepted.
TEST(ParseBytes, SaysWhatIsWrongAndWhatIsAccepted) {
    EXPECT_EQ(refusal(parse_bytes("64KB")),
              "\"64KB\" is not a size: \"KB\" is not a unit; "
              "write a whole number of bytes, or one with KiB, MiB, GiB or TiB: 64KiB");
    EXPECT_THAT(refusal(parse_bytes("")), StartsWith("\"\" is not a size: it is empty; "));
    EXPECT_THAT(refusal(parse_bytes(" ")), HasSubstr("it is empty"));
    EXPECT_THAT(refusal(parse_bytes("KiB")), HasSubstr("does not begin with a digit"));
    for (const std::string_view text : {"-1", "+1", "1.5MiB", "0x10", "1 2", "1KiB 2", "1kib", "1 K", "1,000"}) {
        EXPECT_THAT(refusal(parse_bytes(text)), HasSubstr("is not a size")) << text;
    }
}

// Spec.   The largest size is 2^64 - 1 bytes; one more, with or without a unit, is too large (I2).
TEST(ParseBytes, NeverWrapsAround) {
    EXPECT_EQ(parse_bytes("18446744073709551615").value(), Bytes{max_u64});
    EXPECT_EQ(parse_bytes("16777215TiB").value(), Bytes{std::uint64_t{16777215} << 40});
    for (const std::string_view text : {"18446744073709551616", "16777216TiB", "18014398509481984KiB",
                                        "99999999999999999999999999", "99999999999999999999999999KiB"}) {
        EXPECT_THAT(refusal(parse_bytes(text)), HasSubstr("it is too large")) << text;
    }
}

// Spec.   A duration is a whole number with a unit; 0 needs none.
TEST(ParseDuration, TakesNumbersWithUnits) {
    using namespace std::chrono_literals;
    const std::pair<std::string_view, Nanoseconds> cases[] = {
        {"0", 0ns},      {"0s", 0ns}, {"7ns", 7ns},   {"250us", 250us}, {"10ms", 10ms},
        {"10 ms", 10ms}, {"5s", 5s},  {"1min", 1min}, {"1h", 1h},
    };
    for (const auto& [text, duration] : cases) {
        const auto read = parse_duration(text);
        ASSERT_TRUE(read) << text << ": " << read.error().message;
        EXPECT_EQ(*read, duration) << text;
    }
}

// Spec.   A number without its unit is refused, so is what does not fit into 63 bits of nanoseconds (I2).
TEST(ParseDuration, WantsAUnitAndNeverWrapsAround) {
    EXPECT_EQ(refusal(parse_duration("10")),
              "\"10\" is not a duration: its unit is missing; write a whole number with ns, us, ms, s, min or h: 10ms");
    EXPECT_EQ(parse_duration("9223372036854775807ns").value(), Nanoseconds::max());
    EXPECT_EQ(parse_duration("2562047h").value(), std::chrono::hours(2562047));
    for (const std::string_view text : {"9223372036854775808ns", "2562048h", "18446744073709551616s"}) {
        EXPECT_THAT(refusal(parse_duration(text)), HasSubstr("it is too large")) << text;
    }
    for (const std::string_view text : {"", "s", "-5s", "1.5s", "5sec", "5S", "1min30s"}) {
        EXPECT_THAT(refusal(parse_duration(text)), HasSubstr("is not a duration")) << text;
    }
}

// Spec.   An integer is decimal digits with an optional minus, within 64 bits.
TEST(ParseInteger, TakesTheWholeRangeAndNothingElse) {
    EXPECT_EQ(parse_integer("42").value(), 42);
    EXPECT_EQ(parse_integer(" -7 ").value(), -7);
    EXPECT_EQ(parse_integer("9223372036854775807").value(), std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(parse_integer("-9223372036854775808").value(), std::numeric_limits<std::int64_t>::min());
    EXPECT_THAT(refusal(parse_integer("9223372036854775808")), HasSubstr("does not fit into 64 bits"));
    EXPECT_THAT(refusal(parse_integer("-9223372036854775809")), HasSubstr("does not fit into 64 bits"));
    EXPECT_EQ(refusal(parse_integer("4k")),
              "\"4k\" is not an integer: \"k\" follows the number; write a whole number: 42");
    for (const std::string_view text : {"", "-", "+1", "one", "1e3", "0x10", "- 1", "1 2"}) {
        EXPECT_THAT(refusal(parse_integer(text)), HasSubstr("is not an integer")) << text;
    }
}

// Spec.   A flag is one of six words, in lower case.
TEST(ParseFlag, TakesSixWords) {
    for (const std::string_view text : {"true", "yes", "on", " true "}) EXPECT_TRUE(parse_flag(text).value()) << text;
    for (const std::string_view text : {"false", "no", "off"}) EXPECT_FALSE(parse_flag(text).value()) << text;
    for (const std::string_view text : {"", "True", "1", "0", "y", "truefalse"}) {
        EXPECT_THAT(refusal(parse_flag(text)), HasSubstr("is not a flag")) << text;
    }
    EXPECT_EQ(refusal(parse_flag("maybe")), "\"maybe\" is not a flag: no such word is known; write true or false");
}

// Spec.   A CPU list is read as taskset reads it; the order is kept, a CPU named twice counts once.
TEST(ParseCpuList, ReadsWhatTasksetReads) {
    EXPECT_THAT(parse_cpu_list("0").value(), ElementsAre(0));
    EXPECT_THAT(parse_cpu_list("0,2-5,7").value(), ElementsAre(0, 2, 3, 4, 5, 7));
    EXPECT_THAT(parse_cpu_list("0-10:2").value(), ElementsAre(0, 2, 4, 6, 8, 10));
    EXPECT_THAT(parse_cpu_list("0-9:4").value(), ElementsAre(0, 4, 8));
    EXPECT_THAT(parse_cpu_list("3,1,2-4").value(), ElementsAre(3, 1, 2, 4));
    EXPECT_THAT(parse_cpu_list(" 0, 2 ").value(), ElementsAre(0, 2));
    EXPECT_THAT(parse_cpu_list("8191").value(), ElementsAre(8191));
    EXPECT_THAT(parse_cpu_list("8190-8191:8191").value(), ElementsAre(8190));
    EXPECT_EQ(parse_cpu_list("0-8191").value().size(), 8192u);
}

// Spec.   A list that is not one is refused with the item that is wrong.
TEST(ParseCpuList, NamesTheItemThatIsWrong) {
    EXPECT_EQ(refusal(parse_cpu_list("0,x,2")),
              "\"0,x,2\" is not a CPU list: \"x\" is neither a CPU nor a range; "
              "write CPU numbers and ranges as taskset does: 0,2-5,8-14:2");
    EXPECT_THAT(refusal(parse_cpu_list("")), HasSubstr("it is empty"));
    for (const std::string_view text : {",", "0,", ",0", "0,,1"}) {
        EXPECT_THAT(refusal(parse_cpu_list(text)), HasSubstr("a number is missing")) << text;
    }
    for (const std::string_view text : {"-1", "1-", "1-2:", "1-2:2:2", "1:2", "1-2-3", "0x1", "1 2", "1 -2"}) {
        EXPECT_THAT(refusal(parse_cpu_list(text)), HasSubstr("is neither a CPU nor a range")) << text;
    }
    EXPECT_THAT(refusal(parse_cpu_list("5-2")), HasSubstr("\"5-2\" ends before it begins"));
    EXPECT_THAT(refusal(parse_cpu_list("0-4:0")), HasSubstr("a stride of 0"));
    for (const std::string_view text : {"8192", "0-8192", "99999999999999999999", "0-4294967296"}) {
        EXPECT_THAT(refusal(parse_cpu_list(text)), HasSubstr("beyond the last possible CPU, 8191")) << text;
    }
}

// Spec.   Sizes and durations are printed in the largest unit that keeps them exact.
TEST(ToText, UsesTheLargestExactUnit) {
    using namespace std::chrono_literals;
    EXPECT_EQ(to_text(0_B), "0");
    EXPECT_EQ(to_text(1_B), "1");
    EXPECT_EQ(to_text(4097_B), "4097");
    EXPECT_EQ(to_text(64_KiB), "64KiB");
    EXPECT_EQ(to_text(1536_KiB), "1536KiB");
    EXPECT_EQ(to_text(2048_MiB), "2GiB");
    EXPECT_EQ(to_text(Bytes{max_u64}), "18446744073709551615");
    EXPECT_EQ(to_text(Nanoseconds(0)), "0");
    EXPECT_EQ(to_text(Nanoseconds(250us)), "250us");
    EXPECT_EQ(to_text(Nanoseconds(1500us)), "1500us");
    EXPECT_EQ(to_text(Nanoseconds(90s)), "90s");
    EXPECT_EQ(to_text(Nanoseconds(120s)), "2min");
    EXPECT_EQ(to_text(Nanoseconds(24h)), "24h");
    EXPECT_EQ(to_text(Nanoseconds(-10ms)), "-10ms");
    EXPECT_EQ(to_text(Nanoseconds::min()), "-9223372036854775808ns");
}

// Spec.   A CPU list is printed with ranges for runs of three and more, in its order.
TEST(ToText, PrintsCpuListsWithRanges) {
    const auto text_of = [](std::vector<int> cpus) { return to_text(std::span<const int>(cpus)); };
    EXPECT_EQ(text_of({}), "");
    EXPECT_EQ(text_of({4}), "4");
    EXPECT_EQ(text_of({0, 1}), "0,1");
    EXPECT_EQ(text_of({0, 2, 3, 4, 5, 7}), "0,2-5,7");
    EXPECT_EQ(text_of({3, 2, 1}), "3,2,1");
}

// Spec.   What is printed is read back as the same value (I1).
TEST(ToText, IsReadBack) {
    for (const std::uint64_t count : {0ul, 1ul, 1023ul, 1024ul, 1025ul, 1ul << 20, 3ul << 30, 5ul << 40, max_u64}) {
        EXPECT_EQ(parse_bytes(to_text(Bytes{count})).value(), Bytes{count});
    }
    for (const std::int64_t count : {0l, 1l, 999l, 1000l, 60'000'000'000l, 3'600'000'000'000l, 61'000'000'000l}) {
        EXPECT_EQ(parse_duration(to_text(Nanoseconds(count))).value(), Nanoseconds(count));
    }
}

// Spec.   A quotation is one printable line: controls are escaped, a long text is cut (I3).
TEST(Quotation, IsOnePrintableLine) {
    EXPECT_EQ(quotation("a b"), "\"a b\"");
    EXPECT_EQ(quotation("a\"\\\n\x7f\xff"), "\"a\\\"\\\\\\x0a\\x7f\\xff\"");
    EXPECT_EQ(quotation(std::string(64, 'x')), "\"" + std::string(64, 'x') + "\"");
    EXPECT_EQ(quotation(std::string(65, 'x')), "\"" + std::string(64, 'x') + "…\"");
}

}  // namespace
}  // namespace umbel::rt
