// sim_pipes.cpp: pipes of the simulated kernel, and splices through them.
#include <poll.h>

#include <algorithm>

#include "runtime/io/sim_objects.h"

namespace umbel::rt {

int SimWorld::make_pipe(int flags, std::array<int, 2>& ends) {
    if ((flags & ~(O_NONBLOCK | O_DIRECT | O_CLOEXEC)) != 0) return -EINVAL;
    Description& reads = make_description();
    Description& writes = make_description();
    for (Description* end : {&reads, &writes}) {
        end->kind = Description::Kind::pipe;
        end->open_flags = static_cast<std::uint64_t>(flags & O_NONBLOCK);
    }
    writes.writes = true;
    writes.peer = reads.id;
    reads.peer = writes.id;
    reads.window = 4096 + random_below(65536);
    ends = {install(reads), install(writes)};
    return 0;
}

void SimWorld::read_pipe(Operation& op) {
    Description& pipe = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (pipe.writes) return finish(-EBADF);
    if (op.sqe.off != static_cast<std::uint64_t>(-1) && op.sqe.off != 0) return finish(-ESPIPE);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    Description* other = find(pipe.peer);
    if (pipe.inbox.empty()) {
        if (other == nullptr) return finish(0);
        return (pipe.open_flags & O_NONBLOCK) != 0 ? finish(-EAGAIN) : park(op);
    }
    std::size_t length = std::min(op.asked(), pipe.inbox.size());
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    op.put(0, std::string_view(pipe.inbox).substr(0, length));
    pipe.inbox.erase(0, length);
    if (other != nullptr) poke(*other);
    finish(static_cast<int>(length));
}

void SimWorld::write_pipe(Operation& op) {
    Description& pipe = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (!pipe.writes) return finish(-EBADF);
    Description* other = find(pipe.peer);
    const auto moved = static_cast<int>(op.moved);
    if (other == nullptr) return finish(moved != 0 ? moved : -EPIPE);
    if (moved == 0 && chance(faults_.interrupted)) return finish(-EINTR);
    const std::size_t room = other->window - std::min(other->window, other->inbox.size());
    const std::size_t length = std::min(op.asked() - op.moved, room);
    other->inbox += op.get(op.moved, length);
    op.moved += length;
    if (length != 0) poke(*other);
    if (op.moved == op.asked()) return finish(static_cast<int>(op.moved));
    if ((pipe.open_flags & O_NONBLOCK) != 0) return finish(op.moved != 0 ? static_cast<int>(op.moved) : -EAGAIN);
    park(op);
}

void SimWorld::attempt_splice(Operation& op) {
    Description& from = *find(op.source);
    Description& to = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    using Kind = Description::Kind;
    constexpr auto none = static_cast<std::uint64_t>(-1);
    const std::uint64_t offset_in = op.sqe.splice_off_in;
    const std::uint64_t offset_out = op.sqe.off;
    const bool from_pipe = from.kind == Kind::pipe;
    const bool to_pipe = to.kind == Kind::pipe;
    if (!from_pipe && !to_pipe) return finish(-EINVAL);
    if ((from_pipe && from.writes) || (to_pipe && !to.writes)) return finish(-EBADF);
    if ((from_pipe && offset_in != none) || (to_pipe && offset_out != none)) return finish(-ESPIPE);
    const bool waits_not = (op.sqe.splice_flags & SPLICE_F_NONBLOCK) != 0 ||
                           (from_pipe && (from.open_flags & O_NONBLOCK) != 0) ||
                           (to_pipe && (to.open_flags & O_NONBLOCK) != 0);
    const auto wait = [&] { return waits_not ? finish(-EAGAIN) : park(op); };
    if (chance(faults_.interrupted)) return finish(-EINTR);

    // What there is.
    std::string_view there;
    std::uint64_t position = 0;
    if (from.kind == Kind::file) {
        if (!may_read(from.open_flags)) return finish(-EBADF);
        if (chance(faults_.io_error)) return finish(-EIO);
        position = offset_in != none ? offset_in : from.position;
        const std::string& bytes = from.inode->bytes;
        there = std::string_view(bytes).substr(std::min<std::uint64_t>(position, bytes.size()));
        if (there.empty()) return finish(0);
    } else if (from_pipe || (from.kind == Kind::socket && !from.datagrams)) {
        if (!from_pipe && from.state != Description::State::connected) return finish(-ENOTCONN);
        if (!from_pipe && from.broken) return finish(-ECONNRESET);
        there = from.inbox;
        const bool ended = from_pipe ? find(from.peer) == nullptr : from.end || from.deaf;
        if (there.empty()) return ended ? finish(0) : wait();
    } else {
        return finish(-EINVAL);
    }

    // Where there is room.
    std::size_t room = op.sqe.len;
    Description* reader = to_pipe ? find(to.peer) : nullptr;
    if (to_pipe) {
        if (reader == nullptr) return finish(-EPIPE);
        room = reader->window - std::min(reader->window, reader->inbox.size());
    } else if (to.kind == Kind::socket && !to.datagrams) {
        if (to.state != Description::State::connected || to.sent_end || to.broken || find(to.peer) == nullptr)
            return finish(-EPIPE);
        room = room_to_send(to);
    } else if (to.kind != Kind::file) {
        return finish(-EINVAL);
    } else if (!may_write(to.open_flags)) {
        return finish(-EBADF);
    }
    std::size_t length = std::min({there.size(), room, std::size_t{op.sqe.len}});
    if (op.sqe.len == 0) return finish(0);
    if (length == 0) return wait();
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);

    const std::string bytes(there.substr(0, length));
    if (from.kind == Kind::file) {
        if (offset_in == none) from.position = position + length;
    } else if (from_pipe) {
        from.inbox.erase(0, length);
        if (Description* writer = find(from.peer)) poke(*writer);
    } else {
        take_from_inbox(from, length);
    }
    if (to_pipe) {
        reader->inbox += bytes;
        poke(*reader);
    } else if (to.kind == Kind::socket) {
        transmit(to, bytes);
    } else {
        const std::uint64_t at = offset_out != none ? offset_out : to.position;
        std::string& content = to.inode->bytes;
        if (content.size() < at + length) content.resize(at + length);
        content.replace(at, length, bytes);
        to.inode->changed = now_;
        if (offset_out == none) to.position = at + length;
    }
    finish(static_cast<int>(length));
}

}  // namespace umbel::rt
