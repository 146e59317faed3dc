// echo_epoll.cpp: an echo server as it was written before io_uring, for orientation beside echo_uring.
//
// Shape.  One level-triggered epoll; a readable socket is read once and what came is written back at once. What a
//         full socket buffer refuses is kept for that connection, and it is not read again until that is gone.
// Owner.  The one thread.
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "bench/peers/echo_options.h"

namespace umbel::bench {
namespace {

class Server {
public:
    Server(int listener, std::size_t buffer_size)
        : listener_(listener), epoll_(epoll_create1(EPOLL_CLOEXEC)), buffer_(buffer_size) {
        if (epoll_ < 0) give_up("epoll_create1");
        watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 256> events{};
        for (;;) {
            const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            if (count < 0 && errno != EINTR) give_up("epoll_wait");
            for (int index = 0; index < count; ++index) {
                const epoll_event& event = events[static_cast<std::size_t>(index)];
                if (event.data.fd == listener_)
                    accept_all();
                else if ((event.events & EPOLLOUT) != 0)
                    write_rest(event.data.fd);
                else
                    echo(event.data.fd);
            }
        }
    }

private:
    [[noreturn]] static void give_up(const char* what) {
        std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
        std::exit(71);
    }

    [[nodiscard]] std::vector<char>& rest(int socket) { return rest_[static_cast<std::size_t>(socket)]; }

    void watch(int change, int socket, std::uint32_t events) const {
        epoll_event event{};
        event.events = events;
        event.data.fd = socket;
        if (epoll_ctl(epoll_, change, socket, &event) != 0) give_up("epoll_ctl");
    }

    void accept_all() {
        for (;;) {
            const int socket = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (socket < 0) return;
            if (rest_.size() <= static_cast<std::size_t>(socket)) rest_.resize(static_cast<std::size_t>(socket) + 1);
            rest(socket).clear();
            watch(EPOLL_CTL_ADD, socket, EPOLLIN);
        }
    }

    void echo(int socket) {
        const ssize_t length = recv(socket, buffer_.data(), buffer_.size(), 0);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (length <= 0) {
            close(socket);
            return;
        }
        ssize_t sent = send(socket, buffer_.data(), static_cast<std::size_t>(length), MSG_NOSIGNAL);
        if (sent == length) return;
        if (sent < 0 && errno != EAGAIN) {
            close(socket);
            return;
        }
        sent = sent < 0 ? 0 : sent;
        rest(socket).assign(buffer_.data() + sent, buffer_.data() + length);
        watch(EPOLL_CTL_MOD, socket, EPOLLOUT);
    }

    void write_rest(int socket) {
        std::vector<char>& bytes = rest(socket);
        const ssize_t sent = send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) {
            close(socket);
            return;
        }
        bytes.erase(bytes.begin(), bytes.begin() + sent);
        if (bytes.empty()) watch(EPOLL_CTL_MOD, socket, EPOLLIN);
    }

    int listener_;
    int epoll_;
    std::vector<char> buffer_;
    std::vector<std::vector<char>> rest_;  // By socket: what is still to be written.
};

}  // namespace
}  // namespace umbel::bench

int main(int argc, char** argv) {
    const auto options = umbel::bench::echo_options(argc, argv);
    umbel::bench::Server(umbel::bench::echo_listener(options.port, SOCK_NONBLOCK), options.buffer_size).run();
}
