#include "runtime/io/completion.h"

#include <cerrno>

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

// Its last completion.
bool Completion::settle_last(Operation& operation, CompletionMessage& message) {
    OperationOwner& owner = *operation.owner;
    if (operation.marked(mark_deadline) && message.result == -ECANCELED) message.result = UMBEL_E_DEADLINE;
    // The kernel reports a timeout that is over as ETIME, even where it counts as success in its chain.
    if (operation.code == UMBEL_OP_TIMEOUT && message.result == -ETIME) message.result = 0;
    if (message.result >= 0 && gives_descriptor(operation.code)) own_descriptor(operation, message.result);
    if (operation.buffer.data != nullptr) {
        const bool reads = operation.code == UMBEL_OP_READ || operation.code == UMBEL_OP_RECV;
        if (reads) operation.buffer.size = message.result > 0 ? static_cast<std::uint32_t>(message.result) : 0;
        if (operation.code == UMBEL_OP_STATX) operation.buffer.size = sizeof(struct statx);
        // Freed as early as possible: a provided buffer that waits in a mailbox is missing to all other receives.
        const bool filled = !operation.marked(mark_copied) && (message.result >= 0 || operation.marked(mark_handed));
        const bool gives = operation.code == UMBEL_OP_SEND || operation.code == UMBEL_OP_WRITE;
        const bool wanted = gives ? (operation.flags & UMBEL_OP_KEEP) != 0 && operation.marked(mark_handed) : filled;
        if (!wanted) submission_.free_buffer(owner, operation.buffer);
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

void Completion::own_descriptor(Operation& operation, std::int64_t result) {
    const int fd = static_cast<int>(result);
    OperationOwner& owner = *operation.owner;
    submission_.descriptors_.set_owner(fd, owner.actor);
    owner.descriptors.add(fd, submission_.descriptors_, owner.actor);
}

}  // namespace umbel::rt
