// What becomes of an operation after it was submitted, until its record is freed: streams that are armed again, cancels,
// ends, buffers that go back. The other half of Submission; making operations is in submission.cpp.
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

#include "runtime/io/submission.h"

namespace umbel::rt {

namespace {

// How long a cancelled operation of a chain is left alone before it is cancelled again.
constexpr Nanoseconds cancel_again_after = std::chrono::milliseconds(10);

// Whether `fd` means anything to operations of this code.
bool uses_descriptor(std::uint16_t code) {
    return code != UMBEL_OP_NOP && code != UMBEL_OP_SOCKET && code != UMBEL_OP_TIMEOUT && code != UMBEL_OP_CANCEL &&
           code != UMBEL_OP_CANCEL_FD && code != UMBEL_OP_CANCEL_ALL;
}

}  // namespace

// ---- Streams ------------------------------------------------------------------------------------------------------------

bool Submission::arm_stream(Operation& stream) {
    OperationOwner& owner = *stream.owner;
    if (!has_room({1, 1})) return false;
    if (stream.marked(mark_pushed)) {
        arm_push(stream);
        return true;
    }
    if (stream.marked(mark_multishot)) {
        if (stream.code == UMBEL_OP_RECV && buffers_->available() == 0) return false;
    } else if (stream.code == UMBEL_OP_RECV) {
        const SpanId span = owner.io_heap.allocate(IoHeapKey(), emulated_receive_bytes);
        if (span == SpanId::none) {
            unwait(stream);
            // Its own unread buffers fill the heap: it goes on when one has been read.
            if (stream.unread > 0) return true;
            finish(stream, UMBEL_E_IO_HEAP_FULL);
            return true;
        }
        stream.buffer = {reinterpret_cast<std::uint8_t*>(owner.io_heap.address(span)), 0,
                         static_cast<std::uint32_t>(owner.io_heap.capacity(span)), static_cast<std::uint32_t>(span),
                         from_io_heap};
    }
    unwait(stream);
    umbel_operation again{};
    again.code = stream.code;
    again.fd = stream.fd;
    again.arg = stream.arg;
    stream.state = OperationState::armed;
    credits_.take(true);  // S1
    fill(ring_.next(), stream, again);
    return true;
}

void Submission::catch_up() {
    while (Operation* victim = cancels_.front()) {
        if (!send_cancel(*victim)) break;
        Waiting::remove(victim);
        victim->marks &= static_cast<std::uint16_t>(~mark_in_cancels);
    }
    for (Operation* stream = idle_.front(); stream != nullptr;) {
        Operation* next = idle_.after(stream);
        if (!ring_.can_reserve(1)) (void)flush();
        if (!arm_stream(*stream) && !has_room({1, 1})) break;
        stream = next;
    }
}

int Submission::flush() {
    ++figures.enters;
    const int result = ring_.enter(0, Nanoseconds(0));
    if (ring_.overflowed()) ++figures.cq_overflows;
    return result;
}

// ---- Ends ---------------------------------------------------------------------------------------------------------------

// Takes an operation off whichever of our lists it waits on.
void Submission::unwait(Operation& operation) {
    auto& hook = static_cast<ListHook<PendingTag>&>(operation);
    if (!hook.linked()) return;
    Waiting::remove(&operation);
    operation.marks &= static_cast<std::uint16_t>(~mark_in_cancels);
}

// An end that needs no kernel: delivered by the next reap, like any other.
void Submission::finish(Operation& operation, std::int64_t result) {
    if (static_cast<Timer&>(operation).linked()) timers_.remove(operation);
    operation.offset = static_cast<std::uint64_t>(result);
    operation.state = OperationState::ready;
    ready_.push_back(&operation);
}

// Of a result that nobody will see. Fresh from accept, open or socket, or never closed: nothing to wait for.
void Submission::close_now(std::int64_t fd) {
    if (fd < 0) return;
    io_uring_sqe sqe{};
    io_uring_prep_close(&sqe, static_cast<int>(fd));
    (void)ring_.call(sqe);
}

bool Submission::cancel(Operation& operation, std::uint16_t why) {
    const std::int64_t result = (why & mark_deadline) != 0 ? std::int64_t{UMBEL_E_DEADLINE} : std::int64_t{-ECANCELED};
    switch (operation.state) {
        case OperationState::fulfilled:
        case OperationState::ready:
            return false;
        case OperationState::timing:
            operation.marks &=
                static_cast<std::uint16_t>(~mark_deadline);  // Its deadline was to come first; it did not.
            finish(operation, result);
            break;
        case OperationState::idle:
            unwait(operation);
            finish(operation, result);
            break;
        case OperationState::armed:
            // A close is not to be stopped: the descriptor would stay open, and nobody's.
            if (operation.marked(mark_cancelled) || operation.code == UMBEL_OP_CLOSE) return false;
            if (!operation.marked(mark_paused)) ask_kernel_to_cancel(operation);
            if (operation.marked(mark_linked)) ask_again_later(operation);
            break;
    }
    operation.marks |= static_cast<std::uint16_t>(mark_cancelled | why);
    return true;
}

void Submission::ask_kernel_to_cancel(Operation& operation) {
    if (!ring_.can_reserve(1)) (void)flush();
    if (send_cancel(operation)) return;
    cancels_.push_back(&operation);
    operation.marks |= mark_in_cancels;
}

// The kernel does not find what has not begun: an operation whose chain has not come to it yet would begin all the same,
// and nobody would end it.
void Submission::ask_again_later(Operation& operation) {
    if (static_cast<Timer&>(operation).linked()) timers_.remove(operation);
    timers_.add(operation, ring_.clock().now() + cancel_again_after);
}

bool Submission::send_cancel(const Operation& operation) {
    if (!credits_.reserve_available() || !ring_.can_reserve(1)) return false;
    credits_.take_reserve();
    io_uring_sqe* sqe = ring_.next();
    io_uring_prep_cancel64(sqe, user_data_of(operation), 0);
    sqe->user_data = user_data_cancel;
    return true;
}

std::int64_t Submission::cancel_for(Operation& request, const umbel_operation& wanted) {
    OperationOwner& owner = *request.owner;
    if (wanted.code == UMBEL_OP_CANCEL) {
        Operation* victim = find(owner, wanted.offset);
        return victim != nullptr && victim != &request && cancel(*victim, 0) ? 1 : 0;
    }
    return cancel_matching(owner, [&](const Operation& other) {
        return &other != &request &&
               (wanted.code == UMBEL_OP_CANCEL_ALL || (concerns(other, wanted.fd) && uses_descriptor(other.code)));
    });
}

void Submission::expired(Operation& operation) {
    if (operation.state == OperationState::timing) {
        finish(operation, operation.marked(mark_deadline) ? std::int64_t{UMBEL_E_DEADLINE} : 0);
    } else if (operation.marked(mark_cancelled)) {
        if (!operation.marked(mark_linked)) return;
        if (!operation.marked(mark_in_cancels)) ask_kernel_to_cancel(operation);
        ask_again_later(operation);
    } else {
        (void)cancel(operation, mark_deadline);
    }
}

Operation* Submission::find(OperationOwner& owner, umbel_pending pending) const {
    const auto span = static_cast<SpanId>(static_cast<std::uint32_t>(pending));
    if (!owner.io_heap.is_live(span)) return nullptr;
    auto* operation = reinterpret_cast<Operation*>(owner.io_heap.address(span));
    // A span that is not a record cannot hold this number but by its author's own doing.
    if (owner.io_heap.capacity(span) < sizeof(Operation) || operation->pending != pending) return nullptr;
    return operation->owner == &owner && operation->span == span ? operation : nullptr;
}

void Submission::forget(Operation& operation) {
    operation.marks |= mark_forgotten;
    if (operation.state == OperationState::fulfilled) return;  // Freed when its completion is dropped.
    (void)cancel(operation, 0);
}

void Submission::free_buffer(OperationOwner& owner, umbel_buffer& buffer) {
    if (buffer.data == nullptr) return;
    if (buffer.origin == from_provided) {
        buffers_->recycle(buffer.span);
    } else {
        const auto span = static_cast<SpanId>(buffer.span);
        if (buffer.origin == from_vector) {
            for (umbel_buffer& piece : buffers_of(buffer)) free_buffer(owner, piece);  // O7
        } else if (buffer.origin == from_block) {
            auto& loan = *reinterpret_cast<Loan*>(owner.io_heap.address(span));
            IntrusiveList<Loan, LoanTag>::remove(&loan);  // O5
            loan.block->release();
        }
        owner.io_heap.free(span);
    }
    buffer = {};
}

bool Submission::lend(OperationOwner& owner, SharedBlock& block, std::uint32_t offset, std::uint32_t size,
                      umbel_buffer& buffer) {
    const SpanId span = owner.io_heap.allocate(IoHeapKey(), sizeof(Loan));
    if (span == SpanId::none) return false;
    auto* loan = ::new (owner.io_heap.address(span)) Loan(block);
    block.retain();
    owner.loans.push_back(loan);  // O5
    buffer = {reinterpret_cast<std::uint8_t*>(block.data() + offset), size, size, static_cast<std::uint32_t>(span),
              from_block};
    return true;
}

void Submission::end_loans(OperationOwner& owner) {
    while (Loan* loan = owner.loans.pop_front()) loan->block->release();
}

void Submission::release(OperationOwner& owner, umbel_buffer& buffer) {
    if (buffer.data == nullptr) return;
    if (buffer.origin == from_provided) {
        CHECK(buffers_ && buffers_->holds(buffer, owner));
    } else {
        CHECK(owner.io_heap.is_live(static_cast<SpanId>(buffer.span)));
        if (buffer.origin == from_vector) {
            for (umbel_buffer& piece : buffers_of(buffer)) release(owner, piece);
        }
    }
    free_buffer(owner, buffer);
}

void Submission::free_record(Operation& operation) {
    OperationOwner& owner = *operation.owner;
    if (static_cast<Timer&>(operation).linked()) timers_.remove(operation);
    unwait(operation);
    close_carried(operation);
    IntrusiveList<Operation, OwnerTag>::remove(&operation);  // O2
    owner.completions_reserved -= operation.reserved;
    const SpanId span = operation.span;
    // find() must not take what is left here for a record. No destructor: a store before it is none to the compiler.
    static_assert(std::is_trivially_destructible_v<Operation>);
    operation.pending = 0;
    owner.io_heap.free(span);
}

void Submission::take(Operation& operation, umbel_message& message) {
    OperationOwner& owner = *operation.owner;
    if (operation.into != nullptr && message.buffer.data != nullptr) {
        const std::size_t bytes = operation.code == UMBEL_OP_STATX ? sizeof(struct statx) : message.buffer.size;
        std::memcpy(operation.into, message.buffer.data, bytes);
        free_buffer(owner, message.buffer);
    }
    if (operation.code == UMBEL_OP_READV) scatter(operation, message.buffer);
    --operation.unread;  // O3
    if (operation.state == OperationState::fulfilled) {
        if (operation.unread == 0) free_record(operation);
    } else if (operation.state == OperationState::idle && operation.unread < stream_unread_limit / 2 &&
               !static_cast<ListHook<PendingTag>&>(operation).linked()) {
        operation.marks &= static_cast<std::uint16_t>(~mark_paused);
        idle_.push_back(&operation);
    }
}

// Bytes for memory of the author's go there; what is left is the vector of the others, or nothing.
void Submission::scatter(Operation& operation, umbel_buffer& vector) {
    if (vector.data == nullptr) return;
    OperationOwner& owner = *operation.owner;
    const std::span<umbel_buffer> pieces = buffers_of(vector);
    const umbel_slice* targets = vector_tail(&operation, pieces.size()).targets;
    bool all = true;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
        if (targets[i].data == nullptr) {
            all = false;
            continue;
        }
        std::memcpy(const_cast<void*>(targets[i].data), pieces[i].data, pieces[i].size);
        free_buffer(owner, pieces[i]);
    }
    if (all) free_buffer(owner, vector);
}

void Submission::drop(Operation& operation, CompletionMessage message) {
    OperationOwner& owner = *operation.owner;
    if (operation.code == UMBEL_OP_RECVMSG && message.buffer.data != nullptr) {
        const umbel_datagram& received = *datagram_of(message.buffer);
        for (std::uint32_t i = 0; i < received.descriptor_count; ++i) {
            if (descriptors_.take(received.descriptors[i], owner.actor)) close_now(received.descriptors[i]);
        }
    }
    free_buffer(owner, message.buffer);
    if (gives_descriptor(operation.code) && message.result >= 0) {
        const int fd = static_cast<int>(message.result);
        if (descriptors_.take(fd, owner.actor)) {
            io_uring_sqe sqe{};
            io_uring_prep_close(&sqe, fd);
            (void)ring_.call(sqe);  // Fresh from accept or open: nothing to wait for.
        }
    }
    umbel_message nothing{};
    operation.into = nullptr;
    take(operation, nothing);
}

void Submission::end(OperationOwner& owner) {
    owner.dead = true;
    for (Operation* next = owner.operations.front(); next != nullptr;) {
        Operation* operation = next;
        next = owner.operations.after(operation);
        operation->marks |= mark_forgotten;
        if (operation->state == OperationState::armed) {
            if (!operation->marked(mark_cancelled)) (void)cancel(*operation, 0);
            continue;
        }
        if (operation->state == OperationState::fulfilled) continue;  // in_flight does not count it
        --owner.in_flight;
        --figures.in_flight;
        unwait(*operation);
        if (operation->state == OperationState::ready && gives_descriptor(operation->code)) {
            close_now(static_cast<std::int64_t>(operation->offset));
        }
        free_buffer(owner, operation->buffer);
        free_record(*operation);
    }
}

void Submission::bury(OperationOwner& owner) {
    CHECK(owner.in_flight == 0);  // O1: nothing of it is the kernel's any more
    while (Operation* operation = owner.operations.front()) {
        if (static_cast<Timer&>(*operation).linked()) timers_.remove(*operation);
        IntrusiveList<Operation, OwnerTag>::remove(operation);
    }
    if (buffers_) buffers_->recycle_all_of(owner);
    end_loans(owner);
    owner.io_heap.reset();
    owner.completions_reserved = 0;
}

// ---- The executor's own --------------------------------------------------------------------------------------------------

bool Submission::make_buffers(OperationOwner& executor, unsigned count, Bytes size) {
    const RingFeatures& features = ring_.features();
    if (count == 0 || !features.has(RingFeature::buffer_rings) || !features.has(RingFeature::multishot_recv))
        return false;
    if (!credits_.set_aside(count)) return false;
    // The first span of the executor's heap: page-aligned, as the kernel wants it.
    const SpanId ring_span = executor.io_heap.allocate(IoHeapKey(), BufferRing::memory_for(count).count);
    CHECK(ring_span != SpanId::none);
    std::vector<std::byte*> buffers;
    buffers.reserve(count);
    for (unsigned i = 0; i < count; ++i) {
        const SpanId span = executor.io_heap.allocate(IoHeapKey(), size.count);
        CHECK(span != SpanId::none);
        buffers.push_back(executor.io_heap.address(span));
    }
    buffers_.emplace(executor.io_heap.address(ring_span), std::move(buffers), static_cast<std::uint32_t>(size.count));
    if (ring_.register_buffer_ring(buffers_->ring()) < 0) {
        buffers_.reset();
        return false;
    }
    return true;
}

void Submission::arm_wake(OperationOwner& executor) {
    if (wake_ == nullptr) {
        const SpanId span = executor.io_heap.allocate(IoHeapKey(), sizeof(Operation) + sizeof(std::uint64_t));
        CHECK(span != SpanId::none);
        wake_ = ::new (executor.io_heap.address(span)) Operation;
        wake_->owner = &executor;
        wake_->span = span;
        wake_->code = UMBEL_OP_READ;
        wake_->fd = ring_.wake_fd();
        wake_->state = OperationState::idle;
    }
    if (wake_->state == OperationState::armed || !credits_.reserve_available() || !ring_.can_reserve(1)) return;
    credits_.take_reserve();
    wake_->state = OperationState::armed;
    io_uring_sqe* sqe = ring_.next();
    io_uring_prep_read(sqe, wake_->fd, tail_of(wake_), sizeof(std::uint64_t), 0);
    sqe->user_data = user_data_of(*wake_);
}

void Submission::check_invariants(std::span<OperationOwner* const> owners) const {
    unsigned armed = 0;
    for (const OperationOwner* owner : owners) {
        auto& operations = const_cast<OperationOwner*>(owner)->operations;
        unsigned in_flight = 0;
        for (Operation* operation = operations.front(); operation != nullptr; operation = operations.after(operation)) {
            CHECK(operation->owner == owner);
            armed += operation->state == OperationState::armed ? 1 : 0;
            in_flight += operation->state == OperationState::fulfilled ? 0 : 1;
        }
        CHECK(in_flight == owner->in_flight);  // S2
    }
    CHECK(armed == credits_.used());  // S1
    if (buffers_) buffers_->check_invariants();
}

}  // namespace umbel::rt
