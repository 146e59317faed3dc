// file_cache.h: the small files that are asked for again and again, ready to be sent.
//
// Why.    A hot file costs no call of the file system: its head and content lie ready, in one piece each.
// Shape.  One FileCache actor on each executor owns a table; sessions ask it by message and hand it what they have read.
//         An Entry never changes after it was made; whoever holds an EntryRef may read it, on any executor.
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

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "response.h"
#include "umbel/umbel.h"

namespace http {

/// A file as it is sent. Made by one session, immutable afterwards.
struct Entry {
    std::string key;   // the request's path, as parse_target gives it
    std::string path;  // the file behind it, below the root
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::int64_t modified_s = 0;
    std::uint32_t modified_ns = 0;
    Validators validators;
    std::string head;             // all but the Ending
    umbel::shared_block content;  // null if the file is empty; sent as it lies there

    /// It is still this file.
    [[nodiscard]] bool same_as(const umbel::file_status& now) const {
        return now.is_regular() && now.inode == inode && now.size == size && now.modified_s == modified_s &&
               now.modified_ns == modified_ns;
    }
    /// Bytes of memory, about.
    [[nodiscard]] std::size_t cost() const { return 512 + 2 * key.size() + path.size() + head.size() + content.size(); }

private:
    friend class EntryRef;
    mutable std::atomic<std::uint32_t> references_{0};
};

/// A reference to an entry; the last one frees it.
class EntryRef {
public:
    EntryRef() = default;
    explicit EntryRef(const Entry* entry) : entry_(entry) {
        // relaxed: whoever adds a reference has one, or has just made the entry.
        if (entry_ != nullptr) entry_->references_.fetch_add(1, std::memory_order_relaxed);
    }
    EntryRef(const EntryRef& other) : EntryRef(other.entry_) {}
    EntryRef(EntryRef&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
    EntryRef& operator=(EntryRef other) noexcept {
        std::swap(entry_, other.entry_);
        return *this;
    }
    ~EntryRef() {
        // release: this holder's reads are over. acquire: pairs with the other holders' releases, before it is freed.
        if (entry_ != nullptr && entry_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete entry_;
    }

    [[nodiscard]] explicit operator bool() const { return entry_ != nullptr; }
    const Entry& operator*() const { return *entry_; }
    const Entry* operator->() const { return entry_; }
    [[nodiscard]] const Entry* get() const { return entry_; }

    /// Puts the reference into a message, and takes it out again.
    [[nodiscard]] const Entry* pack() && { return std::exchange(entry_, nullptr); }
    [[nodiscard]] static EntryRef unpack(const Entry* packed) {
        EntryRef reference;
        reference.entry_ = packed;
        return reference;
    }

private:
    const Entry* entry_ = nullptr;
};

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
