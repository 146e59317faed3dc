// simulation.h: executors on simulated rings, all in one thread: what the simulation tests drive.
//
// Why.    The runtime's layers run unchanged on a simulated kernel; a test needs them put together, driven turn by turn,
//         looked at in between, and looked at again when everything is over.
// Shape.  A SimWorld, a Shared, and N Executors. step() gives each executor that does not sleep a turn (sometimes not: it may
//         be slow) and moves the clock when all of them sleep. Who sleeps is woken only by its ring, so that a lost wake
//         shows. Everything random is drawn from the world, so one seed is one run.
// Owner.  A test. One simulation at a time: actor types are declared anew for each.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/io/sim_world.h"
#include "runtime/plugin/host.h"
#include "runtime/sched/executor.h"

namespace umbel::test {

struct SimulationOptions {
    std::size_t executors = 1;
    rt::SimFaults faults;
    rt::SimRingOptions ring;
    rt::Options runtime;

    SimulationOptions() {
        runtime.actors.memory_limit = rt::Bytes{256 << 10};
        runtime.actors.stack_size = rt::Bytes{128 << 10};
        runtime.executors.buffer_count = 16;
        runtime.executors.buffer_size = rt::Bytes{1024};
    }

    /// Rings, kernels, troubles and sizes of all kinds, as the seed will have it.
    static SimulationOptions of_seed(std::uint64_t seed) {
        rt::SimWorld dice(seed ^ 0x5eed);
        SimulationOptions options;
        options.executors = 1 + dice.random_below(3);
        if (dice.chance(0.5)) options.faults = rt::SimFaults::harsh();
        options.ring.submission_entries = 4u << dice.random_below(7);
        options.ring.completion_entries = options.ring.submission_entries * 2 << dice.random_below(4);
        options.ring.step = static_cast<rt::RingStep>(1 + dice.random_below(4));
        options.ring.busy_on_overflow = dice.chance(0.25);
        for (std::size_t feature = 0; feature < rt::ring_feature_count; ++feature) {
            if (dice.chance(0.2)) options.ring.without_features.set(feature);
        }
        const bool old = dice.chance(0.25);
        for (const unsigned opcode : {static_cast<unsigned>(IORING_OP_SOCKET), rt::op_bind, rt::op_listen}) {
            if (old) options.ring.without_opcodes.set(opcode);
        }
        options.runtime.executors.buffer_count = 1u << dice.random_below(6);
        options.runtime.executors.buffer_size = rt::Bytes{std::uint64_t{64} << dice.random_below(7)};
        return options;
    }
};

class Simulation {
public:
    explicit Simulation(std::uint64_t seed, const SimulationOptions& options = {})
        : world(seed, options.faults),
          shared(options.runtime, options.executors, std::size_t{1} << 21, &rt::host_table()) {
        asleep_.resize(options.executors);
        shared.plugins.push_back(std::make_unique<rt::PluginProgress>());
        shared.plugins.back()->name = "test";
        for (std::size_t i = 0; i < options.executors; ++i) {
            auto ring = world.make_ring(options.ring);
            rings.push_back(ring.get());
            executors.push_back(
                std::make_unique<rt::Executor>(shared, static_cast<rt::ExecutorIndex>(i), std::move(ring)));
        }
    }
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    void spawn_main(umbel_actor_type& type, std::size_t executor = 0) {
        shared.plugins.front()->awaited.fetch_add(1);
        ASSERT_TRUE(executors[executor]->spawn_main(type, 0));
    }
    void command(std::uint32_t bits) {
        for (const auto& port : shared.ports) port->command(bits);
    }

    /// A turn for each executor that is awake. False when nothing will ever happen again.
    bool step() {
        bool all_asleep = true;
        // Sometimes much happens in the kernel between two looks at it.
        if (world.chance(long_pauses)) world.pass(rt::Nanoseconds(world.random_below(500'000)));
        for (std::size_t i = 0; i < executors.size(); ++i) {
            rt::Port& port = *shared.ports[i];
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

    /// What must hold when all actors have ended and everything is over.
    void expect_nothing_left() {
        check_invariants();
        shared.directory.check_invariants();
        EXPECT_EQ(living(), 0u);
        EXPECT_EQ(sum(&rt::ExecutorCounters::contexts_leased), 0u) << "contexts in quarantine for ever";
        EXPECT_EQ(world.open_descriptors(), 0u);
        for (std::size_t i = 0; i < executors.size(); ++i) {
            EXPECT_FALSE(shared.ports[i]->has_mail()) << "executor " << i << " sleeps over its mail";
            EXPECT_TRUE(executors[i]->at_rest());
            EXPECT_LE(rings[i]->in_flight(), 1u) << "more than the wake read is in the kernel";
        }
    }

    /// What the executors have reported, one line each; for people who look into a failure.
    [[nodiscard]] std::string log() {
        std::string lines;
        for (const auto& port : shared.ports) {
            rt::LogRecord record;
            const std::size_t end = port->events.published();
            for (; port->events.front(end, record); port->events.pop(record)) {
                lines += std::string(rt::describe(record.event.kind).name) + " executor " +
                         std::to_string(rt::index_of(record.event.executor)) + " actor " +
                         std::to_string(record.event.actor) + " " + std::string(record.text) + "\n";
            }
        }
        return lines;
    }

    double skipped_turns = 0.1;
    double long_pauses = 0.05;
    unsigned check_every = 64;
    unsigned steps = 0;

    // Destroyed from below: the executors (with their rings) before what they share, and all before the world.
    rt::SimWorld world;
    rt::Shared shared;
    std::vector<rt::SimRing*> rings;  // the executors'
    std::vector<std::unique_ptr<rt::Executor>> executors;

private:
    std::vector<bool> asleep_;  // in its last turn, and nobody has given it another since
};

}  // namespace umbel::test
