// real_ring.h: the ring of the kernel we run on.
//
// Why.    Kernels differ in what their io_uring can do, and containers in what they allow. This file finds out, once,
//         and either gives the best ring there is or a sentence an operator can act on.
// Shape.  A ladder of set-up flags, best first, one rung down on EINVAL; then the kernel's features are required, its
//         opcodes probed. Wakes come through an eventfd.
// Owner.  The thread that calls create(): it alone enters and destroys the ring.
//
// Cost.   create(): some system calls and (SQ 256, CQ 4096) 84 KiB that newer kernels charge to RLIMIT_MEMLOCK.
//         enter(): one system call; none if there is nothing to do.
// Not here.  Dropping privileges: the daemon does it before it makes rings.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "runtime/base/result.h"
#include "runtime/io/ring.h"

namespace umbel::rt {

struct RingOptions {
    unsigned submission_entries = 256;   // 1 … 32768; the kernel rounds up to a power of two.
    unsigned completion_entries = 4096;  // At least submission_entries; rounded up as well.
    // The most threads the kernel may make for this ring's blocking operations; 0: the kernel's own bound.
    unsigned bounded_workers = 16;    // Regular files, opens: as many as a disk can use.
    unsigned unbounded_workers = 32;  // Pipes, terminals, sockets that must wait.

    // For tests: the first rung to try, and what to pretend the kernel lacks.
    RingStep first_step = RingStep::deferred;
    RingFeatureSet without_features;
    OpcodeSet without_opcodes;
};

/// What a refusal's message is made from, apart from the errno.
struct RefusalFacts {
    std::optional<int> io_uring_disabled;  // kernel.io_uring_disabled, where there is such a setting (6.6).
    std::optional<Bytes> memlock_limit;    // RLIMIT_MEMLOCK; none: unlimited.
    unsigned submission_entries = 0;
    unsigned completion_entries = 0;
};

/// The memory that a ring of this size locks.
[[nodiscard]] Bytes ring_memory(unsigned submission_entries, unsigned completion_entries);

/// Why io_uring_setup said `error` (an errno, positive), and what to do about it.
[[nodiscard]] Error setup_refusal(int error, const RefusalFacts& facts);

class RealRing final : public Ring {
public:
    /// Makes a ring for the calling thread.
    ///
    /// Sizes are halved as long as the kernel says ENOMEM (down to 8 and 16, or the sizes asked for), after some
    /// retries over 200 ms, since rings of a process that has just ended are freed late: compare submission_entries().
    /// Errors: ErrorClass::system with cause and remedy.
    [[nodiscard]] static Result<std::unique_ptr<RealRing>> create(const RingOptions& options);
    ~RealRing() override;

    [[nodiscard]] int enter(unsigned min_complete, Nanoseconds timeout) override;
    [[nodiscard]] int call(const io_uring_sqe& sqe) override;
    [[nodiscard]] std::int64_t push(int fd, const Push& what) override;
    [[nodiscard]] int set_socket_option(int fd, int level, int option, int value) override;
    [[nodiscard]] int local_address(int fd, sockaddr* address, socklen_t* length) override;
    [[nodiscard]] int duplicate(int fd) override;
    [[nodiscard]] int make_pipe(int flags, std::array<int, 2>& ends) override;
    [[nodiscard]] int open_watcher() override;
    [[nodiscard]] int add_watch(int watcher, int path_fd, std::uint32_t mask) override;
    [[nodiscard]] int remove_watch(int watcher, int watch) override;
    [[nodiscard]] int open_process(int pid) override;
    [[nodiscard]] int process_status(int process, umbel_process_status& status) override;
    [[nodiscard]] int open_signals(std::uint64_t signals) override;
    void wake() override;
    [[nodiscard]] int register_buffer_ring(const BufferRing& buffers) override;
    [[nodiscard]] int unregister_buffer_ring(std::uint16_t group) override;
    [[nodiscard]] Clock& clock() override { return clock_; }

private:
    RealRing() = default;
    [[nodiscard]] Result<void> set_up(const RingOptions& options);
    void probe(const RingOptions& options);
    [[nodiscard]] bool try_buffer_ring();
    [[nodiscard]] int enter_awake(unsigned to_submit);
    [[nodiscard]] int enter_asleep(unsigned to_submit, unsigned min_complete, Nanoseconds timeout);

    MonotonicClock clock_;
    pid_t owner_ = 0;           // The thread that made the ring.
    bool mapped_ = false;       // ring_ is to be given back.
    int registered_fd_ = -1;    // The ring's number in the owner's registered rings, or -1.
    unsigned enter_fd_ = 0;     // registered_fd_ or the ring's descriptor.
    unsigned enter_flags_ = 0;  // In every enter.
    unsigned sleep_flags_ = 0;  // In an enter that may sleep, besides.
};

}  // namespace umbel::rt
