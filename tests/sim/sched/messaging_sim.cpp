// Actors on several executors that talk, spawn and die, in an order that the seed decides.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

// What the actors report by themselves, beside everything the runtime counts.
struct Witness {
    using Pair = std::pair<umbel_actor_id, umbel_actor_id>;

    explicit Witness(rt::SimWorld& dice) : world(dice) {}

    rt::SimWorld& world;
    std::vector<umbel_actor_id> everyone;
    std::set<umbel_actor_id> ended;
    std::map<Pair, std::uint64_t> last_sent;
    std::map<Pair, std::uint64_t> last_received;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint64_t refused_full = 0;
    std::uint64_t refused_dead = 0;
    std::uint64_t relays = 0;
    bool over = false;

    void born(actor_id id) { everyone.push_back(id.value); }
};
Witness* witness = nullptr;

struct Note {
    static constexpr std::uint32_t message_type = 1;
    std::uint64_t number;
};

void note_received(actor_id me, const message& message) {
    Witness& w = *witness;
    ASSERT_TRUE(message.from_actor());
    ASSERT_GE(message.bytes().size(), sizeof(Note));
    Note note{};
    std::memcpy(&note, message.bytes().data(), sizeof note);
    for (std::size_t i = sizeof note; i < message.bytes().size(); ++i) {
        ASSERT_EQ(message.bytes()[i], static_cast<std::byte>(note.number)) << "the bytes are another message's";
    }
    ++w.received;
    std::uint64_t& last = w.last_received[{message.sender().value, me.value}];
    EXPECT_GT(note.number, last) << "twice, or out of order";
    EXPECT_LE(note.number, (w.last_sent[{message.sender().value, me.value}])) << "never sent";
    last = note.number;
}

// Whether it was accepted.
bool send_note(self& me, umbel_actor_id to, std::size_t bytes) {
    Witness& w = *witness;
    static std::array<std::byte, UMBEL_MESSAGE_MAX> body;
    std::uint64_t& last = w.last_sent[{me.id().value, to}];
    const Note note{last + 1};
    std::memset(body.data(), static_cast<int>(note.number & 0xff), bytes);
    std::memcpy(body.data(), &note, sizeof note);
    const auto sent = me.send_to(actor_id{to}, Note::message_type, {body.data(), bytes});
    if (sent) {
        ++last;
        ++w.sent;
        return true;
    }
    if (sent.error().code == UMBEL_E_MAILBOX_FULL) {
        ++w.refused_full;
    } else {
        EXPECT_EQ(sent.error().code, UMBEL_E_NO_ACTOR);
        EXPECT_TRUE(w.ended.contains(to)) << "the receiver lives";
        ++w.refused_dead;
    }
    return false;
}

// A handler: passes on what it gets, and ends after some.
class Relay {
public:
    Relay(self& me, int notes) : id_(me.id()), notes_(notes) {}
    ~Relay() { witness->ended.insert(id_.value); }
    void on_message(self& me, message& message) {
        note_received(id_, message);
        if (message.sender().value != id_.value && witness->world.chance(0.5)) {
            (void)send_note(me, message.sender().value, sizeof(Note));
        }
        if (--notes_ == 0) me.exit();
    }

private:
    actor_id id_;
    int notes_;
};

struct Ended {
    umbel_actor_id id;
    ~Ended() { witness->ended.insert(id); }
};

void talker(self& me, int depth) {
    Witness& w = *witness;
    rt::SimWorld& world = w.world;
    const Ended mark{me.id().value};
    const std::size_t bulk = world.chance(0.1) ? UMBEL_MESSAGE_MAX : 64;
    const std::uint64_t steps = 1 + world.random_below(60);
    for (std::uint64_t step = 0; step < steps; ++step) {
        switch (world.random_below(10)) {
            case 0:
            case 1:
            case 2:
            case 3: {
                const umbel_actor_id to = w.everyone[world.random_below(w.everyone.size())];
                const std::uint64_t burst = world.chance(0.1) ? 30 : 1;
                for (std::uint64_t i = 0; i < burst; ++i) {
                    (void)send_note(me, to, sizeof(Note) + world.random_below(bulk - sizeof(Note) + 1));
                }
                break;
            }
            case 4:
            case 5:
            case 6: {
                const auto message = me.receive_within(nanoseconds(world.random_below(3) * 20'000));
                if (message) note_received(me.id(), *message);
                break;
            }
            case 7:
                me.yield();
                break;
            case 8:
                if (world.chance(0.5)) me.sleep(nanoseconds(world.random_below(200'000)));
                break;
            default: {
                if (depth == 0 || w.everyone.size() >= 60) break;
                const int where = static_cast<int>(world.random_below(me.executor_count() + 2)) - 2;
                const bool relay = world.chance(0.3);
                const auto born = relay ? me.spawn_at<Relay>(where, 1 + static_cast<int>(world.random_below(5)))
                                        : me.spawn_at<talker>(where, depth - 1);
                ASSERT_TRUE(born.has_value());
                w.relays += relay ? 1 : 0;
                w.born(*born);
                break;
            }
        }
    }
    switch (world.random_below(6)) {
        case 0:
            me.exit();
        case 1:
            me.fail("as it should");
        case 2:
            throw std::runtime_error("as it should");
        default:
            return;
    }
}

void first_talker(self& me) {
    witness->born(me.id());
    talker(me, 3);
}

void one_run(std::uint64_t seed) {
    SimulationOptions options = SimulationOptions::of_seed(seed);
    const rt::Bytes limits[] = {rt::Bytes{64 << 10}, rt::Bytes{256 << 10}};
    options.runtime.actors.memory_limit = limits[seed % 2];
    options.runtime.actors.stack_size = rt::Bytes{32 << 10};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    options.runtime.actors.memory_limit = rt::Bytes{256 << 10};
    options.runtime.actors.stack_size = rt::Bytes{128 << 10};
#endif
    Simulation simulation(seed, options);
    umbel::detail::host = &rt::host_table();
    Witness w(simulation.world);
    witness = &w;
    for (std::size_t i = 0; i < options.executors; ++i) {
        simulation.spawn_main(umbel::actor_type<first_talker>, i);
    }
    (void)simulation.run_until([] { return false; }, 20'000);  // Until nothing happens any more.
    EXPECT_TRUE(simulation.at_rest());
    simulation.check_invariants();
    simulation.shared.directory.check_invariants();

    const std::set<umbel_actor_id> different(w.everyone.begin(), w.everyone.end());
    EXPECT_EQ(different.size(), w.everyone.size()) << "an id was given twice";
    std::size_t waiting = 0;  // relays that have not had their notes
    for (const umbel_actor_id id : w.everyone) {
        const bool lives = simulation.shared.directory.find(rt::ActorId{id}) != nullptr;
        EXPECT_NE(lives, w.ended.contains(id));
        waiting += lives ? 1 : 0;
    }
    EXPECT_LE(waiting, w.relays);
    EXPECT_EQ(simulation.living(), waiting);
    EXPECT_EQ(simulation.sum(&rt::ExecutorCounters::contexts_leased), 0u) << "who is dormant or dead has none";
    EXPECT_EQ(w.sent, w.received + simulation.sum(&rt::ExecutorCounters::dead_letters));
    for (std::size_t i = 0; i < options.executors; ++i) EXPECT_FALSE(simulation.shared.ports[i]->has_mail());
    simulation.command(rt::command_stop);
    (void)simulation.run_until([] { return false; }, 100);
    for (const auto& executor : simulation.executors) executor->shut_down();
    witness = nullptr;
}

// Spec.   Messages between two actors arrive in the order they were sent, once; every message that send() took is received
//         or a counted dead letter. Ids are never given twice, and name nobody after their actor's end. Actors that have
//         ended or are dormant have no context.                                                (abi.h, directory.h, channel.h)
// Method. Up to 60 actors on 1 to 3 executors send numbered messages, small and large, in bursts, to anybody they know,
//         alive or dead; they spawn here, there and anywhere, and end in every way there is. The test keeps its own count.
TEST(Messaging, NothingIsLostDoubledOrOvertaken) { for_each_seed(2000, one_run); }

}  // namespace
}  // namespace umbel::test
