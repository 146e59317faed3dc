// port.h: what others see of an executor: where to put mail, how to wake it, how to command it, what it has counted.
//
// Why.    An Executor is its thread's alone. Other executors, the control thread and the log thread touch only its Port,
//         which exists before the executor's thread and after it.
// Shape.  Channels by sender; a flag that says whether it sleeps; commands as bits; an event ring; counters.
// Owner.  The runtime. Who writes what is said at each group.
//
// Invariants
//   P1  who publishes mail or a command and then sees `sleeping` false need not wake: the executor looks again after it
//       has set the flag and before it sleeps (each side: store, full fence, load)
//
// Not here.  When an executor looks: executor.cpp.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/base/counters.h"
#include "runtime/base/event_ring.h"
#include "runtime/io/ring.h"
#include "runtime/sched/channel.h"

namespace umbel::rt {

struct ActorType;

enum Command : std::uint32_t {
    command_drain = 1,   // stop accepting, cancel what only waits for work
    command_cancel = 2,  // cancel everything
    command_stop = 4,    // leave the loop
    command_plugins =
        8,  // look at Shared::plugins: a phase has changed, mains are to be told of new settings, one is new
    command_answer = 16,  // show that the loop turns: Port::present
};

class Port {
public:
    explicit Port(std::size_t executors)
        : from_(std::make_unique<std::atomic<Channel*>[]>(executors)), count_(executors) {}
    ~Port() {
        for (std::size_t i = 0; i < count_; ++i) delete from_[i].load(std::memory_order_relaxed);
    }
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;

    /// Sender `from` only: its channel to this executor, made at first use.
    [[nodiscard]] Channel& channel_from(ExecutorIndex from) {
        std::atomic<Channel*>& place = from_[index_of(from)];
        Channel* channel = place.load(std::memory_order_relaxed);
        if (channel == nullptr) {
            channel = new Channel;
            // release: publishes the channel's making. Pairs with the acquire in mail().
            place.store(channel, std::memory_order_release);
        }
        return *channel;
    }
    /// The channel from sender i, or null as long as it has sent nothing.
    [[nodiscard]] Channel* mail(std::size_t i) const { return from_[i].load(std::memory_order_acquire); }
    [[nodiscard]] bool has_mail() const {
        for (std::size_t i = 0; i < count_; ++i) {
            const Channel* channel = mail(i);
            if (channel != nullptr && channel->has_mail()) return true;
        }
        return false;
    }

    /// Any thread, after publishing something for the executor. Returns whether it had to be woken.
    bool wake_if_asleep() {
        // seq_cst fence: our publication comes before the look at `sleeping`. Pairs with the fence in fall_asleep() (P1).
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!sleeping_.load(std::memory_order_relaxed)) return false;
        // Only one of those who see it asleep need wake it.
        if (!sleeping_.exchange(false, std::memory_order_relaxed)) return false;
        ring_->wake();
        return true;
    }
    void command(std::uint32_t bits) {
        // release: what the commander did before is seen by who obeys. Pairs with the acquire in take_commands().
        commands_.fetch_or(bits, std::memory_order_release);
        wake_if_asleep();
    }

    // ---- The executor's side.

    /// Says that it is about to sleep. Returns false, and it is awake, if there is something to do after all.
    [[nodiscard]] bool fall_asleep() {
        sleeping_.store(true, std::memory_order_relaxed);
        // seq_cst fence: the flag comes before our look at the mail. Pairs with the fence in wake_if_asleep() (P1).
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!has_mail() && commands_.load(std::memory_order_relaxed) == 0) return true;
        sleeping_.store(false, std::memory_order_relaxed);
        return false;
    }
    void awake() { sleeping_.store(false, std::memory_order_relaxed); }
    [[nodiscard]] bool has_commands() const { return commands_.load(std::memory_order_relaxed) != 0; }
    [[nodiscard]] std::uint32_t take_commands() {
        if (commands_.load(std::memory_order_relaxed) == 0) return 0;
        // acquire: pairs with the release in command().
        return commands_.exchange(0, std::memory_order_acquire);
    }
    /// Before any other thread may use the port.
    void set_ring(Ring& ring) { ring_ = &ring; }

    /// Written by the executor whenever it has nothing to do, for Runtime::drained(): nothing is in flight here, and how
    /// often it has woken up since its start.
    std::atomic<bool> at_rest{false};
    std::atomic<std::uint64_t> awakenings{0};

    /// False from a roll call on until the executor has obeyed it (Runtime::call_roll).
    std::atomic<bool> present{true};
    /// Written by the executor for each slice, read by who wonders why it does not answer: what has the processor. Null:
    /// no actor. Two words that may be of two slices, except where it matters: in a slice that does not end.
    std::atomic<const ActorType*> running_type{nullptr};
    std::atomic<std::uint64_t> running_actor{0};

    EventRing events;
    PublishedCounters counters;

private:
    std::unique_ptr<std::atomic<Channel*>[]> from_;
    std::size_t count_;
    Ring* ring_ = nullptr;
    alignas(cache_line) std::atomic<bool> sleeping_{false};
    std::atomic<std::uint32_t> commands_{0};
};

}  // namespace umbel::rt
