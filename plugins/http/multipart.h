// multipart.h: several parts of a file in one answer.
//
// Shape.  Pure functions: the text in front of each part, the text behind the last, and how long all of it is.
// Source. RFC 9110, 14.6; RFC 2046, 5.1.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "range.h"

namespace http {

/// "bytes 0-499/1234".
std::string content_range(const Slice& slice, std::uint64_t size);

/// A boundary for one answer, from a number that nobody outside can guess: the parts' content is not searched for it.
std::string boundary(std::uint64_t secret, std::uint64_t serial);

std::string part_head(std::string_view boundary, std::string_view content_type, const Slice& slice, std::uint64_t size);
std::string parts_end(std::string_view boundary);
/// Bytes of the whole body.
std::uint64_t parts_length(std::string_view boundary, std::string_view content_type, std::span<const Slice> slices,
                           std::uint64_t size);

}  // namespace http
