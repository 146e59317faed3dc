// sim_world.cpp: time, chance, rings, operations and chains of the simulated kernel. What the operations do to files
// and sockets: sim_objects.h.
#include "runtime/io/sim_world.h"

#include <algorithm>
#include <cstdio>

#include "runtime/io/sim_objects.h"

namespace umbel::rt {

namespace {

constexpr Nanoseconds enter_cost{400};
constexpr Nanoseconds clock_reading_cost{20};

std::string copy_address(std::uint64_t address, std::uint64_t length) {
    if (address == 0 || length > sizeof(sockaddr_storage)) return {};
    return {reinterpret_cast<const char*>(address), length};
}

Nanoseconds copy_time(std::uint64_t address) {
    __kernel_timespec time{};
    std::memcpy(&time, reinterpret_cast<const void*>(address), sizeof time);
    return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
}

}  // namespace

SimFaults SimFaults::harsh() {
    SimFaults faults;
    faults.refused_enter = 0.05;
    faults.no_memory_enter = 0.02;
    faults.partial_enter = 0.1;
    faults.interrupted = 0.02;
    faults.short_transfer = 0.2;
    faults.io_error = 0.01;
    faults.open_no_memory = 0.02;
    faults.connection_reset = 0.01;
    faults.accept_error = 0.02;
    faults.lost_datagram = 0.05;
    faults.no_buffers = 0.03;
    faults.ended_multishot = 0.05;
    faults.long_delay = 0.02;
    return faults;
}

bool sim_supports(unsigned opcode) {
    switch (opcode) {
        case IORING_OP_NOP:
        case IORING_OP_OPENAT2:
        case IORING_OP_CLOSE:
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_READV:
        case IORING_OP_WRITEV:
        case IORING_OP_FSYNC:
        case IORING_OP_STATX:
        case IORING_OP_FALLOCATE:
        case op_ftruncate:
        case IORING_OP_UNLINKAT:
        case IORING_OP_RENAMEAT:
        case IORING_OP_MKDIRAT:
        case IORING_OP_LINKAT:
        case IORING_OP_SYMLINKAT:
        case IORING_OP_SPLICE:
        case IORING_OP_RECVMSG:
        case IORING_OP_SENDMSG:
        case IORING_OP_SOCKET:
        case op_bind:
        case op_listen:
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_SHUTDOWN:
        case IORING_OP_POLL_ADD:
        case IORING_OP_POLL_REMOVE:
        case IORING_OP_TIMEOUT:
        case IORING_OP_TIMEOUT_REMOVE:
        case IORING_OP_LINK_TIMEOUT:
        case IORING_OP_ASYNC_CANCEL:
            return true;
        default:
            return false;
    }
}

// ---- World, time, chance.

SimWorld::SimWorld(std::uint64_t seed, SimFaults faults)
    : seed_(seed), random_state_(seed), faults_(faults), clock_(*this) {}

SimWorld::~SimWorld() { CHECK(rings_.empty()); }

std::uint64_t SimWorld::random() {
    // splitmix64: small, and good enough for choosing delays.
    std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

std::uint64_t SimWorld::random_below(std::uint64_t bound) {
    CHECK(bound > 0);
    return random() % bound;
}

bool SimWorld::chance(double probability) {
    if (probability <= 0) return false;
    return static_cast<double>(random() >> 11) * 0x1p-53 < probability;
}

Nanoseconds SimWorld::delay() {
    const auto range = static_cast<std::uint64_t>((faults_.longest_delay - faults_.shortest_delay).count());
    const Nanoseconds ordinary = faults_.shortest_delay + Nanoseconds(random_below(range + 1));
    return chance(faults_.long_delay) ? 1000 * ordinary : ordinary;
}

Nanoseconds SimWorld::SimClock::now() {
    world_.run_until(world_.now_ + clock_reading_cost);
    return world_.now_;
}

void SimWorld::after(Nanoseconds delay, std::function<void()> script) {
    events_.emplace(std::pair(now_ + std::max(delay, Nanoseconds::zero()), next_event_++), std::move(script));
}

void SimWorld::run_until(Nanoseconds time) {
    if (in_event_) return;  // A script reads the clock: the event it runs in is still happening.
    in_event_ = true;
    while (!events_.empty() && events_.begin()->first.first <= time) {
        auto event = events_.extract(events_.begin());
        now_ = std::max(now_, event.key().first);
        event.mapped()();
    }
    now_ = std::max(now_, time);
    in_event_ = false;
}

void SimWorld::pass(Nanoseconds time) { run_until(now_ + time); }

bool SimWorld::all_asleep() const {
    return std::all_of(rings_.begin(), rings_.end(), [](const SimRing* ring) { return ring->asleep(); });
}

Nanoseconds SimWorld::next_event() const {
    Nanoseconds next = Nanoseconds::max();
    if (!events_.empty()) next = events_.begin()->first.first;
    for (const SimRing* ring : rings_)
        if (ring->asleep()) next = std::min(next, ring->sleeping_until_);
    return next;
}

bool SimWorld::advance() {
    const Nanoseconds next = next_event();
    if (next == Nanoseconds::max()) return false;
    run_until(std::max(next, now_));
    return true;
}

void SimWorld::trace(const char* what, std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) {
    const auto time = static_cast<std::uint64_t>(now_.count());
    for (const char* letter = what; *letter != '\0'; ++letter)
        trace_hash_ = (trace_hash_ ^ static_cast<unsigned char>(*letter)) * 0x100000001b3;
    for (std::uint64_t value : {time, a, b, c, d}) trace_hash_ = (trace_hash_ ^ value) * 0x100000001b3;
    if (on_trace) {
        on_trace(std::to_string(time) + " " + what + " " + std::to_string(a) + " " + std::to_string(b) + " " +
                 std::to_string(static_cast<std::int64_t>(c)) + " " + std::to_string(d));
    }
}

// ---- Rings.

std::unique_ptr<SimRing> SimWorld::make_ring(const SimRingOptions& options) {
    std::unique_ptr<SimRing> ring(new SimRing(*this, next_ring_++, options));
    Description& description = make_description();
    description.kind = Description::Kind::wake;
    ring->wake_fd_ = install(description);
    rings_.push_back(ring.get());
    return ring;
}

void SimWorld::forget(SimRing& ring) {
    // The kernel cancels what a closed ring has in flight; nobody is left to be told.
    for (auto it = operations_.begin(); it != operations_.end();) {
        if (it->second->ring != &ring) {
            ++it;
            continue;
        }
        const std::unique_ptr<Operation> operation = std::move(it->second);
        it = operations_.erase(it);
        if (Description* description = find(operation->description)) {
            description->waiters.erase(operation->id);
            release(operation->description);
        }
        if (Description* source = find(operation->source)) {
            source->waiters.erase(operation->id);
            release(operation->source);
        }
    }
    CHECK(do_close(ring.wake_fd_) == 0);
    std::erase(rings_, &ring);
}

void SimWorld::wake(int fd) {
    Description* description = at(fd);
    CHECK(description != nullptr);
    ++description->counter;
    trace("wake", description->id, description->counter, 0, 0);
    poke(*description);
}

int SimWorld::enter(SimRing& ring, unsigned min_complete, Nanoseconds timeout) {
    run_until(now_ + enter_cost);
    ring.sleeping_ = false;
    const unsigned pending = ring.publish();
    unsigned consumed = 0;
    if (pending != 0) {
        int refusal = 0;
        if (ring.refusals_ != 0) {
            --ring.refusals_;
            refusal = ring.refusal_;
        } else if (ring.busy_on_overflow_ && ring.overflowed()) {
            ring.flush_overflow();
            if (ring.overflowed()) refusal = EBUSY;
        } else if (chance(faults_.refused_enter)) {
            refusal = EBUSY;
        } else if (chance(faults_.no_memory_enter)) {
            refusal = EAGAIN;
        }
        if (refusal != 0) {
            ++ring.refused_;
            trace("refuse", ring.index_, pending, static_cast<std::uint64_t>(refusal), 0);
            return -refusal;
        }
        const bool partial = pending > 1 && chance(faults_.partial_enter);
        consumed = consume(ring, partial ? 1 + static_cast<unsigned>(random_below(pending - 1)) : pending);
        trace("submit", ring.index_, pending, consumed, 0);
    }
    run_work(ring);
    ring.flush_overflow();
    const bool all = consumed == pending;
    if (min_complete == 0 || !all || ring.cq_ready() >= min_complete) return static_cast<int>(consumed);
    const Nanoseconds left = std::max(timeout, Nanoseconds::zero());
    ring.sleeping_ = true;
    ring.sleeping_for_ = min_complete;
    ring.sleeping_until_ = left >= Nanoseconds::max() - now_ ? Nanoseconds::max() : now_ + left;
    return consumed != 0 ? static_cast<int>(consumed) : -ETIME;
}

void SimWorld::run_work(SimRing& ring) {
    // What the work causes is run by the next enter: it takes its time first.
    std::deque<OperationId> work = std::exchange(ring.work_, {});
    ring.set_flag(IORING_SQ_TASKRUN, false);
    for (OperationId id : work)
        if (const auto found = operations_.find(id); found != operations_.end()) attempt(*found->second);
}

unsigned SimWorld::consume(SimRing& ring, unsigned count) {
    const unsigned pending = ring.sq_pending();
    unsigned consumed = 0;
    while (consumed < count) {
        // A chain is taken whole; if it is not there whole, it is a shorter chain.
        Chain chain;
        bool bad = false;
        bool linked = true;
        while (linked && consumed < pending) {
            io_uring_sqe& sqe = ring.ring_.sq.sqes[ring.shared_.sq_head & ring.shared_.sq_mask];
            linked = (sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
            chain.push_back(prepare(ring, sqe));
            bad = bad || chain.back()->error != 0;
            std::memset(&sqe, 0xa5, sizeof sqe);  // Whoever reads a consumed entry shall notice.
            ++ring.shared_.sq_head;
            ++ring.submitted_;
            ++consumed;
        }
        const bool alone = chain.size() == 1;
        if (bad) {
            for (std::unique_ptr<Operation>& operation : chain)
                post(ring, *operation, operation->error != 0 ? -operation->error : -ECANCELED, 0);
            if (alone && ring.features_.step == RingStep::basic) break;  // No SUBMIT_ALL.
        } else {
            std::unique_ptr<Operation> head = std::move(chain.front());
            chain.pop_front();
            head->rest = std::move(chain);
            start(std::move(head));
        }
    }
    return consumed;
}

/// Copies what the entry points to (W2) and finds out whether the entry is good.
std::unique_ptr<SimWorld::Operation> SimWorld::prepare(SimRing& ring, const io_uring_sqe& sqe) {
    auto operation = std::make_unique<Operation>(sqe);
    Operation& op = *operation;
    op.id = next_operation_++;
    op.ring = &ring;
    constexpr unsigned known_flags = IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC | IOSQE_BUFFER_SELECT;
    if (!ring.features_.supports(sqe.opcode) || (sqe.flags & ~known_flags) != 0 || sqe.personality != 0) {
        op.error = EINVAL;
        return operation;
    }
    if ((sqe.flags & IOSQE_BUFFER_SELECT) != 0 && sqe.opcode != IORING_OP_RECV) op.error = EINVAL;
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_OPENAT2:
            if (sqe.len < sizeof op.how) {
                op.error = EINVAL;
                break;
            }
            std::memcpy(&op.how, reinterpret_cast<const void*>(sqe.addr2), sizeof op.how);
            op.path = reinterpret_cast<const char*>(sqe.addr);
            break;
        case IORING_OP_STATX:
        case IORING_OP_UNLINKAT:
        case IORING_OP_MKDIRAT:
            op.path = reinterpret_cast<const char*>(sqe.addr);
            break;
        case IORING_OP_RENAMEAT:
        case IORING_OP_LINKAT:
        case IORING_OP_SYMLINKAT:
            op.path = reinterpret_cast<const char*>(sqe.addr);
            op.path2 = reinterpret_cast<const char*>(sqe.addr2);
            break;
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_SEND:
            op.pieces = {{reinterpret_cast<void*>(sqe.addr), sqe.len}};
            break;
        case IORING_OP_READV:
        case IORING_OP_WRITEV: {
            const auto* pieces = reinterpret_cast<const iovec*>(sqe.addr);
            op.pieces.assign(pieces, pieces + sqe.len);
            break;
        }
        case IORING_OP_SENDMSG:
        case IORING_OP_RECVMSG:
            std::memcpy(&op.message, reinterpret_cast<const void*>(sqe.addr), sizeof op.message);
            op.pieces.assign(op.message.msg_iov, op.message.msg_iov + op.message.msg_iovlen);
            if (sqe.opcode == IORING_OP_SENDMSG && op.message.msg_name != nullptr) {
                op.path = copy_address(reinterpret_cast<std::uintptr_t>(op.message.msg_name), op.message.msg_namelen);
            }
            break;
        case op_bind:
        case IORING_OP_CONNECT:
            op.path = copy_address(sqe.addr, sqe.addr2);
            break;
        case IORING_OP_ACCEPT:
            op.multishot = (sqe.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
            if (op.multishot && !ring.features_.has(RingFeature::multishot_accept)) op.error = EINVAL;
            break;
        case IORING_OP_RECV:
            if ((sqe.flags & IOSQE_BUFFER_SELECT) == 0) op.pieces = {{reinterpret_cast<void*>(sqe.addr), sqe.len}};
            op.multishot = (sqe.ioprio & IORING_RECV_MULTISHOT) != 0;
            if (op.multishot) {
                if ((sqe.flags & IOSQE_BUFFER_SELECT) == 0 || sqe.len != 0 ||
                    (sqe.msg_flags & static_cast<unsigned>(MSG_WAITALL)) != 0 ||
                    !ring.features_.has(RingFeature::multishot_recv))
                    op.error = EINVAL;
            }
            break;
        case IORING_OP_POLL_ADD:
            op.multishot = (sqe.len & IORING_POLL_ADD_MULTI) != 0;
            if ((sqe.len & ~IORING_POLL_ADD_MULTI) != 0) op.error = EINVAL;
            break;
        case IORING_OP_POLL_REMOVE:
            if (sqe.len != 0) op.error = EINVAL;
            break;
        case IORING_OP_TIMEOUT_REMOVE:
            if (sqe.timeout_flags != 0) op.error = EINVAL;
            break;
        case IORING_OP_TIMEOUT:
        case IORING_OP_LINK_TIMEOUT:
            op.time = copy_time(sqe.addr);
            if (sqe.len != 1 || sqe.off != 0 || op.time < Nanoseconds::zero() ||
                (sqe.timeout_flags & ~(IORING_TIMEOUT_ABS | IORING_TIMEOUT_ETIME_SUCCESS)) != 0)
                op.error = EINVAL;
            break;
        case IORING_OP_ASYNC_CANCEL:
            if ((sqe.cancel_flags & ~(IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY)) !=
                    0 ||
                (sqe.cancel_flags != 0 && !ring.features_.has(RingFeature::cancel_matching)))
                op.error = EINVAL;
            break;
        default:
            break;
    }
    return operation;
}

// ---- Operations.

void SimWorld::post(SimRing& ring, const Operation& operation, int result, unsigned flags) {
    trace("complete", ring.index_, operation.id, static_cast<std::uint64_t>(static_cast<std::int64_t>(result)), flags);
    ring.post({operation.sqe.user_data, result, flags});
}

void SimWorld::start(std::unique_ptr<Operation> started) {
    Operation& op = *started;
    trace("start", op.ring->index_, op.id, op.sqe.opcode, 0);
    operations_.emplace(op.id, std::move(started));
    switch (static_cast<unsigned>(op.sqe.opcode)) {
        case IORING_OP_TIMEOUT: {
            const bool absolute = (op.sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0;
            schedule(op, absolute ? op.time - now_ : op.time);
            return;
        }
        case IORING_OP_LINK_TIMEOUT:  // With no operation before it in its chain.
            complete(op, -EINVAL);
            return;
        case IORING_OP_ASYNC_CANCEL:
            // The kernel carries it out where it is submitted: it cannot meet an operation that comes after it in the
            // queue and has the same user_data.
            attempt(op);
            return;
        default:
            break;
    }
    if (uses_descriptor(op.sqe.opcode)) {
        Description* description = at(op.sqe.fd);
        if (description == nullptr) {
            complete(op, -EBADF);
            return;
        }
        op.description = description->id;
        ++description->references;
    }
    if (op.sqe.opcode == IORING_OP_SPLICE) {
        Description* source = at(op.sqe.splice_fd_in);
        if (source == nullptr) {
            complete(op, -EBADF);
            return;
        }
        op.source = source->id;
        ++source->references;
    }
    if (!op.rest.empty() && op.rest.front()->sqe.opcode == IORING_OP_LINK_TIMEOUT) {
        std::unique_ptr<Operation> deadline = std::move(op.rest.front());
        op.rest.pop_front();
        op.partner = deadline->id;
        deadline->partner = op.id;
        const bool absolute = (deadline->sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0;
        Operation& armed = *deadline;
        operations_.emplace(armed.id, std::move(deadline));
        schedule(armed, absolute ? armed.time - now_ : armed.time);
    }
    schedule(op, delay());
}

void SimWorld::schedule(Operation& operation, Nanoseconds wait) {
    if (operation.scheduled) return;
    operation.scheduled = true;
    after(wait, [this, id = operation.id] { fire(id); });
}

void SimWorld::fire(OperationId id) {
    const auto found = operations_.find(id);
    if (found == operations_.end()) return;  // Cancelled meanwhile.
    SimRing& ring = *found->second->ring;
    if (ring.deferred()) {
        ring.work_.push_back(id);
        ring.set_flag(IORING_SQ_TASKRUN, true);  // S3
    } else {
        attempt(*found->second);
    }
}

void SimWorld::park(Operation& operation) {
    Description* description = find(operation.description);
    CHECK(description != nullptr);
    description->waiters.insert(operation.id);
    if (Description* source = find(operation.source)) source->waiters.insert(operation.id);
}

/// Posts a completion; whether the operation is alive afterwards, that is, goes on (F_MORE).
bool SimWorld::complete(Operation& operation, int result, unsigned flags) {
    // A full queue ends a multishot operation, as in the kernel.
    if ((flags & IORING_CQE_F_MORE) != 0 && (!operation.ring->has_room() || chance(faults_.ended_multishot)))
        flags &= ~IORING_CQE_F_MORE;
    post(*operation.ring, operation, result, flags);
    if ((flags & IORING_CQE_F_MORE) != 0) return true;
    retire(operation.id, breaks_chain(operation.sqe, operation.asked(), result));
    return false;
}

void SimWorld::retire(OperationId id, bool failed) {
    const auto found = operations_.find(id);
    CHECK(found != operations_.end());
    const std::unique_ptr<Operation> operation = std::move(found->second);
    operations_.erase(found);
    if (operation->description != 0) {
        if (Description* description = find(operation->description)) description->waiters.erase(id);
        release(operation->description);
    }
    if (operation->source != 0) {
        if (Description* source = find(operation->source)) source->waiters.erase(id);
        release(operation->source);
    }
    if (operation->partner != 0) {
        const auto partner = operations_.find(operation->partner);
        if (partner != operations_.end()) {
            partner->second->partner = 0;
            // The guarded operation is done: its deadline is over. (The other way round, it was cancelled before.)
            if (partner->second->sqe.opcode == IORING_OP_LINK_TIMEOUT) complete(*partner->second, -ECANCELED);
        }
    }
    if (operation->rest.empty()) return;
    if (failed && (operation->sqe.flags & IOSQE_IO_HARDLINK) == 0) {
        cancel_chain(operation->rest);  // W5
        return;
    }
    std::unique_ptr<Operation> next = std::move(operation->rest.front());
    operation->rest.pop_front();
    next->rest = std::move(operation->rest);
    start(std::move(next));
}

void SimWorld::cancel_chain(Chain& chain) {
    for (std::unique_ptr<Operation>& operation : chain) post(*operation->ring, *operation, -ECANCELED, 0);
}

/// Ends the operation with ECANCELED, unless it runs where nothing can reach it.
bool SimWorld::cancel(Operation& operation) {
    const Description* description = find(operation.description);
    const bool parked = description != nullptr && description->waiters.contains(operation.id);
    // Whoever reads a pipe, a watcher or signals waits where a cancel finds it, or is interrupted.
    const bool of_file = description == nullptr || description->kind == Description::Kind::file ||
                         description->kind == Description::Kind::directory;
    if (!parked && !waits(operation.sqe.opcode) && of_file && chance(faults_.uncancellable)) return false;
    complete(operation, -ECANCELED);
    return true;
}

/// What on_attempt says, as a result.
int SimWorld::refusal_of(const io_uring_sqe& sqe) const {
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_TIMEOUT:
        case IORING_OP_LINK_TIMEOUT:
        case IORING_OP_TIMEOUT_REMOVE:
        case IORING_OP_POLL_REMOVE:
        case IORING_OP_ASYNC_CANCEL:
            return 0;
        default:
            return on_attempt ? -on_attempt(sqe) : 0;
    }
}

void SimWorld::attempt(Operation& op) {
    op.scheduled = false;
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (const int refusal = refusal_of(op.sqe); refusal != 0) return finish(refusal);
    switch (static_cast<unsigned>(op.sqe.opcode)) {
        case IORING_OP_NOP:
            return finish(0);
        case IORING_OP_OPENAT2:
            return finish(do_open(op));
        case IORING_OP_STATX:
            return finish(do_statx(op));
        case IORING_OP_CLOSE:
            return finish(do_close(op.sqe.fd));
        case IORING_OP_SOCKET:
            return finish(do_socket(op.sqe.fd, static_cast<int>(op.sqe.off), static_cast<int>(op.sqe.len)));
        case op_bind:
            return finish(do_bind(find(op.description), op.path));
        case op_listen:
            return finish(do_listen(find(op.description), op.sqe.len));
        case IORING_OP_SHUTDOWN:
            return finish(do_shutdown(find(op.description), static_cast<int>(op.sqe.len)));
        case IORING_OP_READ:
        case IORING_OP_READV:
            return attempt_read(op);
        case IORING_OP_WRITE:
        case IORING_OP_WRITEV:
            return attempt_write(op);
        case IORING_OP_FSYNC:
        case IORING_OP_FALLOCATE:
        case op_ftruncate:
            return attempt_file_change(op);
        case IORING_OP_UNLINKAT:
            return finish(do_unlink(op));
        case IORING_OP_RENAMEAT:
            return finish(do_rename(op));
        case IORING_OP_MKDIRAT:
            return finish(do_mkdir(op));
        case IORING_OP_LINKAT:
            return finish(do_link(op));
        case IORING_OP_SYMLINKAT:
            return finish(do_symlink(op));
        case IORING_OP_SPLICE:
            return attempt_splice(op);
        case IORING_OP_ACCEPT:
            return attempt_accept(op);
        case IORING_OP_CONNECT:
            return attempt_connect(op);
        case IORING_OP_RECV:
        case IORING_OP_RECVMSG:
            return attempt_receive(op);
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
            return attempt_send(op);
        case IORING_OP_POLL_ADD:
            return attempt_poll(op);
        case IORING_OP_POLL_REMOVE:
        case IORING_OP_TIMEOUT_REMOVE:
            return finish(do_remove(op));
        case IORING_OP_ASYNC_CANCEL:
            return finish(do_cancel(op));
        case IORING_OP_TIMEOUT:
            return finish(-ETIME);
        case IORING_OP_LINK_TIMEOUT: {
            const auto guarded = operations_.find(std::exchange(op.partner, 0));
            if (guarded == operations_.end()) return finish(-ENOENT);
            guarded->second->partner = 0;
            return finish(cancel(*guarded->second) ? -ETIME : -EALREADY);
        }
        default:
            check_failed("prepare() lets only known opcodes pass", __FILE__, __LINE__);
    }
}

int SimWorld::do_cancel(Operation& op) {
    const unsigned flags = op.sqe.cancel_flags;
    const bool many = (flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) != 0;
    const Description* description = nullptr;
    if ((flags & IORING_ASYNC_CANCEL_FD) != 0) {
        description = at(op.sqe.fd);
        if (description == nullptr) return -EBADF;
    }
    const auto matches = [&](const Operation& other) {
        if (other.ring != op.ring || other.id == op.id) return false;
        if (other.sqe.opcode == IORING_OP_ASYNC_CANCEL || other.sqe.opcode == IORING_OP_LINK_TIMEOUT) return false;
        if ((flags & IORING_ASYNC_CANCEL_ANY) != 0) return true;
        if (description != nullptr) return other.description == description->id || other.source == description->id;
        return other.sqe.user_data == op.sqe.addr;
    };
    // By id first: cancelling one may start others, which are not meant.
    std::vector<OperationId> found;
    for (const auto& [id, other] : operations_)
        if (matches(*other)) found.push_back(id);
    int cancelled = 0;
    for (OperationId id : found) {
        const auto other = operations_.find(id);
        if (other == operations_.end()) continue;
        const bool done = cancel(*other->second);
        if (!many) return done ? 0 : -EALREADY;
        if (done) ++cancelled;
    }
    return many ? cancelled : -ENOENT;
}

int SimWorld::do_remove(Operation& op) {
    const unsigned wanted = op.sqe.opcode == IORING_OP_POLL_REMOVE ? IORING_OP_POLL_ADD : IORING_OP_TIMEOUT;
    for (const auto& [id, other] : operations_) {
        if (other->ring == op.ring && other->sqe.opcode == wanted && other->sqe.user_data == op.sqe.addr) {
            complete(*other, -ECANCELED);
            return 0;
        }
    }
    return -ENOENT;
}

int SimWorld::call(const io_uring_sqe& sqe) {
    if (const int refusal = refusal_of(sqe); refusal != 0) return refusal;
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_NOP:
            return 0;
        case IORING_OP_SOCKET:
            return do_socket(sqe.fd, static_cast<int>(sqe.off), static_cast<int>(sqe.len));
        case op_bind:
            return do_bind(at(sqe.fd), copy_address(sqe.addr, sqe.addr2));
        case op_listen:
            return do_listen(at(sqe.fd), sqe.len);
        case IORING_OP_CLOSE:
            return do_close(sqe.fd);
        case IORING_OP_SHUTDOWN:
            return do_shutdown(at(sqe.fd), static_cast<int>(sqe.len));
        default:
            return -EOPNOTSUPP;
    }
}

void SimWorld::check_invariants() const {
    std::map<const SimRing*, std::uint64_t> in_flight;
    std::map<DescriptionId, unsigned> references;
    for (const auto& [id, operation] : operations_) {
        CHECK(operation->id == id);
        in_flight[operation->ring] += 1 + operation->rest.size();
        if (operation->description != 0) ++references[operation->description];
        if (operation->source != 0) ++references[operation->source];
    }
    for (const auto& [id, travelling] : rights_) {
        for (const DescriptionId description : travelling) ++references[description];
    }
    for (const SimRing* ring : rings_) {
        ring->check_invariants();
        CHECK(ring->in_flight() == in_flight[ring]);  // W1
    }
    for (const auto& [fd, id] : descriptors_) ++references[id];
    for (const auto& [id, description] : descriptions_) {
        const unsigned outside = description->held_outside ? 1 : 0;
        CHECK(description->references == references[id] + outside);  // W3
        CHECK(description->references > 0);                          // W3
        for (OperationId waiter : description->waiters) CHECK(operations_.contains(waiter));
    }
}

}  // namespace umbel::rt
