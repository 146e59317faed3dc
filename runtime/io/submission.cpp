#include "runtime/io/submission.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

namespace umbel::rt {

namespace {

constexpr std::uint8_t no_opcode = 0xff;

// What each UMBEL_OP_… is to the kernel.
struct CodeRow {
    std::uint8_t opcode;
    bool open_ended;  // waits for the world, not for a device
    bool fallback;    // cannot block: Ring::call() does it where the opcode is lacking
    bool takes_data;  // `slices` are its payload or its argument
};

constexpr std::array<CodeRow, UMBEL_OP_COUNT> code_table{{
    {IORING_OP_NOP, false, true, false},       // NOP
    {IORING_OP_OPENAT2, false, false, true},   // OPENAT2
    {IORING_OP_CLOSE, false, true, false},     // CLOSE
    {IORING_OP_READ, true, false, false},      // READ: of a pipe or a terminal as well
    {IORING_OP_WRITE, false, false, true},     // WRITE
    {IORING_OP_FSYNC, false, false, false},    // FSYNC
    {IORING_OP_STATX, false, false, true},     // STATX
    {IORING_OP_SOCKET, false, true, false},    // SOCKET
    {op_bind, false, true, true},              // BIND
    {op_listen, false, true, false},           // LISTEN
    {IORING_OP_ACCEPT, true, false, false},    // ACCEPT
    {IORING_OP_CONNECT, true, false, true},    // CONNECT
    {IORING_OP_RECV, true, false, false},      // RECV
    {IORING_OP_SEND, false, false, true},      // SEND
    {IORING_OP_SHUTDOWN, false, true, false},  // SHUTDOWN
    {IORING_OP_POLL_ADD, true, false, false},  // POLL
    {IORING_OP_TIMEOUT, true, false, false},   // TIMEOUT: to the kernel only in a chain
    {no_opcode, false, false, false},          // CANCEL
    {no_opcode, false, false, false},          // CANCEL_FD
    {no_opcode, false, false, false},          // CANCEL_ALL
}};

std::size_t data_bytes(const umbel_operation& wanted) {
    std::size_t bytes = 0;
    for (std::uint32_t i = 0; i < wanted.slice_count; ++i) bytes += wanted.slices[i].size;
    return bytes;
}

void copy_data(const umbel_operation& wanted, std::byte* to) {
    for (std::uint32_t i = 0; i < wanted.slice_count; ++i) {
        const umbel_slice& slice = wanted.slices[i];
        if (slice.size != 0) std::memcpy(to, slice.data, slice.size);
        to += slice.size;
    }
}

bool has_buffer(const umbel_operation& wanted) { return wanted.buffer != nullptr && wanted.buffer->data != nullptr; }

}  // namespace

// How an operation will be done; made without touching anything.
struct Submission::Plan {
    enum class Way : std::uint8_t { kernel, call, timer, cancel, none } way = Way::kernel;
    bool open_ended = false;
    bool multishot = false;    // in the kernel
    std::uint32_t tail = 0;    // bytes behind the record
    std::uint32_t buffer = 0;  // bytes of a span of our own
    std::uint32_t room = 1;    // completions to reserve in the mailbox
};

Submission::Submission(Ring& ring, TimerWheel& timers, DescriptorTable& descriptors)
    : ring_(ring),
      timers_(timers),
      descriptors_(descriptors),
      credits_(ring.completion_entries(), std::min<unsigned>(ring.submission_entries(), UMBEL_CHAIN_MAX)) {}

// ---- submit: look, allocate, fill in ----------------------------------------------------------------------------------

int Submission::plan(const OperationOwner& owner, const umbel_operation& wanted, bool chained, Plan& plan) const {
    if (wanted.code >= UMBEL_OP_COUNT) return UMBEL_E_INVALID;
    const CodeRow& row = code_table[wanted.code];
    const bool multi = (wanted.flags & UMBEL_OP_MULTI) != 0;
    const bool detached = (wanted.flags & UMBEL_OP_DETACHED) != 0;
    const bool streams = wanted.code == UMBEL_OP_ACCEPT || wanted.code == UMBEL_OP_RECV || wanted.code == UMBEL_OP_POLL;
    if (multi && (!streams || chained || detached)) return UMBEL_E_INVALID;
    // A stream brings its own buffers, as many as it likes.
    if (multi && (wanted.into != nullptr || has_buffer(wanted))) return UMBEL_E_INVALID;
    if (!row.takes_data && wanted.slice_count != 0) return UMBEL_E_INVALID;
    if (wanted.slice_count != 0 && wanted.slices == nullptr) return UMBEL_E_INVALID;
    const std::size_t data = data_bytes(wanted);

    plan.open_ended = row.open_ended;
    plan.room = detached ? 0 : 1;
    switch (wanted.code) {
        case UMBEL_OP_OPENAT2:
            if (data == 0 || data >= 4096) return data == 0 ? UMBEL_E_INVALID : -ENAMETOOLONG;
            plan.tail = static_cast<std::uint32_t>(sizeof(open_how) + data + 1);
            break;
        case UMBEL_OP_STATX:
            if (data >= 4096) return -ENAMETOOLONG;
            plan.tail = static_cast<std::uint32_t>(data + 1);
            plan.buffer = sizeof(struct statx);
            break;
        case UMBEL_OP_BIND:
        case UMBEL_OP_CONNECT:
            if (data < sizeof(sa_family_t) || data > sizeof(sockaddr_storage)) return UMBEL_E_INVALID;
            plan.tail = static_cast<std::uint32_t>(data);
            break;
        case UMBEL_OP_READ:
        case UMBEL_OP_RECV: {
            if (multi) break;
            if (has_buffer(wanted)) {
                // Nobody writes into a block that others may read.
                if (wanted.length > wanted.buffer->capacity || wanted.buffer->origin == from_block)
                    return UMBEL_E_INVALID;
            } else {
                if (wanted.length == 0 || wanted.length > UMBEL_BUFFER_MAX) return UMBEL_E_INVALID;
                plan.buffer = wanted.length;
            }
            break;
        }
        case UMBEL_OP_WRITE:
        case UMBEL_OP_SEND:
            if (has_buffer(wanted)) {
                if (data != 0 || wanted.buffer->size > wanted.buffer->capacity) return UMBEL_E_INVALID;
            } else {
                if (data > UMBEL_BUFFER_MAX) return UMBEL_E_INVALID;
                plan.buffer = static_cast<std::uint32_t>(data);
            }
            break;
        case UMBEL_OP_TIMEOUT:
            if (chained) {
                plan.tail = sizeof(__kernel_timespec);
            } else {
                plan.way = Plan::Way::timer;
            }
            break;
        case UMBEL_OP_CANCEL:
        case UMBEL_OP_CANCEL_FD:
        case UMBEL_OP_CANCEL_ALL:
            if (chained) return UMBEL_E_INVALID;
            plan.way = Plan::Way::cancel;
            break;
        default:
            break;
    }
    if (has_buffer(wanted) && wanted.buffer->origin == from_provided &&
        (!buffers_ || !buffers_->holds(*wanted.buffer, owner))) {
        return UMBEL_E_INVALID;
    }

    if (multi) {
        const RingFeatures& features = ring_.features();
        const std::uint32_t all = ring_.completion_entries();
        bool possible = false;
        if (wanted.code == UMBEL_OP_RECV) {
            possible = features.has(RingFeature::multishot_recv) && buffers_;
            plan.room = possible ? buffers_->count() + 1 : 0;
        } else {
            possible = all >= 512 && features.has(wanted.code == UMBEL_OP_ACCEPT ? RingFeature::multishot_accept
                                                                                 : RingFeature::multishot_poll);
            plan.room = all + stream_unread_limit;
        }
        plan.multishot = possible && owner.completions_reserved + plan.room <= owner.completions_limit;
        if (!plan.multishot) plan.room = stream_unread_limit + 1;
        if (!plan.multishot && wanted.code == UMBEL_OP_RECV) plan.buffer = emulated_receive_bytes;
    }
    if (owner.completions_reserved + plan.room > owner.completions_limit) return UMBEL_E_MAILBOX_FULL;

    if (plan.way == Plan::Way::kernel) {
        if ((draining_ || owner.draining) &&
            (wanted.code == UMBEL_OP_ACCEPT || (wanted.flags & UMBEL_OP_DRAINS) != 0)) {
            plan.way = Plan::Way::none;
        } else if (!supports(row.opcode)) {
            if (!row.fallback || chained) return UMBEL_E_UNSUPPORTED;
            plan.way = Plan::Way::call;
        }
    }
    return 0;
}

Submission::Verdict Submission::submit(OperationOwner& owner, std::span<const umbel_operation> operations,
                                       umbel_pending* pendings, Nanoseconds now) {
    if (operations.size() == 1) [[likely]] {
        Plan plan;
        return submit_planned(owner, operations, {&plan, 1}, pendings, now);
    }
    if (operations.empty() || operations.size() > UMBEL_CHAIN_MAX) return {Outcome::failed, UMBEL_E_INVALID, {}};
    std::array<Plan, UMBEL_CHAIN_MAX> plans;
    return submit_planned(owner, operations, plans, pendings, now);
}

Submission::Verdict Submission::submit_planned(OperationOwner& owner, std::span<const umbel_operation> operations,
                                               std::span<Plan> plans, umbel_pending* pendings, Nanoseconds now) {
    const bool chained = operations.size() > 1;

    // Look.
    Need need;
    std::uint32_t room = 0;
    for (std::size_t i = 0; i < operations.size(); ++i) {
        if (const int error = plan(owner, operations[i], chained, plans[i]); error < 0) {
            return {Outcome::failed, error, {}};
        }
        for (std::size_t before = 0; before < i; ++before) {
            // Lent once: the first operation has it now.
            if (has_buffer(operations[i]) && operations[before].buffer == operations[i].buffer) {
                return {Outcome::failed, UMBEL_E_INVALID, {}};
            }
        }
        // A chain goes no further than what a drain ends.
        if (i > 0 && plans[i - 1].way == Plan::Way::none) plans[i].way = Plan::Way::none;
        if (plans[i].way == Plan::Way::kernel) {
            ++need.entries;
            need.open_ended += plans[i].open_ended ? 1 : 0;
        }
        room += plans[i].room;
    }
    if (owner.completions_reserved + room > owner.completions_limit) return {Outcome::failed, UMBEL_E_MAILBOX_FULL, {}};
    if (need.entries > ring_.submission_entries() || need.open_ended > credits_.open_ended_limit() ||
        need.entries - need.open_ended > credits_.limit() - credits_.open_ended_limit()) {
        return {Outcome::failed, UMBEL_E_INVALID, {}};  // A chain that this ring can never take.
    }
    if (need.entries != 0) {
        if (!ring_.can_reserve(need.entries)) (void)flush();     // case 2
        if (!has_room(need)) return {Outcome::parked, 0, need};  // case 3
    }

    // Allocate.
    const std::uint32_t sequence_before = owner.last_sequence;
    std::array<Operation*, UMBEL_CHAIN_MAX> made;  // as far as made
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const int error = make(owner, operations[i], plans[i], now, made[i]);
        if (error == 0) continue;
        while (i-- > 0) {
            made[i]->buffer = made[i]->marked(mark_handed) ? umbel_buffer{} : made[i]->buffer;
            free_buffer(owner, made[i]->buffer);
            free_record(*made[i]);
        }
        return {Outcome::failed, error, {}};
    }

    // Fill in. Nothing can fail from here on, and nothing else runs.
    for (std::size_t i = 0; i < operations.size(); ++i) {
        if (has_buffer(operations[i])) *operations[i].buffer = {};
        if (pendings != nullptr) {
            pendings[i] = (operations[i].flags & UMBEL_OP_DETACHED) != 0 ? 0 : made[i]->pending;
        }
        // The last of a chain that goes to the kernel must not be linked to whatever is submitted next.
        const bool to_next = i + 1 < operations.size() && plans[i + 1].way == Plan::Way::kernel;
        begin(*made[i], operations[i], plans[i], {.to_previous = i > 0, .to_next = to_next});
    }
    figures.operations += operations.size();

    // What waits on a descriptor would wait for ever once it is closed: close(2) does not end it.
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const umbel_operation& closing = operations[i];
        if (closing.code != UMBEL_OP_CLOSE || plans[i].way == Plan::Way::none) continue;
        cancel_matching(owner, [&](const Operation& other) {
            const auto sequence = static_cast<std::uint32_t>(other.pending >> 32);
            return other.fd == closing.fd && other.marked(mark_open_ended) && sequence <= sequence_before;
        });
    }
    return {};
}

bool Submission::has_room(Need need) const {
    return ring_.can_reserve(need.entries) && credits_.available(need.entries, need.open_ended) && !ring_.overflowed();
}

// Allocates the record and its buffer, and copies in what the kernel reads. Undone by freeing both.
int Submission::make(OperationOwner& owner, const umbel_operation& wanted, const Plan& plan, Nanoseconds now,
                     Operation*& made) {
    const SpanId span = owner.io_heap.allocate(IoHeapKey(), sizeof(Operation) + plan.tail);
    if (span == SpanId::none) return UMBEL_E_IO_HEAP_FULL;
    SpanId buffer_span = SpanId::none;
    if (plan.buffer != 0) {
        buffer_span = owner.io_heap.allocate(IoHeapKey(), plan.buffer);
        if (buffer_span == SpanId::none) {
            owner.io_heap.free(span);
            return UMBEL_E_IO_HEAP_FULL;
        }
    }

    made = ::new (owner.io_heap.address(span)) Operation;
    Operation& operation = *made;
    operation.owner = &owner;
    operation.pending = std::uint64_t{++owner.last_sequence} << 32 | static_cast<std::uint32_t>(span);
    operation.span = span;
    operation.code = wanted.code;
    operation.flags = wanted.flags;
    operation.fd = wanted.fd;
    operation.arg = wanted.arg;
    operation.into = wanted.into;
    operation.role = timer_role;
    operation.reserved = plan.room;
    owner.completions_reserved += plan.room;
    owner.operations.push_back(&operation);  // O2
    if (plan.open_ended) operation.marks |= mark_open_ended;
    if (plan.multishot) operation.marks |= mark_multishot;

    if (has_buffer(wanted)) {
        operation.buffer = *wanted.buffer;
        operation.marks |= mark_handed;
    } else if (plan.buffer != 0) {
        operation.buffer = {reinterpret_cast<std::uint8_t*>(owner.io_heap.address(buffer_span)), 0,
                            static_cast<std::uint32_t>(owner.io_heap.capacity(buffer_span)),
                            static_cast<std::uint32_t>(buffer_span), from_io_heap};
        if (wanted.code == UMBEL_OP_WRITE || wanted.code == UMBEL_OP_SEND) {
            copy_data(wanted, reinterpret_cast<std::byte*>(operation.buffer.data));
            operation.buffer.size = plan.buffer;
            operation.marks |= mark_copied;
        }
    }
    std::byte* tail = tail_of(&operation);
    switch (wanted.code) {
        case UMBEL_OP_OPENAT2: {
            auto* how = ::new (tail) open_how{};
            how->flags = static_cast<std::uint32_t>(wanted.arg) | O_CLOEXEC;
            how->mode = wanted.arg2;
            how->resolve = wanted.offset;
            copy_data(wanted, tail + sizeof(open_how));
            tail[plan.tail - 1] = std::byte{0};
            break;
        }
        case UMBEL_OP_STATX:
            copy_data(wanted, tail);
            tail[plan.tail - 1] = std::byte{0};
            break;
        case UMBEL_OP_BIND:
        case UMBEL_OP_CONNECT:
            copy_data(wanted, tail);
            break;
        case UMBEL_OP_TIMEOUT:
            if (plan.tail != 0) {
                const auto nanoseconds = static_cast<std::int64_t>(wanted.offset);
                ::new (tail) __kernel_timespec{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
            }
            break;
        default:
            break;
    }
    std::uint64_t after = wanted.deadline_ns;
    if (plan.way == Plan::Way::timer) {
        after = wanted.offset;
        if (wanted.deadline_ns != 0 && wanted.deadline_ns < wanted.offset) {
            after = wanted.deadline_ns;
            operation.marks |= mark_deadline;
        }
    }
    if (plan.way == Plan::Way::timer || after != 0) {
        timers_.add(operation,
                    now + Nanoseconds(static_cast<std::int64_t>(std::min<std::uint64_t>(after, INT64_MAX / 2))));
    }
    return 0;
}

void Submission::begin(Operation& operation, const umbel_operation& wanted, const Plan& plan, Link link) {
    ++operation.owner->in_flight;  // S2
    ++figures.in_flight;
    if (wanted.code == UMBEL_OP_CLOSE && plan.way != Plan::Way::none) {
        if (descriptors_.take(wanted.fd, operation.owner->actor)) {
            operation.marks |= mark_closes_own;
        } else {
            descriptors_.clear(wanted.fd);
        }
    }
    switch (plan.way) {
        case Plan::Way::kernel: {
            operation.state = OperationState::armed;
            credits_.take(plan.open_ended);  // S1
            io_uring_sqe* sqe = ring_.next();
            fill(sqe, operation, wanted);
            if (link.to_next) sqe->flags |= IOSQE_IO_LINK;
            if (link.to_previous) operation.marks |= mark_linked;
            break;
        }
        case Plan::Way::call:
            perform(operation, wanted);
            break;
        case Plan::Way::timer:
            operation.state = OperationState::timing;
            break;
        case Plan::Way::cancel:
            finish(operation, cancel_for(operation, wanted));
            break;
        case Plan::Way::none:
            finish(operation, -ECANCELED);
            break;
    }
}

// The kernel lacks the opcode, and it cannot block: done now, delivered with the next reap.
void Submission::perform(Operation& operation, const umbel_operation& wanted) {
    io_uring_sqe sqe{};
    fill(&sqe, operation, wanted);
    sqe.user_data = user_data_of(operation);  // as in a queue: a simulated kernel may want to know whose it is
    finish(operation, ring_.call(sqe));
}

void Submission::fill(io_uring_sqe* sqe, Operation& operation, const umbel_operation& wanted) {
    std::byte* tail = tail_of(&operation);
    const int fd = wanted.fd;
    void* bytes = operation.buffer.data;
    switch (wanted.code) {
        case UMBEL_OP_OPENAT2:
            io_uring_prep_openat2(sqe, fd, reinterpret_cast<const char*>(tail + sizeof(open_how)),
                                  reinterpret_cast<open_how*>(tail));
            break;
        case UMBEL_OP_CLOSE:
            io_uring_prep_close(sqe, fd);
            break;
        case UMBEL_OP_READ:
            io_uring_prep_read(sqe, fd, bytes, wanted.length != 0 ? wanted.length : operation.buffer.capacity,
                               wanted.offset);
            break;
        case UMBEL_OP_WRITE:
            io_uring_prep_write(sqe, fd, bytes, operation.buffer.size, wanted.offset);
            break;
        case UMBEL_OP_FSYNC:
            io_uring_prep_fsync(sqe, fd, wanted.arg);
            break;
        case UMBEL_OP_STATX:
            io_uring_prep_statx(sqe, fd, reinterpret_cast<const char*>(tail), static_cast<int>(wanted.arg), wanted.arg2,
                                static_cast<struct statx*>(bytes));
            break;
        case UMBEL_OP_SOCKET:
            io_uring_prep_socket(sqe, static_cast<int>(wanted.arg), static_cast<int>(wanted.arg2) | SOCK_CLOEXEC,
                                 static_cast<int>(wanted.length), 0);
            break;
        case UMBEL_OP_BIND:
            prep_bind(sqe, fd, reinterpret_cast<const sockaddr*>(tail), static_cast<socklen_t>(data_bytes(wanted)));
            break;
        case UMBEL_OP_LISTEN:
            prep_listen(sqe, fd, wanted.arg);
            break;
        case UMBEL_OP_ACCEPT:
            io_uring_prep_accept(sqe, fd, nullptr, nullptr, static_cast<int>(wanted.arg) | SOCK_CLOEXEC);
            if (operation.marked(mark_multishot)) sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
            break;
        case UMBEL_OP_CONNECT:
            io_uring_prep_connect(sqe, fd, reinterpret_cast<const sockaddr*>(tail),
                                  static_cast<socklen_t>(data_bytes(wanted)));
            break;
        case UMBEL_OP_RECV:
            if (operation.marked(mark_multishot)) {
                io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, static_cast<int>(wanted.arg));
                sqe->flags |= IOSQE_BUFFER_SELECT;
                sqe->buf_group = BufferPool::group;
            } else {
                const bool whole = operation.is_stream() || wanted.length == 0;  // a stream's length is ours
                io_uring_prep_recv(sqe, fd, bytes, whole ? operation.buffer.capacity : wanted.length,
                                   static_cast<int>(wanted.arg));
            }
            break;
        case UMBEL_OP_SEND:
            io_uring_prep_send(sqe, fd, bytes, operation.buffer.size,
                               static_cast<int>(wanted.arg) | MSG_NOSIGNAL | MSG_WAITALL);
            break;
        case UMBEL_OP_SHUTDOWN:
            io_uring_prep_shutdown(sqe, fd, static_cast<int>(wanted.arg));
            break;
        case UMBEL_OP_POLL:
            io_uring_prep_poll_add(sqe, fd, wanted.arg);
            if (operation.marked(mark_multishot)) sqe->len |= IORING_POLL_ADD_MULTI;
            break;
        case UMBEL_OP_TIMEOUT:
            io_uring_prep_timeout(sqe, reinterpret_cast<__kernel_timespec*>(tail), 0, IORING_TIMEOUT_ETIME_SUCCESS);
            break;
        default:
            io_uring_prep_nop(sqe);
            break;
    }
    sqe->user_data = user_data_of(operation);
}

}  // namespace umbel::rt
