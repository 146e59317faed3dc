// ring.h: the seam between the runtime and the kernel: one submission queue, one completion queue, one way in.
//
// Why.    Everything above runs unchanged on the real kernel (real_ring.h) and on a seeded simulated one
//         (sim_ring.h). The seam lies where the kernel begins: the queues are shared memory on both sides and
//         are read and written here, inline; only entering the kernel is a virtual call.
// Shape.  Two queues in a `struct io_uring` whose pointers the derived class fills in, so that liburing's inline
//         helpers work on either. Submission entries go through three states: reserved by next() and being
//         filled in; published by enter(); consumed by the kernel, which is when the entry may be reused.
// Owner.  One executor, on one thread: the thread that made the ring, enters it and destroys it. wake() alone
//         may be called from any other thread.
//
// Invariants (check_invariants())
//   I1  the published entries are a prefix of the reserved ones: head <= published <= reserved
//   I2  no more entries are reserved than the submission queue has
//   I3  no more completions are unread than the completion queue has
//   I4  the kernel sees a batch whole: entries are published only in enter(), all that are reserved
//
// Cost.   next() 1 ns and 64 bytes cleared; peek() one acquire load; enter() a system call (0.4 µs and more).
// Not here.  Who may submit, and with which credit: submission.h. What a completion means: operation.h.
#pragma once

#include <liburing.h>

#include <array>
#include <atomic>
#include <bitset>
#include <cstdint>
#include <cstring>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/clock.h"
#include "runtime/base/units.h"
#include "umbel/abi.h"

namespace umbel::rt {

/// Opcodes and flags newer than the oldest liburing we build with; the kernel takes them by value.
constexpr unsigned op_bind = 56;       // IORING_OP_BIND, 6.11
constexpr unsigned op_listen = 57;     // IORING_OP_LISTEN, 6.11
constexpr unsigned op_ftruncate = 55;  // IORING_OP_FTRUNCATE, 6.9

/// Rungs of the set-up ladder, best first.
enum class RingStep : std::uint8_t {
    deferred = 1,  // 6.1:  SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL: completions wait for our enter.
    cooperative,   // 5.19: COOP_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL: completions come with any system call of ours.
    submit_all,    // 5.18: SUBMIT_ALL: a bad entry does not stop its batch.
    basic,         // 5.15: none of these. A bad entry ends its batch: enter() returns fewer than were pending.
};

/// What is not an opcode of its own and yet depends on the kernel.
enum class RingFeature : std::uint8_t {
    multishot_poll,    // 5.13
    multishot_accept,  // 5.19
    multishot_recv,    // 6.0
    buffer_rings,      // 5.19: register_buffer_ring()
    cancel_matching,   // 5.19: IORING_ASYNC_CANCEL_FD, _ALL, _ANY
    no_iowait,         // 6.15: a sleeping ring does not count as waiting for I/O
    registered_ring,   // 5.18: enters skip the look-up of the ring's descriptor
};
constexpr std::size_t ring_feature_count = 7;

using OpcodeSet = std::bitset<256>;
using RingFeatureSet = std::bitset<ring_feature_count>;

/// What the kernel behind a ring can do, found when the ring was made.
struct RingFeatures {
    RingStep step = RingStep::basic;
    OpcodeSet opcodes;
    RingFeatureSet features;

    [[nodiscard]] bool supports(unsigned opcode) const { return opcode < opcodes.size() && opcodes.test(opcode); }
    [[nodiscard]] bool has(RingFeature feature) const { return features.test(static_cast<std::size_t>(feature)); }
    /// One line for a person: the rung, and everything the runtime would use but this kernel lacks.
    [[nodiscard]] std::string summary() const;
};

/// A ring of provided buffers: the kernel takes one for each receive that asks for its group.
///
/// The memory is the caller's, and stays the kernel's from register_buffer_ring() to unregister_buffer_ring().
class BufferRing {
public:
    static constexpr unsigned max_entries = 32768;
    [[nodiscard]] static constexpr Bytes memory_for(unsigned entries) { return {sizeof(io_uring_buf) * entries}; }

    /// memory: page-aligned, memory_for(entries) bytes.   entries: a power of two, at most max_entries.
    BufferRing(void* memory, unsigned entries, std::uint16_t group)
        : slots_(static_cast<io_uring_buf*>(memory)), entries_(entries), group_(group) {
        CHECK(entries > 0);
        CHECK(entries <= max_entries);
        CHECK((entries & (entries - 1)) == 0);
        CHECK(reinterpret_cast<std::uintptr_t>(memory) % 4096 == 0);
        slots_[0].resv = 0;  // The tail the kernel reads lies in the first slot's last two bytes.
    }

    [[nodiscard]] void* memory() const { return slots_; }
    [[nodiscard]] unsigned entries() const { return entries_; }
    [[nodiscard]] std::uint16_t group() const { return group_; }

    /// Adds a buffer; the kernel sees it after publish(). The caller never adds more than `entries` that the
    /// kernel has not handed back.
    void add(void* buffer, unsigned length, std::uint16_t id) {
        io_uring_buf& slot = slots_[tail_ & (entries_ - 1)];
        slot.addr = reinterpret_cast<std::uintptr_t>(buffer);
        slot.len = length;
        slot.bid = id;  // `resv` is left alone: in slot 0 it is the tail.
        ++tail_;
    }

    /// Makes all buffers added so far the kernel's.
    void publish() {
        // release: publishes the slots' bytes. Pairs with the acquire of the tail in the kernel (or SimRing).
        std::atomic_ref<std::uint16_t>(slots_[0].resv).store(tail_, std::memory_order_release);
    }

private:
    io_uring_buf* const slots_;
    const unsigned entries_;
    const std::uint16_t group_;
    std::uint16_t tail_ = 0;
};

class Ring {
public:
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    virtual ~Ring() = default;

    // ---- The queues: memory only, no call.

    [[nodiscard]] unsigned submission_entries() const { return ring_.sq.ring_entries; }
    [[nodiscard]] unsigned completion_entries() const { return ring_.cq.ring_entries; }

    /// Entries reserved and not yet consumed by the kernel, published by a refused enter() or not.
    [[nodiscard]] unsigned sq_pending() const { return ring_.sq.sqe_tail - *ring_.sq.khead; }
    /// Entries that next() could hand out now.
    [[nodiscard]] unsigned sq_free() const { return submission_entries() - sq_pending(); }
    /// Whether a chain of n entries fits now. A chain is reserved whole: split over two enters it breaks silently.
    [[nodiscard]] bool can_reserve(unsigned n) const { return n <= sq_free(); }

    /// Reserves the next entry, cleared; after can_reserve() only. The caller fills it in before anything else may
    /// run on this thread, and cannot give it back. io_uring_prep_* leaves user_data alone: set it, either order.
    [[nodiscard]] io_uring_sqe* next() {
        DCHECK(can_reserve(1));  // I2
        io_uring_sqe* sqe = &ring_.sq.sqes[ring_.sq.sqe_tail & ring_.sq.ring_mask];
        ++ring_.sq.sqe_tail;
        std::memset(sqe, 0, sizeof *sqe);
        return sqe;
    }

    /// The oldest unread completion, or null. Stays valid until advance() passes it.
    [[nodiscard]] const io_uring_cqe* peek() const {
        const unsigned head = *ring_.cq.khead;
        // acquire: makes the completion's bytes visible. Pairs with the kernel's release of the tail.
        const unsigned tail = std::atomic_ref<unsigned>(*ring_.cq.ktail).load(std::memory_order_acquire);
        return head == tail ? nullptr : &ring_.cq.cqes[head & ring_.cq.ring_mask];
    }
    /// The completion `n` places behind the oldest unread one, or null if there are not so many.
    [[nodiscard]] const io_uring_cqe* peek_ahead(unsigned n) const {
        return n < cq_ready() ? &ring_.cq.cqes[(*ring_.cq.khead + n) & ring_.cq.ring_mask] : nullptr;
    }
    /// How many completions can be read without entering the kernel.
    [[nodiscard]] unsigned cq_ready() const {
        // acquire: as in peek().
        return std::atomic_ref<unsigned>(*ring_.cq.ktail).load(std::memory_order_acquire) - *ring_.cq.khead;
    }
    /// Gives the n oldest completions' entries back to the kernel: they have been read.
    void advance(unsigned n) {
        DCHECK(n <= cq_ready());
        // release: our reads of the completions come first. Pairs with the kernel's acquire of the head.
        std::atomic_ref<unsigned>(*ring_.cq.khead).store(*ring_.cq.khead + n, std::memory_order_release);
    }

    /// Whether the kernel has completions that only an enter() brings (IORING_SQ_TASKRUN).
    [[nodiscard]] bool work_pending() const { return (sq_flags() & IORING_SQ_TASKRUN) != 0; }
    /// Whether completions wait in the kernel because the completion queue was full (IORING_SQ_CQ_OVERFLOW).
    /// Nothing is lost, enter() brings them once there is room, but multishot operations have been ended by it.
    [[nodiscard]] bool overflowed() const { return (sq_flags() & IORING_SQ_CQ_OVERFLOW) != 0; }
    /// How many completions the kernel has dropped since the ring was made, for lack of memory: 0, or operations will
    /// never complete. enter() says -EBADR once, unless it submitted something in the same call; this stays.
    [[nodiscard]] unsigned cq_dropped() const {
        // relaxed: a counter that publishes nothing.
        return std::atomic_ref<unsigned>(*ring_.cq.koverflow).load(std::memory_order_relaxed);
    }
    /// Whether enter(0, …) would do anything: otherwise a pause needs no system call, peek() is all.
    [[nodiscard]] bool needs_enter() const {
        return sq_pending() != 0 || (sq_flags() & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
    }

    // ---- The kernel.

    /// Publishes and submits all pending entries, then brings completions.
    ///
    /// min_complete: 0: never sleeps; if work_pending() or overflowed(), brings every completion that is ready and
    ///               fits the queue (no call at all if nothing is pending either). 1 …: sleeps until so many are
    ///               unread in the queue, the timeout has passed, a signal arrives, or wake() is called and a read
    ///               of wake_fd() is in flight.
    /// timeout:      relative; ≤ 0 is over at once, Nanoseconds::max() never ends. Unused if min_complete is 0.
    /// Returns:      how many entries the kernel consumed (≥ 0), or -errno if it consumed none and
    ///               -EBUSY   it refuses until completions have been read (5.12 and older; simulated; up to about
    ///                        6.1 also while waiting)
    ///               -EAGAIN  it had no memory for a request: reap, try again
    ///               -ETIME   (min_complete ≥ 1 only) the timeout passed. Simulated: nothing is ready, the driver
    ///                        must advance the world
    ///               -EBADR   a completion was dropped for lack of memory: an operation will never complete
    ///               -ENOMEM  as EAGAIN
    ///               EINTR is swallowed: the result is then 0. Every other errno is a programmer's error and fails a
    ///               CHECK (EEXIST: another thread than the owner entered).
    ///               Fewer than were pending: the kernel stopped (no memory; on RingStep::basic also a bad entry, whose
    ///               completion carries the error) and has NOT waited. Look at sq_pending() before sleeping again.
    /// After a refusal the entries stay published and live: the kernel will take them in a later enter(), so the
    /// memory they point to must stay.
    [[nodiscard]] virtual int enter(unsigned min_complete, Nanoseconds timeout) = 0;

    /// Performs one operation at once, outside the queues: the fallback where the kernel lacks its opcode.
    /// Only what cannot block: NOP, SOCKET, BIND, LISTEN, CLOSE, SHUTDOWN. Flags and user_data are ignored.
    /// Returns: what its completion's `res` would be; -EOPNOTSUPP for any other opcode.
    [[nodiscard]] virtual int call(const io_uring_sqe& sqe) = 0;

    /// What push() sends: `size` bytes from memory, or of a memory file from `offset` (`file` ≥ 0).
    struct Push {
        const std::byte* bytes = nullptr;
        int file = -1;
        std::uint64_t offset = 0;
        std::size_t size = 0;
        bool more = false;  // Further bytes follow at once.
    };
    /// Sends what a stream socket takes now, outside the queues, and never waits: sendfile(2) for a file, which must be
    /// one whose pages are always there (memfd_create), else send(2). The process must ignore SIGPIPE.
    /// Returns: bytes sent, at least one; -EAGAIN: none now, poll for POLLOUT; another -errno: the connection is over.
    [[nodiscard]] virtual std::int64_t push(int fd, const Push& what) = 0;

    /// setsockopt(2) with an int, getsockname(2): neither blocks, and no opcode does them on all our kernels.
    /// Returns: 0 or -errno.
    [[nodiscard]] virtual int set_socket_option(int fd, int level, int option, int value) = 0;
    [[nodiscard]] virtual int local_address(int fd, sockaddr* address, socklen_t* length) = 0;

    // System calls without an opcode that touch memory only, and so cannot block. Each returns its system call's result,
    // or -errno; O_CLOEXEC and its like are added to every descriptor.

    /// fcntl(2) with F_DUPFD.
    [[nodiscard]] virtual int duplicate(int fd) = 0;
    /// pipe2(2): ends[0] is read, ends[1] is written.   flags: O_NONBLOCK, O_DIRECT.
    [[nodiscard]] virtual int make_pipe(int flags, std::array<int, 2>& ends) = 0;
    /// inotify_init1(2).
    [[nodiscard]] virtual int open_watcher() = 0;
    /// inotify_add_watch(2) on what `path_fd` refers to: its path has been resolved, so no disk is waited for.
    [[nodiscard]] virtual int add_watch(int watcher, int path_fd, std::uint32_t mask) = 0;
    /// inotify_rm_watch(2).
    [[nodiscard]] virtual int remove_watch(int watcher, int watch) = 0;
    /// pidfd_open(2).
    [[nodiscard]] virtual int open_process(int pid) = 0;
    /// waitid(2) on a pidfd, without waiting. Returns 1, or 0 if the process runs still.
    [[nodiscard]] virtual int process_status(int process, umbel_process_status& status) = 0;
    /// signalfd(2) for signals that this thread blocks (else -EPERM: they would not come here); what is pending of them is
    /// dropped first. Bit n - 1 of `signals` is signal n.
    [[nodiscard]] virtual int open_signals(std::uint64_t signals) = 0;

    /// Makes the owner's present or next sleeping enter() return, by completing the read on wake_fd(). From any
    /// thread. Costs a system call: never wake one who is awake.
    virtual void wake() = 0;
    /// The owner keeps a read of 8 bytes in flight on it, with an operation of its own. Not for anything else.
    [[nodiscard]] int wake_fd() const { return wake_fd_; }

    /// Gives the kernel a ring of buffers / takes it back.
    /// Returns: 0 or -errno (EEXIST: the group is taken; EINVAL: no buffer_rings; ENOENT: no such group).
    [[nodiscard]] virtual int register_buffer_ring(const BufferRing& buffers) = 0;
    [[nodiscard]] virtual int unregister_buffer_ring(std::uint16_t group) = 0;

    [[nodiscard]] const RingFeatures& features() const { return features_; }
    /// The clock by which this ring's timeouts run.
    [[nodiscard]] virtual Clock& clock() = 0;

    void check_invariants() const {
        const unsigned head = *ring_.sq.khead;
        CHECK(*ring_.sq.ktail - head <= ring_.sq.sqe_tail - head);  // I1
        CHECK(sq_pending() <= submission_entries());                // I2
        CHECK(cq_ready() <= completion_entries());                  // I3
    }

protected:
    Ring() = default;

    [[nodiscard]] unsigned sq_flags() const {
        // relaxed: a hint; the enter() that follows it synchronises.
        return std::atomic_ref<unsigned>(*ring_.sq.kflags).load(std::memory_order_relaxed);
    }

    /// Makes all reserved entries the kernel's (I4). Returns how many it has not consumed.
    unsigned publish() {
        // release: publishes the entries' bytes. Pairs with the kernel's acquire of the tail in io_uring_enter.
        std::atomic_ref<unsigned>(*ring_.sq.ktail).store(ring_.sq.sqe_tail, std::memory_order_release);
        return sq_pending();
    }

    io_uring ring_{};
    RingFeatures features_;
    int wake_fd_ = -1;
};

// Preparing what liburing 2.3 has no helper for.

inline void prep_ftruncate(io_uring_sqe* sqe, int fd, std::uint64_t size) {
    sqe->opcode = static_cast<std::uint8_t>(op_ftruncate);
    sqe->fd = fd;
    sqe->off = size;
}

/// The address must stay where it is until the entry has been consumed.
inline void prep_bind(io_uring_sqe* sqe, int fd, const sockaddr* address, socklen_t length) {
    sqe->opcode = static_cast<std::uint8_t>(op_bind);
    sqe->fd = fd;
    sqe->addr = reinterpret_cast<std::uintptr_t>(address);
    sqe->addr2 = length;
}

inline void prep_listen(io_uring_sqe* sqe, int fd, unsigned backlog) {
    sqe->opcode = static_cast<std::uint8_t>(op_listen);
    sqe->fd = fd;
    sqe->len = backlog;
}

}  // namespace umbel::rt
