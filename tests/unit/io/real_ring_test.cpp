// Specification of real_ring.h, on the kernel that runs it. Rungs and features it lacks cannot be tried here.
#include "runtime/io/real_ring.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <thread>
#include <vector>

namespace umbel::rt {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::unique_ptr<RealRing> make_ring(const RingOptions& options = {}) {
    Result<std::unique_ptr<RealRing>> ring = RealRing::create(options);
    if (!ring) {
        ADD_FAILURE() << ring.error().message;
        return nullptr;
    }
    return std::move(*ring);
}

RingOptions small(unsigned submission, unsigned completion) {
    RingOptions options;
    options.submission_entries = submission;
    options.completion_entries = completion;
    return options;
}

void submit_nop(Ring& ring, std::uint64_t user_data) {
    io_uring_sqe* sqe = ring.next();
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
}

/// Reads all completions that are in the queue: user_data → result. Fails on a second one for the same user_data.
void reap(Ring& ring, std::map<std::uint64_t, int>& results) {
    while (const io_uring_cqe* cqe = ring.peek()) {
        EXPECT_TRUE(results.emplace(cqe->user_data, cqe->res).second) << "completed twice: " << cqe->user_data;
        ring.advance(1);
    }
    ring.check_invariants();
}

struct SocketPair {
    std::array<int, 2> end{-1, -1};
    SocketPair() { EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end.data()), 0); }
    SocketPair(const SocketPair&) = delete;
    SocketPair& operator=(const SocketPair&) = delete;
    ~SocketPair() {
        close(end[0]);
        close(end[1]);
    }
};

class Ladder : public testing::TestWithParam<RingStep> {};

// Spec.   On every rung from which the ladder is started, operations that complete at once and operations that wait
//         give one completion each.
TEST_P(Ladder, RunsNopsAndReads) {
    RingOptions options;
    options.first_step = GetParam();
    auto ring = make_ring(options);
    ASSERT_NE(ring, nullptr);
    EXPECT_GE(ring->features().step, GetParam());

    std::map<std::uint64_t, int> results;
    for (std::uint64_t i = 0; i < 100; ++i) submit_nop(*ring, i);
    ASSERT_EQ(ring->enter(0, {}), 100);
    SocketPair pair;
    std::array<char, 8> buffer{};
    io_uring_sqe* sqe = ring->next();
    io_uring_prep_read(sqe, pair.end[0], buffer.data(), buffer.size(), static_cast<std::uint64_t>(-1));
    sqe->user_data = 100;
    ASSERT_EQ(ring->enter(0, {}), 1);
    reap(*ring, results);
    EXPECT_EQ(results.size(), 100u);
    ASSERT_EQ(write(pair.end[1], "umbel", 5), 5);
    EXPECT_GE(ring->enter(1, milliseconds(1000)), 0);
    reap(*ring, results);
    EXPECT_EQ(results[100], 5);
    EXPECT_EQ(std::string_view(buffer.data(), 5), "umbel");
}

INSTANTIATE_TEST_SUITE_P(RealRing, Ladder,
                         testing::Values(RingStep::deferred, RingStep::cooperative, RingStep::submit_all,
                                         RingStep::basic),
                         [](const auto& tested) { return "From" + std::to_string(static_cast<int>(tested.param)); });

// Spec.   A ring of 4 and 8 entries works, and next() hands out no more than it has (I2).
TEST(RealRing, WorksWithFourEntries) {
    auto ring = make_ring(small(4, 8));
    ASSERT_NE(ring, nullptr);
    EXPECT_EQ(ring->submission_entries(), 4u);
    EXPECT_EQ(ring->completion_entries(), 8u);
    std::map<std::uint64_t, int> results;
    for (std::uint64_t round = 0; round < 100; ++round) {
        ASSERT_TRUE(ring->can_reserve(4));
        ASSERT_FALSE(ring->can_reserve(5));
        for (std::uint64_t i = 0; i < 4; ++i) submit_nop(*ring, 4 * round + i);
        ASSERT_FALSE(ring->can_reserve(1));
        ASSERT_EQ(ring->sq_pending(), 4u);
        ASSERT_EQ(ring->enter(0, {}), 4);
        ASSERT_EQ(ring->sq_free(), 4u);
        reap(*ring, results);
    }
    EXPECT_EQ(results.size(), 400u);
    EXPECT_FALSE(ring->overflowed());
}

// Spec.   Operations submitted beyond the room for their completions are seen in overflowed() and are not lost.
// Method. 1000 NOPs on a completion queue of 8, none read until all are submitted.
TEST(RealRing, AnOverflowIsSeenAndLosesNothing) {
    auto ring = make_ring(small(4, 8));
    ASSERT_NE(ring, nullptr);
    std::uint64_t submitted = 0;
    while (submitted < 1000) {
        while (ring->can_reserve(1) && submitted < 1000) submit_nop(*ring, submitted++);
        ASSERT_GE(ring->enter(0, {}), 0);
    }
    EXPECT_TRUE(ring->overflowed());
    EXPECT_TRUE(ring->needs_enter());
    std::map<std::uint64_t, int> results;
    for (int enters = 0; results.size() < 1000 && enters < 1000; ++enters) {
        reap(*ring, results);
        ASSERT_GE(ring->enter(0, {}), 0);
    }
    EXPECT_EQ(results.size(), 1000u);
    EXPECT_FALSE(ring->overflowed());
    EXPECT_EQ(ring->cq_dropped(), 0u);
}

// Spec.   One enter(0) brings everything that is ready, however much it is.
// Method. 200 receives that wait, and bytes for all of them: the kernel by itself brings 20 a call.
TEST(RealRing, OneEnterBringsAllThatIsReady) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    constexpr std::size_t count = 200;
    std::vector<std::unique_ptr<SocketPair>> pairs;
    std::array<char, count> bytes{};
    for (std::size_t i = 0; i < count; ++i) {
        pairs.push_back(std::make_unique<SocketPair>());
        io_uring_sqe* sqe = ring->next();
        io_uring_prep_recv(sqe, pairs[i]->end[0], &bytes[i], 1, 0);
        sqe->user_data = i;
    }
    ASSERT_EQ(ring->enter(0, {}), static_cast<int>(count));
    EXPECT_EQ(ring->peek(), nullptr);
    for (auto& pair : pairs) ASSERT_EQ(send(pair->end[1], "x", 1, 0), 1);
    ASSERT_EQ(ring->enter(0, {}), 0);
    EXPECT_EQ(ring->cq_ready(), count);
    EXPECT_FALSE(ring->needs_enter());
}

// Spec.   A sleep without completions ends at its timeout with -ETIME; one that also submits returns the count.
TEST(RealRing, ASleepEndsAtItsTimeout) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    const Nanoseconds begin = ring->clock().now();
    EXPECT_EQ(ring->enter(1, milliseconds(20)), -ETIME);
    EXPECT_GE(ring->clock().now() - begin, milliseconds(20));
    EXPECT_EQ(ring->enter(1, milliseconds(-5)), -ETIME);
    submit_nop(*ring, 1);
    EXPECT_EQ(ring->enter(1, milliseconds(20)), 1);
    EXPECT_NE(ring->peek(), nullptr);
}

// Spec.   wake() from another thread ends a sleep; a wake before the sleep is not lost.
TEST(RealRing, AnotherThreadWakesASleeper) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    for (int round = 0; round < 20; ++round) {
        std::uint64_t counter = 0;
        io_uring_sqe* sqe = ring->next();
        io_uring_prep_read(sqe, ring->wake_fd(), &counter, sizeof counter, 0);
        sqe->user_data = 7;
        std::thread other([&ring, round] {
            if (round % 2 == 0) std::this_thread::sleep_for(milliseconds(2));
            ring->wake();
        });
        ASSERT_EQ(ring->enter(1, milliseconds(5000)), 1);
        const io_uring_cqe* cqe = ring->peek();
        ASSERT_NE(cqe, nullptr);
        EXPECT_EQ(cqe->user_data, 7u);
        EXPECT_EQ(cqe->res, 8);
        EXPECT_EQ(counter, 1u);
        ring->advance(1);
        other.join();
    }
}

// Spec.   A receive that selects a buffer gets one of the group, named in the completion's flags; without a buffer it
//         fails with ENOBUFS; the group can be given up.
TEST(RealRing, ReceivesIntoProvidedBuffers) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    if (!ring->features().has(RingFeature::buffer_rings)) GTEST_SKIP() << ring->features().summary();
    void* memory = std::aligned_alloc(4096, 4096);
    ASSERT_NE(memory, nullptr);
    std::array<std::array<char, 64>, 4> buffers{};
    BufferRing group(memory, 4, 9);
    for (std::uint16_t id = 0; id < 4; ++id) group.add(buffers[id].data(), 64, id);
    group.publish();
    ASSERT_EQ(ring->register_buffer_ring(group), 0);
    EXPECT_EQ(ring->register_buffer_ring(group), -EEXIST);

    SocketPair pair;
    ASSERT_EQ(send(pair.end[1], "floret", 6, 0), 6);
    for (int i = 0; i < 5; ++i) {
        io_uring_sqe* sqe = ring->next();
        io_uring_prep_recv(sqe, pair.end[0], nullptr, 64, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 9;
        ASSERT_EQ(ring->enter(1, milliseconds(1000)), 1);
        const io_uring_cqe* cqe = ring->peek();
        ASSERT_NE(cqe, nullptr);
        if (i < 4) {
            ASSERT_EQ(cqe->res, 6);
            ASSERT_TRUE(cqe->flags & IORING_CQE_F_BUFFER);
            const std::size_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            ASSERT_LT(id, 4u);
            EXPECT_EQ(std::string_view(buffers[id].data(), 6), "floret");
        } else {
            EXPECT_EQ(cqe->res, -ENOBUFS);
        }
        ring->advance(1);
        ASSERT_EQ(send(pair.end[1], "floret", 6, 0), 6);
    }
    EXPECT_EQ(ring->unregister_buffer_ring(9), 0);
    EXPECT_LT(ring->unregister_buffer_ring(9), 0);
    std::free(memory);
}

sockaddr_in loopback() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Spec.   call() does at once what the kernel's opcodes do, for operations that cannot block, and refuses others.
TEST(RealRing, CallsTakeThePlaceOfMissingOpcodes) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    io_uring_sqe sqe{};
    io_uring_prep_socket(&sqe, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0, 0);
    const int fd = ring->call(sqe);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(ring->set_socket_option(fd, SOL_SOCKET, SO_REUSEADDR, 1), 0);
    sockaddr_in address = loopback();
    sqe = {};
    prep_bind(&sqe, fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    EXPECT_EQ(ring->call(sqe), 0);
    sqe = {};
    prep_listen(&sqe, fd, 16);
    EXPECT_EQ(ring->call(sqe), 0);
    socklen_t length = sizeof address;
    EXPECT_EQ(ring->local_address(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
    EXPECT_NE(address.sin_port, 0);
    sqe = {};
    io_uring_prep_shutdown(&sqe, fd, SHUT_RDWR);
    EXPECT_EQ(ring->call(sqe), 0);
    sqe = {};
    io_uring_prep_close(&sqe, fd);
    EXPECT_EQ(ring->call(sqe), 0);
    EXPECT_EQ(ring->call(sqe), -EBADF);
    sqe = {};
    io_uring_prep_read(&sqe, fd, nullptr, 0, 0);
    EXPECT_EQ(ring->call(sqe), -EOPNOTSUPP);
}

// Spec.   Where the kernel has the opcodes, bind and listen work in the ring as prepared here.
TEST(RealRing, BindsAndListensInTheRing) {
    auto ring = make_ring();
    ASSERT_NE(ring, nullptr);
    if (!ring->features().supports(op_bind) || !ring->features().supports(op_listen))
        GTEST_SKIP() << ring->features().summary();
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    sockaddr_in address = loopback();
    ASSERT_TRUE(ring->can_reserve(2));
    io_uring_sqe* sqe = ring->next();
    prep_bind(sqe, fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    sqe->flags |= IOSQE_IO_LINK;
    sqe->user_data = 1;
    sqe = ring->next();
    prep_listen(sqe, fd, 16);
    sqe->user_data = 2;
    ASSERT_EQ(ring->enter(2, milliseconds(1000)), 2);
    std::map<std::uint64_t, int> results;
    reap(*ring, results);
    EXPECT_EQ(results, (std::map<std::uint64_t, int>{{1, 0}, {2, 0}}));
    close(fd);
}

// Spec.   What a test says is missing is missing; nothing else is.
TEST(RealRing, PretendsToLackWhatItIsToldTo) {
    auto full = make_ring();
    RingOptions options;
    options.without_opcodes.set(op_bind);
    options.without_features.set(static_cast<std::size_t>(RingFeature::buffer_rings));
    options.without_features.set(static_cast<std::size_t>(RingFeature::registered_ring));
    auto ring = make_ring(options);
    ASSERT_NE(full, nullptr);
    ASSERT_NE(ring, nullptr);
    EXPECT_TRUE(ring->features().supports(IORING_OP_READ));
    EXPECT_FALSE(ring->features().supports(op_bind));
    EXPECT_FALSE(ring->features().supports(4711));
    EXPECT_FALSE(ring->features().has(RingFeature::buffer_rings));
    EXPECT_EQ(ring->features().opcodes | options.without_opcodes, full->features().opcodes | options.without_opcodes);
    EXPECT_THAT(ring->features().summary(), HasSubstr("bind"));
    EXPECT_THAT(ring->features().summary(), HasSubstr("provided-buffer rings"));
    void* memory = std::aligned_alloc(4096, 4096);
    EXPECT_EQ(ring->register_buffer_ring(BufferRing(memory, 4, 1)), -EINVAL);
    std::free(memory);
    submit_nop(*ring, 1);
    EXPECT_EQ(ring->enter(1, milliseconds(1000)), 1);
}

// Spec.   A kernel without one of the features we use says which; one without any names the needed version.
TEST(RingFeatures, TheSummaryNamesTheRungAndWhatIsMissing) {
    RingFeatures features;
    features.opcodes.set();
    features.features.set();
    features.step = RingStep::deferred;
    EXPECT_EQ(features.summary(), "io_uring: deferred task run (6.1); complete");
    features.step = RingStep::basic;
    features.opcodes.reset(op_listen);
    features.features.reset(static_cast<std::size_t>(RingFeature::no_iowait));
    EXPECT_EQ(features.summary(), "io_uring: basic (5.15); lacks no-iowait, listen");
}

// Spec.   Every refusal is a system error in one line that names the cause and the remedy.
TEST(SetupRefusal, NamesCauseAndRemedy) {
    RefusalFacts facts;
    facts.submission_entries = 256;
    facts.completion_entries = 4096;
    for (int error : {EPERM, ENOSYS, ENOMEM, EMFILE, ENFILE, EINVAL, EIO, 9999}) {
        const Error refusal = setup_refusal(error, facts);
        EXPECT_EQ(refusal.error_class, ErrorClass::system);
        EXPECT_EQ(refusal.message.find('\n'), std::string::npos);
        EXPECT_GT(refusal.message.size(), 60u) << refusal.message;
    }
    EXPECT_THAT(setup_refusal(EPERM, facts).message, HasSubstr("seccomp"));
    facts.io_uring_disabled = 0;
    EXPECT_THAT(setup_refusal(EPERM, facts).message, HasSubstr("seccomp"));
    facts.io_uring_disabled = 1;
    EXPECT_THAT(setup_refusal(EPERM, facts).message, HasSubstr("kernel.io_uring_group"));
    facts.io_uring_disabled = 2;
    EXPECT_THAT(setup_refusal(EPERM, facts).message, HasSubstr("sysctl kernel.io_uring_disabled=0"));
    EXPECT_THAT(setup_refusal(ENOSYS, facts).message, HasSubstr("5.15"));
    EXPECT_THAT(setup_refusal(ENOMEM, facts).message, HasSubstr("memory cgroup"));
    facts.memlock_limit = 64_KiB;
    EXPECT_THAT(setup_refusal(ENOMEM, facts).message,
                testing::AllOf(HasSubstr("84 KiB"), HasSubstr("64 KiB in all"), HasSubstr("LimitMEMLOCK=")));
}

// Spec.   A process without a free descriptor gets the refusal, not a crash.
// Method. The limit of descriptors is lowered to none for the time of the call.
TEST(RealRing, ARefusedSetupIsAnError) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlimit none = limit;
    none.rlim_cur = 0;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    const auto ring = RealRing::create({});
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ASSERT_FALSE(ring.has_value());
    EXPECT_EQ(ring.error().error_class, ErrorClass::system);
    EXPECT_THAT(ring.error().message, HasSubstr("EMFILE"));
}

}  // namespace
}  // namespace umbel::rt
