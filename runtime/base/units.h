// units.h: the quantities that cross interfaces inside the runtime, each as a type of its own.
//
// Why.    Two integers of one type get swapped. Inside the runtime a size, a time and an executor's number
//         cannot be; at the edges (ABI, config, metrics) the unit is in the name: `time_slice_us`.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace umbel::rt {

/// A span of time, or (read from Clock) a time on the monotonic clock.
using Nanoseconds = std::chrono::nanoseconds;

/// A size of memory.
struct Bytes {
    std::uint64_t count = 0;

    constexpr auto operator<=>(const Bytes&) const = default;
    constexpr Bytes operator+(Bytes other) const { return {count + other.count}; }
    constexpr Bytes operator-(Bytes other) const { return {count - other.count}; }
    constexpr Bytes operator*(std::uint64_t times) const { return {count * times}; }
    constexpr Bytes operator/(std::uint64_t parts) const { return {count / parts}; }
};

constexpr Bytes operator""_B(unsigned long long count) { return {count}; }
constexpr Bytes operator""_KiB(unsigned long long count) { return {count << 10}; }
constexpr Bytes operator""_MiB(unsigned long long count) { return {count << 20}; }
constexpr Bytes operator""_GiB(unsigned long long count) { return {count << 30}; }

/// Which executor of the runtime: 0 … count-1.
enum class ExecutorIndex : std::uint8_t {};
constexpr std::size_t index_of(ExecutorIndex executor) { return static_cast<std::size_t>(executor); }
constexpr std::size_t max_executors = 255;

constexpr std::size_t cache_line = 64;

}  // namespace umbel::rt
