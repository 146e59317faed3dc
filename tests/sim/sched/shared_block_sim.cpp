// Shared blocks lent to operations: of actors that live, fail or are gone, on any executor.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

constexpr std::uint16_t port = 7010;

// What each connection's actor has submitted, in order; and what the test found out.
struct Witness {
    explicit Witness(Simulation& all) : simulation(all), world(all.world) {}
    Simulation& simulation;
    rt::SimWorld& world;
    std::string content;                        // of the block
    std::map<std::uint64_t, std::string> said;  // by sender's number
    std::uint64_t wrong = 0;
    std::uint64_t died_with_loans = 0;
    std::uint64_t senders = 0;
};
Witness* witness = nullptr;
std::uint64_t died_with_loans = 0;  // in all runs

std::string number_line(std::uint64_t number) {
    std::string line = std::to_string(number);
    return std::string(8 - line.size(), '0') + line;
}

// Sends parts of the block, as they are, one behind the other; sometimes fails in the middle.
void sender(self& me, socket peer, shared_block block, std::uint64_t number) {
    Witness& w = *witness;
    const bool fails = w.world.chance(0.4);
    if (!me.await(me.send(peer, number_line(number)))) return;
    for (std::uint64_t parts = 1 + w.world.random_below(6); parts > 0; --parts) {
        const std::uint64_t offset = w.world.random_below(block.size());
        const std::uint64_t size = 1 + w.world.random_below(block.size() - offset);
        auto lent = me.lend(block, offset, size);
        if (!lent) me.fail("nothing is lent: " + std::string(lent.error().message()));
        if (lent->text() != std::string_view(w.content).substr(offset, size)) ++w.wrong;
        // Others may read it: nobody writes to it.
        auto receive = op::recv(peer, size);
        receive.raw.buffer = lent->raw();
        if (me.submit(receive).refused().code != UMBEL_E_INVALID) ++w.wrong;
        if (w.world.chance(0.2)) continue;  // Given back as it is.
        if (w.world.chance(0.5)) lent->resize(1 + w.world.random_below(size));
        const std::size_t whole = lent->size();
        // With something before it, in one operation; or alone.
        std::array<char, 600> letters;  // no std::string: umbel_exit unwinds nothing
        letters.fill(static_cast<char>('a' + number % 26));
        const std::string_view head(letters.data(), w.world.chance(0.5) ? w.world.random_below(letters.size()) : 0);
        w.said[number].append(head).append(lent->text());
        auto both = op::send(peer, *lent);
        if (!head.empty()) both.data(head);
        auto send = me.submit(both);
        // The acceptor may have ended, and its sockets with it, before this actor on another executor adopted one.
        if (!send && send.refused().code == -EBADF) return;
        if (!lent->empty()) ++w.wrong;
        if (w.world.chance(0.1)) {
            // Closed over it: it ends, and whoever gets the number of the descriptor next gets none of its bytes.
            peer.reset();
            (void)me.await(std::move(send));
            return;
        }
        if (fails && w.world.chance(0.5)) {
            // The reference of this frame goes, the operation is in flight still.
            ++w.died_with_loans;
            if (w.world.chance(0.5)) me.fail("as it should");
            // Without a destructor: what it has borrowed ends with it all the same.
            umbel_buffer in_hand{};
            (void)umbel_block_lend(me.raw(), block.raw(), 0, 1, &in_hand);
            block = {};
            umbel_exit(me.raw(), "as it should");
        }
        const auto sent = me.await(std::move(send));
        if (!sent || *sent != head.size() + whole) return;  // The client has gone.
    }
}

void main_actor(self& me) {
    Witness& w = *witness;
    endpoint address = *endpoint::parse("127.0.0.1:" + std::to_string(port));
    auto listener = me.listen_on(address, 100, false);
    if (!listener) me.fail("cannot listen");
    auto made = me.make_block(w.content.size());
    if (!made) me.fail("no block");
    std::memcpy(made->writable().data(), w.content.data(), w.content.size());
    const shared_block block = std::move(*made);
    for (const auto& [offset, size] : {std::pair<std::size_t, std::size_t>{0, 0},
                                       {0, w.content.size() + 1},
                                       {w.content.size(), 1},
                                       {SIZE_MAX, 2},
                                       {2, SIZE_MAX}}) {
        const auto refused = me.lend(block, offset, size);
        if (refused || refused.error().code != UMBEL_E_INVALID) ++w.wrong;
    }
    const auto too_much = me.make_block(w.simulation.shared.blocks.limit().count);
    if (too_much || too_much.error().code != UMBEL_E_NO_MEMORY) ++w.wrong;
    me.ready("");
    me.accept_each(*listener, [&](socket peer) {
        const std::uint64_t number = w.senders++;
        w.said[number] = number_line(number);
        (void)me.spawn_at<sender>(UMBEL_SPREAD, std::move(peer), block, number);
    });
}

// Reads, or does not for a while, or goes away in the middle.
void come(rt::SimWorld& world, std::vector<std::shared_ptr<rt::SimClient>>& clients) {
    auto client = world.connect_client(port);
    clients.push_back(client);
    if (world.chance(0.3)) {
        client->set_reading(false);
        world.after(rt::Nanoseconds(world.random_below(3'000'000)), [client] { client->set_reading(true); });
    }
    if (world.chance(0.1)) {
        world.after(rt::Nanoseconds(world.random_below(2'000'000)), [client] { client->reset(); });
    }
}

void one_run(std::uint64_t seed) {
    SimulationOptions options = SimulationOptions::of_seed(seed);
    options.runtime.actors.shared_memory = rt::Bytes{300'000};
    std::vector<std::shared_ptr<rt::SimClient>> clients;
    Simulation simulation(seed, options);
    Witness w(simulation);
    witness = &w;
    umbel::detail::host = &rt::host_table();
    const std::size_t size = 1 + w.world.random_below(w.world.chance(0.5) ? 5'000 : 200'000);
    for (std::size_t i = 0; i < size; ++i) w.content.push_back(static_cast<char>(w.world.random()));
    simulation.spawn_main(umbel::actor_type<main_actor>);
    ASSERT_TRUE(simulation.run_until([&] { return simulation.shared.plugins[0]->awaited.load() == 0; }));
    ASSERT_FALSE(simulation.shared.plugins[0]->failed.load()) << simulation.shared.plugins[0]->reason;
    ASSERT_GE(simulation.shared.blocks.in_use().count, size);

    const std::size_t count = 1 + w.world.random_below(8);
    for (std::size_t i = 0; i < count; ++i) {
        w.world.after(rt::Nanoseconds(w.world.random_below(1'000'000)), [&] { come(w.world, clients); });
    }
    // The last sender may be the only one that has the block: main gives its reference back when the daemon drains.
    w.world.after(rt::Nanoseconds(w.world.random_below(4'000'000)), [&] { simulation.command(rt::command_drain); });
    EXPECT_TRUE(simulation.run_until(
        [&] { return clients.size() == count && simulation.living() == 0 && simulation.at_rest(); }));
    simulation.run_until([] { return false; }, 1000);
    simulation.expect_nothing_left();
    EXPECT_EQ(w.wrong, 0u);
    EXPECT_EQ(simulation.shared.blocks.in_use().count, 0u) << "somebody holds a reference still";
    for (const auto& client : clients) {
        const std::string& heard = client->received();
        if (heard.size() < 8) continue;
        const std::string& said = w.said[std::stoull(heard.substr(0, 8))];
        ASSERT_LE(heard.size(), said.size());
        EXPECT_EQ(heard, said.substr(0, heard.size())) << "other bytes than the block's";
    }
    if (testing::Test::HasFailure()) std::fputs(simulation.log().c_str(), stderr);
    died_with_loans += w.died_with_loans;
    witness = nullptr;
}

// Spec.   What an operation borrows of a block is sent as it was, whoever has died or let go of the block meanwhile; and
//         when the last of them has, it is freed.                                    (shared_block.h, B1; operation.h, O5)
// Method. Actors on all executors send parts of one block to clients that read slowly or go away; some fail with sends in
//         flight and loans in hand. The account is the witness that nothing is held for ever, AddressSanitizer the one
//         that nothing is freed too early.
TEST(SharedBlockSimulation, OutlivesWhoeverSendsIt) {
    for_each_seed(600, [](std::uint64_t seed) { one_run(seed); });
    if (!requested_seed()) {
        EXPECT_GT(died_with_loans, 0u);
    }
}

}  // namespace
}  // namespace umbel::test
