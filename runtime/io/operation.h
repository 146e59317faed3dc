// operation.h: one operation of an actor, from its submission until its last completion has been taken.
//
// Why.    The kernel holds raw addresses from submit to the terminal CQE, and names what it completed by a number of
//         ours. That number is the address of an Operation: the record that knows who asked, what for, and which
//         memory is lent. It lies in the owner's I/O heap, which does not move.
// Shape.  A record is one span: the Operation, and behind it what the kernel reads besides the buffer (a path, a socket
//         address, `struct open_how`). The buffer is a span of its own, so that it can be handed to the author.
//         Several buffers are a vector: a span that holds an array of them, and goes where a buffer would.
// Owner.  The owner's home executor. No atomics.
//
// Life.   submitted ─ terminal CQE ─▶ fulfilled ─ the actor takes its last completion ─▶ freed
//         A stream (multishot) is `armed` while the kernel has it and `idle` between two arms: where the kernel cannot
//         do it in many shots, has ended it, or its completions are not read fast enough, it is armed again by the
//         executor, unseen by the actor.
//
// Invariants
//   O1  a record whose state is `armed` is freed by nobody: the kernel may still write
//   O2  a record is on its owner's list `operations` from submission until it is freed
//   O3  `unread` completions of it are in the owner's mailbox, and each has reserved room there
//   O5  a Loan is on its owner's list `loans` from umbel_block_lend until its buffer is freed, and holds a reference
//   O4  pending == sequence << 32 | span, and is never used again by this owner (until the sequence wraps)
//   O6  a record marked mark_carries owns the duplicates its control data names: closed with its last completion or itself
//   O7  a vector (from_vector) owns the buffers in it: whoever frees it frees them
//
// Not here.  How records are made: submission.h. What becomes of a CQE: completion.h.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "runtime/base/intrusive_list.h"
#include "runtime/base/timer_wheel.h"
#include "runtime/io/descriptor_table.h"
#include "runtime/memory/io_heap.h"
#include "runtime/memory/shared_block.h"
#include "umbel/abi.h"

namespace umbel::rt {

struct OwnerTag;    // on OperationOwner::operations
struct PendingTag;  // on one of Submission's lists: ready, idle streams, cancels waiting for room

struct LoanTag;  // on OperationOwner::loans

struct OperationOwner;

enum class OperationState : std::uint8_t {
    armed,      // The kernel has it, or a submission queue entry names it. On no list but its owner's.
    timing,     // A timeout: on the timer wheel.
    idle,       // A stream between two arms: on Submission's list of streams to arm, or paused. A push that waits to be
                // armed: on the same list.
    ready,      // Ended without the kernel. On Submission's ready list, until the next reap.
    fulfilled,  // Its last completion is in the mailbox.
};

/// Why its end is not the author's or the kernel's doing.
enum OperationMark : std::uint16_t {
    mark_cancelled = 1,     // A cancel was asked for.
    mark_deadline = 2,      // … because its deadline passed.
    mark_forgotten = 4,     // Nobody wants its completions.
    mark_paused = 8,        // A stream stopped because its completions are not read; goes on when they are.
    mark_multishot = 16,    // The kernel runs this stream in many shots.
    mark_in_cancels = 32,   // On Submission's list of cancels waiting for room.
    mark_open_ended = 64,   // Waits for the world: counted against that share of the credits.
    mark_copied = 128,      // The buffer is our copy of the author's bytes: freed at once, not handed back.
    mark_handed = 256,      // The buffer is the author's: handed back whatever the result.
    mark_linked = 1024,     // Waits in the kernel for the operation before it in its chain.
    mark_pushed = 4096,     // A send that the executor does itself: push.cpp. `offset` is how far it has come.
    mark_carries = 2048,    // Its tail names descriptors of ours (duplicates) that are being passed.
    mark_closes_own = 512,  // A close of a descriptor that was its owner's, and is again if it does not come to that.
};

struct Operation : ListHook<OwnerTag>, ListHook<PendingTag>, Timer {
    OperationOwner* owner = nullptr;
    umbel_pending pending = 0;
    std::uint64_t offset = 0;  // As given; a result that needed no kernel, once `ready`.
    void* into = nullptr;      // Where the author wants the bytes.
    std::uint16_t code = 0;    // UMBEL_OP_…
    std::uint16_t flags = 0;   // UMBEL_OP_MULTI …
    std::int32_t fd = -1;
    std::uint32_t arg = 0;
    SpanId span = SpanId::none;  // Of this record.
    umbel_buffer buffer{};       // Lent to the kernel; data null: none.
    std::uint32_t unread = 0;    // O3
    std::uint32_t reserved = 0;  // Completions' room reserved in the mailbox.
    OperationState state = OperationState::armed;
    std::uint16_t marks = 0;

    [[nodiscard]] bool is_stream() const { return (flags & UMBEL_OP_MULTI) != 0; }
    [[nodiscard]] bool marked(std::uint16_t mark) const { return (marks & mark) != 0; }
};
static_assert(sizeof(Operation) <= 192, "a record with a short path or a socket address is a span of 256 B");

/// Where a buffer lives: `umbel_buffer.origin`.
enum BufferOrigin : std::uint32_t {
    from_io_heap = 0,   // `span` is a SpanId of the actor's I/O heap.
    from_provided = 1,  // `span` is the number of one of the executor's provided buffers.
    from_vector = 2,    // As from_io_heap; holds `capacity` bytes of umbel_buffer, which go where it goes.
    from_block = 3,     // `span` is the span of a Loan; `data` lies in its block.
};

/// A part of a shared block in the hands of an actor or of one of its operations: a span of its own in the I/O heap.
struct Loan : ListHook<LoanTag> {
    explicit Loan(SharedBlock& lent) : block(&lent) {}
    SharedBlock* block;  // one reference
};

/// The part of an actor's (or executor's) context that operations know.
struct OperationOwner {
    OperationOwner(std::byte* heap, Bytes heap_size) : io_heap(heap, heap_size) {}

    IoHeap io_heap;
    IntrusiveList<Operation, OwnerTag> operations;  // O2
    IntrusiveList<Loan, LoanTag> loans;             // O5
    std::uint32_t last_sequence = 0;
    std::uint64_t actor = 0;  // Its id; 0: an executor.
    OwnedDescriptors descriptors;
    std::uint32_t in_flight = 0;             // armed, timing, idle or ready: a completion will still come
    std::uint32_t completions_reserved = 0;  // room in the mailbox that is spoken for, in completions
    std::uint32_t completions_limit = 0;     // … at most
    std::uint32_t provided_held = 0;         // provided buffers it has, lent ones included
    bool dead = false;                       // Ended; waits for its last completion (quarantine).
    bool draining = false;                   // What only waits for work ends at once.
};

/// A completion on its way to its owner's mailbox.
struct CompletionMessage {
    std::int64_t result = 0;
    std::uint32_t flags = 0;  // UMBEL_COMPLETION_MORE
    umbel_buffer buffer{};
};

/// Of a stream, completions that may lie unread before it is paused.
inline constexpr std::uint32_t stream_unread_limit = 64;

/// What a stream of receives that is armed one by one receives into.
inline constexpr std::uint32_t emulated_receive_bytes = 16384;

/// SCM_PIDFD, newer than our headers (6.5): comes with every message where an author set SO_PASSPIDFD.
inline constexpr int scm_pidfd = 4;

/// By which the kernel names it: records are aligned to 64 B, so the low bits are free for tags.
[[nodiscard]] inline std::uint64_t user_data_of(const Operation& operation) {
    return reinterpret_cast<std::uint64_t>(&operation);
}

/// Behind the record of a push: its head, which goes before the buffer.
struct PushHead {
    std::uint32_t size = 0;  // bytes, behind this
};

[[nodiscard]] inline std::byte* tail_of(Operation* operation) { return reinterpret_cast<std::byte*>(operation + 1); }

/// The buffers of a vector.
[[nodiscard]] inline std::span<umbel_buffer> buffers_of(const umbel_buffer& vector) {
    return {reinterpret_cast<umbel_buffer*>(vector.data), vector.capacity / sizeof(umbel_buffer)};
}

/// What lies behind the record of a READV: the kernel's pieces, then where the author wants each.
struct VectorTail {
    iovec* pieces;
    umbel_slice* targets;
};
[[nodiscard]] inline VectorTail vector_tail(Operation* operation, std::size_t pieces) {
    auto* first = reinterpret_cast<iovec*>(tail_of(operation));
    return {first, reinterpret_cast<umbel_slice*>(first + pieces)};
}

/// Whether it waits on `fd`, or works with it.
[[nodiscard]] inline bool concerns(const Operation& operation, int fd) {
    return operation.fd == fd || (operation.code == UMBEL_OP_SPLICE && static_cast<std::int32_t>(operation.arg) == fd);
}

/// Of a fresh buffer that has been received into: its header.
[[nodiscard]] inline umbel_datagram* datagram_of(const umbel_buffer& buffer) {
    return reinterpret_cast<umbel_datagram*>(buffer.data);
}
/// Calls each(fd) for all descriptors in the control data of a message, pidfds included.
template <class Each>
void for_each_descriptor(msghdr& message, Each&& each) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_len < CMSG_LEN(0)) continue;
        if (part->cmsg_type != SCM_RIGHTS && part->cmsg_type != scm_pidfd) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            each(fd);
        }
    }
}

/// Whether a good result of this code is a new descriptor.
[[nodiscard]] inline bool gives_descriptor(std::uint16_t code) {
    return code == UMBEL_OP_OPENAT2 || code == UMBEL_OP_SOCKET || code == UMBEL_OP_ACCEPT;
}

}  // namespace umbel::rt
