#include "runtime/memory/io_heap.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#if defined(UMBEL_IO_HEAP_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

// The lowest free run that fits, among many.
//
// Shape.  A run's class is floor(log2(length)), at most 15. Requests are powers of two, so a run fits a request of
//         class c exactly if its own class is ≥ c, and the lowest fit is the lowest of (up to) sixteen heads, the
//         lowest run of each class. heads_ has those, and lowest_ the lowest from each class up, so an allocation
//         reads one word.
//         Within a class, runs lie in buckets by address: bucket = start >> shift. A bucket is a list in address
//         order, linked through the nodes; a 64-ary bitmap tree over the buckets finds the first one in use. The
//         buckets cover only what has ever been in use (no free run starts behind the high-water mark), so a busy
//         heap in a huge region stays small.
//         A class gets four times as many buckets when runs share one, up to a bucket for each place where a run of
//         that class can start, or 2^18: then a bucket is at most 2^8 granules, and a list at most 2^7 runs.
//
// Cost.   insert, remove: a table entry and a bit on each level (two up to 4,096 buckets, then three). The next head:
//         one word of each level. Written to avoid branches on what cannot be predicted: each of those costs as much as
//         fifty instructions. Growing: all runs of the class, amortised. If there is no memory to grow, lists get
//         longer and nothing else happens.
class IoHeap::FreeIndex {
public:
    explicit FreeIndex(const std::uint32_t extent_granules)
        : extent_log2_(std::max(min_bits, static_cast<unsigned>(std::bit_width(extent_granules)))) {
        heads_.fill(no_run);
        lowest_.fill(no_run);
        lowest_[0] = 0;
        for (unsigned k = 0; k < class_count; ++k) {
            Runs& runs = runs_[k];
            runs.table = first_buckets_[k].table.data();
            runs.leaves = &first_buckets_[k].leaf;
            runs.bits = min_bits;
            runs.shift = static_cast<std::uint8_t>(shift_for(k, min_bits));
        }
    }
    FreeIndex(const FreeIndex&) = delete;
    FreeIndex& operator=(const FreeIndex&) = delete;
    ~FreeIndex() {
        for (Runs& runs : runs_) std::free(runs.storage);
    }

    static unsigned class_of_length(std::uint32_t granules) {
        return std::min(31 - static_cast<unsigned>(__builtin_clz(granules)), class_count - 1);
    }

    // The lowest run of class ≥ wanted: its node, or 0.
    [[nodiscard]] std::uint32_t lowest(unsigned wanted) const {
        return static_cast<std::uint32_t>(lowest_[wanted + 1]);
    }

    // Starts up to `high_water` will be inserted.
    void cover(Node* nodes, std::uint32_t high_water) {
        if (high_water >> extent_log2_ == 0) [[likely]]
            return;
        extend(nodes, high_water);
    }

    // `node` is a free run of class k that is in no list.
    [[gnu::always_inline]] void insert(Node* nodes, std::uint32_t node, unsigned k) {
        Runs& runs = runs_[k];
        const std::uint32_t start = nodes[node].start;
        ++runs.count;
        link_in(nodes, runs, k, node, start);
        lower_head(k, head_word(start, node));
    }

    // `node` is in class k's lists under its start.
    [[gnu::noinline]] void remove(Node* nodes, std::uint32_t node, unsigned k) {
        Runs& runs = runs_[k];
        unlink(nodes, runs, node, nodes[node].start >> runs.shift);
        --runs.count;
        if (static_cast<std::uint32_t>(heads_[k]) == node) raise_head(k, find_head(nodes, runs));
    }

    // remove() of what lowest() has just returned: it is the head of its class, so the first of its bucket.
    [[gnu::always_inline]] void remove_head(Node* nodes, std::uint32_t node) {
        const std::uint32_t link = nodes[node].link;
        const unsigned k = link >> class_shift;
        Runs& runs = runs_[k];
        unlink_first(runs, nodes[node].start >> runs.shift, link & link_mask);
        --runs.count;
        raise_head(k, find_head(nodes, runs));
    }

    void check_invariants(const Node* nodes, std::size_t free_runs) const {
        std::size_t found = 0;
        for (unsigned k = 0; k < class_count; ++k) {
            const Runs& runs = runs_[k];
            std::size_t in_class = 0;
            std::uint64_t lowest_head = no_run;
            std::uint32_t previous_start = 0;
            for (std::uint32_t bucket = 0; bucket < (std::uint32_t{1} << runs.bits); ++bucket) {
                const bool used = runs.table[bucket] != 0;
                CHECK((runs.leaves[bucket >> 6] >> (bucket & 63) & 1) == (used ? 1u : 0u));  // I4
                for (std::uint32_t node = runs.table[bucket]; node != 0; node = nodes[node].link & link_mask) {
                    const std::uint32_t start = nodes[node].start;
                    CHECK((nodes[node].link & live_bit) == 0);                           // I4
                    CHECK(nodes[node].link >> class_shift == k);                         // I4
                    CHECK(start >> runs.shift == bucket);                                // I4
                    CHECK(in_class == 0 || start > previous_start);                      // I4
                    CHECK(class_of_length(nodes[nodes[node].next].start - start) == k);  // I4
                    previous_start = start;
                    lowest_head = std::min(lowest_head, head_word(start, node));
                    ++in_class;
                }
            }
            CHECK(runs.count == in_class);    // I4
            CHECK(heads_[k] == lowest_head);  // I4
            const std::uint64_t* below = runs.leaves;
            std::size_t words = leaf_words(runs.bits);
            if (runs.middle != nullptr) {
                check_summary(runs.middle, below, words);
                below = runs.middle;
                words = middle_words(runs.bits);
            }
            check_summary(&runs.top, below, words);
            found += in_class;
        }
        CHECK(found == free_runs);  // I4
        CHECK(lowest_[0] == 0);
        CHECK(lowest_[class_count + 1] == no_run);
        for (unsigned k = 0; k < class_count; ++k) {
            CHECK(lowest_[k + 1] == *std::min_element(heads_.begin() + k, heads_.end()));  // I4
        }
    }

private:
    static constexpr unsigned min_bits = 6;
    static constexpr unsigned max_bits = 18;
    static constexpr unsigned two_level_bits = 12;
    // A class gets more buckets when a run finds its bucket occupied and there are fewer than `spare` buckets a run:
    // an insertion that walks is mispredicted. And whenever a list is this long.
    static constexpr std::uint32_t spare = 8;
    static constexpr unsigned long_list = 8;
    static constexpr std::uint64_t no_run = std::uint64_t{0xffff'ffff} << 32;

    // All there is to know about the runs of a class, in one cache line.
    struct alignas(cache_line) Runs {
        std::uint32_t* table = nullptr;   // Bucket → the first node, or 0.
        std::uint64_t* leaves = nullptr;  // A bit for each bucket: not empty.
        std::uint64_t* middle = nullptr;  // A bit for each word of leaves; only with more than 2^12 buckets.
        std::uint64_t top = 0;            // A bit for each word of middle, or of leaves: not zero.
        std::uint8_t bits = 0;            // log2(buckets)
        std::uint8_t shift = 0;           // log2(granules per bucket)
        std::uint32_t count = 0;
        void* storage = nullptr;  // Of table and levels, once they have outgrown the first ones.
    };

    // What every class begins with, so that a heap of a few dozen blocks needs one allocation for its index.
    struct FirstBuckets {
        std::uint64_t leaf = 0;
        std::array<std::uint32_t, std::size_t{1} << min_bits> table{};
    };

    // Ordered by start. No node is 0, so no head is.
    static constexpr std::uint64_t head_word(std::uint32_t start, std::uint32_t node) {
        return std::uint64_t{start} << 32 | node;
    }
    static constexpr std::size_t leaf_words(unsigned bits) { return std::size_t{1} << (bits - 6); }
    static constexpr std::size_t middle_words(unsigned bits) {
        return bits <= two_level_bits ? 0 : std::size_t{1} << (bits - 12);
    }
    static void check_summary(const std::uint64_t* above, const std::uint64_t* below, std::size_t words) {
        for (std::size_t word = 0; word < words; ++word) {
            CHECK((above[word >> 6] >> (word & 63) & 1) == (below[word] != 0 ? 1u : 0u));  // I4
        }
    }

    // `head` is a new run of class k, or its present head begins earlier now.
    void lower_head(unsigned k, std::uint64_t head) {
        const std::uint64_t old = heads_[k];
        heads_[k] = old ^ ((old ^ head) & (0 - std::uint64_t{head < old}));  // The lower one, without a branch.
        // lowest_ never falls from one class to the next, so the first that is not higher ends it.
        for (unsigned i = k + 1; head < lowest_[i]; --i) lowest_[i] = head;
    }

    // The head of class k is gone, or begins later now.
    void raise_head(unsigned k, std::uint64_t head) {
        const std::uint64_t old = heads_[k];
        heads_[k] = head;
        for (unsigned i = k + 1; lowest_[i] == old; --i) lowest_[i] = std::min(heads_[i - 1], lowest_[i + 1]);
    }

    [[gnu::noinline]] void extend(Node* nodes, std::uint32_t high_water) {
        extent_log2_ = static_cast<unsigned>(std::bit_width(high_water)) + 1;
        for (unsigned k = 0; k < class_count; ++k) rebuild(nodes, k, runs_[k].bits);
    }

    [[nodiscard]] unsigned shift_for(unsigned k, unsigned bits) const {
        return std::max(k, extent_log2_ - std::min(extent_log2_, bits));
    }

    void link_in(Node* nodes, Runs& runs, unsigned k, std::uint32_t node, std::uint32_t start) {
        const std::uint32_t bucket = start >> runs.shift;
        DCHECK(bucket >> runs.bits == 0);
        std::uint32_t next = runs.table[bucket];
        const std::uint32_t tag = k << class_shift;
        set_bits(runs, bucket);
        if (nodes[next].start > start) [[likely]] {  // The anchor, which ends every list, is behind all runs.
            nodes[node].link = tag | next;
            runs.table[bucket] = node;
            return;
        }
        link_in_behind(nodes, k, node, next);
    }

    // Behind `before`, which is the first of its bucket.
    [[gnu::noinline]] void link_in_behind(Node* nodes, unsigned k, std::uint32_t node, std::uint32_t before) {
        const std::uint32_t start = nodes[node].start;
        const std::uint32_t tag = k << class_shift;
        unsigned steps = 1;
        std::uint32_t next = nodes[before].link & link_mask;
        for (; nodes[next].start < start; ++steps) {
            before = next;
            next = nodes[next].link & link_mask;
        }
        nodes[before].link = tag | node;
        nodes[node].link = tag | next;
        bucket_was_occupied(nodes, runs_[k], k, steps);
    }

    static void unlink(Node* nodes, Runs& runs, std::uint32_t node, std::uint32_t bucket) {
        const std::uint32_t before = runs.table[bucket];
        if (before == node) [[likely]] {
            unlink_first(runs, bucket, nodes[node].link & link_mask);
        } else {
            unlink_behind(nodes, node, before);
        }
    }

    static void unlink_first(Runs& runs, std::uint32_t bucket, std::uint32_t next) {
        runs.table[bucket] = next;
        clear_bits(runs, bucket, next == 0);
    }

    [[gnu::noinline]] static void unlink_behind(Node* nodes, std::uint32_t node, std::uint32_t before) {
        while ((nodes[before].link & link_mask) != node) {
            before = nodes[before].link & link_mask;
            DCHECK(before != 0);
        }
        nodes[before].link = (nodes[before].link & ~link_mask) | (nodes[node].link & link_mask);
    }

    // Without a branch on what a word holds: whether it becomes empty cannot be predicted.
    static void set_bits(Runs& runs, std::uint32_t bucket) {
        runs.leaves[bucket >> 6] |= std::uint64_t{1} << (bucket & 63);
        bucket >>= 6;
        if (runs.middle != nullptr) [[unlikely]] {
            runs.middle[bucket >> 6] |= std::uint64_t{1} << (bucket & 63);
            bucket >>= 6;
        }
        runs.top |= std::uint64_t{1} << bucket;
    }

    // If `empty`, the bucket is.
    static void clear_bits(Runs& runs, std::uint32_t bucket, bool empty) {
        std::uint64_t& leaf = runs.leaves[bucket >> 6];
        leaf &= ~(std::uint64_t{empty} << (bucket & 63));
        empty = leaf == 0;
        bucket >>= 6;
        if (runs.middle != nullptr) [[unlikely]] {
            std::uint64_t& word = runs.middle[bucket >> 6];
            word &= ~(std::uint64_t{empty} << (bucket & 63));
            empty = word == 0;
            bucket >>= 6;
        }
        runs.top &= ~(std::uint64_t{empty} << bucket);
    }

    // The position of the lowest bit; 0 for an empty word.
    static std::uint32_t lowest_bit(std::uint64_t word) {
        return static_cast<std::uint32_t>(std::countr_zero(word)) & 63;
    }

    // The head of class k, or no_run. An empty class is walked as well (to bucket 0, which names the anchor): that is
    // cheaper than a branch that cannot be predicted.
    static std::uint64_t find_head(const Node* nodes, const Runs& runs) {
        std::uint32_t position = lowest_bit(runs.top);
        if (runs.middle != nullptr) [[unlikely]]
            position = position << 6 | lowest_bit(runs.middle[position]);
        position = position << 6 | lowest_bit(runs.leaves[position]);
        const std::uint32_t node = runs.table[position];
        const std::uint64_t head = head_word(nodes[node].start, node);
        return runs.count == 0 ? no_run : head;
    }

    [[gnu::noinline]] void bucket_was_occupied(Node* nodes, Runs& runs, unsigned k, unsigned steps) {
        if (runs.shift == k || runs.bits == max_bits) return;
        const bool crowded = runs.count * spare >= (std::uint32_t{1} << runs.bits);
        if (crowded || steps >= long_list) rebuild(nodes, k, runs.bits + 2);
    }

    // Puts the runs of class k into 2^bits buckets over the present extent.
    void rebuild(Node* nodes, unsigned k, unsigned bits) {
        Runs& runs = runs_[k];
        // In address order, one list.
        std::uint32_t first = 0;
        std::uint32_t last = 0;
        for (std::uint32_t word = 0; word < leaf_words(runs.bits); ++word) {
            for (std::uint64_t left = runs.leaves[word]; left != 0; left &= left - 1) {
                const std::uint32_t bucket = word << 6 | static_cast<std::uint32_t>(std::countr_zero(left));
                const std::uint32_t head = runs.table[bucket];
                runs.table[bucket] = 0;
                if (first == 0) first = head;
                if (last != 0) nodes[last].link = (k << class_shift) | head;
                for (last = head; (nodes[last].link & link_mask) != 0;) last = nodes[last].link & link_mask;
            }
        }
        std::memset(runs.leaves, 0, leaf_words(runs.bits) * sizeof(std::uint64_t));
        if (runs.middle != nullptr) std::memset(runs.middle, 0, middle_words(runs.bits) * sizeof(std::uint64_t));
        runs.top = 0;

        if (bits != runs.bits) {
            const std::size_t words = leaf_words(bits) + middle_words(bits);
            const std::size_t table_bytes = sizeof(std::uint32_t) << bits;
            if (void* storage = std::calloc(1, words * sizeof(std::uint64_t) + table_bytes)) {
                std::free(runs.storage);
                runs.storage = storage;
                runs.leaves = static_cast<std::uint64_t*>(storage);
                runs.middle = bits <= two_level_bits ? nullptr : runs.leaves + leaf_words(bits);
                runs.table = reinterpret_cast<std::uint32_t*>(runs.leaves + words);
                runs.bits = static_cast<std::uint8_t>(bits);
            }
        }
        runs.shift = static_cast<std::uint8_t>(shift_for(k, runs.bits));

        last = 0;
        for (std::uint32_t node = first; node != 0;) {
            const std::uint32_t next = nodes[node].link & link_mask;
            const std::uint32_t bucket = nodes[node].start >> runs.shift;
            nodes[node].link = k << class_shift;
            if (runs.table[bucket] == 0) {
                runs.table[bucket] = node;
                set_bits(runs, bucket);
            } else {
                nodes[last].link = (k << class_shift) | node;
            }
            last = node;
            node = next;
        }
    }

    alignas(cache_line) std::array<std::uint64_t, class_count> heads_;  // Of each class, or no_run.
    // [k + 1]: the lowest of the heads of classes ≥ k. [0] is below all heads and [17] above: ends for the loops.
    std::array<std::uint64_t, class_count + 2> lowest_;
    unsigned extent_log2_;
    std::array<Runs, class_count> runs_;
    std::array<FirstBuckets, class_count> first_buckets_;
};

#if defined(UMBEL_IO_HEAP_POISON)
void IoHeap::poison(std::uint32_t start, std::uint32_t granules) {
    ASAN_POISON_MEMORY_REGION(base_ + std::size_t{start} * granule_bytes, std::size_t{granules} * granule_bytes);
    poisoned_ = std::max(poisoned_, start + granules);
}
void IoHeap::unpoison(std::uint32_t start, std::uint32_t granules) {
    ASAN_UNPOISON_MEMORY_REGION(base_ + std::size_t{start} * granule_bytes, std::size_t{granules} * granule_bytes);
}
#endif

IoHeap::IoHeap(std::byte* base, Bytes size)
    : base_(base), granules_(static_cast<std::uint32_t>(size.count / granule_bytes)) {
    CHECK(reinterpret_cast<std::uintptr_t>(base) % granule_bytes == 0);
    CHECK(size.count % granule_bytes == 0);
    CHECK(size >= Bytes{granule_bytes});
    CHECK(size <= 4_GiB);
    cover_with_one_run();
}

IoHeap::~IoHeap() {
    drop_index();
#if defined(UMBEL_IO_HEAP_POISON)
    unpoison(0, poisoned_);  // The region's next user may use it in another way.
#endif
}

// Everything is one free run; the nodes are the embedded ones, and there is no index.
void IoHeap::cover_with_one_run() {
    nodes_ = embedded_.data();
    node_capacity_ = embedded_nodes;
    node_count_ = 2;
    unused_ = 0;
    live_spans_ = 0;
    live_granules_ = 0;
    nodes_[anchor] = {granules_, 1, 1, live_bit};  // A neighbour that is never free.
    nodes_[1] = {0, anchor, anchor, 0};
}

void IoHeap::drop_index() {
    if (nodes_ == embedded_.data()) return;
    delete index_;
    index_ = nullptr;
    std::free(nodes_);
}

void IoHeap::reset() {
    if (high_water_ != 0) poison(0, high_water_);
    drop_index();
    cover_with_one_run();
    high_water_ = 0;
}

// Room for one more node; from the embedded ones, also the index. False if there is no memory (I6).
bool IoHeap::grow() {
    const std::uint32_t capacity = node_capacity_ * 2;
    if (index_ != nullptr) {
        void* larger = std::realloc(nodes_, capacity * sizeof(Node));
        if (larger == nullptr) return false;
        nodes_ = static_cast<Node*>(larger);
        node_capacity_ = capacity;
        return true;
    }
    auto* larger = static_cast<Node*>(std::malloc(capacity * sizeof(Node)));
    if (larger == nullptr) return false;
    index_ = new (std::nothrow) FreeIndex(high_water_);
    if (index_ == nullptr) {
        std::free(larger);
        return false;
    }
    std::memcpy(larger, nodes_, node_count_ * sizeof(Node));
    nodes_ = larger;
    node_capacity_ = capacity;
    for (std::uint32_t node = nodes_[anchor].next; node != anchor; node = nodes_[node].next) {
        if (is_live(node)) continue;
        index_->insert(nodes_, node, FreeIndex::class_of_length(length_of(node)));
    }
    return true;
}

SpanId IoHeap::allocate(IoHeapKey, std::size_t bytes) {
    if (bytes - 1 >= max_span_bytes) [[unlikely]]
        return SpanId::none;  // 0 wraps round
    const auto granules = static_cast<std::uint32_t>((bytes - 1) / granule_bytes);
    const unsigned span_class = 31 - static_cast<unsigned>(__builtin_clz(granules << 1 | 1));
    const std::uint32_t needed = std::uint32_t{1} << span_class;

    std::uint32_t run = anchor;
    if (index_ == nullptr) {
        for (run = nodes_[anchor].next; run != anchor; run = nodes_[run].next) {
            if (!is_live(run) && length_of(run) >= needed) break;
        }
    } else {
        run = index_->lowest(span_class);
    }
    if (run == anchor) [[unlikely]]
        return SpanId::none;

    const std::uint32_t start = nodes_[run].start;
    std::uint32_t span = run;
    if (length_of(run) == needed) {
        if (index_ != nullptr) index_->remove_head(nodes_, run);
    } else {
        // The span is a new block before what is left of the run.
        span = unused_;
        if (span != 0) {
            unused_ = nodes_[span].link;
        } else {
            if (node_count_ == node_capacity_ && !grow()) [[unlikely]]
                return SpanId::none;  // I6
            span = node_count_++;
        }
        if (index_ != nullptr) index_->remove_head(nodes_, run);
        const std::uint32_t before = nodes_[run].prev;
        nodes_[span].start = start;
        nodes_[span].prev = before;
        nodes_[span].next = run;
        nodes_[before].next = span;
        nodes_[run].prev = span;
        nodes_[run].start = start + needed;
        if (index_ != nullptr) {
            index_->cover(nodes_, start + needed);
            index_->insert(nodes_, run, FreeIndex::class_of_length(length_of(run)));
        }
    }
    nodes_[span].link = live_bit | span_class;
    ++live_spans_;
    live_granules_ += needed;
    high_water_ = std::max(high_water_, start + needed);
    unpoison(start, needed);
    return SpanId{span};
}

void IoHeap::free(SpanId id) {
    auto run = static_cast<std::uint32_t>(id);
    CHECK(run != anchor);
    CHECK(run < node_count_);
    CHECK(is_live(run));  // Freed twice, or never allocated.
    const std::uint32_t length = std::uint32_t{1} << class_of(nodes_[run]);
    const std::uint32_t before = nodes_[run].prev;
    const std::uint32_t after = nodes_[run].next;
    --live_spans_;
    live_granules_ -= length;
    poison(nodes_[run].start, length);
    if (index_ != nullptr && live_spans_ == 0) [[unlikely]] {  // Empty: back to the embedded nodes.
        drop_index();
        cover_with_one_run();
        return;
    }

    // I3: the run after the span becomes part of it, then it becomes part of the run before.
    if (!is_live(after)) {
        if (index_ != nullptr) index_->remove(nodes_, after, free_class(after));
        const std::uint32_t next = nodes_[after].next;
        nodes_[run].next = next;
        nodes_[next].prev = run;
        discard_node(after);
    }
    if (!is_live(before)) {
        if (index_ != nullptr) index_->remove(nodes_, before, free_class(before));
        const std::uint32_t next = nodes_[run].next;
        nodes_[before].next = next;
        nodes_[next].prev = before;
        discard_node(run);
        run = before;
    }
    if (index_ != nullptr) {
        index_->insert(nodes_, run, FreeIndex::class_of_length(length_of(run)));
    } else {
        nodes_[run].link = 0;
    }
}

void IoHeap::check_invariants() const {
    std::uint32_t expected_start = 0;
    std::uint32_t previous = anchor;
    std::size_t blocks = 0;
    std::size_t free_runs = 0;
    std::uint32_t live = 0;
    std::uint32_t live_granules = 0;
    for (std::uint32_t node = nodes_[anchor].next; node != anchor; node = nodes_[node].next) {
        CHECK(node < node_count_);
        CHECK(nodes_[node].prev == previous);         // I1
        CHECK(nodes_[node].start == expected_start);  // I1
        CHECK(length_of(node) > 0);                   // I1
        CHECK(length_of(node) <= granules_);          // I1
        if (is_live(node)) {
            CHECK(length_of(node) == std::uint32_t{1} << class_of(nodes_[node]));  // I1
            CHECK(nodes_[nodes_[node].next].start <= high_water_);
            ++live;
            live_granules += length_of(node);
        } else {
            CHECK(previous == anchor || is_live(previous));  // I3
            ++free_runs;
        }
        expected_start = nodes_[nodes_[node].next].start;
        previous = node;
        CHECK(++blocks < node_count_);  // I5
    }
    CHECK(expected_start == granules_);        // I1
    CHECK(nodes_[anchor].prev == previous);    // I1
    CHECK(nodes_[anchor].start == granules_);  // I1
    CHECK(live == live_spans_);
    CHECK(live_granules == live_granules_);
    std::size_t unused = 0;
    for (std::uint32_t node = unused_; node != 0; node = nodes_[node].link) {
        CHECK(node < node_count_);
        CHECK(++unused < node_count_);
    }
    CHECK(1 + blocks + unused == node_count_);  // I5
    CHECK(node_count_ <= node_capacity_);
    CHECK((index_ == nullptr) == (nodes_ == embedded_.data()));
    if (index_ != nullptr) index_->check_invariants(nodes_, free_runs);  // I4
}

}  // namespace umbel::rt
