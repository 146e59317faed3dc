// clock.h: where the runtime reads the time.
//
// Why.    The same executor runs on the machine's clock and on the simulation's. Nothing above this layer calls
//         clock_gettime: an executor reads its Clock once a turn and everybody else reads the executor's copy.
// Cost.   MonotonicClock: one vDSO call, about 25 ns.
#pragma once

#include <ctime>

#include "runtime/base/units.h"

namespace umbel::rt {

class Clock {
public:
    Clock() = default;
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;
    virtual ~Clock() = default;
    /// The time now, on a clock that never goes back.
    [[nodiscard]] virtual Nanoseconds now() = 0;
};

/// CLOCK_MONOTONIC.
class MonotonicClock final : public Clock {
public:
    [[nodiscard]] Nanoseconds now() override {
        timespec time{};
        clock_gettime(CLOCK_MONOTONIC, &time);
        return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
    }
};

}  // namespace umbel::rt
