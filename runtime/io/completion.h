// completion.h: what a CQE means to the operation it belongs to.
//
// Why.    Between a CQE and a message lies everything that can be different from what the author asked for: a stream that
//         must be armed again, a deadline that has passed, a buffer from the pool, an owner that has died meanwhile.
// Shape.  reap() reads the completion queue and what ended without the kernel, settles each, and hands what an actor must
//         know to deliver(operation, message). Delivery cannot fail: its room was reserved at submission.
// Owner.  One executor. Not reentrant: deliver() must not submit.
//
// Invariants
//   C1  each submission gives exactly one completion without UMBEL_COMPLETION_MORE, unless it is forgotten or its owner dead
//   C2  a descriptor or buffer that a completion brings, those passed in a message included, reaches its owner or is closed
//       or given back
//   C3  a record whose owner is dead is freed with its terminal CQE, never before
//
// Not here.  Entering the kernel: executor.h decides when. Mailboxes: actor/mailbox.h.
#pragma once

#include <cstdint>
#include <utility>

#include "runtime/io/submission.h"

namespace umbel::rt {

class Completion {
public:
    explicit Completion(Submission& submission) : submission_(submission) {}

    /// Settles the oldest completions that can be read without entering the kernel, at most `most`.
    /// deliver(Operation&, const CompletionMessage&): into its owner's mailbox.
    /// buried(OperationOwner&): a dead owner has nothing in flight any more.
    /// Returns: how many there were.
    template <class Deliver, class Buried>
    unsigned reap(unsigned most, Deliver&& deliver, Buried&& buried) {
        unsigned settled = 0;
        Ring& ring = submission_.ring();
        while (settled < most) {
            const io_uring_cqe* cqe = ring.peek();
            if (cqe == nullptr) break;
            const std::uint64_t user_data = cqe->user_data;
            const int result = cqe->res;
            const std::uint32_t flags = cqe->flags;
            ring.advance(1);
            ++settled;
            if ((user_data & user_data_cancel) != 0) {
                submission_.credits_.give_back_reserve();
                continue;
            }
            auto& operation = *reinterpret_cast<Operation*>(user_data);
            OperationOwner& owner = *operation.owner;
            CompletionMessage message;
            if (settle(operation, result, flags, message)) {
                deliver(operation, std::as_const(message));
            } else if (owner.dead && owner.in_flight == 0) {
                buried(owner);
            }
        }
        while (settled < most) {
            Operation* operation = submission_.ready_.pop_front();
            if (operation == nullptr) break;
            ++settled;
            OperationOwner& owner = *operation->owner;
            CompletionMessage message;
            if (settle_ready(*operation, message)) {
                deliver(*operation, std::as_const(message));
            } else if (owner.dead && owner.in_flight == 0) {
                buried(owner);
            }
        }
        return settled;
    }

    /// The operation of the completion `n` places behind the oldest unread one, or null. Only to touch its memory early.
    [[nodiscard]] Operation* ahead(unsigned n) {
        const io_uring_cqe* cqe = submission_.ring().peek_ahead(n);
        if (cqe == nullptr || (cqe->user_data & user_data_cancel) != 0) return nullptr;
        return reinterpret_cast<Operation*>(cqe->user_data);
    }

private:
    [[nodiscard]] bool settle(Operation& operation, int result, std::uint32_t flags, CompletionMessage& message);
    [[nodiscard]] bool settle_ready(Operation& operation, CompletionMessage& message);
    [[nodiscard]] bool settle_stream(Operation& operation, bool more, CompletionMessage& message);
    [[nodiscard]] bool settle_push(Operation& operation, CompletionMessage& message);
    [[nodiscard]] bool settle_last(Operation& operation, CompletionMessage& message);
    void discard(Operation& operation, CompletionMessage& message);
    void take_back(Operation& close);
    void describe(Operation& operation, int result);
    void own_received(Operation& operation);
    static void fill_pieces(Operation& operation, std::int64_t result);
    void own_descriptor(Operation& operation, std::int64_t result);

    Submission& submission_;
};

}  // namespace umbel::rt
