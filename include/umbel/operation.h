// operation.h: the operations an actor can submit, each as a small description. Part of the C++ SDK; include umbel.h.
//
// Why.    What an operation is, and when it is submitted (alone, as a stream, in a chain), are two things.
// Shape.  op::NAME(arguments) makes an operation<T>; self::submit, submit_many or chain use it up and give a pending<T>.
// Not here.  What each does in detail: abi.h, at UMBEL_OP_….
#pragma once

#include "umbel/results.h"

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
    /// Slices that are too many to be kept here stay where they are until the operation has been submitted.
    operation& data(std::span<const umbel_slice> elsewhere) {
        raw.slices = elsewhere.data();
        raw.slice_count = static_cast<std::uint32_t>(elsewhere.size());
        return *this;
    }
    /// Fills in where the slices are. Afterwards it must not be moved before it is submitted.
    void settle() {
        if (raw.slices == nullptr) raw.slices = slices.data();
    }
};

constexpr std::uint64_t at_position = UMBEL_AT_POSITION;

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
/// Reads into several pieces, filled in order: fresh buffers and memory of the actor.
inline operation<buffers> read_pieces(const file& from, std::span<const piece> pieces,
                                      std::uint64_t offset = at_position, op_options options = {}) {
    operation<buffers> read{UMBEL_OP_READV, from.fd(), options};
    read.raw.offset = offset;
    read.data(std::span<const umbel_slice>(static_cast<const umbel_slice*>(pieces.data()), pieces.size()));
    return read;
}
/// Writes several buffers without a copy, behind a copy of `head`; the list is empty afterwards.
inline operation<std::size_t> write(const file& to, std::span<const std::byte> head, buffer_list& bytes,
                                    std::uint64_t offset = at_position, op_options options = {}) {
    operation<std::size_t> write{UMBEL_OP_WRITEV, to.fd(), options};
    write.raw.offset = offset;
    write.raw.buffer = bytes.raw();
    write.raw.length = bytes.size();
    if (!head.empty()) write.data(head);
    return write;
}
inline operation<std::size_t> write(const file& to, buffer_list& bytes, std::uint64_t offset = at_position,
                                    op_options options = {}) {
    return write(to, std::span<const std::byte>(), bytes, offset, options);
}
inline operation<void> sync(const file& of, op_options options = {}) { return {UMBEL_OP_FSYNC, of.fd(), options}; }
/// fdatasync: the bytes, and of what is known about the file only what is needed to read them.
inline operation<void> data_sync(const file& of, op_options options = {}) {
    operation<void> sync{UMBEL_OP_FSYNC, of.fd(), options};
    sync.raw.arg = 1;
    return sync;
}
/// fallocate; mode: FALLOC_FL_….
inline operation<void> allocate(const file& of, std::uint64_t offset, std::uint64_t length, int mode = 0,
                                op_options options = {}) {
    operation<void> allocate{UMBEL_OP_FALLOCATE, of.fd(), options};
    allocate.raw.offset = offset;
    allocate.raw.length = static_cast<std::uint32_t>(length);
    allocate.raw.arg2 = static_cast<std::uint32_t>(length >> 32);
    allocate.raw.arg = static_cast<std::uint32_t>(mode);
    return allocate;
}
/// ftruncate. Linux 6.9; before: UMBEL_E_UNSUPPORTED.
inline operation<void> resize(const file& of, std::uint64_t size, op_options options = {}) {
    operation<void> resize{UMBEL_OP_FTRUNCATE, of.fd(), options};
    resize.raw.offset = size;
    return resize;
}
/// Moves up to `length` bytes from one descriptor to another, one of them a pipe; gives how many, 0 at the end.
/// offset: in the file `from`.  flags: SPLICE_F_…; without SPLICE_F_NONBLOCK it waits, on a thread of the kernel's.
template <class From, class To>
operation<std::size_t> splice(const descriptor<From>& from, const descriptor<To>& to, std::size_t length,
                              std::uint64_t offset = at_position, unsigned flags = 0, op_options options = {}) {
    operation<std::size_t> splice{UMBEL_OP_SPLICE, from.fd(), options};
    splice.raw.arg = static_cast<std::uint32_t>(to.fd());
    splice.raw.arg2 = flags;
    splice.raw.length = static_cast<std::uint32_t>(length);
    splice.raw.offset = offset;
    return splice;
}
/// The same out of a pipe, to `offset` in the file `to`.
inline operation<std::size_t> splice_at(const file& from, const file& to, std::uint64_t offset, std::size_t length,
                                        unsigned flags = 0, op_options options = {}) {
    return splice(from, to, length, offset, flags | UMBEL_SPLICE_OFFSET_OUT, options);
}

/// Removes a name; flags: AT_REMOVEDIR for a directory, which must be empty.
inline operation<void> unlink(std::string_view path, int directory = UMBEL_CWD, int flags = 0,
                              op_options options = {}) {
    operation<void> unlink{UMBEL_OP_UNLINKAT, directory, options};
    unlink.raw.arg = static_cast<std::uint32_t>(flags);
    unlink.data(path);
    return unlink;
}
inline operation<void> make_directory(std::string_view path, std::uint32_t mode = 0777, int directory = UMBEL_CWD,
                                      op_options options = {}) {
    operation<void> make{UMBEL_OP_MKDIRAT, directory, options};
    make.raw.arg2 = mode;
    make.data(path);
    return make;
}
/// The directories that two paths are relative to.
struct directories {
    int from = UMBEL_CWD;
    int to = UMBEL_CWD;
};
/// flags: RENAME_….
inline operation<void> rename(std::string_view from, std::string_view to, directories in = {}, unsigned flags = 0,
                              op_options options = {}) {
    operation<void> rename{UMBEL_OP_RENAMEAT2, in.from, options};
    rename.raw.arg = static_cast<std::uint32_t>(in.to);
    rename.raw.arg2 = flags;
    rename.data(from).data(to);
    return rename;
}
/// A further name of a file; flags: AT_SYMLINK_FOLLOW, AT_EMPTY_PATH.
inline operation<void> link(std::string_view from, std::string_view to, directories in = {}, int flags = 0,
                            op_options options = {}) {
    operation<void> link{UMBEL_OP_LINKAT, in.from, options};
    link.raw.arg = static_cast<std::uint32_t>(in.to);
    link.raw.arg2 = static_cast<std::uint32_t>(flags);
    link.data(from).data(to);
    return link;
}
inline operation<void> symlink(std::string_view target, std::string_view path, int directory = UMBEL_CWD,
                               op_options options = {}) {
    operation<void> symlink{UMBEL_OP_SYMLINKAT, directory, options};
    symlink.data(target).data(path);
    return symlink;
}

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
/// What a message has besides its bytes.
struct message_parts {
    const endpoint* to = nullptr;        // Null: the socket's peer.
    std::span<const int> descriptors{};  // Passed over a unix socket; duplicated: may be closed after submission.
    int flags = 0;                       // MSG_….
};
/// Sends a copy of `bytes` as one message: a datagram, or bytes with descriptors.
inline operation<std::size_t> send_message(const socket& via, std::span<const std::byte> bytes,
                                           const message_parts& parts = {}, op_options options = {}) {
    operation<std::size_t> send{UMBEL_OP_SENDMSG, via.fd(), options};
    send.raw.arg = static_cast<std::uint32_t>(parts.flags);
    send.data(parts.to != nullptr ? parts.to->bytes() : std::span<const std::byte>());
    send.data(std::as_bytes(parts.descriptors));
    send.data(bytes);
    return send;
}
/// Sends a copy of `head` and then several buffers without a copy; the list is empty afterwards.
inline operation<std::size_t> send_message(const socket& via, std::span<const std::byte> head, buffer_list& bytes,
                                           const message_parts& parts = {}, op_options options = {}) {
    operation<std::size_t> send = send_message(via, head, parts, options);
    send.raw.buffer = bytes.raw();
    send.raw.length = bytes.size();
    return send;
}
/// Sends the payload of a datagram on without a copy, or back; the datagram is gone afterwards.
inline operation<std::size_t> send_message(const socket& via, datagram& received, const message_parts& parts = {},
                                           op_options options = {}) {
    operation<std::size_t> send = send_message(via, std::span<const std::byte>(), parts, options);
    send.raw.offset = received.payload_offset();
    send.raw.buffer = received.raw();
    send.raw.length = 1;
    return send;
}
inline operation<std::size_t> send_to(const socket& via, const endpoint& to, std::span<const std::byte> bytes,
                                      op_options options = {}) {
    return send_message(via, bytes, {.to = &to}, options);
}
/// Receives one message of up to `length` bytes, with its sender and up to `descriptors` descriptors.
inline operation<datagram> receive_message(const socket& from, std::size_t length, std::uint32_t descriptors = 0,
                                           op_options options = {}, int flags = 0) {
    operation<datagram> receive{UMBEL_OP_RECVMSG, from.fd(), options};
    receive.raw.length = static_cast<std::uint32_t>(length);
    receive.raw.arg = static_cast<std::uint32_t>(flags);
    receive.raw.arg2 = descriptors;
    return receive;
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
/// Waits for changes of the files that are watched; room: bytes for events, at least 272.
inline operation<file_events> events(const watcher& of, std::size_t room = 4096, op_options options = {}) {
    operation<file_events> read{UMBEL_OP_READ, of.fd(), options};
    read.raw.length = static_cast<std::uint32_t>(room);
    read.raw.offset = at_position;
    return read;
}
/// Waits for the next of the signals claimed.
inline operation<signal_info> next_signal(const signals& of, op_options options = {}) {
    operation<signal_info> read{UMBEL_OP_READ, of.fd(), options};
    read.raw.length = sizeof(signalfd_siginfo);
    read.raw.offset = at_position;
    return read;
}
/// Waits for the end of a process.
inline operation<void> end_of(const process& awaited, op_options options = {}) {
    operation<void> poll{UMBEL_OP_POLL, awaited.fd(), options};
    poll.raw.arg = POLLIN;
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
