// Specification of io_heap.h. The oracle and the witness are in tests/property/memory/io_heap_property.cpp.
#include "runtime/memory/io_heap.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <optional>
#include <type_traits>
#include <vector>

#if defined(UMBEL_IO_HEAP_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

struct IoHeapTesting {
    static IoHeapKey key() { return {}; }
    static bool indexed(const IoHeap& heap) { return heap.index_ != nullptr; }
};

namespace {

static_assert(!std::is_default_constructible_v<IoHeapKey>, "only submission allocates");
static_assert(!std::is_aggregate_v<IoHeapKey>, "only submission allocates");

class IoHeapTest : public testing::Test {
protected:
    static constexpr std::size_t region_bytes = std::size_t{64} << 20;

    IoHeapTest()
        : memory_(static_cast<std::byte*>(mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
        heap.emplace(memory_, Bytes{region_bytes});
    }
    ~IoHeapTest() override {
        heap->check_invariants();
        heap.reset();
        munmap(memory_, region_bytes);
    }

    SpanId allocate(std::size_t bytes) { return heap->allocate(IoHeapTesting::key(), bytes); }
    [[nodiscard]] std::size_t offset(SpanId span) const {
        return static_cast<std::size_t>(heap->address(span) - memory_);
    }

    std::byte* memory_;
    std::optional<IoHeap> heap;
};

// Spec.   A request gets the smallest class that holds it: 64 B … 2 MiB in powers of two.
TEST_F(IoHeapTest, GivesTheSmallestClassThatFits) {
    for (const auto& [bytes, capacity] : std::vector<std::pair<std::size_t, std::size_t>>{
             {1, 64}, {64, 64}, {65, 128}, {2048, 2048}, {2049, 4096}, {(2 << 20) - 1, 2 << 20}, {2 << 20, 2 << 20}}) {
        EXPECT_EQ(heap->capacity(allocate(bytes)), capacity) << bytes;
    }
}

// Spec.   0 bytes and more than 2 MiB are refused, and nothing changes (I6).
TEST_F(IoHeapTest, RefusesWhatIsNoClass) {
    EXPECT_EQ(allocate(0), SpanId::none);
    EXPECT_EQ(allocate((2 << 20) + 1), SpanId::none);
    EXPECT_EQ(allocate(~std::size_t{0}), SpanId::none);
    EXPECT_EQ(heap->live_spans(), 0u);
    EXPECT_EQ(heap->high_water(), 0_B);
}

// Spec.   The lowest address that fits, at any granule (I2).
TEST_F(IoHeapTest, TakesTheLowestAddressThatFits) {
    const SpanId a = allocate(64);
    const SpanId b = allocate(4096);
    const SpanId c = allocate(128);
    const SpanId d = allocate(64);
    EXPECT_EQ(offset(a), 0u);
    EXPECT_EQ(offset(b), 64u);
    EXPECT_EQ(offset(c), 64u + 4096);
    EXPECT_EQ(offset(d), 64u + 4096 + 128);
    heap->free(b);
    heap->free(c);
    EXPECT_EQ(offset(allocate(2048)), 64u);
    EXPECT_EQ(offset(allocate(2048)), 64u + 2048);
    EXPECT_EQ(offset(allocate(256)), 64u + 4096 + 128 + 64);  // 128 B are left in the hole.
    EXPECT_EQ(offset(allocate(128)), 64u + 4096);
}

// Spec.   A freed span becomes one with the free space before it, after it, or both (I3).
TEST_F(IoHeapTest, CoalescesWithBothNeighbours) {
    const std::vector<std::vector<std::size_t>> orders{{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                                       {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (const auto& order : orders) {
        std::vector<SpanId> spans;
        for (int i = 0; i < 3; ++i) spans.push_back(allocate(1024));
        const SpanId wall = allocate(64);
        for (const std::size_t i : order) {
            heap->free(spans[i]);
            heap->check_invariants();
        }
        const SpanId whole = allocate(2048);
        EXPECT_EQ(offset(whole), 0u);
        heap->free(whole);
        heap->free(wall);
        EXPECT_EQ(heap->live_spans(), 0u);
    }
}

// Spec.   A full heap refuses and is as it was; it serves again after a free (I6).
TEST_F(IoHeapTest, RefusesWhenFull) {
    std::vector<SpanId> spans;
    for (std::size_t i = 0; i < region_bytes / IoHeap::max_span_bytes; ++i) spans.push_back(allocate(2 << 20));
    EXPECT_NE(spans.back(), SpanId::none);
    EXPECT_EQ(allocate(1), SpanId::none);
    heap->check_invariants();
    EXPECT_EQ(heap->live_bytes().count, region_bytes);
    heap->free(spans[5]);
    EXPECT_EQ(offset(allocate(64)), 5 * IoHeap::max_span_bytes);
    EXPECT_EQ(allocate(2 << 20), SpanId::none);
}

// Spec.   The figures count spans and bytes; the high-water mark stays until the reset.
TEST_F(IoHeapTest, CountsWhatIsLive) {
    const SpanId a = allocate(100);
    const SpanId b = allocate(4096);
    EXPECT_EQ(heap->live_spans(), 2u);
    EXPECT_EQ(heap->live_bytes(), 4224_B);
    heap->free(a);
    heap->free(b);
    EXPECT_EQ(heap->live_bytes(), 0_B);
    EXPECT_EQ(heap->high_water(), 4224_B);
    heap->reset();
    EXPECT_EQ(heap->high_water(), 0_B);
}

// Spec.   A few spans need no memory besides the object; many do, and an empty heap gives that back.
TEST_F(IoHeapTest, BecomesSmallAgainWhenEmpty) {
    std::vector<SpanId> spans;
    for (int i = 0; i < 22; ++i) spans.push_back(allocate(64));
    EXPECT_FALSE(IoHeapTesting::indexed(*heap));
    for (int i = 0; i < 1000; ++i) spans.push_back(allocate(64));
    EXPECT_TRUE(IoHeapTesting::indexed(*heap));
    heap->check_invariants();
    for (const SpanId span : spans) heap->free(span);
    EXPECT_FALSE(IoHeapTesting::indexed(*heap));
    EXPECT_EQ(offset(allocate(64)), 0u);
}

// Spec.   Thousands of free runs of one class are found lowest first (I2); then the index has its third level.
// Method. A comb: every other span is freed, in an order that jumps about. Then the holes are filled from the front.
TEST_F(IoHeapTest, FindsTheLowestOfThousands) {
    constexpr std::size_t count = 20'000;
    constexpr std::size_t stride = 7'919;  // Prime: i * stride % count is every number once.
    std::vector<SpanId> spans;
    for (std::size_t i = 0; i < count; ++i) spans.push_back(allocate(64));
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t which = i * stride % count;
        if (which % 2 == 0) heap->free(spans[which]);
        if (i % 2'000 == 0) heap->check_invariants();
    }
    heap->check_invariants();
    EXPECT_EQ(offset(allocate(128)), count * 64);
    for (std::size_t i = 0; i < count; i += 2) {
        ASSERT_EQ(offset(allocate(64)), i * 64);
        if (i % 2'000 == 0) heap->check_invariants();
    }
    EXPECT_EQ(offset(allocate(64)), count * 64 + 128);
}

// Spec.   reset() forgets every span at once, in either mode.
TEST_F(IoHeapTest, ResetForgetsEverything) {
    for (const int count : {3, 300}) {
        for (int i = 0; i < count; ++i) EXPECT_NE(allocate(64), SpanId::none);
        heap->reset();
        heap->check_invariants();
        EXPECT_EQ(heap->live_spans(), 0u);
        EXPECT_EQ(offset(allocate(2 << 20)), 0u);
        heap->reset();
    }
}

// Spec.   Freeing what is not live is a programmer's error, in release builds as well.
using IoHeapDeathTest = IoHeapTest;
TEST_F(IoHeapDeathTest, StopsAtADoubleFree) {
    const SpanId a = allocate(64);
    const SpanId b = allocate(64);
    heap->free(a);
    EXPECT_DEATH(heap->free(a), "check failed");
    heap->free(b);
    EXPECT_DEATH(heap->free(b), "check failed");
    EXPECT_DEATH(heap->free(SpanId::none), "check failed");
    EXPECT_DEATH(heap->free(SpanId{12345}), "check failed");
}

#if defined(UMBEL_IO_HEAP_POISON)
// Spec.   Under AddressSanitizer a freed span cannot be touched, nor one that reset() forgot.
TEST_F(IoHeapTest, FreedSpansArePoisoned) {
    const SpanId a = allocate(128);
    const SpanId b = allocate(128);
    std::byte* const first = heap->address(a);
    std::byte* const second = heap->address(b);
    EXPECT_FALSE(__asan_address_is_poisoned(first));
    heap->free(a);
    EXPECT_TRUE(__asan_address_is_poisoned(first));
    EXPECT_TRUE(__asan_address_is_poisoned(first + 127));
    EXPECT_FALSE(__asan_address_is_poisoned(second));
    heap->reset();
    EXPECT_TRUE(__asan_address_is_poisoned(second));
    EXPECT_FALSE(__asan_address_is_poisoned(heap->address(allocate(64))));
    heap.emplace(memory_, Bytes{region_bytes});
    EXPECT_FALSE(__asan_address_is_poisoned(second));
}
#endif

}  // namespace
}  // namespace umbel::rt
