// syntax.h: the small pieces of HTTP's grammar that every header is made of.
//
// Shape.  Pure functions over views; nothing is copied.
// Source. RFC 9110, 5.5 and 5.6.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace http {

namespace detail {
constexpr std::uint8_t of_token = 1;
constexpr std::uint8_t of_value = 2;
constexpr std::uint8_t of_target = 4;
inline constexpr std::array<std::uint8_t, 256> classes = [] {
    std::array<std::uint8_t, 256> table{};
    for (unsigned c = 0x20; c < 256; ++c) {
        if (c != 0x7f) table[c] = of_value;
        if (c != 0x7f && c != 0x20) table[c] |= of_target;
    }
    table['\t'] = of_value;
    for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789"
                                         "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
        table[static_cast<unsigned char>(c)] |= of_token;
    return table;
}();
constexpr bool all_of(std::string_view text, std::uint8_t which) {
    std::uint8_t all = which;
    for (const char c : text) all &= classes[static_cast<unsigned char>(c)];
    return all != 0;
}
}  // namespace detail

constexpr bool is_token_char(char c) {
    return (detail::classes[static_cast<unsigned char>(c)] & detail::of_token) != 0;
}
/// A token (5.6.2): not empty.
constexpr bool is_token(std::string_view text) { return !text.empty() && detail::all_of(text, detail::of_token); }
/// What a header's value may consist of (5.5): no control characters but the tabulator.
constexpr bool is_value(std::string_view text) { return detail::all_of(text, detail::of_value); }
/// No blank and no control character. (Which of the rest mean something is path.h's business.)
constexpr bool is_visible(std::string_view text) { return detail::all_of(text, detail::of_target); }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
/// Names and most keywords do not know capitals from small letters.
constexpr bool same_name(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}

/// Without the blanks and tabulators around it (OWS, 5.6.3).
constexpr std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// A decimal number of digits alone; too large ones are the largest there is. nullopt: it is none.
std::optional<std::uint64_t> parse_number(std::string_view text);

/// Takes the next element that is not empty from the front of a list (5.6.1); commas in quotes do not separate.
/// nullopt: there are no more.
std::optional<std::string_view> next_element(std::string_view& list);

/// The list has this element, whatever its capitals.
bool has_element(std::string_view list, std::string_view element);

}  // namespace http
