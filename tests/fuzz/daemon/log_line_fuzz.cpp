// Fuzzes log_line.h: the input is cut into the texts and numbers of a line.
//
// Whatever the bytes: one line of JSON that a strict parser takes and that says what was put in (I1), one line of plain
// text (I2).
#include "daemon/log_line.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "runtime/base/check.h"

using namespace umbel;

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
    for (const char c : plain) {
        CHECK(static_cast<unsigned char>(c) >= 0x20);  // I2
        CHECK(c != 0x7f);                              // I2
    }
    return 0;
}
