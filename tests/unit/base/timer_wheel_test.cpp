// Specification of timer_wheel.h.
#include "runtime/base/timer_wheel.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace umbel::rt {
namespace {

constexpr Nanoseconds tick{1 << TimerWheel::tick_shift};

// Spec.   A timer fires not before its time and at most a tick after it (I1), whatever level it began on; removed ones
//         never fire; next_expiry() is never late.
// Method. Random timers from microseconds to hours against a sorted map, the clock moved by random steps.
TEST(TimerWheel, FiresInTimeAgainstASortedMap) {
    for (unsigned seed = 1; seed <= 20; ++seed) {
        std::mt19937_64 random(seed);
        Nanoseconds now{static_cast<std::int64_t>(random() % 1'000'000'000)};
        TimerWheel wheel(now);
        std::vector<Timer> timers(500);
        std::map<Timer*, Nanoseconds> due;
        for (int step = 0; step < 4000; ++step) {
            Timer& timer = timers[random() % timers.size()];
            if (timer.linked()) {
                if (random() % 3 == 0) {
                    wheel.remove(timer);
                    due.erase(&timer);
                }
            } else {
                const Nanoseconds when = now + Nanoseconds(static_cast<std::int64_t>(random() >> (20 + random() % 40)));
                wheel.add(timer, when);
                due[&timer] = when;
            }
            if (random() % 4 == 0) {
                if (random() % 2 == 0 && !wheel.empty()) {
                    now = std::max(now, wheel.next_expiry());
                } else {
                    now += Nanoseconds(static_cast<std::int64_t>(random() >> (24 + random() % 30)));
                }
                wheel.expire(now, [&](Timer& fired) {
                    ASSERT_TRUE(due.contains(&fired));
                    EXPECT_LE(due[&fired], now) << "fired early, seed " << seed;
                    due.erase(&fired);
                });
                for (const auto& [late, when] : due) EXPECT_GT(when + tick, now) << "fired late, seed " << seed;
                if (!due.empty()) {
                    Nanoseconds first = Nanoseconds::max();
                    for (const auto& [waiting, when] : due) first = std::min(first, when);
                    EXPECT_LE(wheel.next_expiry(), first + 2 * tick) << "would sleep too long, seed " << seed;
                }
                wheel.check_invariants();
            }
        }
    }
}

// Spec.   A timer may be added and removed from within fire().
TEST(TimerWheel, MayBeChangedWhileItFires) {
    TimerWheel wheel(Nanoseconds(0));
    Timer first;
    Timer second;
    Timer third;
    wheel.add(first, tick * 5);
    wheel.add(second, tick * 5);
    int fired = 0;
    wheel.expire(tick * 10, [&](Timer& timer) {
        ++fired;
        if (&timer == &first) wheel.add(third, tick * 8);
    });
    EXPECT_EQ(fired, 3);
    EXPECT_TRUE(wheel.empty());
    EXPECT_EQ(wheel.next_expiry(), Nanoseconds::max());
}

}  // namespace
}  // namespace umbel::rt
