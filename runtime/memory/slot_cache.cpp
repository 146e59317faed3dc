#include "runtime/memory/slot_cache.h"

#include <algorithm>

#if defined(UMBEL_SLOT_POISON)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

SlotCache::SlotCache(SlotStore& store, std::size_t warm_limit) : store_(store), warm_limit_(warm_limit) {}

SlotCache::~SlotCache() { trim(0); }

Result<Slot> SlotCache::lease_cold(RegionSize size) {
    Result<Slot> slot = store_.acquire(size);
    if (slot) {
        ++cold_;
        ++leased_;
    }
    return slot;
}

void SlotCache::trim(std::size_t keep) {
    for (std::vector<Slot>& warm : warm_) {
        if (warm.size() <= keep) continue;
        const auto coldest = warm.begin();
        const auto end = coldest + static_cast<std::ptrdiff_t>(warm.size() - keep);
        std::for_each(coldest, end, [this](Slot slot) {
#if defined(UMBEL_SLOT_POISON)
            unpoison(slot);
#endif
            store_.release(slot);
        });
        warm.erase(coldest, end);
    }
}

SlotCache::Figures SlotCache::figures() const {
    Figures figures{.leased = leased_, .warm = 0, .warm_hits = warm_hits_, .cold = cold_};
    for (const std::vector<Slot>& warm : warm_) figures.warm += warm.size();
    return figures;
}

void SlotCache::check_invariants() const {
    for (std::size_t choice = 0; choice < warm_.size(); ++choice) {
        CHECK(warm_[choice].size() <= warm_limit_);  // I1
        std::vector<std::byte*> bases;
        for (const Slot slot : warm_[choice]) {
            CHECK(slot.region_size().choice() == choice);
            bases.push_back(slot.base());
        }
        std::sort(bases.begin(), bases.end());
        CHECK(std::adjacent_find(bases.begin(), bases.end()) == bases.end());  // I2
    }
}

#if defined(UMBEL_SLOT_POISON)
void SlotCache::poison(Slot slot) {
    for (std::size_t position = 0; position < region_count; ++position) {
        ASAN_POISON_MEMORY_REGION(slot.begin(region_at(position)), page_bytes);
    }
    ASAN_POISON_MEMORY_REGION(slot.end(Region::context) - page_bytes, page_bytes);
}

void SlotCache::unpoison(Slot slot) {
    for (std::size_t position = 0; position < region_count; ++position) {
        ASAN_UNPOISON_MEMORY_REGION(slot.begin(region_at(position)), page_bytes);
    }
    ASAN_UNPOISON_MEMORY_REGION(slot.end(Region::context) - page_bytes, page_bytes);
}
#endif

}  // namespace umbel::rt
