// sim_objects.h: what the simulated kernel keeps: operations, open descriptions, files. Private to sim_world.cpp,
// sim_objects.cpp, sim_files.cpp, sim_sockets.cpp and sim_pipes.cpp.
//
// Why.    The files of SimWorld share its records; nobody else sees them.
// Shape.  Records refer to each other by id, never by address (W4).
// Owner.  Their SimWorld.
#pragma once

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "runtime/io/sim_world.h"

namespace umbel::rt {

struct SimWorld::Inode {
    std::uint64_t number = 0;
    std::string bytes;  // Of a symbolic link: what it points to.
    Nanoseconds changed{};
    bool symlink = false;
    unsigned names = 1;
};

struct SimWorld::Watch {
    int number = 0;
    std::uint32_t mask = 0;
    std::string path;
    std::shared_ptr<Inode> inode;  // Null: a directory.
};

struct SimWorld::Datagram {
    std::string bytes;
    std::string from;
    RightsId rights = 0;
};

struct SimWorld::Operation {
    explicit Operation(const io_uring_sqe& consumed) : entry(new io_uring_sqe(consumed)), sqe(*entry) {}

    // Beside the record: the kernel's header ends it in an array of no size, which ISO C++ allows in no other struct.
    const std::unique_ptr<const io_uring_sqe> entry;
    const io_uring_sqe& sqe;
    OperationId id = 0;
    SimRing* ring = nullptr;
    std::string path;               // Or a socket's address: what the entry pointed to, copied.
    std::string path2;              // The other path of two.
    std::vector<iovec> pieces;      // What is read into or written from, in order.
    msghdr message{};               // SENDMSG, RECVMSG.
    open_how how{};                 // OPENAT2.
    Nanoseconds time{};             // TIMEOUT, LINK_TIMEOUT.
    int error = 0;                  // The entry is bad.
    bool multishot = false;         // May give several completions.
    bool scheduled = false;         // An attempt is on its way.
    std::size_t moved = 0;          // MSG_WAITALL: bytes so far.
    DescriptionId description = 0;  // Referred to while in flight, or 0.
    DescriptionId source = 0;       // SPLICE: where it comes from; referred to as well.
    OperationId partner = 0;        // The deadline of an operation, the operation of a deadline.
    Chain rest;                     // What follows in the chain.

    /// Bytes of all pieces.
    [[nodiscard]] std::size_t asked() const {
        std::size_t bytes = 0;
        for (const iovec& piece : pieces) bytes += piece.iov_len;
        return bytes;
    }
    /// Writes into the pieces, from byte `at` of them on.
    void put(std::size_t at, std::string_view bytes) const;
    /// Reads `length` bytes out of the pieces, from byte `at` of them on.
    [[nodiscard]] std::string get(std::size_t at, std::size_t length) const;
};

struct SimWorld::Description {
    enum class Kind : std::uint8_t { file, directory, socket, wake, pipe, watcher, signals, process };
    enum class State : std::uint8_t { fresh, bound, listening, connected, shut };

    DescriptionId id = 0;
    Kind kind = Kind::file;
    unsigned references = 0;    // Descriptors, operations, the outside.
    bool held_outside = false;  // A client's end, or in a listener's backlog.
    std::set<OperationId> waiters;

    // File, directory.
    std::shared_ptr<Inode> inode;
    std::string path;
    std::uint64_t open_flags = 0;
    std::uint64_t position = 0;

    // Wake.
    std::uint64_t counter = 0;

    // Pipe: `peer` is its other end, the end that is read has the bytes in its `inbox` and room for `window`.
    bool writes = false;

    // Watcher.
    std::vector<Watch> watches;
    int last_watch = 0;

    // Watcher, signals: what can be read, each whole.
    std::deque<std::string> records;

    // Signals: bit n - 1 is signal n.
    std::uint64_t signals = 0;

    // Process.
    int pid = 0;

    // Socket.
    State state = State::fresh;
    int domain = 0;
    bool datagrams = false;
    std::deque<Datagram> arrived;  // Datagrams, not received.
    bool reuse_port = false;
    std::string local;
    std::string remote;
    std::deque<DescriptionId> backlog;
    unsigned backlog_limit = 0;
    DescriptionId peer = 0;
    std::string inbox;                                      // Arrived, not received.
    std::uint64_t received = 0;                             // Bytes that have left the inbox.
    std::deque<std::pair<std::uint64_t, RightsId>> rights;  // Descriptors in the stream, by the byte they come with.
    std::size_t travelling = 0;                             // Sent by us, not arrived.
    std::size_t window = 0;                                 // How much may travel and lie in the peer's inbox.
    Nanoseconds last_arrival{};                             // What is sent later arrives later.
    bool sent_end = false;                                  // We have finished sending.
    bool end = false;                                       // The peer's end has arrived.
    bool deaf = false;                                      // SHUT_RD.
    bool broken = false;                                    // Reset …
    bool broken_reported = false;                           // … and an operation has said so.
    std::shared_ptr<SimClient> client;
    std::string unsent;  // A client's bytes from before its connection.
};

/// Whether the operation refers to the open description of its descriptor while in flight.
bool uses_descriptor(unsigned opcode);
/// Whether the operation can wait for long, so that a cancel always reaches it.
bool waits(unsigned opcode);
/// Whether the rest of the chain is cancelled after this result, of an operation that asked for so many bytes.
bool breaks_chain(const io_uring_sqe& sqe, std::size_t asked, int result);

inline bool may_read(std::uint64_t flags) { return (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY; }
inline bool may_write(std::uint64_t flags) { return (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDONLY; }

}  // namespace umbel::rt
