#include "runtime/sched/executor.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

namespace umbel::rt {

namespace {

// Slices between two looks at the kernel, when there is always somebody to run.
constexpr unsigned slices_per_turn = 256;
constexpr unsigned completions_per_turn = 1024;
// How long an idle executor sleeps when it must try again by itself: the kernel has refused something.
constexpr Nanoseconds retry_after = std::chrono::milliseconds(1);
constexpr Nanoseconds counters_every = std::chrono::milliseconds(10);

RegionSize own_region_size(const ExecutorOptions& options) {
    // The provided buffers twice over: their ring and the records beside them take little.
    std::uint64_t bytes = (1_MiB).count;
    while (bytes < options.buffer_size.count * options.buffer_count * 2) bytes *= 2;
    return *RegionSize::from(Bytes{bytes});
}

}  // namespace

Executor::Executor(Shared& shared, ExecutorIndex index, std::unique_ptr<Ring> ring)
    : shared_(shared),
      port_(*shared.ports[index_of(index)]),
      index_(index),
      ring_(std::move(ring)),
      now_(ring_->clock().now()),
      timers_(now_),
      submission_(*ring_, timers_, shared.descriptors),
      completion_(submission_),
      pool_(shared.slots, shared.host, *this),
      unsent_(shared.ports.size()),
      outgoing_(shared.ports.size(), nullptr) {
    Result<Slot> slot = shared.slots.acquire(own_region_size(shared.options.executors));
    CHECK(slot.has_value());
    own_slot_ = *slot;
    own_ = std::make_unique<OperationOwner>(own_slot_.begin(Region::io_heap), own_slot_.region_bytes());
    const ExecutorOptions& options = shared.options.executors;
    (void)submission_.make_buffers(*own_, options.buffer_count, options.buffer_size);
    submission_.arm_wake(*own_);
    port_.set_ring(*ring_);
}

Executor::~Executor() {
    // The ring goes first: from then on the kernel touches none of the contexts.
    ring_.reset();
    while (ActorContext* context = contexts_.pop_front()) {
        Submission::end_loans(*context);
        pool_.discard(context);
    }
    own_.reset();
    shared_.slots.release(own_slot_);
}

// ---- The loop ------------------------------------------------------------------------------------------------------------

bool Executor::turn() {
    ++counters_.turns;
    reap();
    run();
    submit();
    return !stopping_;
}

void Executor::announce(int cpu) {
    report(EventKind::executor_started, 0, nullptr,
           {cpu, static_cast<std::int64_t>(ring_->submission_entries()),
            static_cast<std::int64_t>(ring_->completion_entries())},
           ring_->features().summary());
}

void Executor::shut_down() {
    const Nanoseconds patience = ring_->clock().now() + std::chrono::seconds(1);
    for (ActorContext* next = contexts_.front(); next != nullptr;) {
        ActorContext& context = *next;
        next = contexts_.after(next);
        if (context.record == nullptr) continue;
        if (static_cast<ListHook<RunQueueTag>&>(*context.record).linked()) RunQueue::remove(context.record);
        if (static_cast<Timer&>(context).linked()) timers_.remove(context);
        context.stack_lost = true;
        end(context);
    }
    parked_.clear();
    parked_open_ended_.clear();
    while (submission_.figures.in_flight != 0 && ring_->clock().now() < patience) {
        submission_.catch_up();
        enter(1, std::chrono::milliseconds(10));
        (void)take_completions(UINT_MAX);
        timers_.expire(ring_->clock().now(), [this](Timer& timer) { expired(timer); });
    }
    publish_counters();
    report(EventKind::executor_stopped, 0, nullptr,
           {static_cast<std::int64_t>(counters_.turns), static_cast<std::int64_t>(counters_.operations),
            static_cast<std::int64_t>(counters_.cq_overflows)},
           "");
}

// ---- reap: what has happened → mailboxes ---------------------------------------------------------------------------------

void Executor::reap() {
    now_ = ring_->clock().now();
    obey();
    timers_.expire(now_, [this](Timer& timer) { expired(timer); });
    take_mail();
    if (retiring_ != 0) look_after_retired();
    // If nobody waits for the processor, run() takes completions one at a time, each actor while its memory is warm.
    if (!runnable_.empty() || someone_parked()) (void)take_completions(UINT_MAX);
    unpark();
}

void Executor::obey() {
    const std::uint32_t commands = port_.take_commands();
    if (commands == 0) return;
    if ((commands & command_plugins) != 0) follow_plugins();
    if ((commands & command_drain) != 0 && !draining_) begin_drain();
    if ((commands & command_cancel) != 0) {
        unsigned cancelled = 0;
        for (ActorContext* context = contexts_.front(); context != nullptr; context = contexts_.after(context)) {
            cancelled += submission_.cancel_matching(*context, [](const Operation&) { return true; });
        }
        if (cancelled != 0) report(EventKind::operations_cancelled, 0, nullptr, {cancelled, 0, 0}, "");
    }
    if ((commands & command_stop) != 0) stopping_ = true;
    // relaxed: says no more than that we came by here.
    if ((commands & command_answer) != 0) port_.present.store(true, std::memory_order_relaxed);
}

void Executor::begin_drain() {
    draining_ = true;
    submission_.begin_drain();
    report(EventKind::drain_began, 0, nullptr,
           {static_cast<std::int64_t>(contexts_.count()), static_cast<std::int64_t>(submission_.figures.in_flight), 0},
           "");
    for (ActorContext* context = contexts_.front(); context != nullptr; context = contexts_.after(context)) {
        submission_.cancel_matching(*context, only_waits_for_work);
    }
    notify_mains(nullptr, UMBEL_MESSAGE_DRAIN);
}

unsigned Executor::take_completions(unsigned most) {
    const unsigned taken = completion_.reap(
        most, [this](Operation& operation, const CompletionMessage& message) { deliver(operation, message); },
        [this](OperationOwner& owner) {
            submission_.bury(owner);
            give_back(context_of(&owner));
        });
    counters_.completions += taken;
    return taken;
}

// A copy of the CQE goes into its actor's mailbox; the actor becomes runnable if it waits for it.
void Executor::deliver(Operation& operation, const CompletionMessage& message) {
    ActorContext& context = context_of(operation.owner);
    const std::size_t place = context.mailbox.push_completion(operation, message);
    ++counters_.messages;
    const bool awaited = context.wait == Wait::completion && context.awaited == &operation;
    if (awaited) {
        // The first one only: a stream's next completion may come before the actor runs, and must not overtake this one.
        context.mark = place;
        context.mark_generation = context.mailbox.generation();
    }
    if (awaited || context.wait == Wait::message || context.wait == Wait::idle) make_runnable(*context.record);
}

void Executor::expired(Timer& timer) {
    if (timer.role == Submission::timer_role) {
        submission_.expired(static_cast<Operation&>(timer));
        return;
    }
    auto& context = static_cast<ActorContext&>(timer);
    context.timed_out = true;
    make_runnable(*context.record);
}

void Executor::take_mail() {
    for (std::size_t i = 0; i < shared_.ports.size(); ++i) {
        Channel* channel = port_.mail(i);
        if (channel != nullptr) channel->drain([this](const Envelope& envelope) { arrived(envelope); });
    }
}

// Those whose submission was refused go to the high-priority queue, as many as there is room for, who has waited longest
// first. Who waits for operations that wait for the world stands in a line of its own, and in each line who does not fit is
// passed over: what one waits for may be another's doing.
void Executor::unpark() {
    if (!someone_parked() || !high_priority_.empty())
        return;  // Those have been promised room and have not taken it yet.
    // Perhaps only the submission queue is full: case 2 again.
    if (ring_->sq_pending() != 0) enter(0, Nanoseconds(0));
    Submission::Need promised;
    open_ended_first_ = !open_ended_first_;
    if (open_ended_first_) resume(parked_open_ended_, {1, 1}, promised);
    resume(parked_, {1, 0}, promised);
    if (!open_ended_first_) resume(parked_open_ended_, {1, 1}, promised);
}

// least: what anybody in this line needs at least.
void Executor::resume(std::deque<ActorContext*>& parked, Submission::Need least, Submission::Need& promised) {
    const auto with = [&promised](Submission::Need need) {
        return Submission::Need{promised.entries + need.entries, promised.open_ended + need.open_ended};
    };
    for (auto next = parked.begin(); next != parked.end() && submission_.has_room(with(least));) {
        ActorContext& context = **next;
        if (!submission_.has_room(with(context.need))) {
            ++next;
            continue;
        }
        promised = with(context.need);
        next = parked.erase(next);
        context.record->state = ActorState::runnable;
        high_priority_.push_back(context.record);
    }
}

// ---- run: one slice each ---------------------------------------------------------------------------------------------------

// A thousand connections' records lie on as many pages: the next completions' memory is fetched while this one's actor
// runs. Two steps ahead the operation, one step ahead what it leads to.
void Executor::prefetch() {
    if (const Operation* later = completion_.ahead(2)) {
        const auto* line = reinterpret_cast<const char*>(later);
        __builtin_prefetch(line, 1);
        __builtin_prefetch(line + cache_line, 1);
    }
    if (const Operation* next = completion_.ahead(1); next != nullptr && next->owner != own_.get()) {
        const auto& context = context_of(next->owner);
        const auto* line = reinterpret_cast<const char*>(&context);
        for (std::size_t i = 0; i < sizeof(ActorContext); i += cache_line) __builtin_prefetch(line + i, 1);
        __builtin_prefetch(context.mailbox.place_of_next(), 1);
        context.fiber.prefetch();
    }
}

void Executor::run() {
    unsigned completions = 0;
    for (unsigned slices = 0; slices < slices_per_turn && completions < completions_per_turn;) {
        ActorRecord* next = high_priority_.pop_front();
        if (next == nullptr) next = runnable_.pop_front();
        if (next != nullptr) {
            ++slices;
            run_slice(*next);
        } else {
            prefetch();
            if (take_completions(1) == 0) return;
            ++completions;
        }
        // At every pause: whoever waits for room may find it in what the completion queue holds, without a system call.
        if (someone_parked()) {
            (void)take_completions(UINT_MAX);
            unpark();
        }
    }
}

void Executor::run_slice(ActorRecord& record) {
    ActorContext* context = record.context != nullptr ? record.context : lease(record);
    if (context == nullptr) return;
    ++counters_.slices;
    if (retiring_ != 0) count_slice(*context);
    if (static_cast<Timer&>(*context).linked()) timers_.remove(*context);
    record.state = ActorState::running;
    context->wait = Wait::nothing;
    context->slice_began = Nanoseconds(0);
    context->calls = 0;
    if (!context->fiber.resumable()) {
        context->fiber.prepare(context->slot.stack_low(), context->slot.stack_top(), actor_code, context);
    }
    shared_.slots.before_run(context->slot);
    running_ = context;  // E1
    // relaxed: for people, when this slice does not end.
    port_.running_type.store(record.type, std::memory_order_relaxed);
    port_.running_actor.store(record.id.value, std::memory_order_relaxed);
    context->fiber.switch_in();
    running_ = nullptr;
    port_.running_type.store(nullptr, std::memory_order_relaxed);
    shared_.slots.after_run(context->slot);
    settle(*context);
}

// An actor has left the processor: where it goes now.
void Executor::settle(ActorContext& context) {
    ActorRecord& record = *context.record;
    switch (context.wait) {
        case Wait::idle:
            if (!context.mailbox.empty()) return make_runnable(record);
            if (!context.descriptors.none()) context.descriptors.drop_those_gone(shared_.descriptors, record.id.value);
            if (!context.clean()) {
                record.state = ActorState::receiving;
                return;
            }
            record.state = ActorState::dormant;
            record.context = nullptr;
            return give_back(context);
        case Wait::message:
        case Wait::completion:
            record.state = ActorState::receiving;
            return;
        case Wait::room:
            record.state = ActorState::submitting;
            park(context);
            return;
        case Wait::yielded:
        case Wait::nothing:
            return make_runnable(record);
        case Wait::ended:
            return end(context);
    }
}

// It goes to the end of the line; to its head if it has stood there and found the room taken by others.
void Executor::park(ActorContext& context) {
    ++counters_.high_priority_yields;
    std::deque<ActorContext*>& parked = context.need.open_ended != 0 ? parked_open_ended_ : parked_;
    if (context.parked_before) {
        parked.push_front(&context);
    } else {
        context.parked_before = true;
        parked.push_back(&context);
    }
}

void Executor::make_runnable(ActorRecord& record) {
    if (record.state == ActorState::runnable) return;
    if (record.context != nullptr) record.context->wait = Wait::nothing;
    record.state = ActorState::runnable;
    runnable_.push_back(&record);  // E2
}

ActorContext* Executor::lease(ActorRecord& record) {
    std::string refusal;
    ActorContext* context = pool_.lease(record.type->region_size, refusal);
    if (context == nullptr) {
        // Without memory it cannot even fail by itself.
        report(EventKind::actor_failed, record.id.value, record.type->plugin, {}, refusal);
        main_has_ended(record, refusal);
        if (static_cast<ListHook<RunQueueTag>&>(record).linked()) RunQueue::remove(&record);
        if (record.has_name) shared_.directory.drop_names(record.id);
        Directory::retire(record);
        ++counters_.actors_failed;
        ++counters_.actors_ended;
        if (record.id.slab() == index_) {
            shared_.directory.free(record);
        } else {
            post(record.id.slab(), EnvelopeKind::free_record, record.id.value);
        }
        return nullptr;
    }
    context->record = &record;
    context->actor = record.id.value;
    context->dead = false;
    context->wait = Wait::nothing;
    context->timed_out = false;
    context->plugin = shared_.plugins[record.type->plugin_index];
    // relaxed: a drain that this executor has not heard of yet begins early for this one.
    context->draining = context->plugin->phase.load(std::memory_order_relaxed) != PluginPhase::serving;
    record.context = context;
    contexts_.push_back(context);  // E3
    ++counters_.contexts_leased;
    return context;
}

void Executor::give_back(ActorContext& context) {
    Contexts::remove(&context);  // E3
    --counters_.contexts_leased;
    context.record = nullptr;
    context.plugin = nullptr;
    context.actor = 0;
    pool_.give_back(&context);
}

// The actor has ended. What it had is freed; what the kernel still has keeps its context in quarantine.
void Executor::end(ActorContext& context) {
    ActorRecord& record = *context.record;
    ++counters_.actors_ended;
    if (context.stack_lost) {
        context.fiber.abandon();
        context.stack_lost = false;
    }
    if (record.has_name) shared_.directory.drop_names(record.id);
    Directory::retire(record);

    while (!context.mailbox.empty()) {
        MailboxEntry& entry = context.mailbox.front();
        if (entry.kind == UMBEL_MESSAGE_COMPLETION) {
            CompletionMessage completion;
            std::memcpy(&completion, entry.body(), sizeof completion);
            submission_.drop(*entry.operation, completion);
        } else if (entry.kind == UMBEL_MESSAGE_USER) {
            dead_letter(record.id.value, entry.type);
        }
        context.mailbox.take(entry);
    }
    context.descriptors.take_all(shared_.descriptors, record.id.value, [this](int fd) {
        umbel_operation close{};
        close.code = UMBEL_OP_CLOSE;
        close.flags = UMBEL_OP_DETACHED;
        close.fd = fd;
        if (submission_.submit(*own_, {&close, 1}, nullptr, now_).outcome == Submission::Outcome::submitted) return;
        io_uring_sqe sqe{};
        io_uring_prep_close(&sqe, fd);
        (void)ring_->call(sqe);
    });
    submission_.end(context);

    const ExecutorIndex slab = record.id.slab();
    if (slab == index_) {
        shared_.directory.free(record);
    } else {
        post(slab, EnvelopeKind::free_record, record.id.value);
    }
    context.record = nullptr;
    if (context.in_flight == 0) {
        submission_.bury(context);
        give_back(context);
    }
}

// ---- submit: everything at once, then sleep if there is nothing to do --------------------------------------------------------

void Executor::submit() {
    submission_.catch_up();
    publish_mail();
    const bool busy =
        !runnable_.empty() || !high_priority_.empty() || submission_.has_ready() || ring_->peek() != nullptr;
    if (!busy && !stopping_) {
        sleep();
    } else if (ring_->needs_enter()) {
        enter(0, Nanoseconds(0));
    }
    if (now_ - counters_published_ >= counters_every) publish_counters();
}

void Executor::publish_mail() {
    for (std::size_t i = 0; i < touched_.size();) {
        const ExecutorIndex to = touched_[i];
        Channel& channel = *outgoing_[index_of(to)];
        std::deque<Unsent>& unsent = unsent_[index_of(to)];
        while (!unsent.empty() && channel.push(unsent.front().kind, 0, unsent.front().target, 0, nullptr, 0)) {
            unsent.pop_front();
        }
        if (channel.unpublished()) {
            channel.publish();
            if (shared_.ports[index_of(to)]->wake_if_asleep()) {
                ++counters_.wakes_sent;
            } else {
                ++counters_.wakes_skipped;
            }
        }
        if (unsent.empty()) {
            touched_[i] = touched_.back();
            touched_.pop_back();
        } else {
            ++i;
        }
    }
}

void Executor::enter(unsigned min_complete, Nanoseconds timeout) {
    ++counters_.enters;
    const int result = ring_->enter(min_complete, timeout);
    refused_ = result == -EBUSY || result == -EAGAIN || result == -ENOMEM;
    if (ring_->overflowed()) {
        ++counters_.cq_overflows;
        report(EventKind::ring_overflow, 0, nullptr, {static_cast<std::int64_t>(counters_.cq_overflows), 0, 0}, "");
    }
}

void Executor::sleep() {
    const Nanoseconds spin = shared_.options.executors.spin;
    if (spin > Nanoseconds(0)) {
        if (ring_->sq_pending() != 0) enter(0, Nanoseconds(0));
        const Nanoseconds until = ring_->clock().now() + spin;
        do {
            if (ring_->peek() != nullptr || ring_->work_pending() || port_.has_mail()) {
                if (ring_->needs_enter()) enter(0, Nanoseconds(0));
                return;
            }
            __builtin_ia32_pause();
        } while (ring_->clock().now() < until);
    }

    publish_counters();
    // It may have been reaped since reap(), or found no room there.
    submission_.arm_wake(*own_);
    // relaxed: read by the control thread together with the channels, twice (Runtime::drained).
    port_.at_rest.store(at_rest(), std::memory_order_relaxed);
    if (!port_.fall_asleep()) {
        port_.at_rest.store(false, std::memory_order_relaxed);
        if (ring_->needs_enter()) enter(0, Nanoseconds(0));
        return;
    }
    Nanoseconds timeout = timers_.next_expiry();
    if (timeout != Nanoseconds::max()) timeout -= ring_->clock().now();
    if (retiring_ != 0) timeout = std::min(timeout, std::max(Nanoseconds(0), next_look() - ring_->clock().now()));
    const bool tries_again =
        refused_ || someone_parked() || submission_.is_behind() || !touched_.empty() || !submission_.wake_armed();
    if (tries_again) timeout = std::min(timeout, retry_after);
    enter(1, timeout);
    port_.awake();
    port_.at_rest.store(false, std::memory_order_relaxed);
    port_.awakenings.fetch_add(1, std::memory_order_relaxed);
}

bool Executor::at_rest() const {
    auto& self = const_cast<Executor&>(*this);
    return self.runnable_.empty() && self.high_priority_.empty() && !someone_parked() && touched_.empty() &&
           submission_.figures.in_flight == 0;
}

void Executor::publish_counters() {
    counters_published_ = now_;
    counters_.operations = submission_.figures.operations;
    counters_.operations_in_flight = submission_.figures.in_flight;
    counters_.events_dropped = port_.events.dropped();
    ExecutorCounters all = counters_;
    all.enters += submission_.figures.enters;
    all.cq_overflows += submission_.figures.cq_overflows;
    port_.counters.publish(all);
}

// ---- Reports -----------------------------------------------------------------------------------------------------------------

Event Executor::event_of(EventKind kind, Level level, std::uint64_t actor, const char* plugin) const {
    timespec time{};
    clock_gettime(CLOCK_REALTIME, &time);
    Event event;
    event.time_ns = time.tv_sec * std::int64_t{1'000'000'000} + time.tv_nsec;
    event.kind = kind;
    event.level = level;
    event.executor = index_;
    event.actor = actor;
    event.plugin = plugin;
    return event;
}

void Executor::report(EventKind kind, std::uint64_t actor, const char* plugin, std::array<std::int64_t, 3> values,
                      std::string_view text) {
    const Level level = describe(kind).level;
    // relaxed: a level is a figure of its own.
    if (level < shared_.log_level.load(std::memory_order_relaxed)) return;
    Event event = event_of(kind, level, actor, plugin);
    event.values = values;
    (void)port_.events.push(event, text);
}

void Executor::dead_letter(umbel_actor_id target, std::uint32_t type) {
    ++counters_.dead_letters;
    if (now_ - last_dead_letter_event_ < std::chrono::seconds(1)) return;
    last_dead_letter_event_ = now_;
    report(EventKind::dead_letter, target, nullptr,
           {static_cast<std::int64_t>(type), static_cast<std::int64_t>(counters_.dead_letters), 0}, "");
}

void Executor::check_invariants() {
    std::vector<OperationOwner*> owners{own_.get()};
    for (ActorContext* context = contexts_.front(); context != nullptr; context = contexts_.after(context)) {
        CHECK(context->executor == this);
        CHECK((context->record == nullptr) == context->dead);  // E3
        if (context->record != nullptr) CHECK(context->record->context == context);
        context->mailbox.check_invariants();
        owners.push_back(context);
    }
    CHECK(owners.size() - 1 == counters_.contexts_leased);
    runnable_.check_invariants();
    high_priority_.check_invariants();
    for (ActorRecord* record = runnable_.front(); record != nullptr; record = runnable_.after(record)) {
        CHECK(record->state == ActorState::runnable);  // E2
    }
    ring_->check_invariants();
    timers_.check_invariants();
    submission_.check_invariants(owners);
}

}  // namespace umbel::rt
