// slot_store.h: cuts slots out of few huge reservations of address space, and guards their stacks.
//
// Why.    A million actors must not cost a million mappings: the kernel allows 65,530 by default and every one
//         costs memory and fault time. So slots are cut from reservations (64 GiB each, MAP_NORESERVE: nothing
//         is paid for until it is touched), and a stack's guard is a mark in the page table, not a mapping.
// Shape.  A table of chunks (reservations), each for one region size; slots are cut front to back, returned ones
//         are kept in a list per size and handed out first. Transparent huge pages are off (a touched page must
//         cost 4 KiB) and the reservations are left out of core dumps unless asked for (a core file of 64 GiB
//         of mostly nothing helps nobody: a crash is reported with a backtrace).
//         Guards, best first:
//           markers   MADV_GUARD_INSTALL (Linux 6.13). Installed once when a slot is cut; survives
//                     MADV_DONTNEED; costs no mapping.
//           mprotect  PROT_NONE over the guard costs two mappings. There is a budget of guards; when it is used
//                     up, a guard is taken from a context that is not running and has not run lately
//                     (second-chance: a bit set at each run, cleared as the hand passes).
// Owner.  The runtime makes one. acquire() and release() lock a mutex and are only used when a SlotCache misses;
//         before_run(), after_run() and find() take no lock on their usual path.
//
// Invariants (check_invariants())
//   I1  a slot is either leased or in exactly one free list; no two slots overlap
//   I2  a slot's memory reads as zero when it is acquired
//   I3  between before_run() and after_run() a context's guard is in place (unless guards_refused counts it)
//   I4  mprotect mode: guards in place ≤ budget, unless more contexts than that run at once
//
// Cost.   acquire: one madvise for a fresh slot (about 1 µs, 4 with a new page-table page), none for a returned
//         one. release: one madvise. before_run/after_run: a predicted branch with markers; with mprotect one
//         uncontended atomic each, and a miss costs a lock, two mprotect calls (about 2 µs and a TLB shootdown
//         to every executor) and the hand's steps (one atomic per guard passed).
// Not here.  Warm slots: slot_cache.h. What is written into a slot: whoever leased it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/base/units.h"
#include "runtime/memory/region.h"
#include "runtime/memory/slot.h"

namespace umbel::rt {

enum class GuardMode : std::uint8_t {
    automatic,  // Markers where the kernel has them, else mprotect.
    markers,    // MADV_GUARD_INSTALL.
    mprotect,   // PROT_NONE under a budget.
};

struct SlotStoreOptions {
    /// Stack and context record together; at most half a region, at least what a signal frame needs (the kernel's
    /// AT_MINSIGSTKSZ) and 8 KiB.
    Bytes stack_bytes = 256_KiB;
    /// Address space reserved at a time; less where it is refused, at least one slot.
    Bytes chunk_bytes = 64_GiB;
    GuardMode guard_mode = GuardMode::automatic;
    /// mprotect mode: how many guards at a time. 0: (vm.max_map_count - 8,192) / 2.
    std::size_t guard_budget = 0;
    /// Leave the contexts in core dumps.
    bool dump_contexts = false;
};

/// What an address belongs to.
struct SlotAddress {
    std::byte* slot_base;
    RegionSize region_size;
    Region region;
    bool in_guard;  // The guard under the stack: touching it is a stack overflow.
};

class SlotStore {
public:
    explicit SlotStore(SlotStoreOptions options = {});
    SlotStore(const SlotStore&) = delete;
    SlotStore& operator=(const SlotStore&) = delete;
    ~SlotStore();  // Unmaps everything: no slot may be in use.

    /// A slot that reads as zero (I2). Any thread.
    /// Errors: system, when the kernel refuses address space or a guard; says which limit to raise.
    [[nodiscard]] Result<Slot> acquire(RegionSize size);
    /// Takes a slot back; its memory goes back to the kernel at once. Any thread.
    void release(Slot slot);

    /// Gives the pages of `region` from `offset` on back to the kernel; they read as zero when touched again. Of the
    /// context region only the roots, never stack and record.
    /// offset: bytes, rounded up to a page.
    static void discard(Slot slot, Region region, Bytes offset);

    /// An executor is about to run on this slot's stack (I3). The executor that runs it.
    void before_run(Slot slot) {
        if (permanent_guards_) [[likely]]
            return;
        guard_for_run(slot);
    }
    /// It has stopped running there.
    void after_run(Slot slot) {
        if (permanent_guards_) [[likely]]
            return;
        guard_after_run(slot);
    }

    /// What `address` belongs to; nothing if it is in no slot that was ever cut. Async-signal-safe, any thread: a
    /// fault handler tells a stack overflow from other faults by it.
    [[nodiscard]] std::optional<SlotAddress> find(const void* address) const;

    /// Never automatic: what was found at the start.
    [[nodiscard]] GuardMode guard_mode() const;

    struct Figures {
        std::size_t chunks = 0;
        std::size_t cut = 0;             // Slots ever cut.
        std::size_t free = 0;            // Of those, in the store's lists.
        std::size_t guards = 0;          // mprotect mode: in place now.
        std::size_t guard_moves = 0;     // mprotect mode: taken from another context.
        std::size_t guards_refused = 0;  // mprotect mode: the kernel refused one; that run went without.
    };
    [[nodiscard]] Figures figures() const;

    void check_invariants() const;

private:
    // What a slot's guard is doing, mprotect mode only.
    enum class GuardState : std::uint8_t {
        absent,   // No guard; before_run() puts one in place.
        idle,     // In place; the hand may take it.
        lately,   // In place; ran since the hand last passed.
        running,  // In place and needed. Only the executor running it leaves this state.
    };

    struct Chunk {
        // Written once, before chunk_count_ publishes the entry.
        std::byte* mapping = nullptr;  // What mmap returned, for munmap.
        std::size_t mapping_bytes = 0;
        std::byte* begin = nullptr;  // The first slot.
        std::size_t slots = 0;
        RegionSize size;
        std::unique_ptr<std::atomic<GuardState>[]> guards;  // One per slot; null with markers.
        // Grows under mutex_; read by find().
        std::atomic<std::size_t> cut{0};
    };

    static constexpr std::size_t max_chunks = 4096;

    [[nodiscard]] Result<std::size_t> reserve_chunk(RegionSize size);
    [[nodiscard]] Result<Slot> cut_slot(RegionSize size);
    [[nodiscard]] Slot slot_at(std::size_t chunk, std::size_t index) const;
    [[nodiscard]] std::atomic<GuardState>& guard_of(Slot slot) const;
    void guard_for_run(Slot slot);
    void guard_after_run(Slot slot);
    bool take_a_guard();  // under mutex_

    // Set at construction.
    SlotStoreOptions options_;
    bool permanent_guards_ = true;
    std::uint32_t min_stack_pages_ = 0;
    std::size_t guard_budget_ = 0;

    mutable std::mutex mutex_;
    std::unique_ptr<Chunk[]> chunks_;
    std::atomic<std::size_t> chunk_count_{0};
    std::array<std::size_t, RegionSize::choices> open_chunk_{};  // 1 + the chunk slots are cut from; 0: none.
    std::array<std::vector<Slot>, RegionSize::choices> free_;
    std::vector<Slot> guarded_;  // mprotect mode: whose guards are in place.
    std::size_t hand_ = 0;       // The next of them to be asked for its guard.
    std::size_t guard_moves_ = 0;
    std::size_t guards_refused_ = 0;
};

}  // namespace umbel::rt
