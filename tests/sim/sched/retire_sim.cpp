// Specification of retire.cpp: a plugin is retired, and another goes on, on the simulated kernel.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <string>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

using rt::PluginPhase;

// What the actors of both plugins have done; one thread runs everything.
struct Record {
    int drains = 0;
    int reloads = 0;
    int stopped = 0;    // handlers whose destructor ran
    int bystander = 0;  // messages the other plugin's pair has exchanged
    bool saw_draining = false;
    bool bystander_saw_draining = false;
    bool late_wait_cancelled = false;
};
Record record;

class Dormant {
public:
    explicit Dormant(self&) {}
    Dormant(const Dormant&) = delete;
    Dormant& operator=(const Dormant&) = delete;
    ~Dormant() { ++record.stopped; }
    void on_message(self&, message&) {}
};

void waits_in_its_code(self& me) {
    for (;;) (void)me.receive();
}
void has_a_long_timeout(self& me) { me.sleep(std::chrono::hours(1)); }
void never_stops_talking(self& me, actor_id to) {
    for (;;) {
        (void)me.send_to(to, 1);
        me.yield();
    }
}

struct Wanted {
    bool works_on = false;  // something is in flight that does not end by itself
    bool talks = false;     // something runs for ever
};
Wanted wanted;

void retired_main(self& me) {
    me.ready("here");
    const int executors = static_cast<int>(me.executor_count());
    for (int i = 0; i < 50; ++i) {
        const auto dormant = me.spawn_at<Dormant>(i % executors);
        if (dormant && i % 2 == 0) (void)me.send_to(*dormant, i);
    }
    for (int i = 0; i < 10; ++i) {
        const auto waiting = me.spawn_at<waits_in_its_code>(i % executors);
        if (waiting && wanted.talks) (void)me.spawn_at<never_stops_talking>((i + 1) % executors, *waiting);
        if (wanted.works_on) (void)me.spawn_at<has_a_long_timeout>(i % executors);
    }
    for (;;) {
        auto message = me.receive();
        if (message.is_reload()) ++record.reloads;
        if (!message.is_drain()) continue;
        ++record.drains;
        record.saw_draining = me.draining();
        const auto late = me.await(me.poll(0, POLLIN, {.drains = true}));
        record.late_wait_cancelled = !late && late.error().cancelled();
    }
}

void echoer(self& me) {
    for (;;) {
        auto message = me.receive();
        if (message.from_actor()) (void)me.send_to(message.sender(), 1);
    }
}
void bystander_main(self& me) {
    me.ready("by");
    const auto peer = me.spawn_at<echoer>(static_cast<int>(me.executor_count()) - 1);
    if (!peer) return;
    for (;;) {
        (void)me.send_to(*peer, 1);
        (void)me.receive_within(std::chrono::milliseconds(1));
        ++record.bystander;
        record.bystander_saw_draining = record.bystander_saw_draining || me.draining();
    }
}

/// Two plugins on some executors: "test", the simulation's, and a bystander.
struct Two {
    explicit Two(std::uint64_t seed, Wanted what) : simulation(seed, options(seed)) {
        record = {};
        wanted = what;
        for (rt::PluginProgress* plugin : {simulation.shared.plugins.front(), &add("bystander")}) {
            plugin->places = std::vector<rt::PluginProgress::Place>(simulation.executors.size());
        }
        simulation.spawn_main(actor_type<retired_main>);
        EXPECT_TRUE(simulation.executors[0]->spawn_main(actor_type<bystander_main>, 1));
    }
    static SimulationOptions options(std::uint64_t seed) {
        SimulationOptions options = SimulationOptions::of_seed(seed);
        options.faults = {};
        options.ring = {};
        return options;
    }
    rt::PluginProgress& add(const char* name) {
        rt::PluginProgress& plugin = simulation.shared.plugins.push_back(std::make_unique<rt::PluginProgress>());
        plugin.name = name;
        return plugin;
    }
    [[nodiscard]] rt::PluginProgress& retired() const { return *simulation.shared.plugins.front(); }
    void want(PluginPhase phase) {
        retired().phase.store(phase);
        simulation.command(rt::command_plugins);
    }
    [[nodiscard]] bool all(std::atomic<bool> rt::PluginProgress::Place::* member) const {
        return std::ranges::all_of(retired().places, [&](const auto& place) { return (place.*member).load(); });
    }
    /// Steps until this has been seen and some more time has passed.
    bool comes_to_hold(std::atomic<bool> rt::PluginProgress::Place::* member) {
        return simulation.run_until([&] { return all(member); });
    }
    /// The other plugin's pair goes on talking, and nobody told it anything.
    void expect_bystander_untouched() {
        const int before = record.bystander;
        EXPECT_TRUE(simulation.run_until([&] { return record.bystander > before + 20; })) << simulation.log();
        EXPECT_FALSE(record.bystander_saw_draining);
        EXPECT_EQ(simulation.living(), 2u) << "the bystander's two actors, and nobody else";
        simulation.check_invariants();
        simulation.shared.directory.check_invariants();
    }

    Simulation simulation;
};

void settle(Two& two) {
    int steps = 0;
    ASSERT_TRUE(two.simulation.run_until([&] { return ++steps > 2000; }));
}

constexpr unsigned seeds = 10;

// Spec.   A plugin whose actors only wait is quiet after a drain and gone after `ending`; its handlers have been destroyed
//         properly, its main was told once, the other plugin noticed nothing.
TEST(RetireSimulation, WhoOnlyWaitsGoesQuietly) {
    for_each_seed(seeds, [](std::uint64_t seed) {
        Two two(seed, {});
        settle(two);
        two.want(PluginPhase::draining);
        two.want(PluginPhase::draining);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::quiet)) << two.simulation.log();
        EXPECT_EQ(record.drains, 1);
        EXPECT_TRUE(record.saw_draining);
        EXPECT_TRUE(record.late_wait_cancelled);
        two.want(PluginPhase::ending);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::gone)) << two.simulation.log();
        EXPECT_EQ(record.stopped, 50);
        two.want(PluginPhase::ended);
        two.expect_bystander_untouched();
    });
}

// Spec.   An operation in flight keeps it from being quiet; cancelled, it ends, and everything else as above.
TEST(RetireSimulation, WhatIsInFlightIsWaitedForThenCancelled) {
    for_each_seed(seeds, [](std::uint64_t seed) {
        Two two(seed, {.works_on = true});
        settle(two);
        two.want(PluginPhase::draining);
        settle(two);
        EXPECT_FALSE(two.all(&rt::PluginProgress::Place::quiet));
        two.want(PluginPhase::cancelling);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::quiet)) << two.simulation.log();
        two.want(PluginPhase::ending);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::gone)) << two.simulation.log();
        two.want(PluginPhase::ended);
        two.expect_bystander_untouched();
    });
}

// Spec.   Actors that never stop are ended all the same, in the middle of their code, mail under way or not.
TEST(RetireSimulation, WhoNeverStopsIsAbandoned) {
    for_each_seed(seeds, [](std::uint64_t seed) {
        Two two(seed, {.works_on = true, .talks = true});
        settle(two);
        two.want(PluginPhase::draining);
        settle(two);
        EXPECT_FALSE(two.all(&rt::PluginProgress::Place::quiet));
        two.want(PluginPhase::ending);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::gone)) << two.simulation.log();
        two.want(PluginPhase::ended);
        two.expect_bystander_untouched();
    });
}

// Spec.   It may be retired before it has run at all.
TEST(RetireSimulation, BeforeItHasBegun) {
    for_each_seed(seeds, [](std::uint64_t seed) {
        Two two(seed, {});
        two.want(PluginPhase::ending);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::gone)) << two.simulation.log();
        EXPECT_EQ(two.retired().awaited.load(), 0);
        two.want(PluginPhase::ended);
        two.expect_bystander_untouched();
    });
}

// Spec.   A plugin added while others run gets its mains, and may be retired like any other; again and again.
TEST(RetireSimulation, ComesAndGoesAgain) {
    for_each_seed(seeds, [](std::uint64_t seed) {
        Two two(seed, {});
        settle(two);
        two.want(PluginPhase::ending);
        ASSERT_TRUE(two.comes_to_hold(&rt::PluginProgress::Place::gone));
        two.want(PluginPhase::ended);
        two.simulation.shared.forget_types(0);
        umbel_plugin descriptor{};
        descriptor.main = &actor_type<retired_main>;
        descriptor.main_placement = UMBEL_MAIN_EVERYWHERE;
        for (int round = 0; round < 3; ++round) {
            auto made = std::make_unique<rt::PluginProgress>();
            made->name = "added";
            made->descriptor = &descriptor;
            made->awaited = static_cast<int>(two.simulation.executors.size());
            made->places = std::vector<rt::PluginProgress::Place>(two.simulation.executors.size());
            const std::size_t place = two.simulation.shared.plugins.size();
            rt::PluginProgress& added = two.simulation.shared.plugins.push_back(std::move(made));
            two.simulation.command(rt::command_plugins);
            ASSERT_TRUE(two.simulation.run_until([&] { return added.awaited.load() == 0; })) << two.simulation.log();
            settle(two);
            EXPECT_GT(two.simulation.living(), 2u);
            added.reloads.fetch_add(1);
            two.simulation.command(rt::command_plugins);
            const int told = record.reloads;
            ASSERT_TRUE(two.simulation.run_until([&] {
                return record.reloads == told + static_cast<int>(two.simulation.executors.size());
            })) << two.simulation.log();
            added.phase.store(PluginPhase::draining);
            two.simulation.command(rt::command_plugins);
            settle(two);
            added.phase.store(PluginPhase::ending);
            two.simulation.command(rt::command_plugins);
            ASSERT_TRUE(two.simulation.run_until([&] {
                return std::ranges::all_of(added.places, [](const auto& seen) { return seen.gone.load(); });
            })) << two.simulation.log();
            added.phase.store(PluginPhase::ended);
            two.simulation.command(rt::command_plugins);
            two.simulation.shared.forget_types(place);
            two.expect_bystander_untouched();
        }
    });
}

}  // namespace
}  // namespace umbel::test
