// region.h: the eight regions of an actor context, how large they are and in which order they lie.
//
// Why.    Every actor context is one slot of address space, cut into eight regions of one size. What a region is
//         for is decided above this layer; here are only its name and its place.
// Shape.  Region is named in the order people speak of them. The order in memory is another one
//         (position_of()), chosen by what an ordinary actor touches, because page tables cost as much as data:
//         one page of page table (4 KiB) serves 2 MiB of addresses.
//
//           0        1        2       3        4        5        6        7
//           major_a  major_b  tables  minor_b  context  mailbox  io_heap  minor_a
//                                        record + stack ▲▲ ring   ▲ spans  ▲ values
//
//         The context region is used from its end (context record, then the stack downwards), all others from
//         their front. So the one pair of regions whose touched ends meet is context | mailbox; io_heap and
//         minor_a follow at once. A region's addresses are aligned so that this boundary never falls on a
//         2 MiB line (slot_lead()):
//
//           region size      tables' pages for an actor that touches stack, mailbox, I/O heap and values
//           ≤ 256 KiB        1, shared by as many slots as fit in 2 MiB
//           512 KiB          1   (context … minor_a are exactly one 2 MiB block)
//           1 MiB            2   (context + mailbox, io_heap + minor_a)
//           ≥ 2 MiB          3   (context's end + mailbox's front, io_heap, minor_a), instead of 4
//
// Invariants
//   I1  position_of() is a bijection onto 0 … 7
//   I2  the end of `context` is not a multiple of 2 MiB, so its last MiB (or all of it) and the front of
//       `mailbox` share one page of page table
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/result.h"
#include "runtime/base/units.h"

namespace umbel::rt {

enum class Region : std::uint8_t {
    major_a,  // Values that survived two minor collections.
    major_b,  // Where they are slid to.
    context,  // Roots from the front; context record and machine stack from the end; a guard between.
    tables,   // Card, mark and relocation tables of the two heaps.
    minor_a,  // Nursery. A message that is read is moved here.
    minor_b,  // The nursery's other half.
    mailbox,  // Ring of unread messages.
    io_heap,  // Operation records and buffers. Never moves.
};
inline constexpr std::size_t region_count = 8;

[[nodiscard]] constexpr std::string_view name_of(Region region) {
    constexpr std::array<std::string_view, region_count> names{"major_a", "major_b", "context", "tables",
                                                               "minor_a", "minor_b", "mailbox", "io_heap"};
    return names[static_cast<std::size_t>(region)];
}

/// Which of a slot's eight places `region` has, counted from the slot's base. The essay above says why.
[[nodiscard]] constexpr std::size_t position_of(Region region) {
    constexpr std::array<std::uint8_t, region_count> positions{0, 1, 4, 2, 7, 3, 5, 6};
    return positions[static_cast<std::size_t>(region)];
}

/// The region at `position`: position_of() the other way round.
[[nodiscard]] constexpr Region region_at(std::size_t position) {
    constexpr std::array<Region, region_count> regions{Region::major_a, Region::major_b, Region::tables,
                                                       Region::minor_b, Region::context, Region::mailbox,
                                                       Region::io_heap, Region::minor_a};
    return regions[position];
}

/// How large each of a slot's eight regions is: a power of two, 64 KiB … 4 GiB.
class RegionSize {
public:
    static constexpr unsigned min_log2 = 16;
    static constexpr unsigned max_log2 = 32;
    static constexpr std::size_t choices = max_log2 - min_log2 + 1;

    /// The smallest size.
    constexpr RegionSize() = default;

    /// `bytes` as a region size. Errors: configuration, if it is no power of two or out of range.
    [[nodiscard]] static Result<RegionSize> from(Bytes bytes) {
        if (!std::has_single_bit(bytes.count) || bytes.count < (std::uint64_t{1} << min_log2) ||
            bytes.count > (std::uint64_t{1} << max_log2)) {
            return fail(ErrorClass::configuration,
                        "a memory limit of " + std::to_string(bytes.count) +
                            " bytes cannot be a region's size: choose a power of two from 64 KiB to 4 GiB");
        }
        return RegionSize(static_cast<std::uint8_t>(std::countr_zero(bytes.count)));
    }

    [[nodiscard]] constexpr Bytes bytes() const { return {std::uint64_t{1} << log2_}; }
    [[nodiscard]] constexpr Bytes slot_bytes() const { return bytes() * region_count; }
    [[nodiscard]] constexpr unsigned log2() const { return log2_; }
    /// 0 … choices-1, for tables by size.
    [[nodiscard]] constexpr std::size_t choice() const { return log2_ - min_log2; }

    constexpr auto operator<=>(const RegionSize&) const = default;

private:
    explicit constexpr RegionSize(std::uint8_t log2) : log2_(log2) {}
    std::uint8_t log2_ = min_log2;
};

/// How far a slot's base lies behind a multiple of 2 MiB (slots ≥ 2 MiB; smaller ones are aligned to their size).
[[nodiscard]] constexpr Bytes slot_lead(RegionSize size) { return size.bytes() >= 2_MiB ? 1_MiB : 0_B; }

constexpr bool region_positions_are_a_bijection() {
    for (std::size_t position = 0; position < region_count; ++position) {
        if (position_of(region_at(position)) != position) return false;
    }
    return true;
}
static_assert(region_positions_are_a_bijection());                                          // I1
static_assert(position_of(Region::mailbox) == position_of(Region::context) + 1, "see I2");  // I2

}  // namespace umbel::rt
