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
#include <climits>
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
    {IORING_OP_NOP, false, true, false},         // NOP
    {IORING_OP_OPENAT2, false, false, true},     // OPENAT2
    {IORING_OP_CLOSE, false, true, false},       // CLOSE
    {IORING_OP_READ, true, false, false},        // READ: of a pipe or a terminal as well
    {IORING_OP_WRITE, false, false, true},       // WRITE
    {IORING_OP_FSYNC, false, false, false},      // FSYNC
    {IORING_OP_STATX, false, false, true},       // STATX
    {IORING_OP_SOCKET, false, true, false},      // SOCKET
    {op_bind, false, true, true},                // BIND
    {op_listen, false, true, false},             // LISTEN
    {IORING_OP_ACCEPT, true, false, false},      // ACCEPT
    {IORING_OP_CONNECT, true, false, true},      // CONNECT
    {IORING_OP_RECV, true, false, false},        // RECV
    {IORING_OP_SEND, false, false, true},        // SEND
    {IORING_OP_SHUTDOWN, false, true, false},    // SHUTDOWN
    {IORING_OP_POLL_ADD, true, false, false},    // POLL
    {IORING_OP_TIMEOUT, true, false, false},     // TIMEOUT: to the kernel only in a chain
    {no_opcode, false, false, false},            // CANCEL
    {no_opcode, false, false, false},            // CANCEL_FD
    {no_opcode, false, false, false},            // CANCEL_ALL
    {IORING_OP_SENDMSG, false, false, true},     // SENDMSG
    {IORING_OP_RECVMSG, true, false, false},     // RECVMSG
    {IORING_OP_SPLICE, true, false, false},      // SPLICE
    {IORING_OP_READV, true, false, true},        // READV: its slices are where to
    {IORING_OP_WRITEV, false, false, true},      // WRITEV
    {IORING_OP_FALLOCATE, false, false, false},  // FALLOCATE
    {op_ftruncate, false, false, false},         // FTRUNCATE: may wait for the disk, so no fallback
    {IORING_OP_UNLINKAT, false, false, true},    // UNLINKAT
    {IORING_OP_RENAMEAT, false, false, true},    // RENAMEAT2
    {IORING_OP_MKDIRAT, false, false, true},     // MKDIRAT
    {IORING_OP_LINKAT, false, false, true},      // LINKAT
    {IORING_OP_SYMLINKAT, false, false, true},   // SYMLINKAT
}};

// Before the data, a SENDMSG's slices are an address and descriptors.
constexpr std::uint32_t message_slices = 2;

std::uint32_t first_data_slice(const umbel_operation& wanted) {
    return wanted.code == UMBEL_OP_SENDMSG ? std::min(wanted.slice_count, message_slices) : 0;
}

std::size_t data_bytes(const umbel_operation& wanted) {
    std::size_t bytes = 0;
    for (std::uint32_t i = first_data_slice(wanted); i < wanted.slice_count; ++i) bytes += wanted.slices[i].size;
    return bytes;
}

std::byte* copy_slice(const umbel_slice& slice, std::byte* to) {
    if (slice.size != 0) std::memcpy(to, slice.data, slice.size);
    return to + slice.size;
}

void copy_data(const umbel_operation& wanted, std::byte* to) {
    for (std::uint32_t i = first_data_slice(wanted); i < wanted.slice_count; ++i) to = copy_slice(wanted.slices[i], to);
}

// A path ends at its first NUL: the rest would silently be another path.
bool has_nul(const umbel_operation& wanted) {
    return std::any_of(wanted.slices, wanted.slices + wanted.slice_count, [](const umbel_slice& slice) {
        return slice.size != 0 && std::memchr(slice.data, '\0', slice.size) != nullptr;
    });
}

bool is_vectored(std::uint16_t code) {
    return code == UMBEL_OP_READV || code == UMBEL_OP_WRITEV || code == UMBEL_OP_SENDMSG;
}

// The author's buffers that an operation is given.
std::span<umbel_buffer> handed(const umbel_operation& wanted) {
    if (wanted.buffer == nullptr) return {};
    if (is_vectored(wanted.code)) return {wanted.buffer, wanted.length};
    return {wanted.buffer, wanted.buffer->data != nullptr ? 1u : 0u};
}
bool has_buffer(const umbel_operation& wanted) { return !handed(wanted).empty(); }

// Whether a buffer is handed over by both, or twice by one.
bool share_a_buffer(const umbel_operation& one, const umbel_operation& other) {
    for (const umbel_buffer& buffer : handed(one)) {
        for (const umbel_buffer& same : handed(other)) {
            if (&buffer == &same && &one == &other) continue;
            // By span: two loans of a block may be of the same bytes.
            if (buffer.data != nullptr && buffer.span == same.span && buffer.origin == same.origin) return true;
        }
    }
    return false;
}

umbel_buffer buffer_in(OperationOwner& owner, SpanId span) {
    return {reinterpret_cast<std::uint8_t*>(owner.io_heap.address(span)), 0,
            static_cast<std::uint32_t>(owner.io_heap.capacity(span)), static_cast<std::uint32_t>(span), from_io_heap};
}

// What lies behind the record of a SENDMSG or RECVMSG: msghdr, its pieces, control data, an address.
struct MessageTail {
    msghdr* header;
    iovec* pieces;
    std::byte* control;
    std::byte* address;
};
std::uint32_t message_tail_bytes(std::uint32_t pieces, std::uint32_t descriptors, std::size_t address) {
    const std::size_t control = descriptors != 0 ? CMSG_SPACE(descriptors * sizeof(int)) : 0;
    return static_cast<std::uint32_t>(sizeof(msghdr) + pieces * sizeof(iovec) + control + address);
}
MessageTail message_tail(Operation* operation, std::uint32_t pieces, std::uint32_t descriptors) {
    std::byte* at = tail_of(operation);
    MessageTail tail{};
    tail.header = reinterpret_cast<msghdr*>(at);
    at += sizeof(msghdr);
    tail.pieces = reinterpret_cast<iovec*>(at);
    at += pieces * sizeof(iovec);
    tail.control = at;
    at += descriptors != 0 ? CMSG_SPACE(descriptors * sizeof(int)) : 0;
    tail.address = at;
    return tail;
}

}  // namespace

// How an operation will be done; made without touching anything.
struct Submission::Plan {
    enum class Way : std::uint8_t { kernel, call, push, timer, cancel, none } way = Way::kernel;
    bool open_ended = false;
    bool multishot = false;         // in the kernel
    std::uint32_t tail = 0;         // bytes behind the record
    std::uint32_t buffer = 0;       // bytes of a span of our own
    std::uint32_t pieces = 0;       // buffers of a vector
    std::uint32_t descriptors = 0;  // to be passed
    std::uint32_t room = 1;         // completions to reserve in the mailbox
};

Submission::Submission(Ring& ring, TimerWheel& timers, DescriptorTable& descriptors)
    : ring_(ring),
      timers_(timers),
      descriptors_(descriptors),
      credits_(ring.completion_entries(), std::min<unsigned>(ring.submission_entries(), UMBEL_CHAIN_MAX)) {}

// ---- submit: look, allocate, fill in ----------------------------------------------------------------------------------

// A part of a shared block goes the short way (push.cpp) if it has pages that need no copy, or something before it.
bool Submission::is_push(const OperationOwner& owner, const umbel_operation& wanted, bool chained,
                         std::size_t data) const {
    if (wanted.code != UMBEL_OP_SEND || wanted.buffer->origin != from_block || chained) return false;
    constexpr auto known = static_cast<std::uint32_t>(MSG_MORE | MSG_NOSIGNAL | MSG_WAITALL);
    if ((wanted.arg & ~known) != 0 || !descriptors_.owned_by(wanted.fd, owner.actor)) return false;
    const auto span = static_cast<SpanId>(wanted.buffer->span);
    return data != 0 || reinterpret_cast<const Loan*>(owner.io_heap.address(span))->block->file() >= 0;
}

int Submission::plan(const OperationOwner& owner, const umbel_operation& wanted, bool chained, Plan& plan) const {
    if (wanted.code >= UMBEL_OP_COUNT) return UMBEL_E_UNSUPPORTED;  // of a newer runtime
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
        case UMBEL_OP_UNLINKAT:
        case UMBEL_OP_MKDIRAT: {
            if (data == 0 || has_nul(wanted)) return UMBEL_E_INVALID;
            if (data >= PATH_MAX) return -ENAMETOOLONG;
            const std::size_t how = wanted.code == UMBEL_OP_OPENAT2 ? sizeof(open_how) : 0;
            plan.tail = static_cast<std::uint32_t>(how + data + 1);
            break;
        }
        case UMBEL_OP_RENAMEAT2:
        case UMBEL_OP_LINKAT:
        case UMBEL_OP_SYMLINKAT: {
            if (wanted.slice_count != 2 || has_nul(wanted)) return UMBEL_E_INVALID;
            const bool itself = wanted.code == UMBEL_OP_LINKAT && (wanted.arg2 & AT_EMPTY_PATH) != 0;
            if ((wanted.slices[0].size == 0 && !itself) || wanted.slices[1].size == 0) return UMBEL_E_INVALID;
            if (wanted.slices[0].size >= PATH_MAX || wanted.slices[1].size >= PATH_MAX) return -ENAMETOOLONG;
            plan.tail = static_cast<std::uint32_t>(data + 2);
            break;
        }
        case UMBEL_OP_STATX:
            if (has_nul(wanted)) return UMBEL_E_INVALID;
            if (data >= PATH_MAX) return -ENAMETOOLONG;
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
                if (data > UMBEL_BUFFER_MAX || wanted.buffer->size > wanted.buffer->capacity) return UMBEL_E_INVALID;
                if (is_push(owner, wanted, chained, data)) {
                    plan.way = Plan::Way::push;
                    plan.open_ended = true;  // It ends with its descriptor.
                    plan.tail = static_cast<std::uint32_t>(sizeof(PushHead) + data);
                } else if (data != 0) {
                    const bool lent = wanted.code == UMBEL_OP_SEND && wanted.buffer->origin == from_block;
                    return lent && !descriptors_.owned_by(wanted.fd, owner.actor) ? -EBADF : int{UMBEL_E_INVALID};
                }
            } else {
                if (data > UMBEL_BUFFER_MAX) return UMBEL_E_INVALID;
                plan.buffer = static_cast<std::uint32_t>(data);
            }
            break;
        case UMBEL_OP_READV:
        case UMBEL_OP_WRITEV:
        case UMBEL_OP_SENDMSG:
            if (const int error = plan_vector(wanted, plan); error < 0) return error;
            break;
        case UMBEL_OP_RECVMSG: {
            constexpr std::uint32_t most = UMBEL_BUFFER_MAX - sizeof(umbel_datagram);
            if (wanted.length == 0 || wanted.length > most || has_buffer(wanted)) return UMBEL_E_INVALID;
            if (wanted.arg2 > UMBEL_DESCRIPTORS_MAX) return UMBEL_E_INVALID;
            // The kernel's second attempt would forget what the first one has received.
            if (wanted.arg2 != 0 && (wanted.arg & static_cast<unsigned>(MSG_WAITALL)) != 0) return UMBEL_E_INVALID;
            plan.tail = message_tail_bytes(1, wanted.arg2, 0);
            plan.buffer = static_cast<std::uint32_t>(sizeof(umbel_datagram)) + wanted.length;
            break;
        }
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
    for (const umbel_buffer& buffer : handed(wanted)) {
        if (buffer.data == nullptr || buffer.origin == from_vector) return UMBEL_E_INVALID;
        // Nobody writes into a block that others may read.
        if (buffer.origin == from_block && wanted.code == UMBEL_OP_READV) return UMBEL_E_INVALID;
        if (buffer.origin == from_block && wanted.code == UMBEL_OP_READV)
            return UMBEL_E_INVALID;  // Others may read it.
        if (buffer.origin == from_provided && (!buffers_ || !buffers_->holds(buffer, owner))) return UMBEL_E_INVALID;
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

// READV, WRITEV, SENDMSG: what is in pieces.
int Submission::plan_vector(const umbel_operation& wanted, Plan& plan) {
    if (wanted.length != 0 && wanted.buffer == nullptr) return UMBEL_E_INVALID;
    if (wanted.length > UMBEL_VECTOR_MAX) return UMBEL_E_INVALID;
    if (wanted.into != nullptr || share_a_buffer(wanted, wanted)) return UMBEL_E_INVALID;
    const bool reads = wanted.code == UMBEL_OP_READV;
    if (reads) {
        if ((wanted.length != 0) == (wanted.slice_count != 0)) return UMBEL_E_INVALID;  // One of the two.
        if (wanted.slice_count > UMBEL_VECTOR_MAX) return UMBEL_E_INVALID;
        for (std::uint32_t i = 0; i < wanted.slice_count; ++i) {
            if (wanted.slices[i].size == 0 || wanted.slices[i].size > UMBEL_BUFFER_MAX) return UMBEL_E_INVALID;
        }
        plan.pieces = wanted.length + wanted.slice_count;
        plan.tail = static_cast<std::uint32_t>(plan.pieces * (sizeof(iovec) + sizeof(umbel_slice)));
        return 0;
    }
    for (const umbel_buffer& buffer : handed(wanted)) {
        if (buffer.size > buffer.capacity) return UMBEL_E_INVALID;
    }
    const std::size_t data = data_bytes(wanted);
    if (data > UMBEL_BUFFER_MAX) return UMBEL_E_INVALID;
    plan.buffer = static_cast<std::uint32_t>(data);
    const std::uint32_t pieces = wanted.length + (data != 0 ? 1 : 0);
    if (wanted.code == UMBEL_OP_WRITEV) {
        plan.pieces = wanted.length != 0 ? pieces : 0;
        plan.tail = static_cast<std::uint32_t>(sizeof(iovec) * pieces);
        return 0;
    }
    if (wanted.slice_count == 1) return UMBEL_E_INVALID;
    plan.pieces = wanted.length != 0 ? pieces : 0;
    std::size_t address = 0;
    std::uint32_t descriptors = 0;
    if (wanted.slice_count != 0) {
        address = wanted.slices[0].size;
        if (address != 0 && (address < sizeof(sa_family_t) || address > sizeof(sockaddr_storage)))
            return UMBEL_E_INVALID;
        if (wanted.slices[1].size % sizeof(std::int32_t) != 0 ||
            wanted.slices[1].size > UMBEL_DESCRIPTORS_MAX * sizeof(std::int32_t)) {
            return UMBEL_E_INVALID;
        }
        descriptors = static_cast<std::uint32_t>(wanted.slices[1].size / sizeof(std::int32_t));
    }
    if (wanted.offset != 0 && (wanted.length == 0 || wanted.offset > wanted.buffer->size)) return UMBEL_E_INVALID;
    plan.descriptors = descriptors;
    plan.tail = message_tail_bytes(pieces, descriptors, address);
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
            if (share_a_buffer(operations[before], operations[i])) return {Outcome::failed, UMBEL_E_INVALID, {}};
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
            unmake(*made[i]);
        }
        return {Outcome::failed, error, {}};
    }

    // Fill in. Nothing can fail from here on, and nothing else runs.
    for (std::size_t i = 0; i < operations.size(); ++i) {
        for (umbel_buffer& buffer : handed(operations[i])) buffer = {};
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
            return concerns(other, closing.fd) && other.marked(mark_open_ended) && sequence <= sequence_before;
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

    umbel_buffer own{};
    if (plan.buffer != 0) {
        own = buffer_in(owner, buffer_span);
        const bool copies = wanted.code == UMBEL_OP_WRITE || wanted.code == UMBEL_OP_SEND ||
                            wanted.code == UMBEL_OP_WRITEV || wanted.code == UMBEL_OP_SENDMSG;
        if (copies) {
            copy_data(wanted, reinterpret_cast<std::byte*>(own.data));
            own.size = plan.buffer;
            operation.marks |= mark_copied;
        }
    }
    if (has_buffer(wanted)) operation.marks |= mark_handed;
    if (plan.pieces != 0) {
        if (const int error = make_vector(operation, wanted, plan, own); error < 0) {
            unmake(operation);
            return error;
        }
    } else {
        operation.buffer = has_buffer(wanted) ? *wanted.buffer : own;
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
        case UMBEL_OP_UNLINKAT:
        case UMBEL_OP_MKDIRAT:
            copy_data(wanted, tail);
            tail[plan.tail - 1] = std::byte{0};
            break;
        case UMBEL_OP_RENAMEAT2:
        case UMBEL_OP_LINKAT:
        case UMBEL_OP_SYMLINKAT: {
            std::byte* end = copy_slice(wanted.slices[0], tail);
            *end++ = std::byte{0};
            *copy_slice(wanted.slices[1], end) = std::byte{0};
            break;
        }
        case UMBEL_OP_READV:
        case UMBEL_OP_WRITEV:
            name_pieces(operation, wanted, reinterpret_cast<iovec*>(tail));
            break;
        case UMBEL_OP_RECVMSG: {
            const MessageTail message = message_tail(&operation, 1, wanted.arg2);
            message.pieces[0] = {operation.buffer.data + sizeof(umbel_datagram), wanted.length};
            *message.header = {};
            message.header->msg_name = datagram_of(operation.buffer)->address;
            message.header->msg_namelen = sizeof(umbel_datagram::address);
            message.header->msg_iov = message.pieces;
            message.header->msg_iovlen = 1;
            if (wanted.arg2 != 0) {
                message.header->msg_control = message.control;
                message.header->msg_controllen = CMSG_LEN(wanted.arg2 * sizeof(int));
            }
            break;
        }
        case UMBEL_OP_SENDMSG:
            if (const int error = make_message(operation, wanted, plan); error < 0) {
                unmake(operation);
                return error;
            }
            break;
        case UMBEL_OP_BIND:
        case UMBEL_OP_CONNECT:
            copy_data(wanted, tail);
            break;
        case UMBEL_OP_SEND:
            if (plan.way == Plan::Way::push) {
                ::new (tail) PushHead{static_cast<std::uint32_t>(plan.tail - sizeof(PushHead))};
                copy_data(wanted, tail + sizeof(PushHead));
                operation.marks |= mark_pushed;
            }
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

// A vector: the author's buffers or fresh ones, and behind them `copied`, our copy of the author's bytes, which goes first.
int Submission::make_vector(Operation& operation, const umbel_operation& wanted, const Plan& plan,
                            umbel_buffer copied) {
    OperationOwner& owner = *operation.owner;
    const SpanId span = owner.io_heap.allocate(IoHeapKey(), plan.pieces * sizeof(umbel_buffer));
    if (span == SpanId::none) {
        free_buffer(owner, copied);
        return UMBEL_E_IO_HEAP_FULL;
    }
    operation.buffer = buffer_in(owner, span);
    operation.buffer.capacity = static_cast<std::uint32_t>(plan.pieces * sizeof(umbel_buffer));
    operation.buffer.size = operation.buffer.capacity;
    operation.buffer.origin = from_vector;
    const std::span<umbel_buffer> pieces = buffers_of(operation.buffer);
    std::fill(pieces.begin(), pieces.end(), umbel_buffer{});
    const std::span<umbel_buffer> given = handed(wanted);
    std::copy(given.begin(), given.end(), pieces.begin());
    if (copied.data != nullptr) pieces.back() = copied;
    if (wanted.code != UMBEL_OP_READV) return 0;
    for (std::size_t i = 0; i < wanted.slice_count; ++i) {
        const SpanId fresh = owner.io_heap.allocate(IoHeapKey(), wanted.slices[i].size);
        if (fresh == SpanId::none) return UMBEL_E_IO_HEAP_FULL;
        pieces[i] = buffer_in(owner, fresh);
    }
    return 0;
}

// Tells the kernel where the pieces of a READV, WRITEV or SENDMSG lie. Returns how many there are.
std::size_t Submission::name_pieces(Operation& operation, const umbel_operation& wanted, iovec* pieces) {
    if (operation.buffer.data == nullptr) return 0;
    if (operation.buffer.origin != from_vector) {
        *pieces = {operation.buffer.data, operation.buffer.size};
        return 1;
    }
    const std::span<umbel_buffer> buffers = buffers_of(operation.buffer);
    if (wanted.code == UMBEL_OP_READV) {
        umbel_slice* targets = vector_tail(&operation, buffers.size()).targets;
        for (std::size_t i = 0; i < buffers.size(); ++i) {
            const bool sliced = wanted.slice_count != 0;
            pieces[i] = {buffers[i].data, sliced ? wanted.slices[i].size : buffers[i].capacity};
            targets[i] = sliced ? wanted.slices[i] : umbel_slice{};
        }
        return buffers.size();
    }
    iovec* next = pieces;
    if (operation.marked(mark_copied)) *next++ = {buffers.back().data, buffers.back().size};
    for (std::size_t i = 0; i < wanted.length; ++i) {
        const std::size_t skipped = wanted.code == UMBEL_OP_SENDMSG && i == 0 ? wanted.offset : 0;
        *next++ = {buffers[i].data + skipped, buffers[i].size - skipped};
    }
    return static_cast<std::size_t>(next - pieces);
}

// A SENDMSG's header, address and descriptors.
int Submission::make_message(Operation& operation, const umbel_operation& wanted, const Plan& plan) {
    const std::uint32_t pieces = wanted.length + (plan.buffer != 0 ? 1 : 0);
    const MessageTail tail = message_tail(&operation, pieces, plan.descriptors);
    *tail.header = {};
    tail.header->msg_iov = tail.pieces;
    tail.header->msg_iovlen = name_pieces(operation, wanted, tail.pieces);
    if (wanted.slice_count == 0) return 0;
    if (wanted.slices[0].size != 0) {
        copy_slice(wanted.slices[0], tail.address);
        tail.header->msg_name = tail.address;
        tail.header->msg_namelen = static_cast<socklen_t>(wanted.slices[0].size);
    }
    if (plan.descriptors == 0) return 0;
    // Duplicates: the author may close its own before the kernel looks at them, and another file could have the number then.
    const std::size_t bytes = plan.descriptors * sizeof(int);
    std::memset(tail.control, 0, CMSG_SPACE(bytes));
    tail.header->msg_control = tail.control;
    tail.header->msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(tail.header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    operation.marks |= mark_carries;
    for (std::uint32_t i = 0; i < plan.descriptors; ++i) {
        std::int32_t given = -1;
        std::memcpy(&given, static_cast<const std::byte*>(wanted.slices[1].data) + i * sizeof given, sizeof given);
        const int ours = ring_.duplicate(given);
        rights->cmsg_len = CMSG_LEN((ours < 0 ? i : i + 1) * sizeof(int));
        if (ours < 0) return ours;
        std::memcpy(CMSG_DATA(rights) + i * sizeof ours, &ours, sizeof ours);
    }
    return 0;
}

// Its descriptors have been passed, or never will be (O6).
void Submission::close_carried(Operation& operation) {
    if (!operation.marked(mark_carries)) return;
    operation.marks &= static_cast<std::uint16_t>(~mark_carries);
    for_each_descriptor(*reinterpret_cast<msghdr*>(tail_of(&operation)), [this](int fd) { close_now(fd); });
}

// Made, but not to be begun: everything is as it was, and the author has its buffers still.
void Submission::unmake(Operation& operation) {
    if (operation.marked(mark_handed)) {
        if (operation.buffer.origin == from_vector) {
            const std::span<umbel_buffer> pieces = buffers_of(operation.buffer);
            const std::size_t own = operation.marked(mark_copied) ? 1 : 0;
            std::fill(pieces.begin(), pieces.end() - static_cast<std::ptrdiff_t>(own), umbel_buffer{});
        } else {
            operation.buffer = {};
        }
    }
    free_buffer(*operation.owner, operation.buffer);
    free_record(operation);
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
        case Plan::Way::push:
            if (const auto sent = push_on(operation)) {
                finish(operation, *sent);
            } else {
                wait_to_push(operation);
            }
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
    const auto* path = reinterpret_cast<const char*>(tail);
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
        case UMBEL_OP_SENDMSG: {
            // A second attempt at the rest of a short send could pass the descriptors again.
            const int whole = operation.marked(mark_carries) ? 0 : MSG_WAITALL;
            io_uring_prep_sendmsg(sqe, fd, reinterpret_cast<const msghdr*>(tail), wanted.arg | MSG_NOSIGNAL | whole);
            break;
        }
        case UMBEL_OP_RECVMSG:
            io_uring_prep_recvmsg(sqe, fd, reinterpret_cast<msghdr*>(tail), wanted.arg | MSG_CMSG_CLOEXEC);
            break;
        case UMBEL_OP_SPLICE: {
            const bool out = (wanted.arg2 & UMBEL_SPLICE_OFFSET_OUT) != 0;
            const auto offset = static_cast<std::int64_t>(wanted.offset);
            io_uring_prep_splice(sqe, fd, out ? -1 : offset, static_cast<int>(wanted.arg), out ? offset : -1,
                                 wanted.length, wanted.arg2 & ~std::uint32_t{UMBEL_SPLICE_OFFSET_OUT});
            break;
        }
        case UMBEL_OP_READV:
        case UMBEL_OP_WRITEV: {
            const std::size_t pieces = operation.buffer.origin == from_vector ? buffers_of(operation.buffer).size()
                                                                              : operation.buffer.data != nullptr;
            const auto* first = reinterpret_cast<const iovec*>(tail);
            if (wanted.code == UMBEL_OP_READV) {
                io_uring_prep_readv(sqe, fd, first, static_cast<unsigned>(pieces), wanted.offset);
            } else {
                io_uring_prep_writev(sqe, fd, first, static_cast<unsigned>(pieces), wanted.offset);
            }
            break;
        }
        case UMBEL_OP_FALLOCATE:
            io_uring_prep_fallocate(sqe, fd, static_cast<int>(wanted.arg), static_cast<off_t>(wanted.offset),
                                    static_cast<off_t>(std::uint64_t{wanted.arg2} << 32 | wanted.length));
            break;
        case UMBEL_OP_FTRUNCATE:
            prep_ftruncate(sqe, fd, wanted.offset);
            break;
        case UMBEL_OP_UNLINKAT:
            io_uring_prep_unlinkat(sqe, fd, path, static_cast<int>(wanted.arg));
            break;
        case UMBEL_OP_MKDIRAT:
            io_uring_prep_mkdirat(sqe, fd, path, wanted.arg2);
            break;
        case UMBEL_OP_RENAMEAT2:
            io_uring_prep_renameat(sqe, fd, path, static_cast<int>(wanted.arg), path + wanted.slices[0].size + 1,
                                   wanted.arg2);
            break;
        case UMBEL_OP_LINKAT:
            io_uring_prep_linkat(sqe, fd, path, static_cast<int>(wanted.arg), path + wanted.slices[0].size + 1,
                                 static_cast<int>(wanted.arg2));
            break;
        case UMBEL_OP_SYMLINKAT:
            io_uring_prep_symlinkat(sqe, path, fd, path + wanted.slices[0].size + 1);
            break;
        default:
            io_uring_prep_nop(sqe);
            break;
    }
    sqe->user_data = user_data_of(operation);
}

}  // namespace umbel::rt
