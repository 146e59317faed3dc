// raw_ring.h: liburing with nothing of Umbel around it, for the peers and the load generators.
//
// Why.    A figure "against raw io_uring" is only worth something if the raw side uses io_uring as well as it can
//         be used; both programs that need that set it up here, in one way.
// Shape.  RawRing: one ring for one thread, DEFER_TASKRUN, its own descriptor registered. BufferRing: provided
//         buffers of one size in one anonymous mapping, shared with the kernel.
// Owner.  The thread that makes them. An error of set-up prints what was refused and ends the program with 71.
//
// Invariants
//   I1  a buffer is either offered to the kernel (offer()) or held by the program, from the CQE that names it
//       until the next offer() of the same buffer
//
// Not here.  Fallbacks for kernels before 6.1: these programs are for measuring, and say what they need.
#pragma once

#include <liburing.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace umbel::bench {

[[noreturn]] inline void refused(const char* what, int error) {
    std::fprintf(stderr, "%s: %s\n", what, std::strerror(error));
    std::exit(71);
}

class RawRing {
public:
    RawRing(unsigned entries, unsigned completion_entries) {
        io_uring_params params{};
        params.flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
        params.cq_entries = completion_entries;
        if (const int error = io_uring_queue_init_params(entries, &ring_, &params); error < 0)
            refused("io_uring_setup (needs Linux 6.1 and kernel.io_uring_disabled=0)", -error);
        // Saves looking the ring's descriptor up at every enter.
        if (const int error = io_uring_register_ring_fd(&ring_); error < 0)
            refused("io_uring_register_ring_fd", -error);
    }
    RawRing(const RawRing&) = delete;
    RawRing& operator=(const RawRing&) = delete;
    ~RawRing() { io_uring_queue_exit(&ring_); }

    [[nodiscard]] io_uring* get() { return &ring_; }

    /// A free SQE; submits what is queued if there is none.
    [[nodiscard]] io_uring_sqe* sqe() {
        io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
        while (sqe == nullptr) {
            if (const int error = io_uring_submit(&ring_); error < 0) refused("io_uring_enter", -error);
            sqe = io_uring_get_sqe(&ring_);
        }
        return sqe;
    }

private:
    io_uring ring_{};
};

class BufferRing {
public:
    /// count: a power of two, at most 32,768.
    BufferRing(RawRing& ring, std::uint16_t group, unsigned count, std::size_t size)
        : size_(size), mask_(static_cast<unsigned short>(io_uring_buf_ring_mask(count))) {
        const std::size_t ring_bytes = count * sizeof(io_uring_buf);
        void* const memory = mmap(nullptr, ring_bytes + count * size, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        if (memory == MAP_FAILED) refused("mmap of the provided buffers", errno);
        buffers_ = static_cast<char*>(memory);
        ring_ = reinterpret_cast<io_uring_buf_ring*>(buffers_ + count * size);
        io_uring_buf_reg registration{};
        registration.ring_addr = reinterpret_cast<std::uint64_t>(ring_);
        registration.ring_entries = count;
        registration.bgid = group;
        if (const int error = io_uring_register_buf_ring(ring.get(), &registration, 0); error < 0)
            refused("io_uring_register_buf_ring (needs Linux 5.19)", -error);
        io_uring_buf_ring_init(ring_);
        for (unsigned id = 0; id < count; ++id) offer(static_cast<std::uint16_t>(id));
        publish();
    }
    BufferRing(const BufferRing&) = delete;
    BufferRing& operator=(const BufferRing&) = delete;
    ~BufferRing() = default;  // The mapping is the kernel's as long as the ring lives; both end with the process.

    [[nodiscard]] char* data(std::uint16_t id) const { return buffers_ + id * size_; }

    /// Hands a buffer back; the kernel sees it at the next publish().  I1
    void offer(std::uint16_t id) {
        io_uring_buf_ring_add(ring_, data(id), static_cast<unsigned>(size_), id, mask_, offered_++);
    }
    /// True if there was anything to publish.
    bool publish() {
        if (offered_ == 0) return false;
        io_uring_buf_ring_advance(ring_, offered_);
        offered_ = 0;
        return true;
    }

private:
    io_uring_buf_ring* ring_ = nullptr;
    char* buffers_ = nullptr;
    std::size_t size_;
    int mask_;
    int offered_ = 0;
};

}  // namespace umbel::bench
