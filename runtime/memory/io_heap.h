// io_heap.h: the one region of an actor that never moves.
//
// Why.    From submit to the terminal CQE the kernel holds raw addresses into it: a span may neither move nor be
//         reused before that CQE is reaped, whoever has died meanwhile. And it should stay small: what is used
//         lies at the front, so that few pages are touched and the rest costs nothing.
// Shape.  Granules of 64 B. A span is 2^c granules, c = 0 … 15 (64 B … 2 MiB): the smallest class that fits the
//         request, at the lowest address that fits (any granule, no other alignment). All bookkeeping is
//         outside the region: a buffer that is written past its end cannot harm it.
//           blocks   The region is covered without gaps by blocks, each a live span or a free run. A doubly
//                    linked list in address order through an array of 16 B nodes. A SpanId is an index into that
//                    array, so a span's neighbours are found without a search. Node 0 is the list's anchor.
//           small    Up to 23 blocks: the nodes are in the object itself and the list is walked from the front.
//                    That is what an ordinary actor (1 … 8 live spans) needs, and it touches no other page.
//           indexed  More blocks: the nodes move to the C heap, and a FreeIndex (io_heap.cpp) finds the lowest run
//                    that fits. When the heap is empty again it becomes small again.
//         Under AddressSanitizer a freed span is poisoned.
// Owner.  The home executor. No atomics.
//
// Invariants (check_invariants())
//   I1  the blocks cover the region exactly, in address order: a granule is in at most one span
//   I2  every span starts at the lowest address that fitted when it was allocated (the tests' oracle)
//   I3  two free runs never touch
//   I4  the index holds every free run once, under the class of its length; its heads are the lowest starts
//   I5  a node is in the list or in the list of unused nodes
//   I6  an allocation that fails leaves everything as it was
//
// Cost.   allocate + free: 6 ns with one live span, 30 … 50 with 100 to 10,000 (bench/memory/io_heap_bench.cpp). Small
//         mode is inline: a walk of a few blocks. Indexed: the lowest of sixteen heads and two bit scans; worst case, in
//         a heap of a hundred thousand free runs, 2,048 list steps. Memory: 16 B per block; the index 10 KiB, and then
//         tables in proportion to the free runs.
// Not here.  Who may allocate: only submission, which alone can make an IoHeapKey (runtime/io/submission.h).
//         Values: value_heap.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"
#include "runtime/base/units.h"

#if defined(__SANITIZE_ADDRESS__)
#define UMBEL_IO_HEAP_POISON 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UMBEL_IO_HEAP_POISON 1
#endif
#endif

namespace umbel::rt {

/// A live span of one IoHeap.
enum class SpanId : std::uint32_t { none = 0 };

/// The permission to allocate. Spans are made by submitting a system call and by nothing else, and the compiler
/// sees to that: only these two can make a key.
class IoHeapKey {
    friend class Submission;      // runtime/io/submission.h
    friend struct IoHeapTesting;  // tests and benchmarks
    IoHeapKey() {}  // NOLINT(modernize-use-equals-default): a defaulted one would make this an aggregate for all
};

class IoHeap {
public:
    static constexpr std::size_t granule_bytes = 64;
    static constexpr unsigned class_count = 16;
    static constexpr std::size_t max_span_bytes = granule_bytes << (class_count - 1);  // 2 MiB

    /// base: aligned to 64 B.  size: a multiple of 64 B, at most 4 GiB. The region is not touched.
    IoHeap(std::byte* base, Bytes size);
    IoHeap(const IoHeap&) = delete;
    IoHeap& operator=(const IoHeap&) = delete;
    ~IoHeap();

    /// A span of the smallest class that holds `bytes`, at the lowest address that fits. Its content is whatever was there.
    ///
    /// bytes:    1 B … 2 MiB.
    /// Returns:  none if nothing fits, if `bytes` is 0 or more than 2 MiB, or if there is no memory for the
    ///           bookkeeping; then nothing has changed (I6).
    [[nodiscard]] SpanId allocate(IoHeapKey, std::size_t bytes) {
        if (bytes - 1 >= max_span_bytes) [[unlikely]]
            return SpanId::none;  // 0 wraps round
        const auto granules = static_cast<std::uint32_t>((bytes - 1) / granule_bytes);
        const unsigned span_class = 31 - static_cast<unsigned>(__builtin_clz(granules << 1 | 1));
        return index_ == nullptr ? allocate_small(span_class) : allocate_indexed(span_class);
    }

    /// Gives a live span back; it becomes one with the free space before and after it. A span that is not live is a
    /// programmer's error.
    void free(SpanId span) {
        CHECK(is_live(span));  // Freed twice, or never allocated.
        const auto node = static_cast<std::uint32_t>(span);
        const std::uint32_t length = std::uint32_t{1} << class_of(nodes_[node]);
        --live_spans_;
        live_granules_ -= length;
        poison(nodes_[node].start, length);
        if (index_ == nullptr) {
            nodes_[merge(node)].link = 0;
        } else {
            free_indexed(node);
        }
    }

    /// The span's first byte. It stays there until the span is freed.
    [[nodiscard]] std::byte* address(SpanId span) const {
        const Node& node = live_node(span);
        return base_ + std::size_t{node.start} * granule_bytes;
    }
    /// The span's size: its class, not the request.
    [[nodiscard]] std::size_t capacity(SpanId span) const { return granule_bytes << class_of(live_node(span)); }

    /// Whether `span` names a live span; any number may be asked about.
    [[nodiscard]] bool is_live(SpanId span) const {
        const auto node = static_cast<std::uint32_t>(span);
        return node != anchor && node < node_count_ && is_live(node);
    }

    /// Forgets every span at once.
    void reset();

    [[nodiscard]] std::size_t live_spans() const { return live_spans_; }
    [[nodiscard]] Bytes live_bytes() const { return Bytes{live_granules_} * granule_bytes; }
    /// How much of the region's front has been inside a span since construction or the last reset().
    [[nodiscard]] Bytes high_water() const { return Bytes{high_water_} * granule_bytes; }
    [[nodiscard]] Bytes size() const { return Bytes{granules_} * granule_bytes; }

    /// Walks everything; costly.
    void check_invariants() const;

private:
    class FreeIndex;  // io_heap.cpp
    friend struct IoHeapTesting;

    // A block: a live span or a free run. Its length is the distance to the next block's start.
    struct Node {
        std::uint32_t start;  // Granules from the base. The anchor's is the region's length.
        std::uint32_t prev;
        std::uint32_t next;
        std::uint32_t link;  // Live: live_bit | class. Free: below. Unused: the next unused node.
    };
    static_assert(sizeof(Node) == 16, "four to a cache line");

    static constexpr std::uint32_t embedded_nodes = 24;
    static constexpr std::uint32_t anchor = 0;
    static constexpr std::uint32_t live_bit = std::uint32_t{1} << 31;
    static constexpr unsigned class_shift = 27;  // A free run's class is in bits 27 … 30,
    static constexpr std::uint32_t link_mask = (std::uint32_t{1} << class_shift) - 1;  // its successor in 0 … 26.

    static unsigned class_of(const Node& node) { return node.link & 15; }  // of a live span
    [[nodiscard]] bool is_live(std::uint32_t node) const { return (nodes_[node].link & live_bit) != 0; }
    [[nodiscard]] std::uint32_t length_of(std::uint32_t node) const {
        return nodes_[nodes_[node].next].start - nodes_[node].start;
    }
    // Indexed mode only: of a free run.
    [[nodiscard]] unsigned free_class(std::uint32_t node) const { return nodes_[node].link >> class_shift; }

    [[nodiscard]] const Node& live_node(SpanId span) const {
        DCHECK(static_cast<std::uint32_t>(span) < node_count_);
        const Node& node = nodes_[static_cast<std::uint32_t>(span)];
        DCHECK((node.link & live_bit) != 0);
        return node;
    }

    void cover_with_one_run();
    void drop_index();
    [[nodiscard]] bool grow();
    void discard_node(std::uint32_t node) {
        nodes_[node].link = unused_;
        unused_ = node;
    }

    // The walk from the front.
    [[nodiscard]] SpanId allocate_small(unsigned span_class) {
        const std::uint32_t needed = std::uint32_t{1} << span_class;
        std::uint32_t next = 0;
        for (std::uint32_t run = nodes_[anchor].next; run != anchor; run = next) {
            next = nodes_[run].next;
            const std::uint32_t start = nodes_[run].start;
            const std::uint32_t length = nodes_[next].start - start;
            // Of a live span, 0: whether a block is live cannot be predicted, so only one branch a block.
            const std::uint32_t usable = length & ((nodes_[run].link >> 31) - 1);
            if (usable < needed) continue;
            std::uint32_t span = run;
            if (length != needed) {
                if (unused_ == 0 && node_count_ == embedded_nodes) [[unlikely]]
                    return allocate_with_more_nodes(span_class);
                span = cut_front(run, start, needed);
            }
            account_allocation(span, start, span_class);
            return SpanId{span};
        }
        return SpanId::none;
    }
    [[nodiscard]] SpanId allocate_with_more_nodes(unsigned span_class);
    [[nodiscard]] SpanId allocate_indexed(unsigned span_class);
    [[nodiscard, gnu::noinline]] SpanId allocate_from(std::uint32_t run, unsigned span_class);
    void free_indexed(std::uint32_t node);
    [[gnu::noinline]] void free_beside_free(std::uint32_t node);

    // A new block of `granules` before what is left of the free run. There is a node for it.
    [[nodiscard]] std::uint32_t cut_front(std::uint32_t run, std::uint32_t start, std::uint32_t granules) {
        std::uint32_t block = unused_;
        if (block != 0) {
            unused_ = nodes_[block].link;
        } else {
            block = node_count_++;
        }
        const std::uint32_t before = nodes_[run].prev;
        nodes_[block].start = start;
        nodes_[block].prev = before;
        nodes_[block].next = run;
        nodes_[before].next = block;
        nodes_[run].prev = block;
        nodes_[run].start = start + granules;
        return block;
    }

    // I3: the block becomes part of the free run after it, and then of the one before. Returns what it is now.
    [[nodiscard]] std::uint32_t merge(std::uint32_t block) {
        const std::uint32_t before = nodes_[block].prev;
        const std::uint32_t after = nodes_[block].next;
        if (!is_live(after)) {
            nodes_[after].start = nodes_[block].start;
            nodes_[after].prev = before;
            nodes_[before].next = after;
            discard_node(block);
            block = after;
        }
        if (!is_live(before)) {
            const std::uint32_t next = nodes_[block].next;
            nodes_[before].next = next;
            nodes_[next].prev = before;
            discard_node(block);
            block = before;
        }
        return block;
    }

    void account_allocation(std::uint32_t span, std::uint32_t start, unsigned span_class) {
        const std::uint32_t length = std::uint32_t{1} << span_class;
        nodes_[span].link = live_bit | span_class;
        ++live_spans_;
        live_granules_ += length;
        high_water_ = high_water_ < start + length ? start + length : high_water_;
        unpoison(start, length);
    }
#if defined(UMBEL_IO_HEAP_POISON)
    void poison(std::uint32_t start, std::uint32_t granules);
    void unpoison(std::uint32_t start, std::uint32_t granules);
#else
    static void poison(std::uint32_t, std::uint32_t) {}
    static void unpoison(std::uint32_t, std::uint32_t) {}
#endif

    // Touched by every call.
    std::byte* base_;
    Node* nodes_;                 // embedded_, or an array on the C heap.
    FreeIndex* index_ = nullptr;  // Null in small mode.
    std::uint32_t granules_;
    std::uint32_t unused_ = 0;      // The unused nodes' list, last in first out; 0: none.
    std::uint32_t node_count_ = 0;  // Nodes ever used: those above are untouched.
    std::uint32_t node_capacity_ = 0;
    std::uint32_t live_spans_ = 0;
    std::uint32_t high_water_ = 0;  // granules
    std::uint32_t live_granules_ = 0;
#if defined(UMBEL_IO_HEAP_POISON)
    std::uint32_t poisoned_ = 0;  // How much of the front has ever been poisoned, granules.
#endif
    std::array<Node, embedded_nodes> embedded_;
};
static_assert(sizeof(IoHeap) <= 512, "part of a context record, which is half a page");

}  // namespace umbel::rt
