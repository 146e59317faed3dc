// slot.h: a handle on one slot, and what lies where inside it.
//
// Why.    A slot is only address space: a value of 16 B says where it is. Whoever holds the handle may use the
//         memory; SlotCache and SlotStore hand handles out and take them back.
// Shape.  Eight regions of region_bytes() each, in the order of region.h. The context region is divided again:
//
//           begin(context)                                                                           end
//           │ roots and handle scopes →        │ guard │            ← machine stack │ context header │
//           roots_begin()            guard_low()  stack_low()             stack_top()  context_header()
//
//         The header (context_header_bytes) is where the owner of a leased slot puts its context record. It
//         shares its page with the stack's first frames, which is why it is half a page.
//
// Not here.  Where slots come from: slot_store.h. Who keeps them warm: slot_cache.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/base/units.h"
#include "runtime/memory/region.h"

namespace umbel::rt {

inline constexpr std::size_t page_bytes = 4096;
/// Room for the owner's record at the very end of the context region.
inline constexpr std::size_t context_header_bytes = 2048;

class Slot {
public:
    Slot() = default;

    [[nodiscard]] explicit operator bool() const { return base_ != nullptr; }
    bool operator==(const Slot&) const = default;

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] RegionSize region_size() const { return size_; }
    [[nodiscard]] Bytes region_bytes() const { return size_.bytes(); }
    /// The region's first byte.
    [[nodiscard]] std::byte* begin(Region region) const { return base_ + (position_of(region) << size_.log2()); }
    /// One past the region's last byte.
    [[nodiscard]] std::byte* end(Region region) const { return base_ + ((position_of(region) + 1) << size_.log2()); }

    /// context_header_bytes at the end of the context region; aligned to 2 KiB.
    [[nodiscard]] std::byte* context_header() const { return end(Region::context) - context_header_bytes; }
    /// One past the stack's highest byte; aligned to 2 KiB.
    [[nodiscard]] std::byte* stack_top() const { return context_header(); }
    /// The stack's lowest usable byte; the guard ends here.
    [[nodiscard]] std::byte* stack_low() const { return end(Region::context) - stack_pages_ * page_bytes; }
    [[nodiscard]] std::byte* guard_low() const { return stack_low() - guard_bytes(); }
    [[nodiscard]] std::size_t guard_bytes() const { return guard_pages_ * page_bytes; }
    /// From here to guard_low(): roots and handle scopes.
    [[nodiscard]] std::byte* roots_begin() const { return begin(Region::context); }
    [[nodiscard]] std::size_t roots_bytes() const { return static_cast<std::size_t>(guard_low() - roots_begin()); }

private:
    friend class SlotStore;
    std::byte* base_ = nullptr;
    std::uint32_t stack_pages_ = 0;  // Stack and header.
    std::uint16_t chunk_ = 0;        // SlotStore's reservation this slot was cut from.
    std::uint8_t guard_pages_ = 0;
    RegionSize size_;
};
static_assert(sizeof(Slot) == 16, "passed in two registers");

}  // namespace umbel::rt
