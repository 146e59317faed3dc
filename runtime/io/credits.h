// credits.h: how many operations may be in flight, so that the completion ring cannot overflow.
//
// Why.    The kernel accepts any number of submissions and keeps completions that find no room in a list of its own:
//         four times as slow, and multishot operations end by it. So an operation is submitted only when there is room
//         for its completion: it takes a credit, and gives it back with its terminal CQE.
// Shape.  Counters. `total` is the completion ring's size. `reserve` of it is for the runtime's own cancels and wakes.
//         Operations that wait for the world (receive, accept, poll, connect) may take only seven eighths of the rest,
//         and must leave room for one chain: however many idle connections there are, those that are served can still
//         read files and send.
// Owner.  One executor.
//
// Invariants
//   I1  used ≤ total - reserve; open_ended ≤ used
//   I2  open_ended ≤ open_ended_limit; whatever else may be submitted at once fits beside that
#pragma once

#include <algorithm>
#include <cstdint>

#include "runtime/base/check.h"

namespace umbel::rt {

class Credits {
public:
    /// longest_chain: operations that may be submitted together, if half of the credits is enough for them.
    Credits(unsigned completion_entries, unsigned longest_chain)
        : reserve_(std::clamp(completion_entries / 8, 2u, 256u)),
          limit_(completion_entries - reserve_),
          longest_chain_(longest_chain),
          open_ended_limit_(share_for_open_ended()) {}

    [[nodiscard]] bool available(unsigned wanted, unsigned open_ended) const {
        return used_ + wanted <= limit_ && share_available(open_ended);
    }
    /// Whether so many open-ended operations fit their share.
    [[nodiscard]] bool share_available(unsigned open_ended) const {
        return open_ended == 0 || open_ended_ + open_ended <= open_ended_limit_;
    }
    void take(bool open_ended) {
        ++used_;
        open_ended_ += open_ended ? 1 : 0;
        DCHECK(used_ <= limit_);                   // I1
        DCHECK(open_ended_ <= open_ended_limit_);  // I2
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
        open_ended_limit_ = share_for_open_ended();
        return true;
    }

    [[nodiscard]] bool reserve_available() const { return reserve_used_ < reserve_; }
    void take_reserve() { ++reserve_used_; }
    void give_back_reserve() { --reserve_used_; }

    [[nodiscard]] unsigned used() const { return used_; }
    [[nodiscard]] unsigned limit() const { return limit_; }
    [[nodiscard]] unsigned open_ended_limit() const { return open_ended_limit_; }

private:
    [[nodiscard]] unsigned share_for_open_ended() const {
        // Half of a tiny ring is for them all the same: an acceptor and a session must be able to wait at once.
        const unsigned others = std::max(limit_ / 8, std::min(longest_chain_, limit_ / 2));  // I2
        return limit_ - others;
    }

    unsigned reserve_;
    unsigned limit_;
    unsigned longest_chain_;
    unsigned open_ended_limit_;
    unsigned used_ = 0;
    unsigned open_ended_ = 0;
    unsigned reserve_used_ = 0;
};

}  // namespace umbel::rt
