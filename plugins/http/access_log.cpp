#include "access_log.h"

#include <array>
#include <string>

#include "syntax.h"

namespace http {

namespace {

std::string_view field(const RequestParser& request, std::string_view name) {
    for (std::size_t i = 0; i < request.field_count(); ++i) {
        const Field field = request.field(i);
        if (same_name(field.name, name)) return field.value;
    }
    return {};
}

}  // namespace

void log_access(umbel::self& me, const AccessRecord& record) {
    if (!me.logs(umbel::log_level::info)) return;
    const auto method = record.request == nullptr ? std::string_view() : record.request->method_text();
    const auto target = record.request == nullptr ? std::string_view() : record.request->target();
    // For people, and short: the whole target is a field.
    constexpr std::size_t shown = 100;
    std::string text(method);
    if (!text.empty()) text.append(" ").append(target.substr(0, shown)).append(" ");
    text.append(std::to_string(record.status));

    const bool full = record.full && record.request != nullptr;
    const std::array<umbel::log_field, 8> fields = {
        umbel::log_field("peer", record.peer),
        umbel::log_field("status", record.status),
        umbel::log_field("bytes", record.bytes),
        umbel::log_field("duration_us", record.duration),
        umbel::log_field("method", method),
        umbel::log_field("target", target),
        umbel::log_field("referer", full ? field(*record.request, "referer") : std::string_view()),
        umbel::log_field("user_agent", full ? field(*record.request, "user-agent") : std::string_view()),
    };
    const std::size_t count = record.request == nullptr ? 4 : full ? 8 : 6;
    me.log_event(umbel::log_level::info, "http.request", text, std::span(fields).first(count));
}

}  // namespace http
