// operation.h: the operations an actor can submit, each as a small description. Part of the C++ SDK; include umbel.h.
//
// Why.    What an operation is, and when it is submitted (alone, as a stream, in a chain), are two things.
// Shape.  op::NAME(arguments) makes an operation<T>; self::submit, submit_many or chain use it up and give a pending<T>.
// Not here.  What each does in detail: abi.h, at UMBEL_OP_….
#pragma once

#include "umbel/types.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

// ---- Operations --------------------------------------------------------------------------------------------------------

/// How long an operation may take, and what draining means to it.
struct op_options {
    nanoseconds deadline{0};  // 0: none. Else it ends with UMBEL_E_DEADLINE this long from its submission.
    bool drains = false;      // Ends with cancelled() when the daemon drains: waits for work, does none.
};

/// The description of an operation that gives a T; made by op::…, used up by self::submit or self::chain.
template <class T>
struct operation {
    umbel_operation raw{};
    std::array<umbel_slice, 4> slices{};

    operation(std::uint16_t code, int fd, op_options options = {}) {
        raw.code = code;
        raw.fd = fd;
        raw.deadline_ns = static_cast<std::uint64_t>(options.deadline.count());
        raw.flags = options.drains ? UMBEL_OP_DRAINS : 0;
    }
    operation& data(std::span<const std::byte> bytes) {
        slices[raw.slice_count++] = {bytes.data(), bytes.size()};
        return *this;
    }
    operation& data(std::string_view text) { return data(std::as_bytes(std::span(text))); }
};

constexpr std::uint64_t at_position = UMBEL_AT_POSITION;

/// An IPv4, IPv6 or other socket address.
struct endpoint {
    sockaddr_storage storage{};
    socklen_t size = 0;

    [[nodiscard]] std::span<const std::byte> bytes() const {
        return {reinterpret_cast<const std::byte*>(&storage), size};
    }
    [[nodiscard]] int domain() const { return storage.ss_family; }
    [[nodiscard]] std::uint16_t port() const {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
        return ntohs(domain() == AF_INET6 ? v6->sin6_port : v4->sin_port);
    }
    /// "127.0.0.1:80" or "[::1]:80" in; nullopt if it is neither.
    [[nodiscard]] static std::optional<endpoint> parse(std::string_view text);
    /// The same out again.
    [[nodiscard]] std::string text() const;
};

namespace op {

inline operation<void> nop(op_options options = {}) { return {UMBEL_OP_NOP, -1, options}; }

/// Opens `path` relative to `directory` (a descriptor or UMBEL_CWD). flags: O_…; resolve: RESOLVE_….
inline operation<file> open(std::string_view path, int flags, int directory = UMBEL_CWD, std::uint32_t mode = 0,
                            std::uint64_t resolve = 0, op_options options = {}) {
    operation<file> open{UMBEL_OP_OPENAT2, directory, options};
    open.raw.arg = static_cast<std::uint32_t>(flags);
    open.raw.arg2 = mode;
    open.raw.offset = resolve;
    open.data(path);
    return open;
}
template <class Kind>
operation<void> close(descriptor<Kind>&& descriptor, op_options options = {}) {
    return {UMBEL_OP_CLOSE, descriptor.release(), options};
}

/// Reads up to `length` bytes (1 … 2 MiB) at `offset` into a fresh buffer; empty at the end of the file.
inline operation<buffer> read(const file& from, std::size_t length, std::uint64_t offset = at_position,
                              op_options options = {}) {
    operation<buffer> read{UMBEL_OP_READ, from.fd(), options};
    read.raw.length = static_cast<std::uint32_t>(length);
    read.raw.offset = offset;
    return read;
}
/// Reads into memory of the actor, which must stay there until the result has been received; gives the count.
inline operation<std::size_t> read_into(const file& from, std::span<std::byte> into, std::uint64_t offset = at_position,
                                        op_options options = {}) {
    operation<std::size_t> read{UMBEL_OP_READ, from.fd(), options};
    read.raw.length = static_cast<std::uint32_t>(into.size());
    read.raw.into = into.data();
    read.raw.offset = offset;
    return read;
}
/// Writes a copy of `bytes` at `offset`.
inline operation<std::size_t> write(const file& to, std::span<const std::byte> bytes,
                                    std::uint64_t offset = at_position, op_options options = {}) {
    operation<std::size_t> write{UMBEL_OP_WRITE, to.fd(), options};
    write.raw.offset = offset;
    write.data(bytes);
    return write;
}
/// Writes a buffer without a copy; it is gone afterwards.
inline operation<std::size_t> write(const file& to, buffer& bytes, std::uint64_t offset = at_position,
                                    op_options options = {}) {
    operation<std::size_t> write{UMBEL_OP_WRITE, to.fd(), options};
    write.raw.offset = offset;
    write.raw.buffer = bytes.raw();
    return write;
}
inline operation<void> sync(const file& of, op_options options = {}) { return {UMBEL_OP_FSYNC, of.fd(), options}; }

/// What `path` (relative to `directory`) is; flags: AT_….
inline operation<file_status> status(std::string_view path, int directory = UMBEL_CWD, int flags = 0,
                                     op_options options = {}) {
    operation<file_status> status{UMBEL_OP_STATX, directory, options};
    status.raw.arg = static_cast<std::uint32_t>(flags);
    status.raw.arg2 = STATX_BASIC_STATS;
    status.data(path);
    return status;
}
inline operation<file_status> status(const file& of, op_options options = {}) {
    return status("", of.fd(), AT_EMPTY_PATH, options);
}

inline operation<socket> open_socket(int domain, int type, int protocol = 0, op_options options = {}) {
    operation<socket> open{UMBEL_OP_SOCKET, -1, options};
    open.raw.arg = static_cast<std::uint32_t>(domain);
    open.raw.arg2 = static_cast<std::uint32_t>(type);
    open.raw.length = static_cast<std::uint32_t>(protocol);
    return open;
}
inline operation<void> bind(const socket& unbound, const endpoint& to, op_options options = {}) {
    operation<void> bind{UMBEL_OP_BIND, unbound.fd(), options};
    bind.data(to.bytes());
    return bind;
}
inline operation<void> listen(const socket& bound, std::uint32_t backlog, op_options options = {}) {
    operation<void> listen{UMBEL_OP_LISTEN, bound.fd(), options};
    listen.raw.arg = backlog;
    return listen;
}
inline operation<socket> accept(const socket& listener, op_options options = {}) {
    return {UMBEL_OP_ACCEPT, listener.fd(), options};
}
inline operation<void> connect(const socket& from, const endpoint& to, op_options options = {}) {
    operation<void> connect{UMBEL_OP_CONNECT, from.fd(), options};
    connect.data(to.bytes());
    return connect;
}
/// Receives up to `length` bytes into a fresh buffer; empty when the peer has ended its side.
inline operation<buffer> recv(const socket& from, std::size_t length, op_options options = {}, int flags = 0) {
    operation<buffer> recv{UMBEL_OP_RECV, from.fd(), options};
    recv.raw.length = static_cast<std::uint32_t>(length);
    recv.raw.arg = static_cast<std::uint32_t>(flags);
    return recv;
}
inline operation<std::size_t> recv_into(const socket& from, std::span<std::byte> into, op_options options = {},
                                        int flags = 0) {
    operation<std::size_t> recv{UMBEL_OP_RECV, from.fd(), options};
    recv.raw.length = static_cast<std::uint32_t>(into.size());
    recv.raw.into = into.data();
    recv.raw.arg = static_cast<std::uint32_t>(flags);
    return recv;
}
/// Sends a copy of `bytes`, all of them.
inline operation<std::size_t> send(const socket& to, std::span<const std::byte> bytes, op_options options = {}) {
    operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
    send.data(bytes);
    return send;
}
/// Sends a head and a body, copied one behind the other.
inline operation<std::size_t> send(const socket& to, std::span<const std::byte> head, std::span<const std::byte> body,
                                   op_options options = {}) {
    operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
    send.data(head).data(body);
    return send;
}
/// Sends a buffer without a copy; it is gone afterwards.
inline operation<std::size_t> send(const socket& to, buffer& bytes, op_options options = {}) {
    operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
    send.raw.buffer = bytes.raw();
    return send;
}
inline operation<void> shutdown(const socket& peer, int how, op_options options = {}) {
    operation<void> shutdown{UMBEL_OP_SHUTDOWN, peer.fd(), options};
    shutdown.raw.arg = static_cast<std::uint32_t>(how);
    return shutdown;
}
/// Waits until one of `events` (POLL…) holds for `fd`; gives those that do.
inline operation<std::size_t> poll(int fd, int events, op_options options = {}) {
    operation<std::size_t> poll{UMBEL_OP_POLL, fd, options};
    poll.raw.arg = static_cast<std::uint32_t>(events);
    return poll;
}
inline operation<void> timeout(nanoseconds after, op_options options = {}) {
    operation<void> timeout{UMBEL_OP_TIMEOUT, -1, options};
    timeout.raw.offset = static_cast<std::uint64_t>(after.count());
    return timeout;
}
/// Cancels the operation behind a pending; gives 1, or 0 when it had ended.
inline operation<std::size_t> cancel(umbel_pending victim) {
    operation<std::size_t> cancel{UMBEL_OP_CANCEL, -1};
    cancel.raw.offset = victim;
    return cancel;
}
/// Cancels what this actor has in flight on a descriptor; gives how many operations.
inline operation<std::size_t> cancel_descriptor(int fd) { return {UMBEL_OP_CANCEL_FD, fd}; }
/// Cancels everything this actor has in flight; gives how many operations.
inline operation<std::size_t> cancel_all() { return {UMBEL_OP_CANCEL_ALL, -1}; }

}  // namespace op

}  // namespace umbel
#pragma GCC visibility pop
