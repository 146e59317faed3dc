// io_heap_bench: ns per allocate + free of the I/O heap, beside malloc and mimalloc, in the same run.
//
//   io_heap_bench [--rounds N] [--pairs N] [--seed N]
//
// Method. A steady state: N live spans of mixed classes (uniform over the sixteen, 64 B … 2 MiB); then again and
//         again a random one is freed and one of a random class allocated. The same choices, made beforehand, for
//         all three; their rounds alternate, so that a slow moment of the machine hits all alike. Nothing touches
//         the spans: only the allocators' own work is measured. Reported is the median of the rounds.
// Output. One JSON object a line: {"name":"io_heap","live":N,"ns_per_pair":…,"min":…,"max":…,"malloc_ns":…,
//         "mimalloc_ns":…,"ratio_malloc":…,"seed":…}
#include <dlfcn.h>
#include <mimalloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "runtime/memory/io_heap.h"

namespace umbel::rt {
struct IoHeapTesting {
    static IoHeapKey key() { return {}; }
};
}  // namespace umbel::rt

namespace {

using umbel::rt::IoHeap;
using umbel::rt::IoHeapTesting;
using umbel::rt::SpanId;

struct Step {
    std::uint32_t which;  // This one is freed …
    std::uint32_t bytes;  // … and one of this size takes its place.
};

class Heap {
public:
    using Handle = SpanId;
    Heap()
        : memory_(
              mmap(nullptr, region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)),
          heap_(static_cast<std::byte*>(memory_), umbel::rt::Bytes{region_bytes}) {}
    ~Heap() { munmap(memory_, region_bytes); }
    Heap(const Heap&) = delete;
    Heap& operator=(const Heap&) = delete;
    Handle allocate(std::size_t bytes) {
        const SpanId span = heap_.allocate(IoHeapTesting::key(), bytes);
        if (span == SpanId::none) {
            std::fputs("io_heap_bench: the heap is full\n", stderr);
            std::exit(1);
        }
        return span;
    }
    void free(Handle span) { heap_.free(span); }

private:
    static constexpr std::size_t region_bytes = std::size_t{4} << 30;
    void* memory_;
    IoHeap heap_;
};

// The handle leaves the function's sight, so the compiler cannot drop a pair of calls.
void escape(void* pointer) { asm volatile("" : : "g"(pointer) : "memory"); }

// The C library's own: linking mimalloc puts it in the place of malloc and free (and of __libc_malloc).
struct LibC {
    void* (*allocate)(std::size_t);
    void (*free)(void*);
    LibC() {
        void* const library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        allocate = library != nullptr ? reinterpret_cast<void* (*)(std::size_t)>(dlsym(library, "malloc")) : nullptr;
        free = library != nullptr ? reinterpret_cast<void (*)(void*)>(dlsym(library, "free")) : nullptr;
        if (allocate == nullptr || free == nullptr || allocate == &mi_malloc) {
            std::fputs("io_heap_bench: the C library's malloc is not to be found\n", stderr);
            std::exit(1);
        }
    }
};
const LibC libc;

struct Malloc {
    using Handle = void*;
    Handle allocate(std::size_t bytes) {
        void* pointer = libc.allocate(bytes);
        escape(pointer);
        return pointer;
    }
    void free(Handle pointer) { libc.free(pointer); }
};

struct Mimalloc {
    using Handle = void*;
    Handle allocate(std::size_t bytes) {
        void* pointer = mi_malloc(bytes);
        escape(pointer);
        return pointer;
    }
    void free(Handle pointer) { mi_free(pointer); }
};

template <class Allocator>
class Subject {
public:
    explicit Subject(const std::vector<std::uint32_t>& sizes) {
        for (const std::uint32_t bytes : sizes) live_.push_back(allocator_.allocate(bytes));
    }
    ~Subject() {
        for (const auto handle : live_) allocator_.free(handle);
    }
    Subject(const Subject&) = delete;
    Subject& operator=(const Subject&) = delete;

    /// ns per pair.
    double run(const std::vector<Step>& steps) {
        const auto began = std::chrono::steady_clock::now();
        for (const Step& step : steps) {
            allocator_.free(live_[step.which]);
            live_[step.which] = allocator_.allocate(step.bytes);
        }
        const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
        return took.count() / static_cast<double>(steps.size());
    }

private:
    Allocator allocator_;
    std::vector<typename Allocator::Handle> live_;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void measure(std::size_t live, std::size_t rounds, std::size_t pairs, std::uint64_t seed) {
    std::mt19937_64 random(seed + live);
    const auto bytes = [&random] { return std::uint32_t{64} << (random() % IoHeap::class_count); };
    std::vector<std::uint32_t> first;
    for (std::size_t i = 0; i < live; ++i) first.push_back(bytes());
    Subject<Heap> heap(first);
    Subject<Malloc> with_malloc(first);
    Subject<Mimalloc> with_mimalloc(first);

    std::vector<double> heap_ns;
    std::vector<double> malloc_ns;
    std::vector<double> mimalloc_ns;
    std::vector<Step> steps(pairs);
    for (std::size_t round = 0; round < rounds + 1; ++round) {
        for (Step& step : steps) step = {static_cast<std::uint32_t>(random() % live), bytes()};
        const double a = heap.run(steps);
        const double b = with_malloc.run(steps);
        const double c = with_mimalloc.run(steps);
        if (round == 0) continue;  // Warming up: not counted.
        heap_ns.push_back(a);
        malloc_ns.push_back(b);
        mimalloc_ns.push_back(c);
    }
    std::printf(
        "{\"name\":\"io_heap\",\"live\":%zu,\"ns_per_pair\":%.1f,\"min\":%.1f,\"max\":%.1f,\"malloc_ns\":%.1f,"
        "\"mimalloc_ns\":%.1f,\"ratio_malloc\":%.3f,\"seed\":%llu}\n",
        live, median(heap_ns), *std::min_element(heap_ns.begin(), heap_ns.end()),
        *std::max_element(heap_ns.begin(), heap_ns.end()), median(malloc_ns), median(mimalloc_ns),
        median(heap_ns) / median(malloc_ns), static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
    std::size_t rounds = 11;
    std::size_t pairs = 200'000;
    std::uint64_t seed = 1;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view name = argv[i];
        const unsigned long long value = i + 1 < argc ? std::strtoull(argv[i + 1], nullptr, 10) : 0;
        if (name == "--rounds" && value > 0) {
            rounds = value;
        } else if (name == "--pairs" && value > 0) {
            pairs = value;
        } else if (name == "--seed") {
            seed = value;
        } else {
            std::fputs("io_heap_bench: usage: io_heap_bench [--rounds N] [--pairs N] [--seed N]\n", stderr);
            return 64;
        }
    }
    for (const std::size_t live : {std::size_t{1}, std::size_t{8}, std::size_t{100}, std::size_t{10'000}}) {
        measure(live, rounds, pairs, seed);
    }
    return 0;
}
