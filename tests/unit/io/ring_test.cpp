// Specification of ring.h: the queues, on memory that a simulated kernel serves.
#include "runtime/io/ring.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "runtime/io/sim_world.h"

namespace umbel::rt {
namespace {

SimRingOptions small() {
    SimRingOptions options;
    options.submission_entries = 4;
    options.completion_entries = 8;
    return options;
}

void reserve_nop(Ring& ring, std::uint64_t user_data) {
    io_uring_sqe* sqe = ring.next();
    io_uring_prep_nop(sqe);
    sqe->user_data = user_data;
}

// Spec.   A chain fits or does not: can_reserve(n) promises n calls of next(), each with an entry of its own, cleared.
TEST(Ring, ReservesChainsWhole) {
    SimWorld world(1);
    auto ring = world.make_ring(small());
    ASSERT_TRUE(ring->can_reserve(4));
    EXPECT_FALSE(ring->can_reserve(5));
    std::set<io_uring_sqe*> entries;
    for (unsigned i = 0; i < 3; ++i) {
        io_uring_sqe* sqe = ring->next();
        EXPECT_EQ(sqe->user_data, 0u);
        EXPECT_EQ(sqe->flags, 0u);
        sqe->user_data = 7;
        entries.insert(sqe);
    }
    EXPECT_EQ(entries.size(), 3u);
    EXPECT_TRUE(ring->can_reserve(1));
    EXPECT_FALSE(ring->can_reserve(2));
    EXPECT_EQ(ring->sq_pending(), 3u);
    EXPECT_EQ(ring->sq_free(), 1u);
    EXPECT_TRUE(ring->needs_enter());
    ring->check_invariants();
    EXPECT_EQ(ring->enter(0, {}), 3);
    EXPECT_EQ(ring->sq_free(), 4u);
    EXPECT_EQ(ring->next()->user_data, 0u);
}

// Spec.   Entries that a refused enter() left behind stay queued, and go with the next one, once.
TEST(Ring, ARefusedSubmissionStaysQueued) {
    for (int error : {EBUSY, EAGAIN}) {
        SimWorld world(1);
        auto ring = world.make_ring(small());
        ring->refuse(2, error);
        reserve_nop(*ring, 1);
        EXPECT_EQ(ring->enter(0, {}), -error);
        EXPECT_EQ(ring->sq_pending(), 1u);
        reserve_nop(*ring, 2);
        EXPECT_EQ(ring->enter(1, Nanoseconds::max()), -error);
        EXPECT_EQ(ring->sq_pending(), 2u);
        EXPECT_EQ(ring->submitted(), 0u);
        ring->check_invariants();
        EXPECT_EQ(ring->enter(0, {}), 2);
        EXPECT_EQ(ring->sq_pending(), 0u);
        std::multiset<std::uint64_t> completed;
        while (completed.size() < 2 && world.advance()) {
            EXPECT_EQ(ring->enter(0, {}), 0);
            for (; ring->peek() != nullptr; ring->advance(1)) completed.insert(ring->peek()->user_data);
        }
        EXPECT_EQ(completed, (std::multiset<std::uint64_t>{1, 2}));
        EXPECT_EQ(ring->refused(), 2u);
    }
}

// Spec.   Both queues go round: more operations than entries keep their identity.
TEST(Ring, TheQueuesGoRound) {
    SimWorld world(3);
    auto ring = world.make_ring(small());
    std::multiset<std::uint64_t> completed;
    for (std::uint64_t next = 0; next < 1000;) {
        while (ring->can_reserve(1) && next < 1000) reserve_nop(*ring, next++);
        ASSERT_EQ(ring->enter(0, {}), 4);
        while (ring->in_flight() != 0) {
            ASSERT_TRUE(world.advance());
            ASSERT_EQ(ring->enter(0, {}), 0);
        }
        for (; ring->peek() != nullptr; ring->advance(1)) completed.insert(ring->peek()->user_data);
        world.check_invariants();
    }
    EXPECT_EQ(completed.size(), 1000u);
    for (std::uint64_t i = 0; i < 1000; ++i) EXPECT_EQ(completed.count(i), 1u);
}

// Spec.   A ring that has nothing to submit and nothing to bring needs no enter; one with work in the kernel says so.
TEST(Ring, SaysWhenAnEnterWouldDoSomething) {
    SimWorld world(1);
    auto ring = world.make_ring(small());
    EXPECT_FALSE(ring->needs_enter());
    reserve_nop(*ring, 1);
    EXPECT_TRUE(ring->needs_enter());
    ASSERT_EQ(ring->enter(0, {}), 1);
    EXPECT_FALSE(ring->needs_enter());
    ASSERT_TRUE(world.advance());
    EXPECT_TRUE(ring->work_pending());
    EXPECT_TRUE(ring->needs_enter());
    EXPECT_EQ(ring->peek(), nullptr);
    ASSERT_EQ(ring->enter(0, {}), 0);
    EXPECT_FALSE(ring->needs_enter());
    ASSERT_NE(ring->peek(), nullptr);
    EXPECT_EQ(ring->cq_ready(), 1u);
    ring->advance(1);
    EXPECT_EQ(ring->peek(), nullptr);
}

// Spec.   A buffer is the kernel's after publish(), not before; the tail shares the first slot and survives its use.
TEST(BufferRing, PublishesWhatWasAdded) {
    auto* memory = static_cast<io_uring_buf*>(std::aligned_alloc(4096, 4096));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(BufferRing::memory_for(4), Bytes{64});
    BufferRing buffers(memory, 4, 3);
    char bytes[4] = {};
    for (std::uint16_t i = 0; i < 3; ++i) buffers.add(&bytes[i], 1, i);
    EXPECT_EQ(memory[0].resv, 0u);
    buffers.publish();
    EXPECT_EQ(memory[0].resv, 3u);
    for (std::uint16_t i = 3; i < 6; ++i) buffers.add(&bytes[0], 1, i);
    EXPECT_EQ(memory[0].resv, 3u);
    buffers.publish();
    EXPECT_EQ(memory[0].resv, 6u);
    EXPECT_EQ(memory[0].bid, 4u);
    EXPECT_EQ(memory[1].bid, 5u);
    EXPECT_EQ(memory[2].bid, 2u);
    std::free(memory);
}

}  // namespace
}  // namespace umbel::rt
