// access_log.h: one structured event for each answer.
//
// Why.    Operators ask who asked for what, what they got and how long it took. The event goes into the executor's ring of
//         events: nothing is formatted or written here, and a log that cannot keep up loses lines (counted), not time.
// Shape.  A function of the session, called when the answer has been handed to the socket. Bytes that clients sent are field
//         values: the log's formatter escapes them, none can begin a line.
// Source. docs/log-events.md says how plugins' events look.
#pragma once

#include <cstdint>
#include <string_view>

#include "request.h"
#include "umbel/umbel.h"

namespace http {

struct AccessRecord {
    std::string_view peer;
    const RequestParser* request = nullptr;  // null: it was refused before it could be read
    int status = 0;
    std::uint64_t bytes = 0;  // of the answer, with its head
    umbel::nanoseconds duration{0};
    bool full = false;  // with Referer and User-Agent
};
void log_access(umbel::self& me, const AccessRecord& record);

}  // namespace http
