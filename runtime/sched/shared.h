// shared.h: what the executors of one runtime share, and nobody writes without a reason.
//
// Why.    Executors share as little as possible; this is all of it, in one place, so that a reader can count it.
// Owner.  The runtime makes it before any executor and destroys it after the last.
//
//   options, slots, blocks, descriptors, directory, ports   each with its own rules, in its header
//   plugins     readiness of the mains: written by executors, read by the control thread
//   types       declared actor types: added under a lock, never removed while the runtime lives
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/actor/directory.h"
#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "runtime/io/descriptor_table.h"
#include "runtime/memory/shared_block.h"
#include "runtime/memory/slot_store.h"
#include "runtime/sched/port.h"

namespace umbel::rt {

/// How far a plugin's main actors have come.
struct PluginProgress {
    const char* name = nullptr;
    std::atomic<int> awaited{0};      // mains that are neither ready nor ended
    std::atomic<bool> failed{false};  // one of them failed before it was ready
    /// What its actors log under this level is not made at all. Written by control threads.
    std::atomic<Level> log_level{Level::trace};
    std::mutex mutex;          // guards the texts
    std::string announcement;  // of the first main that was ready
    std::string reason;        // why it failed
};

struct Shared {
    Shared(const Options& given, std::size_t executors, std::size_t descriptor_limit, const umbel_host* table)
        : options(given),
          slots(SlotStoreOptions{.stack_bytes = given.actors.stack_size}),
          blocks(given.actors.shared_memory),
          descriptors(descriptor_limit),
          directory(executors, given.actors.max),
          host(table) {
        for (std::size_t i = 0; i < executors; ++i) ports.push_back(std::make_unique<Port>(executors));
    }
    ~Shared() {
        // A plugin's types outlive this runtime; another one declares them anew.
        for (const ActorType& type : types_) const_cast<umbel_actor_type*>(type.declared)->runtime = nullptr;
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    /// The runtime's view of a type of plugin number `plugin`; null if the declaration makes no sense.
    [[nodiscard]] const ActorType* declare(umbel_actor_type& declared, std::size_t plugin) {
        // acquire: sees the ActorType made. Pairs with the release below.
        void* known = std::atomic_ref<void*>(declared.runtime).load(std::memory_order_acquire);
        if (known != nullptr) [[likely]]
            return static_cast<const ActorType*>(known);
        return declare_first(declared, plugin);
    }

    const Options options;
    SlotStore slots;
    SharedBlocks blocks;
    DescriptorTable descriptors;
    Directory directory;
    std::vector<std::unique_ptr<Port>> ports;
    std::vector<std::unique_ptr<PluginProgress>> plugins;
    const umbel_host* host;
    std::atomic<std::uint32_t> next_spread{0};
    /// As PluginProgress::log_level, of what the runtime reports itself.
    std::atomic<Level> log_level{Level::trace};

private:
    [[nodiscard]] const ActorType* declare_first(umbel_actor_type& declared, std::size_t plugin) {
        const bool one_style = (declared.run != nullptr) != (declared.message != nullptr);
        if (!one_style || declared.name == nullptr || declared.state_size > UMBEL_STATE_MAX) return nullptr;
        const Bytes limit = declared.memory_limit != 0 ? Bytes{declared.memory_limit} : options.actors.memory_limit;
        const Result<RegionSize> size = RegionSize::from(limit);
        if (!size) return nullptr;
        const std::scoped_lock lock(types_mutex_);
        if (declared.runtime == nullptr) {
            types_.push_back({&declared, plugins[plugin]->name, plugin, *size});
            // release: publishes the ActorType. Pairs with the acquire in declare().
            std::atomic_ref<void*>(declared.runtime).store(&types_.back(), std::memory_order_release);
        }
        return static_cast<const ActorType*>(declared.runtime);
    }

    std::mutex types_mutex_;
    std::deque<ActorType> types_;
};

}  // namespace umbel::rt
