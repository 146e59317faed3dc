#include "response.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>

namespace http {

namespace {

constexpr std::array<std::string_view, 7> days = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void put_two(char* at, unsigned value) {
    at[0] = static_cast<char>('0' + value / 10);
    at[1] = static_cast<char>('0' + value % 10);
}

// Writes the 29 characters of a date.
constexpr std::size_t date_size = 29;
void put_date(char* at, std::int64_t seconds) {
    namespace chrono = std::chrono;
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

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (status != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::string_view without_weakness(std::string_view etag) {
    if (etag.starts_with("W/")) etag.remove_prefix(2);
    return etag;
}

std::string_view trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Our tags hold no comma, so an element that has one in its quotes is no match however it is cut.
bool listed(std::string_view list, std::string_view etag) {
    for (;;) {
        const std::size_t comma = list.find(',');
        const std::string_view element = trimmed(list.substr(0, comma));
        if (element == "*" || without_weakness(element) == without_weakness(etag)) return true;
        if (comma == std::string_view::npos) return false;
        list.remove_prefix(comma + 1);
    }
}

std::string first_lines(int status) {
    std::string lines = "HTTP/1.1 " + std::to_string(status) + " ";
    lines.append(reason(status)).append("\r\nServer: umbel\r\n");
    return lines;
}

void put_header(std::string& head, std::string_view name, std::string_view value) {
    head.append(name).append(": ").append(value).append("\r\n");
}

}  // namespace

std::string_view reason(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 301:
            return "Moved Permanently";
        case 304:
            return "Not Modified";
        case 400:
            return "Bad Request";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 413:
            return "Content Too Large";
        case 414:
            return "URI Too Long";
        case 417:
            return "Expectation Failed";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 501:
            return "Not Implemented";
        case 503:
            return "Service Unavailable";
        case 505:
            return "HTTP Version Not Supported";
        default:
            return "Unknown";
    }
}

std::string date(std::int64_t seconds) {
    std::string text(date_size, ' ');
    put_date(text.data(), seconds);
    return text;
}

std::optional<std::int64_t> parse_date(std::string_view text) {
    namespace chrono = std::chrono;
    if (text.size() != date_size) return std::nullopt;
    const auto month = std::ranges::find(months, text.substr(8, 3));
    const auto day = number(text.substr(5, 2));
    const auto year = number(text.substr(12, 4));
    const auto hour = number(text.substr(17, 2));
    const auto minute = number(text.substr(20, 2));
    const auto second = number(text.substr(23, 2));
    if (month == months.end() || !day || !year || !hour || !minute || !second) return std::nullopt;
    if (*year < 1970 || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
    const chrono::year_month_day date(chrono::year(static_cast<int>(*year)),
                                      chrono::month(static_cast<unsigned>(month - months.begin()) + 1),
                                      chrono::day(*day));
    if (!date.ok()) return std::nullopt;
    const auto time =
        chrono::sys_days(date) + chrono::hours(*hour) + chrono::minutes(*minute) + chrono::seconds(*second);
    const std::int64_t seconds = chrono::duration_cast<chrono::seconds>(time.time_since_epoch()).count();
    // What was not looked at above (day of the week, blanks, colons, zone) must be as we would write it.
    if (http::date(seconds) != text) return std::nullopt;
    return seconds;
}

Validators validators(std::uint64_t size, std::int64_t modified_s, std::uint32_t modified_ns) {
    std::array<char, 64> etag{};
    const int length =
        std::snprintf(etag.data(), etag.size(), "W/\"%llx.%x-%llx\"", static_cast<unsigned long long>(modified_s),
                      modified_ns, static_cast<unsigned long long>(size));
    // A file may be of any year; an HTTP date has four digits for it.
    constexpr std::int64_t last = 253402300799;
    return {std::string(etag.data(), static_cast<std::size_t>(length)), std::clamp(modified_s, std::int64_t{0}, last)};
}

bool not_modified(const Validators& file, std::string_view if_none_match, std::string_view if_modified_since) {
    if (!if_none_match.empty()) return listed(if_none_match, file.etag);
    const auto since = parse_date(if_modified_since);
    return since && file.modified <= *since;
}

std::string file_head(std::string_view content_type, std::uint64_t size, const Validators& validators) {
    std::string head = first_lines(200);
    put_header(head, "Content-Type", content_type);
    put_header(head, "Content-Length", std::to_string(size));
    put_header(head, "Last-Modified", date(validators.modified));
    put_header(head, "ETag", validators.etag);
    return head;
}

std::string not_modified_head(const Validators& validators) {
    std::string head = first_lines(304);
    put_header(head, "Last-Modified", date(validators.modified));
    put_header(head, "ETag", validators.etag);
    return head;
}

Page status_page(int status, std::string_view header) {
    const std::string title = std::to_string(status) + " " + std::string(reason(status));
    Page page;
    page.body = "<!doctype html>\n<title>" + title + "</title>\n<h1>" + title + "</h1>\n";
    page.head = first_lines(status);
    page.head.append(header);
    put_header(page.head, "Content-Type", "text/html; charset=utf-8");
    put_header(page.head, "Content-Length", std::to_string(page.body.size()));
    return page;
}

Page redirect_page(std::string_view location) {
    return status_page(301, "Location: " + std::string(location) + "\r\n");
}

std::string_view Ending::text(std::int64_t seconds, Connection connection) {
    if (seconds != seconds_ || connection != connection_ || size_ == 0) {
        constexpr std::string_view name = "Date: ";
        constexpr std::array<std::string_view, 3> lines = {"\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n",
                                                           "\r\nConnection: close\r\n\r\n"};
        const std::string_view line = lines[static_cast<std::size_t>(connection)];
        static_assert(name.size() + date_size + lines[1].size() <= sizeof text_);
        name.copy(text_.data(), name.size());
        put_date(text_.data() + name.size(), seconds);
        line.copy(text_.data() + name.size() + date_size, line.size());
        size_ = name.size() + date_size + line.size();
        seconds_ = seconds;
        connection_ = connection;
    }
    return {text_.data(), size_};
}

}  // namespace http
