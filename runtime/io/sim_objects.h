// sim_objects.h: what the simulated kernel keeps: operations, open descriptions, files. Private to sim_world.cpp and
// sim_objects.cpp.
//
// Why.    The two files of SimWorld share its records; nobody else sees them.
// Shape.  Records refer to each other by id, never by address (W4).
// Owner.  Their SimWorld.
#pragma once

#include <linux/openat2.h>
#include <sys/socket.h>

#include "runtime/io/sim_world.h"

namespace umbel::rt {

struct SimWorld::Inode {
    std::uint64_t number = 0;
    std::string bytes;
    Nanoseconds changed{};
};

struct SimWorld::Operation {
    explicit Operation(const io_uring_sqe& consumed) : entry(new io_uring_sqe(consumed)), sqe(*entry) {}

    // Beside the record: the kernel's header ends it in an array of no size, which ISO C++ allows in no other struct.
    const std::unique_ptr<const io_uring_sqe> entry;
    const io_uring_sqe& sqe;
    OperationId id = 0;
    SimRing* ring = nullptr;
    std::string path;               // Or a socket's address: what the entry pointed to, copied.
    open_how how{};                 // OPENAT2.
    Nanoseconds time{};             // TIMEOUT, LINK_TIMEOUT.
    int error = 0;                  // The entry is bad.
    bool multishot = false;         // May give several completions.
    bool scheduled = false;         // An attempt is on its way.
    std::size_t moved = 0;          // MSG_WAITALL: bytes so far.
    DescriptionId description = 0;  // Referred to while in flight, or 0.
    OperationId partner = 0;        // The deadline of an operation, the operation of a deadline.
    Chain rest;                     // What follows in the chain.
};

struct SimWorld::Description {
    enum class Kind : std::uint8_t { file, directory, socket, wake };
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

    // Socket.
    State state = State::fresh;
    int domain = 0;
    bool reuse_port = false;
    std::string local;
    std::string remote;
    std::deque<DescriptionId> backlog;
    unsigned backlog_limit = 0;
    DescriptionId peer = 0;
    std::string inbox;             // Arrived, not received.
    std::size_t travelling = 0;    // Sent by us, not arrived.
    std::size_t window = 0;        // How much may travel and lie in the peer's inbox.
    Nanoseconds last_arrival{};    // What is sent later arrives later.
    bool sent_end = false;         // We have finished sending.
    bool end = false;              // The peer's end has arrived.
    bool deaf = false;             // SHUT_RD.
    bool broken = false;           // Reset …
    bool broken_reported = false;  // … and an operation has said so.
    std::shared_ptr<SimClient> client;
    std::string unsent;  // A client's bytes from before its connection.
};

/// Whether the operation refers to the open description of its descriptor while in flight.
bool uses_descriptor(unsigned opcode);
/// Whether the operation can wait for long, so that a cancel always reaches it.
bool waits(unsigned opcode);
/// Whether the rest of the chain is cancelled after this result.
bool breaks_chain(const io_uring_sqe& sqe, int result);

}  // namespace umbel::rt
