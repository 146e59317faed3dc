#include "file_cache.h"

#include <cassert>
#include <list>
#include <unordered_map>

namespace http {

namespace {

struct Record {
    EntryRef entry;
    umbel::nanoseconds until{0};    // sent without a look at the disk until then
    umbel::nanoseconds checked{0};  // somebody is looking, and until then the others need not
};

}  // namespace

struct FileCache::Table {
    std::list<Record> by_use;                                                  // The most recently used first.
    std::unordered_map<std::string_view, std::list<Record>::iterator> by_key;  // Keys lie in the entries.
};

FileCache::FileCache(umbel::self&, std::size_t limit, umbel::nanoseconds valid)
    : table_(std::make_unique<Table>()), limit_(limit), valid_(valid) {}

FileCache::~FileCache() = default;

void FileCache::on_message(umbel::self& me, umbel::message& message) {
    if (const auto* kept = message.as<CacheKeep>()) {
        keep(EntryRef::unpack(kept->entry), me.now());
    } else if (const auto* reset = message.as<CacheReset>()) {
        limit_ = reset->limit;
        valid_ = reset->valid;
        size_ = 0;
        table_->by_key.clear();
        table_->by_use.clear();
    } else if (message.type() == umbel::message_type_of<CacheQuestion>() &&
               message.bytes().size() >= sizeof(CacheQuestion)) {
        CacheQuestion question;
        std::memcpy(&question, message.bytes().data(), sizeof question);
        const auto key = message.bytes().subspan(sizeof question);
        CacheAnswer answer = find({reinterpret_cast<const char*>(key.data()), key.size()}, me.now());
        answer.serial = question.serial;
        // A session that has ended meanwhile needs no answer.
        if (!me.send_to(message.sender(), answer)) (void)EntryRef::unpack(answer.entry);
    }
}

CacheAnswer FileCache::find(std::string_view key, umbel::nanoseconds now) {
    const auto found = table_->by_key.find(key);
    if (found == table_->by_key.end()) return {};
    Record& record = *found->second;
    table_->by_use.splice(table_->by_use.begin(), table_->by_use, found->second);  // I1
    CacheAnswer answer{.entry = EntryRef(record.entry).pack(), .until = record.until};
    if (now >= record.until && now >= record.checked) {
        answer.stale = true;
        record.checked = now + valid_;
    }
    return answer;
}

void FileCache::keep(EntryRef entry, umbel::nanoseconds now) {
    const std::size_t cost = entry->cost();
    if (const auto found = table_->by_key.find(entry->key); found != table_->by_key.end()) {
        const auto record = found->second;
        if (record->entry.get() == entry.get()) {
            record->until = now + valid_;
            return;
        }
        size_ -= record->entry->cost();
        table_->by_key.erase(found);
        table_->by_use.erase(record);
    }
    if (cost <= limit_) {
        table_->by_use.push_front({.entry = std::move(entry), .until = now + valid_});
        const auto record = table_->by_use.begin();
        table_->by_key.emplace(record->entry->key, record);
        size_ += cost;
    }
    while (size_ > limit_) {
        const auto last = std::prev(table_->by_use.end());
        size_ -= last->entry->cost();
        table_->by_key.erase(last->entry->key);
        table_->by_use.erase(last);
    }
    check_invariants();
}

void FileCache::check_invariants() const {
    assert(table_->by_key.size() == table_->by_use.size());             // I1
    assert(size_ <= limit_ && (size_ > 0) == !table_->by_use.empty());  // I2
}

}  // namespace http
