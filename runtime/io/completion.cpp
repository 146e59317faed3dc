#include "runtime/io/completion.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

namespace umbel::rt {

// A CQE. Returns whether its owner is to be told `message`.
bool Completion::settle(Operation& operation, int result, std::uint32_t flags, CompletionMessage& message) {
    const bool more = (flags & IORING_CQE_F_MORE) != 0;
    OperationOwner& owner = *operation.owner;
    if (&operation == submission_.wake_) {
        operation.state = OperationState::idle;
        submission_.credits_.give_back_reserve();
        return false;
    }
    DCHECK(operation.state == OperationState::armed);  // O1
    if (!more) {
        submission_.credits_.give_back(operation.marked(mark_open_ended));  // S1
        submission_.unwait(operation);
    }
    message.result = result;
    // A splice that was interrupted where it waited says so in the kernel's own words.
    if (result <= -512 && result >= -516) message.result = operation.marked(mark_cancelled) ? -ECANCELED : -EINTR;
    if (operation.code == UMBEL_OP_RECVMSG && result >= 0) describe(operation, result);
    if (operation.marked(mark_closes_own) && result == -ECANCELED) take_back(operation);
    if ((flags & IORING_CQE_F_BUFFER) != 0) {
        const std::uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
        message.buffer = submission_.buffers_->take(id, result > 0 ? static_cast<std::uint32_t>(result) : 0, owner);
        if (result <= 0) submission_.free_buffer(owner, message.buffer);
    }
    if (owner.dead || operation.marked(mark_forgotten)) {
        discard(operation, message);
        if (!more) {
            --owner.in_flight;
            --submission_.figures.in_flight;  // S2
            submission_.free_buffer(owner, operation.buffer);
            submission_.free_record(operation);  // C3
        }
        return false;
    }
    if (operation.is_stream()) return settle_stream(operation, more, message);
    if (operation.marked(mark_pushed)) return settle_push(operation, message);
    return settle_last(operation, message);
}

// Ended without the kernel: Submission::finish().
bool Completion::settle_ready(Operation& operation, CompletionMessage& message) {
    OperationOwner& owner = *operation.owner;
    message.result = static_cast<std::int64_t>(operation.offset);
    if (owner.dead || operation.marked(mark_forgotten)) {
        discard(operation, message);
        --owner.in_flight;
        --submission_.figures.in_flight;  // S2
        submission_.free_buffer(owner, operation.buffer);
        submission_.free_record(operation);
        return false;
    }
    return settle_last(operation, message);
}

bool Completion::settle_stream(Operation& operation, bool more, CompletionMessage& message) {
    OperationOwner& owner = *operation.owner;
    const bool receives = operation.code == UMBEL_OP_RECV;
    if (receives && operation.buffer.data != nullptr) {
        // Armed one by one: the buffer of this arm is the completion's.
        message.buffer = operation.buffer;
        operation.buffer = {};
        message.buffer.size = message.result > 0 ? static_cast<std::uint32_t>(message.result) : 0;
        if (message.result <= 0) submission_.free_buffer(owner, message.buffer);
    }
    const bool good = receives ? message.result > 0 : message.result >= 0;
    if (good) {
        if (gives_descriptor(operation.code)) own_descriptor(operation, message.result);
        message.flags = UMBEL_COMPLETION_MORE;
        ++operation.unread;
    }
    if (more) {
        if (operation.unread >= stream_unread_limit && !operation.marked(mark_paused) &&
            !operation.marked(mark_cancelled)) {
            operation.marks |= mark_paused;
            submission_.ask_kernel_to_cancel(operation);
        }
        return good;
    }

    // The kernel has let go of it. It goes on unless somebody wanted its end, or it has failed for good.
    if (operation.marked(mark_cancelled)) {
        if (!good) return settle_last(operation, message);
        submission_.finish(operation,
                           operation.marked(mark_deadline) ? std::int64_t{UMBEL_E_DEADLINE} : std::int64_t{-ECANCELED});
        return true;
    }
    const bool paused = operation.marked(mark_paused) && message.result == -ECANCELED;
    const bool starved = receives && message.result == -ENOBUFS;
    if (!good && !paused && !starved && message.result != -EINTR) return settle_last(operation, message);
    operation.state = OperationState::idle;
    if (operation.unread < stream_unread_limit) {
        operation.marks &= static_cast<std::uint16_t>(~mark_paused);
        submission_.idle_.push_back(&operation);
    }
    return good;
}

// The socket of a push has room again, or is over; or the waiting for it was cancelled.
bool Completion::settle_push(Operation& operation, CompletionMessage& message) {
    if (message.result >= 0 && operation.marked(mark_cancelled)) message.result = -ECANCELED;
    if (message.result >= 0) {
        const auto sent = submission_.push_on(operation);
        if (!sent) {
            submission_.wait_to_push(operation);
            return false;
        }
        message.result = *sent;
    }
    return settle_last(operation, message);
}

// Its last completion.
bool Completion::settle_last(Operation& operation, CompletionMessage& message) {
    OperationOwner& owner = *operation.owner;
    if (operation.marked(mark_deadline) && message.result == -ECANCELED) message.result = UMBEL_E_DEADLINE;
    // The kernel reports a timeout that is over as ETIME, even where it counts as success in its chain.
    if (operation.code == UMBEL_OP_TIMEOUT && message.result == -ETIME) message.result = 0;
    if (message.result >= 0 && gives_descriptor(operation.code)) own_descriptor(operation, message.result);
    submission_.close_carried(operation);
    if (operation.code == UMBEL_OP_RECVMSG && message.result >= 0) own_received(operation);
    if (operation.buffer.data != nullptr) {
        if (operation.code == UMBEL_OP_READV) fill_pieces(operation, message.result);
        const bool reads = operation.code == UMBEL_OP_READ || operation.code == UMBEL_OP_RECV;
        if (reads) operation.buffer.size = message.result > 0 ? static_cast<std::uint32_t>(message.result) : 0;
        if (operation.code == UMBEL_OP_STATX) operation.buffer.size = sizeof(struct statx);
        // Freed as early as possible: a provided buffer that waits in a mailbox is missing to all other receives.
        const bool filled = !operation.marked(mark_copied) && (message.result >= 0 || operation.marked(mark_handed));
        const bool gives = operation.code == UMBEL_OP_SEND || operation.code == UMBEL_OP_WRITE ||
                           operation.code == UMBEL_OP_SENDMSG || operation.code == UMBEL_OP_WRITEV;
        const bool wanted = gives ? (operation.flags & UMBEL_OP_KEEP) != 0 && operation.marked(mark_handed) : filled;
        if (!wanted) submission_.free_buffer(owner, operation.buffer);
        if (operation.buffer.origin == from_vector && gives && operation.marked(mark_copied)) {
            // Behind the author's buffers lies our copy of its bytes.
            submission_.free_buffer(owner, buffers_of(operation.buffer).back());
            operation.buffer.capacity -= static_cast<std::uint32_t>(sizeof(umbel_buffer));
            operation.buffer.size = operation.buffer.capacity;
        }
        message.buffer = operation.buffer;
        operation.buffer = {};
    }
    if (static_cast<Timer&>(operation).linked()) submission_.timers_.remove(operation);
    --owner.in_flight;
    --submission_.figures.in_flight;  // S2
    if ((operation.flags & UMBEL_OP_DETACHED) != 0) {
        discard(operation, message);
        submission_.free_record(operation);
        return false;
    }
    operation.state = OperationState::fulfilled;
    ++operation.unread;  // O3
    return true;
}

// Nobody wants what a completion brings (C2).
void Completion::discard(Operation& operation, CompletionMessage& message) {
    if (operation.code == UMBEL_OP_RECVMSG && message.result >= 0) {
        const umbel_buffer& buffer = message.buffer.data != nullptr ? message.buffer : operation.buffer;
        const umbel_datagram& received = *datagram_of(buffer);
        for (std::uint32_t i = 0; i < received.descriptor_count; ++i) {
            submission_.descriptors_.clear(received.descriptors[i]);
            submission_.close_now(received.descriptors[i]);
        }
    }
    submission_.free_buffer(*operation.owner, message.buffer);
    if (!gives_descriptor(operation.code) || message.result < 0) return;
    const int fd = static_cast<int>(message.result);
    submission_.descriptors_.clear(fd);
    io_uring_sqe sqe{};
    io_uring_prep_close(&sqe, fd);
    (void)submission_.ring_.call(sqe);
}

// A close whose chain failed before it: the descriptor is open still (C2).
void Completion::take_back(Operation& close) {
    if (!close.owner->dead) return own_descriptor(close, close.fd);
    io_uring_sqe sqe{};
    io_uring_prep_close(&sqe, close.fd);
    (void)submission_.ring_.call(sqe);
}

// What has been received, from the kernel's words (behind the record) into the author's (at the buffer's beginning).
void Completion::describe(Operation& operation, int result) {
    auto& header = *reinterpret_cast<msghdr*>(tail_of(&operation));
    umbel_datagram& received = *datagram_of(operation.buffer);
    received.payload_offset = sizeof(umbel_datagram);
    received.payload_size =
        std::min(static_cast<std::uint32_t>(result), static_cast<std::uint32_t>(header.msg_iov->iov_len));
    received.flags = static_cast<std::uint32_t>(header.msg_flags) & ~static_cast<std::uint32_t>(MSG_CMSG_CLOEXEC);
    received.address_size = std::min<std::uint32_t>(header.msg_namelen, sizeof received.address);
    received.descriptor_count = 0;
    std::fill(std::begin(received.reserved), std::end(received.reserved), 0u);
    operation.buffer.size = received.payload_offset + received.payload_size;
    if (header.msg_control == nullptr) return;
    for_each_descriptor(header, [&](int fd) {
        if (fd < 0) return;  // a pidfd of a process that is gone
        if (received.descriptor_count < UMBEL_DESCRIPTORS_MAX) {
            received.descriptors[received.descriptor_count++] = fd;
        } else {
            submission_.close_now(fd);
            received.flags |= static_cast<std::uint32_t>(MSG_CTRUNC);
        }
    });
}

// Descriptors that have come belong to the owner (C2).
void Completion::own_received(Operation& operation) {
    const umbel_datagram& received = *datagram_of(operation.buffer);
    for (std::uint32_t i = 0; i < received.descriptor_count; ++i) own_descriptor(operation, received.descriptors[i]);
}

// Says of each piece of a READV how much of it was filled.
void Completion::fill_pieces(Operation& operation, std::int64_t result) {
    const std::span<umbel_buffer> pieces = buffers_of(operation.buffer);
    const iovec* asked = vector_tail(&operation, pieces.size()).pieces;
    std::size_t left = result > 0 ? static_cast<std::size_t>(result) : 0;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        const std::size_t filled = std::min(left, asked[i].iov_len);
        pieces[i].size = static_cast<std::uint32_t>(filled);
        left -= filled;
    }
}

void Completion::own_descriptor(Operation& operation, std::int64_t result) {
    const int fd = static_cast<int>(result);
    OperationOwner& owner = *operation.owner;
    submission_.descriptors_.set_owner(fd, owner.actor);
    owner.descriptors.add(fd, submission_.descriptors_, owner.actor);
}

}  // namespace umbel::rt
