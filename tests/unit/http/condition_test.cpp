#include "plugins/http/condition.h"

#include <gtest/gtest.h>

#include <string>

#include "plugins/http/date.h"

namespace http {
namespace {

constexpr std::int64_t then = 784111777;
constexpr std::int64_t now = then + 100000;

// Spec.   A tag is strong if the file had not been changed for more than two seconds, and another for each size, time and
//         coding.                                                                                        (RFC 9110, 8.8)
TEST(Condition, Validators) {
    const std::string tag = validators(1024, then, 500, "", now).etag;
    EXPECT_TRUE(tag.starts_with('"'));
    EXPECT_TRUE(validators(1024, then, 500, "", now).strong);
    EXPECT_EQ(validators(1024, then, 500, "", then + 3).etag, tag);
    EXPECT_EQ(validators(1024, then, 500, "", then + 2).etag, "W/" + tag);
    EXPECT_FALSE(validators(1024, then, 500, "", then + 2).strong);
    EXPECT_FALSE(validators(1024, then, 500, "", then - 50).strong);
    EXPECT_NE(validators(1025, then, 500, "", now).etag, tag);
    EXPECT_NE(validators(1024, then + 1, 500, "", now).etag, tag);
    EXPECT_NE(validators(1024, then, 501, "", now).etag, tag);
    EXPECT_NE(validators(1024, then, 500, "br", now).etag, tag);
    EXPECT_EQ(validators(1, now + 1000, 0, "", now).modified, now);  // 8.8.2.1: never in the future
    EXPECT_EQ(validators(1, -5, 0, "", now).modified, 0);
}

// Spec.   8.8.3.2: the four rows of the RFC's table, and what is no tag matches nothing.
TEST(Condition, Comparison) {
    struct Row {
        const char* a;
        const char* b;
        bool strong;
        bool weak;
    };
    for (const Row& row : {Row{"W/\"1\"", "W/\"1\"", false, true}, Row{"W/\"1\"", "W/\"2\"", false, false},
                           Row{"W/\"1\"", "\"1\"", false, true}, Row{"\"1\"", "\"1\"", true, true}}) {
        EXPECT_EQ(lists_etag(row.a, row.b, true), row.strong) << row.a << row.b;
        EXPECT_EQ(lists_etag(row.a, row.b, false), row.weak) << row.a << row.b;
    }
    EXPECT_TRUE(lists_etag("*", "\"1\"", true));
    EXPECT_TRUE(lists_etag("\"a,b\", \"1\"", "\"1\"", true));
    EXPECT_FALSE(lists_etag("\"x,\"1\"\"", "\"1\"", true));
    for (const char* list : {"", "1", "\"1", "1\"", "w/\"1\"", "\"*\"", "*, \"2\"", "\"1\"x"})
        EXPECT_FALSE(lists_etag(list, "\"1\"", false)) << list;
}

// Spec.   13.2.2: the order of precedence, for GET and for methods that change something.
TEST(Condition, Precedence) {
    const Validators file = validators(1024, then, 0, "", now);
    const std::string same = date(then);
    const std::string before = date(then - 1);
    const std::string after = date(then + 1);
    const std::string& tag = file.etag;
    const std::string weak = "W/" + tag;
    const auto judge = [&](Conditions conditions, bool safe = true) {
        conditions.has_if_match = !conditions.if_match.empty();
        conditions.has_if_none_match = !conditions.if_none_match.empty();
        return evaluate(conditions, file, safe, now);
    };
    EXPECT_EQ(judge({}), Verdict::perform);
    // 13.1.1, 13.1.4
    EXPECT_EQ(judge({.if_match = tag}), Verdict::perform);
    EXPECT_EQ(judge({.if_match = "*"}), Verdict::perform);
    EXPECT_EQ(judge({.if_match = weak}), Verdict::failed);
    EXPECT_EQ(judge({.if_match = "\"x\""}), Verdict::failed);
    EXPECT_EQ(judge({.if_match = tag, .if_unmodified_since = before}), Verdict::perform);
    EXPECT_EQ(judge({.if_unmodified_since = before}), Verdict::failed);
    EXPECT_EQ(judge({.if_unmodified_since = same}), Verdict::perform);
    EXPECT_EQ(judge({.if_unmodified_since = "yesterday"}), Verdict::perform);
    // 13.1.2, 13.1.3
    EXPECT_EQ(judge({.if_none_match = tag}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_none_match = weak}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_none_match = "*"}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_none_match = tag}, false), Verdict::failed);
    EXPECT_EQ(judge({.if_none_match = "\"x\"", .if_modified_since = same}), Verdict::perform);
    EXPECT_EQ(judge({.if_none_match = tag, .if_modified_since = before}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_modified_since = same}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_modified_since = after}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_modified_since = before}), Verdict::perform);
    EXPECT_EQ(judge({.if_modified_since = same}, false), Verdict::perform);
    EXPECT_EQ(judge({.if_modified_since = "nonsense"}), Verdict::perform);
    // Both kinds.
    EXPECT_EQ(judge({.if_match = "\"x\"", .if_none_match = tag}), Verdict::failed);
    EXPECT_EQ(judge({.if_match = tag, .if_none_match = tag}), Verdict::not_modified);
    EXPECT_EQ(judge({.if_modified_since = same, .if_unmodified_since = before}), Verdict::failed);
    // An empty field is there, and matches nothing.
    EXPECT_EQ(evaluate({.has_if_match = true}, file, true, now), Verdict::failed);
    EXPECT_EQ(evaluate({.if_modified_since = same, .has_if_none_match = true}, file, true, now), Verdict::perform);
}

// Spec.   13.1.5: parts are only sent to who has the very same file.
TEST(Condition, IfRange) {
    const Validators file = validators(1024, then, 0, "", now);
    EXPECT_TRUE(range_applies(file.etag, file, now));
    EXPECT_TRUE(range_applies(date(then), file, now));
    EXPECT_FALSE(range_applies("W/" + file.etag, file, now));
    EXPECT_FALSE(range_applies("\"x\"", file, now));
    EXPECT_FALSE(range_applies(date(then - 1), file, now));
    EXPECT_FALSE(range_applies(date(then + 1), file, now));
    EXPECT_FALSE(range_applies("*", file, now));
    EXPECT_FALSE(range_applies("", file, now));
    const Validators fresh = validators(1024, then, 0, "", then + 1);
    EXPECT_FALSE(range_applies(fresh.etag, fresh, then + 1));
    EXPECT_FALSE(range_applies(date(then), fresh, then + 1));
}

}  // namespace
}  // namespace http
