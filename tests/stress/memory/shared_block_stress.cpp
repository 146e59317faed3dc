// References to shared blocks, passed between threads.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "runtime/memory/shared_block.h"
#include "tests/support/seed.h"

namespace umbel::rt {
namespace {

constexpr std::size_t places = 16;
constexpr unsigned steps = 30'000;
constexpr std::uint64_t limit = 256 << 10;

struct Board {
    SharedBlocks blocks{Bytes{limit}};
    std::array<std::atomic<SharedBlock*>, places> place{};  // a reference each, for whoever takes it
    std::atomic<std::uint64_t> wrong{0};
    std::atomic<std::uint64_t> refused{0};
};

// All bytes of a block are its first one.
bool is_whole(SharedBlock& block) {
    const std::byte first = block.data()[0];
    for (std::uint64_t i = 0; i < block.size(); i += 61) {
        if (block.data()[i] != first) return false;
    }
    return block.data()[block.size() - 1] == first;
}

void player(Board& board, std::uint64_t seed) {
    std::minstd_rand dice(static_cast<std::minstd_rand::result_type>(seed * 2 + 1));
    for (unsigned step = 0; step < steps; ++step) {
        auto& place = board.place[dice() % places];
        // acquire: the block's bytes. Pairs with the release of whoever put it there.
        SharedBlock* block = place.exchange(nullptr, std::memory_order_acquire);
        if (block == nullptr) {
            block = board.blocks.make(1 + dice() % 20'000);
            if (block == nullptr) {
                board.refused.fetch_add(1, std::memory_order_relaxed);
                continue;
            }
            std::memset(block->data(), static_cast<int>(dice() % 256), block->size());
        }
        if (board.blocks.in_use().count > limit || !is_whole(*block))
            board.wrong.fetch_add(1, std::memory_order_relaxed);
        if (dice() % 4 == 0) {
            block->release();
            continue;
        }
        // One reference here, one elsewhere; whatever lay there is given back.
        block->retain();
        for (const std::size_t to : {dice() % places, dice() % places}) {
            // release: the bytes. acquire: of the block that lay there.
            SharedBlock* old = board.place[to].exchange(block, std::memory_order_acq_rel);
            if (old != nullptr) old->release();
        }
    }
}

// Spec.   A block is whole for whoever has a reference, on any thread, until the last one is given back; then its bytes are
//         the account's again, which was never over its limit.                                       (shared_block.h, B1 B3)
// Method. Four threads take references from sixteen places, look at the bytes, add and drop references, put them back.
TEST(SharedBlockStress, ReferencesTravel) {
    Board board;
    std::vector<std::thread> threads;
    for (std::uint64_t i = 0; i < 4; ++i) {
        threads.emplace_back([&board, i] { player(board, test::seed() + i); });
    }
    for (std::thread& thread : threads) thread.join();
    for (auto& place : board.place) {
        if (SharedBlock* block = place.load(std::memory_order_acquire)) block->release();
    }
    EXPECT_EQ(board.wrong.load(), 0u);
    EXPECT_EQ(board.blocks.in_use().count, 0u);
}

}  // namespace
}  // namespace umbel::rt
