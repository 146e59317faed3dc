// Specification of credits.h.
#include "runtime/io/credits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace umbel::rt {
namespace {

// Spec.   However many operations wait for the world, the longest chain that waits for nothing still fits (I2).
// Method. For rings of every size, all the open-ended credits are taken.
TEST(Credits, LeaveRoomForAChainInEveryRing) {
    for (const auto& [ring, completions] :
         {std::pair{1u, 8u}, {4u, 8u}, {4u, 16u}, {8u, 16u}, {16u, 64u}, {16u, 16384u}}) {
        Credits credits(completions, ring);
        unsigned taken = 0;
        while (credits.available(1, 1)) {
            credits.take(true);
            ++taken;
        }
        EXPECT_GE(taken, 1u) << completions;
        EXPECT_EQ(taken, credits.open_ended_limit());
        EXPECT_FALSE(credits.share_available(1));
        EXPECT_TRUE(credits.available(std::min(ring, credits.limit() / 2), 0)) << ring << " of " << completions;
    }
}

// Spec.   Operations that wait for the world may take seven eighths where that is enough for a chain.
TEST(Credits, GiveSevenEighthsToThoseWhoWait) {
    const Credits credits(16384, 16);
    EXPECT_EQ(credits.limit(), 16384u - 256u);
    EXPECT_EQ(credits.open_ended_limit(), credits.limit() - credits.limit() / 8);
}

// Spec.   Where a chain can be as long as there are credits, half of them may wait nevertheless.
TEST(Credits, LetHalfWaitInTheSmallestRing) {
    Credits credits(8, 8);
    for (unsigned i = 0; i < credits.limit() / 2; ++i) {
        EXPECT_TRUE(credits.available(1, 1));
        credits.take(true);
    }
    EXPECT_FALSE(credits.available(1, 1));
    EXPECT_TRUE(credits.available(credits.limit() / 2, 0));
}

}  // namespace
}  // namespace umbel::rt
