// log_line.h: one line of the log, and its two spellings.
//
// Why.    A log line is read by programs: whatever a plugin or a peer put into a text (quotes, newlines, broken UTF-8),
//         the line stays one line of valid JSON, or of text.
// Shape.  Runtime events (runtime/base/event.h) and the daemon's own become a LogLine; append_json and append_text
//         write it. Keys in this order: ts, level, event, msg, executor, plugin, actor, then the event's own.
// Invariants (tests/fuzz/daemon/log_line_fuzz.cpp)
//   I1  append_json adds exactly one JSON object (RFC 8259, UTF-8) without a line break
//   I2  append_text adds exactly one line's worth: no control character
// Not here.  Where lines go: log.h. Meanings: the event table, docs/log-events.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/base/event.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

struct LogLine {
    std::int64_t time_ns = 0;  // since 1970
    rt::Level level = rt::Level::info;
    std::string_view event;  // a name of the event table
    std::string message;
    std::optional<unsigned> executor;
    std::string plugin;       // "": none
    std::uint64_t actor = 0;  // 0: none
    std::vector<std::pair<std::string, std::variant<std::int64_t, std::string>>> fields;
};

/// The line of a runtime's record.
[[nodiscard]] LogLine line_of(const rt::LogRecord& record);

/// A line of the daemon's own, now. values: the numbers the table names for this kind, in its order.
[[nodiscard]] LogLine line_of(rt::EventKind kind, std::string message, std::initializer_list<std::int64_t> values = {});

void append_json(std::string& out, const LogLine& line);
void append_text(std::string& out, const LogLine& line);

/// "2026-11-22T08:16:14.123456Z"
void append_time(std::string& out, std::int64_t time_ns);

}  // namespace umbel::daemon
