#include "syntax.h"

#include <limits>

namespace http {

std::optional<std::uint64_t> parse_number(std::string_view text) {
    constexpr std::uint64_t largest = std::numeric_limits<std::uint64_t>::max();
    if (text.empty()) return std::nullopt;
    std::uint64_t value = 0;
    for (const char c : text) {
        if (!is_digit(c)) return std::nullopt;
        const auto digit = static_cast<std::uint64_t>(c - '0');
        value = value > (largest - digit) / 10 ? largest : value * 10 + digit;
    }
    return value;
}

std::optional<std::string_view> next_element(std::string_view& list) {
    while (!list.empty()) {
        bool quoted = false;
        std::size_t end = 0;
        for (; end < list.size() && (quoted || list[end] != ','); ++end) {
            if (list[end] == '"') quoted = !quoted;
        }
        const std::string_view element = trimmed(list.substr(0, end));
        list.remove_prefix(end < list.size() ? end + 1 : end);
        if (!element.empty()) return element;
    }
    return std::nullopt;
}

bool has_element(std::string_view list, std::string_view element) {
    while (const auto next = next_element(list)) {
        if (same_name(*next, element)) return true;
    }
    return false;
}

}  // namespace http
