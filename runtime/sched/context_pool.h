// context_pool.h: an executor's contexts, leased to its actors and kept warm between.
//
// Why.    Making a context is cheap only if its pages are warm, its stack prepared, its record built: so a context that
//         comes back is kept as it is, and the next actor to need one gets the one that came back last.
// Shape.  A last-in, first-out list of built contexts per region size, over a SlotCache.
// Owner.  One executor. No atomics.
//
// Invariants
//   I1  a context on the list is clean, has no actor, and an empty mailbox
//
// Cost.   lease, give_back: a few ns when warm.
// Not here.  When an actor needs one, and when it has done with it: executor.cpp.
#pragma once

#include <array>
#include <new>
#include <vector>

#include "runtime/actor/context.h"
#include "runtime/memory/slot_cache.h"

namespace umbel::rt {

class ContextPool {
public:
    ContextPool(SlotStore& store, const umbel_host* host, Executor& executor)
        : slots_(store), host_(host), executor_(executor) {}
    ~ContextPool() {
        for (auto& warm : warm_) {
            for (ActorContext* context : warm) discard(context);
        }
    }
    ContextPool(const ContextPool&) = delete;
    ContextPool& operator=(const ContextPool&) = delete;

    /// A clean context, or null when the system gives no memory: `refusal` says why.
    [[nodiscard]] ActorContext* lease(RegionSize size, std::string& refusal) {
        std::vector<ActorContext*>& warm = warm_[size.choice()];
        if (!warm.empty()) [[likely]] {
            ActorContext* context = warm.back();
            warm.pop_back();
            return context;
        }
        Result<Slot> slot = slots_.lease(size);
        if (!slot) {
            refusal = slot.error().message;
            return nullptr;
        }
        auto* context = ::new (slot->context_header()) ActorContext(*slot, host_);
        context->executor = &executor_;
        return context;
    }
    void give_back(ActorContext* context) {
        DCHECK(context->clean() && context->mailbox.empty());  // I1
        std::vector<ActorContext*>& warm = warm_[context->slot.region_size().choice()];
        if (warm.size() >= warm_limit) return discard(context);
        warm.push_back(context);
    }

    /// For a context that nobody will use again.
    void discard(ActorContext* context) {
        const Slot slot = context->slot;
        context->~ActorContext();
        slots_.give_back(slot);
    }

private:
    static constexpr std::size_t warm_limit = 4096;

    SlotCache slots_;
    const umbel_host* host_;
    Executor& executor_;
    std::array<std::vector<ActorContext*>, RegionSize::choices> warm_;
};

}  // namespace umbel::rt
