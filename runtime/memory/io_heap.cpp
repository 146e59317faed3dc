#include "runtime/memory/io_heap.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(UMBEL_IO_HEAP_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

// The lowest free run that fits, among many.
//
// Shape.  A run's class is floor(log2(length)), at most 15. Requests are powers of two, so a run fits a request of
//         class c exactly if its own class is ≥ c, and the lowest fit is the lowest of (up to) sixteen heads, the
//         lowest run of each class. heads_ has those.
//         Within a class, runs lie in buckets by address, on a logarithmic scale (bucket_of()), because they crowd at the
//         front. A bucket holds the entry of its lowest run; behind it a list in address order, linked through the
//         nodes. A 64-ary bitmap tree over the buckets finds the first one in use. The last bucket is the end's: its
//         entry lies behind all runs, so a search needs no case for a class without runs.
//         A class gets four times as many buckets when runs share one, up to 2^18: 2^13 an octave, so that a bucket is
//         at most 2^12 granules and a list at most 2^11 runs, in the upper half of a region of 4 GiB.
//
// Cost.   insert, remove: a bucket and a bit on each level (two up to 4,096 buckets, then three). The next head:
//         one word of each level. An entry says of a run all that an allocation asks, so nodes (there are too many for
//         the first-level cache) are written but not read, save one link. And hardly anything branches on what cannot
//         be predicted: each of those branches costs as much as fifty instructions. Growing: all runs of the class,
//         amortised. If there is no memory to grow, lists get longer and nothing else happens.
class IoHeap::FreeIndex {
public:
    // A free run in one word; entries are ordered as the runs are. An empty bucket's is 0.
    class Entry {
    public:
        constexpr Entry() = default;
        Entry(std::uint32_t node, std::uint32_t start, unsigned k, bool exact)
            : word_(normal_bit | std::uint64_t{start} << 32 | k << 28 | static_cast<unsigned>(exact) << 27 | node) {}
        explicit constexpr Entry(std::uint64_t word) : word_(word) {}

        // Behind every run.
        static constexpr Entry none() { return Entry(std::uint64_t{0x7fe} << 52); }

        [[nodiscard]] bool operator==(const Entry&) const = default;
        [[nodiscard]] std::uint64_t word() const { return word_; }
        // In the same order: x86-64 finds the lower of two doubles in one instruction.
        [[nodiscard]] double number() const { return std::bit_cast<double>(word_); }
        [[nodiscard]] std::uint32_t node() const { return static_cast<std::uint32_t>(word_) & link_mask; }
        [[nodiscard]] std::uint32_t start() const { return static_cast<std::uint32_t>(word_ >> 32) & start_mask; }
        // Whether the run is as long as a span of class k, not longer.
        [[nodiscard]] bool is_exactly(unsigned k) const { return (word_ >> 27 & 31) == (k << 1 | 1); }

    private:
        static constexpr std::uint64_t normal_bit = std::uint64_t{1} << 61;  // number() is never denormal.
        static constexpr std::uint32_t start_mask = (std::uint32_t{1} << 29) - 1;
        std::uint64_t word_ = 0;  // From the top: normal_bit : 3, start : 29, class : 4, exact : 1, node : 27.
    };

    FreeIndex() {
        heads_.fill(Entry::none());
        for (unsigned k = 0; k < class_count; ++k) {
            Runs& runs = runs_[k];
            runs.table = first_buckets_[k].table.data();
            runs.leaves = &first_buckets_[k].leaf;
            runs.bits = min_bits;
            put_end(runs);
            runs.head_bucket = last_bucket(runs);
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

    // The lowest run of class ≥ wanted, or none().
    [[nodiscard]] Entry lowest(unsigned wanted) const {
        const Entry* const from = heads_.data() + wanted;
        const auto lower = [](double a, double b) { return a < b ? a : b; };
        // Each is read by itself: a read of two would wait until the store of one of them has reached the cache.
        const double a = lower(lower(from[0].number(), from[1].number()), lower(from[2].number(), from[3].number()));
        const double b = lower(lower(from[4].number(), from[5].number()), lower(from[6].number(), from[7].number()));
        const double c = lower(lower(from[8].number(), from[9].number()), lower(from[10].number(), from[11].number()));
        const double d =
            lower(lower(from[12].number(), from[13].number()), lower(from[14].number(), from[15].number()));
        return Entry(std::bit_cast<std::uint64_t>(lower(lower(a, b), lower(c, d))));
    }

    // `node` is a free run that is in no list.
    [[gnu::always_inline]] void insert(Node* nodes, std::uint32_t node, std::uint32_t start, std::uint32_t length) {
        const unsigned k = class_of_length(length);
        insert(nodes, k, start, Entry(node, start, k, length == std::uint32_t{1} << k));
    }
    [[gnu::always_inline]] void insert(Node* nodes, unsigned k, std::uint32_t start, Entry entry) {
        Runs& runs = runs_[k];
        const std::uint32_t bucket = bucket_of(runs, start);
        DCHECK(bucket < last_bucket(runs));
        const Entry first = runs.table[bucket];
        ++runs.count;
        set_bits(runs, bucket);
        const bool lowest = entry.word() < heads_[k].word();
        heads_[k] = lowest ? entry : heads_[k];
        runs.head_bucket = lowest ? bucket : runs.head_bucket;
        if (first.word() - 1 < entry.word()) [[unlikely]] {  // Not empty (0 wraps round), and its first lies before.
            link_in_behind(nodes, k, entry, first.node());
            return;
        }
        nodes[entry.node()].link = k << class_shift | first.node();
        runs.table[bucket] = entry;
    }

    // `node` is in class k's lists under its start.
    [[gnu::noinline]] void remove(Node* nodes, std::uint32_t node, unsigned k) {
        Runs& runs = runs_[k];
        const std::uint32_t bucket = bucket_of(runs, nodes[node].start);
        const Entry first = runs.table[bucket];
        if (heads_[k].node() == node) {
            remove_head(nodes, k);
            return;
        }
        --runs.count;
        const std::uint32_t next = nodes[node].link & link_mask;
        if (first.node() != node) [[unlikely]] {
            unlink_behind(nodes, node, first.node());
        } else if (next != 0) [[unlikely]] {
            runs.table[bucket] = entry_of(nodes, next, k);
        } else {
            runs.table[bucket] = Entry();
            clear_bits(runs, bucket);
        }
    }

    // remove() of the lowest run of class k.
    [[gnu::always_inline]] void remove_head(const Node* nodes, unsigned k) {
        const Entry head = heads_[k];
        Runs& runs = runs_[k];
        const std::uint32_t bucket = runs.head_bucket;
        DCHECK(bucket == bucket_of(runs, head.start()));
        const std::uint32_t next = nodes[head.node()].link & link_mask;
        --runs.count;
        if (next != 0) [[unlikely]] {
            heads_[k] = runs.table[bucket] = entry_of(nodes, next, k);
            return;
        }
        runs.table[bucket] = Entry();
        clear_bits(runs, bucket);
        runs.head_bucket = first_bucket(runs);
        heads_[k] = runs.table[runs.head_bucket];
    }

    void check_invariants(const Node* nodes, std::size_t free_runs) const {
        std::size_t found = 0;
        for (unsigned k = 0; k < class_count; ++k) {
            const Runs& runs = runs_[k];
            std::size_t in_class = 0;
            Entry head = Entry::none();
            std::uint32_t previous_start = 0;
            for (std::uint32_t bucket = 0; bucket < (std::uint32_t{1} << runs.bits); ++bucket) {
                const Entry first = runs.table[bucket];
                const bool used = first.word() != 0;
                CHECK((first == Entry::none()) == (bucket == last_bucket(runs)));            // I4
                CHECK((runs.leaves[bucket >> 6] >> (bucket & 63) & 1) == (used ? 1u : 0u));  // I4
                if (bucket == last_bucket(runs)) break;
                if (used) CHECK(first == entry_of(nodes, first.node(), k));  // I4
                if (used && head == Entry::none()) head = first;
                for (std::uint32_t node = first.node(); node != 0; node = nodes[node].link & link_mask) {
                    const std::uint32_t start = nodes[node].start;
                    CHECK((nodes[node].link & live_bit) == 0);                           // I4
                    CHECK(nodes[node].link >> class_shift == k);                         // I4
                    CHECK(bucket_of(runs, start) == bucket);                             // I4
                    CHECK(in_class == 0 || start > previous_start);                      // I4
                    CHECK(class_of_length(nodes[nodes[node].next].start - start) == k);  // I4
                    previous_start = start;
                    ++in_class;
                }
            }
            CHECK(runs.count == in_class);                // I4
            CHECK(heads_[k] == head);                     // I4
            CHECK(runs.table[runs.head_bucket] == head);  // I4
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
        for (std::size_t i = class_count; i < heads_.size(); ++i) CHECK(heads_[i] == Entry::none());
    }

private:
    static constexpr unsigned all_bits = 23 + 5;  // Of a float: the fraction, and of the exponent what is used.
    static constexpr unsigned min_bits = 6;
    static constexpr unsigned max_bits = 18;
    static constexpr unsigned two_level_bits = 12;
    // A class gets more buckets when a run finds its bucket occupied and there are fewer than `spare` buckets a run: an
    // insertion that walks is mispredicted. And whenever a list is long. But a third level has its price as well, so for
    // that one bucket a run will do, or a longer list.
    struct Growth {
        std::uint32_t spare;
        std::uint32_t long_list;
    };
    static constexpr Growth within_two_levels{8, 4};
    static constexpr Growth to_three_levels{1, 32};

    // All there is to know about the runs of a class, in one cache line.
    struct alignas(cache_line) Runs {
        Entry* table = nullptr;           // Of each bucket, its lowest run.
        std::uint64_t* leaves = nullptr;  // A bit for each bucket: not empty.
        std::uint64_t* middle = nullptr;  // A bit for each word of leaves; only with more than 2^12 buckets.
        std::uint64_t top = 0;            // A bit for each word of middle, or of leaves: not zero.
        std::uint8_t bits = 0;            // log2(buckets)
        std::uint32_t count = 0;
        std::uint32_t head_bucket = 0;  // The first bucket that is not empty.
        void* storage = nullptr;        // Of table and levels, once they have outgrown the first ones.
    };

    // What every class begins with, so that a heap of a few dozen blocks needs one allocation for its index.
    struct FirstBuckets {
        std::uint64_t leaf = 0;
        std::array<Entry, std::size_t{1} << min_bits> table{};
    };

    static constexpr std::size_t leaf_words(unsigned bits) { return std::size_t{1} << (bits - 6); }
    static constexpr std::size_t middle_words(unsigned bits) {
        return bits <= two_level_bits ? 0 : std::size_t{1} << (bits - 12);
    }
    static void check_summary(const std::uint64_t* above, const std::uint64_t* below, std::size_t words) {
        for (std::size_t word = 0; word < words; ++word) {
            CHECK((above[word >> 6] >> (word & 63) & 1) == (below[word] != 0 ? 1u : 0u));  // I4
        }
    }

    static Entry entry_of(const Node* nodes, std::uint32_t node, unsigned k) {
        const std::uint32_t start = nodes[node].start;
        const std::uint32_t length = nodes[nodes[node].next].start - start;
        return {node, start, k, length == std::uint32_t{1} << k};
    }

    // Monotonic: a logarithm. The exponent of a float and as many bits of its fraction as there are buckets for. There are
    // never more than 2^26 starts, so the last of the 32 octaves stays empty: its last bucket is the end's.
    static std::uint32_t bucket_of(const Runs& runs, std::uint32_t start) {
        const auto number = static_cast<float>(static_cast<std::int32_t>(start + 1));
        return (std::bit_cast<std::uint32_t>(number) - std::bit_cast<std::uint32_t>(1.0F)) >> (all_bits - runs.bits);
    }
    static std::uint32_t last_bucket(const Runs& runs) { return (std::uint32_t{1} << runs.bits) - 1; }

    // The last bucket has an entry behind all runs, so that a search for the first bucket in use always ends.
    static void put_end(Runs& runs) {
        runs.table[last_bucket(runs)] = Entry::none();
        set_bits(runs, last_bucket(runs));
    }

    // Behind `before`, which is the first of its bucket.
    [[gnu::noinline]] void link_in_behind(Node* nodes, unsigned k, Entry entry, std::uint32_t before) {
        const std::uint32_t node = entry.node();
        const std::uint32_t start = entry.start();
        const std::uint32_t tag = k << class_shift;
        unsigned steps = 1;
        std::uint32_t next = nodes[before].link & link_mask;
        for (; nodes[next].start < start; ++steps) {  // The anchor, which ends every list, is behind all runs.
            before = next;
            next = nodes[next].link & link_mask;
        }
        nodes[before].link = tag | node;
        nodes[node].link = tag | next;
        bucket_was_occupied(nodes, runs_[k], k, steps);
    }

    static void unlink_behind(Node* nodes, std::uint32_t node, std::uint32_t before) {
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

    static void clear_bits(Runs& runs, std::uint32_t bucket) {
        std::uint64_t& leaf = runs.leaves[bucket >> 6];
        leaf &= ~(std::uint64_t{1} << (bucket & 63));
        bool empty = leaf == 0;
        bucket >>= 6;
        if (runs.middle != nullptr) [[unlikely]] {
            std::uint64_t& word = runs.middle[bucket >> 6];
            word &= ~(std::uint64_t{empty} << (bucket & 63));
            empty = word == 0;
            bucket >>= 6;
        }
        runs.top &= ~(std::uint64_t{empty} << bucket);
    }

    // The position of the lowest bit of a word that has one (std::countr_zero also asks whether it has).
    static std::uint32_t lowest_bit(std::uint64_t word) { return static_cast<std::uint32_t>(__builtin_ctzll(word)); }

    // The first bucket that is not empty. The last one never is.
    static std::uint32_t first_bucket(const Runs& runs) {
        std::uint32_t position = lowest_bit(runs.top);
        if (runs.middle != nullptr) [[unlikely]]
            position = position << 6 | lowest_bit(runs.middle[position]);
        return position << 6 | lowest_bit(runs.leaves[position]);
    }

    [[gnu::noinline]] void bucket_was_occupied(Node* nodes, Runs& runs, unsigned k, unsigned steps) {
        if (runs.bits == max_bits) return;
        const Growth growth = runs.bits < two_level_bits ? within_two_levels : to_three_levels;
        const bool crowded = runs.count * growth.spare >= (std::uint32_t{1} << runs.bits);
        if (crowded || steps >= growth.long_list) rebuild(nodes, k, runs.bits + 2);
    }

    // Puts the runs of class k into 2^bits buckets, if there is memory for that.
    void rebuild(Node* nodes, unsigned k, unsigned bits) {
        Runs& runs = runs_[k];
        clear_bits(runs, last_bucket(runs));
        runs.table[last_bucket(runs)] = Entry();
        // In address order, one list.
        std::uint32_t first = 0;
        std::uint32_t last = 0;
        for (std::uint32_t word = 0; word < leaf_words(runs.bits); ++word) {
            for (std::uint64_t left = runs.leaves[word]; left != 0; left &= left - 1) {
                const std::uint32_t bucket = word << 6 | static_cast<std::uint32_t>(std::countr_zero(left));
                const std::uint32_t head = runs.table[bucket].node();
                runs.table[bucket] = Entry();
                if (first == 0) first = head;
                if (last != 0) nodes[last].link = (k << class_shift) | head;
                for (last = head; (nodes[last].link & link_mask) != 0;) last = nodes[last].link & link_mask;
            }
        }
        std::memset(runs.leaves, 0, leaf_words(runs.bits) * sizeof(std::uint64_t));
        if (runs.middle != nullptr) std::memset(runs.middle, 0, middle_words(runs.bits) * sizeof(std::uint64_t));
        runs.top = 0;

        const std::size_t words = leaf_words(bits) + middle_words(bits);
        const std::size_t table_bytes = sizeof(Entry) << bits;
        if (void* storage = std::calloc(1, words * sizeof(std::uint64_t) + table_bytes)) {
            std::free(runs.storage);
            runs.storage = storage;
            runs.leaves = static_cast<std::uint64_t*>(storage);
            runs.middle = bits <= two_level_bits ? nullptr : runs.leaves + leaf_words(bits);
            runs.table = reinterpret_cast<Entry*>(runs.leaves + words);
            runs.bits = static_cast<std::uint8_t>(bits);
        }
        put_end(runs);

        last = 0;
        for (std::uint32_t node = first; node != 0;) {
            const std::uint32_t next = nodes[node].link & link_mask;
            const std::uint32_t bucket = bucket_of(runs, nodes[node].start);
            nodes[node].link = k << class_shift;
            if (runs.table[bucket].word() == 0) {
                runs.table[bucket] = entry_of(nodes, node, k);
                set_bits(runs, bucket);
            } else {
                nodes[last].link = (k << class_shift) | node;
            }
            last = node;
            node = next;
        }
        runs.head_bucket = first_bucket(runs);
    }

    // The lowest run of each class, or none(); behind them as many none() as lowest() looks at.
    alignas(cache_line) std::array<Entry, std::size_t{2} * class_count> heads_;
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
    index_ = new (std::nothrow) FreeIndex();
    if (index_ == nullptr) {
        std::free(larger);
        return false;
    }
    std::memcpy(larger, nodes_, node_count_ * sizeof(Node));
    nodes_ = larger;
    node_capacity_ = capacity;
    for (std::uint32_t node = nodes_[anchor].next; node != anchor; node = nodes_[node].next) {
        if (is_live(node)) continue;
        index_->insert(nodes_, node, nodes_[node].start, length_of(node));
    }
    return true;
}

SpanId IoHeap::allocate_with_more_nodes(unsigned span_class) {
    return grow() ? allocate_indexed(span_class) : SpanId::none;  // I6
}

SpanId IoHeap::allocate_indexed(unsigned span_class) {
    const FreeIndex::Entry head = index_->lowest(span_class);
    if (head == FreeIndex::Entry::none()) [[unlikely]]
        return SpanId::none;

    if (head.is_exactly(span_class)) [[likely]] {
        index_->remove_head(nodes_, span_class);
        account_allocation(head.node(), head.start(), span_class);
        return SpanId{head.node()};
    }
    return allocate_from(head.node(), span_class);
}

// From the front of a longer run, which is the head of its class.
SpanId IoHeap::allocate_from(std::uint32_t run, unsigned span_class) {
    if (unused_ == 0 && node_count_ == node_capacity_ && !grow()) [[unlikely]]
        return SpanId::none;  // I6
    const std::uint32_t needed = std::uint32_t{1} << span_class;
    const std::uint32_t start = nodes_[run].start;
    index_->remove_head(nodes_, free_class(run));
    const std::uint32_t span = cut_front(run, start, needed);
    index_->insert(nodes_, run, start + needed, length_of(run));
    account_allocation(span, start, span_class);
    return SpanId{span};
}

void IoHeap::free_indexed(std::uint32_t run) {
    if (live_spans_ == 0) [[unlikely]] {  // Empty: back to the embedded nodes.
        drop_index();
        cover_with_one_run();
        return;
    }
    const Node& node = nodes_[run];
    if ((nodes_[node.prev].link & nodes_[node.next].link & live_bit) != 0) [[likely]] {
        const unsigned k = class_of(node);
        index_->insert(nodes_, k, node.start, FreeIndex::Entry(run, node.start, k, true));
        return;
    }
    free_beside_free(run);
}

// A neighbour at least is free.
void IoHeap::free_beside_free(std::uint32_t run) {
    const Node& node = nodes_[run];
    if (!is_live(node.next)) index_->remove(nodes_, node.next, free_class(node.next));
    if (!is_live(node.prev)) index_->remove(nodes_, node.prev, free_class(node.prev));
    run = merge(run);
    index_->insert(nodes_, run, nodes_[run].start, length_of(run));
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
