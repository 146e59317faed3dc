// submission.h: from what an author asks for to entries in the ring, and everything an operation goes through until its
// record is freed.
//
// Why.    This is the only place where spans are allocated and entries reserved, so that both happen together or not at
//         all, and an actor is never interrupted between the two.
// Shape.  submit() looks first (arguments, ring, credits, mailbox room), then allocates, then fills in; only looking and
//         allocating can fail, and then nothing has happened. The three cases of the design:
//           1  there are entries and credits: the operations are filled in; the executor submits them with the batch
//           2  no entries: the ring is flushed, then as 1
//           3  the flush is refused, no credit is left, or the completion ring has overflowed: Outcome::parked; the
//              executor parks the actor, reaps, and lets it try again when has_room() says so
//         A chain is reserved whole: all of its entries or none.
// Owner.  One executor.
//
// Invariants (check_invariants(): S1, S2)
//   S1  each operation that is armed holds one credit; nobody else does
//   S2  owner.in_flight counts its operations that are not fulfilled
//   S3  ready_, idle_ and cancels_ hold operations of exactly those states and marks
//
// Cost.   One operation: two spans (about 10 ns each pair with few live ones) and one entry of 64 B.
// Not here.  What a CQE means: completion.h. Parking: sched/executor.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "runtime/io/buffer_pool.h"
#include "runtime/io/credits.h"
#include "runtime/io/descriptor_table.h"
#include "runtime/io/operation.h"
#include "runtime/io/ring.h"

namespace umbel::rt {

class Submission {
public:
    enum class Outcome : std::uint8_t { submitted, parked, failed };

    /// What an attempt needs from the ring; kept by a parked actor for has_room().
    struct Need {
        unsigned entries = 0;
        unsigned open_ended = 0;
    };
    struct Verdict {
        Outcome outcome = Outcome::submitted;
        int error = 0;  // failed: -errno or UMBEL_E_…
        Need need;      // parked
    };

    Submission(Ring& ring, TimerWheel& timers, DescriptorTable& descriptors);
    Submission(const Submission&) = delete;
    Submission& operator=(const Submission&) = delete;

    // ---- For actors.

    /// Submits `operations` (more than one: a chain) for `owner`, whose actor has the id `actor`.
    [[nodiscard]] Verdict submit(OperationOwner& owner, std::span<const umbel_operation> operations,
                                 umbel_pending* pendings, Nanoseconds now);
    /// Whether an attempt that was parked would get further now.
    [[nodiscard]] bool has_room(Need need) const;

    /// The operation behind a pending, or null if there is none (any more).
    [[nodiscard]] Operation* find(OperationOwner& owner, umbel_pending pending) const;
    /// Drops an operation: cancelled, and nobody wants what it brings. Completions in the mailbox are the caller's.
    void forget(Operation& operation);
    /// Lends `owner` `size` bytes of a block, from `offset`, as a buffer that is only read. False: its I/O heap is full.
    [[nodiscard]] bool lend(OperationOwner& owner, SharedBlock& block, std::uint32_t offset, std::uint32_t size,
                            umbel_buffer& buffer);
    /// Gives a buffer of `owner` back; empties it.
    void release(OperationOwner& owner, umbel_buffer& buffer);

    /// The actor takes one of the operation's completions out of its mailbox: bytes go where the author wanted them, the
    /// room is given back, the record too if this was the last. `message` has result, flags and buffer.
    void take(Operation& operation, umbel_message& message);
    /// The same for a completion that nobody wants.
    void drop(Operation& operation, CompletionMessage message);

    // ---- For the executor.

    /// Everything `owner` has in flight is cancelled, and it counts as dead: see OperationOwner::dead.
    void end(OperationOwner& owner);
    /// Takes back what is still lent to an owner that the kernel has nothing of any more.
    static void end_loans(OperationOwner& owner);
    /// A dead owner's last operation is over: its buffers go back, its heap is forgotten.
    void bury(OperationOwner& owner);
    /// Cancels what `wanted(operation)` says of an owner's operations. Returns how many were asked to end.
    template <class Wanted>
    unsigned cancel_matching(OperationOwner& owner, Wanted&& wanted) {
        unsigned asked = 0;
        for (Operation* next = owner.operations.front(); next != nullptr;) {
            Operation* operation = next;
            next = owner.operations.after(operation);
            if (wanted(*operation) && cancel(*operation, 0)) ++asked;
        }
        return asked;
    }
    /// From now on, what only waits for work ends at once.
    void begin_drain() { draining_ = true; }

    /// A timer of role timer_role has fired.
    static constexpr std::uint32_t timer_role = 0;
    void expired(Operation& operation);

    /// Makes `count` provided buffers of `size` in the executor's own heap. False where that is not to be had: streams
    /// of receives are then armed one by one.
    [[nodiscard]] bool make_buffers(OperationOwner& executor, unsigned count, Bytes size);
    /// The executor's own read of the wake descriptor; armed again by each call.
    void arm_wake(OperationOwner& executor);
    /// Whether it is in flight: without it nobody can wake the executor.
    [[nodiscard]] bool wake_armed() const { return wake_ != nullptr && wake_->state == OperationState::armed; }

    /// Arms streams and sends cancels for which there was no room before. Once a turn.
    void catch_up();
    /// Flushes the ring: enter(0). Returns what enter() does.
    int flush();

    [[nodiscard]] bool has_ready() const { return !ready_.empty(); }
    /// Something waits for room that only a reap or a flush makes.
    [[nodiscard]] bool is_behind() const { return !cancels_.empty() || !idle_.empty(); }

    [[nodiscard]] Ring& ring() { return ring_; }
    [[nodiscard]] BufferPool* buffers() { return buffers_ ? &*buffers_ : nullptr; }
    [[nodiscard]] Credits& credits() { return credits_; }

    struct Figures {
        std::uint64_t operations = 0;
        std::uint64_t enters = 0;        // flush()es; the executor counts its own
        std::uint64_t cq_overflows = 0;  // seen after one
        std::uint64_t in_flight = 0;     // now: the sum of all owners' in_flight
    };
    Figures figures;

    void check_invariants(std::span<OperationOwner* const> owners) const;

private:
    friend class Completion;
    using Waiting = IntrusiveList<Operation, PendingTag>;

    struct Plan;
    [[nodiscard]] Verdict submit_planned(OperationOwner& owner, std::span<const umbel_operation> operations,
                                         std::span<Plan> plans, umbel_pending* pendings, Nanoseconds now);
    [[nodiscard]] int plan(const OperationOwner& owner, const umbel_operation& wanted, bool chained, Plan& plan) const;
    [[nodiscard]] bool is_push(const OperationOwner& owner, const umbel_operation& wanted, bool chained,
                               std::size_t data) const;
    [[nodiscard]] static int plan_vector(const umbel_operation& wanted, Plan& plan);
    [[nodiscard]] int make(OperationOwner& owner, const umbel_operation& wanted, const Plan& plan, Nanoseconds now,
                           Operation*& made);
    [[nodiscard]] int make_vector(Operation& operation, const umbel_operation& wanted, const Plan& plan,
                                  umbel_buffer copied);
    [[nodiscard]] int make_message(Operation& operation, const umbel_operation& wanted, const Plan& plan);
    static std::size_t name_pieces(Operation& operation, const umbel_operation& wanted, iovec* pieces);
    void unmake(Operation& operation);
    struct Link {
        bool to_previous = false;
        bool to_next = false;
    };
    void begin(Operation& operation, const umbel_operation& wanted, const Plan& plan, Link link);
    void perform(Operation& operation, const umbel_operation& wanted);
    void fill(io_uring_sqe* sqe, Operation& operation, const umbel_operation& wanted);
    [[nodiscard]] bool arm_stream(Operation& stream);
    [[nodiscard]] std::optional<std::int64_t> push_on(Operation& operation);
    void wait_to_push(Operation& operation);
    void arm_push(Operation& operation);
    void finish(Operation& operation, std::int64_t result);
    void close_now(std::int64_t fd);
    void close_carried(Operation& operation);
    bool cancel(Operation& operation, std::uint16_t why);
    void ask_kernel_to_cancel(Operation& operation);
    void ask_again_later(Operation& operation);
    bool send_cancel(const Operation& operation);
    std::int64_t cancel_for(Operation& request, const umbel_operation& wanted);
    void unwait(Operation& operation);
    void scatter(Operation& operation, umbel_buffer& vector);
    void free_record(Operation& operation);
    void free_buffer(OperationOwner& owner, umbel_buffer& buffer);
    [[nodiscard]] bool supports(unsigned opcode) const { return ring_.features().supports(opcode); }

    Ring& ring_;
    TimerWheel& timers_;
    DescriptorTable& descriptors_;
    Credits credits_;
    std::optional<BufferPool> buffers_;
    Waiting ready_;    // ended without the kernel; the next reap delivers them
    Waiting idle_;     // streams to arm, and pushes that wait for their socket
    Waiting cancels_;  // armed operations whose cancel waits for room
    Operation* wake_ = nullptr;
    bool draining_ = false;
};

/// Tags in the low bits of user_data; records are aligned to 64 B.
constexpr std::uint64_t user_data_cancel = 1;  // the CQE of a cancel of ours

}  // namespace umbel::rt
