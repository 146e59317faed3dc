// The echo plugin's own code, on simulated rings and a simulated network.
#include "plugins/echo/echo.cpp"

#include <string>
#include <utility>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace umbel::test {
namespace {

constexpr std::uint16_t port = 7007;

// A client that sends random bytes in random pieces, then finishes, closes or breaks off.
class Talker {
public:
    Talker(rt::SimWorld& world) : world_(world), client_(world.connect_client(port)) {
        const std::size_t length = world.random_below(world.chance(0.1) ? 60'000 : 3'000);
        for (std::size_t i = 0; i < length; ++i) said_.push_back(static_cast<char>(world.random()));
        rude_ = world.chance(0.1);
        go_on();
    }
    [[nodiscard]] bool over() const {
        return client_->ended() || client_->was_reset() || client_->refused() || broken_;
    }
    void check(bool exact) const {
        const std::string& heard = client_->received();
        ASSERT_LE(heard.size(), said_.size());
        ASSERT_EQ(heard, said_.substr(0, heard.size())) << "other bytes, or in another order";
        if (exact && !rude_ && !client_->refused()) {
            EXPECT_EQ(heard.size(), said_.size()) << "bytes are missing";
        }
    }

private:
    void go_on() {
        if (sent_ == said_.size()) {
            if (rude_) {
                broken_ = true;
                if (world_.chance(0.5))
                    client_->reset();
                else
                    client_->close();
            } else {
                client_->finish();
            }
            return;
        }
        const std::size_t most = world_.chance(0.5) ? 100 : 10'000;
        const std::size_t piece = 1 + world_.random_below(std::min(most, said_.size() - sent_));
        client_->send(std::string_view(said_).substr(sent_, piece));
        sent_ += piece;
        if (world_.chance(0.1)) {
            client_->set_reading(false);
            world_.after(rt::Nanoseconds(world_.random_below(2'000'000)), [this] { client_->set_reading(true); });
        }
        world_.after(rt::Nanoseconds(world_.random_below(300'000)), [this] { go_on(); });
    }

    rt::SimWorld& world_;
    std::shared_ptr<rt::SimClient> client_;
    std::string said_;
    std::size_t sent_ = 0;
    bool rude_ = false;
    bool broken_ = false;
};

void one_run(std::uint64_t seed, SimulationOptions options, bool drain_early) {
    const bool exact = options.faults.refused_enter == 0 && !drain_early;
    std::vector<std::unique_ptr<Talker>> talkers;
    Simulation simulation(seed, options);
    rt::SimWorld& world = simulation.world;
    umbel::detail::host = &rt::host_table();
    listen_text = "127.0.0.1:" + std::to_string(port);
    simulation.spawn_main(umbel::actor_type<main_actor>);
    ASSERT_TRUE(simulation.run_until([&] { return simulation.shared.plugins[0]->awaited.load() == 0; }));
    ASSERT_FALSE(simulation.shared.plugins[0]->failed.load()) << simulation.shared.plugins[0]->reason;

    const std::size_t count = 1 + world.random_below(12);
    for (std::size_t i = 0; i < count; ++i) {
        world.after(rt::Nanoseconds(world.random_below(1'000'000)),
                    [&] { talkers.push_back(std::make_unique<Talker>(world)); });
    }
    bool drained = false;
    const auto drain = [&] {
        drained = true;
        simulation.command(rt::command_drain);
    };
    if (drain_early) world.after(rt::Nanoseconds(world.random_below(3'000'000)), drain);
    const bool all_over = simulation.run_until([&] {
        if (talkers.size() < count) return false;
        return std::all_of(talkers.begin(), talkers.end(), [](const auto& talker) { return talker->over(); });
    });
    EXPECT_TRUE(all_over || drain_early) << "a client waits for ever";
    if (!drained) drain();
    EXPECT_TRUE(simulation.run_until([&] { return simulation.living() == 0 && simulation.at_rest(); }));
    for (const auto& talker : talkers) talker->check(exact);
    simulation.run_until([] { return false; }, 1000);  // What is left of closes and wakes.
    simulation.expect_nothing_left();
    EXPECT_EQ(simulation.sum(&rt::ExecutorCounters::actors_failed), 0u);
    if (testing::Test::HasFailure()) std::fputs(simulation.log().c_str(), stderr);
}

// Spec.   Every client gets back exactly its bytes; when it has gone and the daemon has drained, nothing is left: no actor,
//         no context, no descriptor, no operation.                                            (issue: echo on the simulation)
// Method. Rings of any size, kernels of any age, with and without troubles. With troubles a connection may end early, and
//         then what came back is the beginning of what was sent.
TEST(EchoSimulation, EveryClientGetsItsBytesBack) {
    for_each_seed(1000, [](std::uint64_t seed) { one_run(seed, SimulationOptions::of_seed(seed), false); });
}

// Spec.   Draining in the middle ends everything, and what was sent back until then was right.
TEST(EchoSimulation, DrainsInTheMiddle) {
    for_each_seed(600, [](std::uint64_t seed) { one_run(seed, SimulationOptions::of_seed(seed), true); });
}

}  // namespace
}  // namespace umbel::test
