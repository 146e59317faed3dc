// actor.h: what an actor is when it does nothing: a type, an id, a record.
//
// Why.    A dormant actor must cost its record and no more, so that there can be millions.
// Shape.  ActorRecord: 256 B in a slab that never moves (directory.h), found by id. Everything an actor needs only while it
//         runs or waits is in its ActorContext (context.h).
// Owner.  The home executor, but for the words that others read: `generation`, `home` and `full`.
//
// Invariants
//   A1  a record's state says which queue it is on: see ActorState
//   A2  an id names at most one actor, ever (until 2^24 actors have had the same record)
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "runtime/base/intrusive_list.h"
#include "runtime/base/units.h"
#include "runtime/memory/region.h"
#include "umbel/abi.h"

namespace umbel::rt {

struct ActorContext;

/// An actor's id, taken apart: generation (24 bits, never 0), the slab its record lies in (8), its place there (32).
struct ActorId {
    umbel_actor_id value = 0;

    [[nodiscard]] static ActorId of(std::uint32_t generation, ExecutorIndex slab, std::uint32_t place) {
        return {std::uint64_t{generation} << 40 | std::uint64_t{index_of(slab)} << 32 | place};
    }
    [[nodiscard]] std::uint32_t generation() const { return static_cast<std::uint32_t>(value >> 40); }
    [[nodiscard]] ExecutorIndex slab() const { return static_cast<ExecutorIndex>(value >> 32 & 0xff); }
    [[nodiscard]] std::uint32_t place() const { return static_cast<std::uint32_t>(value); }
    bool operator==(const ActorId&) const = default;
};
constexpr std::uint32_t max_generation = (1u << 24) - 1;

/// What the runtime keeps of a declared umbel_actor_type. Lives as long as the process.
struct ActorType {
    const umbel_actor_type* declared;
    const char* plugin;        // its name
    std::size_t plugin_index;  // in the order of the config
    RegionSize region_size;
    [[nodiscard]] bool stackful() const { return declared->run != nullptr; }
};

enum class ActorState : std::uint8_t {
    vacant,      // No actor: on its slab's free list.
    embryo,      // Spawned for another executor, which has not heard of it yet. On no queue.
    dormant,     // No context. On no queue. The next message makes it runnable.
    receiving,   // Has a context, waits. On no queue.
    runnable,    // On exactly one RunQueue, once.
    running,     // Executor::running_ points to its context.
    submitting,  // Parked by a full ring. On Executor::parked_, then on the high-priority queue as runnable.
};

struct RunQueueTag;

struct alignas(cache_line) ActorRecord : ListHook<RunQueueTag> {
    // The home executor's.
    ActorType* type = nullptr;
    ActorContext* context = nullptr;
    ActorId id;
    ActorState state = ActorState::vacant;
    bool started = false;   // Its code has run.
    bool is_main = false;   // A plugin's main actor: its readiness is watched.
    bool is_ready = false;  // … and has been reported.
    bool has_name = false;  // In the directory's names.
    bool evicted = false;   // Its plugin is retired: instead of running it ends.

    // Written by the home executor (generation: by the slab's), read by all. Relaxed: hints, checked again at home.
    std::atomic<std::uint8_t> home{0};
    std::atomic<bool> full{false};  // Its mailbox has just refused a message.
    std::atomic<std::uint32_t> generation{1};

    std::uint32_t next_free = 0;  // The slab's.

    alignas(16) std::array<std::byte, UMBEL_STATE_MAX> state_bytes;
};
static_assert(sizeof(ActorRecord) <= 256, "a million dormant actors in 256 MB");

using RunQueue = IntrusiveList<ActorRecord, RunQueueTag>;

}  // namespace umbel::rt
