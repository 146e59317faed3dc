// Specification of executor.h and actor_calls.cpp, by small simulations.
#include "runtime/sched/executor.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "runtime/base/event_fields.h"
#include "tests/support/simulation.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

Simulation* simulation = nullptr;
std::vector<std::string> seen;
std::vector<std::int64_t> numbers;

template <auto Main>
void run(SimulationOptions options = {}, std::size_t executors = 1) {
    options.executors = executors;
    Simulation made(7, options);
    made.skipped_turns = 0;
    simulation = &made;
    seen.clear();
    numbers.clear();
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<Main>);
    (void)made.run_until([] { return false; }, 20'000);
    made.expect_nothing_left();
    simulation = nullptr;
}

// ---- Case 3 by a forced EBUSY.

void nop_many(self& me) {
    for (int i = 0; i < 20; ++i) {
        if (me.await(me.submit(op::nop()))) numbers.push_back(i);
        if (i == 5) simulation->rings[0]->refuse(3, EBUSY);
    }
}
void nop_flood(self& me) {
    for (int i = 0; i < 4; ++i) (void)me.spawn<nop_many>();
    std::vector<pending<void>> many;
    simulation->rings[0]->refuse(5, EBUSY);
    for (int i = 0; i < 40; ++i) many.push_back(me.submit(op::nop()));
    for (auto& each : many) {
        if (me.await(std::move(each))) numbers.push_back(100);
    }
}

// Spec.   Refused by the kernel, an actor is parked, comes back by the high-priority queue, and its submission goes through:
//         nothing is lost and nothing done twice.
TEST(Parking, ARefusedFlushIsTriedAgain) {
    SimulationOptions options;
    options.ring.submission_entries = 4;
    options.ring.completion_entries = 64;
    options.runtime.executors.buffer_count = 0;
    std::uint64_t parked = 0;
    options.executors = 1;
    Simulation made(7, options);
    simulation = &made;
    numbers.clear();
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<nop_flood>);
    EXPECT_TRUE(made.run_until([&] { return made.steps > 2 && made.living() == 0; }));
    parked = made.sum(&rt::ExecutorCounters::high_priority_yields);
    (void)made.run_until([] { return false; }, 100);
    made.expect_nothing_left();
    EXPECT_EQ(numbers.size(), 4u * 20 + 40);
    EXPECT_GE(parked, 1u);
    EXPECT_GE(made.rings[0]->refused(), 5u);
    EXPECT_EQ(made.rings[0]->overflows(), 0u);
}

// Polls what never becomes ready, with a chain that needs more than idle ones leave; the other's file operations go on.
void greedy(self& me, int fd) {
    std::array<pending<std::size_t>, 5> idle;  // On its stack, which is abandoned in the end.
    for (auto& each : idle) each = me.submit(op::poll(fd, POLLIN, {.deadline = std::chrono::seconds(5)}));
    auto [a, b, c, d] = me.chain(op::poll(fd, POLLIN), op::poll(fd, POLLIN), op::poll(fd, POLLIN), op::nop());
    (void)me.await(std::move(a));
    numbers.push_back(-1);
}
void modest(self& me) {
    for (int i = 0; i < 50; ++i) {
        if (me.await(me.submit(op::nop()))) numbers.push_back(i);
    }
    seen.push_back(std::to_string(me.now().count() / 1'000'000'000));
}
void both(self& me) {
    auto quiet = me.await(me.open_socket(AF_INET, SOCK_STREAM));
    ASSERT_TRUE(quiet.has_value());
    auto address = *endpoint::parse("127.0.0.1:8000");
    ASSERT_TRUE(me.await(me.bind(*quiet, address)).has_value());
    ASSERT_TRUE(me.await(me.listen(*quiet, 4)).has_value());
    (void)me.spawn<greedy>(quiet->release());
    me.yield();
    me.yield();
    (void)me.spawn<modest>();
}

// Spec.   One whose chain must wait for what waits for the world does not stop the others.
TEST(Parking, PassesOverWhoCannotGoOn) {
    SimulationOptions options;
    options.ring.submission_entries = 8;
    options.ring.completion_entries = 16;
    options.runtime.executors.buffer_count = 0;
    Simulation made(7, options);
    simulation = &made;
    numbers.clear();
    seen.clear();
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<both>);
    const bool over = made.run_until([] { return seen.size() == 1; }, 5000);
    EXPECT_TRUE(over);
    EXPECT_EQ(std::count_if(numbers.begin(), numbers.end(), [](auto number) { return number >= 0; }), 50);
    made.command(rt::command_stop);
    (void)made.run_until([] { return false; }, 20);
    for (const auto& executor : made.executors) executor->shut_down();
}

// ---- What actors call.

// Spec.   A stream's completions are awaited in the order in which they came, also when several come before the actor runs.
void time_waster(self& me) {
    for (int i = 0; i < 40; ++i) {
        for (int k = 0; k < 5000; ++k) (void)me.now();  // 100 us, in which completions come that nobody takes
        me.sleep(std::chrono::microseconds(100));
    }
}
void accept_in_order(self& me) {
    (void)me.spawn<time_waster>();
    auto listener = me.await(me.open_socket(AF_INET, SOCK_STREAM));
    auto address = *endpoint::parse("127.0.0.1:8000");
    ASSERT_TRUE(me.await(me.bind(*listener, address)).has_value());
    ASSERT_TRUE(me.await(me.listen(*listener, 64)).has_value());
    auto incoming = me.accept_many(*listener);
    std::vector<socket> peers;
    for (int i = 0; i < 30; ++i) {
        if (i % 10 == 0) {
            std::vector<std::shared_ptr<rt::SimClient>> clients;
            for (int k = 0; k < 10; ++k) clients.push_back(simulation->world.connect_client(8000));
        }
        auto peer = me.next(incoming);
        ASSERT_TRUE(peer.has_value());
        numbers.push_back(peer->fd());
        peers.push_back(std::move(*peer));
    }
}
TEST(Calls, AStreamIsAwaitedInOrder) {
    SimulationOptions options;
    options.ring.step = rt::RingStep::submit_all;  // Completions appear without an enter.
    options.ring.submission_entries = 64;
    options.ring.completion_entries = 512;  // A mailbox of this size has room for a multishot accept.
    run<accept_in_order>(options);
    ASSERT_EQ(numbers.size(), 30u);
    EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end())) << "descriptors are given in order here";
}

// Spec.   A timeout is never over too early, however long the turn has taken already.
void time_late_in_a_turn(self& me) {
    for (int i = 0; i < 50; ++i) {
        for (int k = 0; k < 5000; ++k) (void)me.now();  // A reading takes 20 ns here.
        const auto before = me.now();
        me.sleep(std::chrono::microseconds(300));
        numbers.push_back((me.now() - before).count());
    }
}
TEST(Timeouts, AreNeverEarly) {
    run<time_late_in_a_turn>();
    ASSERT_EQ(numbers.size(), 50u);
    for (const std::int64_t number : numbers) EXPECT_GE(number, 300'000);
}

// ---- Drain.

// ---- Time slices.

int runner = -1;
nanoseconds slice_began{};
nanoseconds slice_seen{};
nanoseconds busy_until{};

void busy(self& me, int who) {
    for (nanoseconds now = me.now(); now < busy_until; now = me.now()) {
        if (runner != who) {
            if (runner >= 0) numbers.push_back((slice_seen - slice_began).count());
            runner = who;
            slice_began = now;
        }
        slice_seen = now;
        (void)me.receive_within(nanoseconds(0));
    }
}
void two_busy(self& me) {
    runner = -1;
    busy_until = me.now() + std::chrono::milliseconds(20);
    for (int who = 0; who < 2; ++who) (void)me.spawn<busy>(who);
}

// Spec.   Who calls the runtime gives way when its own time slice is over, not when the turn's is: two busy actors get
//         slices of the same length.                                                     (executors.time_slice)
// Method. Each notes how long it ran until the other did.
TEST(Slices, AreCountedFromTheirOwnBeginning) {
    run<two_busy>();
    ASSERT_GE(numbers.size(), 8u);
    for (const std::int64_t length : numbers) {
        EXPECT_GE(length, 1'000'000);
        EXPECT_LE(length, 1'100'000);
    }
}

class DormantMain {
public:
    explicit DormantMain(self& me) { me.ready("here"); }
    void on_message(self& me, message& message) {
        if (!message.is_drain()) return;
        seen.push_back("told");
        me.exit();
    }
};

// Spec.   Main actors are told of a drain, dormant ones too, and those that have not run yet.
TEST(Drain, IsToldToDormantMains) {
    for (const bool at_once : {false, true}) {
        Simulation made(7);
        simulation = &made;
        seen.clear();
        umbel::detail::host = &rt::host_table();
        made.spawn_main(umbel::detail::handler<DormantMain>::type);
        if (!at_once) {
            (void)made.run_until([] { return false; }, 100);
            EXPECT_EQ(made.sum(&rt::ExecutorCounters::contexts_leased), 0u) << "it is dormant";
        }
        made.command(rt::command_drain);
        (void)made.run_until([] { return false; }, 100);
        EXPECT_EQ(seen.size(), 1u);
        made.expect_nothing_left();
    }
}

// ---- Sleep.

void wait_after_a_stray_wake(self& me) {
    me.sleep(std::chrono::milliseconds(1));  // The read is in the kernel from the first sleep on.
    simulation->world.after(std::chrono::microseconds(10), [] { simulation->rings[0]->wake(); });
    for (int k = 0; k < 15'000; ++k) (void)me.now();
    EXPECT_TRUE(me.receive().is_drain());
}

// Spec.   An executor never sleeps without the read by which it is woken, even if that completed after reap().
// Method. A wake that comes while an actor runs: it is reaped at the pause after it. Then the executor sleeps, and only
//         the command's wake can bring it back.
TEST(Sleep, CanAlwaysBeEnded) {
    SimulationOptions options;
    options.ring.step = rt::RingStep::submit_all;
    Simulation made(7, options);
    made.skipped_turns = made.long_pauses = 0;
    simulation = &made;
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<wait_after_a_stray_wake>);
    (void)made.run_until([] { return false; }, 100);
    EXPECT_EQ(made.living(), 1u);
    made.command(rt::command_drain);
    (void)made.run_until([] { return false; }, 100);
    made.expect_nothing_left();
}

// ---- Port.

// Spec.   A sleeper is woken once, by the first who sees it asleep; who is awake is not; with mail or a command there it does
//         not fall asleep.                                                                                   (port.h, P1)
TEST(Port, WakesSleepersOnly) {
    rt::SimWorld world(1);
    const auto ring = world.make_ring();
    rt::Port port(2);
    port.set_ring(*ring);
    EXPECT_FALSE(port.wake_if_asleep());
    ASSERT_TRUE(port.fall_asleep());
    EXPECT_TRUE(port.wake_if_asleep());
    EXPECT_FALSE(port.wake_if_asleep());
    rt::Channel& channel = port.channel_from(rt::ExecutorIndex{1});
    ASSERT_TRUE(channel.push(rt::EnvelopeKind::message, 1, 2, 3, "x", 1));
    EXPECT_TRUE(port.fall_asleep()) << "unpublished mail is none";
    port.awake();
    channel.publish();
    EXPECT_FALSE(port.fall_asleep());
    channel.drain([](const rt::Envelope&) {});
    EXPECT_TRUE(port.fall_asleep());
    port.awake();
    port.command(rt::command_drain);
    EXPECT_FALSE(port.fall_asleep());
    EXPECT_EQ(port.take_commands(), std::uint32_t{rt::command_drain});
    EXPECT_EQ(port.take_commands(), 0u);
}

// ---- Roll calls.

void look_who_runs(self& me) {
    const rt::Port& port = *simulation->shared.ports[0];
    numbers.push_back(port.running_type.load()->declared == &umbel::actor_type<look_who_runs>);
    numbers.push_back(port.running_actor.load() == me.id().value);
    (void)me.receive();
}

// Spec.   A roll call wakes a sleeper, is answered in its next turn and not before, changes nothing else, and can be made again.
//         While an actor runs, the port says which; afterwards none.
TEST(RollCall, IsAnsweredByATurn) {
    Simulation made(7);
    made.skipped_turns = 0;
    simulation = &made;
    numbers.clear();
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<look_who_runs>);
    (void)made.run_until([] { return false; }, 100);
    EXPECT_EQ(numbers, (std::vector<std::int64_t>{1, 1}));
    rt::Port& port = *made.shared.ports[0];
    EXPECT_EQ(port.running_type.load(), nullptr);
    for (int i = 0; i < 3; ++i) {
        ASSERT_TRUE(made.rings[0]->asleep());
        port.present.store(false);
        made.command(rt::command_answer);
        EXPECT_FALSE(port.present.load());
        EXPECT_TRUE(made.run_until([&] { return port.present.load(); }, 10));
        (void)made.run_until([] { return false; }, 100);
    }
    EXPECT_EQ(made.living(), 1u);
    EXPECT_FALSE(made.executors[0]->draining());
    made.command(rt::command_drain);
    (void)made.run_until([] { return false; }, 100);
    made.expect_nothing_left();
}

// ---- Logs.

std::string long_text;

void narrator(self& me) {
    me.log_info("a line");
    me.log_event("test.told", "a story", {{"chapter", 1}, {"title", "one"}, {"took_us", std::chrono::milliseconds(2)}});
    numbers.push_back(me.logs(log_level::debug) ? 1 : 0);
    me.log_event(log_level::debug, "test.quiet", "", {});
    me.log_event(log_level::error, "test.long", long_text, {{"text", long_text}});
    me.log_event("nodots", "", {});
    me.log_event("test.bad", "", {{"fine", 1}, {"level", 2}});
    const std::vector<log_field> many(UMBEL_FIELDS_MAX + 1, log_field("a", 1));
    me.log_event(log_level::info, "test.many", "", many);
    umbel_field field{"a", UMBEL_FIELD_INTEGER, 0, {}};
    numbers.push_back(umbel_log_event(me.raw(), UMBEL_LOG_INFO, "test.c", nullptr, 5, &field, 1));
    numbers.push_back(umbel_log_event(me.raw(), UMBEL_LOG_INFO, nullptr, "x", 1, nullptr, 0));
    numbers.push_back(umbel_log_event(me.raw(), UMBEL_LOG_INFO, "test.null", "x", 1, nullptr, 1));
}

// Spec.   What an actor logs comes out as it was, under its event's name; what the level shuts out is not made; a wrong event
//         is refused, and the log says which and why.
TEST(Logging, StructuredEventsComeOutAsTheyWere) {
    long_text.assign(2000, 'x');
    numbers.clear();
    SimulationOptions options;
    options.executors = 1;
    Simulation made(7, options);
    simulation = &made;
    umbel::detail::host = &rt::host_table();
    made.spawn_main(umbel::actor_type<narrator>);
    for (const auto& plugin : made.shared.plugins) plugin->log_level = rt::Level::info;
    EXPECT_TRUE(made.run_until([&] { return made.steps > 2 && made.living() == 0; }));
    EXPECT_EQ(numbers, (std::vector<std::int64_t>{0, 0, UMBEL_E_INVALID, UMBEL_E_INVALID}));

    std::vector<std::string> lines;
    rt::EventRing& ring = made.shared.ports[0]->events;
    rt::LogRecord record;
    for (; ring.front(ring.published(), record); ring.pop(record)) {
        if (record.event.plugin == nullptr) continue;
        std::string line(record.name);
        if (record.event.kind == rt::EventKind::event_refused) line = "refused";
        line += "|" + std::string(record.text.substr(0, 30));
        std::string_view rest = record.fields;
        rt::EventField one;
        while (rt::next_field(rest, one)) {
            line += " " + std::string(one.name) + "=" +
                    (one.type == UMBEL_FIELD_TEXT ? std::to_string(one.text.size()) : std::to_string(one.integer));
        }
        if (record.event.truncated) line += " truncated";
        lines.push_back(line);
    }
    EXPECT_EQ(lines, (std::vector<std::string>{
                         "|a line", "test.told|a story chapter=1 title=3 took_us=2000",
                         "test.long|" + std::string(30, 'x') + " text=512 truncated",
                         "refused|\"nodots\": its name is two or m",
                         "refused|\"test.bad\": field 1, \"level\": ", "refused|\"test.many\": it has more than ",
                         "test.c| a=0", "refused|\"\": its name is two or more sn"}));
    (void)made.run_until([] { return false; }, 100);
    made.expect_nothing_left();
    simulation = nullptr;
}

// ---- Who lives.

void short_lived(self& me) { me.sleep(std::chrono::milliseconds(1)); }
void looks(self& me) {
    for (const int where : {0, 1}) {
        const auto other = me.spawn_at<short_lived>(where);
        if (!other) continue;
        numbers.push_back(me.alive(*other) ? 1 : 0);
        me.sleep(std::chrono::milliseconds(5));
        numbers.push_back(me.alive(*other) ? 1 : 0);
    }
    numbers.push_back(me.alive(me.id()) ? 1 : 0);
    numbers.push_back(me.alive({}) ? 1 : 0);
}

// Spec.   An actor is alive from its spawning to its end, on its own executor and on another; nobody is not.
TEST(Alive, FromSpawnToEnd) {
    run<looks>({}, 2);
    EXPECT_EQ(numbers, (std::vector<std::int64_t>{1, 0, 1, 0, 1, 0}));
}

}  // namespace
}  // namespace umbel::test
