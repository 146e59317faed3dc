// sim_ring.cpp: the shared memory of a simulated ring.
#include "runtime/io/sim_ring.h"

#include <bit>
#include <new>

#include "runtime/io/sim_world.h"

namespace umbel::rt {

SimRing::SimRing(SimWorld& world, unsigned index, const SimRingOptions& options)
    : world_(world), index_(index), busy_on_overflow_(options.busy_on_overflow) {
    CHECK(std::has_single_bit(options.submission_entries));
    CHECK(std::has_single_bit(options.completion_entries));
    CHECK(options.completion_entries >= options.submission_entries);
    shared_.sq_entries = options.submission_entries;
    shared_.sq_mask = options.submission_entries - 1;
    shared_.cq_entries = options.completion_entries;
    shared_.cq_mask = options.completion_entries - 1;
    sqes_ = std::make_unique<std::byte[]>(sizeof(io_uring_sqe) * shared_.sq_entries);
    cqes_ = std::make_unique<std::byte[]>(sizeof(io_uring_cqe) * shared_.cq_entries);

    ring_.sq.khead = &shared_.sq_head;
    ring_.sq.ktail = &shared_.sq_tail;
    ring_.sq.kring_mask = &shared_.sq_mask;
    ring_.sq.kring_entries = &shared_.sq_entries;
    ring_.sq.kflags = &shared_.sq_flags;
    ring_.sq.kdropped = &shared_.sq_dropped;
    ring_.sq.sqes = reinterpret_cast<io_uring_sqe*>(sqes_.get());
    ring_.sq.ring_mask = shared_.sq_mask;
    ring_.sq.ring_entries = shared_.sq_entries;
    ring_.cq.khead = &shared_.cq_head;
    ring_.cq.ktail = &shared_.cq_tail;
    ring_.cq.kring_mask = &shared_.cq_mask;
    ring_.cq.kring_entries = &shared_.cq_entries;
    ring_.cq.kflags = &shared_.cq_flags;
    ring_.cq.koverflow = &shared_.cq_overflow;
    ring_.cq.cqes = reinterpret_cast<io_uring_cqe*>(cqes_.get());
    ring_.cq.ring_mask = shared_.cq_mask;
    ring_.cq.ring_entries = shared_.cq_entries;
    ring_.ring_fd = ring_.enter_ring_fd = -1;

    features_.step = options.step;
    for (unsigned opcode = 0; opcode < features_.opcodes.size(); ++opcode)
        features_.opcodes.set(opcode, sim_supports(opcode));
    features_.features.set();
    features_.opcodes &= ~options.without_opcodes;
    features_.features &= ~options.without_features;
}

SimRing::~SimRing() { world_.forget(*this); }

int SimRing::enter(unsigned min_complete, Nanoseconds timeout) { return world_.enter(*this, min_complete, timeout); }
int SimRing::call(const io_uring_sqe& sqe) { return world_.call(sqe); }
std::int64_t SimRing::push(int fd, const Push& what) {
    return world_.push(fd, {reinterpret_cast<const char*>(what.bytes), what.size});
}
int SimRing::set_socket_option(int fd, int level, int option, int value) {
    return world_.set_socket_option(fd, level, option, value);
}
int SimRing::local_address(int fd, sockaddr* address, socklen_t* length) {
    return world_.local_address(fd, address, length);
}
int SimRing::duplicate(int fd) { return world_.duplicate(fd); }
int SimRing::make_pipe(int flags, std::array<int, 2>& ends) { return world_.make_pipe(flags, ends); }
int SimRing::open_watcher() { return world_.open_watcher(); }
int SimRing::add_watch(int watcher, int path_fd, std::uint32_t mask) {
    return world_.add_watch(watcher, path_fd, mask);
}
int SimRing::remove_watch(int watcher, int watch) { return world_.remove_watch(watcher, watch); }
int SimRing::open_process(int pid) { return world_.open_process(pid); }
int SimRing::process_status(int process, umbel_process_status& status) {
    return world_.process_status(process, status);
}
int SimRing::open_signals(std::uint64_t signals) { return world_.open_signals(signals); }
void SimRing::wake() { world_.wake(wake_fd_); }
Clock& SimRing::clock() { return world_.clock(); }

int SimRing::register_buffer_ring(const BufferRing& buffers) {
    if (!features_.has(RingFeature::buffer_rings)) return -EINVAL;
    const ProvidedBuffers provided{static_cast<const io_uring_buf*>(buffers.memory()), buffers.entries(), 0};
    return buffers_.emplace(buffers.group(), provided).second ? 0 : -EEXIST;
}

int SimRing::unregister_buffer_ring(std::uint16_t group) { return buffers_.erase(group) != 0 ? 0 : -ENOENT; }

bool SimRing::asleep() const {
    return sleeping_ && cq_ready() < sleeping_for_ && work_.empty() && overflow_.empty() &&
           world_.now() < sleeping_until_;
}

void SimRing::set_flag(unsigned flag, bool on) {
    shared_.sq_flags = on ? shared_.sq_flags | flag : shared_.sq_flags & ~flag;
}

void SimRing::write(const Completion& completion) {
    io_uring_cqe& cqe = ring_.cq.cqes[shared_.cq_tail & shared_.cq_mask];
    cqe.user_data = completion.user_data;
    cqe.res = completion.result;
    cqe.flags = completion.flags;
    // release: publishes the entry. Pairs with the acquire in peek().
    std::atomic_ref<unsigned>(shared_.cq_tail).store(shared_.cq_tail + 1, std::memory_order_release);
}

void SimRing::post(const Completion& completion) {
    ++posted_;
    if ((completion.flags & IORING_CQE_F_MORE) == 0) ++completed_;
    if (has_room()) {
        write(completion);
        return;
    }
    ++overflows_;
    overflow_.push_back(completion);
    set_flag(IORING_SQ_CQ_OVERFLOW, true);  // S2
}

void SimRing::flush_overflow() {
    while (!overflow_.empty() && cq_ready() < completion_entries()) {
        write(overflow_.front());
        overflow_.pop_front();
    }
    set_flag(IORING_SQ_CQ_OVERFLOW, !overflow_.empty());  // S2
}

void SimRing::check_invariants() const {
    Ring::check_invariants();
    CHECK(completed_ <= submitted_);            // S1
    CHECK(overflowed() == !overflow_.empty());  // S2
    CHECK(work_pending() == !work_.empty());    // S3
    CHECK(sq_pending() <= shared_.sq_entries);  // I2
}

}  // namespace umbel::rt
