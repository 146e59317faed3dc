// event_ring.h: the way of a report from an executor to the daemon's log thread.
//
// Why.    Logging must never stop an executor: a full ring drops the record and counts it.
// Shape.  Single producer (the executor), single consumer (the log thread), a power of two of bytes. Records lie in one
//         piece each, behind one another; one that would not fit before the end begins at the front again, and a
//         filler takes the rest. The consumer reads them where they lie.
// Owner.  Producer side: the executor's thread. Consumer side: one thread at a time.
//
// Invariants
//   I1  head ≤ tail ≤ head + capacity; both are multiples of 8
//   I2  a record is written whole or not at all
//
// Cost.   A record: its bytes, once; one release store. No system call: the reader polls.
// Not here.  What is in a record: event.h. A plugin's fields: event_fields.h.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/base/event.h"
#include "runtime/base/units.h"

namespace umbel::rt {

class EventRing {
public:
    static constexpr std::size_t max_text = 800;                              // of a report's text; the rest is cut off
    static constexpr std::size_t max_payload = std::size_t{15} * 1024;        // behind a record's head
    static constexpr Bytes default_capacity = Bytes{std::uint64_t{1} << 20};  // some 3,000 lines of an access log

    /// capacity: a power of two ≥ 32 KiB, or of 2 · (max_payload + 64).
    explicit EventRing(Bytes capacity = default_capacity)
        : mask_(capacity.count - 1), bytes_(new std::byte[capacity.count]) {
        CHECK(capacity.count >= 2 * (max_payload + sizeof(Event)));
        CHECK((capacity.count & mask_) == 0);
    }

    /// Producer. Room for a record of at most `most` (≤ max_payload) bytes behind its head, or null, and counted, if
    /// there is none. Nothing is seen before publish(), and nothing happens without it.
    [[nodiscard]] char* reserve(std::size_t most) {
        DCHECK(most <= max_payload);
        const std::size_t capacity = mask_ + 1;
        const std::size_t needed = rounded(sizeof(Event) + most);
        const std::size_t tail = tail_.load(std::memory_order_relaxed);
        const std::size_t offset = tail & mask_;
        const std::size_t filler = offset + needed > capacity ? capacity - offset : 0;
        if (tail + filler + needed - head_seen_ > capacity) {  // I1
            // acquire: the reader has finished with those bytes. Pairs with the release in pop().
            head_seen_ = head_.load(std::memory_order_acquire);
            if (tail + filler + needed - head_seen_ > capacity) {
                dropped_.fetch_add(1, std::memory_order_relaxed);
                return nullptr;
            }
        }
        if (filler != 0) write_head(offset, {static_cast<std::uint32_t>(filler), EventKind::count});
        begin_ = tail + filler;
        return reinterpret_cast<char*>(&bytes_[begin_ & mask_]) + sizeof(Event);
    }

    /// Producer, after reserve(): the first `payload` bytes of the room belong to `event`.
    void publish(Event event, std::size_t payload) {
        DCHECK(payload == std::size_t{event.fields_length} + event.text_length + event.name_length);
        event.bytes = static_cast<std::uint32_t>(rounded(sizeof(Event) + payload));
        std::memcpy(&bytes_[begin_ & mask_], &event, sizeof event);
        // release: publishes the record, all at once (I2). Pairs with the acquire in published().
        tail_.store(begin_ + event.bytes, std::memory_order_release);
    }

    /// Producer. Writes `event` with `text` (cut at max_text). False, and counted, if the ring is full.
    bool push(Event event, std::string_view text) {
        event.truncated = text.size() > max_text;
        text = text.substr(0, max_text);
        char* room = reserve(text.size());
        if (room == nullptr) return false;
        event.text_length = static_cast<std::uint16_t>(text.size());
        std::copy(text.begin(), text.end(), room);
        publish(event, text.size());
        return true;
    }

    /// Consumer. How far records have been published: an end for front().
    [[nodiscard]] std::size_t published() const {
        // acquire: sees the records. Pairs with the release in publish().
        return tail_.load(std::memory_order_acquire);
    }

    /// Consumer. The oldest record before `end`, or false when there is none. Its views are valid until pop().
    [[nodiscard]] bool front(std::size_t end, LogRecord& record) {
        for (;;) {
            const std::size_t head = head_.load(std::memory_order_relaxed);
            if (head == end) return false;
            const std::byte* at = &bytes_[head & mask_];
            Head filler;
            std::memcpy(&filler, at, sizeof filler);
            if (filler.kind == EventKind::count) {
                go_to(head + filler.bytes);
                continue;
            }
            std::memcpy(&record.event, at, sizeof record.event);
            const char* payload = reinterpret_cast<const char*>(at) + sizeof(Event);
            record.fields = {payload, record.event.fields_length};
            record.text = {payload + record.event.fields_length, record.event.text_length};
            record.name = {record.text.data() + record.event.text_length, record.event.name_length};
            return true;
        }
    }

    /// Consumer. Gives the bytes of `record`, which front() has shown, back.
    void pop(const LogRecord& record) { go_to(head_.load(std::memory_order_relaxed) + record.event.bytes); }

    /// Any thread. Records dropped so far because the ring was full.
    [[nodiscard]] std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

private:
    struct Head {
        std::uint32_t bytes;
        EventKind kind;
    };
    static_assert(offsetof(Event, bytes) == offsetof(Head, bytes) && offsetof(Event, kind) == offsetof(Head, kind) &&
                      sizeof(Head) == 8,
                  "a filler is the beginning of an Event, and fits wherever anything does (I1)");

    static constexpr std::size_t rounded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }
    void write_head(std::size_t offset, Head head) { std::memcpy(&bytes_[offset], &head, sizeof head); }
    void go_to(std::size_t head) {
        // release: gives the bytes back. Pairs with the acquire in reserve().
        head_.store(head, std::memory_order_release);
    }

    const std::size_t mask_;
    const std::unique_ptr<std::byte[]> bytes_;
    alignas(cache_line) std::atomic<std::size_t> tail_{0};  // written by the producer
    std::size_t begin_ = 0;                                 // the producer's: of the record that is being made
    std::size_t head_seen_ = 0;                             // the producer's
    std::atomic<std::uint64_t> dropped_{0};                 // written by the producer
    alignas(cache_line) std::atomic<std::size_t> head_{0};  // written by the consumer
};

}  // namespace umbel::rt
