// log.h: the log thread and the place lines go to.
//
// Why.    Executors write records into rings and go on; control threads hand over lines and go on. One thread formats
//         and writes, so that a slow disk or a full pipe holds up nobody but itself.
// Shape.  Every few milliseconds, or when a control thread wakes it: take the daemon's lines and the runtime's records, in
//         the order of their time, drop what is over its rate, write, flush. What is under its level executors do not
//         even make: the levels are the runtime's to know.
// Owner.  open(), attach(), detach() and stop(): the main thread. write(), reopen(), levels, figures(): any thread.
//
// Invariants
//   I1  what was handed over before stop() is written before stop()'s own line, which is the last; unless nobody takes
//       it: stop() waits stop_time and no longer
//   I2  only the log thread touches the sink while it runs
//   I3  what is not written is counted, and said as soon as something can be: log_dropped (the ring was full, or the
//       daemon's own lines were too many), log_suppressed (over the rate), log_lost (the sink did not take it)
//
// Cost.   An idle daemon: a wake-up every poll_interval.
// Not here.  Spelling of lines: log_line.h. Places: log_sink.h. Which events exist: runtime/base/event.h.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "config/settings.h"
#include "daemon/log_levels.h"
#include "daemon/log_line.h"
#include "daemon/log_sink.h"
#include "daemon/rate_limit.h"
#include "runtime/base/result.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

/// All since the start.
struct LogFigures {
    std::uint64_t lines = 0;       // written, or tried
    std::uint64_t dropped = 0;     // not taken from executors and control threads
    std::uint64_t suppressed = 0;  // over the rate
    std::uint64_t lost = 0;        // not taken by the sink
};

class Log {
public:
    static constexpr std::chrono::milliseconds poll_interval{10};
    static constexpr std::chrono::milliseconds stop_time{1000};

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
    /// Opens the file anew (after it was moved away) and logs that it did, or why it could not.
    void reopen();
    /// Writes everything that is left, then `last`, and ends the thread.
    void stop(const LogLine& last);

    /// Sets a level at run time (LogLevels::set), for a while if `lasting` is given, and logs that it did.
    [[nodiscard]] rt::Result<void> set_level(std::string_view module, std::optional<rt::Level> level,
                                             std::optional<std::chrono::nanoseconds> lasting);
    [[nodiscard]] std::vector<LogLevels::Row> levels();
    /// The levels and the rate of these settings from now on. What was set at run time stays. The sink stays.
    void configure(const config::LogSettings& settings);
    [[nodiscard]] LogFigures figures() const;

private:
    using Time = std::chrono::steady_clock::time_point;

    explicit Log(const config::LogSettings& settings)
        : settings_(settings), rate_limit_(settings.rate_limit), levels_(settings), wanted_rate_(settings.rate_limit) {
        daemon_level_ = levels_.level_of("daemon");
    }
    [[nodiscard]] rt::Result<void> open_sink();
    void run();
    /// Writes the lines, and the runtime's records if there is one, in the order of their time. Returns how many.
    std::size_t pump(std::vector<LogLine> lines, rt::Runtime* runtime);
    /// last: no later call will report it (I3).
    void report_missing(rt::Runtime* runtime, bool last);
    void report_lost();
    void emit(const LogLine& line);
    void emit(const rt::LogRecord& record);
    void reopen_sink(std::vector<LogLine>& lines);
    void look_at_levels(std::vector<LogLine>& lines);  // under mutex_
    void apply_levels();                               // under mutex_
    void join();

    const config::LogSettings settings_;  // as it was opened; level, levels and rate may be others since

    // The log thread's; before it starts and after it ended, the main thread's (I2).
    std::unique_ptr<LogSink> sink_;
    std::uint64_t dropped_reported_ = 0;
    std::uint64_t lost_reported_ = 0;
    std::uint64_t lost_before_ = 0;  // by sinks that were replaced
    Time drops_reported_{};
    Time losses_reported_{};
    Time now_;  // of this pass
    RateLimit rate_limit_;

    // Between threads, each a figure of its own.
    std::atomic<rt::Level> daemon_level_{rt::Level::trace};
    std::atomic<std::uint64_t> lines_written_{0};
    std::atomic<std::uint64_t> dropped_{0};
    std::atomic<std::uint64_t> suppressed_{0};
    std::atomic<std::uint64_t> lost_{0};

    // Between threads, under mutex_.
    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable detached_;  // signalled when runtime_ has become null
    std::vector<LogLine> lines_;
    std::uint64_t lines_refused_ = 0;  // by a full lines_
    LogLevels levels_;
    std::uint64_t wanted_rate_ = 0;
    Time levels_applied_{};
    rt::Runtime* runtime_ = nullptr;
    bool detaching_ = false;  // the next pass is the last that takes the runtime's records
    bool reopen_wanted_ = false;
    bool stopping_ = false;

    Patience patience_;
    std::thread thread_;
};

}  // namespace umbel::daemon
