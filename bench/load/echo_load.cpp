// echo_load.cpp: 64 clients of an echo server on one CPU, each waiting for its answer before it asks again.
//
// Why.    The server under test shall be the bottleneck. So a request costs this program one SQE (a send whose
//         success posts no CQE) and one CQE (a multishot receive), sends of one turn go to the kernel together,
//         and nothing is copied to make or to check a message.
// Shape.  A pattern of random bytes. Message number n of a connection is a slice of it that starts elsewhere for
//         each n, sent from where it lies and compared with where it lies: a byte lost, repeated, changed or given
//         to another connection is seen. Time is read once a turn: a latency runs from before the enter that sent
//         the message to after the enter that brought its last byte.
//         Latencies go into 16 buckets for each power of two: at most 6 % apart.
// Output. One JSON object: requests answered within `seconds`, percentiles, and errors (connections that failed,
//         were closed early or answered wrongly). Exit 1 if there were errors, 64 usage, 71 system refused.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <ctime>
#include <random>
#include <string_view>
#include <vector>

#include "bench/peers/raw_ring.h"

namespace umbel::bench {
namespace {

struct Options {
    std::uint16_t port = 0;
    unsigned connections = 64;
    unsigned size = 64;
    double seconds = 2;
};

struct Connection {
    int socket = -1;
    std::uint32_t sequence = 0;  // Which slice of the pattern is under way.
    unsigned received = 0;       // Bytes of it that came back.
    std::int64_t sent_at = 0;
};

enum class Step : std::uint64_t { receive, send };

constexpr std::uint64_t tag(Step step, unsigned connection) {
    return (static_cast<std::uint64_t>(step) << 32) | connection;
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

class Load {
public:
    explicit Load(const Options& options)
        : options_(options), connections_(options.connections), pattern_(slices + options.size) {
        std::mt19937 random(20'250'101);
        for (char& byte : pattern_) byte = static_cast<char>(random());
    }

    int run() {
        for (unsigned index = 0; index < options_.connections; ++index) connect_one(index);
        for (unsigned index = 0; index < options_.connections; ++index) {
            arm_receive(index);
            send_rest(index, 0);
        }
        const std::int64_t start = now_ns();
        const std::int64_t stop = start + static_cast<std::int64_t>(options_.seconds * 1e9);
        // A server that stops answering would keep us for ever: answers may be late by this much.
        const std::int64_t give_up = stop + 5'000'000'000;
        turn_began_ = start;
        for (Connection& connection : connections_) connection.sent_at = start;
        while (waiting_ > 0) {
            submit_and_wait();
            turn_began_ = now_ns();
            stopping_ = turn_began_ >= stop;
            if (turn_began_ >= give_up) {
                errors_ += waiting_;
                break;
            }
            reap();
        }
        const double seconds = static_cast<double>(std::min(turn_began_, stop) - start) / 1e9;
        std::printf(
            "{\"name\":\"echo_load\",\"connections\":%u,\"size\":%u,\"requests\":%llu,\"seconds\":%.6f,"
            "\"requests_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"errors\":%llu}\n",
            options_.connections, options_.size, static_cast<unsigned long long>(requests_), seconds,
            seconds > 0 ? static_cast<double>(requests_) / seconds : 0, latencies_.quantile_us(0.5),
            latencies_.quantile_us(0.99), static_cast<unsigned long long>(errors_));
        return errors_ == 0 ? 0 : 1;
    }

private:
    static constexpr std::size_t slices = 65'536;

    [[nodiscard]] const char* message(unsigned index) const {
        // Neighbouring messages and connections start at unrelated places.
        return pattern_.data() + (index * 7'919U + connections_[index].sequence * 104'729U) % slices;
    }

    void connect_one(unsigned index) {
        const int socket_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (socket_fd < 0) refused("socket", errno);
        const int on = 1;
        setsockopt(socket_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(options_.port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            refused("connect to the server", errno);
        connections_[index].socket = socket_fd;
        ++waiting_;
    }

    void arm_receive(unsigned index) {
        io_uring_sqe* const sqe = ring_.sqe();
        io_uring_prep_recv_multishot(sqe, connections_[index].socket, nullptr, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = 0;
        sqe->user_data = tag(Step::receive, index);
    }

    void send_rest(unsigned index, unsigned already) {
        io_uring_sqe* const sqe = ring_.sqe();
        // The pattern never changes, so nobody needs to know when the kernel has read it: only failures report.
        io_uring_prep_send(sqe, connections_[index].socket, message(index) + already, options_.size - already,
                           MSG_NOSIGNAL | MSG_WAITALL);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        sqe->user_data = tag(Step::send, index);
    }

    void submit_and_wait() {
        io_uring_cqe* cqe = nullptr;
        __kernel_timespec patience{1, 0};
        const int error = io_uring_submit_and_wait_timeout(ring_.get(), &cqe, 1, &patience, nullptr);
        if (error < 0 && error != -ETIME && error != -EINTR) refused("io_uring_enter", -error);
    }

    void reap() {
        unsigned head = 0;
        unsigned count = 0;
        io_uring_cqe* cqe = nullptr;
        io_uring_for_each_cqe(ring_.get(), head, cqe) {
            ++count;
            const auto index = static_cast<unsigned>(cqe->user_data);
            if (cqe->user_data >> 32 == static_cast<std::uint64_t>(Step::send))
                fail(index);
            else
                received(index, *cqe);
        }
        io_uring_cq_advance(ring_.get(), count);
        buffers_.publish();
    }

    void received(unsigned index, const io_uring_cqe& cqe) {
        Connection& connection = connections_[index];
        if (cqe.res > 0) {
            const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
            const auto length = static_cast<unsigned>(cqe.res);
            const bool right = length <= options_.size - connection.received &&
                               std::memcmp(buffers_.data(id), message(index) + connection.received, length) == 0;
            buffers_.offer(id);
            if (connection.socket < 0) return;
            if (!right) return fail(index);
            connection.received += length;
            if (connection.received == options_.size) answered(index);
        } else if (cqe.res != -ENOBUFS) {
            return fail(index);
        }
        if ((cqe.flags & IORING_CQE_F_MORE) == 0 && connection.socket >= 0) arm_receive(index);
    }

    void answered(unsigned index) {
        Connection& connection = connections_[index];
        if (stopping_) {
            close_one(index);
            return;
        }
        ++requests_;
        latencies_.add(turn_began_ - connection.sent_at);
        ++connection.sequence;
        connection.received = 0;
        connection.sent_at = turn_began_;
        send_rest(index, 0);
    }

    void fail(unsigned index) {
        if (connections_[index].socket < 0) return;
        ++errors_;
        close_one(index);
    }

    void close_one(unsigned index) {
        shutdown(connections_[index].socket, SHUT_RDWR);
        connections_[index].socket = -1;  // The descriptor itself goes with the process.
        --waiting_;
    }

    Options options_;
    RawRing ring_{1024, 8192};
    BufferRing buffers_{ring_, 0, 1024, 4096};
    std::vector<Connection> connections_;
    std::vector<char> pattern_;
    Histogram latencies_;
    std::int64_t turn_began_ = 0;
    unsigned waiting_ = 0;  // Connections that wait for an answer.
    bool stopping_ = false;
    std::uint64_t requests_ = 0;
    std::uint64_t errors_ = 0;
};

template <class Number>
bool parse(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} && end == text.data() + text.size();
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
        if (name == "--connections")
            good = parse(value, options.connections) && options.connections >= 1 && options.connections <= 4096;
        else if (name == "--size")
            good = parse(value, options.size) && options.size >= 1 && options.size <= 1U << 20;
        else if (name == "--seconds")
            good = parse(value, options.seconds) && options.seconds > 0 && options.seconds <= 3600;
        else
            good = false;
    }
    if (!good) {
        std::fprintf(stderr,
                     "usage: %s PORT [--connections 1…4096] [--size BYTES, at most 1 MiB] [--seconds SECONDS]\n",
                     argv[0]);
        return 64;
    }
    return Load(options).run();
}
