#include "runtime/base/quantity.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>
#include <limits>
#include <optional>

namespace umbel::rt {
namespace {

constexpr std::size_t quoted_limit = 64;  // Bytes of what was written that an error repeats.

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

// Largest first: the printers take the first that divides.
constexpr std::array size_units = {Unit{"TiB", std::uint64_t{1} << 40}, Unit{"GiB", std::uint64_t{1} << 30},
                                   Unit{"MiB", std::uint64_t{1} << 20}, Unit{"KiB", std::uint64_t{1} << 10},
                                   Unit{"B", 1}};
constexpr std::array duration_units = {
    Unit{"h", 3'600'000'000'000}, Unit{"min", 60'000'000'000}, Unit{"s", 1'000'000'000},
    Unit{"ms", 1'000'000},        Unit{"us", 1'000},           Unit{"ns", 1}};

// What each parser accepts, the end of each of its errors.
constexpr std::string_view accepted_sizes = "write a whole number of bytes, or one with KiB, MiB, GiB or TiB: 64KiB";
constexpr std::string_view accepted_durations = "write a whole number with ns, us, ms, s, min or h: 10ms";
constexpr std::string_view accepted_integers = "write a whole number: 42";
constexpr std::string_view accepted_flags = "write true or false";
constexpr std::string_view accepted_cpus = "write CPU numbers and ranges as taskset does: 0,2-5,8-14:2";

constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
}

// `"64KB" is not a size: KB is not a unit; write …`
std::unexpected<Error> refuse(std::string_view text, std::string_view what, std::string_view cause,
                              std::string_view accepted) {
    std::string message = quotation(text);
    message.append(" is not ").append(what).append(": ").append(cause).append("; ").append(accepted);
    return fail(ErrorClass::configuration, std::move(message));
}

enum class Digits : std::uint8_t { none, good, too_many };

// Takes the digits at the front of `rest`. A number that does not fit is consumed whole and said to be too large (I2).
template <class Number>
Digits take_number(std::string_view& rest, Number& number) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error == std::errc::invalid_argument) return Digits::none;
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return error == std::errc::result_out_of_range ? Digits::too_many : Digits::good;
}

// A number and one of `units`, as a multiple of the smallest. `limit`: the largest result its type holds.
Result<std::uint64_t> parse_measure(std::string_view text, std::span<const Unit> units, std::uint64_t limit,
                                    bool needs_unit, std::string_view what, std::string_view accepted) {
    std::string_view rest = trimmed(text);
    if (rest.empty()) return refuse(text, what, "it is empty", accepted);
    if (!is_digit(rest.front())) return refuse(text, what, "it does not begin with a digit", accepted);
    std::uint64_t number = 0;
    const Digits digits = take_number(rest, number);
    rest = trimmed(rest);
    const Unit* unit = nullptr;
    for (const Unit& known : units) {
        if (known.name == rest) unit = &known;
    }
    if (!rest.empty() && unit == nullptr) return refuse(text, what, quotation(rest) + " is not a unit", accepted);
    if (digits == Digits::too_many) return refuse(text, what, "it is too large", accepted);
    if (rest.empty() && needs_unit && number != 0) return refuse(text, what, "its unit is missing", accepted);
    const std::uint64_t factor = unit == nullptr ? 1 : unit->factor;
    if (number > limit / factor) return refuse(text, what, "it is too large", accepted);  // I2
    return number * factor;
}

std::string print_measure(std::uint64_t value, std::span<const Unit> units) {
    for (const Unit& unit : units) {
        if (value % unit.factor == 0) return std::to_string(value / unit.factor).append(unit.name);
    }
    return std::to_string(value);
}

// One item of a CPU list: a number, first-last, or first-last:stride.
struct CpuRange {
    int first = 0;
    int last = 0;
    int stride = 1;
};

std::optional<int> take_cpu_number(std::string_view& rest) {
    int number = 0;
    if (rest.empty() || !is_digit(rest.front())) return std::nullopt;
    if (take_number(rest, number) != Digits::good || number > max_cpu) return max_cpu + 1;
    return number;
}

// The cause is the error.
std::expected<CpuRange, std::string> parse_cpu_range(std::string_view item) {
    std::string_view rest = trimmed(item);
    if (rest.empty()) return std::unexpected(std::string("a number is missing"));
    const std::string malformed = quotation(rest) + " is neither a CPU nor a range";
    const auto first = take_cpu_number(rest);
    if (!first) return std::unexpected(malformed);
    CpuRange range{*first, *first, 1};
    if (!rest.empty()) {
        if (rest.front() != '-') return std::unexpected(malformed);
        rest.remove_prefix(1);
        const auto last = take_cpu_number(rest);
        if (!last) return std::unexpected(malformed);
        range.last = *last;
        if (!rest.empty()) {
            if (rest.front() != ':') return std::unexpected(malformed);
            rest.remove_prefix(1);
            const auto stride = take_cpu_number(rest);
            if (!stride || !rest.empty()) return std::unexpected(malformed);
            range.stride = *stride;
        }
    }
    const std::string written = quotation(trimmed(item));
    if (range.first > max_cpu || range.last > max_cpu) {
        return std::unexpected(written + " is beyond the last possible CPU, " + std::to_string(max_cpu));
    }
    if (range.last < range.first) return std::unexpected(written + " ends before it begins");
    if (range.stride == 0) return std::unexpected(written + " has a stride of 0");
    return range;
}

}  // namespace

Result<Bytes> parse_bytes(std::string_view text) {
    const auto count =
        parse_measure(text, size_units, std::numeric_limits<std::uint64_t>::max(), false, "a size", accepted_sizes);
    if (!count) return std::unexpected(count.error());
    return Bytes{*count};
}

Result<Nanoseconds> parse_duration(std::string_view text) {
    constexpr auto limit = static_cast<std::uint64_t>(std::numeric_limits<Nanoseconds::rep>::max());
    const auto count = parse_measure(text, duration_units, limit, true, "a duration", accepted_durations);
    if (!count) return std::unexpected(count.error());
    return Nanoseconds(static_cast<Nanoseconds::rep>(*count));
}

Result<std::int64_t> parse_integer(std::string_view text) {
    std::string_view rest = trimmed(text);
    if (rest.empty()) return refuse(text, "an integer", "it is empty", accepted_integers);
    std::int64_t number = 0;
    const Digits digits = take_number(rest, number);
    if (digits == Digits::none) return refuse(text, "an integer", "it does not begin with a digit", accepted_integers);
    if (!rest.empty()) return refuse(text, "an integer", quotation(rest) + " follows the number", accepted_integers);
    if (digits == Digits::too_many) {
        return refuse(text, "an integer", "it does not fit into 64 bits", accepted_integers);  // I2
    }
    return number;
}

Result<bool> parse_flag(std::string_view text) {
    const std::string_view word = trimmed(text);
    for (const std::string_view yes : {"true", "yes", "on"}) {
        if (word == yes) return true;
    }
    for (const std::string_view no : {"false", "no", "off"}) {
        if (word == no) return false;
    }
    return refuse(text, "a flag", word.empty() ? "it is empty" : "no such word is known", accepted_flags);
}

Result<std::vector<int>> parse_cpu_list(std::string_view text) {
    std::string_view rest = trimmed(text);
    if (rest.empty()) return refuse(text, "a CPU list", "it is empty", accepted_cpus);
    std::vector<int> cpus;
    std::bitset<max_cpu + 1> named;
    for (bool more = true; more;) {
        const std::size_t comma = rest.find(',');
        const auto range = parse_cpu_range(rest.substr(0, comma));
        if (!range) return refuse(text, "a CPU list", range.error(), accepted_cpus);
        // At most max_cpu + max_cpu + 1: cannot overflow.
        for (int cpu = range->first; cpu <= range->last; cpu += range->stride) {
            if (named.test(static_cast<std::size_t>(cpu))) continue;
            named.set(static_cast<std::size_t>(cpu));
            cpus.push_back(cpu);
        }
        more = comma != std::string_view::npos;
        if (more) rest.remove_prefix(comma + 1);
    }
    return cpus;
}

std::string to_text(Bytes size) {
    // Without "B": a plain number is a size.
    return size.count == 0 ? "0" : print_measure(size.count, std::span(size_units).first(size_units.size() - 1));
}

std::string to_text(Nanoseconds duration) {
    if (duration.count() == 0) return "0";
    // Negated as unsigned: the lowest value has no positive counterpart.
    const auto bits = static_cast<std::uint64_t>(duration.count());
    return duration.count() > 0 ? print_measure(bits, duration_units) : "-" + print_measure(0 - bits, duration_units);
}

std::string to_text(std::span<const int> cpus) {
    std::string text;
    for (std::size_t i = 0; i < cpus.size();) {
        std::size_t end = i + 1;
        while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
        if (end - i < 3) end = i + 1;
        if (!text.empty()) text += ',';
        text += std::to_string(cpus[i]);
        if (end > i + 1) text.append("-").append(std::to_string(cpus[end - 1]));
        i = end;
    }
    return text;
}

std::string quotation(std::string_view text) {
    constexpr std::string_view hexadecimal = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text.substr(0, quoted_limit)) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out.append("\\").push_back(c);
        } else if (byte >= 0x20 && byte < 0x7f) {
            out.push_back(c);
        } else {
            out.append("\\x");
            out.push_back(hexadecimal[byte >> 4]);
            out.push_back(hexadecimal[byte & 15]);
        }
    }
    if (text.size() > quoted_limit) out += "…";
    return out + "\"";
}

}  // namespace umbel::rt
