// file_cache.h: the small files that are asked for again and again, ready to be sent.
//
// Why.    A hot file costs no call of the file system: its head and content lie ready, in one piece each.
// Shape.  One FileCache actor on each executor owns a table; sessions ask it by message and hand it what they have read.
//         An Entry never changes after it was made; whoever holds an EntryRef may read it, on any executor. Of a large file
//         only the head is kept, and that it is there.
// Owner.  The table: its actor alone. Entries: those who hold references, the messages under way included.
//
// How old an answer may be.  An entry is sent without a look at the disk for `cache_valid`. The first to ask after that
//         is told to look (stale); the others get the entry as it is meanwhile, for at most another `cache_valid`.
//
// Invariants (FileCache::check_invariants())
//   I1  the table and the list hold the same records, the list in order of use
//   I2  size_ is the sum of the records' costs, and at most limit_ after each message
//
// Cost.   Two messages a lookup; none when a connection asks again for what it has just been sent (session.cpp).
// Not here.  Reading files and comparing them with the disk: document.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "encoding.h"
#include "ref.h"
#include "response.h"
#include "umbel/umbel.h"

namespace http {

/// A representation of a file as it is sent. Made by one session, immutable afterwards.
struct Entry : Counted {
    std::string key;   // cache_key() of the request
    std::string path;  // the file behind it, below the root
    std::string base;  // the same without its coding's suffix
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_s = 0;
    std::uint32_t modified_ns = 0;
    std::uint8_t siblings = 0;  // which of the site's codings lie beside `base`: bits in the order of Coding
    bool large = false;         // `content` is empty: it is read from the disk each time
    std::string_view content_type;
    std::string_view coding;
    Validators validators;
    std::string head;             // all but the Ending
    umbel::shared_block content;  // null if the file is empty; sent as it lies there

    [[nodiscard]] Representation representation() const {
        return {content_type, coding, size, validators, siblings != 0};
    }
    /// It is still this file.
    [[nodiscard]] bool same_as(const umbel::file_status& now) const {
        return now.is_regular() && now.inode == inode && now.size == size && now.modified_s == modified_s &&
               now.modified_ns == modified_ns;
    }
    /// Bytes of memory, about.
    [[nodiscard]] std::size_t cost() const {
        return 640 + 2 * key.size() + path.size() + base.size() + head.size() + content.size();
    }
};
using EntryRef = Ref<Entry>;

/// What is asked for: a path under one Site (by its serial), and the codings that are acceptable, in this order.
inline void put_cache_key(std::string& key, std::string_view path, const CodingList& accepted, std::uint64_t site) {
    key.append(path).push_back('\0');
    key.append(std::to_string(site)).push_back('\0');
    for (const Coding coding : accepted) key.push_back(static_cast<char>('0' + static_cast<int>(coding)));
}

/// Session → cache: what have you for the path behind this header?
struct CacheQuestion {
    std::uint64_t serial = 0;  // comes back with the answer
};
/// Cache → session.
struct CacheAnswer {
    std::uint64_t serial = 0;
    const Entry* entry = nullptr;  // packed; null: nothing
    bool stale = false;            // look whether it is still the same, and say so with CacheKeep
    umbel::nanoseconds until{0};   // may be sent until then, on the clock of self::now()
};
/// Session → cache: this is what the disk has now.
struct CacheKeep {
    const Entry* entry = nullptr;  // packed
};
/// Gate → cache: there is a new Site. What was kept under the old one is not asked for any more, and goes.
struct CacheReset {
    std::size_t limit = 0;
    umbel::nanoseconds valid{0};
};

class FileCache {
public:
    FileCache(umbel::self& me, std::size_t limit, umbel::nanoseconds valid);
    FileCache(const FileCache&) = delete;
    FileCache& operator=(const FileCache&) = delete;
    ~FileCache();

    void on_message(umbel::self& me, umbel::message& message);
    void check_invariants() const;

private:
    struct Table;

    CacheAnswer find(std::string_view key, umbel::nanoseconds now);
    void keep(EntryRef entry, umbel::nanoseconds now);

    std::unique_ptr<Table> table_;
    std::size_t limit_;
    std::size_t size_ = 0;
    umbel::nanoseconds valid_;
};

}  // namespace http
