#include "daemon/log_line.h"

#include <fmt/format.h>

#include <ctime>
#include <iterator>

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

void append_json_string(std::string& out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
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
        } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
            out += c;
        }
        text.remove_prefix(length == 0 ? 1 : length);
    }
    out += '"';
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

LogLine line_of(const rt::LogRecord& record) {
    const rt::Event& event = record.event;
    CHECK(event.kind < rt::EventKind::count);
    const rt::EventDescription& description = rt::describe(event.kind);
    LogLine line;
    line.time_ns = event.time_ns;
    line.level = event.level;
    line.event = description.name;
    line.message = record.text.empty() ? std::string(first_sentence(description.meaning)) : record.text;
    line.executor = static_cast<unsigned>(rt::index_of(event.executor));
    if (event.plugin != nullptr) line.plugin = event.plugin;
    line.actor = event.actor;
    for (std::size_t i = 0; i < event.values.size(); ++i) {
        if (!description.value_names[i].empty()) line.fields.emplace_back(description.value_names[i], event.values[i]);
    }
    return line;
}

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

void append_time(std::string& out, std::int64_t time_ns) {
    constexpr std::int64_t ns_per_s = 1'000'000'000;
    std::int64_t fraction = time_ns % ns_per_s;
    std::time_t seconds = time_ns / ns_per_s;
    if (fraction < 0) {
        fraction += ns_per_s;
        --seconds;
    }
    std::tm utc{};
    gmtime_r(&seconds, &utc);
    fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", utc.tm_year + 1900,
                   utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, fraction / 1000);
}

void append_json(std::string& out, const LogLine& line) {
    out += R"({"ts":")";
    append_time(out, line.time_ns);
    out += R"(","level":")";
    out += rt::name_of(line.level);
    out += R"(","event":)";
    append_json_string(out, line.event);
    out += R"(,"msg":)";
    append_json_string(out, line.message);
    if (line.executor) fmt::format_to(std::back_inserter(out), R"(,"executor":{})", *line.executor);
    if (!line.plugin.empty()) {
        out += R"(,"plugin":)";
        append_json_string(out, line.plugin);
    }
    // Text: a JSON number keeps 53 bits in many readers, an id has 64.
    if (line.actor != 0) fmt::format_to(std::back_inserter(out), R"(,"actor":"{:#x}")", line.actor);
    for (const auto& [key, value] : line.fields) {
        out += ',';
        append_json_string(out, key);
        out += ':';
        if (const auto* number = std::get_if<std::int64_t>(&value)) {
            fmt::format_to(std::back_inserter(out), "{}", *number);
        } else {
            append_json_string(out, std::get<std::string>(value));
        }
    }
    out += '}';
}

void append_text(std::string& out, const LogLine& line) {
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
    std::string separator = " (";
    const auto add = [&](std::string_view key, std::string_view value) {
        out += separator;
        append_plain(out, key);
        out += '=';
        append_plain(out, value);
        separator = ", ";
    };
    if (line.executor) add("executor", std::to_string(*line.executor));
    if (line.actor != 0) add("actor", fmt::format("{:#x}", line.actor));
    for (const auto& [key, value] : line.fields) {
        // A text among the fields is in the message already.
        if (const auto* number = std::get_if<std::int64_t>(&value)) add(key, std::to_string(*number));
    }
    if (separator == ", ") out += ')';
}

}  // namespace umbel::daemon
