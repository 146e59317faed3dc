// log_line.h: one line of the log, and its three spellings.
//
// Why.    A log line is read by programs: whatever a plugin or a peer put into a text (quotes, newlines, broken UTF-8),
//         the line stays one line of valid JSON, or of text.
// Shape.  The daemon's own events are LogLines, the runtime's and the plugins' are records (runtime/base/event.h); a
//         LineView shows either, and append_json, append_text and append_journal write it. Keys in this order: ts, level, event, msg,
//         executor, plugin, actor, then the event's own, then truncated if a text was.
// Invariants (tests/fuzz/daemon/log_line_fuzz.cpp)
//   I1  append_json adds exactly one JSON object (RFC 8259, UTF-8) without a line break
//   I2  append_text adds exactly one line's worth: no control character
//   I3  append_journal adds fields that journald takes: NAME=VALUE\n, or NAME\n, 8 B of length, VALUE\n; names of A-Z, 0-9
//       and _, at most 64, not beginning with _
// Cost.   append_json: some 400 ns for a line of ten fields, 400 B, and no allocation once `out` has grown.
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
#include "runtime/base/event_fields.h"

namespace umbel::daemon {

/// A line of the daemon's own.
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

/// A line of the daemon's own, now. values: the numbers the table names for this kind, in its order.
[[nodiscard]] LogLine line_of(rt::EventKind kind, std::string message, std::initializer_list<std::int64_t> values = {});

/// What the spellings are made of: a line of the daemon's or a record of the runtime's, which must outlive it.
class LineView {
public:
    using Value = std::variant<std::int64_t, double, bool, std::string_view>;

    explicit LineView(const LogLine& line);
    explicit LineView(const rt::LogRecord& record);

    /// Calls visit(name, value) for each of the event's own keys, in their order.
    template <class Visit>
    void each_field(Visit&& visit) const {
        if (line_ != nullptr) {
            for (const auto& [name, value] : line_->fields) {
                const auto* number = std::get_if<std::int64_t>(&value);
                visit(std::string_view(name), number != nullptr ? Value(*number) : Value(std::get<std::string>(value)));
            }
            return;
        }
        const auto& names = rt::describe(record_->event.kind).value_names;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (!names[i].empty()) visit(names[i], Value(record_->event.values[i]));
        }
        std::string_view rest = record_->fields;
        rt::EventField field;
        while (rt::next_field(rest, field)) visit(field.name, value_of(field));
    }

    std::int64_t time_ns;
    rt::Level level;
    std::string_view event;
    std::string_view message;
    std::optional<unsigned> executor;
    std::string_view plugin;
    std::uint64_t actor;
    bool truncated = false;  // a text of it was longer than what is kept
    /// Its texts are no more than what the message says already.
    [[nodiscard]] bool says_its_texts() const { return line_ != nullptr; }

private:
    [[nodiscard]] static Value value_of(const rt::EventField& field);

    const LogLine* line_ = nullptr;
    const rt::LogRecord* record_ = nullptr;
};

void append_json(std::string& out, const LineView& line);
void append_text(std::string& out, const LineView& line);
/// A datagram of journald's native protocol: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, UMBEL_EVENT, UMBEL_TS, UMBEL_EXECUTOR,
/// UMBEL_PLUGIN, UMBEL_ACTOR, then UMBEL_KEY for each of the event's own keys.
void append_journal(std::string& out, const LineView& line);

/// "2026-11-22T08:16:14.123456Z"
void append_time(std::string& out, std::int64_t time_ns);

}  // namespace umbel::daemon
