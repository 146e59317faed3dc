// Properties of io_heap.h: every address equals a naive oracle's, and spans never overlap.
//
// The oracle keeps one byte per granule and looks for the first place that fits from the front: nothing in it is
// shared with the heap. Beside it, every live span is filled with a pattern of its own and read back when it is
// freed: an independent witness of what is live.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "runtime/memory/io_heap.h"

namespace umbel::rt {

struct IoHeapTesting {
    static IoHeapKey key() { return {}; }
};

namespace {

constexpr std::size_t granule = IoHeap::granule_bytes;

/// First fit from the front over a plain record of which granules are taken.
class Oracle {
public:
    explicit Oracle(std::size_t granules) : taken_(granules, 0) {}

    std::optional<std::size_t> allocate(std::size_t bytes) {
        if (bytes == 0 || bytes > IoHeap::max_span_bytes) return std::nullopt;
        const std::size_t needed = granules_for(bytes);
        std::size_t free_in_a_row = 0;
        for (std::size_t i = 0; i < taken_.size(); ++i) {
            free_in_a_row = taken_[i] != 0 ? 0 : free_in_a_row + 1;
            if (free_in_a_row == needed) {
                const std::size_t start = i + 1 - needed;
                std::fill_n(taken_.begin() + static_cast<std::ptrdiff_t>(start), needed, std::uint8_t{1});
                return start;
            }
        }
        return std::nullopt;
    }

    void free(std::size_t start, std::size_t bytes) {
        std::fill_n(taken_.begin() + static_cast<std::ptrdiff_t>(start), granules_for(bytes), std::uint8_t{0});
    }

    void reset() { std::fill(taken_.begin(), taken_.end(), std::uint8_t{0}); }

    static std::size_t granules_for(std::size_t bytes) {
        std::size_t granules = 1;
        while (granules * granule < bytes) granules *= 2;
        return granules;
    }

private:
    std::vector<std::uint8_t> taken_;
};

/// The heap, the oracle and the record of what is live, driven together.
class Driver {
public:
    explicit Driver(std::size_t region_bytes)
        : region_bytes_(region_bytes),
          memory_(static_cast<std::byte*>(
              mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
          oracle_(region_bytes / granule) {
        RC_ASSERT((memory_ != MAP_FAILED) == true);
        heap_.emplace(memory_, Bytes{region_bytes});
    }
    ~Driver() {
        heap_.reset();
        munmap(memory_, region_bytes_);
    }
    Driver(const Driver&) = delete;
    Driver& operator=(const Driver&) = delete;

    void allocate(std::size_t bytes) {
        const SpanId span = heap_->allocate(IoHeapTesting::key(), bytes);
        const std::optional<std::size_t> expected = oracle_.allocate(bytes);
        RC_ASSERT((span != SpanId::none) == expected.has_value());
        if (!expected) return;
        RC_ASSERT(heap_->address(span) == memory_ + *expected * granule);
        RC_ASSERT(heap_->capacity(span) == Oracle::granules_for(bytes) * granule);
        live_.push_back({span, *expected, bytes, ++pattern_});
        fill(live_.back());
    }

    void free(std::size_t which) {
        if (live_.empty()) return;
        std::swap(live_[which % live_.size()], live_.back());
        const Live span = live_.back();
        live_.pop_back();
        RC_ASSERT(heap_->address(span.id) == memory_ + span.start * granule);
        RC_ASSERT(intact(span));
        heap_->free(span.id);
        oracle_.free(span.start, span.bytes);
    }

    void reset() {
        heap_->reset();
        oracle_.reset();
        live_.clear();
    }

    void check() const {
        heap_->check_invariants();
        RC_ASSERT(heap_->live_spans() == live_.size());
        std::size_t bytes = 0;
        std::size_t end = 0;
        for (const Live& span : live_) {
            bytes += Oracle::granules_for(span.bytes) * granule;
            end = std::max(end, (span.start + Oracle::granules_for(span.bytes)) * granule);
        }
        RC_ASSERT(heap_->live_bytes().count == bytes);
        RC_ASSERT(heap_->high_water().count >= end);
    }

    [[nodiscard]] std::size_t live() const { return live_.size(); }

private:
    struct Live {
        SpanId id;
        std::size_t start;  // granules
        std::size_t bytes;
        std::uint32_t pattern;
    };

    // First and last word of every granule would do; the ends and the middle are enough to see an overlap, because
    // spans are whole granules and every span has at least its own first.
    void fill(const Live& span) {
        for (const std::size_t offset : probes(span)) {
            std::memcpy(memory_ + span.start * granule + offset, &span.pattern, sizeof span.pattern);
        }
    }
    [[nodiscard]] bool intact(const Live& span) const {
        for (const std::size_t offset : probes(span)) {
            if (std::memcmp(memory_ + span.start * granule + offset, &span.pattern, sizeof span.pattern) != 0) {
                return false;
            }
        }
        return true;
    }
    static std::vector<std::size_t> probes(const Live& span) {
        const std::size_t size = Oracle::granules_for(span.bytes) * granule;
        std::vector<std::size_t> offsets;
        for (std::size_t at = 0; at < size; at += std::max(granule, size / 32)) offsets.push_back(at);
        offsets.push_back(size - sizeof(std::uint32_t));
        return offsets;
    }

    std::size_t region_bytes_;
    std::byte* memory_;
    std::optional<IoHeap> heap_;
    Oracle oracle_;
    std::vector<Live> live_;
    std::uint32_t pattern_ = 0;
};

struct Profile {
    unsigned max_class;       // Sizes up to 64 B << max_class.
    std::size_t live_target;  // Frees get likelier above it.
    bool with_reset;
};

void drive(std::size_t region_bytes, const Profile& profile, std::size_t steps) {
    Driver driver(region_bytes);
    for (std::size_t step = 0; step < steps; ++step) {
        const auto dice = *rc::gen::inRange<unsigned>(0, 1000);
        if (profile.with_reset && dice < 2) {
            driver.reset();
        } else if (dice < (driver.live() < profile.live_target ? 350u : 600u)) {
            driver.free(*rc::gen::inRange<std::size_t>(0, 1 << 20));
        } else {
            const auto size_class = *rc::gen::inRange<unsigned>(0, profile.max_class + 1);
            const std::size_t top = granule << size_class;
            driver.allocate(*rc::gen::inRange<std::size_t>(dice % 7 == 0 ? 0 : top / 2 + 1, top + 1 + dice % 2));
        }
        if (step % 16 == 0) driver.check();
    }
    driver.check();
    while (driver.live() > 0) {
        driver.free(*rc::gen::inRange<std::size_t>(0, 1 << 20));
        if (driver.live() % 8 == 0) driver.check();
    }
    driver.check();
    driver.allocate(1);  // At the very front again.
}

// Spec.   Every span lies where first fit from the front puts it (I2), and a refused request changes nothing (I6).
// Method. A few live spans in the smallest region: the walk of the embedded nodes, often full.
RC_GTEST_PROP(IoHeapProperty, EqualsTheOracleWithFewSpans, ()) {
    const auto max_class = *rc::gen::inRange<unsigned>(0, 12);
    drive(64 << 10, {.max_class = max_class, .live_target = 6, .with_reset = true}, 120);
}

// Spec.   The same while the heap goes from embedded nodes to the index and, empty, back.
// Method. Around the number of blocks where it changes.
RC_GTEST_PROP(IoHeapProperty, EqualsTheOracleAcrossTheModes, ()) {
    const auto max_class = *rc::gen::inRange<unsigned>(0, 8);
    const auto live = *rc::gen::inRange<std::size_t>(8, 40);
    drive(256 << 10, {.max_class = max_class, .live_target = live, .with_reset = true}, 250);
}

// Spec.   The same with many small spans: lists grow long and classes get more buckets.
RC_GTEST_PROP(IoHeapProperty, EqualsTheOracleWithManySmallSpans, ()) {
    const auto max_class = *rc::gen::inRange<unsigned>(0, 4);
    drive(512 << 10, {.max_class = max_class, .live_target = 3000, .with_reset = false}, 2500);
}

// Spec.   The same with all sixteen classes in a region of 64 MiB.
RC_GTEST_PROP(IoHeapProperty, EqualsTheOracleWithAllClasses, ()) {
    drive(64 << 20, {.max_class = 15, .live_target = 200, .with_reset = false}, 400);
}

// Spec.   Runs of one class that are crowded into a small part of a wide heap are still found lowest first.
// Method. Many small spans, and large ones behind them; then holes between the small ones.
RC_GTEST_PROP(IoHeapProperty, EqualsTheOracleWhenRunsCrowd, ()) {
    Driver driver(32 << 20);
    const auto small = *rc::gen::inRange<std::size_t>(200, 900);
    for (std::size_t i = 0; i < small; ++i) driver.allocate(64);
    for (int i = 0; i < 14; ++i) driver.allocate(2 << 20);
    for (std::size_t i = 0; i < small / 2; ++i) driver.free(*rc::gen::inRange<std::size_t>(0, 1 << 20));
    driver.check();
    for (std::size_t i = 0; i < small; ++i) {
        if (*rc::gen::inRange<unsigned>(0, 2) == 0) {
            driver.free(*rc::gen::inRange<std::size_t>(0, 1 << 20));
        } else {
            driver.allocate(*rc::gen::inRange<std::size_t>(1, 300));
        }
    }
    driver.check();
}

}  // namespace
}  // namespace umbel::rt
