// credits.h: how many operations may be in flight, so that the completion ring cannot overflow.
//
// Why.    The kernel accepts any number of submissions and keeps completions that find no room in a list of its own:
//         four times as slow, and multishot operations end by it. So an operation is submitted only when there is room
//         for its completion: it takes a credit, and gives it back with its terminal CQE.
// Shape.  Counters. `total` is the completion ring's size. `reserve` of it is for the runtime's own cancels and wakes.
//         Operations that wait for the world (receive, accept, poll, connect) may take only seven eighths of the rest, of
//         a small ring only half: however many idle connections there are, those that are served can still read files and send.
// Owner.  One executor.
//
// Invariants
//   I1  used ≤ total - reserve; open_ended ≤ used
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/base/check.h"

namespace umbel::rt {

class Credits {
public:
    explicit Credits(unsigned completion_entries)
        : reserve_(std::clamp(completion_entries / 8, 2u, 256u)),
          limit_(completion_entries - reserve_),
          open_ended_limit_(limit_ - kept_for_the_rest()) {}

    [[nodiscard]] bool available(unsigned wanted, unsigned open_ended) const {
        return used_ + wanted <= limit_ && (open_ended == 0 || open_ended_ + open_ended <= open_ended_limit_);
    }
    void take(bool open_ended) {
        ++used_;
        open_ended_ += open_ended ? 1 : 0;
        DCHECK(used_ <= limit_);  // I1
    }
    void give_back(bool open_ended) {
        DCHECK(used_ > 0);
        --used_;
        open_ended_ -= open_ended ? 1 : 0;
    }

    /// For provided buffers: every one may be a completion. Taken once, for good. False if that is too much.
    [[nodiscard]] bool set_aside(unsigned count) {
        if (count > limit_ / 2) return false;
        limit_ -= count;
        open_ended_limit_ = limit_ - kept_for_the_rest();
        return true;
    }

    [[nodiscard]] bool reserve_available() const { return reserve_used_ < reserve_; }
    void take_reserve() { ++reserve_used_; }
    void give_back_reserve() { --reserve_used_; }

    [[nodiscard]] unsigned used() const { return used_; }
    [[nodiscard]] unsigned limit() const { return limit_; }
    [[nodiscard]] unsigned open_ended_limit() const { return open_ended_limit_; }

private:
    // An eighth, but enough for the longest chain, as long as that is not more than half.
    [[nodiscard]] unsigned kept_for_the_rest() const { return std::max(limit_ / 8, std::min(limit_ / 2, 16u)); }

    unsigned reserve_;
    unsigned limit_;
    unsigned open_ended_limit_;
    unsigned used_ = 0;
    unsigned open_ended_ = 0;
    unsigned reserve_used_ = 0;
};

}  // namespace umbel::rt
