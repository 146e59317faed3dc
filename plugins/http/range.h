// range.h: which parts of a file a client wants.
//
// Why bounded.  A field of a few hundred bytes can ask for the same gigabyte a hundred times. So at most `ranges_max` ranges
//         are looked at (more: the whole file is sent, as if none had been asked for), and those that overlap or nearly touch
//         become one: no byte is sent twice.
// Shape.  A pure function.
// Source. RFC 9110, 14.1.1, 14.1.2, 14.2.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace http {

struct Slice {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool operator==(const Slice&) const = default;
};

struct Ranges {
    enum class Kind : std::uint8_t {
        none,           // The field is to be ignored: another unit, nonsense, or too many ranges.
        unsatisfiable,  // 416: nothing of what is asked for is there.
        some,           // 206
    };
    Kind kind = Kind::none;
    std::vector<Slice>
        slices;  // in the order of the request, each within the file and not empty, none touching another
};

constexpr std::size_t ranges_max = 64;
/// Ranges with less than this between them are sent as one: a part's head is about as long.
constexpr std::uint64_t range_gap = 80;

/// size: of the file, bytes.
Ranges parse_ranges(std::string_view field, std::uint64_t size);

}  // namespace http
