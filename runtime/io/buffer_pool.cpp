#include "runtime/io/buffer_pool.h"

#include <utility>

namespace umbel::rt {

BufferPool::BufferPool(void* memory, std::vector<std::byte*> buffers, std::uint32_t size)
    : ring_(memory, static_cast<unsigned>(buffers.size()), group),
      buffers_(std::move(buffers)),
      holders_(buffers_.size(), nullptr),
      size_(size),
      available_(static_cast<std::uint32_t>(buffers_.size())) {
    for (std::size_t id = 0; id < buffers_.size(); ++id) {
        ring_.add(buffers_[id], size_, static_cast<std::uint16_t>(id));
    }
    ring_.publish();
}

void BufferPool::recycle_all_of(const OperationOwner& holder) {
    for (std::uint32_t id = 0; id < holders_.size() && holder.provided_held > 0; ++id) {
        if (holders_[id] == &holder) recycle(id);
    }
}

void BufferPool::check_invariants() const {
    std::uint32_t held = 0;
    for (const OperationOwner* holder : holders_) {
        if (holder == nullptr) continue;
        CHECK(holder->provided_held > 0);  // I1
        ++held;
    }
    CHECK(available_ + held == count());  // I2
}

}  // namespace umbel::rt
