// log_sink.h: the places log lines go to: a descriptor, a file, the journal.
//
// Why.    The log thread may wait for a slow reader, but the daemon must end all the same; a full disk and a reader that is
//         gone lose lines, which are counted, and never half a line. Docs: docs/decisions/013-log-sinks.md.
// Shape.  add() spells a line into a buffer, flush() writes the buffer without blocking the thread in a system call: it
//         waits by poll, as long as Patience lasts.
//         DescriptorSink   stdout, stderr, a file: JSON or text. A pipe or terminal is opened anew, so that its
//                          non-blocking mode is ours alone.
//         JournalSink      journald's own protocol, a datagram a line: sd_journal_sendv blocks while journald does not
//                          read, and says that all is well if there is no journald.
// Owner.  The log thread.
//
// Invariants
//   I1  what a reader sees is whole lines: a line of which a part was written is finished before anything else
//   I2  lost() counts every line that was added and not written
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "config/settings.h"
#include "daemon/log_line.h"
#include "runtime/base/result.h"

namespace umbel::daemon {

/// How long the log thread waits for a sink: for ever, until the daemon ends.
class Patience {
public:
    Patience();
    ~Patience();
    Patience(const Patience&) = delete;
    Patience& operator=(const Patience&) = delete;

    /// Any thread: waits now end at `deadline` at the latest.
    void end_by(std::chrono::steady_clock::time_point deadline);
    /// Waits until `fd` may be written to, or a short while has passed: try again. False: it is over.
    [[nodiscard]] bool wait(int fd);

private:
    int interrupt_ = -1;
    std::atomic<std::int64_t> deadline_ns_;  // steady_clock
};

class LogSink {
public:
    LogSink() = default;
    LogSink(const LogSink&) = delete;
    LogSink& operator=(const LogSink&) = delete;
    virtual ~LogSink() = default;

    virtual void add(const LineView& line) = 0;
    virtual void flush() = 0;
    /// Lines lost since the beginning, and why the last one was.
    [[nodiscard]] std::uint64_t lost() const { return lost_; }
    [[nodiscard]] const std::string& trouble() const { return trouble_; }

protected:
    void lose(std::uint64_t lines, std::string why) {
        lost_ += lines;
        trouble_ = std::move(why);
    }

private:
    std::uint64_t lost_ = 0;
    std::string trouble_;
};

class DescriptorSink final : public LogSink {
public:
    /// Takes over `fd`.   pieces: the most bytes of one write; a pipe that blocks takes 4,096 without doing so.
    DescriptorSink(int fd, bool is_socket, std::size_t pieces, config::LogFormat format, Patience& patience)
        : fd_(fd), is_socket_(is_socket), pieces_(pieces), format_(format), patience_(patience) {}
    ~DescriptorSink() override;

    /// The process's descriptor 1 or 2. Errors: system.
    [[nodiscard]] static rt::Result<std::unique_ptr<LogSink>> standard(int fd, config::LogFormat format,
                                                                       Patience& patience);
    /// A file, made if it is not there (mode 0640), written at its end. Errors: configuration.
    [[nodiscard]] static rt::Result<std::unique_ptr<LogSink>> file(const std::string& path, config::LogFormat format,
                                                                   Patience& patience);

    void add(const LineView& line) override;
    void flush() override;

private:
    static constexpr std::size_t flush_at = std::size_t{64} * 1024;

    const int fd_;
    const bool is_socket_;
    const std::size_t pieces_;
    const config::LogFormat format_;
    Patience& patience_;
    std::string buffer_;  // whole lines, but for the first if it is begun
    bool begun_ = false;  // the beginning of buffer_'s first line is written
};

class JournalSink final : public LogSink {
public:
    static constexpr const char* socket_path = "/run/systemd/journal/socket";

    /// Errors: configuration (there is no journald).
    [[nodiscard]] static rt::Result<std::unique_ptr<LogSink>> open(const std::string& path, Patience& patience);
    ~JournalSink() override;

    void add(const LineView& line) override;
    void flush() override {}

private:
    JournalSink(std::string path, Patience& patience) : path_(std::move(path)), patience_(patience) {}
    [[nodiscard]] bool connect();

    const std::string path_;
    Patience& patience_;
    int fd_ = -1;
    std::string datagram_;
};

/// Says "umbeld: …" on stderr if that takes it at once: it may be a pipe that nobody reads.
void complain(const std::string& text);

/// What log.sink = auto means here: journal if systemd has connected stdout to it, else stdout.
[[nodiscard]] std::string resolved_sink(const std::string& sink);

}  // namespace umbel::daemon
