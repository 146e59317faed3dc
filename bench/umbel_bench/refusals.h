// refusals.h: makes the kernel refuse submissions, as kernels before 5.13 did.
//
// Why.    Since 5.13 no kernel answers io_uring_enter with EBUSY at submission, so submission case 3 could only be seen in
//         the simulation. A seccomp filter brings it back, on the real ring: the entries stay queued, and must be
//         submitted later.
// Shape.  A filter on the calling thread, which threads started afterwards inherit, hands each io_uring_enter with
//         to_submit ≠ 0 to a supervisor thread; that answers every Nth with EBUSY and lets the others pass.
// Owner.  The control thread makes it before the runtime starts. A filter cannot be taken back: it stays, and with it the
//         supervisor must, as long as there are executors.
//
// Cost.   Two thread switches for each submission: for tests, not for measuring.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

namespace umbel::bench {

class Refusals {
public:
    /// Refuses every `every`th submission from threads that start from now on. Null: `trouble` says why not.
    [[nodiscard]] static std::unique_ptr<Refusals> begin(unsigned every, std::string& trouble);
    ~Refusals();
    Refusals(const Refusals&) = delete;
    Refusals& operator=(const Refusals&) = delete;

    /// How many it has refused. [any thread]
    [[nodiscard]] std::uint64_t count() const {
        // relaxed: a figure.
        return count_.load(std::memory_order_relaxed);
    }

private:
    Refusals(unsigned every) : every_(every) {}
    void supervise();

    const unsigned every_;
    int listener_ = -1;  // The filter's, from which the supervisor reads.
    int stop_ = -1;      // An eventfd: the supervisor is to end.
    std::atomic<std::uint64_t> count_{0};
    std::thread supervisor_;
};

}  // namespace umbel::bench
