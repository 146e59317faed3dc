// quantity.h: sizes, durations, integers, flags and CPU lists as people write them, read and printed.
//
// Why.    Config files, the command line and plugins' settings take the same spellings and give the same answers to a
//         mistake; none of them silently takes 64KB for 64 bytes or lets a product wrap around.
// Shape.  Pure functions over text. Blanks around the whole and between a number and its unit are allowed, nothing
//         else: no signs (but for integers), no fractions, no hexadecimal, no thousands' separators.
// Errors. Configuration errors whose message quotes what was written, says what is wrong with it and what would be
//         accepted. The caller puts "FILE:LINE: KEY: " before it.
//
// Invariants (tests/fuzz/base/quantity_fuzz.cpp)
//   I1  a value that was read, printed and read again is the same value
//   I2  a number that its type cannot hold is an error, never another number
//   I3  an error is one printable line, whatever bytes were written
//
// Not here.  Which values make sense for a setting: config/ and runtime/plugin/settings.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/base/units.h"

namespace umbel::rt {

/// The highest CPU number a list may name: Linux is built for at most 8192.
constexpr int max_cpu = 8191;

/// "4096", "4096B", "64KiB", "64 KiB", "2MiB", "1GiB", "1TiB". Decimal units (KB, MB) are refused: they are ambiguous.
[[nodiscard]] Result<Bytes> parse_bytes(std::string_view text);

/// "0", "500ns", "250us", "10ms", "5s", "1min", "1h". Only 0 may lack its unit.
[[nodiscard]] Result<Nanoseconds> parse_duration(std::string_view text);

/// "42", "-7".
[[nodiscard]] Result<std::int64_t> parse_integer(std::string_view text);

/// "true" or "false"; yes, no, on and off are taken too.
[[nodiscard]] Result<bool> parse_flag(std::string_view text);

/// CPU numbers as taskset writes them: "0,2-5,7", "0-10:2" (every second). In the order written; one that is named
/// twice counts once, as for taskset. At least one.
[[nodiscard]] Result<std::vector<int>> parse_cpu_list(std::string_view text);

/// In the largest unit that keeps it exact: "64KiB", "4097", "0".
[[nodiscard]] std::string to_text(Bytes size);

/// In the largest unit that keeps it exact: "250us", "90s", "1min", "0".
[[nodiscard]] std::string to_text(Nanoseconds duration);

/// "0,2-5,7": runs of three or more ascending CPUs become ranges. Keeps the order.
[[nodiscard]] std::string to_text(std::span<const int> cpus);

/// `text` between double quotes for an error message: bytes that are not printable ASCII are escaped, and what is
/// longer than 64 bytes is cut ("…").
/// (Not `quoted`: with a std::string that would find std::quoted.)
[[nodiscard]] std::string quotation(std::string_view text);

}  // namespace umbel::rt
