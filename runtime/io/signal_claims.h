// signal_claims.h: which descriptor has claimed a signal, so that no two actors wait for the same one.
//
// Why.    A signal is given to one reader only. Two actors that read it would each miss some, and never know.
// Shape.  One word a signal: the descriptor it is read from. Claimed as a set, all or none; given up when the descriptor is
//         closed (DescriptorTable says so, at the submission of the close: its number cannot be another's before).
// Owner.  The process; any executor.
//
// Invariants
//   I1  a signal has at most one claim, and count_ is the number of claims
//
// Cost.   Closing a descriptor: one relaxed load, unless some signal is claimed.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace umbel::rt {

class SignalClaims {
public:
    /// Reserves the signals (bit n - 1 is signal n), all or none: they are claimed, by no descriptor yet.
    [[nodiscard]] bool reserve(std::uint64_t signals) {
        for (std::size_t i = 0; i < holders_.size(); ++i) {
            if ((signals >> i & 1) == 0) continue;
            int nobody = unclaimed;
            // relaxed: a number only; what it guards is made by system calls afterwards.
            if (holders_[i].compare_exchange_strong(nobody, reserved, std::memory_order_relaxed)) {
                count_.fetch_add(1, std::memory_order_relaxed);
                continue;
            }
            give_up(signals & ((std::uint64_t{1} << i) - 1));
            return false;
        }
        return true;
    }
    /// They are read from `fd`.
    void assign(std::uint64_t signals, int fd) {
        for (std::size_t i = 0; i < holders_.size(); ++i) {
            if ((signals >> i & 1) != 0) holders_[i].store(held_by(fd), std::memory_order_relaxed);
        }
    }
    /// Reserved in vain.
    void give_up(std::uint64_t signals) {
        for (std::size_t i = 0; i < holders_.size(); ++i) {
            if ((signals >> i & 1) == 0) continue;
            holders_[i].store(unclaimed, std::memory_order_relaxed);
            count_.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    /// `fd` is about to be closed.
    void release(int fd) {
        if (count_.load(std::memory_order_relaxed) == 0) [[likely]]
            return;
        for (std::atomic<int>& holder : holders_) {
            int held = held_by(fd);
            if (holder.compare_exchange_strong(held, unclaimed, std::memory_order_relaxed)) {
                count_.fetch_sub(1, std::memory_order_relaxed);
            }
        }
    }
    [[nodiscard]] unsigned claimed() const { return count_.load(std::memory_order_relaxed); }

private:
    static constexpr int unclaimed = 0;
    static constexpr int reserved = -1;
    static int held_by(int fd) { return fd + 1; }

    std::array<std::atomic<int>, 64> holders_{};
    std::atomic<unsigned> count_{0};  // I1
};

}  // namespace umbel::rt
