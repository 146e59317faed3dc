// What actors call that is a system call of its own: one without an opcode that cannot block, done at once through the
// ring's seam. What it opens belongs to the actor, as what an operation brings.
#include "runtime/base/signals.h"
#include "runtime/sched/executor.h"

namespace umbel::rt {

// A new descriptor, or an error.
int Executor::own(ActorContext& context, int opened) {
    if (opened < 0) return opened;
    const std::uint64_t me = context.record->id.value;
    shared_.descriptors.set_owner(opened, me);
    context.descriptors.add(opened, shared_.descriptors, me);
    return opened;
}

int Executor::make_pipe(ActorContext& context, int flags, int* ends) {
    spend(context);
    std::array<int, 2> made{};
    if (const int status = ring_->make_pipe(flags, made); status < 0) return status;
    ends[0] = own(context, made[0]);
    ends[1] = own(context, made[1]);
    return 0;
}

int Executor::open_watcher(ActorContext& context) {
    spend(context);
    return own(context, ring_->open_watcher());
}

int Executor::add_watch(ActorContext& context, int watcher, int path_fd, std::uint32_t mask) {
    spend(context);
    return ring_->add_watch(watcher, path_fd, mask);
}

int Executor::remove_watch(ActorContext& context, int watcher, int watch) {
    spend(context);
    return ring_->remove_watch(watcher, watch);
}

int Executor::open_process(ActorContext& context, int pid) {
    spend(context);
    return own(context, ring_->open_process(pid));
}

int Executor::process_status(ActorContext& context, int process, umbel_process_status& status) {
    spend(context);
    return ring_->process_status(process, status);
}

int Executor::open_signals(ActorContext& context, std::span<const int> wanted) {
    spend(context);
    std::uint64_t signals = 0;
    for (const int signal : wanted) {
        if (signal <= 0 || signal > 64 || !offered_to_actors(signal)) return UMBEL_E_INVALID;
        signals |= signal_bit(signal);
    }
    if (signals == 0) return UMBEL_E_INVALID;
    SignalClaims& claims = shared_.descriptors.signals;
    // First, so that nothing is dropped that another actor waits for.
    if (!claims.reserve(signals)) return -EBUSY;
    const int opened = ring_->open_signals(signals);
    if (opened < 0) {
        claims.give_up(signals);
        return opened == -EPERM ? int{UMBEL_E_UNSUPPORTED} : opened;
    }
    claims.assign(signals, opened);
    return own(context, opened);
}

}  // namespace umbel::rt
