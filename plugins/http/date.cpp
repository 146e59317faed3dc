#include "date.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>

namespace http {

namespace chrono = std::chrono;

namespace {

constexpr std::array<std::string_view, 7> days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 7> long_days = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};
constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void put_two(char* at, unsigned value) {
    at[0] = static_cast<char>('0' + value / 10);
    at[1] = static_cast<char>('0' + value % 10);
}

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || status != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

struct Parts {
    std::string_view day;
    std::string_view month;
    std::string_view time;  // 08:49:37
    std::optional<unsigned> year;
    std::size_t weekday = days.size();
};

// Seconds since 1970; nullopt if there is no such moment, or its day of the week is another.
std::optional<std::int64_t> moment(const Parts& parts) {
    const auto month = std::ranges::find(months, parts.month);
    const auto day = number(parts.day);
    const std::string_view time = parts.time;
    if (time.size() != 8 || time[2] != ':' || time[5] != ':') return std::nullopt;
    const auto hour = number(time.substr(0, 2));
    const auto minute = number(time.substr(3, 2));
    const auto second = number(time.substr(6, 2));
    if (month == months.end() || !day || !parts.year || !hour || !minute || !second) return std::nullopt;
    // 60: a leap second.
    if (*parts.year < 1970 || *parts.year > 9999 || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
    const chrono::year_month_day date(chrono::year(static_cast<int>(*parts.year)),
                                      chrono::month(static_cast<unsigned>(month - months.begin()) + 1),
                                      chrono::day(*day));
    if (!date.ok() || chrono::weekday(chrono::sys_days(date)).c_encoding() != parts.weekday) return std::nullopt;
    const auto at = chrono::sys_days(date) + chrono::hours(*hour) + chrono::minutes(*minute) + chrono::seconds(*second);
    return chrono::duration_cast<chrono::seconds>(at.time_since_epoch()).count();
}

template <class Names>
std::size_t index_of(const Names& names, std::string_view name) {
    return static_cast<std::size_t>(std::ranges::find(names, name) - names.begin());
}

}  // namespace

void put_date(char* at, std::int64_t seconds) {
    const chrono::sys_seconds time{chrono::seconds(seconds)};
    const auto day = chrono::floor<chrono::days>(time);
    const chrono::year_month_day date(day);
    const chrono::hh_mm_ss clock(time - day);
    std::string_view(", 00 Jan 1970 00:00:00 GMT").copy(at + 3, date_size - 3);
    days[chrono::weekday(day).c_encoding()].copy(at, 3);
    put_two(at + 5, static_cast<unsigned>(date.day()));
    months[static_cast<unsigned>(date.month()) - 1].copy(at + 8, 3);
    const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
    put_two(at + 12, year / 100);
    put_two(at + 14, year % 100);
    put_two(at + 17, static_cast<unsigned>(clock.hours().count()));
    put_two(at + 20, static_cast<unsigned>(clock.minutes().count()));
    put_two(at + 23, static_cast<unsigned>(clock.seconds().count()));
}

std::string date(std::int64_t seconds) {
    std::string text(date_size, ' ');
    put_date(text.data(), seconds);
    return text;
}

std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now) {
    Parts parts;
    if (text.size() == date_size && text.substr(3, 2) == ", ") {  // Sun, 06 Nov 1994 08:49:37 GMT
        if (text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text.substr(25) != " GMT") return std::nullopt;
        parts = {text.substr(5, 2), text.substr(8, 3), text.substr(17, 8), number(text.substr(12, 4)),
                 index_of(days, text.substr(0, 3))};
        return moment(parts);
    }
    if (const std::size_t comma = text.find(','); comma != std::string_view::npos) {  // Sunday, 06-Nov-94 08:49:37 GMT
        const std::string_view rest = text.substr(comma);
        if (rest.size() != 24 || rest[1] != ' ' || rest[4] != '-' || rest[8] != '-' || rest[11] != ' ' ||
            rest.substr(20) != " GMT")
            return std::nullopt;
        const auto two = number(rest.substr(9, 2));
        if (!two) return std::nullopt;
        const auto this_year = static_cast<unsigned>(1970 + now / 31556952);
        unsigned year = this_year / 100 * 100 + *two;
        if (year > this_year + 50) year -= 100;
        parts = {rest.substr(2, 2), rest.substr(5, 3), rest.substr(12, 8), year,
                 index_of(long_days, text.substr(0, comma))};
        return moment(parts);
    }
    if (text.size() == 24) {  // Sun Nov  6 08:49:37 1994
        if (text[3] != ' ' || text[7] != ' ' || text[10] != ' ' || text[19] != ' ') return std::nullopt;
        parts = {text.substr(text[8] == ' ' ? 9 : 8, text[8] == ' ' ? 1 : 2), text.substr(4, 3), text.substr(11, 8),
                 number(text.substr(20, 4)), index_of(days, text.substr(0, 3))};
        return moment(parts);
    }
    return std::nullopt;
}

}  // namespace http
