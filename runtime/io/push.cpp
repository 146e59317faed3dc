// Sends that the executor does itself: a part of a shared block, and perhaps a head before it. The third part of Submission.
//
// Why.    The kernel can send the pages of a memory file as they are, but io_uring has no operation for that which does not
//         go through a worker thread (splice), or copies all the same (docs/decisions/009-shared-blocks.md). So the
//         executor pushes: what the socket takes goes at once, by a call that cannot wait, and a poll of the ring says when
//         to go on. To its author it is a send like any other.
// Safety. Between two pushes the kernel holds nothing of the descriptor but the poll. So a push goes on only while the
//         descriptor is its owner's, and a close ends it: a number that has been given to another connection is not written
//         to. What has been pushed needs nothing of ours any more: its pages outlive the block (shared_block.h, B4).
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "runtime/io/submission.h"

namespace umbel::rt {

namespace {

// By one call, so that a fast reader of a large block does not keep the executor from everybody else.
constexpr std::size_t push_at_most = std::size_t{1} << 20;

}  // namespace

// Pushes what the socket takes. Returns the operation's result, or nothing: the rest waits for room.
std::optional<std::int64_t> Submission::push_on(Operation& operation) {
    OperationOwner& owner = *operation.owner;
    const auto& head = *reinterpret_cast<const PushHead*>(tail_of(&operation));
    const std::byte* head_bytes = tail_of(&operation) + sizeof(PushHead);
    const umbel_buffer& buffer = operation.buffer;
    SharedBlock& block = *reinterpret_cast<Loan*>(owner.io_heap.address(static_cast<SpanId>(buffer.span)))->block;
    const auto* bytes = reinterpret_cast<const std::byte*>(buffer.data);
    const std::uint64_t whole = std::uint64_t{head.size} + buffer.size;
    const bool more = (operation.arg & static_cast<std::uint32_t>(MSG_MORE)) != 0;
    bool full = false;
    while (operation.offset < whole && !full) {
        Ring::Push what;
        if (operation.offset < head.size) {
            what.bytes = head_bytes + operation.offset;
            what.size = head.size - operation.offset;
            what.more = more || buffer.size != 0;
        } else {
            const std::uint64_t sent = operation.offset - head.size;
            what.bytes = bytes + sent;
            what.file = block.file();
            what.offset = static_cast<std::uint64_t>(bytes - block.data()) + sent;
            what.size = std::min<std::uint64_t>(buffer.size - sent, push_at_most);
            what.more = more;
        }
        const bool ours = descriptors_.owned_by(operation.fd, owner.actor);
        const std::int64_t sent = ours ? ring_.push(operation.fd, what) : -EBADF;
        if (sent == -EAGAIN) return std::nullopt;
        // Short, as a send that finds the connection broken.
        if (sent < 0) return operation.offset != 0 ? static_cast<std::int64_t>(operation.offset) : sent;
        operation.offset += static_cast<std::uint64_t>(sent);
        full = static_cast<std::uint64_t>(sent) < what.size || what.size == push_at_most;
    }
    if (operation.offset < whole) return std::nullopt;
    return static_cast<std::int64_t>(whole);
}

void Submission::wait_to_push(Operation& operation) {
    operation.state = OperationState::idle;
    idle_.push_back(&operation);
}

void Submission::arm_push(Operation& operation) {
    unwait(operation);
    operation.state = OperationState::armed;
    credits_.take(true);  // S1
    io_uring_sqe* sqe = ring_.next();
    io_uring_prep_poll_add(sqe, operation.fd, POLLOUT);
    sqe->user_data = user_data_of(operation);
}

}  // namespace umbel::rt
