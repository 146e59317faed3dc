#include "runtime/memory/slot_store.h"

#include <sys/auxv.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "runtime/base/check.h"

namespace umbel::rt {

namespace {

constexpr int advice_guard_install = 102;                  // MADV_GUARD_INSTALL; Debian 12's headers do not have it.
constexpr std::size_t table_bytes = std::size_t{2} << 20;  // What one page of page table covers.
constexpr std::size_t large_guard_pages = 16;
constexpr std::size_t reserved_mappings = 8192;  // Left to libraries, thread stacks, malloc.

std::size_t round_up(std::size_t value, std::size_t unit) { return (value + unit - 1) / unit * unit; }

bool kernel_has_guard_markers() {
    void* probe = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (probe == MAP_FAILED) return false;
    const bool has = madvise(probe, page_bytes, advice_guard_install) == 0;
    munmap(probe, page_bytes);
    return has;
}

std::size_t default_guard_budget() {
    std::size_t max_map_count = 65'530;  // The kernel's default, where /proc cannot be read.
    std::ifstream("/proc/sys/vm/max_map_count") >> max_map_count;
    return max_map_count > 2 * reserved_mappings ? (max_map_count - reserved_mappings) / 2 : max_map_count / 4;
}

}  // namespace

SlotStore::SlotStore(SlotStoreOptions options) : options_(options), chunks_(new Chunk[max_chunks]) {
    if (options_.guard_mode == GuardMode::automatic) {
        options_.guard_mode = kernel_has_guard_markers() ? GuardMode::markers : GuardMode::mprotect;
    }
    permanent_guards_ = options_.guard_mode == GuardMode::markers;
    guard_budget_ = options_.guard_budget != 0 ? options_.guard_budget : default_guard_budget();
    const std::size_t signal_frame = getauxval(AT_MINSIGSTKSZ);
    min_stack_pages_ =
        static_cast<std::uint32_t>((signal_frame + 8192 + context_header_bytes + page_bytes - 1) / page_bytes);
}

SlotStore::~SlotStore() {
    const std::size_t count = chunk_count_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) munmap(chunks_[i].mapping, chunks_[i].mapping_bytes);
}

GuardMode SlotStore::guard_mode() const { return options_.guard_mode; }

Slot SlotStore::slot_at(std::size_t chunk, std::size_t index) const {
    const Chunk& from = chunks_[chunk];
    const std::size_t region = from.size.bytes().count;
    const std::size_t wanted = round_up(options_.stack_bytes.count, page_bytes) / page_bytes;
    Slot slot;
    slot.base_ = from.begin + index * from.size.slot_bytes().count;
    slot.size_ = from.size;
    slot.chunk_ = static_cast<std::uint16_t>(chunk);
    slot.stack_pages_ =
        static_cast<std::uint32_t>(std::min(std::max<std::size_t>(wanted, min_stack_pages_), region / 2 / page_bytes));
    slot.guard_pages_ = region >= (std::size_t{1} << 20) ? large_guard_pages : 1;
    return slot;
}

// A new chunk for slots of this size; its index.
Result<std::size_t> SlotStore::reserve_chunk(RegionSize size) {
    const std::size_t slot_bytes = size.slot_bytes().count;
    const std::size_t index = chunk_count_.load(std::memory_order_relaxed);
    if (index == max_chunks) {
        return fail(ErrorClass::system, "no more room for contexts: " + std::to_string(max_chunks) +
                                            " reservations of address space are in use; lower actors.max");
    }
    std::size_t wanted = std::max<std::size_t>(options_.chunk_bytes.count / slot_bytes, 1);
    void* mapping = MAP_FAILED;
    std::size_t mapping_bytes = 0;
    for (;; wanted /= 2) {
        mapping_bytes = wanted * slot_bytes + 2 * table_bytes;
        mapping =
            mmap(nullptr, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (mapping != MAP_FAILED) break;
        if (wanted == 1) {
            return fail(ErrorClass::system,
                        "the kernel refuses " + std::to_string(mapping_bytes) +
                            " bytes of address space for a context (" + std::strerror(errno) +
                            "): raise the limit on virtual memory (ulimit -v, LimitAS=), set vm.overcommit_memory to 0 "
                            "or 1, or lower actors.memory_limit");
        }
    }
    options_.chunk_bytes = Bytes{std::min<std::uint64_t>(options_.chunk_bytes.count, wanted * slot_bytes)};
    // Both are hints: a kernel without them gives the same memory.
    madvise(mapping, mapping_bytes, MADV_NOHUGEPAGE);
    if (!options_.dump_contexts) madvise(mapping, mapping_bytes, MADV_DONTDUMP);

    Chunk& chunk = chunks_[index];
    const auto address = reinterpret_cast<std::uintptr_t>(mapping);
    chunk.mapping = static_cast<std::byte*>(mapping);
    chunk.mapping_bytes = mapping_bytes;
    chunk.begin = chunk.mapping + (round_up(address, table_bytes) - address) + slot_lead(size).count;
    chunk.slots = wanted;
    chunk.size = size;
    if (!permanent_guards_) {
        chunk.guards = std::make_unique<std::atomic<GuardState>[]>(wanted);
        for (std::size_t i = 0; i < wanted; ++i) chunk.guards[i].store(GuardState::absent, std::memory_order_relaxed);
    }
    // release: publishes the entry. Pairs with the acquire in find().
    chunk_count_.store(index + 1, std::memory_order_release);
    return index;
}

Result<Slot> SlotStore::cut_slot(RegionSize size) {
    std::size_t& open = open_chunk_[size.choice()];
    if (open == 0 || chunks_[open - 1].cut.load(std::memory_order_relaxed) == chunks_[open - 1].slots) {
        Result<std::size_t> chunk = reserve_chunk(size);
        if (!chunk) return std::unexpected(std::move(chunk.error()));
        open = *chunk + 1;
    }
    Chunk& chunk = chunks_[open - 1];
    const std::size_t index = chunk.cut.load(std::memory_order_relaxed);
    const Slot slot = slot_at(open - 1, index);
    if (permanent_guards_ && madvise(slot.guard_low(), slot.guard_bytes(), advice_guard_install) != 0) {
        return fail(ErrorClass::system, std::string("the kernel refuses a guard under a context's stack (") +
                                            std::strerror(errno) + "): the machine is short of memory");
    }
    // release: the slot exists. Pairs with the acquire in find().
    chunk.cut.store(index + 1, std::memory_order_release);
    return slot;
}

Result<Slot> SlotStore::acquire(RegionSize size) {
    const std::lock_guard lock(mutex_);
    std::vector<Slot>& returned = free_[size.choice()];
    if (returned.empty()) return cut_slot(size);
    const Slot slot = returned.back();
    returned.pop_back();
    return slot;
}

void SlotStore::release(Slot slot) {
    CHECK(slot);
    // I2. The guard's markers survive this.
    CHECK(madvise(slot.base(), slot.region_size().slot_bytes().count, MADV_DONTNEED) == 0);
    const std::lock_guard lock(mutex_);
    free_[slot.region_size().choice()].push_back(slot);  // I1
}

void SlotStore::discard(Slot slot, Region region, Bytes offset) {
    const std::size_t from = round_up(offset.count, page_bytes);
    const std::size_t end = region == Region::context ? slot.roots_bytes() : slot.region_bytes().count;
    if (from < end) CHECK(madvise(slot.begin(region) + from, end - from, MADV_DONTNEED) == 0);
}

std::atomic<SlotStore::GuardState>& SlotStore::guard_of(Slot slot) const {
    const Chunk& chunk = chunks_[slot.chunk_];
    return chunk.guards[static_cast<std::size_t>(slot.base_ - chunk.begin) / chunk.size.slot_bytes().count];
}

void SlotStore::guard_for_run(Slot slot) {
    std::atomic<GuardState>& guard = guard_of(slot);
    GuardState state = guard.load(std::memory_order_relaxed);
    DCHECK(state != GuardState::running);
    while (state != GuardState::absent) {
        // acq_rel: once it says `running`, take_a_guard() keeps away; pairs with its exchange.
        if (guard.compare_exchange_weak(state, GuardState::running, std::memory_order_acq_rel)) return;
    }
    // Absent, and only this executor may run this slot: nobody else changes the state from here on.
    const std::lock_guard lock(mutex_);
    const bool over_budget = guarded_.size() >= guard_budget_;  // I4
    if (over_budget && take_a_guard()) ++guard_moves_;
    int refused = mprotect(slot.guard_low(), slot.guard_bytes(), PROT_NONE);
    if (refused != 0 && take_a_guard()) {
        ++guard_moves_;
        refused = mprotect(slot.guard_low(), slot.guard_bytes(), PROT_NONE);
    }
    if (refused != 0) {
        ++guards_refused_;
        return;
    }
    guarded_.push_back(slot);
    guard.store(GuardState::running, std::memory_order_release);  // release: as above
}

void SlotStore::guard_after_run(Slot slot) {
    GuardState expected = GuardState::running;
    // release: the run is over. Pairs with the exchange in take_a_guard(). Fails only if the guard was refused.
    guard_of(slot).compare_exchange_strong(expected, GuardState::lately, std::memory_order_release,
                                           std::memory_order_relaxed);
}

// Removes the guard of a context that does not run and has not run lately. False if all of them run.
bool SlotStore::take_a_guard() {
    for (std::size_t steps = 2 * guarded_.size(); steps > 0; --steps) {
        if (hand_ >= guarded_.size()) hand_ = 0;
        const Slot slot = guarded_[hand_];
        std::atomic<GuardState>& guard = guard_of(slot);
        GuardState expected = GuardState::idle;
        // acq_rel: from here on its executor asks for a new one; pairs with guard_for_run(). The lock is held until
        // the old one is gone, so the new one cannot be put in place before that.
        if (guard.compare_exchange_strong(expected, GuardState::absent, std::memory_order_acq_rel)) {
            CHECK(mprotect(slot.guard_low(), slot.guard_bytes(), PROT_READ | PROT_WRITE) == 0);
            guarded_[hand_] = guarded_.back();
            guarded_.pop_back();
            return true;
        }
        if (expected == GuardState::lately) {
            // relaxed: a hint about age.
            guard.compare_exchange_strong(expected, GuardState::idle, std::memory_order_relaxed);
        }
        ++hand_;
    }
    return false;
}

std::optional<SlotAddress> SlotStore::find(const void* address) const {
    const auto* const at = static_cast<const std::byte*>(address);
    // acquire: sees the entries. Pairs with the release in reserve_chunk().
    const std::size_t count = chunk_count_.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < count; ++i) {
        const Chunk& chunk = chunks_[i];
        const std::size_t slot_bytes = chunk.size.slot_bytes().count;
        // acquire: pairs with the release in cut_slot().
        if (at < chunk.begin || at >= chunk.begin + chunk.cut.load(std::memory_order_acquire) * slot_bytes) continue;
        const auto offset = static_cast<std::size_t>(at - chunk.begin);
        const Slot slot = slot_at(i, offset / slot_bytes);
        return SlotAddress{.slot_base = slot.base(),
                           .region_size = chunk.size,
                           .region = region_at(offset % slot_bytes >> chunk.size.log2()),
                           .in_guard = at >= slot.guard_low() && at < slot.stack_low()};
    }
    return std::nullopt;
}

SlotStore::Figures SlotStore::figures() const {
    const std::lock_guard lock(mutex_);
    Figures figures;
    figures.chunks = chunk_count_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < figures.chunks; ++i) figures.cut += chunks_[i].cut.load(std::memory_order_relaxed);
    for (const std::vector<Slot>& returned : free_) figures.free += returned.size();
    figures.guards = guarded_.size();
    figures.guard_moves = guard_moves_;
    figures.guards_refused = guards_refused_;
    return figures;
}

void SlotStore::check_invariants() const {
    const std::lock_guard lock(mutex_);
    const std::size_t count = chunk_count_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; i < count; ++i) {
        const Chunk& chunk = chunks_[i];
        const std::size_t bytes = chunk.slots * chunk.size.slot_bytes().count;
        CHECK(chunk.begin >= chunk.mapping);                                // I1
        CHECK(chunk.begin + bytes <= chunk.mapping + chunk.mapping_bytes);  // I1
        CHECK(chunk.cut.load(std::memory_order_relaxed) <= chunk.slots);    // I1
    }
    for (std::size_t choice = 0; choice < free_.size(); ++choice) {
        std::set<std::byte*> seen;
        for (const Slot slot : free_[choice]) {
            CHECK(slot.region_size().choice() == choice);  // I1
            CHECK(find(slot.base()).has_value());          // I1
            CHECK(seen.insert(slot.base()).second);        // I1
        }
    }
    std::size_t running = 0;
    for (const Slot slot : guarded_) {
        const GuardState state = guard_of(slot).load(std::memory_order_relaxed);
        CHECK(state != GuardState::absent);  // I3
        if (state == GuardState::running) ++running;
    }
    CHECK(guarded_.size() <= std::max(guard_budget_, running));  // I4
}

}  // namespace umbel::rt
