// Actors that pass descriptors to each other, splice, read and write in pieces, change names, watch them, and wait for
// signals and processes; and that end in the middle of it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/un.h>

#include <csignal>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "umbel/umbel.h"

namespace umbel::test {
namespace {

using namespace std::chrono_literals;

constexpr int peers = 5;
constexpr int first_pid = 700;

struct Witness {
    explicit Witness(rt::SimWorld& simulated) : world(simulated) {}
    rt::SimWorld& world;
    unsigned passed = 0;
    unsigned taken = 0;
    unsigned lost = 0;
    unsigned spliced = 0;
    unsigned events = 0;
    unsigned signals = 0;
    unsigned refused_claims = 0;
    unsigned processes = 0;
};
Witness* witness = nullptr;

const std::string& content_of_file() {
    static const std::string content = [] {
        std::string bytes;
        for (int i = 0; i < 5000; ++i) bytes.push_back(static_cast<char>(i * 7));
        return bytes;
    }();
    return content;
}

endpoint address_of(int peer) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string name = "peer" + std::to_string(peer);
    name.copy(address.sun_path + 1, name.size());  // abstract
    endpoint made;
    made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
    std::memcpy(&made.storage, &address, made.size);
    return made;
}

std::string_view text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// One actor. What it holds is freed by its destructors, or, where it is cut off, by the runtime.
class Peer {
public:
    Peer(self& me, int number) : me_(me), w_(*witness), world_(w_.world), number_(number) {}

    void live() {
        auto opened = me_.await(me_.open_socket(AF_UNIX, SOCK_DGRAM));
        if (!opened) return;
        socket_ = std::move(*opened);
        if (!me_.await(me_.bind(socket_, address_of(number_)))) return;
        const std::uint64_t steps = 5 + world_.random_below(30);
        for (std::uint64_t step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
            switch (world_.random_below(16)) {
                case 12:
                case 13:
                    leave_receives();
                    break;
                case 14:
                case 15:
                    pass();
                    break;
                case 0:
                case 1:
                    open();
                    break;
                case 2:
                case 3:
                    pass();
                    break;
                case 4:
                case 5:
                    receive();
                    break;
                case 6:
                    splice();
                    break;
                case 7:
                    read_in_pieces();
                    break;
                case 8:
                    write_in_pieces();
                    break;
                case 9:
                    change_names();
                    break;
                case 10:
                    wait_for_a_signal();
                    break;
                default:
                    wait_for_a_process();
                    break;
            }
        }
        if (world_.chance(0.3)) {
            // Without destructors: the descriptors are left to the runtime.
            for (file& each : files_) (void)each.release();
            std::vector<file>().swap(files_);
            umbel_exit(me_.raw(), "as it should");
        }
        if (world_.chance(0.3)) me_.fail("as it should");
    }

private:
    void open() {
        if (world_.chance(0.4)) {
            auto made = me_.make_pipe();
            ASSERT_TRUE(made);
            files_.push_back(std::move(world_.chance(0.5) ? made->reads : made->writes));
            return;
        }
        if (auto opened = me_.await(me_.open("/data/file", O_RDONLY))) files_.push_back(std::move(*opened));
    }

    void pass() {
        std::vector<int> numbers;
        for (const file& each : files_) {
            if (numbers.size() < 3 && world_.chance(0.6)) numbers.push_back(each.fd());
        }
        const std::string text = std::to_string(numbers.size()) + " from " + std::to_string(number_);
        const endpoint to = address_of(static_cast<int>(world_.random_below(peers)));
        const op_options options{.deadline = world_.chance(0.2) ? 20us : 0us};
        auto sending =
            me_.send_message(socket_, std::as_bytes(std::span(text)), {.to = &to, .descriptors = numbers}, options);
        if (world_.chance(0.5)) files_.clear();  // The message has its own.
        if (world_.chance(0.1)) return;          // Nobody waits for it.
        if (const auto sent = me_.await(std::move(sending))) {
            EXPECT_EQ(*sent, text.size());
            w_.passed += static_cast<unsigned>(numbers.size());
        }
    }

    // Receives that nobody awaits: some are forgotten at any time, some are in flight or in the mailbox at the end.
    void leave_receives() {
        for (std::uint64_t i = world_.random_below(4); i > 0; --i) {
            umbel_operation receive{};
            receive.code = UMBEL_OP_RECVMSG;
            receive.fd = socket_.fd();
            receive.length = 64;
            receive.arg2 = 3;
            umbel_pending id = 0;
            if (umbel_submit(me_.raw(), &receive, 1, &id) == 0 && left_count_ < left_.size()) left_[left_count_++] = id;
        }
        me_.sleep(nanoseconds(world_.random_below(60'000)));
        if (world_.chance(0.7)) return;
        while (left_count_ > 0) umbel_forget(me_.raw(), left_[--left_count_]);
    }

    void receive() {
        const auto welcome = static_cast<std::uint32_t>(world_.random_below(4));
        auto pending = me_.receive_message(socket_, 64, welcome, {.deadline = 100us});
        if (world_.chance(0.1)) return;  // Forgotten, whatever it brings.
        if (world_.chance(0.2)) {
            // It may be in the mailbox by then.
            me_.sleep(nanoseconds(world_.random_below(200'000)));
            if (world_.chance(0.5)) return;
        }
        auto got = me_.await(std::move(pending));
        if (!got) return;
        EXPECT_FALSE(got->truncated());
        const std::string_view text = got->text();
        ASSERT_GE(text.size(), 8u);
        const auto promised = static_cast<std::size_t>(text[0] - '0');
        EXPECT_EQ(got->descriptors(), std::min<std::size_t>(promised, welcome));
        EXPECT_EQ(got->descriptors_lost(), promised > welcome);
        w_.lost += got->descriptors_lost() ? 1 : 0;
        EXPECT_EQ(got->from().bytes().size(), address_of(0).bytes().size());
        for (std::size_t i = 0; i < got->descriptors(); ++i) {
            if (world_.chance(0.3)) continue;
            file taken = got->take<file>(i);
            ASSERT_TRUE(taken);
            EXPECT_FALSE(got->take<file>(i)) << "only once";
            ++w_.taken;
            if (world_.chance(0.5)) files_.push_back(std::move(taken));
        }
        if (world_.chance(0.3)) {
            const endpoint to = address_of(static_cast<int>(world_.random_below(peers)));
            (void)me_.await(me_.send_message(socket_, std::as_bytes(std::span("0 echoed")).first(8), {.to = &to}));
        }
    }

    // A file, through a pipe, into another file, byte for byte.
    void splice() {
        auto from = me_.await(me_.open("/data/file", O_RDONLY));
        auto through = me_.make_pipe();
        const std::string path = "/data/copy" + std::to_string(number_);
        auto to = me_.await(me_.open(path, O_RDWR | O_CREAT | O_TRUNC, UMBEL_CWD, 0600));
        if (!from || !through || !to) return;
        const std::size_t offset = world_.random_below(4000);
        const auto moved = me_.await(me_.splice(*from, through->writes, 1 + world_.random_below(2000), offset));
        if (!moved) return;
        std::size_t arrived = 0;
        while (arrived < *moved) {
            const auto out = me_.await(me_.splice_at(through->reads, *to, arrived, *moved, 0, {.deadline = 1ms}));
            if (!out) break;
            ASSERT_GT(*out, 0u);
            arrived += *out;
        }
        EXPECT_EQ(world_.file(path), content_of_file().substr(offset, arrived));
        w_.spliced += arrived != 0 ? 1 : 0;
        // An empty pipe whose writer is there: it waits, and a deadline ends it.
        if (arrived == *moved) {
            const auto none = me_.await(me_.splice(through->reads, *to, 10, at_position, 0, {.deadline = 30us}));
            EXPECT_FALSE(none.has_value());
        }
    }

    void read_in_pieces() {
        auto from = me_.await(me_.open("/data/file", O_RDONLY));
        if (!from) return;
        std::array<std::byte, 100> mine{};
        const std::array pieces{piece::fresh(1 + world_.random_below(300)), piece::into(mine),
                                piece::fresh(1 + world_.random_below(300))};
        const std::size_t offset = world_.random_below(5200);
        auto pending = me_.read_pieces(*from, pieces, offset);
        if (world_.chance(0.1)) {
            if (world_.chance(0.5)) me_.sleep(200us);
            return;
        }
        auto got = me_.await(std::move(pending));
        if (!got) return;
        ASSERT_EQ(got->size(), 3u);
        std::string all(text_of((*got)[0]));
        const std::size_t in_mine = std::min(got->total() - all.size(), mine.size());
        all += text_of(std::span(mine).first(in_mine));
        all += text_of((*got)[2]);
        const std::string expected = offset < 5000 ? content_of_file().substr(offset, got->total()) : std::string();
        EXPECT_EQ(all, expected);
        if (world_.chance(0.5)) {
            const buffer taken = got->take(0);
            got->reset();
            EXPECT_TRUE(expected.starts_with(taken.text()));
        }
    }

    void write_in_pieces() {
        const std::string path = "/data/pieces" + std::to_string(number_);
        auto to = me_.await(me_.open(path, O_RDWR | O_CREAT | O_TRUNC, UMBEL_CWD, 0600));
        auto from = me_.await(me_.open("/data/file", O_RDONLY));
        if (!to || !from) return;
        buffer_list list;
        std::string expected = "head";
        for (std::uint64_t i = 0; i < 1 + world_.random_below(3); ++i) {
            auto part = me_.await(me_.read(*from, 1 + world_.random_below(500), world_.random_below(4000)));
            if (!part) return;
            expected += part->text();
            ASSERT_TRUE(list.add(me_, std::move(*part)));
        }
        const auto wrote = me_.await(me_.submit(op::write(*to, std::as_bytes(std::span("head")).first(4), list, 0)));
        EXPECT_EQ(list.size(), 0u);
        if (!wrote) return;
        EXPECT_LE(*wrote, expected.size());
        EXPECT_EQ(world_.file(path), expected.substr(0, *wrote));
        const auto resized = me_.await(me_.resize(*to, 3));
        if (resized) {
            EXPECT_EQ(world_.file(path), expected.substr(0, 3).substr(0, *wrote) +
                                             std::string(3 - std::min<std::size_t>(3, *wrote), '\0'));
            if (me_.await(me_.allocate(*to, 3, 7))) {
                EXPECT_EQ(world_.file(path)->size(), 10u);
            }
        }
    }

    // In a folder of its own: what a watch tells is what was done.
    void change_names() {
        const std::string folder = "/data/folder" + std::to_string(number_) + "-" + std::to_string(folders_++);
        if (!me_.await(me_.make_directory(folder))) return;
        auto watcher = me_.open_watcher();
        ASSERT_TRUE(watcher);
        const auto number = me_.watch(*watcher, folder, IN_CREATE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE);
        if (!number) return;
        std::vector<std::pair<std::uint32_t, std::string>> done;
        if (me_.await(me_.open(folder + "/a", O_RDWR | O_CREAT, UMBEL_CWD, 0600))) done.emplace_back(IN_CREATE, "a");
        if (me_.await(me_.symlink("a", folder + "/s"))) done.emplace_back(IN_CREATE, "s");
        if (me_.await(me_.link(folder + "/a", folder + "/b"))) done.emplace_back(IN_CREATE, "b");
        if (me_.await(me_.rename(folder + "/b", folder + "/c"))) {
            done.emplace_back(IN_MOVED_FROM, "b");
            done.emplace_back(IN_MOVED_TO, "c");
        }
        if (me_.await(me_.unlink(folder + "/c"))) done.emplace_back(IN_DELETE, "c");
        std::vector<std::pair<std::uint32_t, std::string>> told;
        while (told.size() < done.size()) {
            const auto events = me_.await(me_.events(*watcher));
            if (!events && events.error().code == -EINTR) continue;
            if (!events) return;  // The daemon ends.
            for (const file_event& event : *events) {
                EXPECT_EQ(event.watch, *number);
                told.emplace_back(event.mask, event.name);
            }
        }
        EXPECT_EQ(told, done);
        w_.events += static_cast<unsigned>(told.size());
        EXPECT_FALSE(me_.await(me_.unlink(folder, UMBEL_CWD, AT_REMOVEDIR)).has_value() && world_.file(folder + "/a"));
    }

    void wait_for_a_signal() {
        auto claimed = me_.open_signals({SIGUSR1, SIGRTMIN + 2});
        if (!claimed) {
            EXPECT_EQ(claimed.error().code, -EBUSY);
            ++w_.refused_claims;
            return;
        }
        EXPECT_EQ(me_.open_signals({SIGUSR1}).error().code, -EBUSY);
        EXPECT_EQ(me_.open_signals({SIGTERM}).error().code, UMBEL_E_INVALID);
        auto coming = me_.next_signal(*claimed, {.deadline = 10ms});
        world_.after(rt::Nanoseconds(world_.random_below(100'000)),
                     [&world = world_] { world.send_signal(SIGRTMIN + 2, 4711); });
        const auto came = me_.await(std::move(coming));
        if (!came) return;
        EXPECT_EQ(came->number, SIGRTMIN + 2);
        EXPECT_EQ(came->value, 4711);
        ++w_.signals;
    }

    void wait_for_a_process() {
        const int pid = first_pid + 1000 * number_ + children_++;
        world_.add_process(pid);
        auto child = me_.open_process(pid);
        ASSERT_TRUE(child);
        EXPECT_FALSE((*me_.exit_of(*child)).has_value());
        world_.after(rt::Nanoseconds(world_.random_below(200'000)),
                     [&world = world_, pid] { world.end_process(pid, CLD_EXITED, 3); });
        if (!me_.await(me_.end_of(*child))) return;
        const auto end = me_.exit_of(*child);
        ASSERT_TRUE(end);
        ASSERT_TRUE(end->has_value());
        EXPECT_EQ((*end)->status, 3);
        EXPECT_EQ(me_.exit_of(*child).error().code, -ECHILD);
        ++w_.processes;
    }

    self& me_;
    Witness& w_;
    rt::SimWorld& world_;
    int number_;
    int folders_ = 0;
    int children_ = 0;
    socket socket_;
    std::vector<file> files_;
    std::array<umbel_pending, 8> left_{};
    std::size_t left_count_ = 0;
};

void peer(self& me, int number) {
    Peer mine(me, number);
    mine.live();
}

void parent(self& me) {
    me.ready("");
    for (int i = 0; i < peers; ++i) (void)me.spawn_at<peer>(UMBEL_SPREAD, i);
}

// Spec.   Descriptors that are passed arrive as many as were welcome, and whoever forgets, times out, dies or looks away,
//         none is left open at the end. Splices, pieces, names, watches, signals and processes do what they say, under
//         faults.                                                     (docs/operations.md, completion.h C2)
// Method. Five actors with up to 35 random steps each, on any kernel and any size of ring.
TEST(Passing, LeavesNothing) {
    unsigned runs = 0;
    unsigned taken = 0;
    unsigned lost = 0;
    unsigned spliced = 0;
    unsigned events = 0;
    unsigned signals = 0;
    unsigned processes = 0;
    for_each_seed(400, [&](std::uint64_t seed) {
        SimulationOptions options = SimulationOptions::of_seed(seed);
        options.ring.completion_entries = std::max(options.ring.completion_entries, 64u);
        Simulation simulation(seed, options);
        Witness w(simulation.world);
        witness = &w;
        simulation.world.add_file("/data/file", content_of_file());
        simulation.spawn_main(actor_type<parent>);
        if (seed % 4 == 0) {
            simulation.world.after(rt::Nanoseconds(simulation.world.random_below(3'000'000)),
                                   [&] { simulation.command(rt::command_drain | rt::command_cancel); });
        }
        EXPECT_TRUE(simulation.run_until([&] { return simulation.living() == 0 && simulation.at_rest(); }))
            << "actors that wait for ever";
        if (testing::Test::HasFailure()) std::fputs(simulation.log().c_str(), stdout);
        (void)simulation.run_until([] { return false; }, 2000);
        simulation.expect_nothing_left();
        EXPECT_EQ(simulation.shared.descriptors.signals.claimed(), 0u);
        ++runs;
        taken += w.taken;
        lost += w.lost;
        spliced += w.spliced;
        events += w.events;
        signals += w.signals;
        processes += w.processes;
        witness = nullptr;
    });
    if (runs < 10) return;  // One seed need not try all of it.
    for (const unsigned count : {taken, lost, spliced, events, signals, processes}) EXPECT_GT(count, 0u);
}

}  // namespace
}  // namespace umbel::test
