// Specification of log_line.h, and of docs/log-events.md.
#include "daemon/log_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "daemon/event_page.h"
#include "tests/support/seed.h"

namespace umbel::daemon {
namespace {

std::string json_of(const auto& line) {
    std::string out;
    append_json(out, LineView(line));
    return out;
}

std::string text_of(const auto& line) {
    std::string out;
    append_text(out, LineView(line));
    return out;
}

LogLine line_with(std::string message) {
    LogLine line;
    line.event = "plugin_log";
    line.message = std::move(message);
    return line;
}

// Spec.   The keys of a runtime's record stand in the documented order; unused values are left out.
TEST(LogLine, KeysStandInTheirOrder) {
    rt::LogRecord record;
    record.event.time_ns = 1'795'335'374'123'456'789;
    record.event.kind = rt::EventKind::dead_letter;
    record.event.level = rt::Level::warning;
    record.event.executor = rt::ExecutorIndex{2};
    record.event.plugin = "http";
    record.event.actor = 0xfedcba9876543210;
    record.event.values = {7, -1, 5};
    record.text = "no such actor";
    EXPECT_EQ(json_of(record),
              R"({"ts":"2026-11-22T08:16:14.123456Z","level":"warning","event":"dead_letter","msg":"no such actor",)"
              R"("executor":2,"plugin":"http","actor":"0xfedcba9876543210","message_type":7,"dead_letters_total":-1})");
    EXPECT_EQ(text_of(record),
              "2026-11-22T08:16:14.123456Z WARNING dead_letter http: no such actor "
              "(executor=2, actor=0xfedcba9876543210, message_type=7, dead_letters_total=-1)");
}

// Spec.   A record without a text says what the event means.
TEST(LogLine, AnEventWithoutATextSaysItsMeaning) {
    rt::LogRecord record;
    record.event.kind = rt::EventKind::executor_stopped;
    EXPECT_EQ(LineView(record).message, "An executor has ended");
    EXPECT_EQ(line_of(rt::EventKind::config_warning, "x").message, "x");
}

// Spec.   The daemon's own lines carry the table's level and names, the present time, and no executor.
TEST(LogLine, DaemonLinesFollowTheTable) {
    const LogLine line = line_of(rt::EventKind::stopped, "", {0, 12});
    const auto parsed = nlohmann::json::parse(json_of(line));
    EXPECT_EQ(parsed["event"], "stopped");
    EXPECT_EQ(parsed["level"], "info");
    EXPECT_EQ(parsed["exit_code"], 0);
    EXPECT_EQ(parsed["drain_ms"], 12);
    EXPECT_FALSE(parsed.contains("executor"));
    EXPECT_LT(std::abs(line.time_ns / 1'000'000'000 - std::time(nullptr)), 5);
}

// Spec.   Quotes, backslashes, control characters and well-formed UTF-8 come back as they were.
TEST(LogLine, TextsComeBackAsTheyWere) {
    std::string all;
    for (char c = 0; c < 0x7f; ++c) all += c;
    all += "\x7f é € 𝄞 \xef\xbf\xbf \xf4\x8f\xbf\xbf";
    const std::string json = json_of(line_with(all));
    EXPECT_FALSE(json.contains('\n'));
    EXPECT_EQ(nlohmann::json::parse(json)["msg"], all);
}

// Spec.   What is not UTF-8 becomes U+FFFD, a byte at a time; what surrounds it stays.
TEST(LogLine, BrokenUtf8IsReplaced) {
    const auto message = [](std::string text) {
        return nlohmann::json::parse(json_of(line_with(std::move(text))))["msg"].get<std::string>();
    };
    const std::string r = "\xef\xbf\xbd";
    EXPECT_EQ(message("a\x80z"), "a" + r + "z");
    EXPECT_EQ(message("a\xff\xfez"), "a" + r + r + "z");
    EXPECT_EQ(message("\xc0\xaf"), r + r);                  // overlong
    EXPECT_EQ(message("\xe0\x80\xaf"), r + r + r);          // overlong
    EXPECT_EQ(message("\xed\xa0\x80"), r + r + r);          // surrogate
    EXPECT_EQ(message("\xf4\x90\x80\x80"), r + r + r + r);  // beyond U+10FFFF
    EXPECT_EQ(message("\xe2\x82"), r + r);                  // cut short
    EXPECT_EQ(message("\xf0\x9f\x98"), r + r + r);          // cut short
}

// Spec.   Every line is valid JSON, whatever the bytes of its texts (I1), and plain text has no control character (I2).
// Method. Random bytes, half of them from where trouble is likely; --seed repeats them.
TEST(LogLine, RandomBytesMakeValidLines) {
    constexpr std::string_view likely = "\"\\\n\r\t\b\x1b{}[]:,\xc2\xe2\x80\xed\xa0\xf0\x9f\xff\x7f";
    const std::uint64_t seed = test::seed();
    std::mt19937_64 random(seed);
    const auto bytes = [&] {
        std::string text(random() % 40, ' ');
        for (char& c : text) c = random() % 2 == 0 ? static_cast<char>(random()) : likely[random() % likely.size()];
        return text;
    };
    for (int i = 0; i < 20'000; ++i) {
        LogLine line = line_with(bytes());
        line.plugin = bytes();
        line.fields.emplace_back("field", bytes());
        const std::string json = json_of(line);
        ASSERT_TRUE(nlohmann::json::accept(json)) << json;
        ASSERT_FALSE(json.contains('\n')) << json;
        for (const char c : text_of(line)) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << json;
    }
}

TEST(LogLine, TimesAreUtcWithMicroseconds) {
    const auto text = [](std::int64_t ns) {
        std::string out;
        append_time(out, ns);
        return out;
    };
    EXPECT_EQ(text(0), "1970-01-01T00:00:00.000000Z");
    EXPECT_EQ(text(951'782'400'000'001'999), "2000-02-29T00:00:00.000001Z");
    EXPECT_EQ(text(-1), "1969-12-31T23:59:59.999999Z");
}

// Spec.   A plugin's structured event has its own name, and its fields as keys in their order; truncated comes last.
TEST(LogLine, StructuredEventsHaveTheirFieldsAsKeys) {
    const std::string path = "/\"\n\xff";
    std::vector<umbel_field> fields{{"status", UMBEL_FIELD_INTEGER, 0, {}},
                                    {"path", UMBEL_FIELD_TEXT, static_cast<std::uint32_t>(path.size()), {}},
                                    {"cached", UMBEL_FIELD_FLAG, 0, {}},
                                    {"load", UMBEL_FIELD_NUMBER, 0, {}},
                                    {"nothing", UMBEL_FIELD_NUMBER, 0, {}}};
    fields[0].value.integer = 200;
    fields[1].value.text = path.data();
    fields[2].value.integer = 1;
    fields[3].value.number = 0.5;
    fields[4].value.number = std::numeric_limits<double>::quiet_NaN();
    std::string encoded(rt::encoded_max(fields.size()), ' ');
    encoded.resize(rt::encode_fields(encoded.data(), fields).bytes);
    rt::LogRecord record;
    record.event.kind = rt::EventKind::plugin_event;
    record.event.level = rt::Level::info;
    record.event.plugin = "web";
    record.event.truncated = true;
    record.name = "http.request";
    record.text = "GET /";
    record.fields = encoded;
    EXPECT_EQ(json_of(record),
              R"({"ts":"1970-01-01T00:00:00.000000Z","level":"info","event":"http.request","msg":"GET /","executor":0,)"
              "\"plugin\":\"web\",\"status\":200,\"path\":\"/\\\"\\n\xef\xbf\xbd\",\"cached\":true,\"load\":0.5,"
              "\"nothing\":null,\"truncated\":true}");
    EXPECT_EQ(text_of(record),
              "1970-01-01T00:00:00.000000Z INFO    http.request web: GET / (executor=0, status=200, path=/\"\\n"
              "\xef\xbf\xbd, cached=true, load=0.5, nothing=null, truncated=true)");
}

// Spec.   docs/log-events.md is up to date with the event table: scripts/log-events would change nothing.
TEST(LogEventsPage, IsTheEventTable) {
    std::ifstream in(UMBEL_SOURCE_DIR "/docs/log-events.md");
    const std::string page{std::istreambuf_iterator<char>(in), {}};
    const auto made = with_event_table(page);
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(*made, page) << "run scripts/log-events";
    EXPECT_TRUE(page.contains("| `log_dropped` | warning | `dropped`, `dropped_total` | "));
    EXPECT_FALSE(with_event_table("no page"));
}

}  // namespace
}  // namespace umbel::daemon
