// echo_uring.cpp: the peer that Umbel's echo is measured against: liburing, one ring, one thread, no runtime.
//
// Why.    What an echo server on this machine can do if nothing stands between it and the kernel. It must be as
//         good as we can make it; docs/benchmarks.md lists what was tried.
// Shape.  One multishot accept; for each connection one multishot receive out of a shared ring of provided
//         buffers; a chunk is sent back from the buffer it arrived in, and the buffer is offered again when the
//         send has completed. One enter a turn submits the sends of that turn and waits for the next completions.
//         Chunks of one connection that arrive while a send is under way wait in a list threaded through
//         next_chunk_: at most one send a connection, or a full socket buffer would reorder its bytes.
// Owner.  The one thread.
//
// Invariants
//   I1  a buffer is the kernel's, or on exactly one connection's list
//   I2  a socket is closed when its receive has ended, no send is under way and its list is empty
//
// Not here.  Fallbacks: Linux 6.1 or newer, and it says so.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "bench/peers/echo_options.h"
#include "bench/peers/raw_ring.h"

namespace umbel::bench {
namespace {

enum class Step : std::uint64_t { accept, receive, send };

constexpr std::uint64_t tag(Step step, int socket) {
    return (static_cast<std::uint64_t>(step) << 32) | static_cast<unsigned>(socket);
}

struct Connection {
    int first = -1;  // Chunks to be sent back, oldest first; the first one is under way if `sending`.
    int last = -1;
    unsigned sent = 0;  // Bytes of the first chunk that are gone.
    bool sending = false;
    bool receiving = false;  // The multishot receive has not ended.
};

class Server {
public:
    Server(int listener, std::size_t buffer_size) : listener_(listener), buffers_(ring_, 0, buffer_count, buffer_size) {
        arm_accept();
    }

    [[noreturn]] void run() {
        for (;;) {
            if (const int error = io_uring_submit_and_wait(ring_.get(), 1); error < 0 && error != -EINTR)
                refused("io_uring_enter", -error);
            unsigned head = 0;
            unsigned count = 0;
            io_uring_cqe* cqe = nullptr;
            io_uring_for_each_cqe(ring_.get(), head, cqe) {
                ++count;
                completed(*cqe);
            }
            io_uring_cq_advance(ring_.get(), count);
            if (buffers_.publish() && !starved_.empty()) {
                for (const int socket : starved_) arm_receive(socket);
                starved_.clear();
            }
        }
    }

private:
    static constexpr unsigned buffer_count = 1024;

    [[nodiscard]] Connection& of(int socket) { return connections_[static_cast<std::size_t>(socket)]; }

    void arm_accept() {
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_multishot_accept(sqe, listener_, nullptr, nullptr, SOCK_CLOEXEC);
        sqe->user_data = tag(Step::accept, listener_);
    }

    void arm_receive(int socket) {
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_recv_multishot(sqe, socket, nullptr, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
        sqe->user_data = tag(Step::receive, socket);
        of(socket).receiving = true;
    }

    void send_first(int socket) {
        Connection& connection = of(socket);
        const auto id = static_cast<std::uint16_t>(connection.first);
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_send(sqe, socket, buffers_.data(id) + connection.sent, length_[id] - connection.sent,
                           MSG_NOSIGNAL | MSG_WAITALL);
        sqe->user_data = tag(Step::send, socket);
        connection.sending = true;
    }

    void completed(const io_uring_cqe& cqe) {
        const auto socket = static_cast<int>(static_cast<unsigned>(cqe.user_data));
        switch (static_cast<Step>(cqe.user_data >> 32)) {
            case Step::accept:
                return accepted(cqe);
            case Step::receive:
                return received(socket, cqe);
            case Step::send:
                return sent(socket, cqe.res);
        }
    }

    void accepted(const io_uring_cqe& cqe) {
        if (cqe.res >= 0) {
            if (connections_.size() <= static_cast<std::size_t>(cqe.res))
                connections_.resize(static_cast<std::size_t>(cqe.res) + 1);
            of(cqe.res) = Connection{};
            arm_receive(cqe.res);
        }
        if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_accept();
    }

    void received(int socket, const io_uring_cqe& cqe) {
        Connection& connection = of(socket);
        if ((cqe.flags & IORING_CQE_F_MORE) == 0) connection.receiving = false;
        if (cqe.res > 0) {
            const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
            length_[id] = static_cast<unsigned>(cqe.res);
            next_chunk_[id] = -1;
            (connection.last >= 0 ? next_chunk_[connection.last] : connection.first) = id;
            connection.last = id;
            if (!connection.sending) send_first(socket);
            if (!connection.receiving) arm_receive(socket);
        } else if (cqe.res == -ENOBUFS) {
            starved_.push_back(socket);
            connection.receiving = true;  // It will be: as soon as a buffer comes back.
        } else {
            close_if_done(socket);
        }
    }

    void sent(int socket, int result) {
        Connection& connection = of(socket);
        connection.sending = false;
        if (result < 0) {
            while (connection.first >= 0) drop_first(connection);
            shutdown(socket, SHUT_RDWR);  // Ends the receive.
            return close_if_done(socket);
        }
        connection.sent += static_cast<unsigned>(result);
        if (connection.sent == length_[connection.first]) drop_first(connection);
        if (connection.first >= 0)
            send_first(socket);
        else
            close_if_done(socket);
    }

    void drop_first(Connection& connection) {
        const int id = connection.first;
        connection.first = next_chunk_[id];
        if (connection.first < 0) connection.last = -1;
        connection.sent = 0;
        buffers_.offer(static_cast<std::uint16_t>(id));  // I1
    }

    void close_if_done(int socket) {
        const Connection& connection = of(socket);
        if (!connection.receiving && !connection.sending && connection.first < 0) close(socket);  // I2
    }

    int listener_;
    RawRing ring_{1024, 8192};
    BufferRing buffers_;
    std::vector<Connection> connections_;  // By socket.
    std::vector<int> starved_;             // Sockets whose receive ended because there was no buffer.
    int next_chunk_[buffer_count] = {};    // By buffer.
    unsigned length_[buffer_count] = {};   // By buffer.
};

}  // namespace
}  // namespace umbel::bench

int main(int argc, char** argv) {
    const auto options = umbel::bench::echo_options(argc, argv);
    umbel::bench::Server(umbel::bench::echo_listener(options.port), options.buffer_size).run();
}
