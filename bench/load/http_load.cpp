// http_load.cpp: clients of an HTTP server on one CPU: busy ones, idle ones, and ones that never finish a request.
//
// Why.    wrk measures busy connections only. What a server is asked here: what does it cost to have ten thousand
//         connections, and does anybody notice the thousands that do nothing, or send a byte a second?
// Shape.  One epoll. A busy connection asks, reads the whole answer (its length must be what Content-Length says, its
//         status 200), and asks again. An idle one asks once and stays. A slow one sends a request's head byte by byte, one
//         a second, and comes back when the server has had enough of it. Time is read once a turn: a latency runs from
//         before the call that sent the request to after the wait that brought the answer's last byte.
//         Buckets of latencies are at most 6 % apart.
// Output. One JSON object when all connections stand ("up"), and, with busy ones, one when the seconds are over; without
//         busy ones it holds the others until its standard input ends. Exit 1 if there were errors (an answer that was
//         wrong or missing, a connection refused or closed early, an idle one gone), 64 usage, 71 system refused.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

namespace umbel::bench {
namespace {

struct Options {
    std::uint16_t port = 0;
    std::string path = "/";
    unsigned busy = 0;
    unsigned idle = 0;
    unsigned slow = 0;
    double seconds = 2;
};

[[noreturn]] void refused(const char* what, int error) {
    std::fprintf(stderr, "%s: %s\n", what, std::strerror(error));
    std::exit(71);
}

std::int64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

class Histogram {
public:
    void add(std::int64_t nanoseconds) {
        ++counts_[index_of(static_cast<std::uint64_t>(std::max<std::int64_t>(nanoseconds, 0)))];
        ++total_;
    }
    /// The middle of the bucket that holds the quantile; microseconds. 0 if nothing was added.
    [[nodiscard]] double quantile_us(double quantile) const {
        const auto wanted = static_cast<std::uint64_t>(quantile * static_cast<double>(total_));
        std::uint64_t seen = 0;
        for (std::size_t index = 0; index < counts_.size(); ++index) {
            seen += counts_[index];
            if (seen > wanted) return (lowest(index) + lowest(index + 1)) / 2 / 1000;
        }
        return 0;
    }

private:
    static constexpr unsigned sub_bits = 4;
    static std::size_t index_of(std::uint64_t value) {
        if (value < (1U << sub_bits)) return value;
        const auto shift = static_cast<unsigned>(std::bit_width(value)) - 1 - sub_bits;
        return ((shift + 1) << sub_bits) + ((value >> shift) & ((1U << sub_bits) - 1));
    }
    static double lowest(std::size_t index) {
        if (index < (1U << sub_bits)) return static_cast<double>(index);
        const auto shift = (index >> sub_bits) - 1;
        const auto base = (std::uint64_t{1} << sub_bits) | (index & ((1U << sub_bits) - 1));
        return static_cast<double>(base) * static_cast<double>(std::uint64_t{1} << shift);
    }

    std::array<std::uint64_t, (65 - sub_bits) << sub_bits> counts_{};
    std::uint64_t total_ = 0;
};

enum class Kind : std::uint8_t { busy, idle, slow };
enum class Step : std::uint8_t { connecting, resting, head, body, over };

struct Connection {
    int socket = -1;
    Kind kind = Kind::busy;
    Step step = Step::connecting;
    std::string head;      // of the answer, as far as it has come; of a slow one unused
    std::size_t left = 0;  // bytes of the body still to come
    std::size_t told = 0;  // bytes of the request that a slow one has sent
    std::int64_t sent_at = 0;
};

class Load {
public:
    explicit Load(const Options& options)
        : options_(options),
          request_("GET " + options.path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"),
          slow_request_("GET " + options.path + " HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + std::string(4000, 'x')),
          connections_(options.busy + options.idle + options.slow),
          buffer_(64 << 10) {
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) refused("epoll_create1", errno);
        for (std::size_t i = 0; i < connections_.size(); ++i) {
            connections_[i].kind = i < options.busy                  ? Kind::busy
                                   : i < options.busy + options.idle ? Kind::idle
                                                                     : Kind::slow;
        }
    }

    int run() {
        bring_up();
        std::printf("{\"name\":\"http_load\",\"up\":%zu,\"errors\":%llu}\n", connections_.size(),
                    static_cast<unsigned long long>(errors_));
        std::fflush(stdout);
        if (options_.busy != 0) {
            press();
        } else {
            hold();
        }
        return errors_ == 0 ? 0 : 1;
    }

private:
    static constexpr std::size_t connecting_at_once = 128;

    // Connects all, has the idle ones ask once.
    void bring_up() {
        std::size_t next = 0;
        const std::int64_t give_up = now_ns() + 60'000'000'000;
        while (up_ < connections_.size()) {
            while (next < connections_.size() && next - up_ < connecting_at_once) connect_one(next++);
            turn(1000);
            if (now_ns() > give_up) {
                std::fprintf(stderr, "only %zu of %zu connections stand after a minute\n", up_, connections_.size());
                std::exit(1);
            }
        }
    }

    void press() {
        const std::int64_t start = turn_began_ = now_ns();
        const std::int64_t stop = start + static_cast<std::int64_t>(options_.seconds * 1e9);
        // A server that stops answering would keep us for ever: answers may be late by this much.
        const std::int64_t give_up = stop + 10'000'000'000;
        waiting_ = options_.busy;
        measuring_ = true;
        for (std::size_t i = 0; i < options_.busy; ++i) ask(connections_[i]);
        next_byte_ = start;
        while (waiting_ > 0) {
            turn(100);
            tell_slowly();
            stopping_ = turn_began_ >= stop;
            if (turn_began_ >= give_up) {
                errors_ += waiting_;
                break;
            }
        }
        const double seconds = static_cast<double>(std::min(turn_began_, stop) - start) / 1e9;
        std::printf(
            "{\"name\":\"http_load\",\"busy\":%u,\"idle\":%u,\"slow\":%u,\"requests\":%llu,\"seconds\":%.6f,"
            "\"requests_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"came_back\":%llu,\"errors\":%llu}\n",
            options_.busy, options_.idle, options_.slow, static_cast<unsigned long long>(requests_), seconds,
            seconds > 0 ? static_cast<double>(requests_) / seconds : 0, latencies_.quantile_us(0.5),
            latencies_.quantile_us(0.99), static_cast<unsigned long long>(came_back_),
            static_cast<unsigned long long>(errors_));
    }

    void hold() {
        epoll_event input{};
        input.events = EPOLLIN;
        input.data.u64 = UINT64_MAX;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0) refused("standard input", errno);
        next_byte_ = now_ns();
        while (!stopping_) {
            turn(options_.slow != 0 ? 10 : 1000);
            tell_slowly();
        }
    }

    // Every slow one tells a byte a second, in turn.
    void tell_slowly() {
        if (options_.slow == 0) return;
        const std::int64_t gap = 1'000'000'000 / options_.slow;
        const std::size_t first = options_.busy + options_.idle;
        while (next_byte_ <= turn_began_) {
            next_byte_ += gap;
            const std::size_t i = first + next_slow_++ % options_.slow;
            Connection& connection = connections_[i];
            if (connection.step != Step::resting) continue;
            const char byte = slow_request_[connection.told++ % slow_request_.size()];
            if (send(connection.socket, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) come_back(i);
        }
    }

    void come_back(std::size_t i) {
        ++came_back_;
        close(connections_[i].socket);
        connect_one(i);
    }

    void turn(int timeout_ms) {
        std::array<epoll_event, 512> events;
        const int count = epoll_wait(epoll_, events.data(), events.size(), timeout_ms);
        if (count < 0 && errno != EINTR) refused("epoll_wait", errno);
        turn_began_ = now_ns();
        for (int n = 0; n < count; ++n) {
            const std::uint64_t which = events[static_cast<std::size_t>(n)].data.u64;
            if (which == UINT64_MAX) {
                std::array<char, 64> ignored;
                if (read(STDIN_FILENO, ignored.data(), ignored.size()) <= 0) stopping_ = true;
                continue;
            }
            happened(static_cast<std::size_t>(which), events[static_cast<std::size_t>(n)].events);
        }
    }

    void connect_one(std::size_t i) {
        Connection& connection = connections_[i];
        connection.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connection.socket < 0) refused("socket", errno);
        const int on = 1;
        setsockopt(connection.socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(options_.port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connection.step = Step::connecting;
        connection.told = 0;
        if (connect(connection.socket, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
            errno != EINPROGRESS) {
            refused("connect to the server", errno);
        }
        watch(i, EPOLLOUT, EPOLL_CTL_ADD);
    }

    void watch(std::size_t i, std::uint32_t what, int how) {
        epoll_event event{};
        event.events = what;
        event.data.u64 = i;
        if (epoll_ctl(epoll_, how, connections_[i].socket, &event) != 0) refused("epoll_ctl", errno);
    }

    void happened(std::size_t i, std::uint32_t events) {
        Connection& connection = connections_[i];
        if (connection.step == Step::over) return;
        if (connection.step == Step::connecting) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(connection.socket, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error != 0) return fail(i, std::strerror(error));
            watch(i, EPOLLIN, EPOLL_CTL_MOD);
            connection.step = Step::resting;
            if (connection.kind == Kind::idle) return ask(connection);
            ++up_;
            return;
        }
        if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
        const ssize_t got = recv(connection.socket, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) return;
        if (connection.kind == Kind::slow) {
            // Whatever it says, it will not be our friend again; what it says is read to its end.
            if (got <= 0) come_back(i);
            return;
        }
        if (got <= 0) return fail(i, got == 0 ? "closed by the server" : std::strerror(errno));
        arrived(i, {buffer_.data(), static_cast<std::size_t>(got)});
    }

    void arrived(std::size_t i, std::string_view bytes) {
        Connection& connection = connections_[i];
        if (connection.step == Step::resting) return fail(i, "bytes that nobody asked for");
        if (connection.step == Step::head) {
            const std::size_t before = connection.head.size();
            connection.head.append(bytes);
            const std::size_t end = connection.head.find("\r\n\r\n");
            if (end == std::string::npos) return;
            bytes.remove_prefix(end + 4 - before);
            const std::string_view head = std::string_view(connection.head).substr(0, end + 2);
            if (!head.starts_with("HTTP/1.1 200")) return fail(i, "an answer that is no 200");
            constexpr std::string_view name = "\r\nContent-Length: ";
            const std::size_t found = head.find(name);
            if (found == std::string_view::npos) return fail(i, "no Content-Length");
            connection.left = std::strtoull(head.data() + found + name.size(), nullptr, 10);
            connection.step = Step::body;
        }
        if (bytes.size() > connection.left) return fail(i, "more bytes than the answer has");
        connection.left -= bytes.size();
        if (connection.left == 0) answered(i);
    }

    void answered(std::size_t i) {
        Connection& connection = connections_[i];
        connection.step = Step::resting;
        if (connection.kind == Kind::idle) {
            ++up_;
            return;
        }
        if (stopping_) {
            --waiting_;
            return;
        }
        ++requests_;
        latencies_.add(turn_began_ - connection.sent_at);
        ask(connection);
    }

    void ask(Connection& connection) {
        connection.head.clear();
        connection.step = Step::head;
        connection.sent_at = turn_began_;
        if (send(connection.socket, request_.data(), request_.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(request_.size())) {
            fail(static_cast<std::size_t>(&connection - connections_.data()), std::strerror(errno));
        }
    }

    void fail(std::size_t i, const char* why) {
        Connection& connection = connections_[i];
        ++errors_;
        if (errors_ <= 3) std::fprintf(stderr, "a connection has failed: %s\n", why);
        close(connection.socket);
        if (connection.step == Step::connecting ||
            (connection.kind == Kind::idle && connection.step != Step::resting)) {
            ++up_;  // It will not be waited for.
        }
        if (connection.kind == Kind::busy && measuring_) --waiting_;
        connection.step = Step::over;
    }

    Options options_;
    std::string request_;
    std::string slow_request_;
    std::vector<Connection> connections_;
    std::vector<char> buffer_;
    Histogram latencies_;
    int epoll_ = -1;
    std::int64_t turn_began_ = 0;
    std::int64_t next_byte_ = 0;
    std::size_t next_slow_ = 0;
    std::size_t up_ = 0;
    std::size_t waiting_ = 0;  // Busy ones that wait for an answer.
    bool measuring_ = false;
    bool stopping_ = false;
    std::uint64_t requests_ = 0;
    std::uint64_t came_back_ = 0;
    std::uint64_t errors_ = 0;
};

template <class Number>
bool parse(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
}

// As many descriptors as we may have.
void raise_descriptors(std::size_t wanted) {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted + 16) {
        std::fprintf(stderr, "%zu connections want as many descriptors, and RLIMIT_NOFILE allows %llu\n", wanted,
                     static_cast<unsigned long long>(limit.rlim_cur));
        std::exit(71);
    }
}

}  // namespace
}  // namespace umbel::bench

int main(int argc, char** argv) {
    using namespace umbel::bench;
    Options options;
    bool good = argc >= 2 && argc % 2 == 0 && parse(argv[1], options.port) && options.port != 0;
    for (int index = 2; good && index + 1 < argc; index += 2) {
        const std::string_view name = argv[index];
        const std::string_view value = argv[index + 1];
        if (name == "--path") {
            options.path = value;
            good = value.starts_with('/');
        } else if (name == "--busy") {
            good = parse(value, options.busy) && options.busy <= 50'000;
        } else if (name == "--idle") {
            good = parse(value, options.idle) && options.idle <= 50'000;
        } else if (name == "--slow") {
            good = parse(value, options.slow) && options.slow <= 50'000;
        } else if (name == "--seconds") {
            good = parse(value, options.seconds) && options.seconds > 0 && options.seconds <= 3600;
        } else {
            good = false;
        }
    }
    if (!good || options.busy + options.idle + options.slow == 0) {
        std::fprintf(stderr, "usage: %s PORT [--path /PATH] [--busy N] [--idle N] [--slow N] [--seconds SECONDS]\n",
                     argv[0]);
        return 64;
    }
    raise_descriptors(options.busy + options.idle + options.slow);
    return Load(options).run();
}
