// event_ring.h: the way of a report from an executor to the daemon's log thread.
//
// Why.    Logging must never stop an executor: a full ring drops the event and counts it.
// Shape.  Single producer (the executor), single consumer (the log thread), a power of two of Events.
// Owner.  Producer side: the executor's thread. Consumer side: one thread at a time.
//
// Invariants
//   I1  head ≤ tail ≤ head + capacity
//   I2  a text is written whole (all its events) or not at all
//
// Cost.   push: one copy of 256 B, one release store. No system call: the reader polls.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/event.h"

namespace umbel::rt {

class EventRing {
public:
    static constexpr std::size_t max_text = 4 * Event::text_capacity;

    /// capacity: events, a power of two ≥ 8.
    explicit EventRing(std::size_t capacity = 1024) : mask_(capacity - 1), slots_(new Event[capacity]) {
        CHECK(capacity >= 8 && (capacity & mask_) == 0);
    }

    /// Producer. Writes `event` with `text` (cut at max_text). False, and counted, if the ring is full.
    bool push(Event event, std::string_view text) {
        text = text.substr(0, max_text);
        const std::size_t needed =
            std::max<std::size_t>(1, (text.size() + Event::text_capacity - 1) / Event::text_capacity);
        const std::size_t tail = tail_.load(std::memory_order_relaxed);
        // acquire: the reader has finished with those slots. Pairs with the release in pop().
        if (tail + needed - head_.load(std::memory_order_acquire) > mask_ + 1) {  // I1
            dropped_.fetch_add(1, std::memory_order_relaxed);
            return false;
        }
        for (std::size_t i = 0; i < needed; ++i) {
            const std::string_view piece = text.substr(0, Event::text_capacity);
            text.remove_prefix(piece.size());
            event.more = i + 1 < needed;
            event.text_length = static_cast<std::uint8_t>(piece.size());
            std::copy(piece.begin(), piece.end(), event.text.begin());
            slots_[(tail + i) & mask_] = event;
        }
        // release: publishes the slots, all at once (I2). Pairs with the acquire in pop().
        tail_.store(tail + needed, std::memory_order_release);
        return true;
    }

    /// Consumer. The oldest event, or false when there is none.
    bool pop(Event& event) {
        const std::size_t head = head_.load(std::memory_order_relaxed);
        // acquire: sees the slots. Pairs with the release in push().
        if (head == tail_.load(std::memory_order_acquire)) return false;
        event = slots_[head & mask_];
        // release: gives the slot back. Pairs with the acquire in push().
        head_.store(head + 1, std::memory_order_release);
        return true;
    }

    /// Any thread. Events dropped so far because the ring was full.
    [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

private:
    const std::size_t mask_;
    const std::unique_ptr<Event[]> slots_;
    alignas(cache_line) std::atomic<std::size_t> tail_{0};  // written by the producer
    std::atomic<std::uint64_t> dropped_{0};                 // written by the producer
    alignas(cache_line) std::atomic<std::size_t> head_{0};  // written by the consumer
};

}  // namespace umbel::rt
