// timer_wheel.h: many timers, most of which never fire.
//
// Why.    Every receive may have a deadline, and nearly every deadline is taken back before it passes: adding and
//         removing must cost nothing worth counting, only expiry may cost more.
// Shape.  Six levels of 64 lists. A list of level n covers 64^n ticks of 65,536 ns; a timer lies in the list that
//         its distance allows and moves down a level each time the hand reaches that list. A bit per list says
//         which are in use, so that the next expiry is found without looking at empty ones.
// Owner.  One executor. No atomics.
//
// Invariants (check_invariants())
//   I1  a timer fires not before its time, and at most one tick after it, if expire() is called then
//   I2  a list's bit is set if and only if the list is not empty
//   I3  every timer on the wheel lies ahead of the hand
//
// Cost.   add, remove O(1), about 3 ns; expire O(expired + lists passed); a timer moves at most five times.
// Not here.  What a timer means: its owner's callback decides.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/base/intrusive_list.h"
#include "runtime/base/units.h"

namespace umbel::rt {

struct TimerTag;

/// A timer; embed it in what it times. On the wheel while linked().
struct Timer : ListHook<TimerTag> {
    std::uint64_t tick = 0;  // When it fires, in ticks since the clock's zero.
    std::uint32_t role = 0;  // Its owner's: what it is embedded in.
};

class TimerWheel {
public:
    static constexpr unsigned tick_shift = 16;  // 65,536 ns
    static constexpr unsigned levels = 6;
    static constexpr unsigned slots = 64;

    explicit TimerWheel(Nanoseconds now) : hand_(tick_of(now)) {}

    /// Makes `timer` fire at `when`, or one tick from the hand if that has passed. Not while it is linked.
    void add(Timer& timer, Nanoseconds when) {
        DCHECK(!timer.linked());
        // Rounded up: not before its time (I1). Beyond the wheel's reach (about 50 days) it fires when that is over.
        const std::uint64_t furthest = hand_ + (std::uint64_t{1} << (6 * levels)) - 1;
        timer.tick = std::clamp(tick_of(when) + 1, hand_ + 1, furthest);  // I3
        place(timer);
        ++count_;
    }

    void remove(Timer& timer) {
        DCHECK(timer.linked());
        List::remove(&timer);
        --count_;  // Its list's bit is cleared when the hand passes (see expire).
    }

    [[nodiscard]] bool empty() const { return count_ == 0; }
    [[nodiscard]] std::size_t count() const { return count_; }

    /// When expire() next has something to do; Nanoseconds::max() if never. May be early (a timer moves down a level,
    /// or was removed), never late.
    [[nodiscard]] Nanoseconds next_expiry() const {
        if (count_ == 0) return Nanoseconds::max();
        std::uint64_t next = std::numeric_limits<std::uint64_t>::max();
        for (unsigned level = 0; level < levels; ++level) {
            if (used_[level] == 0) continue;
            const unsigned shift = 6 * level;
            const auto position = static_cast<unsigned>((hand_ >> shift) & (slots - 1));
            // Lists behind the hand's come round again; the hand's own list at this level lies a full turn ahead.
            const std::uint64_t ahead = std::rotr(used_[level], static_cast<int>((position + 1) % slots));
            const std::uint64_t steps = static_cast<std::uint64_t>(std::countr_zero(ahead)) + 1;
            next = std::min(next, ((hand_ >> shift) + steps) << shift);
        }
        return Nanoseconds(static_cast<std::int64_t>(next << tick_shift));
    }

    /// Takes every timer whose time has come off the wheel and calls fire(timer). It may add and remove timers.
    template <class Fire>
    void expire(Nanoseconds now, Fire&& fire) {
        const std::uint64_t target = tick_of(now);
        while (hand_ < target) {
            if (count_ == 0) {
                hand_ = target;
                break;
            }
            const std::uint64_t next = std::min(target, tick_of(next_expiry()));
            hand_ = std::max(hand_ + 1, next);
            // From the top: a list that the hand enters is spread over the levels below.
            for (unsigned level = levels - 1; level > 0; --level) {
                const std::uint64_t below = (std::uint64_t{1} << (6 * level)) - 1;
                if ((hand_ & below) == 0) empty_list(level, [&](Timer& timer) { place_or(timer, fire); });
            }
            empty_list(0, [&](Timer& timer) { place_or(timer, fire); });
        }
    }

    void check_invariants() const {
        std::size_t linked = 0;
        for (unsigned level = 0; level < levels; ++level) {
            for (unsigned slot = 0; slot < slots; ++slot) {
                List& list = const_cast<List&>(lists_[level][slot]);
                for (Timer* timer = list.front(); timer != nullptr; timer = list.after(timer)) {
                    CHECK((used_[level] >> slot & 1) != 0);  // I2, in the direction that loses timers
                    CHECK(timer->tick > hand_);              // I3
                    ++linked;
                }
            }
        }
        CHECK(linked == count_);
    }

private:
    using List = IntrusiveList<Timer, TimerTag>;

    static std::uint64_t tick_of(Nanoseconds time) {
        return time.count() <= 0 ? 0 : static_cast<std::uint64_t>(time.count()) >> tick_shift;
    }

    void place(Timer& timer) {
        const std::uint64_t distance = timer.tick - hand_;
        const unsigned level = std::min(levels - 1, static_cast<unsigned>(std::bit_width(distance) - 1) / 6);
        const auto slot = static_cast<unsigned>((timer.tick >> (6 * level)) & (slots - 1));
        lists_[level][slot].push_back(&timer);
        used_[level] |= std::uint64_t{1} << slot;  // I2
    }

    template <class Fire>
    void place_or(Timer& timer, Fire& fire) {
        if (timer.tick > hand_) {
            place(timer);
            return;
        }
        --count_;
        fire(timer);
    }

    // Takes each timer off the hand's list of `level`, once: what `visit` puts back there stays.
    template <class Visit>
    void empty_list(unsigned level, Visit&& visit) {
        const auto slot = static_cast<unsigned>((hand_ >> (6 * level)) & (slots - 1));
        List& list = lists_[level][slot];
        used_[level] &= ~(std::uint64_t{1} << slot);
        List moved;
        while (Timer* timer = list.pop_front()) moved.push_back(timer);
        while (Timer* timer = moved.pop_front()) visit(*timer);
    }

    std::uint64_t hand_;  // The tick up to which everything has fired.
    std::size_t count_ = 0;
    std::array<std::uint64_t, levels> used_{};
    std::array<std::array<List, slots>, levels> lists_;
};

}  // namespace umbel::rt
