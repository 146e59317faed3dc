#include "daemon/log_line.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <iterator>
#include <limits>

#include "runtime/base/check.h"

namespace umbel::daemon {

namespace {

/// The length of the well-formed UTF-8 sequence `text` begins with (Unicode, table 3-7); 0 if it begins with none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
    const unsigned first = byte(0);
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return continues(1) ? 2 : 0;
    if (first < 0xf0) {
        const unsigned low = first == 0xe0 ? 0xa0 : 0x80;   // no overlong form
        const unsigned high = first == 0xed ? 0x9f : 0xbf;  // no surrogate
        return byte(1) >= low && byte(1) <= high && continues(2) ? 3 : 0;
    }
    if (first < 0xf5) {
        const unsigned low = first == 0xf0 ? 0x90 : 0x80;
        const unsigned high = first == 0xf4 ? 0x8f : 0xbf;  // at most U+10FFFF
        return byte(1) >= low && byte(1) <= high && continues(2) && continues(3) ? 4 : 0;
    }
    return 0;
}

constexpr std::string_view replacement = "\xef\xbf\xbd";  // U+FFFD

/// Bytes that stand for themselves in a JSON string: printable ASCII but the quote and the backslash.
constexpr std::array<bool, 256> stands_for_itself = [] {
    std::array<bool, 256> table{};
    for (std::size_t c = 0x20; c < 0x7f; ++c) table[c] = c != '"' && c != '\\';
    return table;
}();

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
        std::size_t plain = 0;
        while (plain < text.size() && stands_for_itself[static_cast<unsigned char>(text[plain])]) ++plain;
        out.append(text, 0, plain);
        text.remove_prefix(plain);
        if (text.empty()) break;
        const std::size_t length = utf8_length(text);
        const char c = text.front();
        if (length == 0) {
            out += replacement;
        } else if (length > 1) {
            out += text.substr(0, length);
        } else if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    out += '"';
}

void append_number(std::string& out, std::int64_t number) {
    const fmt::format_int digits(number);
    out.append(digits.data(), digits.size());
}

/// "null" for one that JSON cannot spell.
void append_number(std::string& out, double number) {
    if (std::isfinite(number)) {
        fmt::format_to(std::back_inserter(out), "{}", number);
    } else {
        out += "null";
    }
}

void append_id(std::string& out, std::uint64_t actor) {
    std::array<char, 20> digits{'0', 'x'};
    const auto end = std::to_chars(digits.data() + 2, digits.data() + digits.size(), actor, 16).ptr;
    out.append(digits.data(), end);
}

void append_plain(std::string& out, std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        const auto byte = static_cast<unsigned char>(text.front());
        const bool c1_control = length == 2 && byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
        if (length == 0 || c1_control) {
            out += replacement;
        } else if (length == 1 && byte == '\n') {
            out += "\\n";
        } else if (length == 1 && (byte < 0x20 || byte == 0x7f)) {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
        } else {
            out += text.substr(0, length);
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
}

/// What a line without a text says: the first sentence of the event's meaning, without its full stop.
std::string_view first_sentence(std::string_view meaning) {
    const std::size_t end = meaning.find(". ");
    if (end != std::string_view::npos) return meaning.substr(0, end);
    return meaning.substr(0, meaning.ends_with('.') ? meaning.size() - 1 : meaning.size());
}

}  // namespace

LogLine line_of(rt::EventKind kind, std::string message, std::initializer_list<std::int64_t> values) {
    const rt::EventDescription& description = rt::describe(kind);
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    LogLine line;
    line.time_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
    line.level = description.level;
    line.event = description.name;
    line.message = message.empty() ? std::string(first_sentence(description.meaning)) : std::move(message);
    std::size_t i = 0;
    for (const std::int64_t value : values) {
        CHECK(i < description.value_names.size());
        CHECK(!description.value_names[i].empty());
        line.fields.emplace_back(description.value_names[i++], value);
    }
    return line;
}

LineView::LineView(const LogLine& line)
    : time_ns(line.time_ns),
      level(line.level),
      event(line.event),
      message(line.message),
      executor(line.executor),
      plugin(line.plugin),
      actor(line.actor),
      line_(&line) {}

LineView::LineView(const rt::LogRecord& record)
    : time_ns(record.event.time_ns),
      level(record.event.level),
      message(record.text),
      executor(static_cast<unsigned>(rt::index_of(record.event.executor))),
      actor(record.event.actor),
      truncated(record.event.truncated),
      record_(&record) {
    CHECK(record.event.kind < rt::EventKind::count);
    const rt::EventDescription& description = rt::describe(record.event.kind);
    event = record.event.kind == rt::EventKind::plugin_event ? record.name : description.name;
    if (message.empty() && record.event.kind != rt::EventKind::plugin_event) {
        message = first_sentence(description.meaning);
    }
    if (record.event.plugin != nullptr) plugin = record.event.plugin;
}

LineView::Value LineView::value_of(const rt::EventField& field) {
    switch (field.type) {
        case UMBEL_FIELD_TEXT:
            return field.text;
        case UMBEL_FIELD_NUMBER:
            return field.number;
        case UMBEL_FIELD_FLAG:
            return field.integer != 0;
        default:
            return field.integer;
    }
}

void append_time(std::string& out, std::int64_t time_ns) {
    constexpr std::int64_t ns_per_s = 1'000'000'000;
    std::int64_t fraction = time_ns % ns_per_s;
    std::time_t seconds = time_ns / ns_per_s;
    if (fraction < 0) {
        fraction += ns_per_s;
        --seconds;
    }
    // Most lines are of the same second as the one before.
    thread_local std::time_t spelt_second = std::numeric_limits<std::time_t>::min();
    thread_local std::string spelt;
    if (seconds != spelt_second) {
        std::tm utc{};
        gmtime_r(&seconds, &utc);
        spelt = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                            utc.tm_hour, utc.tm_min, utc.tm_sec);
        spelt_second = seconds;
    }
    out += spelt;
    std::array<char, 7> digits{'0', '0', '0', '0', '0', '0', 'Z'};
    std::int64_t microseconds = fraction / 1000;
    for (std::size_t i = 6; i-- > 0; microseconds /= 10) digits[i] = static_cast<char>('0' + microseconds % 10);
    out.append(digits.data(), digits.size());
}

void append_json(std::string& out, const LineView& line) {
    out += R"({"ts":")";
    append_time(out, line.time_ns);
    out += R"(","level":")";
    out += rt::name_of(line.level);
    out += R"(","event":)";
    append_json_string(out, line.event);
    out += R"(,"msg":)";
    append_json_string(out, line.message);
    if (line.executor) {
        out += R"(,"executor":)";
        append_number(out, std::int64_t{*line.executor});
    }
    if (!line.plugin.empty()) {
        out += R"(,"plugin":)";
        append_json_string(out, line.plugin);
    }
    // Text: a JSON number keeps 53 bits in many readers, an id has 64.
    if (line.actor != 0) {
        out += R"(,"actor":")";
        append_id(out, line.actor);
        out += '"';
    }
    line.each_field([&](std::string_view name, const LineView::Value& value) {
        out += ',';
        append_json_string(out, name);
        out += ':';
        if (const auto* text = std::get_if<std::string_view>(&value)) {
            append_json_string(out, *text);
        } else if (const auto* flag = std::get_if<bool>(&value)) {
            out += *flag ? "true" : "false";
        } else if (const auto* number = std::get_if<double>(&value)) {
            append_number(out, *number);
        } else {
            append_number(out, std::get<std::int64_t>(value));
        }
    });
    if (line.truncated) out += R"(,"truncated":true)";
    out += '}';
}

void append_text(std::string& out, const LineView& line) {
    constexpr std::string_view levels[] = {"TRACE", "DEBUG", "INFO", "WARNING", "ERROR"};
    append_time(out, line.time_ns);
    fmt::format_to(std::back_inserter(out), " {:<7} ", levels[static_cast<std::size_t>(line.level)]);
    append_plain(out, line.event);
    out += ' ';
    if (!line.plugin.empty()) {
        append_plain(out, line.plugin);
        out += ": ";
    }
    append_plain(out, line.message);
    std::string_view separator = " (";
    const auto key = [&](std::string_view name) {
        out += separator;
        append_plain(out, name);
        out += '=';
        separator = ", ";
    };
    if (line.executor) {
        key("executor");
        append_number(out, std::int64_t{*line.executor});
    }
    if (line.actor != 0) {
        key("actor");
        append_id(out, line.actor);
    }
    line.each_field([&](std::string_view name, const LineView::Value& value) {
        if (const auto* text = std::get_if<std::string_view>(&value)) {
            if (line.says_its_texts()) return;
            key(name);
            append_plain(out, *text);
            return;
        }
        key(name);
        if (const auto* flag = std::get_if<bool>(&value)) {
            out += *flag ? "true" : "false";
        } else if (const auto* number = std::get_if<double>(&value)) {
            append_number(out, *number);
        } else {
            append_number(out, std::get<std::int64_t>(value));
        }
    });
    if (line.truncated) {
        key("truncated");
        out += "true";
    }
    if (separator == ", ") out += ')';
}

void append_journal(std::string& out, const LineView& line) {
    constexpr std::string_view priorities[] = {"7", "7", "6", "4", "3"};
    constexpr std::size_t longest_name = 64;
    std::string text;
    const auto field = [&](std::string_view prefix, std::string_view name, std::string_view value) {
        const std::size_t begin = out.size();
        out += prefix;
        for (const char c : name.substr(0, longest_name - prefix.size())) {
            const bool lower = c >= 'a' && c <= 'z';
            const bool plain = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
            out += lower ? static_cast<char>(c - 'a' + 'A') : plain ? c : '_';
        }
        DCHECK(out.size() > begin && out[begin] != '_');  // I3
        if (!value.contains('\n')) {
            out += '=';
        } else {
            out += '\n';
            for (std::uint64_t length = value.size(), i = 0; i < 8; ++i, length >>= 8) {
                out += static_cast<char>(length & 0xff);
            }
        }
        out += value;
        out += '\n';
    };
    // As for people, so that journalctl shows it and not [blob data].
    const auto readable = [&](std::string_view value) -> std::string_view {
        text.clear();
        append_plain(text, value);
        return text;
    };
    const auto number = [&](std::int64_t value) -> std::string_view {
        text.clear();
        append_number(text, value);
        return text;
    };
    field("", "MESSAGE", readable(line.message));
    field("", "PRIORITY", priorities[static_cast<std::size_t>(line.level)]);
    field("", "SYSLOG_IDENTIFIER", "umbeld");
    field("UMBEL_", "EVENT", readable(line.event));
    text.clear();
    append_time(text, line.time_ns);
    field("UMBEL_", "TS", text);
    if (line.executor) field("UMBEL_", "EXECUTOR", number(std::int64_t{*line.executor}));
    if (!line.plugin.empty()) field("UMBEL_", "PLUGIN", readable(line.plugin));
    if (line.actor != 0) {
        text.clear();
        append_id(text, line.actor);
        field("UMBEL_", "ACTOR", text);
    }
    line.each_field([&](std::string_view name, const LineView::Value& value) {
        if (const auto* words = std::get_if<std::string_view>(&value)) {
            field("UMBEL_", name, *words);
        } else if (const auto* flag = std::get_if<bool>(&value)) {
            field("UMBEL_", name, *flag ? "true" : "false");
        } else if (const auto* real = std::get_if<double>(&value)) {
            text.clear();
            append_number(text, *real);
            field("UMBEL_", name, text);
        } else {
            field("UMBEL_", name, number(std::get<std::int64_t>(value)));
        }
    });
    if (line.truncated) field("UMBEL_", "TRUNCATED", "true");
}

}  // namespace umbel::daemon
