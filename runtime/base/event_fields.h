// event_fields.h: what a plugin's structured event carries besides its text: named values.
//
// Why.    An access log at 100,000 events a second must not cost an executor anything to speak of, and whatever a plugin
//         hands over, its line must have sound keys. So names are checked while they are copied, on the executor, and
//         everything else (escaping, formatting) is the log thread's.
// Shape.  A field in a record: type, lengths of name and text, then the name, then 8 B of value or the text.
//
// Invariants
//   I1  encoded names are snake_case, 1 … UMBEL_FIELD_NAME_MAX bytes, distinct, and no key that each line may have
//   I2  what is encoded has at most encoded_max(count) bytes, whatever a field holds
//
// Cost.   An event of ten fields, made, checked, copied and time-stamped: some 210 ns.
// Not here.  The contract for authors: abi.h. The spelling in a line: daemon/log_line.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "umbel/abi.h"

namespace umbel::rt {

/// A decoded field. type: INTEGER, NUMBER, FLAG or TEXT; a DURATION has become one of the first two.
struct EventField {
    std::string_view name;
    std::uint32_t type = 0;
    std::int64_t integer = 0;
    double number = 0;
    std::string_view text;
};

constexpr std::size_t max_encoded_field = 4 + UMBEL_FIELD_NAME_MAX + UMBEL_FIELD_TEXT_MAX;
[[nodiscard]] constexpr std::size_t encoded_max(std::size_t count) { return count * max_encoded_field; }

struct EncodedFields {
    std::size_t bytes = 0;
    bool truncated = false;         // a text was cut
    const char* refused = nullptr;  // what is wrong; then nothing else is meaningful, …
    std::size_t index = 0;          // … but which field it is
};

/// Writes `fields` to `out`, which has encoded_max(fields.size()) bytes.
[[nodiscard]] EncodedFields encode_fields(char* out, std::span<const umbel_field> fields);

/// Whether `name` can be an event's: two or more snake_case words with dots between, at most UMBEL_EVENT_NAME_MAX bytes.
[[nodiscard]] bool is_event_name(std::string_view name);

/// Takes the first field off what encode_fields wrote; false when there is none.
[[nodiscard]] bool next_field(std::string_view& encoded, EventField& field);

/// The first `most` bytes of `text`, or up to three less: no UTF-8 sequence is cut in two.
[[nodiscard]] std::string_view cut_text(std::string_view text, std::size_t most);

}  // namespace umbel::rt
