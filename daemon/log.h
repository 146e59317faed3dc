// log.h: the log thread and the place lines go to.
//
// Why.    Executors write events into rings and go on; control threads hand over lines and go on. One thread formats
//         and writes, so that a slow disk or a full pipe holds up nobody but itself.
// Shape.  Every few milliseconds, or when a control thread wakes it: take the daemon's lines and the runtime's records,
//         order them by time, drop those under the level, write them, flush. spdlog is the sink.
// Owner.  open(), attach(), detach() and stop(): the main thread. write() and reopen(): any thread.
//
// Invariants
//   I1  what was handed over before stop() is written before stop()'s own line, which is the last
//   I2  only the log thread touches the sink while it runs
//
// Cost.   An idle daemon: a wake-up every poll_interval.
// Not here.  Spelling of lines: log_line.h. Which events exist: runtime/base/event.h.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "config/settings.h"
#include "daemon/log_line.h"
#include "runtime/base/result.h"
#include "runtime/runtime.h"

namespace spdlog {
class logger;
}

namespace umbel::daemon {

class Log {
public:
    static constexpr std::chrono::milliseconds poll_interval{10};

    /// Opens the sink and starts the thread. Errors: configuration (the file cannot be opened).
    [[nodiscard]] static rt::Result<std::unique_ptr<Log>> open(const config::LogSettings& settings);

    /// Whether open() could succeed, found out without making a file. Errors: as open().
    [[nodiscard]] static rt::Result<void> check(const config::LogSettings& settings);

    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    ~Log();  // stops, without a last line

    /// From now on takes the runtime's records. It must outlive detach() or stop().
    void attach(rt::Runtime& runtime);
    /// Takes what the runtime still has, and forgets it.
    void detach();

    void write(LogLine line);
    /// From now on, events under this level are not written.
    void set_level(rt::Level level) {
        // relaxed: a figure of its own.
        level_.store(level, std::memory_order_relaxed);
    }
    /// Opens the file anew (after it was moved away) and logs that it did, or why it could not.
    void reopen();
    /// Writes everything that is left, then `last`, and ends the thread.
    void stop(const LogLine& last);

private:
    explicit Log(const config::LogSettings& settings) : settings_(settings), level_(settings.level) {}
    [[nodiscard]] rt::Result<void> open_sink();
    void run();
    /// Writes the lines, and the runtime's records if there is one, in the order of their time.
    void pump(std::vector<LogLine> lines, rt::Runtime* runtime);
    /// last: no later call will report what was dropped.
    void report_dropped(rt::Runtime& runtime, bool last);
    void emit(const LineView& line);
    void reopen_sink(std::vector<LogLine>& lines);
    void join();

    const config::LogSettings settings_;  // as it was opened; the level may be another since
    std::atomic<rt::Level> level_;

    // The log thread's; before it starts and after it ended, the main thread's (I2).
    std::shared_ptr<spdlog::logger> sink_;
    std::string text_;           // the line being written
    std::uint64_t dropped_ = 0;  // of the runtime's events, as reported so far
    std::chrono::steady_clock::time_point drops_reported_{};

    // Between threads, under mutex_.
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable detached_;  // signalled when runtime_ has become null
    std::vector<LogLine> lines_;
    rt::Runtime* runtime_ = nullptr;
    bool detaching_ = false;  // the next pass is the last that takes the runtime's records
    bool reopen_wanted_ = false;
    bool stopping_ = false;

    std::thread thread_;
};

}  // namespace umbel::daemon
