// Actors that have operations of every kind in flight, give up on them, let them time out, and die over them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/seeds.h"
#include "tests/support/simulation.h"
#include "umbel/abi.h"

namespace umbel::test {
namespace {

constexpr std::uint16_t port = 9009;

struct Promise {
    std::uint16_t code = 0;
    bool stream = false;
    bool has_deadline = false;
    bool chained = false;
    bool may_be_cancelled = false;  // by a cancel, a close or a drain
    int fd = -1;
    unsigned terminal = 0;
    unsigned more = 0;
};

struct Witness {
    explicit Witness(Simulation& all) : simulation(all), world(all.world) {}
    Simulation& simulation;
    rt::SimWorld& world;
    std::uint64_t submitted = 0;
    std::uint64_t fulfilled = 0;
    std::uint64_t forgotten = 0;
    std::uint64_t died_in_flight = 0;
    std::uint64_t refused = 0;
    std::size_t spawned = 0;
    bool small = false;
    bool drained = false;
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

sockaddr_in address_of(std::uint16_t to) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// One actor: its own list of what it was promised, and the descriptors it knows. Nothing of it needs a destructor's
// help: an actor that is cut off in the middle leaves nothing behind but this, which the test frees.
class Client {
public:
    explicit Client(umbel_self* self) : self_(self), w_(*witness), world_(w_.world) {}

    void live() {
        const std::uint64_t steps = 1 + world_.random_below(40);
        for (std::uint64_t step = 0; step < steps && !testing::Test::HasFatalFailure(); ++step) {
            switch (world_.random_below(12)) {
                case 0:
                case 1:
                case 2:
                case 3:
                case 4:
                    submit(one(false));
                    break;
                case 5:
                    chain();
                    break;
                case 6:
                case 7:
                    take_any(world_.random_below(3) * 50'000);
                    break;
                case 8:
                    await_one();
                    break;
                case 9:
                    forget_one();
                    break;
                case 10:
                    umbel_yield(self_);
                    break;
                default:
                    cancel_some();
                    break;
            }
        }
        if (world_.chance(0.3)) {  // Dies over what it has.
            for (const auto& [id, promise] : promises_) w_.died_in_flight += promise.terminal == 0 ? 1 : 0;
            over = true;
            if (world_.chance(0.5)) umbel_exit(self_, world_.chance(0.5) ? "" : "as it should");
            return;
        }
        // Settles everything: what waits for the world is cancelled, the rest ends by itself.
        umbel_operation all{};
        all.code = UMBEL_OP_CANCEL_ALL;
        all.fd = -1;
        all.flags = UMBEL_OP_DETACHED;
        for (auto& [id, promise] : promises_) promise.may_be_cancelled = true;
        umbel_pending none = 0;
        while (umbel_submit(self_, &all, 1, &none) != 0) take_any(1'000'000);
        while (open_promises() != 0 && !testing::Test::HasFatalFailure()) {
            if (!take_any(UINT64_MAX)) break;
        }
        EXPECT_EQ(open_promises(), 0u);
        umbel_message message;
        EXPECT_EQ(umbel_receive(self_, 0, &message), UMBEL_E_TIMEOUT) << "more completions than submissions";
        for (umbel_buffer& buffer : buffers_) umbel_release(self_, &buffer);
        for (const auto& [id, promise] : promises_) {
            EXPECT_EQ(umbel_await(self_, id, 0, &message), UMBEL_E_INVALID)
                << "a pending that has had its last, of code " << promise.code;
        }
    }

    /// What it still waits for, for people.
    void print() const {
        for (const auto& [id, promise] : promises_) {
            if (promise.terminal != 0) continue;
            std::printf("waits for pending %llx, code %u, fd %d%s%s%s\n", static_cast<unsigned long long>(id),
                        promise.code, promise.fd, promise.stream ? ", a stream" : "",
                        promise.chained ? ", of a chain" : "", promise.may_be_cancelled ? ", cancelled" : "");
        }
    }
    bool over = false;

private:
    [[nodiscard]] std::size_t open_promises() const {
        return static_cast<std::size_t>(std::count_if(promises_.begin(), promises_.end(),
                                                      [](const auto& each) { return each.second.terminal == 0; }));
    }
    int some(const std::vector<int>& fds) {
        if (fds.empty() || world_.chance(0.02)) return world_.chance(0.5) ? -1 : 4242;
        return fds[world_.random_below(fds.size())];
    }

    umbel_operation one(bool chained) {
        umbel_operation operation{};
        operation.fd = -1;
        if (world_.chance(0.15)) operation.deadline_ns = 1 + world_.random_below(500'000);
        if (world_.chance(0.05)) operation.flags |= UMBEL_OP_DRAINS;
        switch (world_.random_below(17)) {
            case 0:
                operation.code = UMBEL_OP_NOP;
                break;
            case 1:
            case 2: {
                operation.code = UMBEL_OP_OPENAT2;
                operation.fd = UMBEL_CWD;
                operation.arg = O_RDWR;
                slice_ = world_.chance(0.9) ? umbel_slice{"/data/file", 10} : umbel_slice{"/data/none", 10};
                operation.slices = &slice_;
                operation.slice_count = 1;
                break;
            }
            case 3:
                operation.code = UMBEL_OP_STATX;
                operation.fd = UMBEL_CWD;
                operation.arg2 = STATX_BASIC_STATS;
                slice_ = {"/data/file", 10};
                operation.slices = &slice_;
                operation.slice_count = 1;
                break;
            case 4:
            case 5:
                operation.code = UMBEL_OP_READ;
                operation.fd = some(files_);
                operation.length = 1 + static_cast<std::uint32_t>(world_.random_below(3000));
                operation.offset = world_.random_below(6000);
                break;
            case 6:
                operation.code = UMBEL_OP_WRITE;
                operation.fd = some(files_);
                operation.offset = 8192;
                if (!chained && !buffers_.empty() && world_.chance(0.5)) {
                    operation.buffer = &buffers_.back();
                } else {
                    operation.slices = &slice_;
                    operation.slice_count = 1;
                    slice_ = {content_of_file().data(), 1 + world_.random_below(2000)};
                }
                break;
            case 7:
                operation.code = UMBEL_OP_FSYNC;
                operation.fd = some(files_);
                break;
            case 8:
                operation.code = UMBEL_OP_TIMEOUT;
                operation.offset = world_.random_below(400'000);
                break;
            case 9:
                operation.code = UMBEL_OP_SOCKET;
                operation.arg = AF_INET;
                operation.arg2 = SOCK_STREAM;
                break;
            case 10: {
                operation.code = UMBEL_OP_CONNECT;
                operation.fd = some(sockets_);
                static const sockaddr_in address = address_of(port);
                slice_ = {&address, sizeof address};
                operation.slices = &slice_;
                operation.slice_count = 1;
                break;
            }
            case 11:
                operation.code = UMBEL_OP_SEND;
                operation.fd = some(sockets_);
                slice_ = {content_of_file().data(), 1 + world_.random_below(2000)};
                operation.slices = &slice_;
                operation.slice_count = 1;
                break;
            case 12:
            case 13:
                operation.code = UMBEL_OP_RECV;
                operation.fd = some(sockets_);
                operation.length = 1 + static_cast<std::uint32_t>(world_.random_below(3000));
                if (!chained && world_.chance(0.5)) operation.flags |= UMBEL_OP_MULTI;
                break;
            case 14:
                operation.code = UMBEL_OP_POLL;
                operation.fd = some(sockets_);
                operation.arg = POLLIN;
                if (!chained && world_.chance(0.3)) operation.flags |= UMBEL_OP_MULTI;
                break;
            case 15: {
                const bool file = world_.chance(0.5);
                std::vector<int>& fds = file ? files_ : sockets_;
                operation.code = UMBEL_OP_CLOSE;
                operation.deadline_ns = 0;
                operation.fd = some(fds);
                // Never twice: its number may be somebody else's by then.
                std::erase(fds, operation.fd);
                for (auto& [id, promise] : promises_) {
                    if (promise.fd == operation.fd) promise.may_be_cancelled = true;
                }
                if (!chained && world_.chance(0.5)) operation.flags |= UMBEL_OP_DETACHED;
                break;
            }
            default:
                operation.code = UMBEL_OP_SHUTDOWN;
                operation.fd = some(sockets_);
                operation.arg = SHUT_WR;
                break;
        }
        if (!chained && (operation.flags & UMBEL_OP_MULTI) == 0 && world_.chance(0.03))
            operation.flags |= UMBEL_OP_DETACHED;
        // On a small ring, actors that hold credits for ever and want more would wait for each other.
        if (w_.small && operation.deadline_ns == 0 && operation.code != UMBEL_OP_CLOSE) {
            operation.deadline_ns = 1 + world_.random_below(500'000);
        }
        return operation;
    }

    void promise(umbel_pending id, const umbel_operation& operation, bool chained) {
        ++w_.submitted;
        if ((operation.flags & UMBEL_OP_DETACHED) != 0) {
            EXPECT_EQ(id, 0u);
            return;
        }
        ASSERT_NE(id, 0u);
        ASSERT_FALSE(promises_.contains(id)) << "a pending that was given before";
        promises_[id] = {operation.code, (operation.flags & UMBEL_OP_MULTI) != 0,  operation.deadline_ns != 0,
                         chained,        (operation.flags & UMBEL_OP_DRAINS) != 0, operation.fd};
    }
    void submit(const umbel_operation& operation) {
        umbel_pending id = 0;
        const umbel_buffer* handed = operation.buffer;
        if (umbel_submit(self_, &operation, 1, &id) < 0) {
            ++w_.refused;
            EXPECT_TRUE(handed == nullptr || handed->data != nullptr) << "taken although it was refused";
            return;
        }
        if (handed != nullptr) {
            EXPECT_EQ(handed->data, nullptr);
            buffers_.pop_back();
        }
        promise(id, operation, false);
    }
    void chain() {
        std::array<umbel_operation, 4> operations{};
        std::array<umbel_pending, 4> ids{};
        std::array<umbel_slice, 4> slices{};
        const std::size_t count = 2 + world_.random_below(3);
        for (std::size_t i = 0; i < count; ++i) {
            operations[i] = one(true);
            slices[i] = slice_;
            if (operations[i].slices != nullptr) operations[i].slices = &slices[i];
        }
        if (umbel_submit(self_, operations.data(), static_cast<std::uint32_t>(count), ids.data()) < 0) {
            ++w_.refused;
            return;
        }
        for (std::size_t i = 0; i < count; ++i) {
            promise(ids[i], operations[i], true);
        }
    }

    void came(umbel_message& message) {
        ASSERT_EQ(message.kind, std::uint32_t{UMBEL_MESSAGE_COMPLETION});
        const auto found = promises_.find(message.pending);
        ASSERT_NE(found, promises_.end()) << "of nothing that was asked for, or forgotten";
        Promise& promise = found->second;
        ASSERT_EQ(promise.terminal, 0u) << "after the last one (C1)";
        if ((message.flags & UMBEL_COMPLETION_MORE) != 0) {
            EXPECT_TRUE(promise.stream);
            ++promise.more;
        } else {
            ++promise.terminal;
            ++w_.fulfilled;
        }
        if (message.result == UMBEL_E_DEADLINE) {
            EXPECT_TRUE(promise.has_deadline);
        }
        if (message.result == -ECANCELED && !w_.drained) {
            EXPECT_TRUE(promise.may_be_cancelled || promise.chained) << "nobody asked for it, of code " << promise.code;
        }
        if (message.result >= 0) {
            switch (promise.code) {
                case UMBEL_OP_OPENAT2:
                    files_.push_back(static_cast<int>(message.result));
                    break;
                case UMBEL_OP_SOCKET:
                    sockets_.push_back(static_cast<int>(message.result));
                    break;
                case UMBEL_OP_STATX:
                    EXPECT_EQ(message.buffer.size, sizeof(struct statx));
                    break;
                default:
                    break;
            }
        }
        const bool reads = promise.code == UMBEL_OP_READ || promise.code == UMBEL_OP_RECV;
        if (reads && message.result > 0) {
            ASSERT_NE(message.buffer.data, nullptr);
            EXPECT_EQ(message.buffer.size, static_cast<std::uint32_t>(message.result));
            EXPECT_LE(message.buffer.size, message.buffer.capacity);
        }
        if (message.buffer.data == nullptr) return;
        if (world_.chance(0.3) && buffers_.size() < 4) {
            buffers_.push_back(message.buffer);
        } else {
            umbel_release(self_, &message.buffer);
        }
    }
    bool take_any(std::uint64_t timeout) {
        umbel_message message;
        if (umbel_receive(self_, timeout, &message) < 0) return false;
        came(message);
        return true;
    }
    void await_one() {
        const auto found = std::find_if(promises_.begin(), promises_.end(),
                                        [](const auto& each) { return each.second.terminal == 0; });
        if (found == promises_.end()) return;
        umbel_message message;
        const int status = umbel_await(self_, found->first, world_.random_below(200'000), &message);
        if (status == UMBEL_E_TIMEOUT) return;
        ASSERT_EQ(status, 0);
        EXPECT_EQ(message.pending, found->first);
        came(message);
    }
    void forget_one() {
        if (promises_.empty()) return;
        auto found = promises_.begin();
        std::advance(found, static_cast<std::ptrdiff_t>(world_.random_below(promises_.size())));
        umbel_forget(self_, found->first);
        w_.forgotten += found->second.terminal == 0 ? 1 : 0;
        if (found->second.chained) {
            for (auto& [id, other] : promises_) other.may_be_cancelled = other.may_be_cancelled || other.chained;
        }
        umbel_message message;
        EXPECT_EQ(umbel_await(self_, found->first, 0, &message), UMBEL_E_INVALID);
        promises_.erase(found);
    }
    void cancel_some() {
        umbel_operation cancel{};
        cancel.fd = -1;
        switch (world_.random_below(3)) {
            case 0: {
                if (promises_.empty()) return;
                auto found = promises_.begin();
                std::advance(found, static_cast<std::ptrdiff_t>(world_.random_below(promises_.size())));
                found->second.may_be_cancelled = true;
                cancel.code = UMBEL_OP_CANCEL;
                cancel.offset = found->first;
                break;
            }
            case 1:
                cancel.code = UMBEL_OP_CANCEL_FD;
                cancel.fd = some(sockets_);
                for (auto& [id, promise] : promises_) {
                    if (promise.fd == cancel.fd) promise.may_be_cancelled = true;
                }
                break;
            default:
                if (world_.chance(0.7)) return;
                cancel.code = UMBEL_OP_CANCEL_ALL;
                for (auto& [id, promise] : promises_) promise.may_be_cancelled = true;
                break;
        }
        submit(cancel);
    }

    umbel_self* self_;
    Witness& w_;
    rt::SimWorld& world_;
    umbel_slice slice_{};
    std::map<umbel_pending, Promise> promises_;
    std::vector<int> files_;
    std::vector<int> sockets_;
    std::vector<umbel_buffer> buffers_;
};

// Outlives the actors' stacks: one that exits in the middle does not unwind.
std::vector<std::unique_ptr<Client>> clients;

void client(umbel_self* self, void*) {
    clients.push_back(std::make_unique<Client>(self));
    Client& mine = *clients.back();
    mine.live();
    mine.over = true;
}
umbel_actor_type client_type = {.size = sizeof(umbel_actor_type),
                                .state_size = 0,
                                .name = "client",
                                .memory_limit = 0,
                                .run = client,
                                .start = nullptr,
                                .message = nullptr,
                                .stop = nullptr,
                                .runtime = nullptr};

// Accepts in a stream, reads a little from each and lets it go: the other end of the clients' sockets.
void server(umbel_self* self, void*) {
    const auto wait = [&](umbel_operation operation) {
        umbel_pending id = 0;
        umbel_message message{};
        if (const int status = umbel_submit(self, &operation, 1, &id); status < 0) return std::int64_t{status};
        umbel_await(self, id, UINT64_MAX, &message);
        umbel_release(self, &message.buffer);
        return message.result;
    };
    umbel_operation operation{};
    operation.code = UMBEL_OP_SOCKET;
    operation.arg = AF_INET;
    operation.arg2 = SOCK_STREAM;
    const int listener = static_cast<int>(wait(operation));
    if (umbel_draining(self) != 0) return;
    ASSERT_GE(listener, 0);
    const sockaddr_in address = address_of(port);
    const umbel_slice slice{&address, sizeof address};
    operation = {};
    operation.code = UMBEL_OP_BIND;
    operation.fd = listener;
    operation.slices = &slice;
    operation.slice_count = 1;
    if (wait(operation) < 0) {
        ASSERT_NE(umbel_draining(self), 0);
        return;
    }
    operation = {};
    operation.code = UMBEL_OP_LISTEN;
    operation.fd = listener;
    operation.arg = 64;
    if (wait(operation) < 0) {
        ASSERT_NE(umbel_draining(self), 0);
        return;
    }
    umbel_ready(self, "");
    while (umbel_draining(self) == 0) {
        umbel_operation accept{};
        accept.code = UMBEL_OP_ACCEPT;
        accept.fd = listener;
        accept.flags = UMBEL_OP_MULTI;
        umbel_pending stream = 0;
        if (umbel_submit(self, &accept, 1, &stream) < 0) break;
        for (;;) {
            umbel_message message;
            ASSERT_EQ(umbel_await(self, stream, UINT64_MAX, &message), 0);
            if (message.result < 0) break;
            EXPECT_NE(message.flags & UMBEL_COMPLETION_MORE, 0u);
            umbel_operation talk{};
            talk.fd = static_cast<int>(message.result);
            talk.code = UMBEL_OP_SEND;
            const umbel_slice bytes{content_of_file().data(), 1 + witness->world.random_below(4000)};
            talk.slices = &bytes;
            talk.slice_count = 1;
            talk.deadline_ns = 300'000;
            (void)wait(talk);
            talk = {};
            talk.fd = static_cast<int>(message.result);
            talk.code = UMBEL_OP_RECV;
            talk.length = 500;
            talk.deadline_ns = 300'000;
            (void)wait(talk);
            talk = {};
            talk.fd = static_cast<int>(message.result);
            talk.code = UMBEL_OP_CLOSE;
            (void)wait(talk);
        }
    }
}
umbel_actor_type server_type = {.size = sizeof(umbel_actor_type),
                                .state_size = 0,
                                .name = "server",
                                .memory_limit = 0,
                                .run = server,
                                .start = nullptr,
                                .message = nullptr,
                                .stop = nullptr,
                                .runtime = nullptr};

// Spawns the clients, some at once, some later.
void parent(umbel_self* self, void*) {
    Witness& w = *witness;
    const std::uint64_t count = 2 + w.world.random_below(20);
    umbel_message nothing;
    if (w.world.chance(0.8)) (void)umbel_receive(self, 1'000'000, &nothing);  // Let the server come first, mostly.
    for (std::uint64_t i = 0; i < count; ++i) {
        umbel_actor_id id = 0;
        if (umbel_spawn(self, &client_type, nullptr, 0, UMBEL_SPREAD, &id) == 0) ++w.spawned;
        umbel_message message;
        if (w.world.chance(0.3)) (void)umbel_receive(self, w.world.random_below(300'000), &message);
    }
}
umbel_actor_type parent_type = {.size = sizeof(umbel_actor_type),
                                .state_size = 0,
                                .name = "parent",
                                .memory_limit = 0,
                                .run = parent,
                                .start = nullptr,
                                .message = nullptr,
                                .stop = nullptr,
                                .runtime = nullptr};

void one_run(std::uint64_t seed, bool cancel_in_the_middle) {
    SimulationOptions options = SimulationOptions::of_seed(seed);
    {
        options.ring.completion_entries = std::max(options.ring.completion_entries, 16u);
        Simulation simulation(seed, options);
        Witness w(simulation);
        witness = &w;
        w.small = options.ring.completion_entries < 1024;
        rt::SimWorld& world = simulation.world;
        world.add_file("/data/file", content_of_file());
        simulation.spawn_main(server_type);
        simulation.spawn_main(parent_type);
        if (cancel_in_the_middle) {
            world.after(rt::Nanoseconds(world.random_below(1'000'000)), [&] {
                w.drained = true;
                simulation.command(rt::command_drain);
            });
            world.after(rt::Nanoseconds(1'000'000 + world.random_below(1'000'000)),
                        [&] { simulation.command(rt::command_cancel); });
        }
        EXPECT_TRUE(simulation.run_until([&] { return w.spawned != 0 && simulation.living() <= 1; }))
            << "actors that wait for ever";
        if (testing::Test::HasFailure()) {
            for (const auto& each : clients) {
                if (!each->over) each->print();
            }
            std::fputs(simulation.log().c_str(), stdout);
        }
        w.drained = true;
        simulation.command(rt::command_drain);
        EXPECT_TRUE(simulation.run_until([&] { return simulation.living() == 0 && simulation.at_rest(); }));
        (void)simulation.run_until([] { return false; }, 2000);
        simulation.expect_nothing_left();
        if (std::getenv("UMBEL_SIM_FIGURES") != nullptr) {
            std::printf(
                "seed %llu: %llu submitted, %llu fulfilled, %llu forgotten, %llu died, %llu refused, %llu parked\n",
                static_cast<unsigned long long>(seed), static_cast<unsigned long long>(w.submitted),
                static_cast<unsigned long long>(w.fulfilled), static_cast<unsigned long long>(w.forgotten),
                static_cast<unsigned long long>(w.died_in_flight), static_cast<unsigned long long>(w.refused),
                static_cast<unsigned long long>(simulation.sum(&rt::ExecutorCounters::high_priority_yields)));
        }
    }
    clients.clear();
    witness = nullptr;
}

// Spec.   Each submission gives exactly one last completion, unless it was forgotten or its owner has died (C1); nothing ends
//         as cancelled or late that nobody cancelled or gave a deadline; when all actors have ended, nothing is in flight,
//         no context is in quarantine, no descriptor is open.                       (completion.h, submission.h, abi.h)
// Method. Two dozen actors with up to 40 random steps each, on any kernel and any size of ring. The test keeps its own
//         account of what was promised to whom.
TEST(Operations, EndOnceAndLeaveNothing) {
    for_each_seed(3000, [](std::uint64_t seed) { one_run(seed, false); });
}

// Spec.   The same when the daemon drains, and then cancels, in the middle.
TEST(Operations, EndWhenTheDaemonDrainsAndCancels) {
    for_each_seed(1500, [](std::uint64_t seed) { one_run(seed, true); });
}

}  // namespace
}  // namespace umbel::test
