// executor.h: one thread, one ring, many actors.
//
// Why.    All work of an actor happens on its home executor, so that nothing an actor touches needs a lock. An executor
//         gives its actors time slices, brings them their completions and mail, and sleeps in the kernel when there is
//         nothing else to do.
// Shape.  turn() is the loop's body, and the architecture:
//             reap()    completions, timers, commands, other executors' mail → mailboxes; the parked get their room
//             run()     the high-priority queue first, then the others: one slice each
//             submit()  shows other executors their mail, enters the kernel once for everything; sleeps if idle
//         What actors call (send, await, …) runs on their own stacks, in actor_calls.cpp, and comes back here by
//         switching out with a Wait that says why. Plugins that come and go while others run: retire.cpp.
// Owner.  Its thread. Everybody else uses its Port.
//
// Invariants (check_invariants())
//   E1  running_ is the context whose fiber is on the processor, or null
//   E2  a record is on at most one queue, as its state says (ActorState)
//   E3  a context on contexts_ is leased: to a living actor, or dead and in quarantine until its last completion
//   E4  nothing here blocks but the sleeping enter() in submit(). Locks are held for some instructions only, and only where
//       it is rare: names, readiness, a context that no warm slot is left for
//
// Cost.   A turn without work: some loads. A slice: two switches (12 ns) and about as much again.
// Not here.  Time slices by force, balancing: the scheduling layer's next step. Rings: io/. Threads: runtime.cpp.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/actor/context.h"
#include "runtime/base/counters.h"
#include "runtime/io/completion.h"
#include "runtime/io/submission.h"
#include "runtime/sched/context_pool.h"
#include "runtime/sched/shared.h"

namespace umbel::rt {

class Executor {
public:
    /// On the thread that will run it; `ring` was made there.
    Executor(Shared& shared, ExecutorIndex index, std::unique_ptr<Ring> ring);
    ~Executor();
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    // ---- The loop.

    /// One turn: reap, run, submit. False once it has been told to stop.
    bool turn();
    /// Turns until it is told to stop.
    void loop() {
        while (turn()) {
        }
    }

    /// Reports that it begins to run, on this CPU (-1: any).
    void announce(int cpu);
    /// After the loop: ends all actors and waits, for a second at most, until the kernel has let go of their memory.
    void shut_down();

    /// Spawns a plugin's main actor here. Before the loop.
    [[nodiscard]] bool spawn_main(umbel_actor_type& type, std::size_t plugin);

    // ---- For actors, on their own stacks (actor_calls.cpp). Contracts: abi.h.

    int submit(ActorContext& context, std::span<const umbel_operation> operations, umbel_pending* pendings);
    int await(ActorContext& context, umbel_pending pending, std::uint64_t timeout_ns, umbel_message& message);
    void forget(ActorContext& context, umbel_pending pending);
    int receive(ActorContext& context, std::uint64_t timeout_ns, umbel_message& message);
    int send(ActorContext& context, ActorId to, std::uint32_t type, const void* data, std::uint32_t bytes);
    int spawn(ActorContext& context, umbel_actor_type& type, const void* state, std::uint32_t bytes, int where,
              ActorId& id);
    [[noreturn]] void exit(ActorContext& context, std::string_view reason);
    void release(ActorContext& context, umbel_buffer& buffer) { submission_.release(context, buffer); }
    int lend(ActorContext& context, SharedBlock& block, std::uint64_t offset, std::uint64_t size, umbel_buffer& buffer);
    /// The fault handler's: its stack has overflowed, and it is at the top of it again.
    [[noreturn]] void stack_overflowed(ActorContext& context);
    int register_name(ActorContext& context, std::string_view name);
    int adopt(ActorContext& context, int fd);
    int take_listener(ActorContext& context, std::string_view name, std::uint32_t index, std::string& why);
    // actor_system_calls.cpp
    int make_pipe(ActorContext& context, int flags, int* ends);
    int open_watcher(ActorContext& context);
    int add_watch(ActorContext& context, int watcher, int path_fd, std::uint32_t mask);
    int remove_watch(ActorContext& context, int watcher, int watch);
    int open_process(ActorContext& context, int pid);
    int process_status(ActorContext& context, int process, umbel_process_status& status);
    int open_signals(ActorContext& context, std::span<const int> wanted);
    void yield(ActorContext& context);
    void ready(ActorContext& context, std::string_view text);
    /// Whether this actor's plugin is heard at this level.
    [[nodiscard]] bool wants(const ActorContext& context, Level level) const;
    void log(const ActorContext& context, Level level, std::string_view text);
    int log_event(const ActorContext& context, Level level, const char* name, std::string_view text,
                  std::span<const umbel_field> fields);

    [[nodiscard]] Ring& ring() { return *ring_; }
    [[nodiscard]] Shared& shared() { return shared_; }
    [[nodiscard]] ExecutorIndex index() const { return index_; }
    [[nodiscard]] Nanoseconds now() { return ring_->clock().now(); }
    [[nodiscard]] bool draining() const { return draining_; }
    /// The daemon drains, or this actor's plugin does.
    [[nodiscard]] bool draining(const ActorContext& context) const { return draining_ || context.draining; }
    /// The context whose actor is running, or null. For the fault handler.
    [[nodiscard]] ActorContext* running() const { return running_; }
    [[nodiscard]] const ExecutorCounters& counters() const { return counters_; }
    /// Nothing runs here, nothing is in flight, no mail waits.
    [[nodiscard]] bool at_rest() const;

    // ---- Between two turns, for who drives executors in a simulation (runtime/testkit/).

    /// Delivers a message to an actor that has its home here, as umbel_send by `sender`.
    int deliver_from_outside(ActorId to, umbel_actor_id sender, std::uint32_t type, const void* data,
                             std::uint32_t bytes);
    /// Calls see(context) for each leased context, those in quarantine as well.
    template <class See>
    void each_context(See&& see) {
        for (ActorContext* context = contexts_.front(); context != nullptr; context = contexts_.after(context))
            see(*context);
    }

    void check_invariants();

private:
    // The steps of a turn, each in executor.cpp under its name.
    void reap();
    void run();
    void submit();

    // Parts of reap().
    void obey();
    unsigned take_completions(unsigned most);
    void take_mail();
    void unpark();
    void resume(std::deque<ActorContext*>& parked, Submission::Need least, Submission::Need& promised);
    void deliver(Operation& operation, const CompletionMessage& message);
    void expired(Timer& timer);
    void begin_drain();

    // Plugins that come, change and go: retire.cpp.
    struct PluginView {
        PluginProgress* plugin = nullptr;
        PluginPhase phase = PluginPhase::serving;  // as followed here
        std::uint32_t reloads = 0;
        std::uint64_t slices = 0;  // of its actors, while it is retired
        Nanoseconds next_look{0};
        std::uint32_t walked = 0;  // ending: how far the slab has been walked, …
        bool found = false;        // … and whether a living actor was found
    };
    void follow_plugins();
    void spawn_new_main(PluginProgress& plugin, std::size_t place);
    void drain_plugin(PluginProgress& plugin);
    void notify_mains(const PluginProgress* plugin, std::uint16_t kind);
    void look_after_retired();
    [[nodiscard]] Nanoseconds next_look() const;
    void look_for_work(PluginView& view, std::size_t place);
    void evict_some(PluginView& view, std::size_t place);
    void evict(ActorRecord& record);
    void count_slice(const ActorContext& context);
    template <class Visit>
    void for_contexts_of(const PluginProgress& plugin, Visit&& visit);
    static bool only_waits_for_work(const Operation& operation) {
        return operation.code == UMBEL_OP_ACCEPT || (operation.flags & UMBEL_OP_DRAINS) != 0;
    }

    // Parts of run().
    void prefetch();
    void run_slice(ActorRecord& record);
    void settle(ActorContext& context);
    void park(ActorContext& context);
    [[nodiscard]] bool someone_parked() const { return !parked_.empty() || !parked_open_ended_.empty(); }
    void end(ActorContext& context);
    void make_runnable(ActorRecord& record);
    [[nodiscard]] ActorContext* lease(ActorRecord& record);
    void give_back(ActorContext& context);
    static void actor_code(void* context);

    // Parts of submit().
    void publish_mail();
    void enter(unsigned min_complete, Nanoseconds timeout);
    void sleep();
    void publish_counters();

    // Parts of what actors call.
    int deliver_here(ActorRecord& record, umbel_actor_id sender, std::uint32_t type, const void* data,
                     std::uint32_t bytes);
    void post(ExecutorIndex to, EnvelopeKind kind, umbel_actor_id target);
    void arrived(const Envelope& envelope);
    void adopt_embryo(ActorRecord& record);
    void dead_letter(umbel_actor_id target, std::uint32_t type);
    int own(ActorContext& context, int opened);
    bool wait_for(ActorContext& context, Wait wait, std::uint64_t timeout_ns);
    void spend(ActorContext& context);
    int take_message(ActorContext& context, MailboxEntry& entry, umbel_message& message);
    void run_stackful(ActorContext& context);
    void run_handler(ActorContext& context);
    [[noreturn]] static void leave(ActorContext& context);
    void stop_actor(ActorContext& context);
    void failed(ActorContext& context, std::string_view reason);
    void main_has_ended(ActorRecord& record, std::string_view reason);
    void report(EventKind kind, std::uint64_t actor, const char* plugin, std::array<std::int64_t, 3> values,
                std::string_view text);
    [[nodiscard]] Event event_of(EventKind kind, Level level, std::uint64_t actor, const char* plugin) const;
    int refuse_event(const ActorContext& context, const char* name, std::string_view why);

    using Contexts = IntrusiveList<ActorContext, ContextTag>;

    // Set at construction.
    Shared& shared_;
    Port& port_;
    const ExecutorIndex index_;
    std::unique_ptr<Ring> ring_;

    // Scheduling.
    RunQueue high_priority_;  // resumed after case 3
    RunQueue runnable_;
    std::deque<ActorContext*> parked_;             // wait for room in the ring (case 3), …
    std::deque<ActorContext*> parked_open_ended_;  // … for operations that wait for the world
    bool open_ended_first_ = false;                // … whose line is looked at first
    Contexts contexts_;                            // leased (E3)
    std::vector<ActorId> mains_;                   // spawned here; told of drains and new settings
    std::vector<PluginView> views_;                // of Shared::plugins, as far as it was followed
    unsigned retiring_ = 0;                        // how many of them are retired and have not ended
    ActorContext* running_ = nullptr;              // E1
    Nanoseconds now_;                              // as of this turn's reap()

    // I/O. own_ is the executor's own context: its slot's I/O heap holds what belongs to no actor.
    Slot own_slot_;
    std::unique_ptr<OperationOwner> own_;
    TimerWheel timers_;
    Submission submission_;
    Completion completion_;
    ContextPool pool_;

    // Mail that found a channel full: system envelopes only, sent before anything newer (by receiver).
    struct Unsent {
        EnvelopeKind kind;
        umbel_actor_id target;
    };
    std::vector<std::deque<Unsent>> unsent_;
    std::vector<Channel*> outgoing_;      // by receiver; null: none yet
    std::vector<ExecutorIndex> touched_;  // receivers with unpublished mail

    ExecutorCounters counters_;
    Nanoseconds counters_published_{0};
    Nanoseconds last_dead_letter_event_{-1'000'000'000};
    bool refused_ = false;  // the last enter() was
    bool draining_ = false;
    bool stopping_ = false;
};

}  // namespace umbel::rt
