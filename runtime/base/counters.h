// counters.h: what an executor counts, and how others read it.
//
// Why.    Metrics and tests look at an executor while it runs; it must not stop for them, nor lock, nor share a cache line
//         with them more often than it likes.
// Shape.  ExecutorCounters is plain data that the executor counts in. Now and then it copies them into PublishedCounters,
//         word by word; readers may see a copy half way through, each word by itself is right.
// Owner.  The executor writes; any thread reads.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace umbel::rt {

/// All count up from the executor's start but the ones marked "now".
struct ExecutorCounters {
    std::uint64_t turns = 0;
    std::uint64_t slices = 0;           // time slices given to actors
    std::uint64_t messages = 0;         // messages put into mailboxes here
    std::uint64_t messages_remote = 0;  // of these, from other executors
    std::uint64_t dead_letters = 0;
    std::uint64_t operations = 0;            // submitted
    std::uint64_t completions = 0;           // reaped
    std::uint64_t enters = 0;                // io_uring_enter calls
    std::uint64_t cq_overflows = 0;          // stays 0
    std::uint64_t high_priority_yields = 0;  // submissions refused and parked (case 3)
    std::uint64_t wakes_sent = 0;
    std::uint64_t wakes_skipped = 0;  // the other executor was awake
    std::uint64_t actors_spawned = 0;
    std::uint64_t actors_ended = 0;
    std::uint64_t actors_failed = 0;
    std::uint64_t contexts_leased = 0;       // now
    std::uint64_t operations_in_flight = 0;  // now
    std::uint64_t events_dropped = 0;
};

class PublishedCounters {
public:
    void publish(const ExecutorCounters& counters) {
        const auto copy = std::bit_cast<std::array<std::uint64_t, words>>(counters);
        // relaxed: figures, each for itself.
        for (std::size_t i = 0; i < words; ++i) words_[i].store(copy[i], std::memory_order_relaxed);
    }
    [[nodiscard]] ExecutorCounters read() const {
        std::array<std::uint64_t, words> copy;
        for (std::size_t i = 0; i < words; ++i) copy[i] = words_[i].load(std::memory_order_relaxed);
        return std::bit_cast<ExecutorCounters>(copy);
    }

private:
    static constexpr std::size_t words = sizeof(ExecutorCounters) / sizeof(std::uint64_t);
    static_assert(sizeof(ExecutorCounters) % sizeof(std::uint64_t) == 0);
    std::array<std::atomic<std::uint64_t>, words> words_{};
};

}  // namespace umbel::rt
