// sim_objects.cpp: open descriptions of the simulated kernel, and which of its files does what to them: sim_files.cpp,
// sim_sockets.cpp, sim_pipes.cpp.
#include "runtime/io/sim_objects.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <csignal>

namespace umbel::rt {

namespace {

/// Far above any real descriptor: one of ours that reaches the real kernel by mistake is EBADF there.
constexpr int first_descriptor = 1'000'000;

}  // namespace

bool uses_descriptor(unsigned opcode) {
    switch (opcode) {
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_READV:
        case IORING_OP_WRITEV:
        case IORING_OP_FSYNC:
        case IORING_OP_FALLOCATE:
        case op_ftruncate:
        case IORING_OP_SPLICE:
        case IORING_OP_SENDMSG:
        case IORING_OP_RECVMSG:
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_SHUTDOWN:
        case IORING_OP_POLL_ADD:
        case op_bind:
        case op_listen:
            return true;
        default:
            return false;
    }
}

bool waits(unsigned opcode) {
    switch (opcode) {
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
        case IORING_OP_RECVMSG:
        case IORING_OP_SPLICE:
        case IORING_OP_POLL_ADD:
        case IORING_OP_TIMEOUT:
            return true;
        default:
            return false;
    }
}

bool breaks_chain(const io_uring_sqe& sqe, std::size_t asked, int result) {
    if (static_cast<unsigned>(sqe.opcode) == IORING_OP_TIMEOUT)
        return !(result == -ETIME && (sqe.timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS) != 0);
    if (result < 0) return true;
    const bool is_short = static_cast<std::size_t>(result) != asked;
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_READV:
        case IORING_OP_WRITEV:
            return is_short;
        case IORING_OP_SPLICE:
            return static_cast<unsigned>(result) != sqe.len;
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_SENDMSG:
        case IORING_OP_RECVMSG:
            return (sqe.msg_flags & static_cast<unsigned>(MSG_WAITALL)) != 0 && is_short;
        default:
            return false;
    }
}

// ---- Pieces.

void SimWorld::Operation::put(std::size_t at, std::string_view bytes) const {
    for (const iovec& piece : pieces) {
        if (at >= piece.iov_len) {
            at -= piece.iov_len;
            continue;
        }
        const std::size_t length = std::min(bytes.size(), piece.iov_len - at);
        if (length != 0) std::memcpy(static_cast<char*>(piece.iov_base) + at, bytes.data(), length);  // W2
        bytes.remove_prefix(length);
        at = 0;
        if (bytes.empty()) return;
    }
}

std::string SimWorld::Operation::get(std::size_t at, std::size_t length) const {
    std::string bytes;
    for (const iovec& piece : pieces) {
        if (at >= piece.iov_len) {
            at -= piece.iov_len;
            continue;
        }
        bytes.append(static_cast<const char*>(piece.iov_base) + at,  // W2
                     std::min(length - bytes.size(), piece.iov_len - at));
        at = 0;
        if (bytes.size() == length) break;
    }
    return bytes;
}

// ---- Descriptions and descriptors.

SimWorld::Description& SimWorld::make_description() {
    auto description = std::make_unique<Description>();
    Description& made = *description;
    made.id = next_description_++;
    descriptions_.emplace(made.id, std::move(description));
    return made;
}

SimWorld::Description* SimWorld::find(DescriptionId id) {
    const auto found = descriptions_.find(id);
    return found == descriptions_.end() ? nullptr : found->second.get();
}

SimWorld::Description* SimWorld::at(int fd) {
    const auto found = descriptors_.find(fd);
    return found == descriptors_.end() ? nullptr : find(found->second);
}

int SimWorld::install(Description& description) {
    int fd = first_descriptor;  // The lowest that is free, as in the kernel.
    while (descriptors_.contains(fd)) ++fd;
    descriptors_.emplace(fd, description.id);
    ++description.references;
    return fd;
}

void SimWorld::release(DescriptionId id) {
    Description* description = find(id);
    CHECK(description != nullptr);
    CHECK(description->references > 0);  // W3
    if (--description->references == 0) hang_up(*description);
}

/// The outside no longer refers to it.
void SimWorld::let_go(Description& description) {
    CHECK(description.held_outside);
    description.held_outside = false;
    release(description.id);
}

void SimWorld::hang_up(Description& description) {
    const DescriptionId id = description.id;
    for (DescriptionId waiting : std::exchange(description.backlog, {})) {
        Description* connection = find(waiting);
        CHECK(connection != nullptr);
        break_connection(*connection);
        let_go(*connection);
    }
    for (const auto& [at, rights] : std::exchange(description.rights, {})) drop_rights(rights);
    for (const Datagram& datagram : std::exchange(description.arrived, {})) drop_rights(datagram.rights);
    if (description.kind == Description::Kind::file && may_write(description.open_flags))
        notify(description.path, description.inode, IN_CLOSE_WRITE);
    if (Description* peer = find(description.peer); peer != nullptr && description.kind == Description::Kind::pipe) {
        poke(*peer);
    } else if (peer != nullptr) {
        if (!description.inbox.empty()) {
            // Unread bytes are lost: the peer is told so.
            after(delay(), [this, to = peer->id] {
                if (Description* told = find(to)) mark_broken(*told);
            });
        } else if (!description.sent_end) {
            transmit_end(description);
        }
        poke(*peer);
    }
    descriptions_.erase(id);
}

void SimWorld::poke(Description& description) {
    for (OperationId id : description.waiters) schedule(*operations_.at(id), delay());
}

unsigned SimWorld::readiness(Description& description) {
    switch (description.kind) {
        case Description::Kind::file:
        case Description::Kind::directory:
            return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
        case Description::Kind::wake:
            return description.counter != 0 ? POLLIN | POLLOUT : POLLOUT;
        case Description::Kind::watcher:
        case Description::Kind::signals:
            return description.records.empty() ? 0 : POLLIN | POLLRDNORM;
        case Description::Kind::process:
            return processes_[description.pid].ended ? POLLIN | POLLRDNORM : 0;
        case Description::Kind::pipe: {
            const Description* other = find(description.peer);
            if (!description.writes)
                return (description.inbox.empty() ? 0 : POLLIN | POLLRDNORM) | (other == nullptr ? POLLHUP : 0);
            if (other == nullptr) return POLLOUT | POLLWRNORM | POLLERR;
            return other->inbox.size() < other->window ? POLLOUT | POLLWRNORM : 0;
        }
        case Description::Kind::socket:
            break;
    }
    unsigned ready = 0;
    if (description.datagrams) return (description.arrived.empty() ? 0 : POLLIN | POLLRDNORM) | POLLOUT | POLLWRNORM;
    if (description.state == Description::State::listening) {
        if (!description.backlog.empty()) ready |= POLLIN | POLLRDNORM;
        return ready;
    }
    if (description.state != Description::State::connected) return POLLOUT | POLLHUP;
    const bool ended = description.end || description.deaf;
    if (!description.inbox.empty() || ended) ready |= POLLIN | POLLRDNORM;
    if (ended) ready |= POLLRDHUP;
    if (ended && description.sent_end) ready |= POLLHUP;
    if (description.broken) ready |= POLLIN | POLLERR | POLLHUP;
    if (room_to_send(description) != 0) ready |= POLLOUT | POLLWRNORM;
    return ready;
}

// ---- What any of them can be asked.

void SimWorld::attempt_read(Operation& op) {
    Description& description = *find(op.description);
    switch (description.kind) {
        case Description::Kind::file:
            return read_file(op);
        case Description::Kind::pipe:
            return read_pipe(op);
        case Description::Kind::socket:
            return attempt_receive(op);
        case Description::Kind::watcher:
        case Description::Kind::signals:
            return read_records(op);
        case Description::Kind::directory:
            complete(op, may_read(description.open_flags) ? -EISDIR : -EBADF);
            return;
        case Description::Kind::process:
            complete(op, -EINVAL);
            return;
        case Description::Kind::wake:
            break;
    }
    if (op.asked() < sizeof description.counter) {
        complete(op, -EINVAL);
        return;
    }
    if (description.counter == 0) return park(op);
    op.put(0, {reinterpret_cast<const char*>(&description.counter), sizeof description.counter});
    description.counter = 0;
    complete(op, sizeof description.counter);
}

void SimWorld::attempt_write(Operation& op) {
    switch (find(op.description)->kind) {
        case Description::Kind::file:
            return write_file(op);
        case Description::Kind::pipe:
            return write_pipe(op);
        case Description::Kind::socket:
            return attempt_send(op);
        case Description::Kind::directory:
            complete(op, -EBADF);
            return;
        default:
            complete(op, -EINVAL);
            return;
    }
}

// As many whole records as there is room for.
void SimWorld::read_records(Operation& op) {
    Description& description = *find(op.description);
    if (chance(faults_.interrupted)) {
        complete(op, -EINTR);
        return;
    }
    if (description.records.empty()) return park(op);
    std::string bytes;
    while (!description.records.empty() && bytes.size() + description.records.front().size() <= op.asked()) {
        bytes += description.records.front();
        description.records.pop_front();
    }
    op.put(0, bytes);
    complete(op, bytes.empty() ? -EINVAL : static_cast<int>(bytes.size()));
}

void SimWorld::attempt_poll(Operation& op) {
    Description& description = *find(op.description);
    const unsigned ready = readiness(description) & (op.sqe.poll32_events | POLLERR | POLLHUP);
    if (ready == 0) return park(op);
    if (complete(op, static_cast<int>(ready), op.multishot ? IORING_CQE_F_MORE : 0)) park(op);
}

int SimWorld::duplicate(int fd) {
    Description* description = at(fd);
    return description == nullptr ? -EBADF : install(*description);
}

// ---- Signals.

int SimWorld::open_signals(std::uint64_t signals) {
    Description& description = make_description();
    description.kind = Description::Kind::signals;
    description.signals = signals;
    return install(description);
}

void SimWorld::send_signal(int signal, int value) {
    trace("signal", static_cast<std::uint64_t>(signal), static_cast<std::uint64_t>(value), 0, 0);
    signalfd_siginfo info{};
    info.ssi_signo = static_cast<std::uint32_t>(signal);
    info.ssi_int = value;
    const std::string record(reinterpret_cast<const char*>(&info), sizeof info);
    for (const auto& [id, description] : descriptions_) {
        if ((description->signals >> (signal - 1) & 1) == 0) continue;
        // Below the real-time ones, a signal that waits already waits once.
        const bool queues = signal >= SIGRTMIN;
        const bool waiting = std::any_of(
            description->records.begin(), description->records.end(),
            [&](const auto& each) { return std::memcmp(each.data(), &info.ssi_signo, sizeof info.ssi_signo) == 0; });
        if (queues || !waiting) description->records.push_back(record);
        poke(*description);
        return;
    }
}

// ---- Processes.

void SimWorld::add_process(int pid) { processes_[pid] = {}; }

void SimWorld::end_process(int pid, int code, int status) {
    Process& process = processes_.at(pid);
    process.ended = true;
    process.status = {code, status, pid, 0};
    trace("process", static_cast<std::uint64_t>(pid), static_cast<std::uint64_t>(status), 0, 0);
    for (const auto& [id, description] : descriptions_) {
        if (description->kind == Description::Kind::process && description->pid == pid) poke(*description);
    }
}

int SimWorld::open_process(int pid) {
    const auto found = processes_.find(pid);
    if (found == processes_.end() || found->second.reported) return -ESRCH;
    Description& description = make_description();
    description.kind = Description::Kind::process;
    description.pid = pid;
    return install(description);
}

int SimWorld::process_status(int process, umbel_process_status& status) {
    const Description* description = at(process);
    if (description == nullptr || description->kind != Description::Kind::process) return -EBADF;
    Process& asked = processes_.at(description->pid);
    if (asked.reported) return -ECHILD;
    if (!asked.ended) return 0;
    asked.reported = true;
    status = asked.status;
    return 1;
}

}  // namespace umbel::rt
