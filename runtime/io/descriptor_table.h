// descriptor_table.h: which actor a descriptor belongs to, so that it is closed when that actor ends.
//
// Why.    An actor may end anywhere: by an exception, by its memory limit, because it is told to. Its buffers go with
//         its I/O heap; its descriptors are the process's and would stay open for ever.
// Shape.  One word a descriptor: the owner's id. Set when an operation brings a descriptor, cleared when it is closed,
//         changed by adopt(). An actor remembers which it got (OwnedDescriptors: eight in place, then the whole table
//         is looked through at its end); the table decides whether they are still its own.
// Owner.  The process; any executor, one descriptor at a time.
//
// Invariants
//   I1  a descriptor's word names at most one actor; who ends takes only those that still name it (compare-exchange)
//
// Cost.   One relaxed store or compare-exchange. 8 B a descriptor, touched only where descriptors are.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/io/signal_claims.h"

namespace umbel::rt {

class DescriptorTable {
public:
    /// capacity: one more than the largest descriptor (RLIMIT_NOFILE).
    explicit DescriptorTable(std::size_t capacity);
    DescriptorTable(const DescriptorTable&) = delete;
    DescriptorTable& operator=(const DescriptorTable&) = delete;
    ~DescriptorTable();

    [[nodiscard]] bool contains(int fd) const { return fd >= 0 && static_cast<std::size_t>(fd) < capacity_; }

    /// `fd` is open and belongs to `owner`.
    void set_owner(int fd, std::uint64_t owner) {
        if (!contains(fd)) return;
        // relaxed: an id only. Whoever learns of the descriptor from another executor learns it by a message.
        words_[static_cast<std::size_t>(fd)].store(owner, std::memory_order_relaxed);
        std::size_t highest = highest_.load(std::memory_order_relaxed);
        while (static_cast<std::size_t>(fd) >= highest &&
               !highest_.compare_exchange_weak(highest, static_cast<std::size_t>(fd) + 1, std::memory_order_relaxed)) {
        }
    }
    /// `fd` is about to be closed.
    void clear(int fd) {
        if (!contains(fd)) return;
        words_[static_cast<std::size_t>(fd)].store(0, std::memory_order_relaxed);
        signals.release(fd);
    }
    /// Takes `fd` from `owner`, if it still belongs to it (I1), to close it.
    [[nodiscard]] bool take(int fd, std::uint64_t owner) {
        if (!contains(fd)) return false;
        if (!words_[static_cast<std::size_t>(fd)].compare_exchange_strong(owner, 0, std::memory_order_relaxed))
            return false;
        signals.release(fd);
        return true;
    }
    /// Gives `fd` to `owner`, if it belongs to some actor.
    [[nodiscard]] bool change_owner(int fd, std::uint64_t owner) {
        std::atomic<std::uint64_t>& word = words_[static_cast<std::size_t>(fd)];
        std::uint64_t before = word.load(std::memory_order_relaxed);
        while (before != 0 && !word.compare_exchange_weak(before, owner, std::memory_order_relaxed)) {
        }
        return before != 0;
    }
    [[nodiscard]] bool owned_by(int fd, std::uint64_t owner) const {
        return contains(fd) && words_[static_cast<std::size_t>(fd)].load(std::memory_order_relaxed) == owner;
    }
    /// One more than the largest descriptor ever seen.
    [[nodiscard]] int end() const { return static_cast<int>(highest_.load(std::memory_order_relaxed)); }

    SignalClaims signals;

private:
    std::size_t capacity_;
    std::atomic<std::uint64_t>* words_;  // mapped, zero until touched
    std::atomic<std::size_t> highest_{0};
};

/// The descriptors an actor was given, for its end.
class OwnedDescriptors {
public:
    void add(int fd, const DescriptorTable& table, std::uint64_t owner) {
        if (count_ == places_.size()) drop_those_gone(table, owner);
        if (count_ == places_.size()) {
            overflowed_ = true;
        } else {
            places_[count_++] = fd;
        }
    }
    /// Calls close(fd) for each that is still `owner`'s; it is then nobody's.
    template <class Close>
    void take_all(DescriptorTable& table, std::uint64_t owner, Close&& close) {
        for (std::size_t i = 0; i < count_; ++i) {
            if (table.take(places_[i], owner)) close(places_[i]);
        }
        if (overflowed_) {
            for (int fd = 0; fd < table.end(); ++fd) {
                if (table.take(fd, owner)) close(fd);
            }
        }
        count_ = 0;
        overflowed_ = false;
    }
    [[nodiscard]] bool none() const { return count_ == 0 && !overflowed_; }
    /// For an actor that may become dormant: forgets those that are not its own any more.
    void drop_those_gone(const DescriptorTable& table, std::uint64_t owner) {
        std::size_t kept = 0;
        for (std::size_t i = 0; i < count_; ++i) {
            if (table.owned_by(places_[i], owner)) places_[kept++] = places_[i];
        }
        count_ = static_cast<std::uint8_t>(kept);
    }

private:
    std::array<int, 8> places_{};
    std::uint8_t count_ = 0;
    bool overflowed_ = false;
};

}  // namespace umbel::rt
