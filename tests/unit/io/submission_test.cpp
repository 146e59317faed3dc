// Specification of submission.h and completion.h, without executors: a ring, an owner, and what it is told.
#include "runtime/io/submission.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <climits>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/io/completion.h"
#include "runtime/io/sim_world.h"

namespace umbel::rt {
namespace {

struct Told {
    umbel_pending pending;
    std::int64_t result;
    std::uint32_t flags;
    umbel_buffer buffer;
};

constexpr std::size_t heap_bytes = 64 << 10;

// What an executor is to Submission and Completion: it enters, reaps, and keeps what it is to deliver, unread.
class Desk {
public:
    explicit Desk(const SimRingOptions& options = {}, SimFaults faults = SimFaults::none())
        : world(1, faults),
          ring(world.make_ring(options)),
          timers(world.now()),
          descriptors(std::size_t{1} << 21),
          submission(*ring, timers, descriptors),
          completion(submission),
          memory_(new(std::align_val_t{4096}) std::byte[2 * heap_bytes]),
          owner(memory_, Bytes{heap_bytes}),
          executor(memory_ + heap_bytes, Bytes{heap_bytes}) {
        owner.actor = 77;
        owner.completions_limit = 300;
    }
    ~Desk() {
        ring.reset();
        ::operator delete[](memory_, std::align_val_t{4096});
    }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    Submission::Verdict submit(const umbel_operation& operation, umbel_pending* pending = nullptr) {
        umbel_pending ignored = 0;
        return submission.submit(owner, {&operation, 1}, pending == nullptr ? &ignored : pending, world.now());
    }
    umbel_pending start(const umbel_operation& operation) {
        umbel_pending pending = 0;
        const Submission::Verdict verdict = submit(operation, &pending);
        EXPECT_EQ(verdict.outcome, Submission::Outcome::submitted) << verdict.error;
        return pending;
    }
    void reap() {
        completion.reap(
            UINT_MAX,
            [this](Operation& operation, const CompletionMessage& message) { unread.push_back({&operation, message}); },
            [this](OperationOwner& dead) {
                submission.bury(dead);
                ++buried;
            });
    }
    void turn() {
        (void)ring->enter(1, Nanoseconds::max());
        reap();
        timers.expire(world.now(), [this](Timer& timer) { submission.expired(static_cast<Operation&>(timer)); });
        reap();
        submission.catch_up();
        check();
    }
    // Lets everything happen that will, but what is later than `most` from now.
    void settle(Nanoseconds most = std::chrono::milliseconds(100)) {
        const Nanoseconds end = world.now() + most;
        for (int i = 0; i < 2000 && world.now() < end; ++i) {
            turn();
            if (!world.all_asleep() || ring->sq_pending() != 0) continue;
            if (timers.empty() && !submission.is_behind()) {
                if (!world.advance()) return;
            } else {
                world.pass(std::chrono::microseconds(50));
            }
        }
    }
    // The oldest unread completion, taken; its buffer is the caller's.
    Told take() {
        EXPECT_FALSE(unread.empty());
        if (unread.empty()) return {};
        const auto [operation, came] = unread.front();
        unread.erase(unread.begin());
        umbel_message message{};
        message.pending = operation->pending;
        message.result = came.result;
        message.flags = came.flags;
        message.buffer = came.buffer;
        submission.take(*operation, message);
        return {message.pending, message.result, message.flags, message.buffer};
    }
    Told result_of(const umbel_operation& operation) {
        const umbel_pending pending = start(operation);
        for (int i = 0; i < 1000 && unread.empty(); ++i) {
            turn();
            if (unread.empty() && world.all_asleep()) (void)world.advance();
        }
        const Told told = take();
        EXPECT_EQ(told.pending, pending);
        return told;
    }
    void check() {
        std::array<OperationOwner*, 2> owners{&owner, &executor};
        submission.check_invariants(owners);
        owner.io_heap.check_invariants();
        world.check_invariants();
    }
    void expect_untouched(std::size_t spans = 0) {
        EXPECT_EQ(owner.io_heap.live_spans(), spans);
        EXPECT_EQ(owner.in_flight, 0u);
        EXPECT_EQ(owner.completions_reserved, 0u);
        EXPECT_EQ(submission.credits().used(), 0u);
        EXPECT_TRUE(timers.empty());
    }

    SimWorld world;
    std::unique_ptr<SimRing> ring;
    TimerWheel timers;
    DescriptorTable descriptors;
    Submission submission;
    Completion completion;

private:
    std::byte* memory_;

public:
    OperationOwner owner;
    OperationOwner executor;
    std::vector<std::pair<Operation*, CompletionMessage>> unread;
    unsigned buried = 0;
};

umbel_operation operation_of(std::uint16_t code, int fd = -1, std::uint32_t length = 0, std::uint16_t flags = 0) {
    umbel_operation operation{};
    operation.code = code;
    operation.fd = fd;
    operation.length = length;
    operation.flags = flags;
    return operation;
}
umbel_operation timeout_of(std::uint64_t nanoseconds) {
    umbel_operation operation = operation_of(UMBEL_OP_TIMEOUT);
    operation.offset = nanoseconds;
    return operation;
}
umbel_operation socket_operation() {
    umbel_operation operation = operation_of(UMBEL_OP_SOCKET);
    operation.arg = AF_INET;
    operation.arg2 = SOCK_STREAM;
    return operation;
}

// A listener on port 7000; its descriptor.
int listen(Desk& desk) {
    const int fd = static_cast<int>(desk.result_of(socket_operation()).result);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(7000);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const umbel_slice slice{&address, sizeof address};
    umbel_operation bind = operation_of(UMBEL_OP_BIND, fd);
    bind.slices = &slice;
    bind.slice_count = 1;
    EXPECT_EQ(desk.result_of(bind).result, 0);
    umbel_operation listen = operation_of(UMBEL_OP_LISTEN, fd);
    listen.arg = 64;
    EXPECT_EQ(desk.result_of(listen).result, 0);
    return fd;
}
// A connection whose other end is `client`; its descriptor here.
int connect(Desk& desk, std::shared_ptr<SimClient>& client) {
    const int listener = listen(desk);
    client = desk.world.connect_client(7000);
    return static_cast<int>(desk.result_of(operation_of(UMBEL_OP_ACCEPT, listener)).result);
}

SimRingOptions entries(unsigned submission, unsigned completion) {
    SimRingOptions options;
    options.submission_entries = submission;
    options.completion_entries = completion;
    return options;
}
SimRingOptions tiny() { return entries(4, 8); }
SimRingOptions without(RingFeature feature) {
    SimRingOptions options;
    options.without_features.set(static_cast<std::size_t>(feature));
    return options;
}

// ---- The three cases.

// Spec.   Case 1: with entries and credits there, an operation is in the queue and holds a credit; the kernel has not been
//         entered for it.
TEST(Submission, FillsInAnEntryWithoutEnteringTheKernel) {
    Desk desk;
    const umbel_pending pending = desk.start(operation_of(UMBEL_OP_NOP));
    EXPECT_NE(pending, 0u);
    EXPECT_EQ(desk.ring->sq_pending(), 1u);
    EXPECT_EQ(desk.submission.figures.enters, 0u);
    EXPECT_EQ(desk.submission.credits().used(), 1u);
    desk.settle();
    EXPECT_EQ(desk.take().result, 0);
    desk.expect_untouched();
}

// Spec.   Case 2: with no entry free the ring is flushed, and the operation is submitted all the same.
TEST(Submission, FlushesAFullQueue) {
    Desk desk(entries(4, 64));
    for (int i = 0; i < 5; ++i) (void)desk.start(operation_of(UMBEL_OP_NOP));
    EXPECT_EQ(desk.submission.figures.enters, 1u);
    EXPECT_EQ(desk.ring->sq_pending(), 1u);
    desk.settle();
    EXPECT_EQ(desk.unread.size(), 5u);
}

// Spec.   Case 3: a refused flush parks, and nothing has happened; has_room() says when to try again.
TEST(Submission, ParksWhenTheFlushIsRefused) {
    Desk desk(entries(4, 64));
    for (int i = 0; i < 4; ++i) (void)desk.start(operation_of(UMBEL_OP_NOP));
    desk.ring->refuse(1, EBUSY);
    const std::size_t spans = desk.owner.io_heap.live_spans();
    const Submission::Verdict verdict = desk.submit(operation_of(UMBEL_OP_NOP));
    ASSERT_EQ(verdict.outcome, Submission::Outcome::parked);
    EXPECT_EQ(desk.owner.io_heap.live_spans(), spans);
    EXPECT_EQ(desk.owner.in_flight, 4u);
    EXPECT_EQ(desk.submission.credits().used(), 4u);
    EXPECT_FALSE(desk.submission.has_room(verdict.need));
    desk.turn();
    EXPECT_TRUE(desk.submission.has_room(verdict.need));
}

// Spec.   Case 3 also: no credit left. The completion ring never overflows, however much is wanted.
TEST(Submission, ParksWhenNoCreditIsLeft) {
    Desk desk(tiny());
    unsigned submitted = 0;
    while (desk.submit(operation_of(UMBEL_OP_NOP)).outcome == Submission::Outcome::submitted) ++submitted;
    EXPECT_EQ(submitted, desk.submission.credits().limit());
    desk.settle();
    EXPECT_EQ(desk.ring->overflows(), 0u);
    EXPECT_EQ(desk.unread.size(), submitted);
}

// Spec.   Idle receives cannot take the last credits: what ends by itself goes through beside them.          (credits.h)
TEST(Credits, SomeAreKeptForWhatEndsByItself) {
    Desk desk(tiny());
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    while (desk.submit(operation_of(UMBEL_OP_RECV, fd, 100)).outcome == Submission::Outcome::submitted) {
    }
    EXPECT_EQ(desk.submit(operation_of(UMBEL_OP_NOP)).outcome, Submission::Outcome::submitted);
}

// ---- Nothing half done.

// Spec.   With a full I/O heap nothing has happened: no span, no credit, no room, no entry, and the author's buffer is his.
TEST(Submission, LeavesNothingBehindWhenTheHeapIsFull) {
    Desk desk;
    umbel_operation large = operation_of(UMBEL_OP_READ, 0, UMBEL_BUFFER_MAX);  // More than the whole heap.
    EXPECT_EQ(desk.submit(large).error, UMBEL_E_IO_HEAP_FULL);
    desk.expect_untouched();
    EXPECT_EQ(desk.ring->sq_pending(), 0u);
    // In the middle of a chain, with a deadline and a buffer of the author's in front.
    std::array<umbel_operation, 3> chain{timeout_of(10), operation_of(UMBEL_OP_RECV, 0, 1000), large};
    chain[1].deadline_ns = 1'000'000;
    std::array<umbel_pending, 3> pendings{};
    EXPECT_EQ(desk.submission.submit(desk.owner, chain, pendings.data(), desk.world.now()).error, UMBEL_E_IO_HEAP_FULL);
    desk.expect_untouched();
    EXPECT_EQ(desk.ring->sq_pending(), 0u);
    EXPECT_EQ(pendings[0], 0u);
    desk.check();
}

// Spec.   Room for each completion is reserved at submission; without it: UMBEL_E_MAILBOX_FULL. Taking the last completion
//         gives it back.
TEST(Submission, ReservesRoomForTheCompletion) {
    Desk desk;
    desk.owner.completions_limit = 2;
    (void)desk.start(operation_of(UMBEL_OP_NOP));
    (void)desk.start(operation_of(UMBEL_OP_NOP));
    EXPECT_EQ(desk.submit(operation_of(UMBEL_OP_NOP)).error, UMBEL_E_MAILBOX_FULL);
    desk.settle();
    EXPECT_EQ(desk.submit(operation_of(UMBEL_OP_NOP)).error, UMBEL_E_MAILBOX_FULL) << "unread ones need theirs still";
    (void)desk.take();
    EXPECT_EQ(desk.submit(operation_of(UMBEL_OP_NOP)).error, 0);
}

// Spec.   What makes no sense is refused before anything happens.                                              (abi.h)
TEST(Validation, RefusesWhatMakesNoSense) {
    Desk desk;
    const auto refused = [&](const umbel_operation& operation) { return desk.submit(operation).error; };
    EXPECT_EQ(refused(operation_of(UMBEL_OP_COUNT)), UMBEL_E_UNSUPPORTED) << "of a newer runtime";
    EXPECT_EQ(refused(operation_of(UMBEL_OP_READ, 0, 0)), UMBEL_E_INVALID) << "no length";
    EXPECT_EQ(refused(operation_of(UMBEL_OP_READ, 0, UMBEL_BUFFER_MAX + 1)), UMBEL_E_INVALID);
    EXPECT_EQ(refused(operation_of(UMBEL_OP_READ, 0, 10, UMBEL_OP_MULTI)), UMBEL_E_INVALID) << "no stream";
    EXPECT_EQ(refused(operation_of(UMBEL_OP_RECV, 0, 0, UMBEL_OP_MULTI | UMBEL_OP_DETACHED)), UMBEL_E_INVALID);
    EXPECT_EQ(refused(operation_of(UMBEL_OP_OPENAT2)), UMBEL_E_INVALID) << "no path";
    EXPECT_EQ(refused(operation_of(UMBEL_OP_CONNECT, 0)), UMBEL_E_INVALID) << "no address";
    const std::string long_path(5000, 'x');
    const umbel_slice slice{long_path.data(), long_path.size()};
    umbel_operation open = operation_of(UMBEL_OP_OPENAT2, UMBEL_CWD);
    open.slices = &slice;
    open.slice_count = 1;
    EXPECT_EQ(refused(open), -ENAMETOOLONG);
    umbel_operation nop = operation_of(UMBEL_OP_NOP);
    nop.slices = &slice;
    nop.slice_count = 1;
    EXPECT_EQ(refused(nop), UMBEL_E_INVALID) << "data where none is taken";
    char place[100];
    umbel_operation stream = operation_of(UMBEL_OP_RECV, 0, 0, UMBEL_OP_MULTI);
    stream.into = place;
    EXPECT_EQ(refused(stream), UMBEL_E_INVALID) << "a stream brings its own buffers";
    std::array<umbel_operation, 2> cancel_in_chain{operation_of(UMBEL_OP_NOP), operation_of(UMBEL_OP_CANCEL_ALL)};
    std::array<umbel_pending, 2> pendings{};
    EXPECT_EQ(desk.submission.submit(desk.owner, cancel_in_chain, pendings.data(), {}).error, UMBEL_E_INVALID);
    EXPECT_EQ(desk.submission.submit(desk.owner, {}, pendings.data(), {}).error, UMBEL_E_INVALID);
    desk.expect_untouched();

    // One buffer, two operations of a chain.
    desk.world.add_file("/f", "0123456789");
    const umbel_slice path{"/f", 2};
    open.slices = &path;
    const int fd = static_cast<int>(desk.result_of(open).result);
    umbel_buffer buffer = desk.result_of(operation_of(UMBEL_OP_READ, fd, 10)).buffer;
    ASSERT_NE(buffer.data, nullptr);
    std::array<umbel_operation, 2> shared{operation_of(UMBEL_OP_READ, fd, 5), operation_of(UMBEL_OP_WRITE, fd)};
    shared[0].buffer = shared[1].buffer = &buffer;
    EXPECT_EQ(desk.submission.submit(desk.owner, shared, pendings.data(), {}).error, UMBEL_E_INVALID);
    EXPECT_NE(buffer.data, nullptr);
    desk.submission.release(desk.owner, buffer);
    desk.expect_untouched();
}

// ---- Chains.

// Spec.   A chain is reserved whole: parked, none of it is in the queue.
TEST(Chains, AreReservedWhole) {
    Desk desk(entries(4, 64));
    (void)desk.start(operation_of(UMBEL_OP_NOP));
    (void)desk.start(operation_of(UMBEL_OP_NOP));
    desk.ring->refuse(1, EBUSY);
    std::array<umbel_operation, 3> chain{operation_of(UMBEL_OP_NOP), operation_of(UMBEL_OP_NOP),
                                         operation_of(UMBEL_OP_NOP)};
    std::array<umbel_pending, 3> pendings{};
    EXPECT_EQ(desk.submission.submit(desk.owner, chain, pendings.data(), {}).outcome, Submission::Outcome::parked);
    EXPECT_EQ(desk.ring->sq_pending(), 2u);
    EXPECT_EQ(desk.owner.in_flight, 2u);
}

// Spec.   A chain that this ring can never take is refused, not parked.
TEST(Chains, ThatNeverFitAreRefused) {
    Desk desk(entries(16, 16));
    std::vector<umbel_operation> receives(14, operation_of(UMBEL_OP_RECV, 0, 64));
    std::array<umbel_pending, UMBEL_CHAIN_MAX> pendings{};
    EXPECT_EQ(desk.submission.submit(desk.owner, receives, pendings.data(), {}).error, UMBEL_E_INVALID);
    Desk small(tiny());
    std::vector<umbel_operation> five(5, operation_of(UMBEL_OP_NOP));
    EXPECT_EQ(small.submission.submit(small.owner, five, pendings.data(), {}).error, UMBEL_E_INVALID);
}

// Spec.   While the daemon drains, a chain goes no further than an operation that the drain ends; what stands before it is
//         carried out, and is linked to nothing else.
TEST(Chains, AreCutOffWhereADrainEndsThem) {
    Desk desk;
    desk.submission.begin_drain();
    std::array<umbel_operation, 3> chain{operation_of(UMBEL_OP_SHUTDOWN, 4242),
                                         operation_of(UMBEL_OP_RECV, 0, 10, UMBEL_OP_DRAINS),
                                         operation_of(UMBEL_OP_NOP)};
    std::array<umbel_pending, 3> pendings{};
    ASSERT_EQ(desk.submission.submit(desk.owner, chain, pendings.data(), {}).error, 0);
    const umbel_pending stranger = desk.start(operation_of(UMBEL_OP_NOP));
    desk.settle();
    ASSERT_EQ(desk.unread.size(), 4u);
    std::array<Told, 4> told{};
    for (Told& each : told) each = desk.take();
    for (const Told& each : told) {
        if (each.pending == pendings[0]) {
            EXPECT_EQ(each.result, -EBADF);
        } else if (each.pending == stranger) {
            EXPECT_EQ(each.result, 0) << "it failed with somebody else's chain";
        } else {
            EXPECT_EQ(each.result, -ECANCELED);
        }
    }
    desk.expect_untouched();
}

// Spec.   An operation of a chain can be cancelled, and has its deadline, before the chain has come to it.
// Method. A receive behind a timeout that outlasts the cancel: when the receive begins, nothing else would end it.
TEST(Chains, LaterMembersCanBeCancelled) {
    for (const bool by_deadline : {false, true}) {
        Desk desk;
        std::shared_ptr<SimClient> client;
        const int fd = connect(desk, client);
        std::array<umbel_operation, 2> chain{timeout_of(5'000'000), operation_of(UMBEL_OP_RECV, fd, 100)};
        if (by_deadline) chain[1].deadline_ns = 1'000'000;
        std::array<umbel_pending, 2> pendings{};
        ASSERT_EQ(desk.submission.submit(desk.owner, chain, pendings.data(), desk.world.now()).error, 0);
        if (!by_deadline) {
            umbel_operation cancel = operation_of(UMBEL_OP_CANCEL);
            cancel.offset = pendings[1];
            cancel.flags = UMBEL_OP_DETACHED;
            ASSERT_EQ(desk.submit(cancel).error, 0);
        }
        desk.settle();
        ASSERT_EQ(desk.unread.size(), 2u);
        EXPECT_EQ(desk.take().pending, pendings[0]);
        const Told told = desk.take();
        EXPECT_EQ(told.pending, pendings[1]);
        EXPECT_EQ(told.result, by_deadline ? UMBEL_E_DEADLINE : -ECANCELED);
        desk.expect_untouched();
    }
}

// ---- Timeouts and deadlines.

// Spec.   A timeout gives 0; one with an earlier deadline UMBEL_E_DEADLINE; a cancelled one -ECANCELED.
TEST(Timeouts, HaveDeadlinesToo) {
    Desk desk;
    EXPECT_EQ(desk.result_of(timeout_of(0)).result, 0);
    umbel_operation late = timeout_of(10'000'000);
    late.deadline_ns = 100'000;
    const Nanoseconds before = desk.world.now();
    (void)desk.start(late);
    desk.settle(std::chrono::milliseconds(5));
    EXPECT_EQ(desk.take().result, UMBEL_E_DEADLINE);
    EXPECT_LT(desk.world.now() - before, std::chrono::milliseconds(9));
    const umbel_pending pending = desk.start(late);
    desk.submission.cancel_matching(desk.owner, [&](const Operation& other) { return other.pending == pending; });
    desk.settle(std::chrono::milliseconds(5));
    EXPECT_EQ(desk.take().result, -ECANCELED);
    desk.expect_untouched();
}

// Spec.   An operation that its deadline ends says so, not that it was cancelled.
TEST(Completion, NamesTheDeadline) {
    Desk desk;
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    umbel_operation receive = operation_of(UMBEL_OP_RECV, fd, 100);
    receive.deadline_ns = 200'000;
    (void)desk.start(receive);
    desk.settle();
    EXPECT_EQ(desk.take().result, UMBEL_E_DEADLINE);
    desk.expect_untouched();
}

// ---- Streams.

std::string receive_all(Desk& desk, std::size_t bytes) {
    std::string all;
    for (int i = 0; i < 400 && all.size() < bytes; ++i) {
        desk.settle(std::chrono::milliseconds(1));
        while (!desk.unread.empty()) {
            Told told = desk.take();
            EXPECT_NE(told.flags & UMBEL_COMPLETION_MORE, 0u) << told.result;
            if (told.buffer.data == nullptr) return all;
            all.append(reinterpret_cast<const char*>(told.buffer.data), told.buffer.size);
            desk.submission.release(desk.owner, told.buffer);
        }
    }
    return all;
}
std::string text_of(std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i < length; ++i) text.push_back(static_cast<char>('a' + i % 26));
    return text;
}

// Spec.   A stream of receives goes on, armed one by one by the executor, where the kernel cannot do it in many shots.
TEST(Streams, AreArmedOneByOneWhereTheKernelCannot) {
    Desk desk(without(RingFeature::multishot_recv));
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    (void)desk.start(operation_of(UMBEL_OP_RECV, fd, 7, UMBEL_OP_MULTI));
    client->send(text_of(100));
    EXPECT_EQ(receive_all(desk, 100), text_of(100));
    client->send(text_of(30'000));
    EXPECT_EQ(receive_all(desk, 30'000), text_of(30'000));
    client->finish();
    desk.settle();
    const Told last = desk.take();
    EXPECT_EQ(last.result, 0);
    EXPECT_EQ(last.flags & UMBEL_COMPLETION_MORE, 0u);
    desk.expect_untouched();
}

// Spec.   The same with the kernel's own multishot, also when the kernel ends it, or has no buffers, all the time; every
//         provided buffer comes back.
TEST(Streams, GoOnWhenTheKernelEndsThem) {
    SimFaults faults;
    faults.ended_multishot = 0.3;
    faults.no_buffers = 0.3;
    Desk desk({}, faults);
    ASSERT_TRUE(desk.submission.make_buffers(desk.executor, 8, Bytes{256}));
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    (void)desk.start(operation_of(UMBEL_OP_RECV, fd, 0, UMBEL_OP_MULTI));
    client->send(text_of(50'000));
    EXPECT_EQ(receive_all(desk, 50'000), text_of(50'000));
    EXPECT_EQ(desk.submission.buffers()->available(), 8u);
    EXPECT_EQ(desk.owner.provided_held, 0u);
}

// Spec.   A stream whose completions are not read is paused and does not fill the mailbox beyond its room; it goes on when
//         they are read, and nothing is missing.
TEST(Streams, ArePausedWhenTheirReaderIsSlow) {
    for (const bool multishot : {true, false}) {
        Desk desk(multishot ? SimRingOptions{} : without(RingFeature::multishot_poll));
        desk.owner.completions_limit = 100'000;
        std::shared_ptr<SimClient> client;
        const int fd = connect(desk, client);
        umbel_operation poll = operation_of(UMBEL_OP_POLL, fd, 0, UMBEL_OP_MULTI);
        poll.arg = POLLIN;
        const umbel_pending pending = desk.start(poll);
        for (int i = 0; i < 300; ++i) {
            client->send("x");
            desk.settle(std::chrono::microseconds(200));
        }
        const Operation* stream = desk.submission.find(desk.owner, pending);
        ASSERT_NE(stream, nullptr);
        EXPECT_GE(desk.unread.size(), 60u);
        EXPECT_LE(desk.unread.size(), stream->reserved);
        EXPECT_NE(stream->state, OperationState::armed) << "paused: the kernel does not have it";
        while (!desk.unread.empty()) EXPECT_NE(desk.take().flags & UMBEL_COMPLETION_MORE, 0u);
        client->send("x");
        desk.settle();
        EXPECT_FALSE(desk.unread.empty()) << "it goes on";
    }
}

// Spec.   A stream that is armed one by one waits for its reader when what it brought fills the I/O heap.
TEST(Streams, WaitForTheirReaderWhenTheHeapIsFull) {
    Desk desk(without(RingFeature::multishot_recv));
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    (void)desk.start(operation_of(UMBEL_OP_RECV, fd, 0, UMBEL_OP_MULTI));
    for (int i = 0; i < 20; ++i) {  // 64 KiB hold three buffers of 16.
        client->send("piece");
        desk.settle(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(receive_all(desk, 100).size(), 100u);
}

// ---- Those that nobody wants any more.

// Spec.   A forgotten operation is told to nobody, and what it brings is freed.
TEST(Completion, TellsNobodyOfAForgottenOne) {
    Desk desk;
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    const std::size_t open = desk.world.open_descriptors();
    const umbel_pending pending = desk.start(operation_of(UMBEL_OP_RECV, fd, 100));
    const umbel_pending fresh = desk.start(socket_operation());
    desk.submission.forget(*desk.submission.find(desk.owner, pending));
    desk.submission.forget(*desk.submission.find(desk.owner, fresh));
    desk.settle();
    EXPECT_TRUE(desk.unread.empty());
    EXPECT_EQ(desk.world.open_descriptors(), open);
    EXPECT_EQ(desk.submission.find(desk.owner, pending), nullptr);
    desk.expect_untouched();
}

// Spec.   The context of a dead owner is its own until the last completion, and is buried then, once; a descriptor that
//         arrives for it is closed.
TEST(Completion, BuriesADeadOwnerAfterItsLastCompletion) {
    Desk desk;
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    const std::size_t open = desk.world.open_descriptors();
    (void)desk.start(operation_of(UMBEL_OP_RECV, fd, 100));
    (void)desk.start(socket_operation());
    (void)desk.start(timeout_of(1'000'000));
    desk.submission.end(desk.owner);
    EXPECT_EQ(desk.buried, 0u);
    EXPECT_GT(desk.owner.io_heap.live_spans(), 0u) << "the kernel may still write there";
    desk.settle();
    EXPECT_EQ(desk.buried, 1u);
    EXPECT_EQ(desk.world.open_descriptors(), open);
    desk.expect_untouched();
}

// Spec.   A socket that was made without the kernel's help is closed with its maker, even before anybody reaped it.
TEST(Descriptors, MadeWithoutTheKernelAreClosedWithTheirMaker) {
    SimRingOptions old;
    old.without_opcodes.set(IORING_OP_SOCKET);
    Desk desk(old);
    (void)desk.start(socket_operation());
    EXPECT_EQ(desk.world.open_descriptors(), 1u);
    desk.submission.end(desk.owner);
    EXPECT_EQ(desk.world.open_descriptors(), 0u);
}

// Spec.   A close is carried out even if everything of its owner is cancelled at once.
// Method. Many times: whether a cancel would reach it is chance.
TEST(Descriptors, AreClosedEvenIfTheCloserEndsAtOnce) {
    for (int i = 0; i < 50; ++i) {
        Desk desk;
        for (int k = 0; k < i; ++k) (void)desk.world.random();
        const int fd = static_cast<int>(desk.result_of(socket_operation()).result);
        (void)desk.start(operation_of(UMBEL_OP_CLOSE, fd));
        desk.submission.end(desk.owner);
        desk.settle();
        EXPECT_EQ(desk.world.open_descriptors(), 0u);
        EXPECT_EQ(desk.buried, 1u);
    }
}

// Spec.   A close whose chain fails before it has not happened: the descriptor is its owner's still.
TEST(Descriptors, ComeBackWhenTheChainFails) {
    Desk desk;
    const int fd = static_cast<int>(desk.result_of(socket_operation()).result);
    ASSERT_TRUE(desk.descriptors.owned_by(fd, desk.owner.actor));
    std::array<umbel_operation, 2> chain{operation_of(UMBEL_OP_SHUTDOWN, 4242), operation_of(UMBEL_OP_CLOSE, fd)};
    std::array<umbel_pending, 2> pendings{};
    ASSERT_EQ(desk.submission.submit(desk.owner, chain, pendings.data(), {}).error, 0);
    desk.settle();
    (void)desk.take();
    EXPECT_EQ(desk.take().result, -ECANCELED);
    EXPECT_TRUE(desk.descriptors.owned_by(fd, desk.owner.actor));
    EXPECT_FALSE(desk.owner.descriptors.none());
}

// Spec.   close() ends what waits on the descriptor: receives, accepts and polls of the same actor.                (abi.h)
TEST(Descriptors, ClosingEndsWhatWaitsOnThem) {
    Desk desk;
    std::shared_ptr<SimClient> client;
    const int fd = connect(desk, client);
    const umbel_pending receive = desk.start(operation_of(UMBEL_OP_RECV, fd, 100));
    desk.settle();
    (void)desk.start(operation_of(UMBEL_OP_CLOSE, fd));
    desk.settle();
    ASSERT_EQ(desk.unread.size(), 2u);
    for (int i = 0; i < 2; ++i) {
        const Told told = desk.take();
        EXPECT_EQ(told.result, told.pending == receive ? -ECANCELED : 0);
    }
}

}  // namespace
}  // namespace umbel::rt
