#include "runtime/io/descriptor_table.h"

#include <sys/mman.h>

#include "runtime/base/check.h"

namespace umbel::rt {

DescriptorTable::DescriptorTable(std::size_t capacity) : capacity_(capacity), words_(nullptr) {
    void* memory = mmap(nullptr, capacity * sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    words_ = static_cast<std::atomic<std::uint64_t>*>(memory);
}

DescriptorTable::~DescriptorTable() { munmap(words_, capacity_ * sizeof(std::atomic<std::uint64_t>)); }

}  // namespace umbel::rt
