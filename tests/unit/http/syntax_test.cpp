#include "plugins/http/syntax.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace http {
namespace {

// Spec.   The classes of RFC 9110, 5.6.2 and 5.5.
TEST(Syntax, Classes) {
    EXPECT_TRUE(is_token("Content-Type!#$%&'*+.^_`|~09"));
    for (const std::string_view text : {"", "a b", "a:", "a\t", "\xc3\xa4", "a\"", "(", "a/b", "{"})
        EXPECT_FALSE(is_token(text)) << text;
    EXPECT_TRUE(is_value("a b\tc \xff"));
    EXPECT_TRUE(is_value(""));
    for (const char c : {'\0', '\x01', '\r', '\n', '\x1f', '\x7f'}) EXPECT_FALSE(is_value(std::string("a") + c));
    EXPECT_TRUE(is_visible("/a%20\xc3\xa4"));
    EXPECT_FALSE(is_visible("/a b"));
    EXPECT_FALSE(is_visible("/a\t"));
}

TEST(Syntax, Numbers) {
    EXPECT_EQ(parse_number("0"), 0U);
    EXPECT_EQ(parse_number("007"), 7U);
    EXPECT_EQ(parse_number("18446744073709551615"), ~std::uint64_t{0});
    EXPECT_EQ(parse_number("18446744073709551616"), ~std::uint64_t{0});
    EXPECT_EQ(parse_number("99999999999999999999999999999999"), ~std::uint64_t{0});
    for (const std::string_view text : {"", "-1", "+1", " 1", "1 ", "0x1", "1.0", "a"})
        EXPECT_EQ(parse_number(text), std::nullopt) << text;
}

// Spec.   Lists are taken apart at commas outside of quotes; empty elements do not count.
TEST(Syntax, Lists) {
    const auto elements = [](std::string_view list) {
        std::vector<std::string> all;
        while (const auto element = next_element(list)) all.emplace_back(*element);
        return all;
    };
    using Elements = std::vector<std::string>;
    EXPECT_EQ(elements(""), Elements{});
    EXPECT_EQ(elements(" , ,\t,"), Elements{});
    EXPECT_EQ(elements("a"), Elements{"a"});
    EXPECT_EQ(elements(" a ,, b;q=1\t,c"), (Elements{"a", "b;q=1", "c"}));
    EXPECT_EQ(elements("\"a,b\", W/\"c\""), (Elements{"\"a,b\"", "W/\"c\""}));
    EXPECT_EQ(elements("\"a,b"), Elements{"\"a,b"});
    EXPECT_TRUE(has_element("Keep-Alive, CLOSE", "close"));
    EXPECT_FALSE(has_element("closed, enclose", "close"));
}

}  // namespace
}  // namespace http
