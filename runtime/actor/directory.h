// directory.h: finding actors: by id, by name.
//
// Why.    Any actor may send to any id it knows, alive or dead, from any executor, without a lock.
// Shape.  One slab of records an executor, in chunks that are never given back: an id leads to its record by two loads. A
//         record is taken and freed only by its slab's executor; others look at its generation and its home. Names are a
//         map under a lock: they are set up once and looked up rarely.
// Owner.  Slab i: executor i. Names, counts: everybody.
//
// Invariants (check_invariants(), when nothing runs)
//   D1  a vacant record is on its slab's free list, once; no other is
//   D2  a record's generation is greater than that of every id it ever had, while it is vacant
//
// Cost.   find: two dependent loads. take, free: a few ns. Names: a mutex and a hash.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/actor/actor.h"
#include "runtime/base/check.h"

namespace umbel::rt {

class Directory {
public:
    static constexpr std::uint32_t chunk_records = 1024;
    static constexpr std::uint32_t max_chunks = 16384;  // 16 M records a slab

    /// max_actors: living ones, all executors together; when all spawn at the limit at once, up to one more for each.
    Directory(std::size_t executors, std::size_t max_actors);
    ~Directory();
    Directory(const Directory&) = delete;
    Directory& operator=(const Directory&) = delete;

    /// A vacant record of executor `slab`'s, with a fresh id; null when there are max_actors. Slab's executor only.
    [[nodiscard]] ActorRecord* take(ExecutorIndex slab);
    /// Gives a record back; its id is dead. Slab's executor only.
    void free(ActorRecord& record);
    /// Makes an id dead, before its record can be given back. Home executor only.
    static void retire(ActorRecord& record) {
        const std::uint32_t generation = record.id.generation();
        // relaxed: whoever misses it is told at home.
        record.generation.store(generation == max_generation ? 1 : generation + 1, std::memory_order_relaxed);
    }

    /// The record of a living actor, or null. Any executor: elsewhere than at its home the answer may be late.
    [[nodiscard]] ActorRecord* find(ActorId id) const {
        if (index_of(id.slab()) >= slabs_.size()) return nullptr;
        const Slab& slab = *slabs_[index_of(id.slab())];
        const std::uint32_t chunk = id.place() / chunk_records;
        if (chunk >= max_chunks) return nullptr;
        // acquire: sees the chunk's records made. Pairs with the release in take().
        ActorRecord* records = slab.chunks[chunk].load(std::memory_order_acquire);
        if (records == nullptr) return nullptr;
        ActorRecord& record = records[id.place() % chunk_records];
        return record.generation.load(std::memory_order_relaxed) == id.generation() ? &record : nullptr;
    }

    /// The record an id was given with, whoever has it now. Of an id that take() has given.
    [[nodiscard]] ActorRecord& at(ActorId id) const {
        const Slab& slab = *slabs_[index_of(id.slab())];
        return slab.chunks[id.place() / chunk_records].load(std::memory_order_acquire)[id.place() % chunk_records];
    }

    /// Calls visit(record) for each living actor of this executor's slab, wherever it is at home, whose record lies at a place
    /// in [from, to). Returns whether that was the slab's end. Slab's executor only; visit may free records.
    template <class Visit>
    bool for_living(ExecutorIndex executor, std::uint32_t from, std::uint32_t to, Visit&& visit) {
        const Slab& slab = *slabs_[index_of(executor)];
        for (std::uint32_t place = from; place < to && place < slab.used; ++place) {
            ActorRecord& record =
                slab.chunks[place / chunk_records].load(std::memory_order_relaxed)[place % chunk_records];
            // relaxed: the home executor may retire it at this moment; who is told of it then finds nobody.
            if (record.generation.load(std::memory_order_relaxed) == record.id.generation()) visit(record);
        }
        return to >= slab.used;
    }

    /// Living actors, all executors together. Any thread.
    [[nodiscard]] std::size_t living() const;

    /// Calls see(record) for each record that is taken. For when nothing runs.
    template <class See>
    void each_living(See&& see) const {
        for (const auto& slab : slabs_) {
            for (std::uint32_t place = 0; place < slab->used; ++place) {
                ActorRecord* records = slab->chunks[place / chunk_records].load(std::memory_order_relaxed);
                if (records[place % chunk_records].state != ActorState::vacant) see(records[place % chunk_records]);
            }
        }
    }

    /// False if a living actor has the name.
    [[nodiscard]] bool set_name(std::string_view name, ActorId id);
    [[nodiscard]] ActorId whereis(std::string_view name) const;
    /// Removes all names of an actor.
    void drop_names(ActorId id);

    void check_invariants() const;

private:
    struct alignas(cache_line) Slab {
        std::unique_ptr<std::atomic<ActorRecord*>[]> chunks;
        std::uint32_t used = 0;       // records ever taken
        std::uint32_t free_list = 0;  // 1 + place; 0: none
        std::size_t allowance = 0;    // how many may be taken before all are counted again
        std::atomic<std::size_t> living{0};
    };

    std::vector<std::unique_ptr<Slab>> slabs_;
    std::size_t max_actors_;
    mutable std::mutex names_mutex_;
    std::unordered_map<std::string, ActorId> names_;
};

}  // namespace umbel::rt
