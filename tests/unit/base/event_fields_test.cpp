// Specification of event_fields.h.
#include "runtime/base/event_fields.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace umbel::rt {
namespace {

umbel_field integer(const char* name, std::int64_t value, std::uint32_t type = UMBEL_FIELD_INTEGER) {
    umbel_field field{name, type, 0, {}};
    field.value.integer = value;
    return field;
}
umbel_field text(const char* name, const std::string& value) {
    umbel_field field{name, UMBEL_FIELD_TEXT, static_cast<std::uint32_t>(value.size()), {}};
    field.value.text = value.data();
    return field;
}
umbel_field number(const char* name, double value) {
    umbel_field field{name, UMBEL_FIELD_NUMBER, 0, {}};
    field.value.number = value;
    return field;
}

struct Encoded {
    explicit Encoded(std::vector<umbel_field> fields)
        : bytes(encoded_max(fields.size()), '#'), outcome(encode_fields(bytes.data(), fields)) {}
    std::vector<EventField> decoded() const {
        std::vector<EventField> all;
        std::string_view rest(bytes.data(), outcome.bytes);
        EventField field;
        while (next_field(rest, field)) all.push_back(field);
        return all;
    }
    std::string bytes;
    EncodedFields outcome;
};

std::string refusal(std::vector<umbel_field> fields) {
    const Encoded encoded(std::move(fields));
    return encoded.outcome.refused == nullptr ? "" : encoded.outcome.refused;
}

// Spec.   Fields come back in their order, as what they were.
TEST(EventFields, ComeBackAsTheyWere) {
    const std::string path = "/a b";
    const std::string nothing;
    const Encoded encoded({integer("status", -200), text("path", path), text("empty", nothing), number("load", 0.25),
                           integer("cached", 7, UMBEL_FIELD_FLAG),
                           integer("most", std::numeric_limits<std::int64_t>::max())});
    ASSERT_EQ(encoded.outcome.refused, nullptr);
    EXPECT_FALSE(encoded.outcome.truncated);
    const auto fields = encoded.decoded();
    ASSERT_EQ(fields.size(), 6u);
    EXPECT_EQ(fields[0].name, "status");
    EXPECT_EQ(fields[0].integer, -200);
    EXPECT_EQ(fields[1].type, std::uint32_t{UMBEL_FIELD_TEXT});
    EXPECT_EQ(fields[1].text, path);
    EXPECT_EQ(fields[2].text, "");
    EXPECT_EQ(fields[3].number, 0.25);
    EXPECT_EQ(fields[4].type, std::uint32_t{UMBEL_FIELD_FLAG});
    EXPECT_NE(fields[4].integer, 0);
    EXPECT_EQ(fields[5].integer, std::numeric_limits<std::int64_t>::max());
}

// Spec.   A duration is written in the unit its name ends in, and refused if it ends in none.
TEST(EventFields, DurationsFollowTheirNames) {
    constexpr std::int64_t time = 1'234'567'891;
    const Encoded encoded({integer("a_ns", time, UMBEL_FIELD_DURATION), integer("a_us", time, UMBEL_FIELD_DURATION),
                           integer("a_ms", time, UMBEL_FIELD_DURATION), integer("a_s", time, UMBEL_FIELD_DURATION)});
    const auto fields = encoded.decoded();
    ASSERT_EQ(fields.size(), 4u);
    EXPECT_EQ(fields[0].integer, time);
    EXPECT_EQ(fields[1].integer, 1'234'567);
    EXPECT_EQ(fields[2].integer, 1'234);
    EXPECT_EQ(fields[3].type, std::uint32_t{UMBEL_FIELD_NUMBER});
    EXPECT_DOUBLE_EQ(fields[3].number, 1.234567891);
    EXPECT_NE(refusal({integer("duration", time, UMBEL_FIELD_DURATION)}), "");
}

// Spec.   Names are snake_case of 1 to 32 bytes, distinct, and none of the keys each line may have (I1).
TEST(EventFields, BadNamesAreRefused) {
    const std::string longest(UMBEL_FIELD_NAME_MAX, 'x');
    const std::string too_long(UMBEL_FIELD_NAME_MAX + 1, 'x');
    for (const char* good : {"a", "a_1", "status", longest.c_str()}) EXPECT_EQ(refusal({integer(good, 1)}), "") << good;
    for (const char* bad : {"", "A", "1a", "_a", "a-b", "a.b", "a\"b", "a\n", "\xc3\xa9", too_long.c_str()}) {
        EXPECT_NE(refusal({integer(bad, 1)}), "") << bad;
    }
    EXPECT_NE(refusal({integer(nullptr, 1)}), "");
    for (const char* taken : {"ts", "level", "event", "msg", "executor", "plugin", "actor", "truncated"}) {
        EXPECT_NE(refusal({integer(taken, 1)}), "") << taken;
    }
    EXPECT_NE(refusal({integer("a", 1), integer("b", 1), integer("a", 1)}), "");
    EXPECT_NE(refusal({integer("a", 1, 99)}), "");
    EXPECT_NE(refusal({{"a", UMBEL_FIELD_TEXT, 3, {}}}), "") << "a null text";
    const Encoded second({integer("a", 1), integer("B", 1)});
    EXPECT_EQ(second.outcome.index, 1u);
}

// Spec.   A long text is cut, at a character's end, and that is said; the most that fits is encoded_max (I2).
TEST(EventFields, LongTextsAreCut) {
    const std::string exact(UMBEL_FIELD_TEXT_MAX, 'x');
    EXPECT_FALSE(Encoded({text("a", exact)}).outcome.truncated);
    const std::string longer(std::size_t{UMBEL_FIELD_TEXT_MAX} * 3, 'x');
    const std::string longest_name(UMBEL_FIELD_NAME_MAX, 'n');
    const Encoded cut({text(longest_name.c_str(), longer)});
    EXPECT_TRUE(cut.outcome.truncated);
    EXPECT_EQ(cut.outcome.bytes, encoded_max(1));
    EXPECT_EQ(cut.decoded()[0].text, exact);
    EXPECT_EQ(cut_text("ab\xc3\xa9", 3), "ab");
    EXPECT_EQ(cut_text("ab\xc3\xa9", 4), "ab\xc3\xa9");
    EXPECT_EQ(cut_text("a\xf0\x9f\x98\x80z", 4), "a");
    EXPECT_EQ(cut_text("\x80\x80\x80\x80\x80\x80", 4), "\x80\x80\x80\x80") << "no UTF-8: nothing to keep whole";
    EXPECT_EQ(cut_text("abc", 0), "");
}

TEST(EventFields, NamesOfEvents) {
    for (const char* good : {"http.request", "a.b", "a.b.c_1"}) EXPECT_TRUE(is_event_name(good)) << good;
    const std::string too_long = "a." + std::string(UMBEL_EVENT_NAME_MAX, 'x');
    for (const char* bad : {"", "request", ".a", "a.", "a..b", "A.b", "a.1", "a b.c", "a.b\n", too_long.c_str()}) {
        EXPECT_FALSE(is_event_name(bad)) << bad;
    }
}

}  // namespace
}  // namespace umbel::rt
