// Fuzzes io_heap.h with printable operations against a plain record of granules.
//
//   aN   allocate N bytes          fN   free the live span number N (modulo their count)
//   r    reset                     Nx   (x another operation) do it N times, at most 64
//
// "a4096 a64 f0 40a64 f3 r". Anything else is skipped, so that every input means something. A crash becomes a named test in
// tests/unit/memory/io_heap_test.cpp.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/memory/io_heap.h"

namespace umbel::rt {
struct IoHeapTesting {
    static IoHeapKey key() { return {}; }
};
}  // namespace umbel::rt

namespace {

using umbel::rt::Bytes;
using umbel::rt::IoHeap;
using umbel::rt::IoHeapTesting;
using umbel::rt::SpanId;

constexpr std::size_t granule = IoHeap::granule_bytes;
constexpr std::size_t region_granules = std::size_t{4 << 20} / granule;

struct Live {
    SpanId id;
    std::size_t start;
    std::size_t granules;
};

class Machine {
public:
    Machine() : heap_(region(), Bytes{region_granules * granule}), taken_(region_granules, 0) {}

    void allocate(std::size_t bytes) {
        const SpanId span = heap_.allocate(IoHeapTesting::key(), bytes);
        if (bytes == 0 || bytes > IoHeap::max_span_bytes) {
            CHECK(span == SpanId::none);
            return;
        }
        const std::size_t needed = std::bit_ceil((bytes + granule - 1) / granule);
        std::size_t in_a_row = 0;
        std::size_t end = 0;
        while (end < taken_.size() && in_a_row < needed) in_a_row = taken_[end++] != 0 ? 0 : in_a_row + 1;
        CHECK((span != SpanId::none) == (in_a_row == needed));
        if (span == SpanId::none) return;
        const std::size_t start = end - needed;
        CHECK(heap_.address(span) == region() + start * granule);
        CHECK(heap_.capacity(span) == needed * granule);
        std::memset(taken_.data() + start, 1, needed);
        *heap_.address(span) = std::byte{1};  // AddressSanitizer: the span may be touched.
        live_.push_back({span, start, needed});
    }

    void free(std::size_t which) {
        if (live_.empty()) return;
        std::swap(live_[which % live_.size()], live_.back());
        const Live span = live_.back();
        live_.pop_back();
        heap_.free(span.id);
        std::memset(taken_.data() + span.start, 0, span.granules);
    }

    void reset() {
        heap_.reset();
        live_.clear();
        std::fill(taken_.begin(), taken_.end(), std::uint8_t{0});
    }

    void check() const {
        heap_.check_invariants();
        CHECK(heap_.live_spans() == live_.size());
    }

private:
    static std::byte* region() {
        alignas(granule) static std::byte memory[region_granules * granule];
        return memory;
    }

    IoHeap heap_;
    std::vector<std::uint8_t> taken_;
    std::vector<Live> live_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::size_t max_steps = 600;
    Machine machine;
    std::size_t steps = 0;
    std::size_t at = 0;
    const auto number = [&] {
        std::size_t value = 0;
        for (; at < size && data[at] >= '0' && data[at] <= '9'; ++at) {
            value = std::min<std::size_t>(value * 10 + (data[at] - '0'), std::size_t{1} << 30);
        }
        return value;
    };
    while (at < size && steps < max_steps) {
        std::size_t times = number();
        times = std::clamp<std::size_t>(times, 1, 64);
        if (at == size) break;
        const char operation = static_cast<char>(data[at++]);
        const std::size_t operand = operation == 'a' || operation == 'f' ? number() : 0;
        if (operation != 'a' && operation != 'f' && operation != 'r') continue;
        for (; times > 0; --times, ++steps) {
            if (operation == 'a') machine.allocate(operand);
            if (operation == 'f') machine.free(operand);
            if (operation == 'r') machine.reset();
        }
        machine.check();
    }
    machine.check();
    return 0;
}
