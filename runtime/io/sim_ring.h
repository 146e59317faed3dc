// sim_ring.h: a ring whose kernel is simulated (sim_world.h).
//
// Why.    The runtime is proved on orders, delays, errors and refusals that a real kernel shows once a year, each
//         from a seed that replays it.
// Shape.  The queues are ordinary memory, laid out as the kernel lays them out; enter() hands the entries to the
//         world and brings what its clock has made ready. On RingStep::deferred a completion is work_pending() until
//         an enter() brings it, on the others it appears in the queue by itself.
// Owner.  The thread of its SimWorld, which must outlive it. wake() as well: nothing here is thread-safe.
//
// Invariants (check_invariants(), besides the Ring's own)
//   S1  submitted() - completed() operations are in flight in the world
//   S2  overflowed() exactly if completions wait outside the queue
//   S3  work_pending() exactly if operations wait to be run by an enter()
//
// Cost.   About a microsecond an operation.
// Not here.  What operations do: sim_world.h.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "runtime/io/ring.h"

namespace umbel::rt {

class SimWorld;

struct SimRingOptions {
    unsigned submission_entries = 256;  // Powers of two.
    unsigned completion_entries = 4096;
    RingStep step = RingStep::deferred;
    /// Kernels up to 5.12: a submission is refused with EBUSY while completions wait outside the full queue.
    bool busy_on_overflow = false;
    RingFeatureSet without_features;  // As in RingOptions.
    OpcodeSet without_opcodes;
};

class SimRing final : public Ring {
public:
    ~SimRing() override;

    /// As Ring says, but never blocks: where the real ring would sleep, it remembers that and returns (-ETIME, or the
    /// number submitted). The driver then runs the other executors, and when all rings are asleep() advances the world.
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
    [[nodiscard]] Clock& clock() override;

    /// Whether the last enter() wanted to sleep and would sleep still.
    [[nodiscard]] bool asleep() const;

    /// The next `times` enters with something to submit are refused with `error` (positive), whatever the faults say.
    void refuse(unsigned times, int error) {
        refusals_ = times;
        refusal_ = error;
    }

    // The independent witness: what the kernel's side counted.
    [[nodiscard]] std::uint64_t submitted() const { return submitted_; }  // Entries consumed.
    [[nodiscard]] std::uint64_t completed() const { return completed_; }  // Completions without F_MORE.
    [[nodiscard]] std::uint64_t posted() const { return posted_; }        // All completions.
    [[nodiscard]] std::uint64_t in_flight() const { return submitted_ - completed_; }
    [[nodiscard]] std::uint64_t overflows() const { return overflows_; }  // Completions that found the queue full.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }      // Enters refused.

    void check_invariants() const;

private:
    friend class SimWorld;

    struct ProvidedBuffers {
        const io_uring_buf* slots = nullptr;
        unsigned entries = 0;
        std::uint16_t head = 0;
    };
    struct Completion {
        std::uint64_t user_data;
        int result;
        unsigned flags;
    };
    /// What the kernel shares with us apart from the entries.
    struct Shared {
        unsigned sq_head = 0, sq_tail = 0, sq_mask = 0, sq_entries = 0, sq_flags = 0, sq_dropped = 0;
        unsigned cq_head = 0, cq_tail = 0, cq_mask = 0, cq_entries = 0, cq_flags = 0, cq_overflow = 0;
    };

    SimRing(SimWorld& world, unsigned index, const SimRingOptions& options);

    [[nodiscard]] bool deferred() const { return features_.step == RingStep::deferred; }
    [[nodiscard]] bool has_room() const { return overflow_.empty() && cq_ready() < completion_entries(); }
    void post(const Completion& completion);
    void flush_overflow();
    void set_flag(unsigned flag, bool on);
    void write(const Completion& completion);

    SimWorld& world_;
    const unsigned index_;  // In the world, in order of making.
    const bool busy_on_overflow_;
    Shared shared_;
    std::unique_ptr<std::byte[]> sqes_;
    std::unique_ptr<std::byte[]> cqes_;

    std::deque<std::uint64_t> work_;  // Operations that the next enter() runs, by id.
    std::deque<Completion> overflow_;
    std::map<std::uint16_t, ProvidedBuffers> buffers_;

    bool sleeping_ = false;         // The last enter() wanted to sleep …
    unsigned sleeping_for_ = 0;     // … for so many completions …
    Nanoseconds sleeping_until_{};  // … until then.

    unsigned refusals_ = 0;
    int refusal_ = 0;
    std::uint64_t submitted_ = 0;
    std::uint64_t completed_ = 0;
    std::uint64_t posted_ = 0;
    std::uint64_t overflows_ = 0;
    std::uint64_t refused_ = 0;
};

}  // namespace umbel::rt
