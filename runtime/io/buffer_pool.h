// buffer_pool.h: the executor's provided buffers, which the kernel takes from for multishot receives.
//
// Why.    A thousand idle connections must not hold a thousand receive buffers. The kernel takes one from the pool when
//         bytes arrive; the actor that gets it gives it back, or sends it on as it is.
// Shape.  `count` spans of one size in the executor's own I/O heap, offered to the kernel by a BufferRing. Each buffer
//         is with the kernel or with exactly one holder.
// Owner.  One executor.
//
// Invariants (check_invariants())
//   I1  a buffer with a holder is counted in holder->provided_held, one without is in the ring
//   I2  available() + the buffers held == count()
//
// Not here.  Who made the spans: Submission. The kernel's side: BufferRing (ring.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/io/operation.h"
#include "runtime/io/ring.h"

namespace umbel::rt {

class BufferPool {
public:
    static constexpr std::uint16_t group = 1;

    /// memory: for the ring, page-aligned.   buffers: each of `size` bytes; a power of two of them.
    BufferPool(void* memory, std::vector<std::byte*> buffers, std::uint32_t size);

    [[nodiscard]] const BufferRing& ring() const { return ring_; }
    [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(buffers_.size()); }
    [[nodiscard]] std::uint32_t available() const { return available_; }

    /// The kernel has filled buffer `id` with `used` bytes for `holder`.
    [[nodiscard]] umbel_buffer take(std::uint32_t id, std::uint32_t used, OperationOwner& holder) {
        DCHECK(holders_[id] == nullptr);  // I1
        holders_[id] = &holder;
        ++holder.provided_held;
        --available_;
        return {reinterpret_cast<std::uint8_t*>(buffers_[id]), used, size_, id, from_provided};
    }
    /// Gives buffer `id` back to the kernel.
    void recycle(std::uint32_t id) {
        DCHECK(holders_[id] != nullptr);  // I1
        --holders_[id]->provided_held;
        holders_[id] = nullptr;
        ++available_;
        ring_.add(buffers_[id], size_, static_cast<std::uint16_t>(id));
        ring_.publish();
    }
    /// Takes back everything a dead owner still holds; none of it may be on loan to the kernel.
    void recycle_all_of(const OperationOwner& holder);

    /// Whether `buffer` is one of these and is held by `holder`.
    [[nodiscard]] bool holds(const umbel_buffer& buffer, const OperationOwner& holder) const {
        return buffer.span < buffers_.size() && holders_[buffer.span] == &holder;
    }

    void check_invariants() const;

private:
    BufferRing ring_;
    std::vector<std::byte*> buffers_;
    std::vector<OperationOwner*> holders_;  // null: with the kernel
    std::uint32_t size_;
    std::uint32_t available_;
};

}  // namespace umbel::rt
