#include "runtime/base/event_fields.h"

#include <array>
#include <bit>
#include <cstring>

#include "runtime/base/check.h"

namespace umbel::rt {

namespace {

/// The keys each line may have, which no field may be called.
constexpr std::array<std::string_view, 8> taken{"ts",       "level",  "event", "msg",
                                                "executor", "plugin", "actor", "truncated"};

constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool continues_name(char c) { return is_lower(c) || (c >= '0' && c <= '9') || c == '_'; }

/// One of 64 bits: equal names have equal ones, and few others do.
constexpr std::uint64_t bit_of(std::string_view name) {
    const std::size_t sum = static_cast<unsigned char>(name.front()) + 5u * static_cast<unsigned char>(name.back());
    return std::uint64_t{1} << ((sum + 11 * name.size()) % 64);
}

constexpr std::uint64_t taken_bits = [] {
    std::uint64_t bits = 0;
    for (const std::string_view name : taken) bits |= bit_of(name);
    return bits;
}();

struct FieldHead {
    std::uint8_t type;
    std::uint8_t name_length;
    std::uint16_t text_length;
};
static_assert(sizeof(FieldHead) == 4);
static_assert(UMBEL_FIELD_TEXT_MAX >= sizeof(std::int64_t), "encoded_max counts the text, and it is the larger");

constexpr const char* bad_name = "a field's name is snake_case, of 1 to 32 bytes: a-z, then a-z, 0-9 and _";

/// Copies a name, and checks it on the way. 0: it is none.
std::size_t copy_name(char* out, const char* name) {
    if (name == nullptr || !is_lower(*name)) return 0;
    std::size_t length = 0;
    for (; name[length] != '\0'; ++length) {
        if (length == UMBEL_FIELD_NAME_MAX || !continues_name(name[length])) return 0;
        out[length] = name[length];
    }
    return length;
}

/// Whether one of the fields before this one has its name.
bool is_repeated(std::string_view name, std::span<const umbel_field> before) {
    for (const umbel_field& other : before) {
        if (name == other.name) return true;
    }
    return false;
}

bool is_taken(std::string_view name) {
    for (const std::string_view other : taken) {
        if (name == other) return true;
    }
    return false;
}

/// A duration in the unit its field's name ends in. False: in none.
bool convert_duration(std::string_view name, std::int64_t nanoseconds, FieldHead& head, std::int64_t& bits) {
    head.type = UMBEL_FIELD_INTEGER;
    if (name.ends_with("_us")) {
        bits = nanoseconds / 1000;
    } else if (name.ends_with("_ms")) {
        bits = nanoseconds / 1'000'000;
    } else if (name.ends_with("_ns")) {
        bits = nanoseconds;
    } else if (name.ends_with("_s")) {
        head.type = UMBEL_FIELD_NUMBER;
        bits = std::bit_cast<std::int64_t>(static_cast<double>(nanoseconds) / 1e9);
    } else {
        return false;
    }
    return true;
}

EncodedFields refuse(std::size_t index, const char* why) { return {.refused = why, .index = index}; }

}  // namespace

std::string_view cut_text(std::string_view text, std::size_t most) {
    if (text.size() <= most) return text;
    std::size_t length = most;
    // A byte 10xxxxxx continues a sequence, so the one before the cut goes on behind it.
    for (int back = 0; back < 3 && length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0u) == 0x80u; ++back) {
        --length;
    }
    return text.substr(0, (static_cast<unsigned char>(text[length]) & 0xc0u) == 0x80u ? most : length);
}

EncodedFields encode_fields(char* out, std::span<const umbel_field> fields) {
    EncodedFields result;
    std::uint64_t seen = taken_bits;
    for (std::size_t i = 0; i < fields.size(); ++i) {
        const umbel_field& field = fields[i];
        char* const at = out + result.bytes;
        FieldHead head{};
        const std::size_t name_length = copy_name(at + sizeof head, field.name);
        if (name_length == 0) return refuse(i, bad_name);
        const std::string_view name(at + sizeof head, name_length);
        const std::uint64_t bit = bit_of(name);
        if ((seen & bit) != 0) {  // I1
            if (is_taken(name)) return refuse(i, "this is a key of every line; call the field something else");
            if (is_repeated(name, fields.first(i))) return refuse(i, "two fields have this name");
        }
        seen |= bit;
        head.name_length = static_cast<std::uint8_t>(name_length);
        head.type = static_cast<std::uint8_t>(field.type);
        std::string_view text;
        std::int64_t bits = field.value.integer;
        switch (field.type) {
            case UMBEL_FIELD_TEXT:
                if (field.value.text == nullptr && field.size != 0) return refuse(i, "its text is null");
                text = cut_text({field.value.text, field.size}, UMBEL_FIELD_TEXT_MAX);
                result.truncated |= text.size() < field.size;
                break;
            case UMBEL_FIELD_DURATION:
                if (!convert_duration(name, field.value.integer, head, bits)) {
                    return refuse(i, "a duration's name ends in its unit: _ns, _us, _ms or _s");
                }
                break;
            case UMBEL_FIELD_NUMBER:
                bits = std::bit_cast<std::int64_t>(field.value.number);
                break;
            case UMBEL_FIELD_INTEGER:
            case UMBEL_FIELD_FLAG:
                break;
            default:
                return refuse(i, "its type is none of UMBEL_FIELD_…");
        }
        head.text_length = static_cast<std::uint16_t>(text.size());
        std::memcpy(at, &head, sizeof head);
        char* const value = at + sizeof head + name_length;
        if (head.type == UMBEL_FIELD_TEXT) {
            if (!text.empty()) std::memcpy(value, text.data(), text.size());
            result.bytes += sizeof head + name_length + text.size();
        } else {
            std::memcpy(value, &bits, sizeof bits);
            result.bytes += sizeof head + name_length + sizeof bits;
        }
    }
    return result;
}

bool is_event_name(std::string_view name) {
    if (name.size() > UMBEL_EVENT_NAME_MAX) return false;
    bool begins = true;  // a word
    bool dotted = false;
    for (const char c : name) {
        if (begins ? !is_lower(c) : !continues_name(c) && c != '.') return false;
        begins = c == '.';
        dotted = dotted || begins;
    }
    return dotted && !begins;
}

bool next_field(std::string_view& encoded, EventField& field) {
    if (encoded.empty()) return false;
    FieldHead head{};
    CHECK(encoded.size() >= sizeof head);
    std::memcpy(&head, encoded.data(), sizeof head);
    const std::size_t value_bytes = head.type == UMBEL_FIELD_TEXT ? head.text_length : sizeof(std::int64_t);
    CHECK(encoded.size() >= sizeof head + head.name_length + value_bytes);
    field.type = head.type;
    field.name = encoded.substr(sizeof head, head.name_length);
    const std::string_view value = encoded.substr(sizeof head + head.name_length, value_bytes);
    if (head.type == UMBEL_FIELD_TEXT) {
        field.text = value;
    } else if (head.type == UMBEL_FIELD_NUMBER) {
        std::memcpy(&field.number, value.data(), sizeof field.number);
    } else {
        std::memcpy(&field.integer, value.data(), sizeof field.integer);
    }
    encoded.remove_prefix(sizeof head + head.name_length + value_bytes);
    return true;
}

}  // namespace umbel::rt
