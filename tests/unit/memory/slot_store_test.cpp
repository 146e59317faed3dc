// Specification of region.h, slot.h, slot_store.h and slot_cache.h.
#include "runtime/memory/slot_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "runtime/memory/slot_cache.h"

namespace umbel::rt {
namespace {

RegionSize size_of(Bytes bytes) { return RegionSize::from(bytes).value(); }

// Killed by SIGSEGV, or by a sanitizer that caught it.
bool faulted(int status) { return status != 0; }

std::size_t mappings() {
    std::ifstream maps("/proc/self/maps");
    std::string line;
    std::size_t count = 0;
    while (std::getline(maps, line)) ++count;
    return count;
}

// Spec.   A region's size is a power of two from 64 KiB to 4 GiB; anything else is refused with a remedy.
TEST(RegionSize, IsAPowerOfTwoInRange) {
    EXPECT_EQ(size_of(64_KiB).bytes(), 64_KiB);
    EXPECT_EQ(size_of(4_GiB).bytes(), 4_GiB);
    EXPECT_EQ(size_of(16_MiB).slot_bytes(), 128_MiB);
    for (const Bytes wrong : {0_B, 1_B, 32_KiB, 65_KiB, 3_MiB, 8_GiB}) {
        const Result<RegionSize> size = RegionSize::from(wrong);
        ASSERT_FALSE(size.has_value()) << wrong.count;
        EXPECT_EQ(size.error().error_class, ErrorClass::configuration);
        EXPECT_THAT(size.error().message, testing::HasSubstr("power of two"));
    }
}

// Spec.   The stack's end and the mailbox's front share one page of page table (I2 of region.h), for every size.
TEST(Slot, StackAndMailboxShareAPageTable) {
    SlotStore store;
    for (unsigned log2 = RegionSize::min_log2; log2 <= 28; ++log2) {
        for (int i = 0; i < 3; ++i) {
            const Slot slot = store.acquire(size_of(Bytes{std::uint64_t{1} << log2})).value();
            const auto top = reinterpret_cast<std::uintptr_t>(slot.stack_top()) - 1;
            const auto mailbox = reinterpret_cast<std::uintptr_t>(slot.begin(Region::mailbox));
            EXPECT_EQ(top >> 21, mailbox >> 21) << "log2 " << log2;
        }
    }
}

// Spec.   The regions of a slot lie side by side and do not overlap; header, stack, guard and roots divide the
//         context region; the stack holds a signal frame and is at most half the region.
TEST(Slot, IsDividedWithoutOverlap) {
    SlotStore store;
    for (const Bytes bytes : {64_KiB, 256_KiB, 1_MiB, 16_MiB, 4_GiB}) {
        const Slot slot = store.acquire(size_of(bytes)).value();
        std::set<std::byte*> begins;
        for (std::size_t i = 0; i < region_count; ++i) {
            const auto region = static_cast<Region>(i);
            begins.insert(slot.begin(region));
            EXPECT_EQ(slot.end(region) - slot.begin(region), static_cast<std::ptrdiff_t>(bytes.count));
            EXPECT_GE(slot.begin(region), slot.base());
            EXPECT_LE(slot.end(region), slot.base() + size_of(bytes).slot_bytes().count);
        }
        EXPECT_EQ(begins.size(), region_count);
        EXPECT_EQ(slot.context_header() + context_header_bytes, slot.end(Region::context));
        EXPECT_LT(slot.roots_begin(), slot.guard_low());
        EXPECT_EQ(slot.guard_low() + slot.guard_bytes(), slot.stack_low());
        const auto stack = static_cast<std::size_t>(slot.stack_top() - slot.stack_low());
        EXPECT_GE(stack, getauxval(AT_MINSIGSTKSZ) + 8192);
        EXPECT_LE(stack, bytes.count / 2);
    }
}

// Spec.   find() names the slot and the region of an address, and tells the guard from the stack; it knows
//         nothing about addresses outside.
TEST(SlotStore, FindsWhatAnAddressBelongsTo) {
    SlotStore store;
    (void)store.acquire(size_of(64_KiB)).value();
    const Slot slot = store.acquire(size_of(64_KiB)).value();
    for (std::size_t i = 0; i < region_count; ++i) {
        const auto region = static_cast<Region>(i);
        for (const std::byte* at : {slot.begin(region), slot.end(region) - 1}) {
            const std::optional<SlotAddress> found = store.find(at);
            ASSERT_TRUE(found.has_value());
            EXPECT_EQ(found->slot_base, slot.base());
            EXPECT_EQ(found->region, region);
            EXPECT_FALSE(found->in_guard);
        }
    }
    EXPECT_TRUE(store.find(slot.guard_low())->in_guard);
    EXPECT_TRUE(store.find(slot.stack_low() - 1)->in_guard);
    EXPECT_FALSE(store.find(slot.stack_low())->in_guard);
    EXPECT_FALSE(store.find(slot.guard_low() - 1)->in_guard);
    int on_this_stack = 0;
    EXPECT_FALSE(store.find(&on_this_stack).has_value());
    EXPECT_FALSE(store.find(slot.base() + slot.region_size().slot_bytes().count).has_value());  // not cut yet
}

// Spec.   A released slot is handed out again and reads as zero (I2).
TEST(SlotStore, HandsOutReleasedSlotsCleared) {
    SlotStore store;
    const Slot first = store.acquire(size_of(64_KiB)).value();
    *first.begin(Region::mailbox) = std::byte{7};
    *(first.stack_top() - 1) = std::byte{7};
    store.release(first);
    EXPECT_EQ(store.figures().free, 1u);
    const Slot again = store.acquire(size_of(64_KiB)).value();
    EXPECT_EQ(again, first);
    EXPECT_EQ(*again.begin(Region::mailbox), std::byte{0});
    EXPECT_EQ(*(again.stack_top() - 1), std::byte{0});
    store.check_invariants();
}

// Spec.   Where the kernel refuses a chunk, a smaller one is taken, down to one slot.
TEST(SlotStore, TakesSmallerChunksWhereAddressSpaceIsRefused) {
    SlotStore store({.chunk_bytes = Bytes{std::uint64_t{1} << 60}});  // More than the machine has.
    const Slot slot = store.acquire(size_of(16_MiB)).value();
    *slot.begin(Region::io_heap) = std::byte{1};
    store.check_invariants();
}

// Spec.   100,000 guarded contexts cost a handful of mappings.
// Method. Counted in /proc/self/maps. Only where the kernel has guard markers.
TEST(SlotStore, GuardsCostNoMappings) {
    SlotStore store;
    if (store.guard_mode() != GuardMode::markers) GTEST_SKIP() << "this kernel has no MADV_GUARD_INSTALL";
    SlotCache cache(store);
    const std::size_t before = mappings();
    Slot last;
    for (int i = 0; i < 100'000; ++i) last = cache.lease(size_of(64_KiB)).value();
    EXPECT_LE(mappings(), before + 8);
    EXPECT_EQ(cache.figures().cold, 100'000u);
    EXPECT_EXIT((*last.guard_low() = std::byte{1}, _exit(0)), faulted, "");
}

// Spec.   A guard survives the release of its slot.
TEST(SlotStoreDeathTest, GuardSurvivesRelease) {
    SlotStore store;
    const Slot slot = store.acquire(size_of(64_KiB)).value();
    store.release(slot);
    const Slot again = store.acquire(size_of(64_KiB)).value();
    store.before_run(again);
    EXPECT_EXIT((*(again.stack_low() - 1) = std::byte{1}, _exit(0)), faulted, "");
}

// Spec.   Without markers, guards stay within their budget, and a context that runs has one (I3, I4).
// Method. mprotect is forced, with a budget of 4 for 64 contexts.
TEST(SlotStoreDeathTest, MprotectGuardsMoveWithinTheirBudget) {
    SlotStore store({.guard_mode = GuardMode::mprotect, .guard_budget = 4});
    std::vector<Slot> slots;
    for (int i = 0; i < 64; ++i) slots.push_back(store.acquire(size_of(64_KiB)).value());
    const std::size_t before = mappings();
    for (const Slot slot : slots) {
        store.before_run(slot);
        EXPECT_LE(store.figures().guards, 4u);
        store.check_invariants();
        store.after_run(slot);
    }
    EXPECT_LE(mappings(), before + 2 * 4 + 16);  // 64 guards would be 128; the rest is the process's own
    EXPECT_EQ(store.figures().guard_moves, 60u);
    EXPECT_EQ(store.figures().guards_refused, 0u);
    store.before_run(slots[0]);
    EXPECT_EXIT((*(slots[0].stack_low() - 1) = std::byte{1}, _exit(0)), faulted, "");
    store.after_run(slots[0]);
    *(slots[1].stack_low() - 1) = std::byte{1};  // Its guard has moved on.
}

// Spec.   The guard that is taken belongs to a context that does not run, and to one that ran less lately.
TEST(SlotStoreDeathTest, MprotectGuardsAreTakenFromTheIdle) {
    SlotStore store({.guard_mode = GuardMode::mprotect, .guard_budget = 3});
    std::vector<Slot> slots;
    for (int i = 0; i < 4; ++i) slots.push_back(store.acquire(size_of(64_KiB)).value());
    store.before_run(slots[0]);  // Runs all the time.
    store.before_run(slots[1]);
    store.after_run(slots[1]);
    store.before_run(slots[2]);
    store.after_run(slots[2]);
    store.before_run(slots[3]);  // Takes the one of slots[1] or slots[2].
    EXPECT_EQ(store.figures().guards, 3u);
    EXPECT_EXIT((*(slots[0].stack_low() - 1) = std::byte{1}, _exit(0)), faulted, "");
    EXPECT_EXIT((*(slots[3].stack_low() - 1) = std::byte{1}, _exit(0)), faulted, "");
    store.after_run(slots[3]);
    store.after_run(slots[0]);
    store.check_invariants();
}

// Spec.   Several executors may run under a budget smaller than their number: the budget is exceeded, not a guard lost.
TEST(SlotStore, RunningContextsExceedTheBudgetRatherThanLoseAGuard) {
    SlotStore store({.guard_mode = GuardMode::mprotect, .guard_budget = 1});
    const Slot a = store.acquire(size_of(64_KiB)).value();
    const Slot b = store.acquire(size_of(64_KiB)).value();
    store.before_run(a);
    store.before_run(b);
    EXPECT_EQ(store.figures().guards, 2u);
    store.check_invariants();
    store.after_run(a);
    store.after_run(b);
}

// Spec.   Executors may ask for guards and slots at the same time.
// Method. Two threads, few guards; ThreadSanitizer and the invariants watch.
TEST(SlotStore, ServesSeveralExecutors) {
    SlotStore store({.guard_mode = GuardMode::mprotect, .guard_budget = 3});
    const auto executor = [&store] {
        SlotCache cache(store, 2);
        for (int i = 0; i < 200; ++i) {
            std::array<Slot, 4> slots;
            for (Slot& slot : slots) slot = cache.lease(size_of(64_KiB)).value();
            for (const Slot slot : slots) {
                store.before_run(slot);
                *(slot.stack_top() - 1) = std::byte{1};
                store.after_run(slot);
            }
            for (const Slot slot : slots) cache.give_back(slot);
        }
    };
    std::thread one(executor);
    std::thread two(executor);
    one.join();
    two.join();
    store.check_invariants();
    EXPECT_EQ(store.figures().free, store.figures().cut);
}

// Spec.   The slot given back last is leased first, and what is over the limit goes back to the store.
TEST(SlotCache, KeepsTheWarmest) {
    SlotStore store;
    SlotCache cache(store, 2);
    const Slot a = cache.lease(size_of(64_KiB)).value();
    const Slot b = cache.lease(size_of(64_KiB)).value();
    const Slot c = cache.lease(size_of(64_KiB)).value();
    const Slot other = cache.lease(size_of(128_KiB)).value();
    EXPECT_EQ(cache.figures().leased, 4u);
    cache.give_back(a);
    cache.give_back(b);
    cache.give_back(c);  // over the limit
    cache.give_back(other);
    cache.check_invariants();
    EXPECT_EQ(cache.figures().leased, 0u);
    EXPECT_EQ(cache.figures().warm, 3u);
    EXPECT_EQ(store.figures().free, 1u);
    EXPECT_EQ(cache.lease(size_of(64_KiB)).value(), b);
    EXPECT_EQ(cache.lease(size_of(64_KiB)).value(), a);
    EXPECT_EQ(cache.figures().warm_hits, 2u);
    EXPECT_EQ(cache.figures().cold, 4u);
    cache.trim(0);
    EXPECT_EQ(cache.figures().warm, 0u);
    EXPECT_EQ(store.figures().free, 2u);
}

// Spec.   discard() gives a region's pages back from an offset on, and of the context region only the roots'.
TEST(SlotStore, DiscardsARegionsTail) {
    SlotStore store;
    const Slot slot = store.acquire(size_of(64_KiB)).value();
    std::byte* heap = slot.begin(Region::io_heap);
    heap[0] = heap[page_bytes] = std::byte{1};
    *slot.roots_begin() = *(slot.stack_top() - 1) = std::byte{1};
    SlotStore::discard(slot, Region::io_heap, 1_B);
    SlotStore::discard(slot, Region::context, 0_B);
    EXPECT_EQ(heap[0], std::byte{1});
    EXPECT_EQ(heap[page_bytes], std::byte{0});
    EXPECT_EQ(*slot.roots_begin(), std::byte{0});
    EXPECT_EQ(*(slot.stack_top() - 1), std::byte{1});
}

}  // namespace
}  // namespace umbel::rt
