// What executors do about plugins that come, change and go while others run: the part of Executor that follows
// Shared::plugins. The control thread sets a phase (PluginPhase) and commands command_plugins; each executor follows at the
// beginning of a turn, reports in PluginProgress::places what it sees, and never waits for the others.
//
// Adding.    An executor that has not seen the plugin spawns its main, if it is to have one.
// Retiring.  draining and cancelling are what begin_drain() and command_cancel do for all, for one plugin's contexts. The
//            executor then looks every look_every whether anything of the plugin is runnable or in flight, and says so.
//            ending: who lives is evicted. Between two messages an actor ends as it would by itself (`stop` is called), in the
//            middle of its code it is abandoned. Dormant actors are found by walking this executor's slab in pieces; who is at
//            home elsewhere is evicted there.
#include <algorithm>

#include "runtime/sched/executor.h"

namespace umbel::rt {

namespace {

constexpr Nanoseconds look_every = std::chrono::milliseconds(5);
constexpr std::uint32_t records_per_piece = 4096;  // a walk's share of one turn: some tens of microseconds

}  // namespace

// Since the last look at Shared::plugins: who is new, who was told what.
void Executor::follow_plugins() {
    for (std::size_t i = 0; i < shared_.plugins.size(); ++i) {
        PluginProgress& plugin = *shared_.plugins[i];
        if (i == views_.size()) {
            views_.push_back({.plugin = &plugin});
            if (plugin.descriptor != nullptr) spawn_new_main(plugin, i);
        }
        PluginView& view = views_[i];
        // relaxed: what the control thread wrote before its command is seen (Port::take_commands).
        const std::uint32_t reloads = plugin.reloads.load(std::memory_order_relaxed);
        if (std::exchange(view.reloads, reloads) != reloads) notify_mains(&plugin, UMBEL_MESSAGE_RELOAD);
        const PluginPhase phase = plugin.phase.load(std::memory_order_relaxed);
        if (view.phase == phase) continue;
        if (view.phase == PluginPhase::serving) ++retiring_;
        if (view.phase < PluginPhase::draining) drain_plugin(plugin);
        view.phase = phase;
        view.next_look = now_;
        if (phase == PluginPhase::cancelling) {
            for_contexts_of(plugin, [this](ActorContext& context) {
                submission_.cancel_matching(context, [](const Operation&) { return true; });
            });
        }
        if (phase == PluginPhase::ended) {
            --retiring_;
            std::erase_if(mains_, [this](ActorId main) { return shared_.directory.find(main) == nullptr; });
        }
    }
}

void Executor::spawn_new_main(PluginProgress& plugin, std::size_t place) {
    if (plugin.descriptor->main_placement != UMBEL_MAIN_EVERYWHERE && index_of(index_) != 0) return;
    if (spawn_main(*plugin.descriptor->main, place)) return;
    {
        const std::scoped_lock lock(plugin.mutex);
        if (plugin.reason.empty()) plugin.reason = "its main actor cannot be spawned: actors.max is reached";
        plugin.failed.store(true, std::memory_order_relaxed);
    }
    // release: pairs with the acquire of who looks whether it is ready.
    plugin.awaited.fetch_sub(1, std::memory_order_release);
}

template <class Visit>
void Executor::for_contexts_of(const PluginProgress& plugin, Visit&& visit) {
    for (ActorContext* next = contexts_.front(); next != nullptr;) {
        ActorContext& context = *next;
        next = contexts_.after(next);
        if (context.plugin == &plugin) visit(context);
    }
}

void Executor::drain_plugin(PluginProgress& plugin) {
    for_contexts_of(plugin, [this](ActorContext& context) {
        if (context.record == nullptr) return;
        context.draining = true;
        submission_.cancel_matching(context, only_waits_for_work);
    });
    notify_mains(&plugin, UMBEL_MESSAGE_DRAIN);
}

// plugin: null for all. A main that has not read the last notice of a kind needs no second one.
void Executor::notify_mains(const PluginProgress* plugin, std::uint16_t kind) {
    for (const ActorId main : mains_) {
        ActorRecord* record = shared_.directory.find(main);
        if (record == nullptr) continue;
        if (plugin != nullptr && shared_.plugins[record->type->plugin_index] != plugin) continue;
        // It may be dormant, or not have run yet.
        ActorContext* context = record->context != nullptr ? record->context : lease(*record);
        if (context == nullptr) continue;
        bool told = false;
        context->mailbox.for_each([&](const MailboxEntry& entry) { told = told || entry.kind == kind; });
        if (told) continue;
        context->mailbox.push_notice(kind);
        const bool waits = context->wait == Wait::message || context->wait == Wait::idle;
        if (waits || record->state == ActorState::dormant) make_runnable(*record);
    }
}

// Once a turn while a plugin is retired.
void Executor::look_after_retired() {
    for (std::size_t i = 0; i < views_.size(); ++i) {
        PluginView& view = views_[i];
        if (view.phase == PluginPhase::serving || view.phase == PluginPhase::ended || now_ < view.next_look) continue;
        if (view.phase == PluginPhase::ending) {
            evict_some(view, i);
        } else {
            look_for_work(view, i);
        }
    }
}

Nanoseconds Executor::next_look() const {
    Nanoseconds next = Nanoseconds::max();
    for (const PluginView& view : views_) {
        if (view.phase != PluginPhase::serving && view.phase != PluginPhase::ended) {
            next = std::min(next, view.next_look);
        }
    }
    return next;
}

void Executor::count_slice(const ActorContext& context) {
    for (PluginView& view : views_) {
        if (view.plugin == context.plugin) ++view.slices;
    }
}

void Executor::look_for_work(PluginView& view, std::size_t place) {
    bool quiet = touched_.empty();
    for_contexts_of(*view.plugin, [&](const ActorContext& context) {
        const bool runs = context.record != nullptr && context.record->state != ActorState::receiving;
        quiet = quiet && !runs && context.in_flight == 0;
    });
    for (ActorRecord* record = runnable_.front(); record != nullptr && quiet; record = runnable_.after(record)) {
        quiet = record->type->plugin_index != place;
    }
    PluginProgress::Place& seen = view.plugin->places[index_of(index_)];
    // relaxed, but for the count: it publishes the others. Pairs with the acquire in RuntimeCore.
    seen.quiet.store(quiet, std::memory_order_relaxed);
    seen.slices.store(view.slices, std::memory_order_relaxed);
    seen.looks.fetch_add(1, std::memory_order_release);
    view.next_look = now_ + look_every;
}

void Executor::evict_some(PluginView& view, std::size_t place) {
    bool here = false;
    for_contexts_of(*view.plugin, [&](ActorContext& context) {
        here = true;
        if (context.record != nullptr) evict(*context.record);
    });
    const std::uint32_t end = view.walked + records_per_piece;
    const bool whole = shared_.directory.for_living(index_, view.walked, end, [&](ActorRecord& record) {
        if (record.type->plugin_index != place) return;
        view.found = true;
        // relaxed: it is at home there or has died there, and then nothing happens.
        const auto home = static_cast<ExecutorIndex>(record.home.load(std::memory_order_relaxed));
        if (home == index_) {
            evict(record);
        } else {
            post(home, EnvelopeKind::evict, record.id.value);
        }
    });
    view.walked = whole ? 0 : end;
    if (!whole) return;  // It goes on in the next turn.
    const bool gone = !here && !std::exchange(view.found, false);
    // release: whatever the actors did here has happened. Pairs with the acquire in RuntimeCore.
    view.plugin->places[index_of(index_)].gone.store(gone, std::memory_order_release);
    view.next_look = now_ + look_every;
}

// Not from an actor's own stack.
void Executor::evict(ActorRecord& record) {
    ActorContext* context = record.context;
    if (context != nullptr && context->in_code) {
        if (static_cast<ListHook<RunQueueTag>&>(record).linked()) RunQueue::remove(&record);
        if (static_cast<Timer&>(*context).linked()) timers_.remove(*context);
        std::erase(parked_, context);
        std::erase(parked_open_ended_, context);
        main_has_ended(record, "");
        context->stack_lost = true;
        context->in_code = false;
        end(*context);
        return;
    }
    if (record.evicted) return;
    record.evicted = true;
    if (record.state == ActorState::embryo) {
        adopt_embryo(record);
    } else {
        make_runnable(record);
    }
}

}  // namespace umbel::rt
