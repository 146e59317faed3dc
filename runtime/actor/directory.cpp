#include "runtime/actor/directory.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace umbel::rt {

Directory::Directory(std::size_t executors, std::size_t max_actors) : max_actors_(max_actors) {
    for (std::size_t i = 0; i < executors; ++i) {
        slabs_.push_back(std::make_unique<Slab>());
        slabs_.back()->chunks = std::make_unique<std::atomic<ActorRecord*>[]>(max_chunks);
    }
}

Directory::~Directory() {
    for (const auto& slab : slabs_) {
        for (std::uint32_t i = 0; i < max_chunks; ++i) delete[] slab->chunks[i].load(std::memory_order_relaxed);
    }
}

ActorRecord* Directory::take(ExecutorIndex executor) {
    Slab& slab = *slabs_[index_of(executor)];
    const std::size_t mine = slab.living.load(std::memory_order_relaxed);
    if (slab.allowance == 0) {
        // Counting all slabs reads the others' cache lines: not for each actor.
        const std::size_t all = living();
        if (all >= max_actors_) return nullptr;
        slab.allowance = std::max<std::size_t>(1, (max_actors_ - all) / (2 * slabs_.size()));
    }

    std::uint32_t place = 0;
    ActorRecord* record = nullptr;
    if (slab.free_list != 0) {
        place = slab.free_list - 1;
        record = &slab.chunks[place / chunk_records].load(std::memory_order_relaxed)[place % chunk_records];
        slab.free_list = record->next_free;
    } else {
        place = slab.used;
        const std::uint32_t chunk = place / chunk_records;
        if (chunk >= max_chunks) return nullptr;
        if (place % chunk_records == 0) {
            auto* records = new (std::nothrow) ActorRecord[chunk_records];
            if (records == nullptr) return nullptr;
            // release: publishes the records. Pairs with the acquire in find().
            slab.chunks[chunk].store(records, std::memory_order_release);
        }
        record = &slab.chunks[chunk].load(std::memory_order_relaxed)[place % chunk_records];
        ++slab.used;
    }
    DCHECK(record->state == ActorState::vacant);  // D1
    --slab.allowance;
    slab.living.store(mine + 1, std::memory_order_relaxed);
    record->id = ActorId::of(record->generation.load(std::memory_order_relaxed), executor, place);
    record->home.store(static_cast<std::uint8_t>(executor), std::memory_order_relaxed);
    record->full.store(false, std::memory_order_relaxed);
    return record;
}

void Directory::free(ActorRecord& record) {
    Slab& slab = *slabs_[index_of(record.id.slab())];
    DCHECK(record.generation.load(std::memory_order_relaxed) != record.id.generation());  // D2: retired
    record.state = ActorState::vacant;
    record.next_free = slab.free_list;
    slab.free_list = record.id.place() + 1;
    slab.living.store(slab.living.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
}

std::size_t Directory::living() const {
    std::size_t all = 0;
    for (const auto& slab : slabs_) all += slab->living.load(std::memory_order_relaxed);
    return all;
}

bool Directory::set_name(std::string_view name, ActorId id) {
    const std::scoped_lock lock(names_mutex_);
    auto [place, fresh] = names_.try_emplace(std::string(name), id);
    if (fresh) return true;
    if (find(place->second) != nullptr) return place->second == id;
    place->second = id;
    return true;
}

ActorId Directory::whereis(std::string_view name) const {
    const std::scoped_lock lock(names_mutex_);
    const auto place = names_.find(std::string(name));
    return place == names_.end() || find(place->second) == nullptr ? ActorId{} : place->second;
}

void Directory::drop_names(ActorId id) {
    const std::scoped_lock lock(names_mutex_);
    std::erase_if(names_, [&](const auto& named) { return named.second == id; });
}

void Directory::check_invariants() const {
    for (const auto& slab : slabs_) {
        std::size_t vacant = 0;
        for (std::uint32_t next = slab->free_list; next != 0;) {
            const ActorRecord& record =
                slab->chunks[(next - 1) / chunk_records].load(std::memory_order_relaxed)[(next - 1) % chunk_records];
            CHECK(record.state == ActorState::vacant);  // D1
            CHECK(++vacant <= slab->used);
            next = record.next_free;
        }
        CHECK(vacant + slab->living.load(std::memory_order_relaxed) == slab->used);  // D1
    }
}

}  // namespace umbel::rt
