// context.h: what an actor needs while it runs or waits: its eight regions, and the record that keeps them together.
//
// Why.    Contexts are leased: an actor gets one with its first message and gives it back when it is dormant and clean. So
//         what is expensive to set up (pages, page tables, a prepared stack) is shared by all actors of an executor.
// Shape.  An ActorContext lies at the end of its slot's context region, over the stack. Its address is the `umbel_self*`
//         that plugins see. It is made once a slot and reused by one actor after the other.
// Owner.  The home executor of its actor.
//
// Invariants (checked by Executor::check_invariants())
//   X1  record->context == this while leased to a living actor
//   X2  it is given back only if clean() (no operation, no span, no descriptor), with no frame of the actor on its stack
//       and an empty mailbox
//
// Not here.  Who leases and returns: sched/context_pool.h. What the value heaps do with Minor, Major and Tables: they are
//         reserved here, and get their collector with the value heap.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/actor/actor.h"
#include "runtime/actor/mailbox.h"
#include "runtime/io/operation.h"
#include "runtime/io/submission.h"
#include "runtime/memory/fiber.h"
#include "runtime/memory/slot.h"

namespace umbel::rt {

class Executor;         // names only: contexts carry their executor to the host functions, …
struct PluginProgress;  // … and whose actor they are leased to

struct ContextTag;  // on Executor::contexts_

/// What an actor that is not runnable waits for, or what it left the processor for.
enum class Wait : std::uint8_t {
    nothing,     // Runs, or may.
    idle,        // A handler between two messages; may become dormant.
    message,     // Any message.
    completion,  // One of `awaited`.
    room,        // Room in the ring: parked (case 3).
    yielded,     // Its turn: it is runnable.
    ended,       // Nothing any more.
};

struct ActorContext : umbel_self, OperationOwner, ListHook<ContextTag>, Timer {
    static constexpr std::uint32_t timer_role = 1;  // a wait's end

    ActorContext(Slot leased, const umbel_host* table)
        : umbel_self{table},
          OperationOwner(leased.begin(Region::io_heap), leased.region_bytes()),
          slot(leased),
          mailbox(leased.begin(Region::mailbox), leased.region_bytes()) {
        completions_limit = mailbox.completions_limit();
        role = timer_role;
    }

    Slot slot;
    Executor* executor = nullptr;
    ActorRecord* record = nullptr;
    PluginProgress* plugin = nullptr;  // of its actor, also when that has died
    Fiber fiber;
    Mailbox mailbox;

    // Waiting.
    Wait wait = Wait::nothing;
    bool timed_out = false;
    bool in_code = false;               // The plugin's code has frames on the stack.
    bool stack_lost = false;            // Its actor has left in the middle of its code: prepare the fiber anew.
    Operation* awaited = nullptr;       // Wait::completion
    std::size_t mark = 0;               // … where in the mailbox it lies, if the generation is still
    std::uint32_t mark_generation = 0;  // … this
    Submission::Need need;              // Wait::room: for this much
    bool parked_before = false;         // … and this submission has been refused before

    // The present slice.
    std::uint32_t calls = 0;     // Runtime calls since the clock was last read.
    Nanoseconds slice_began{0};  // … when it was first read in this slice; 0: not yet.

    /// Moves a user message's bytes to Minor A and describes the message; the entry may be taken then.
    void read(MailboxEntry& entry, umbel_message& message) {
        message = {};
        message.kind = entry.kind;
        if (entry.kind == UMBEL_MESSAGE_USER) {
            message.type = entry.type;
            message.sender = entry.sender;
            message.size = entry.bytes;
            std::byte* minor = slot.begin(Region::minor_a);
            if (entry.bytes != 0) std::memcpy(minor, entry.body(), entry.bytes);
            message.data = minor;
        } else if (entry.kind == UMBEL_MESSAGE_COMPLETION) {
            CompletionMessage completion;
            std::memcpy(&completion, entry.body(), sizeof completion);
            message.pending = entry.operation->pending;
            message.result = completion.result;
            message.flags = completion.flags;
            message.buffer = completion.buffer;
        }
    }

    /// Nothing of the actor is here but its frames and its mail (X2).
    [[nodiscard]] bool clean() const {
        return in_flight == 0 && provided_held == 0 && io_heap.live_spans() == 0 && descriptors.none();
    }
};
static_assert(sizeof(ActorContext) <= context_header_bytes, "it lies at the end of the context region");

[[nodiscard]] inline ActorContext& context_of(umbel_self* self) { return *static_cast<ActorContext*>(self); }
[[nodiscard]] inline const ActorContext& context_of(const umbel_self* self) {
    return *static_cast<const ActorContext*>(self);
}
[[nodiscard]] inline ActorContext& context_of(OperationOwner* owner) { return *static_cast<ActorContext*>(owner); }

}  // namespace umbel::rt
