#include "listing.h"

#include <algorithm>
#include <chrono>

#include "path.h"

namespace http {

namespace {

std::string minute(std::int64_t seconds) {
    namespace chrono = std::chrono;
    const auto day = chrono::floor<chrono::days>(chrono::sys_seconds{chrono::seconds(seconds)});
    const chrono::year_month_day date(day);
    const chrono::hh_mm_ss clock(chrono::sys_seconds{chrono::seconds(seconds)} - day);
    const auto two = [](unsigned value) { return std::string{char('0' + value / 10 % 10), char('0' + value % 10)}; };
    return std::to_string(static_cast<int>(date.year())) + "-" + two(unsigned(date.month())) + "-" +
           two(unsigned(date.day())) + " " + two(unsigned(clock.hours().count())) + ":" +
           two(unsigned(clock.minutes().count()));
}

}  // namespace

std::string escape_html(std::string_view text) {
    std::string escaped;
    escaped.reserve(text.size());
    for (const char c : text) {
        switch (c) {
            case '&':
                escaped += "&amp;";
                break;
            case '<':
                escaped += "&lt;";
                break;
            case '>':
                escaped += "&gt;";
                break;
            case '"':
                escaped += "&quot;";
                break;
            case '\'':
                escaped += "&#39;";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
                    escaped += "\xef\xbf\xbd";
                } else {
                    escaped += c;
                }
        }
    }
    return escaped;
}

std::string listing_page(std::string_view path, std::vector<FolderEntry> entries, bool complete) {
    std::ranges::sort(entries, [](const FolderEntry& a, const FolderEntry& b) {
        return a.folder != b.folder ? a.folder : a.name < b.name;
    });
    const std::string title = "/" + escape_html(path);
    std::string page =
        "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
        title + "</title>\n<h1>" + title + "</h1>\n<table>\n";
    if (!path.empty()) page += "<tr><td><a href=\"../\">../</a><td><td>\n";
    for (const FolderEntry& entry : entries) {
        const std::string slash = entry.folder ? "/" : "";
        // "./" in front: a name with a colon is no scheme.
        page.append("<tr><td><a href=\"./").append(escape_html(encode_path(entry.name))).append(slash).append("\">");
        page.append(escape_html(entry.name)).append(slash).append("</a><td>");
        if (!entry.folder) page.append(std::to_string(entry.size));
        page.append("<td>").append(minute(entry.modified)).append("\n");
    }
    page += "</table>\n";
    if (!complete) page += "<p>There are more.</p>\n";
    return page;
}

}  // namespace http
