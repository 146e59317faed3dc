// rate_limit.h: one event that comes over and over does not drown the others.
//
// Why.    A thousand equal lines a second tell nothing that ten do not, and hide what else happens. How many there were is
//         said all the same.
// Shape.  For each event and plugin a count in the current second: the first `limit` pass. What was held back is reported
//         once the second is over.
// Owner.  The log thread.
// Not here.  Which events are counted: log.cpp (plugins' structured events are data, and never are).
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/base/event.h"

namespace umbel::daemon {

class RateLimit {
public:
    using Time = std::chrono::steady_clock::time_point;

    /// per_second: 0: no limit.
    explicit RateLimit(std::uint64_t per_second) : limit_(per_second) {}
    void set_limit(std::uint64_t per_second) { limit_ = per_second; }

    /// Whether this one is written. plugin: null, or a name that is one pointer for each distinct one.
    [[nodiscard]] bool admit(rt::EventKind kind, const char* plugin, Time now) {
        if (limit_ == 0) return true;
        Count& count = count_of(kind, plugin, now);
        if (now - count.began >= std::chrono::seconds(1)) {
            count.began = now;
            count.passed = 0;
        }
        if (count.passed < limit_) {
            ++count.passed;
            return true;
        }
        ++count.held_back;
        return false;
    }

    /// Calls report(kind, plugin, how many) for what was held back in a second that is over; all: in the current one too.
    template <class Report>
    void collect(Time now, bool all, Report&& report) {
        for (Count& count : counts_) {
            if (count.held_back == 0 || (!all && now - count.began < std::chrono::seconds(1))) continue;
            report(count.kind, count.plugin, std::exchange(count.held_back, 0));
        }
    }

private:
    struct Count {
        rt::EventKind kind;
        const char* plugin;
        Time began;
        std::uint64_t passed = 0;
        std::uint64_t held_back = 0;
    };
    Count& count_of(rt::EventKind kind, const char* plugin, Time now) {
        for (Count& count : counts_) {
            if (count.kind == kind && count.plugin == plugin) return count;
        }
        return counts_.emplace_back(Count{kind, plugin, now});
    }

    std::uint64_t limit_;
    std::vector<Count> counts_;  // kinds × plugins at most
};

}  // namespace umbel::daemon
