#include "runtime/memory/shared_block.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

namespace umbel::rt {

namespace {

// Of a block's bytes and its header, as aligned_alloc wants it.
std::uint64_t bytes_for(std::uint64_t size) {
    constexpr std::uint64_t line = alignof(SharedBlock);
    return sizeof(SharedBlock) + (size + line - 1) / line * line;
}

struct Pages {
    std::byte* data = nullptr;
    int file = -1;
};

// A memory file of `size` bytes, mapped. None where a descriptor, a mapping or memory is not to be had.
Pages make_pages(std::uint64_t size) {
    const int file = memfd_create("umbel-block", MFD_CLOEXEC);
    if (file < 0) return {};
    void* mapped = MAP_FAILED;
    if (ftruncate(file, static_cast<off_t>(size)) == 0) {
        mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    if (mapped == MAP_FAILED) {
        close(file);
        return {};
    }
    return {static_cast<std::byte*>(mapped), file};
}

}  // namespace

// Freed with its last block, or by SharedBlocks if there is none (B5).
struct SharedBlocks::Account {
    explicit Account(Bytes most) : limit(most) {}

    [[nodiscard]] bool take(std::uint64_t bytes) {
        // relaxed: a sum. What is in a block is published by whoever passes it on.
        std::uint64_t before = in_use.load(std::memory_order_relaxed);
        do {
            if (bytes > limit.count || before > limit.count - bytes) return false;
        } while (!in_use.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
        return true;
    }
    void hold() { holders.fetch_add(1, std::memory_order_relaxed); }
    void let_go() {
        // acq_rel: the last one frees what the others have used.
        if (holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }

    const Bytes limit;
    std::atomic<std::uint64_t> in_use{0};   // B3
    std::atomic<std::uint64_t> holders{1};  // blocks, and SharedBlocks
};

SharedBlocks::SharedBlocks(Bytes limit) : account_(new Account(limit)) {}
SharedBlocks::~SharedBlocks() { account_->let_go(); }

SharedBlock* SharedBlocks::make(std::uint64_t size) {
    if (size == 0 || size > most_bytes) return nullptr;
    const std::uint64_t bytes = bytes_for(size);
    if (!account_->take(bytes)) return nullptr;
    const Pages pages = size >= paged_from ? make_pages(size) : Pages{};
    void* memory = std::aligned_alloc(alignof(SharedBlock), pages.file >= 0 ? sizeof(SharedBlock) : bytes);
    if (memory == nullptr) {
        if (pages.file >= 0) {
            munmap(pages.data, size);
            close(pages.file);
        }
        account_->in_use.fetch_sub(bytes, std::memory_order_relaxed);
        return nullptr;
    }
    account_->hold();
    std::byte* data = pages.file >= 0 ? pages.data : static_cast<std::byte*>(memory) + sizeof(SharedBlock);
    return ::new (memory) SharedBlock(*account_, data, size, pages.file);
}

Bytes SharedBlocks::in_use() const { return Bytes{account_->in_use.load(std::memory_order_relaxed)}; }
Bytes SharedBlocks::limit() const { return account_->limit; }

void SharedBlock::destroy() {
    SharedBlocks::Account* account = account_;
    const std::uint64_t bytes = bytes_for(size_);
    if (file_ >= 0) {
        munmap(data_, size_);
        close(file_);  // B4
    }
    this->~SharedBlock();
    std::free(this);
    account->in_use.fetch_sub(bytes, std::memory_order_relaxed);  // B3
    account->let_go();
}

}  // namespace umbel::rt
