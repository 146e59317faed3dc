// channel.h: messages from one executor to one other.
//
// Why.    Executors share no queue and no lock: each ordered pair has a channel of its own, made when it is first used, and
//         so messages between two actors stay in order.
// Shape.  A ring of bytes, single producer, single consumer. An envelope never wraps: what is left of the ring before its
//         end is skipped. The producer publishes once a turn (a batch), not once a message.
// Owner.  Producer side: the sending executor. Consumer side: the receiving one.
//
// Invariants
//   I1  head ≤ published ≤ tail ≤ head + capacity
//   I2  envelopes are multiples of 16 B and lie contiguous
//
// Cost.   push: a copy. publish: one release store. drain: one acquire load, one release store a batch.
// Not here.  Waking the other side: Port (port.h). What an envelope means: executor.cpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "runtime/base/check.h"
#include "runtime/base/units.h"
#include "umbel/abi.h"

namespace umbel::rt {

enum class EnvelopeKind : std::uint16_t {
    skip,         // Nothing: the rest of the ring before its end.
    message,      // A user message for `target`.
    spawned,      // `target` is an actor for you.
    free_record,  // `target`'s record is yours and may be given to another actor.
    evict,        // `target` is at home with you, and its plugin is retired: end it.
};

struct Envelope {
    std::uint32_t size;  // Bytes, this header included; a multiple of 16.
    EnvelopeKind kind;
    std::uint16_t reserved;
    std::uint32_t type;
    std::uint32_t bytes;
    umbel_actor_id sender;
    umbel_actor_id target;

    [[nodiscard]] const std::byte* body() const { return reinterpret_cast<const std::byte*>(this + 1); }
};
static_assert(sizeof(Envelope) == 32);

class Channel {
public:
    static constexpr std::size_t capacity = std::size_t{1} << 19;

    Channel() : ring_(static_cast<std::byte*>(::operator new(capacity, std::align_val_t{cache_line}))) {}
    ~Channel() { ::operator delete(ring_, std::align_val_t{cache_line}); }
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;

    /// Producer. Puts an envelope in, unseen until publish(). False if there is no room.
    [[nodiscard]] bool push(EnvelopeKind kind, umbel_actor_id sender, umbel_actor_id target, std::uint32_t type,
                            const void* data, std::uint32_t bytes) {
        const std::uint32_t size = static_cast<std::uint32_t>(sizeof(Envelope)) + (bytes + 15) / 16 * 16;
        const std::size_t place = tail_ & (capacity - 1);
        const std::size_t skipped = place + size > capacity ? capacity - place : 0;
        if (tail_ + skipped + size - known_head_ > capacity) {
            // acquire: the consumer has finished with those bytes. Pairs with the release in drain().
            known_head_ = head_.load(std::memory_order_acquire);
            if (tail_ + skipped + size - known_head_ > capacity) return false;  // I1
        }
        if (skipped != 0) {
            // I2: a multiple of 16 is left, but perhaps not a whole header.
            auto* skip = reinterpret_cast<std::uint32_t*>(ring_ + place);
            skip[0] = static_cast<std::uint32_t>(skipped);
            skip[1] = static_cast<std::uint32_t>(EnvelopeKind::skip);
            tail_ += skipped;
        }
        auto* envelope = ::new (ring_ + (tail_ & (capacity - 1))) Envelope{size, kind, 0, type, bytes, sender, target};
        if (bytes != 0) std::memcpy(envelope + 1, data, bytes);
        tail_ += size;
        return true;
    }
    /// Producer. Whether publish() has something to show.
    [[nodiscard]] bool unpublished() const { return tail_ != published_.load(std::memory_order_relaxed); }
    /// Producer. Shows everything pushed so far to the consumer.
    void publish() {
        // release: publishes the envelopes. Pairs with the acquire in drain().
        published_.store(tail_, std::memory_order_release);
    }

    /// Any thread. Whether the consumer has something to read.
    [[nodiscard]] bool has_mail() const {
        // acquire: so that what the caller concludes from it comes after. Pairs with publish().
        return published_.load(std::memory_order_acquire) != head_.load(std::memory_order_acquire);
    }
    /// Consumer. Hands each envelope that is there to take(const Envelope&).
    template <class Take>
    void drain(Take&& take) {
        // acquire: sees the envelopes. Pairs with the release in publish().
        const std::size_t end = published_.load(std::memory_order_acquire);
        std::size_t head = head_.load(std::memory_order_relaxed);
        while (head != end) {
            const auto* envelope = reinterpret_cast<const Envelope*>(ring_ + (head & (capacity - 1)));
            const std::uint32_t size = envelope->size;
            if (envelope->kind != EnvelopeKind::skip) take(*envelope);
            head += size;
        }
        // release: gives the bytes back. Pairs with the acquire in push().
        head_.store(head, std::memory_order_release);
    }

private:
    std::byte* const ring_;
    // The producer's.
    alignas(cache_line) std::size_t tail_ = 0;
    std::size_t known_head_ = 0;
    // Written by the producer, read by the consumer.
    alignas(cache_line) std::atomic<std::size_t> published_{0};
    // Written by the consumer, read by the producer when it thinks the ring is full.
    alignas(cache_line) std::atomic<std::size_t> head_{0};
};

}  // namespace umbel::rt
