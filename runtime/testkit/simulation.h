// simulation.h: executors on simulated rings, all in one thread, driven turn by turn.
//
// Why.    The runtime's layers run unchanged on a simulated kernel; somebody must put them together, drive them, look at
//         them in between, and look again when everything is over: our own simulation tests and the test kit.
// Shape.  A SimWorld, a Shared, and N Executors. step() gives each executor that does not sleep a turn (sometimes not: it may
//         be slow) and moves the clock when all of them sleep. Who sleeps is woken only by its ring, so that a lost wake
//         shows. Everything random is drawn from the world, so one seed is one run.
// Owner.  A test; one thread. One simulation at a time: actor types are declared anew for each.
// Not here.  What authors of plugins see of it: umbel/testkit.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/io/sim_world.h"
#include "runtime/plugin/host.h"
#include "runtime/sched/executor.h"

namespace umbel::rt {

struct SimulationOptions {
    std::size_t executors = 1;
    SimFaults faults;
    SimRingOptions ring;
    Options runtime;

    SimulationOptions() {
        runtime.actors.memory_limit = Bytes{256 << 10};
        runtime.actors.stack_size = Bytes{128 << 10};
        runtime.executors.buffer_count = 16;
        runtime.executors.buffer_size = Bytes{1024};
    }

    /// Rings and a kernel as the seed will have them: large and small, new and old.
    void choose_kernel(SimWorld& dice) {
        ring.submission_entries = 4u << dice.random_below(7);
        ring.completion_entries = ring.submission_entries * 2 << dice.random_below(4);
        ring.step = static_cast<RingStep>(1 + dice.random_below(4));
        ring.busy_on_overflow = dice.chance(0.25);
        for (std::size_t feature = 0; feature < ring_feature_count; ++feature) {
            if (dice.chance(0.2)) ring.without_features.set(feature);
        }
        const bool old = dice.chance(0.25);
        for (const unsigned opcode : {static_cast<unsigned>(IORING_OP_SOCKET), op_bind, op_listen}) {
            if (old) ring.without_opcodes.set(opcode);
        }
        runtime.executors.buffer_count = 1u << dice.random_below(6);
        runtime.executors.buffer_size = Bytes{std::uint64_t{64} << dice.random_below(7)};
    }

    /// Rings, kernels, troubles and sizes of all kinds, as the seed will have it.
    static SimulationOptions of_seed(std::uint64_t seed) {
        SimWorld dice(seed ^ 0x5eed);
        SimulationOptions options;
        options.executors = 1 + dice.random_below(3);
        if (dice.chance(0.5)) options.faults = SimFaults::harsh();
        options.choose_kernel(dice);
        return options;
    }
};

class Simulation {
public:
    explicit Simulation(std::uint64_t seed, const SimulationOptions& options = {})
        : world(seed, options.faults),
          shared(options.runtime, options.executors, std::size_t{1} << 21, &host_table()),
          asleep_(options.executors) {
        for (std::size_t i = 0; i < options.executors; ++i) {
            auto ring = world.make_ring(options.ring);
            rings.push_back(ring.get());
            executors.push_back(std::make_unique<Executor>(shared, static_cast<ExecutorIndex>(i), std::move(ring)));
        }
    }
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    /// A plugin of this name; its number. name: lives as long as the simulation.
    std::size_t add_plugin(const char* name) {
        shared.plugins.push_back(std::make_unique<PluginProgress>());
        shared.plugins.back()->name = name;
        return shared.plugins.size() - 1;
    }
    /// False: the type makes no sense.
    [[nodiscard]] bool spawn_main(umbel_actor_type& type, std::size_t executor, std::size_t plugin) {
        shared.plugins[plugin]->awaited.fetch_add(1);
        return executors[executor]->spawn_main(type, plugin);
    }
    void command(std::uint32_t bits) {
        for (const auto& port : shared.ports) port->command(bits);
    }

    /// Every executor sleeps, and nothing has happened yet that would wake one.
    [[nodiscard]] bool all_asleep() const {
        for (std::size_t i = 0; i < executors.size(); ++i) {
            if (!asleep_[i] || !rings[i]->asleep()) return false;
        }
        return true;
    }
    /// A turn for each executor that is awake. False when nothing will ever happen again.
    bool step() {
        bool all_asleep = true;
        // Sometimes much happens in the kernel between two looks at it.
        if (world.chance(long_pauses)) world.pass(Nanoseconds(world.random_below(500'000)));
        for (std::size_t i = 0; i < executors.size(); ++i) {
            Port& port = *shared.ports[i];
            if (asleep_[i] && rings[i]->asleep()) continue;
            all_asleep = false;
            if (world.chance(skipped_turns)) continue;
            if (asleep_[i]) port.awake();
            const std::uint64_t sleeps = port.awakenings.load();
            executors[i]->turn();
            // The simulated enter() returns where the real one blocks. It sleeps on, for all that others can see.
            asleep_[i] = port.awakenings.load() != sleeps && rings[i]->asleep() && port.fall_asleep();
        }
        if (++steps % check_every == 0) check_invariants();
        return !all_asleep || world.advance();
    }
    /// Steps until done() or nothing happens any more. Whether it is done.
    template <class Done>
    bool run_until(Done&& done, unsigned most_steps = 200'000) {
        for (unsigned i = 0; i < most_steps; ++i) {
            if (done()) return true;
            if (!step()) return done();
        }
        return false;
    }

    [[nodiscard]] bool at_rest() const {
        for (std::size_t i = 0; i < executors.size(); ++i) {
            if (!executors[i]->at_rest() || shared.ports[i]->has_mail() || shared.ports[i]->has_commands())
                return false;
        }
        return true;
    }
    [[nodiscard]] std::size_t living() const { return shared.directory.living(); }
    template <class Member>
    [[nodiscard]] std::uint64_t sum(Member member) const {
        std::uint64_t all = 0;
        for (const auto& executor : executors) all += executor->counters().*member;
        return all;
    }

    void check_invariants() {
        for (const auto& executor : executors) executor->check_invariants();
        world.check_invariants();
    }

    /// What is there although everything is over and all actors but `remaining`, which hold nothing, have ended; a line each.
    [[nodiscard]] std::vector<std::string> left_behind(std::size_t remaining = 0) {
        check_invariants();
        shared.directory.check_invariants();
        std::vector<std::string> left;
        const auto expect_none = [&left](std::uint64_t count, const char* what) {
            if (count != 0) left.push_back(std::to_string(count) + " " + what);
        };
        expect_none(living() - remaining, "living actors");
        expect_none(sum(&ExecutorCounters::contexts_leased), "contexts in quarantine for ever");
        expect_none(world.open_descriptors(), "open descriptors");
        for (std::size_t i = 0; i < executors.size(); ++i) {
            if (shared.ports[i]->has_mail()) left.push_back("an executor sleeps over its mail");
            if (!executors[i]->at_rest()) left.push_back("an executor that is not at rest");
            if (rings[i]->in_flight() > 1) left.push_back("more than the wake read in the kernel");
        }
        return left;
    }

    /// Takes what the executors have reported since the last call: sink(LogRecord).
    template <class Sink>
    void take_events(Sink&& sink) {
        for (const auto& port : shared.ports) {
            LogRecord record;
            const std::size_t end = port->events.published();
            for (; port->events.front(end, record); port->events.pop(record)) sink(std::as_const(record));
        }
    }

    double skipped_turns = 0.1;
    double long_pauses = 0.05;
    unsigned check_every = 64;
    unsigned steps = 0;

    // Destroyed from below: the executors (with their rings) before what they share, and all before the world.
    SimWorld world;
    Shared shared;
    std::vector<SimRing*> rings;  // the executors'
    std::vector<std::unique_ptr<Executor>> executors;

private:
    std::vector<bool> asleep_;  // in its last turn, and nobody has given it another since
};

}  // namespace umbel::rt
