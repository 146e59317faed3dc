// Specification of shared_block.h. Loans: tests/sim/sched/shared_block_sim.cpp. Threads: tests/stress/memory/.
#include "runtime/memory/shared_block.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace umbel::rt {
namespace {

constexpr std::uint64_t header = sizeof(SharedBlock);

// Spec.   A block has the size that was asked for, begins on a cache line, and can be written to its last byte.
TEST(SharedBlock, HasTheSizeThatWasAskedFor) {
    SharedBlocks blocks(1_MiB);
    for (const std::uint64_t size :
         {std::uint64_t{1}, std::uint64_t{63}, std::uint64_t{64}, std::uint64_t{65}, std::uint64_t{100'000}}) {
        SharedBlock* block = blocks.make(size);
        ASSERT_NE(block, nullptr);
        EXPECT_EQ(block->size(), size);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block->data()) % 64, 0u);
        std::memset(block->data(), 0xa5, size);
        EXPECT_EQ(block->references(), 1u);
        block->release();
    }
    EXPECT_EQ(blocks.in_use().count, 0u);
}

// Spec.   No bytes, or more than 1 GiB, are refused.
TEST(SharedBlock, RefusesSizesOutOfRange) {
    SharedBlocks blocks(Bytes{std::uint64_t{1} << 40});
    EXPECT_EQ(blocks.make(0), nullptr);
    EXPECT_EQ(blocks.make(SharedBlocks::most_bytes + 1), nullptr);
    EXPECT_EQ(blocks.make(UINT64_MAX), nullptr);
    EXPECT_EQ(blocks.in_use().count, 0u);
}

// Spec.   It lives until its last reference is given back, and not longer (B1); the account says so (B3).
TEST(SharedBlock, LivesAsLongAsItsLastReference) {
    SharedBlocks blocks(1_MiB);
    SharedBlock* block = blocks.make(1000);
    ASSERT_NE(block, nullptr);
    const std::uint64_t all = blocks.in_use().count;
    EXPECT_GE(all, 1000 + header);
    EXPECT_LT(all, 1000 + header + 64);
    block->retain();
    block->retain();
    EXPECT_EQ(block->references(), 3u);
    block->release();
    block->release();
    EXPECT_EQ(blocks.in_use().count, all);
    block->release();
    EXPECT_EQ(blocks.in_use().count, 0u);
}

// Spec.   The account is never over its limit; what is given back can be had again (B3).
TEST(SharedBlock, StaysWithinItsLimit) {
    SharedBlocks blocks(Bytes{4 * (1024 + header)});
    std::vector<SharedBlock*> held;
    while (SharedBlock* block = blocks.make(1024)) held.push_back(block);
    EXPECT_EQ(held.size(), 4u);
    EXPECT_EQ(blocks.in_use(), blocks.limit());
    EXPECT_EQ(blocks.make(1), nullptr);
    held.back()->release();
    held.back() = blocks.make(1024);
    EXPECT_NE(held.back(), nullptr);
    for (SharedBlock* block : held) block->release();
    EXPECT_EQ(blocks.in_use().count, 0u);
}

// Spec.   A limit of 0 gives nothing.
TEST(SharedBlock, NothingIsToBeHadOfNothing) {
    SharedBlocks blocks(0_B);
    EXPECT_EQ(blocks.make(1), nullptr);
}

// Spec.   A block may outlive the account's owner (B4).
// Method. AddressSanitizer sees a release that touches an account that is gone.
TEST(SharedBlock, OutlivesTheRuntime) {
    SharedBlock* block = nullptr;
    {
        SharedBlocks blocks(1_MiB);
        block = blocks.make(10);
    }
    ASSERT_NE(block, nullptr);
    block->data()[9] = std::byte{1};
    block->release();
}

}  // namespace
}  // namespace umbel::rt
