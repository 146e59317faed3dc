// Specification of shared_block.h. Loans: tests/sim/sched/shared_block_sim.cpp. Threads: tests/stress/memory/.
#include "runtime/memory/shared_block.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

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

// Spec.   A large block is a file as well, with the same bytes; it is gone with the block. Without a descriptor for it, it is
//         memory only.
TEST(SharedBlock, ALargeOneIsAFile) {
    SharedBlocks blocks(16_MiB);
    SharedBlock* small = blocks.make(SharedBlocks::paged_from - 1);
    EXPECT_EQ(small->file(), -1);
    small->release();

    SharedBlock* large = blocks.make(300'001);
    const int file = large->file();
    ASSERT_GE(file, 0);
    std::memset(large->data(), 0x5a, large->size());
    std::vector<std::byte> read(large->size() + 1);
    ASSERT_EQ(pread(file, read.data(), read.size(), 0), 300'001);
    EXPECT_EQ(std::memcmp(read.data(), large->data(), large->size()), 0);
    large->release();
    EXPECT_EQ(fcntl(file, F_GETFD), -1);
    EXPECT_EQ(blocks.in_use().count, 0u);

    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit none{0, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    SharedBlock* without = blocks.make(300'001);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    ASSERT_NE(without, nullptr);
    EXPECT_EQ(without->file(), -1);
    std::memset(without->data(), 0x5a, without->size());
    without->release();
    EXPECT_EQ(blocks.in_use().count, 0u);
}

// Spec.   A block may outlive the account's owner (B5).
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
