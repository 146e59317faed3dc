// Executors on real rings and real threads: what only true concurrency can break.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "runtime/io/real_ring.h"
#include "runtime/plugin/host.h"
#include "runtime/sched/executor.h"
#include "tests/support/seed.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

using std::chrono::steady_clock;

// Shared, and an executor on each of its own threads, as runtime.cpp puts them together.
class Threads {
public:
    Threads(std::size_t executors, umbel_actor_type& main, bool main_everywhere)
        : shared_(options(), executors, 4096, &rt::host_table()),
          made_(static_cast<std::ptrdiff_t>(executors) + 1),
          over_(static_cast<std::ptrdiff_t>(executors) + 1) {
        umbel::detail::host = &rt::host_table();
        shared_.plugins.push_back(std::make_unique<rt::PluginProgress>());
        shared_.plugins.back()->name = "test";
        counters_.resize(executors);
        for (std::size_t i = 0; i < executors; ++i) {
            threads_.emplace_back([this, i, &main, main_everywhere] {
                rt::RingOptions small;
                small.submission_entries = 32;
                small.completion_entries = 256;
                auto ring = rt::RealRing::create(small);
                std::unique_ptr<rt::Executor> executor;
                if (ring) {
                    executor =
                        std::make_unique<rt::Executor>(shared_, static_cast<rt::ExecutorIndex>(i), std::move(*ring));
                    if (i == 0 || main_everywhere) spawned_ = executor->spawn_main(main, 0) && spawned_;
                } else {
                    refused_ = true;
                }
                made_.arrive_and_wait();  // All ports have their rings before anybody sends.
                if (refused_) return;
                executor->loop();
                executor->shut_down();
                executor->check_invariants();
                counters_[i] = executor->counters();
                over_.arrive_and_wait();  // As in runtime.cpp: who wakes us must find our ring.
            });
        }
        made_.arrive_and_wait();
    }
    ~Threads() { stop(); }

    [[nodiscard]] bool refused() const { return refused_; }
    [[nodiscard]] std::size_t living() const { return shared_.directory.living(); }
    void stop() {
        if (threads_.empty()) return;
        if (!refused_) {
            for (const auto& port : shared_.ports) port->command(rt::command_stop);
            over_.count_down();
        }
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }
    [[nodiscard]] std::uint64_t sum(std::uint64_t rt::ExecutorCounters::* member) const {
        std::uint64_t all = 0;
        for (const rt::ExecutorCounters& each : counters_) all += each.*member;
        return all;
    }

private:
    static rt::Options options() {
        rt::Options options;
        options.actors.memory_limit = rt::Bytes{256 << 10};
        options.actors.stack_size = rt::Bytes{128 << 10};
        options.executors.buffer_count = 0;
        return options;
    }

    rt::Shared shared_;
    std::latch made_;
    std::latch over_;
    std::vector<std::thread> threads_;
    std::vector<rt::ExecutorCounters> counters_;
    std::atomic<bool> refused_{false};
    std::atomic<bool> spawned_{true};
};

// Until done(), or too much time has passed. Whether it is done.
template <class Done>
bool wait_until(Done&& done, std::chrono::seconds most = std::chrono::seconds(60)) {
    const auto end = steady_clock::now() + most;
    while (!done()) {
        if (steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

// ---- Random talk.

struct Note {
    static constexpr std::uint32_t message_type = 1;
    std::uint64_t number;
};
struct Totals {
    std::atomic<std::uint64_t> sent{0};
    std::atomic<std::uint64_t> received{0};
    std::atomic<std::uint64_t> disorder{0};
    std::atomic<std::uint64_t> spawned{0};
    std::atomic<umbel_actor_id> known[64]{};
};
Totals* totals = nullptr;
constexpr std::uint64_t messages_wanted = 200'000;

void chatterer(self& me, std::uint64_t seed) {
    Totals& t = *totals;
    std::minstd_rand dice(static_cast<std::minstd_rand::result_type>(seed * 2 + 1));
    struct Peer {
        umbel_actor_id id;
        std::uint64_t number;
    };
    std::array<Peer, 64> heard{};
    t.known[dice() % 64].store(me.id().value, std::memory_order_relaxed);
    const auto life = static_cast<unsigned>(200 + dice() % 2000);
    std::uint64_t number = 0;
    for (unsigned step = 0; step < life; ++step) {
        if (t.sent.load(std::memory_order_relaxed) >= messages_wanted) break;
        const std::size_t place = dice() % 64;
        const umbel_actor_id to = t.known[place].load(std::memory_order_relaxed);
        if (to != 0) {
            if (me.send_to(actor_id{to}, Note{++number})) t.sent.fetch_add(1, std::memory_order_relaxed);
        }
        const bool patient = dice() % 16 == 0;
        while (auto message = me.receive_within(nanoseconds(patient ? 50'000 : 0))) {
            t.received.fetch_add(1, std::memory_order_relaxed);
            const Note* note = message->as<Note>();
            Peer& peer = heard[message->sender().value % 64];
            if (note == nullptr || (peer.id == message->sender().value && note->number <= peer.number)) {
                t.disorder.fetch_add(1, std::memory_order_relaxed);
            }
            if (note != nullptr) peer = {message->sender().value, note->number};
            if (patient) break;
        }
        if (dice() % 8 == 0) me.yield();
    }
    // One goes, one comes: somewhere.
    if (t.sent.load(std::memory_order_relaxed) < messages_wanted) {
        if (me.spawn_at<chatterer>(UMBEL_SPREAD, seed + 1)) t.spawned.fetch_add(1, std::memory_order_relaxed);
    }
}
void first_chatterer(self& me) {
    for (std::uint64_t i = 0; i < 12; ++i) (void)me.spawn_at<chatterer>(UMBEL_SPREAD, test::seed() + 1000 * i);
}

// Spec.   Between executors on threads of their own nothing is lost, doubled or overtaken, however many actors come and go.
// Method. Four threads, 48 actors at a time, 200,000 messages to anybody; who ends spawns another one elsewhere.
TEST(ExecutorsStress, RandomTalk) {
    Totals t;
    totals = &t;
    Threads threads(4, umbel::actor_type<first_chatterer>, true);
    if (threads.refused()) GTEST_SKIP() << "io_uring is not to be had here";
    EXPECT_TRUE(wait_until([&] { return t.sent.load() >= messages_wanted && threads.living() == 0; }));
    // What was on its way to the dead arrives, as dead letters.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    threads.stop();
    EXPECT_EQ(t.disorder.load(), 0u);
    EXPECT_EQ(t.sent.load(), t.received.load() + threads.sum(&rt::ExecutorCounters::dead_letters));
    EXPECT_EQ(threads.sum(&rt::ExecutorCounters::contexts_leased), 0u);
    EXPECT_EQ(threads.sum(&rt::ExecutorCounters::actors_spawned), threads.sum(&rt::ExecutorCounters::actors_ended));
    totals = nullptr;
}

// ---- Ping-pong.

std::atomic<std::uint64_t> pings{0};
std::atomic<int> rounds_over{0};
constexpr std::uint64_t rounds = 4'000;

void pong(self& me) {
    for (;;) {
        const message ball = me.receive();
        const Note* note = ball.as<Note>();
        if (note == nullptr) continue;
        const Note back = *note;
        const actor_id to = ball.sender();
        (void)me.send_to(to, back);
        if (back.number == rounds) return;
    }
}
void ping(self& me) {
    const int other = static_cast<int>((umbel_executor(me.raw()) + 1) % me.executor_count());
    const auto partner = me.spawn_at<pong>(other);
    if (!partner) me.fail("no partner");
    for (std::uint64_t number = 1; number <= rounds; ++number) {
        if (!me.send_to(*partner, Note{number})) me.fail("no partner");
        // A wake that came while the executor had something else to do must not spoil the next one.
        if (number % 7 == 0) me.sleep(nanoseconds(20'000));
        const message ball = me.receive();
        pings.fetch_add(1, std::memory_order_relaxed);
    }
    rounds_over.fetch_add(1);
}

// Spec.   No wake is lost: whoever has mail wakes up, wherever it was on its way to sleep.                        (port.h, P1)
// Method. Two executors that sleep between any two messages, two balls in play, operations and timers in between. There is
//         no other reason to wake up, so one lost wake stops the game.
TEST(ExecutorsStress, PingPongAcrossExecutors) {
    pings = 0;
    rounds_over = 0;
    Threads threads(2, umbel::actor_type<ping>, true);
    if (threads.refused()) GTEST_SKIP() << "io_uring is not to be had here";
    EXPECT_TRUE(wait_until([&] { return rounds_over.load() == 2; })) << "stopped after " << pings.load() << " balls";
    EXPECT_TRUE(wait_until([&] { return threads.living() == 0; }));
    threads.stop();
    EXPECT_EQ(pings.load(), 2 * rounds);
    EXPECT_GT(threads.sum(&rt::ExecutorCounters::wakes_sent), 0u);
}

}  // namespace
}  // namespace umbel::test
