// slot_cache.h: an executor's own slots, kept warm.
//
// Why.    The first touch of a page costs 2 µs and a lock in the kernel. A context that was just returned has its
//         pages, its page tables and its cache lines; the next actor to need one gets that one.
// Shape.  A last-in, first-out list per region size, over a SlotStore.
// Owner.  One executor. No atomics.
//
// Invariants (check_invariants())
//   I1  at most warm_limit slots are kept per size
//   I2  a leased slot is in no list
//
// A warm slot keeps what its last owner wrote. Who leases it writes before reading, or has it cleared
// (SlotStore::discard). Only a cold one reads as zero.
//
// Under AddressSanitizer the first page of each region of a kept slot, and the last of its context region, are
// poisoned: enough to catch a stale pointer, cheap enough to do every time.
//
// Cost.   A hit: a few ns, one vector pop. A miss: SlotStore.
// Not here.  Memory an idle context holds deep in its regions: its owner knows how deep, and discards it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/result.h"
#include "runtime/memory/region.h"
#include "runtime/memory/slot.h"
#include "runtime/memory/slot_store.h"

#if defined(__SANITIZE_ADDRESS__)
#define UMBEL_SLOT_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UMBEL_SLOT_POISON 1
#endif
#endif

namespace umbel::rt {

class SlotCache {
public:
    static constexpr std::size_t default_warm_limit = 1024;

    /// warm_limit: slots kept per region size.
    explicit SlotCache(SlotStore& store, std::size_t warm_limit = default_warm_limit);
    SlotCache(const SlotCache&) = delete;
    SlotCache& operator=(const SlotCache&) = delete;
    ~SlotCache();  // Returns what is warm to the store.

    /// The slot of this size that was given back last, or a cold one.
    /// Errors: the store's.
    [[nodiscard]] Result<Slot> lease(RegionSize size) {
        std::vector<Slot>& warm = warm_[size.choice()];
        if (warm.empty()) [[unlikely]]
            return lease_cold(size);
        const Slot slot = warm.back();
        warm.pop_back();
        ++warm_hits_;
        ++leased_;
#if defined(UMBEL_SLOT_POISON)
        unpoison(slot);
#endif
        return slot;
    }

    /// Takes a leased slot back: keeps it warm, or returns it to the store when there are enough.
    void give_back(Slot slot) {
        DCHECK(leased_ > 0);  // I2
        --leased_;
        std::vector<Slot>& warm = warm_[slot.region_size().choice()];
        if (warm.size() >= warm_limit_) [[unlikely]]
            return store_.release(slot);  // I1
#if defined(UMBEL_SLOT_POISON)
        poison(slot);
#endif
        warm.push_back(slot);
    }

    /// Returns all but `keep` warm slots of each size to the store, coldest first.
    void trim(std::size_t keep);

    struct Figures {
        std::size_t leased = 0;       // Now.
        std::size_t warm = 0;         // Now, all sizes.
        std::uint64_t warm_hits = 0;  // Leases served from the lists.
        std::uint64_t cold = 0;       // Leases served by the store.
    };
    [[nodiscard]] Figures figures() const;

    void check_invariants() const;

private:
    [[nodiscard]] Result<Slot> lease_cold(RegionSize size);
#if defined(UMBEL_SLOT_POISON)
    static void poison(Slot slot);
    static void unpoison(Slot slot);
#endif

    SlotStore& store_;
    std::size_t warm_limit_;
    std::size_t leased_ = 0;
    std::uint64_t warm_hits_ = 0;
    std::uint64_t cold_ = 0;
    std::array<std::vector<Slot>, RegionSize::choices> warm_;
};

}  // namespace umbel::rt
