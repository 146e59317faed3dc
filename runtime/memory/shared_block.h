// shared_block.h: bytes that many actors send and nobody changes, such as a file that a web server keeps.
//
// Why.    What the kernel reads must stay where it is until the terminal CQE. An I/O heap promises that by copying the
//         bytes into it, once for each operation. For a file of 100 KiB that is sent ten thousand times a second the copy
//         costs as much as the kernel's own. A shared block is written once, never moves, and is freed by whoever lets
//         go of it last: an actor, a message under way, or an operation that the kernel has not finished.
// Shape.  Small ones: a header of 64 B and the bytes behind it, in one piece of the C heap. From 64 KiB on the bytes are a
//         memory file (memfd) of their own, mapped here: the kernel can send its pages as they are, by its descriptor
//         (file()), and copies nothing. Holders count references. An operation
//         borrows a part of a block as a buffer (umbel_block_lend): the loan holds a reference until the buffer is freed,
//         which for an operation is after its terminal CQE, whoever has died meanwhile (io/submission.h).
//         SharedBlocks is the account of one runtime: bytes held, at most `limit`.
// Owner.  Everybody who has a reference, on any thread.
//
// Invariants
//   B1  a block with references is neither freed nor moved
//   B2  nobody writes to a block that more than one holder has; its maker does so before the first retain() or loan
//   B3  the account's bytes are the sum of the sizes of all blocks that live, headers included, and at most its limit
//   B4  a page that the kernel has been given by file() is never written to again, not even after the block's end: the
//       file goes with it, and what still travels keeps its pages
//   B5  an account lives as long as its last block: a plugin may let go of one after the runtime is gone
//
// Cost.   retain, release: one atomic addition each. make: a malloc; a large one is four system calls, a descriptor, a
//         mapping, and its pages' first touch.
// Not here.  Who is given how much: each plugin decides. Loans: io/operation.h. What a message carries is the sender's
//         business: a reference inside a message that is never received is never given back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "runtime/base/units.h"

namespace umbel::rt {

class SharedBlock;

class SharedBlocks {
public:
    static constexpr std::uint64_t most_bytes = std::uint64_t{1} << 30;  // of one block
    static constexpr std::uint64_t paged_from = 64 << 10;

    explicit SharedBlocks(Bytes limit);
    SharedBlocks(const SharedBlocks&) = delete;
    SharedBlocks& operator=(const SharedBlocks&) = delete;
    ~SharedBlocks();

    /// A block of `size` bytes (1 … most_bytes) with one reference; what is in it is undefined.
    /// Returns: null if the account's limit is reached, or the system has no memory. Any thread.
    [[nodiscard]] SharedBlock* make(std::uint64_t size);

    /// Bytes of all blocks that live, headers included. Any thread.
    [[nodiscard]] Bytes in_use() const;
    [[nodiscard]] Bytes limit() const;

private:
    friend class SharedBlock;
    struct Account;
    Account* account_;
};

class alignas(64) SharedBlock {
public:
    SharedBlock(const SharedBlock&) = delete;
    SharedBlock& operator=(const SharedBlock&) = delete;

    [[nodiscard]] std::byte* data() { return data_; }
    [[nodiscard]] std::uint64_t size() const { return size_; }
    /// The memory file that has the same bytes, or -1: the block is small, or there was no descriptor for it.
    [[nodiscard]] int file() const { return file_; }

    void retain() {
        // relaxed: whoever adds a reference has one.
        references_.fetch_add(1, std::memory_order_relaxed);
    }
    void release() {
        // release: this holder's reads are over, the maker's writes are done. acquire: pairs with the other holders'
        // releases, before the bytes are freed.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) destroy();
    }
    /// How many references there are: for tests and figures, old when it is read.
    [[nodiscard]] std::uint32_t references() const { return references_.load(std::memory_order_relaxed); }

private:
    friend class SharedBlocks;
    SharedBlock(SharedBlocks::Account& account, std::byte* data, std::uint64_t size, int file)
        : account_(&account), data_(data), size_(size), file_(file) {}
    ~SharedBlock() = default;
    void destroy();

    SharedBlocks::Account* account_;
    std::byte* data_;
    std::uint64_t size_;
    int file_;
    std::atomic<std::uint32_t> references_{1};
};
static_assert(sizeof(SharedBlock) == 64, "a small block's bytes begin on a cache line");

}  // namespace umbel::rt
