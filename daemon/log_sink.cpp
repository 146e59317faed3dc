#include "daemon/log_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <system_error>

#include "runtime/base/check.h"

namespace umbel::daemon {

namespace {

std::string error_text(int error) { return std::system_category().message(error); }

}  // namespace

// ---- Patience ------------------------------------------------------------------------------------------------------------

Patience::Patience()
    : interrupt_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), deadline_ns_(std::numeric_limits<std::int64_t>::max()) {
    CHECK(interrupt_ >= 0);
}

Patience::~Patience() { ::close(interrupt_); }

void Patience::end_by(std::chrono::steady_clock::time_point deadline) {
    // relaxed: the write to the descriptor is seen after it.
    deadline_ns_.store(std::chrono::nanoseconds(deadline.time_since_epoch()).count(), std::memory_order_relaxed);
    const std::uint64_t one = 1;
    static_cast<void>(::write(interrupt_, &one, sizeof one));
}

bool Patience::wait(int fd) {
    constexpr std::int64_t short_while = 100'000'000;
    const std::int64_t deadline = deadline_ns_.load(std::memory_order_relaxed);
    const std::int64_t now = std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
    if (now >= deadline) return false;
    // Once a deadline is known, being told of it again is of no interest.
    std::array<pollfd, 2> watched{{{fd, POLLOUT, 0}, {interrupt_, POLLIN, 0}}};
    const nfds_t count = deadline == std::numeric_limits<std::int64_t>::max() ? 2 : 1;
    const std::int64_t most = std::min(short_while, deadline - now);
    const timespec time{0, static_cast<long>(most)};
    static_cast<void>(::ppoll(watched.data(), count, &time, nullptr));
    return true;
}

// ---- DescriptorSink --------------------------------------------------------------------------------------------------

rt::Result<std::unique_ptr<LogSink>> DescriptorSink::standard(int fd, config::LogFormat format, Patience& patience) {
    constexpr std::size_t any_size = flush_at;
    struct stat status{};
    if (::fstat(fd, &status) != 0) {
        return rt::fail(rt::ErrorClass::configuration,
                        "log.sink: " + std::string(fd == 1 ? "stdout" : "stderr") + " is closed: " + error_text(errno) +
                            "; start umbeld with it open, or set log.sink to another place");
    }
    const bool may_block = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
    int own = -1;
    if (may_block) {
        const std::string path = "/proc/self/fd/" + std::to_string(fd);
        own = ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    }
    const std::size_t pieces = may_block && own < 0 ? 4096 : any_size;
    if (own < 0) own = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0) return rt::fail(rt::ErrorClass::system, "log.sink: no descriptor is left: " + error_text(errno));
    return std::make_unique<DescriptorSink>(own, S_ISSOCK(status.st_mode), pieces, format, patience);
}

rt::Result<std::unique_ptr<LogSink>> DescriptorSink::file(const std::string& path, config::LogFormat format,
                                                          Patience& patience) {
    // Non-blocking: it may be a fifo without a reader.
    const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    if (fd < 0) return rt::fail(rt::ErrorClass::configuration, error_text(errno));
    return std::make_unique<DescriptorSink>(fd, false, flush_at, format, patience);
}

DescriptorSink::~DescriptorSink() { ::close(fd_); }

void DescriptorSink::add(const LineView& line) {
    if (format_ == config::LogFormat::json) {
        append_json(buffer_, line);
    } else {
        append_text(buffer_, line);
    }
    buffer_ += '\n';
    if (buffer_.size() >= flush_at) flush();
}

void DescriptorSink::flush() {
    std::size_t done = 0;
    int error = 0;
    while (done < buffer_.size()) {
        const char* const from = buffer_.data() + done;
        const std::size_t size = std::min(pieces_, buffer_.size() - done);
        // A pipe whose non-blocking mode is not ours is asked before each piece.
        if (pieces_ != flush_at) {
            pollfd room{fd_, POLLOUT, 0};
            if (::poll(&room, 1, 0) == 0) {
                if (patience_.wait(fd_)) continue;
                error = ETIMEDOUT;
                break;
            }
        }
        const ssize_t written =
            is_socket_ ? ::send(fd_, from, size, MSG_DONTWAIT | MSG_NOSIGNAL) : ::write(fd_, from, size);
        if (written > 0) {
            done += static_cast<std::size_t>(written);
        } else if (written < 0 && errno == EINTR) {
            continue;
        } else if (written < 0 && errno != EAGAIN) {
            error = errno;
            break;
        } else if (!patience_.wait(fd_)) {
            error = ETIMEDOUT;
            break;
        }
    }
    // I1: what is left of a line that was begun is kept, and goes first next time.
    const bool in_a_line = done < buffer_.size() && (done > 0 ? buffer_[done - 1] != '\n' : begun_);
    const std::size_t kept = in_a_line ? buffer_.find('\n', done) + 1 - done : 0;
    if (done < buffer_.size()) {
        const auto lost = std::count(buffer_.begin() + static_cast<std::ptrdiff_t>(done + kept), buffer_.end(), '\n');
        lose(static_cast<std::uint64_t>(lost), error == ETIMEDOUT ? "nobody takes it" : error_text(error));
    }
    buffer_ = buffer_.substr(done, kept);
    begun_ = in_a_line;
}

// ---- JournalSink -----------------------------------------------------------------------------------------------------

rt::Result<std::unique_ptr<LogSink>> JournalSink::open(const std::string& path, Patience& patience) {
    std::unique_ptr<JournalSink> sink(new JournalSink(path, patience));
    if (!sink->connect()) {
        return rt::fail(rt::ErrorClass::configuration,
                        "log.sink: the journal does not answer at " + path + ": " + error_text(errno) +
                            "; start systemd-journald, or set log.sink to another place");
    }
    return sink;
}

JournalSink::~JournalSink() {
    if (fd_ >= 0) ::close(fd_);
}

bool JournalSink::connect() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0) return false;
    // As sd_journal_sendv does: room for bursts. Less is no reason to fail.
    const int room = 8 << 20;
    if (::setsockopt(fd_, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room) != 0) {
        static_cast<void>(::setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &room, sizeof room));
    }
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof address.sun_path - 1);
    return ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

void JournalSink::add(const LineView& line) {
    datagram_.clear();
    append_journal(datagram_, line);
    bool connected_anew = false;
    for (;;) {
        if (::send(fd_, datagram_.data(), datagram_.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return;
        const int error = errno;
        if (error == EINTR) continue;
        if (error == EAGAIN) {
            if (patience_.wait(fd_)) continue;
            return lose(1, "journald does not take it");
        }
        // journald was started anew, perhaps.
        if (!connected_anew &&
            (error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET || error == EPIPE || error == EBADF)) {
            connected_anew = true;
            if (connect()) continue;
        }
        return lose(1, error_text(error));
    }
}

void complain(const std::string& text) {
    pollfd room{STDERR_FILENO, POLLOUT, 0};
    if (::poll(&room, 1, 0) <= 0 || (room.revents & POLLOUT) == 0) return;
    const std::string line = "umbeld: " + text + "\n";
    static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()));
}

std::string resolved_sink(const std::string& sink) {
    if (sink != "auto") return sink;
    const char* stream = std::getenv("JOURNAL_STREAM");  // "DEVICE:INODE" of what systemd has connected
    struct stat status{};
    if (stream != nullptr && ::fstat(1, &status) == 0 &&
        stream == std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino)) {
        return "journal";
    }
    return "stdout";
}

}  // namespace umbel::daemon
