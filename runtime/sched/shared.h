// shared.h: what the executors of one runtime share, and nobody writes without a reason.
//
// Why.    Executors share as little as possible; this is all of it, in one place, so that a reader can count it.
// Owner.  The runtime makes it before any executor and destroys it after the last.
//
//   options, slots, blocks, descriptors, directory, passed, ports   each with its own rules, in its header
//   plugins     one entry for each plugin ever added: see PluginProgress. Added by the control thread, never removed
//   types       declared actor types: added under a lock, never removed while the runtime lives
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/actor/directory.h"
#include "runtime/base/check.h"
#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "runtime/io/descriptor_table.h"
#include "runtime/io/passed_listeners.h"
#include "runtime/memory/shared_block.h"
#include "runtime/memory/slot_store.h"
#include "runtime/sched/port.h"

namespace umbel::rt {

/// What the control thread wants of a plugin; each executor follows when it is commanded (command_plugins).
enum class PluginPhase : std::uint8_t {
    serving,     // Its mains are spawned, ready or not.
    draining,    // It is retired: accepts nothing new, finishes what is in flight.
    cancelling,  // … what is still in flight is cancelled.
    ending,      // … its remaining actors are ended.
    ended,       // No actor of it is left. Never left: a plugin that is added again is a new entry.
};

/// One plugin: what is wanted of it, and how far its actors have come.
struct PluginProgress {
    /// What one executor sees of a plugin that is retired. Written there, read by the control thread.
    struct Place {
        std::atomic<std::uint64_t> looks{0};   // how often it has looked
        std::atomic<std::uint64_t> slices{0};  // time slices of the plugin's actors, since it is retired
        std::atomic<bool> quiet{false};        // as of the last look: none is runnable, no operation is in flight
        std::atomic<bool> gone{false};         // … and there is no actor and no context of it here
    };

    const char* name = nullptr;
    const umbel_plugin* descriptor = nullptr;  // null: the mains are spawned by whoever made the executors
    // Written by the control thread, before it commands the executors to look.
    std::atomic<PluginPhase> phase{PluginPhase::serving};
    std::atomic<std::uint32_t> reloads{0};  // how often its mains are to have been told of new settings
    std::vector<Place> places;              // by executor

    std::atomic<int> awaited{0};      // mains that are neither ready nor ended
    std::atomic<bool> failed{false};  // one of them failed before it was ready
    /// What its actors log under this level is not made at all. Written by control threads.
    std::atomic<Level> log_level{Level::trace};
    std::mutex mutex;          // guards the texts
    std::string announcement;  // of the first main that was ready
    std::string reason;        // why it failed
};

/// The plugins: an entry is published once and stays where it is, so that executors read it without a lock.
class PluginList {
public:
    static constexpr std::size_t capacity = 4096;

    /// [control] There is room: see full().
    PluginProgress& push_back(std::unique_ptr<PluginProgress> plugin) {
        const std::size_t place = owned_.size();
        CHECK(place < capacity);
        entries_[place] = plugin.get();
        owned_.push_back(std::move(plugin));
        // release: publishes the entry. Pairs with the acquire in size().
        size_.store(place + 1, std::memory_order_release);
        return *owned_.back();
    }
    /// [control] As many have been added as ever can be.
    [[nodiscard]] bool full() const { return owned_.size() == capacity; }

    // ---- Any thread.

    [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_acquire); }
    [[nodiscard]] PluginProgress* operator[](std::size_t place) const { return entries_[place]; }
    [[nodiscard]] PluginProgress* front() const { return entries_[0]; }
    [[nodiscard]] PluginProgress* back() const { return entries_[size() - 1]; }
    [[nodiscard]] PluginProgress* const* begin() const { return entries_.data(); }
    [[nodiscard]] PluginProgress* const* end() const { return entries_.data() + size(); }

private:
    std::atomic<std::size_t> size_{0};
    std::array<PluginProgress*, capacity> entries_{};
    std::vector<std::unique_ptr<PluginProgress>> owned_;  // the control thread's
};

struct Shared {
    Shared(const Options& given, std::size_t executors, std::size_t descriptor_limit, const umbel_host* table)
        : options(given),
          slots(SlotStoreOptions{.stack_bytes = given.actors.stack_size}),
          blocks(given.actors.shared_memory),
          descriptors(descriptor_limit),
          directory(executors, given.actors.max),
          passed(options.passed),
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

    /// A plugin that has ended: its types are declared anew if it is loaded again. [control]
    void forget_types(std::size_t plugin) {
        const std::scoped_lock lock(types_mutex_);
        for (const ActorType& type : types_) {
            if (type.plugin_index != plugin) continue;
            // relaxed: no actor of the plugin runs, and its library is told by its next load.
            std::atomic_ref<void*>(const_cast<umbel_actor_type*>(type.declared)->runtime)
                .store(nullptr, std::memory_order_relaxed);
        }
    }

    const Options options;
    SlotStore slots;
    SharedBlocks blocks;
    DescriptorTable descriptors;
    Directory directory;
    PassedListeners passed;
    std::vector<std::unique_ptr<Port>> ports;
    PluginList plugins;
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
