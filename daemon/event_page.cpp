#include "daemon/event_page.h"

#include "runtime/base/event.h"

namespace umbel::daemon {

namespace {

constexpr std::string_view begin_marker = "<!-- events: written by scripts/log-events -->\n";
constexpr std::string_view end_marker = "<!-- events: end -->\n";

std::string event_rows() {
    std::string rows = "| event | level | keys of its own | meaning |\n|---|---|---|---|\n";
    for (const rt::EventDescription& event : rt::event_table) {
        std::string keys;
        for (const std::string_view key : event.value_names) {
            if (!key.empty()) keys += (keys.empty() ? "`" : ", `") + std::string(key) + "`";
        }
        rows += "| `" + std::string(event.name) + "` | " + std::string(rt::name_of(event.level)) + " | " +
                (keys.empty() ? "–" : keys) + " | " + std::string(event.meaning) + " |\n";
    }
    return rows;
}

}  // namespace

rt::Result<std::string> with_event_table(std::string_view page) {
    const std::size_t begin = page.find(begin_marker);
    const std::size_t end = page.find(end_marker);
    if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) {
        return rt::fail(rt::ErrorClass::failure,
                        "the page lacks its lines \"" + std::string(begin_marker.substr(0, begin_marker.size() - 1)) +
                            "\" and \"" + std::string(end_marker.substr(0, end_marker.size() - 1)) + "\"");
    }
    const std::size_t rows = begin + begin_marker.size();
    return std::string(page.substr(0, rows)) + event_rows() + std::string(page.substr(end));
}

}  // namespace umbel::daemon
