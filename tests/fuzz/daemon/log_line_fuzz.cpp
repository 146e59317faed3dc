// Fuzzes log_line.h and event_fields.h: the input is cut into the texts and numbers of a line, and into a plugin's fields
// with names, types and texts as they come.
//
// Whatever the bytes: one line of JSON that a strict parser takes and that says what was put in (I1), one line of plain
// text (I2), a datagram of fields that journald takes (I3). Fields that are encoded have sound, distinct keys.
#include "daemon/log_line.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/check.h"

using namespace umbel;

namespace {

/// Takes the fields of a datagram off one by one, as journald does (I3).
void check_journal(std::string_view datagram) {
    std::size_t fields = 0;
    for (; !datagram.empty(); ++fields) {
        const std::size_t end = datagram.find_first_of("=\n");
        CHECK(end != std::string_view::npos);
        const std::string_view name = datagram.substr(0, end);
        CHECK(!name.empty() && name.size() <= 64 && name.front() >= 'A' && name.front() <= 'Z');
        CHECK(std::ranges::all_of(name,
                                  [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }));
        if (datagram[end] == '=') {
            const std::size_t newline = datagram.find('\n', end);
            CHECK(newline != std::string_view::npos);
            datagram.remove_prefix(newline + 1);
            continue;
        }
        datagram.remove_prefix(end + 1);
        CHECK(datagram.size() >= 8);
        std::uint64_t length = 0;
        std::memcpy(&length, datagram.data(), sizeof length);
        CHECK(datagram.size() > 8 + length);
        CHECK(datagram[8 + length] == '\n');
        datagram.remove_prefix(8 + length + 1);
    }
    CHECK(fields >= 5);
}

void check_text(std::string_view plain) {
    for (const char c : plain) {
        CHECK(static_cast<unsigned char>(c) >= 0x20);  // I2
        CHECK(c != 0x7f);                              // I2
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view rest(reinterpret_cast<const char*>(data), size);
    const auto text = [&] {
        if (rest.empty()) return std::string();
        const std::size_t length = std::min<std::size_t>(static_cast<unsigned char>(rest.front()), rest.size() - 1);
        std::string piece(rest.substr(1, length));
        rest.remove_prefix(1 + length);
        return piece;
    };
    const auto number = [&] {
        std::int64_t value = 0;
        const std::string bytes = text();
        std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
        return value;
    };
    daemon::LogLine line;
    line.time_ns = number();
    line.level = static_cast<rt::Level>(static_cast<std::uint64_t>(number()) % 5);
    line.event = "plugin_log";
    line.message = text();
    line.plugin = text();
    line.actor = static_cast<std::uint64_t>(number());
    line.executor = 3;
    line.fields.emplace_back("text", text());
    line.fields.emplace_back("number", number());

    std::string json;
    daemon::append_json(json, daemon::LineView(line));
    CHECK(!json.contains('\n'));  // I1
    const auto parsed = nlohmann::json::parse(json, nullptr, false);
    CHECK(parsed.is_object());  // I1
    CHECK(parsed["number"].get<std::int64_t>() == std::get<std::int64_t>(line.fields[1].second));
    CHECK(parsed["event"] == "plugin_log");
    const bool ascii = std::ranges::all_of(line.message, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
    if (ascii) CHECK(parsed["msg"] == line.message);

    std::string plain;
    daemon::append_text(plain, daemon::LineView(line));
    check_text(plain);
    std::string journal;
    daemon::append_journal(journal, daemon::LineView(line));
    check_journal(journal);

    // What a plugin hands over: names end at their first null byte.
    std::vector<std::string> kept;
    kept.reserve(2 * UMBEL_FIELDS_MAX);
    std::vector<umbel_field> fields;
    const std::string event = text();
    const std::string message = text();
    while (!rest.empty() && fields.size() < UMBEL_FIELDS_MAX) {
        umbel_field field{kept.emplace_back(text()).c_str(), 1 + static_cast<std::uint32_t>(number()) % 6, 0, {}};
        if (field.type == UMBEL_FIELD_TEXT) {
            const std::string& value = kept.emplace_back(text());
            field.size = static_cast<std::uint32_t>(value.size());
            field.value.text = value.data();
        } else {
            field.value.integer = number();
        }
        fields.push_back(field);
    }
    std::string encoded(rt::encoded_max(fields.size()), '#');
    const rt::EncodedFields outcome = rt::encode_fields(encoded.data(), fields);
    if (outcome.refused != nullptr || !rt::is_event_name(event)) return 0;
    CHECK(outcome.bytes <= encoded.size());
    encoded.resize(outcome.bytes);
    rt::LogRecord record;
    record.event.kind = rt::EventKind::plugin_event;
    record.event.plugin = line.plugin.c_str();
    record.event.truncated = outcome.truncated;
    record.name = event;
    record.text = message;
    record.fields = encoded;
    const daemon::LineView view(record);
    json.clear();
    daemon::append_json(json, view);
    CHECK(!json.contains('\n'));  // I1
    std::size_t keys = 0;
    std::vector<std::string> seen;
    const auto event_parsed = nlohmann::json::parse(
        json,
        [&](int depth, nlohmann::json::parse_event_t what, nlohmann::json& value) {
            if (what != nlohmann::json::parse_event_t::key || depth != 1) return true;
            ++keys;
            CHECK(std::ranges::find(seen, value.get<std::string>()) == seen.end());
            seen.push_back(value.get<std::string>());
            return true;
        },
        false);
    CHECK(event_parsed.is_object());  // I1
    CHECK(event_parsed["event"] == event);
    CHECK(keys == 5 + (*line.plugin.c_str() == '\0' ? 0u : 1u) + fields.size() + (outcome.truncated ? 1u : 0u));
    plain.clear();
    daemon::append_text(plain, view);
    check_text(plain);
    journal.clear();
    daemon::append_journal(journal, view);
    check_journal(journal);
    return 0;
}
