// What actors call, on their own stacks: the part of Executor that a plugin reaches through the host functions. Waiting
// means switching to the executor with a Wait that says for what; the executor switches back when it is there.
#include <cstring>
#include <exception>

#include "runtime/base/event_fields.h"
#include "runtime/base/quantity.h"
#include "runtime/sched/executor.h"

namespace umbel::rt {

namespace {

// Runtime calls of an actor between two looks at the clock.
constexpr std::uint32_t calls_per_look = 64;
// Messages a handler is given before others run.
constexpr unsigned messages_per_slice = 64;

}  // namespace

// ---- Code ---------------------------------------------------------------------------------------------------------------

// The bottom of every actor's stack. It never returns: the next actor to lease this context goes on here.
void Executor::actor_code(void* argument) {
    auto& context = *static_cast<ActorContext*>(argument);
    for (;;) {
        if (context.record->type->stackful()) {
            context.executor->run_stackful(context);
        } else {
            context.executor->run_handler(context);
        }
        context.fiber.switch_out();
    }
}

void Executor::run_stackful(ActorContext& context) {
    ActorRecord& record = *context.record;
    if (record.evicted) {  // … before it ran.
        main_has_ended(record, "");
        context.wait = Wait::ended;
        return;
    }
    record.started = true;
    ++counters_.actors_spawned;
    context.in_code = true;
    try {
        record.type->declared->run(&context, record.state_bytes.data());
        stop_actor(context);
        if (record.is_main) main_has_ended(record, "");
    } catch (const std::exception& failure) {
        failed(context, failure.what());
    } catch (...) {
        failed(context, "exception of an unknown type");
    }
    context.in_code = false;
    context.wait = Wait::ended;
}

void Executor::run_handler(ActorContext& context) {
    ActorRecord& record = *context.record;
    const umbel_actor_type& type = *record.type->declared;
    void* state = record.state_bytes.data();
    context.in_code = true;
    try {
        if (record.evicted) {
            stop_actor(context);
            main_has_ended(record, "");
            context.in_code = false;
            context.wait = Wait::ended;
            return;
        }
        if (!record.started) {
            ++counters_.actors_spawned;
            if (type.start != nullptr) type.start(&context, state);
            record.started = true;
        }
        for (unsigned i = 0; !context.mailbox.empty(); ++i) {
            if (i == messages_per_slice) {
                context.in_code = false;
                context.wait = Wait::yielded;
                return;
            }
            umbel_message message;
            take_message(context, context.mailbox.front(), message);
            type.message(&context, state, &message);
            if (message.buffer.data != nullptr) submission_.release(context, message.buffer);
        }
        context.wait = Wait::idle;
    } catch (const std::exception& failure) {
        failed(context, failure.what());
        context.wait = Wait::ended;
    } catch (...) {
        failed(context, "exception of an unknown type");
        context.wait = Wait::ended;
    }
    context.in_code = false;
}

void Executor::stop_actor(ActorContext& context) {
    const ActorRecord& record = *context.record;
    const umbel_actor_type& type = *record.type->declared;
    if (type.stop != nullptr && record.started) {
        context.record->started = false;  // once
        type.stop(&context, context.record->state_bytes.data());
    }
}

void Executor::failed(ActorContext& context, std::string_view reason) {
    ActorRecord& record = *context.record;
    ++counters_.actors_failed;
    report(EventKind::actor_failed, record.id.value, record.type->plugin, {}, reason);
    main_has_ended(record, reason);
}

// A plugin's main is gone. Before it was ready, and by a failure: the plugin has failed.
void Executor::main_has_ended(ActorRecord& record, std::string_view reason) {
    if (!record.is_main || record.is_ready) return;
    PluginProgress& progress = *shared_.plugins[record.type->plugin_index];
    if (!reason.empty()) {
        const std::scoped_lock lock(progress.mutex);
        if (progress.reason.empty()) progress.reason = reason;
        progress.failed.store(true, std::memory_order_relaxed);
    }
    record.is_ready = true;
    // release: the texts are seen by who sees the count. Pairs with the acquire in RuntimeCore::state().
    progress.awaited.fetch_sub(1, std::memory_order_release);
}

void Executor::exit(ActorContext& context, std::string_view reason) {
    if (reason.empty()) {
        stop_actor(context);
        main_has_ended(*context.record, "");
    } else {
        failed(context, reason);
        stop_actor(context);
    }
    leave(context);
}

void Executor::stack_overflowed(ActorContext& context) {
    report(EventKind::stack_overflow, context.actor, context.record->type->plugin, {},
           std::string(context.record->type->declared->name) + ": its stack of " +
               std::to_string((context.slot.stack_top() - context.slot.stack_low()) >> 10) +
               " KiB is used up (actors.stack_size); endless recursion?");
    failed(context, "stack overflow");
    leave(context);
}

// In the middle of its code, for ever.
void Executor::leave(ActorContext& context) {
    context.wait = Wait::ended;
    context.stack_lost = true;
    context.in_code = false;
    context.fiber.switch_out();
    __builtin_unreachable();  // The stack is abandoned.
}

// ---- Waiting ---------------------------------------------------------------------------------------------------------------

// Returns false if the time was over before it came.
bool Executor::wait_for(ActorContext& context, Wait wait, std::uint64_t timeout_ns) {
    context.timed_out = false;
    if (timeout_ns != UINT64_MAX) {
        if (timeout_ns == 0) return false;
        const auto timeout = static_cast<std::int64_t>(std::min<std::uint64_t>(timeout_ns, INT64_MAX / 2));
        timers_.add(context, ring_->clock().now() + Nanoseconds(timeout));
    }
    context.wait = wait;
    context.fiber.switch_out();
    context.calls = 0;
    return !context.timed_out;
}

// A slice ends at a runtime call when its time is over. Reading the clock at each call would cost more than most calls.
void Executor::spend(ActorContext& context) {
    if (++context.calls < calls_per_look) [[likely]]
        return;
    context.calls = 0;
    if (runnable_.empty() && high_priority_.empty() && !ring_->needs_enter() && ring_->peek() == nullptr &&
        !port_.has_mail()) {
        return;
    }
    // Most slices never get here: the time is counted from the first look.
    const Nanoseconds now = ring_->clock().now();
    if (context.slice_began == Nanoseconds(0)) context.slice_began = now;
    if (now - context.slice_began >= shared_.options.executors.time_slice) yield(context);
}

void Executor::yield(ActorContext& context) {
    context.wait = Wait::yielded;
    context.fiber.switch_out();
    context.calls = 0;
}

int Executor::take_message(ActorContext& context, MailboxEntry& entry, umbel_message& message) {
    context.read(entry, message);
    Operation* operation = entry.operation;
    const bool completion = entry.kind == UMBEL_MESSAGE_COMPLETION;
    context.mailbox.take(entry);
    if (completion) submission_.take(*operation, message);
    ActorRecord& record = *context.record;
    if (record.full.load(std::memory_order_relaxed)) record.full.store(false, std::memory_order_relaxed);
    return 0;
}

int Executor::receive(ActorContext& context, std::uint64_t timeout_ns, umbel_message& message) {
    spend(context);
    while (context.mailbox.empty()) {
        if (!wait_for(context, Wait::message, timeout_ns) && context.mailbox.empty()) return UMBEL_E_TIMEOUT;
    }
    return take_message(context, context.mailbox.front(), message);
}

int Executor::await(ActorContext& context, umbel_pending pending, std::uint64_t timeout_ns, umbel_message& message) {
    spend(context);
    Operation* operation = submission_.find(context, pending);
    if (operation == nullptr || operation->marked(mark_forgotten)) return UMBEL_E_INVALID;
    std::size_t from = 0;
    if (operation->unread == 0) {
        context.awaited = operation;
        if (!wait_for(context, Wait::completion, timeout_ns) && operation->unread == 0) return UMBEL_E_TIMEOUT;
        if (context.mark_generation == context.mailbox.generation()) from = context.mark;
    }
    MailboxEntry* entry = context.mailbox.find(*operation, from);
    if (entry == nullptr) entry = context.mailbox.find(*operation, 0);
    CHECK(entry != nullptr);  // O3: unread completions are in the mailbox
    return take_message(context, *entry, message);
}

void Executor::forget(ActorContext& context, umbel_pending pending) {
    Operation* operation = submission_.find(context, pending);
    if (operation == nullptr || operation->marked(mark_forgotten)) return;
    submission_.forget(*operation);
    // Its completions that are here already. Dropping the last one may free the record.
    while (operation->unread > 0) {
        MailboxEntry* entry = context.mailbox.find(*operation, 0);
        CHECK(entry != nullptr);  // O3
        CompletionMessage completion;
        std::memcpy(&completion, entry->body(), sizeof completion);
        context.mailbox.take(*entry);
        const bool last = operation->unread == 1 && operation->state == OperationState::fulfilled;
        submission_.drop(*operation, completion);
        if (last) return;
    }
}

// ---- Operations --------------------------------------------------------------------------------------------------------------

int Executor::submit(ActorContext& context, std::span<const umbel_operation> operations, umbel_pending* pendings) {
    spend(context);
    Nanoseconds now = now_;
    for (const umbel_operation& operation : operations) {
        // The turn may have begun long ago, and a time that is over too early is wrong.
        if (operation.deadline_ns != 0 || operation.code == UMBEL_OP_TIMEOUT) now = ring_->clock().now();
    }
    context.parked_before = false;
    for (;;) {
        const Submission::Verdict verdict = submission_.submit(context, operations, pendings, now);
        switch (verdict.outcome) {
            case Submission::Outcome::submitted:
                return 0;
            case Submission::Outcome::failed:
                return verdict.error;
            case Submission::Outcome::parked:
                // Case 3: the executor reaps; this actor comes back by the high-priority queue.
                context.need = verdict.need;
                context.wait = Wait::room;
                context.fiber.switch_out();
                break;
        }
    }
}

int Executor::lend(ActorContext& context, SharedBlock& block, std::uint64_t offset, std::uint64_t size,
                   umbel_buffer& buffer) {
    if (offset > block.size() || size == 0 || size > block.size() - offset) return UMBEL_E_INVALID;
    // Both fit: a block is at most 1 GiB.
    return submission_.lend(context, block, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(size),
                            buffer)
               ? 0
               : int{UMBEL_E_IO_HEAP_FULL};
}

int Executor::adopt(ActorContext& context, int fd) {
    if (!shared_.descriptors.contains(fd) || fd >= shared_.descriptors.end()) return UMBEL_E_INVALID;
    const std::uint64_t me = context.record->id.value;
    if (!shared_.descriptors.change_owner(fd, me)) return UMBEL_E_INVALID;
    context.descriptors.add(fd, shared_.descriptors, me);
    return 0;
}

int Executor::take_listener(ActorContext& context, std::string_view name, std::uint32_t index, std::string& why) {
    const int fd = shared_.passed.take(context.record->type->plugin, name, index, why);
    if (fd < 0) return fd;
    const std::uint64_t me = context.record->id.value;
    shared_.descriptors.set_owner(fd, me);
    context.descriptors.add(fd, shared_.descriptors, me);
    return fd;
}

// ---- Other actors --------------------------------------------------------------------------------------------------------------

int Executor::send(ActorContext& context, ActorId to, std::uint32_t type, const void* data, std::uint32_t bytes) {
    spend(context);
    if (bytes > UMBEL_MESSAGE_MAX) return UMBEL_E_INVALID;
    ActorRecord* record = shared_.directory.find(to);
    if (record == nullptr) return UMBEL_E_NO_ACTOR;
    const auto home = static_cast<ExecutorIndex>(record->home.load(std::memory_order_relaxed));
    const umbel_actor_id me = context.record->id.value;
    if (home == index_) return deliver_here(*record, me, type, data, bytes);

    // relaxed: a hint. A message that finds the mailbox full when it arrives is a dead letter.
    if (record->full.load(std::memory_order_relaxed)) return UMBEL_E_MAILBOX_FULL;
    Channel*& channel = outgoing_[index_of(home)];
    if (channel == nullptr) channel = &shared_.ports[index_of(home)]->channel_from(index_);
    if (!unsent_[index_of(home)].empty()) return UMBEL_E_MAILBOX_FULL;
    const bool fresh = !channel->unpublished();
    if (!channel->push(EnvelopeKind::message, me, to.value, type, data, bytes)) return UMBEL_E_MAILBOX_FULL;
    if (fresh) touched_.push_back(home);
    return 0;
}

int Executor::deliver_here(ActorRecord& record, umbel_actor_id sender, std::uint32_t type, const void* data,
                           std::uint32_t bytes) {
    if (record.state == ActorState::embryo) adopt_embryo(record);
    ActorContext* context = record.context != nullptr ? record.context : lease(record);
    if (context == nullptr) return UMBEL_E_NO_MEMORY;
    if (!context->mailbox.push_user(sender, type, data, bytes)) {
        record.full.store(true, std::memory_order_relaxed);
        return UMBEL_E_MAILBOX_FULL;
    }
    ++counters_.messages;
    if (context->wait == Wait::idle || context->wait == Wait::message || record.state == ActorState::dormant) {
        if (context != running_) make_runnable(record);
    }
    return 0;
}

int Executor::deliver_from_outside(ActorId to, umbel_actor_id sender, std::uint32_t type, const void* data,
                                   std::uint32_t bytes) {
    ActorRecord* record = shared_.directory.find(to);
    if (record == nullptr) return UMBEL_E_NO_ACTOR;
    if (bytes > UMBEL_MESSAGE_MAX) return UMBEL_E_INVALID;
    CHECK(record->home.load(std::memory_order_relaxed) == index_of(index_));
    const int status = deliver_here(*record, sender, type, data, bytes);
    port_.wake_if_asleep();
    return status;
}

int Executor::spawn(ActorContext& context, umbel_actor_type& declared, const void* state, std::uint32_t bytes,
                    int where, ActorId& id) {
    spend(context);
    const ActorType* type = shared_.declare(declared, context.record->type->plugin_index);
    if (type == nullptr || bytes > declared.state_size) return UMBEL_E_INVALID;
    std::size_t target = index_of(index_);
    if (where == UMBEL_SPREAD) {
        // relaxed: any order will do.
        target = shared_.next_spread.fetch_add(1, std::memory_order_relaxed) % shared_.ports.size();
    } else if (where != UMBEL_HERE) {
        if (where < 0 || static_cast<std::size_t>(where) >= shared_.ports.size()) return UMBEL_E_INVALID;
        target = static_cast<std::size_t>(where);
    }
    ActorRecord* record = shared_.directory.take(index_);
    if (record == nullptr) return UMBEL_E_TOO_MANY_ACTORS;
    record->type = const_cast<ActorType*>(type);
    record->context = nullptr;
    record->started = record->is_main = record->is_ready = record->has_name = record->evicted = false;
    if (bytes != 0) std::memcpy(record->state_bytes.data(), state, bytes);
    if (bytes < declared.state_size) std::memset(record->state_bytes.data() + bytes, 0, declared.state_size - bytes);
    id = record->id;
    if (target == index_of(index_)) {
        record->state = ActorState::runnable;
        runnable_.push_back(record);
    } else {
        record->state = ActorState::embryo;
        record->home.store(static_cast<std::uint8_t>(target), std::memory_order_relaxed);
        post(static_cast<ExecutorIndex>(target), EnvelopeKind::spawned, record->id.value);
    }
    return 0;
}

bool Executor::spawn_main(umbel_actor_type& declared, std::size_t plugin) {
    const ActorType* type = shared_.declare(declared, plugin);
    ActorRecord* record = type == nullptr ? nullptr : shared_.directory.take(index_);
    if (record == nullptr) return false;
    record->type = const_cast<ActorType*>(type);
    record->context = nullptr;
    record->started = record->is_ready = record->has_name = record->evicted = false;
    record->is_main = true;
    record->state_bytes.fill(std::byte{0});
    record->state = ActorState::runnable;
    mains_.push_back(record->id);
    runnable_.push_back(record);
    return true;
}

// A system envelope: if the channel is full it waits here, and nothing newer overtakes it.
void Executor::post(ExecutorIndex to, EnvelopeKind kind, umbel_actor_id target) {
    Channel*& channel = outgoing_[index_of(to)];
    if (channel == nullptr) channel = &shared_.ports[index_of(to)]->channel_from(index_);
    std::deque<Unsent>& unsent = unsent_[index_of(to)];
    const bool fresh = !channel->unpublished() && unsent.empty();
    if (!unsent.empty() || !channel->push(kind, 0, target, 0, nullptr, 0)) unsent.push_back({kind, target});
    if (fresh) touched_.push_back(to);
}

void Executor::arrived(const Envelope& envelope) {
    ActorRecord* record = shared_.directory.find(ActorId{envelope.target});
    switch (envelope.kind) {
        case EnvelopeKind::message:
            ++counters_.messages_remote;
            if (record == nullptr ||
                deliver_here(*record, envelope.sender, envelope.type, envelope.body(), envelope.bytes) < 0) {
                dead_letter(envelope.target, envelope.type);
            }
            return;
        case EnvelopeKind::spawned:
            if (record != nullptr && record->state == ActorState::embryo) adopt_embryo(*record);
            return;
        case EnvelopeKind::evict:
            if (record != nullptr) evict(*record);
            return;
        case EnvelopeKind::free_record: {
            // Its id is dead already, so find() knows it no more: by its place.
            shared_.directory.free(shared_.directory.at(ActorId{envelope.target}));
            return;
        }
        case EnvelopeKind::skip:
            return;
    }
}

void Executor::adopt_embryo(ActorRecord& record) {
    record.state = ActorState::runnable;
    runnable_.push_back(&record);
}

int Executor::register_name(ActorContext& context, std::string_view name) {
    if (name.empty() || name.size() > UMBEL_NAME_MAX) return UMBEL_E_INVALID;
    if (!shared_.directory.set_name(name, context.record->id)) return UMBEL_E_NAME_TAKEN;
    context.record->has_name = true;
    return 0;
}

void Executor::ready(ActorContext& context, std::string_view text) {
    ActorRecord& record = *context.record;
    if (!record.is_main || record.is_ready) return;
    PluginProgress& progress = *shared_.plugins[record.type->plugin_index];
    {
        const std::scoped_lock lock(progress.mutex);
        if (progress.announcement.empty()) progress.announcement = text;
    }
    record.is_ready = true;
    report(EventKind::plugin_ready, record.id.value, record.type->plugin, {}, text);
    // release: the announcement is seen by who sees the count. Pairs with the acquire in RuntimeCore::state().
    progress.awaited.fetch_sub(1, std::memory_order_release);
}

bool Executor::wants(const ActorContext& context, Level level) const {
    // relaxed: a level is a figure of its own.
    return level >= shared_.plugins[context.record->type->plugin_index]->log_level.load(std::memory_order_relaxed);
}

void Executor::log(const ActorContext& context, Level level, std::string_view text) {
    if (!wants(context, level)) return;
    const Event event = event_of(EventKind::plugin_log, level, context.record->id.value, context.record->type->plugin);
    (void)port_.events.push(event, text);
}

int Executor::log_event(const ActorContext& context, Level level, const char* name, std::string_view text,
                        std::span<const umbel_field> fields) {
    if (!wants(context, level)) return 0;
    const std::string_view event_name(name, name == nullptr ? 0 : strnlen(name, UMBEL_EVENT_NAME_MAX + 1));
    if (!is_event_name(event_name)) {
        return refuse_event(context, name,
                            "its name is two or more snake_case words with dots between, as in http.request");
    }
    if (fields.size() > UMBEL_FIELDS_MAX) {
        return refuse_event(context, name, "it has more than " + std::to_string(UMBEL_FIELDS_MAX) + " fields");
    }
    const std::string_view kept = cut_text(text, UMBEL_LOG_TEXT_MAX);
    char* const room = port_.events.reserve(encoded_max(fields.size()) + kept.size() + event_name.size());
    if (room == nullptr) return 0;
    const EncodedFields encoded = encode_fields(room, fields);
    if (encoded.refused != nullptr) {
        const char* field = fields[encoded.index].name;
        const std::string_view field_name(field, field == nullptr ? 0 : strnlen(field, UMBEL_FIELD_NAME_MAX + 1));
        return refuse_event(
            context, name,
            "field " + std::to_string(encoded.index) + ", " + quotation(field_name) + ": " + encoded.refused);
    }
    Event event = event_of(EventKind::plugin_event, level, context.record->id.value, context.record->type->plugin);
    event.fields_length = static_cast<std::uint16_t>(encoded.bytes);
    event.text_length = static_cast<std::uint16_t>(kept.size());
    event.name_length = static_cast<std::uint8_t>(event_name.size());
    event.truncated = encoded.truncated || kept.size() < text.size();
    char* at = room + encoded.bytes;
    at = std::copy(kept.begin(), kept.end(), at);
    std::copy(event_name.begin(), event_name.end(), at);
    port_.events.publish(event, encoded.bytes + kept.size() + event_name.size());
    return 0;
}

int Executor::refuse_event(const ActorContext& context, const char* name, std::string_view why) {
    const std::string_view shown(name, name == nullptr ? 0 : strnlen(name, UMBEL_EVENT_NAME_MAX + 1));
    report(EventKind::event_refused, context.record->id.value, context.record->type->plugin, {},
           quotation(shown) + ": " + std::string(why));
    return UMBEL_E_INVALID;
}

}  // namespace umbel::rt
