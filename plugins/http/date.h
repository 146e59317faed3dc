// date.h: points in time as HTTP writes them.
//
// Source. RFC 9110, 5.6.7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace http {

constexpr std::size_t date_size = 29;
/// Writes "Sun, 06 Nov 1994 08:49:37 GMT"; seconds since 1970, of the years 1970 … 9999.
void put_date(char* at, std::int64_t seconds);
std::string date(std::int64_t seconds);

/// Reads that, and the two older forms that must be understood: "Sunday, 06-Nov-94 08:49:37 GMT" (a year more than 50 years
/// after `now` is one of the century before) and "Sun Nov  6 08:49:37 1994". nullopt: it is none of them, or before 1970.
std::optional<std::int64_t> parse_date(std::string_view text, std::int64_t now);

}  // namespace http
