// send_paths.cpp: the ways in which a file can get into a socket, side by side, with nothing of Umbel around them.
//
// Why.    docs/decisions/ says how `http` sends bodies; these are the figures behind it.
// Shape.  Child: the server, on CPU 0: one io_uring, 64 connections; each request is answered with a head of 256 B and a
//         body, by one of the paths below. Parent: the clients, on CPU 1, each waiting for the whole answer before it
//         asks again. Paths take turns; the figure is bytes and answers for a second of the server's CPU time, its
//         workers included, which does not depend on how fast the clients are.
//
//           read_send   READ into a buffer of this connection, SEND from it
//           block       SENDMSG of head and body, the body in memory that all connections share
//           block_more  SEND of the head with MSG_MORE, linked to a SEND of the body from the shared memory
//           sendfile    SEND with MSG_MORE and then sendfile(2), not blocking; POLL when the socket is full
//           splice      SEND with MSG_MORE ‑ SPLICE file → pipe ‑ SPLICE pipe → socket, linked, 64 KiB to 1 MiB a pair
//           send_zc     SENDMSG_ZC of head and body, the body in shared memory
//
// Output. One JSON object for each path and round. Exit 1 if an answer was short, 64 usage, 71 system refused.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/peers/raw_ring.h"

namespace umbel::bench {
namespace {

constexpr unsigned connection_count = 64;
constexpr std::size_t head_bytes = 256;
constexpr std::size_t request_bytes = 64;
constexpr unsigned op_sendmsg_zc = 48;  // Newer than liburing 2.3.

enum class Path : std::uint8_t { read_send, block, block_more, sendfile, splice, send_zc };
constexpr std::array<std::string_view, 6> path_names{"read_send", "block",  "block_more",
                                                     "sendfile",  "splice", "send_zc"};

std::int64_t clock_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) refused("sched_setaffinity", errno);
}

class Server {
public:
    Server(Path path, std::size_t body, int file, const std::vector<int>& sockets)
        : path_(path), body_(body), file_(file), shared_(body, 'b'), connections_(sockets.size()) {
        if (pread(file, shared_.data(), body, 0) != static_cast<ssize_t>(body)) refused("pread", errno);
        head_.fill('h');
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            Connection& connection = connections_[i];
            connection.socket = sockets[i];
            if (path == Path::read_send) connection.buffer = std::make_unique<char[]>(std::min(body, block_bytes));
            if (path == Path::sendfile) {
                const int flags = fcntl(sockets[i], F_GETFL);
                fcntl(sockets[i], F_SETFL, flags | O_NONBLOCK);
            }
            if (path == Path::splice) {
                if (pipe2(connection.pipe.data(), O_CLOEXEC) != 0) refused("pipe2", errno);
                const int got =
                    fcntl(connection.pipe[1], F_SETPIPE_SZ, static_cast<int>(std::min(body * 2, block_bytes)));
                connection.pipe_bytes = got > 0 ? static_cast<std::size_t>(got) : 65536;
            }
            receive(i);
        }
    }

    // Until the clients have gone.
    void run() {
        unsigned open = static_cast<unsigned>(connections_.size());
        while (open > 0) {
            const int error = io_uring_submit_and_wait(ring_.get(), 1);
            if (error < 0 && error != -EINTR) refused("io_uring_enter", -error);
            unsigned head = 0;
            unsigned count = 0;
            io_uring_cqe* cqe = nullptr;
            io_uring_for_each_cqe(ring_.get(), head, cqe) {
                ++count;
                if (!completed(cqe->user_data & 0xffff, static_cast<unsigned>(cqe->user_data >> 16), *cqe)) --open;
            }
            io_uring_cq_advance(ring_.get(), count);
        }
    }

private:
    static constexpr std::size_t block_bytes = 256 << 10;

    struct Connection {
        int socket = -1;
        std::array<char, request_bytes> request{};
        std::size_t sent = 0;  // bytes of the body
        unsigned awaited = 0;  // CQEs of this answer still to come
        std::unique_ptr<char[]> buffer;
        std::array<int, 2> pipe{-1, -1};
        std::size_t pipe_bytes = 0;
        msghdr message{};
        std::array<iovec, 2> parts{};
    };
    enum Step : unsigned { receiving, sending_head, reading, sending, polling, filling, draining };

    static std::uint64_t tag(std::size_t index, Step step) { return index | std::uint64_t{step} << 16; }

    void receive(std::size_t i) {
        Connection& connection = connections_[i];
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_recv(sqe, connection.socket, connection.request.data(), request_bytes, MSG_WAITALL);
        sqe->user_data = tag(i, receiving);
        connection.sent = 0;
    }

    io_uring_sqe* send(std::size_t i, const void* bytes, std::size_t size, int flags, Step step) {
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_send(sqe, connections_[i].socket, bytes, size, flags | MSG_NOSIGNAL | MSG_WAITALL);
        sqe->user_data = tag(i, step);
        return sqe;
    }
    // A head that nobody waits for: only its failure is seen.
    void send_head(std::size_t i) {
        io_uring_sqe* const sqe = send(i, head_.data(), head_bytes, MSG_MORE, sending_head);
        sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    }
    void send_whole(std::size_t i, bool zero_copy) {
        Connection& connection = connections_[i];
        connection.parts = {iovec{head_.data(), head_bytes}, iovec{shared_.data(), body_}};
        connection.message.msg_iov = connection.parts.data();
        connection.message.msg_iovlen = 2;
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_sendmsg(sqe, connection.socket, &connection.message, MSG_NOSIGNAL | MSG_WAITALL);
        if (zero_copy) sqe->opcode = op_sendmsg_zc;
        sqe->user_data = tag(i, sending);
        connection.awaited = zero_copy ? 2 : 1;
    }
    void read_next(std::size_t i) {
        Connection& connection = connections_[i];
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_read(sqe, file_, connection.buffer.get(),
                           static_cast<unsigned>(std::min(block_bytes, body_ - connection.sent)), connection.sent);
        sqe->user_data = tag(i, reading);
    }
    void splice_next(std::size_t i) {
        Connection& connection = connections_[i];
        const auto size = static_cast<unsigned>(std::min(connection.pipe_bytes, body_ - connection.sent));
        io_uring_sqe* const fill = ring_.sqe();
        io_uring_prep_splice(fill, file_, static_cast<std::int64_t>(connection.sent), connection.pipe[1], -1, size, 0);
        fill->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
        fill->user_data = tag(i, filling);
        io_uring_sqe* const drain = ring_.sqe();
        const bool last = connection.sent + size == body_;
        io_uring_prep_splice(drain, connection.pipe[0], -1, connection.socket, -1, size, last ? 0 : SPLICE_F_MORE);
        drain->user_data = tag(i, draining);
    }
    // As far as the socket takes it. The whole is then received from again; else it is polled.
    void send_file(std::size_t i) {
        Connection& connection = connections_[i];
        while (connection.sent < body_) {
            auto offset = static_cast<off_t>(connection.sent);
            const ssize_t sent = ::sendfile(connection.socket, file_, &offset, body_ - connection.sent);
            if (sent > 0) {
                connection.sent += static_cast<std::size_t>(sent);
            } else if (sent < 0 && errno == EAGAIN) {
                io_uring_sqe* const sqe = ring_.sqe();
                io_uring_prep_poll_add(sqe, connection.socket, POLLOUT);
                sqe->user_data = tag(i, polling);
                return;
            } else {
                refused("sendfile", errno);
            }
        }
        receive(i);
    }

    // False: this connection has ended.
    bool completed(std::size_t i, unsigned step, const io_uring_cqe& cqe) {
        Connection& connection = connections_[i];
        switch (step) {
            case receiving:
                if (cqe.res != static_cast<int>(request_bytes)) return false;
                answer(i);
                break;
            case reading:
                if (cqe.res <= 0) refused("read", -cqe.res);
                connection.sent += static_cast<unsigned>(cqe.res);
                send(i, connection.buffer.get(), static_cast<unsigned>(cqe.res), connection.sent < body_ ? MSG_MORE : 0,
                     sending);
                connection.awaited = 1;
                break;
            case sending:
                if (cqe.res < 0) refused("send", -cqe.res);
                if (--connection.awaited != 0) break;
                if (path_ == Path::read_send && connection.sent < body_) {
                    read_next(i);
                } else {
                    receive(i);
                }
                break;
            case polling:
                send_file(i);
                break;
            case draining:
                if (cqe.res <= 0) refused("splice", -cqe.res);
                connection.sent += static_cast<unsigned>(cqe.res);
                if (connection.sent < body_) {
                    splice_next(i);
                } else {
                    receive(i);
                }
                break;
            default:
                refused("send of a head, or splice into a pipe", -cqe.res);
        }
        return true;
    }

    void answer(std::size_t i) {
        switch (path_) {
            case Path::read_send:
                send_head(i);
                read_next(i);
                break;
            case Path::block:
                send_whole(i, false);
                break;
            case Path::send_zc:
                send_whole(i, true);
                break;
            case Path::block_more:
                send_head(i);
                send(i, shared_.data(), body_, 0, sending);
                connections_[i].awaited = 1;
                break;
            case Path::sendfile:
                // At once: what the ring would do later, sendfile(2) could overtake.
                if (::send(connections_[i].socket, head_.data(), head_bytes, MSG_MORE | MSG_NOSIGNAL) !=
                    static_cast<ssize_t>(head_bytes)) {
                    refused("send", errno);
                }
                send_file(i);
                break;
            case Path::splice:
                send_head(i);
                splice_next(i);
                break;
        }
    }

    RawRing ring_{1024, 4096};
    Path path_;
    std::size_t body_;
    int file_;
    std::array<char, head_bytes> head_{};
    std::vector<char> shared_;
    std::vector<Connection> connections_;
};

struct Clients {
    std::vector<int> ours;
    std::vector<int> theirs;
};

// Loopback TCP, both ends.
Clients connect_all() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener, 256) != 0 ||
        getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        refused("listen", errno);
    }
    Clients clients;
    for (unsigned i = 0; i < connection_count; ++i) {
        const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) refused("connect", errno);
        const int server = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (server < 0) refused("accept", errno);
        const int on = 1;
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        clients.ours.push_back(client);
        clients.theirs.push_back(server);
    }
    close(listener);
    return clients;
}

// Asks on all connections for so long. Returns the answers.
std::uint64_t ask(const std::vector<int>& sockets, std::size_t body, double seconds) {
    std::vector<pollfd> waiting;
    std::vector<std::size_t> left(sockets.size(), 0);
    std::vector<char> bytes(256 << 10);
    const std::array<char, request_bytes> request{};
    for (const int socket : sockets) waiting.push_back({socket, POLLIN, 0});
    const auto begin = [&](std::size_t i) {
        left[i] = head_bytes + body;
        if (write(sockets[i], request.data(), request.size()) != static_cast<ssize_t>(request.size()))
            refused("write", errno);
    };
    const std::int64_t stop = clock_ns(CLOCK_MONOTONIC) + static_cast<std::int64_t>(seconds * 1e9);
    for (std::size_t i = 0; i < sockets.size(); ++i) begin(i);
    std::uint64_t answers = 0;
    std::size_t busy = sockets.size();
    while (busy > 0) {
        if (poll(waiting.data(), waiting.size(), 5000) <= 0) {
            std::fprintf(stderr, "no answer for 5 s\n");
            std::exit(1);
        }
        const bool over = clock_ns(CLOCK_MONOTONIC) >= stop;
        for (std::size_t i = 0; i < sockets.size(); ++i) {
            if ((waiting[i].revents & POLLIN) == 0 || left[i] == 0) continue;
            const ssize_t got = recv(sockets[i], bytes.data(), std::min(bytes.size(), left[i]), MSG_DONTWAIT);
            if (got <= 0) {
                std::fprintf(stderr, "an answer ended early\n");
                std::exit(1);
            }
            left[i] -= static_cast<std::size_t>(got);
            if (left[i] != 0) continue;
            ++answers;
            if (over) {
                --busy;
                waiting[i].events = 0;
            } else {
                begin(i);
            }
        }
    }
    return answers;
}

void measure(Path path, std::size_t body, int file, double seconds) {
    const Clients clients = connect_all();
    const pid_t server = fork();
    if (server < 0) refused("fork", errno);
    if (server == 0) {
        for (const int socket : clients.ours) close(socket);
        pin(0);
        Server(path, body, file, clients.theirs).run();
        _exit(0);
    }
    for (const int socket : clients.theirs) close(socket);
    clockid_t cpu_clock = 0;
    if (clock_getcpuclockid(server, &cpu_clock) != 0) refused("clock_getcpuclockid", errno);
    (void)ask(clients.ours, body, 0.2);
    const std::int64_t cpu_before = clock_ns(cpu_clock);
    const std::int64_t before = clock_ns(CLOCK_MONOTONIC);
    const std::uint64_t answers = ask(clients.ours, body, seconds);
    const double lasted = static_cast<double>(clock_ns(CLOCK_MONOTONIC) - before) / 1e9;
    const double cpu = static_cast<double>(clock_ns(cpu_clock) - cpu_before) / 1e9;
    for (const int socket : clients.ours) close(socket);
    int status = 0;
    waitpid(server, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) std::exit(71);
    const std::string name(path_names[static_cast<std::size_t>(path)]);
    std::printf(
        "{\"name\":\"send_paths\",\"path\":\"%s\",\"body\":%zu,\"answers_per_s\":%.0f,\"answers_per_cpu_s\":%.0f,"
        "\"server_cpu\":%.2f}\n",
        name.c_str(), body, static_cast<double>(answers) / lasted, static_cast<double>(answers) / cpu, cpu / lasted);
    std::fflush(stdout);
}

template <class Number>
bool parse(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace
}  // namespace umbel::bench

int main(int argc, char** argv) {
    using namespace umbel::bench;
    std::size_t body = 0;
    double seconds = 0;
    unsigned rounds = 0;
    if (argc != 4 || !parse(argv[1], body) || body < 1 || body > (64U << 20) || !parse(argv[2], seconds) ||
        seconds <= 0 || seconds > 60 || !parse(argv[3], rounds) || rounds < 1 || rounds > 100) {
        std::fprintf(stderr, "usage: %s BODY-BYTES (at most 64 MiB) SECONDS ROUNDS\n", argv[0]);
        return 64;
    }
    std::signal(SIGPIPE, SIG_IGN);
    std::array<char, 32> name{"/tmp/umbel-send-paths-XXXXXX"};
    const int file = mkostemp(name.data(), O_CLOEXEC);
    if (file < 0) refused("a temporary file", errno);
    unlink(name.data());
    const std::string content(body, 'b');
    if (write(file, content.data(), body) != static_cast<ssize_t>(body)) refused("write", errno);
    pin(1);
    for (unsigned round = 0; round < rounds; ++round) {
        for (std::size_t i = 0; i < path_names.size(); ++i) {
            // Now from the front, now from the back: none always goes first.
            const std::size_t which = round % 2 == 0 ? i : path_names.size() - 1 - i;
            measure(static_cast<Path>(which), body, file, seconds);
        }
    }
    return 0;
}
