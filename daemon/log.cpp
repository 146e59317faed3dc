#include "daemon/log.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/base/quantity.h"

namespace umbel::daemon {

namespace {

constexpr std::size_t most_lines = 4096;  // the daemon's own, between two passes
constexpr std::size_t busy_pass = 256;    // lines; after such a pass the next one comes soon
constexpr std::chrono::milliseconds busy_interval{1};
constexpr std::chrono::seconds report_interval{1};

bool is_file(const std::string& sink) { return sink.contains('/'); }

std::unexpected<rt::Error> refuse(const std::string& file, const std::string& why) {
    return rt::fail(rt::ErrorClass::configuration,
                    "log.sink: " + file + " cannot be written: " + why +
                        "; make its folder, or let this user write there, or set log.sink to another place");
}

}  // namespace

rt::Result<void> Log::check(const config::LogSettings& settings) {
    namespace fs = std::filesystem;
    const std::string sink = resolved_sink(settings.sink);
    std::error_code error;
    if (sink == "journal" && ::access(JournalSink::socket_path, W_OK) != 0) {
        return rt::fail(rt::ErrorClass::configuration,
                        std::string("log.sink: there is no journal at ") + JournalSink::socket_path + ": " +
                            std::system_category().message(errno) +
                            "; start systemd-journald, or set log.sink to another place");
    }
    if (!is_file(sink)) return {};
    const fs::path file(sink);
    if (fs::is_directory(file, error)) return refuse(sink, "it is a folder");
    const fs::path probed = fs::exists(file, error) ? file : file.parent_path();
    if (::access(probed.c_str(), W_OK) != 0) return refuse(sink, std::system_category().message(errno));
    return {};
}

rt::Result<std::unique_ptr<Log>> Log::open(const config::LogSettings& settings) {
    config::LogSettings resolved = settings;
    resolved.sink = resolved_sink(settings.sink);
    std::unique_ptr<Log> log(new Log(resolved));
    if (auto opened = log->open_sink(); !opened) return std::unexpected(opened.error());
    log->thread_ = std::thread([raw = log.get()] { raw->run(); });
    return log;
}

rt::Result<void> Log::open_sink() {
    if (auto possible = check(settings_); !possible) return possible;
    rt::Result<std::unique_ptr<LogSink>> sink;
    if (settings_.sink == "stdout" || settings_.sink == "stderr") {
        sink = DescriptorSink::standard(settings_.sink == "stdout" ? STDOUT_FILENO : STDERR_FILENO, settings_.format,
                                        patience_);
    } else if (settings_.sink == "journal") {
        sink = JournalSink::open(JournalSink::socket_path, patience_);
    } else {
        sink = DescriptorSink::file(settings_.sink, settings_.format, patience_);
        if (!sink) return refuse(settings_.sink, sink.error().message);
    }
    if (!sink) return std::unexpected(sink.error());
    if (sink_) lost_before_ += sink_->lost();
    sink_ = std::move(*sink);
    return {};
}

Log::~Log() { join(); }

void Log::attach(rt::Runtime& runtime) {
    const std::lock_guard lock(mutex_);
    runtime_ = &runtime;
    dropped_reported_ = 0;
    levels_.set_plugins(runtime.log_modules());
    apply_levels();
}

void Log::detach() {
    std::unique_lock lock(mutex_);
    if (runtime_ == nullptr) return;
    detaching_ = true;
    wake_.notify_one();
    detached_.wait(lock, [&] { return runtime_ == nullptr; });
}

void Log::write(LogLine line) {
    {
        const std::lock_guard lock(mutex_);
        if (lines_.size() >= most_lines) {
            ++lines_refused_;
            return;
        }
        lines_.push_back(std::move(line));
    }
    wake_.notify_one();
}

void Log::reopen() {
    {
        const std::lock_guard lock(mutex_);
        reopen_wanted_ = true;
    }
    wake_.notify_one();
}

rt::Result<void> Log::set_level(std::string_view module, std::optional<rt::Level> level,
                                std::optional<std::chrono::nanoseconds> lasting) {
    LogLine line = line_of(rt::EventKind::log_level_changed, "");
    {
        const std::lock_guard lock(mutex_);
        std::optional<Time> until;
        if (lasting) until = std::chrono::steady_clock::now() + *lasting;
        if (auto set = levels_.set(module, level, until); !set) return set;
        line.message = std::string(module) + ": " + (level ? std::string(rt::name_of(*level)) : "as configured") +
                       (level && lasting ? " for " + rt::to_text(*lasting) : "");
        apply_levels();
    }
    write(std::move(line));
    return {};
}

std::vector<LogLevels::Row> Log::levels() {
    const std::lock_guard lock(mutex_);
    return levels_.rows();
}

void Log::configure(const config::LogSettings& settings) {
    const std::lock_guard lock(mutex_);
    levels_.configure(settings);
    wanted_rate_ = settings.rate_limit;
    apply_levels();
}

LogFigures Log::figures() const {
    // relaxed: figures, each for itself.
    return {lines_written_.load(std::memory_order_relaxed), dropped_.load(std::memory_order_relaxed),
            suppressed_.load(std::memory_order_relaxed), lost_.load(std::memory_order_relaxed)};
}

void Log::stop(const LogLine& last) {
    patience_.end_by(std::chrono::steady_clock::now() + stop_time);
    detach();
    join();
    report_lost();
    emit(last);  // I1
    sink_->flush();
}

void Log::join() {
    if (!thread_.joinable()) return;
    patience_.end_by(std::chrono::steady_clock::now() + stop_time);
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Log::apply_levels() {
    // relaxed: a figure of its own.
    daemon_level_.store(levels_.level_of("daemon"), std::memory_order_relaxed);
    levels_applied_ = std::chrono::steady_clock::now();
    if (runtime_ == nullptr) return;
    for (const LogLevels::Row& row : levels_.rows()) runtime_->set_log_level(row.module, row.level());
}

void Log::look_at_levels(std::vector<LogLine>& lines) {
    const auto now = std::chrono::steady_clock::now();
    if (levels_.expire(now)) {
        lines.push_back(line_of(rt::EventKind::log_level_changed, "the time of a level is over: as configured"));
        apply_levels();
    } else if (runtime_ != nullptr && now - levels_applied_ >= report_interval) {
        // There may be plugins that were not there before.
        levels_.set_plugins(runtime_->log_modules());
        apply_levels();
    }
}

void Log::run() {
    pthread_setname_np(pthread_self(), "umbel-log");
    std::unique_lock lock(mutex_);
    std::size_t written = 0;
    for (;;) {
        wake_.wait_for(lock, written >= busy_pass ? busy_interval : poll_interval,
                       [&] { return stopping_ || detaching_ || reopen_wanted_ || !lines_.empty(); });
        const bool last = stopping_;
        std::vector<LogLine> lines;
        lines.swap(lines_);
        const bool reopening = std::exchange(reopen_wanted_, false);
        const bool detaching = std::exchange(detaching_, false);
        rt::Runtime* const runtime = runtime_;
        rate_limit_.set_limit(wanted_rate_);
        look_at_levels(lines);
        lock.unlock();
        now_ = std::chrono::steady_clock::now();
        if (reopening) reopen_sink(lines);
        report_lost();
        // The lines were taken first: a record that was made before a line cannot be missed.
        written = pump(std::move(lines), runtime);
        report_missing(runtime, detaching || last);
        lock.lock();
        if (detaching) {
            runtime_ = nullptr;
            detached_.notify_all();
        }
        if (last && lines_.empty()) return;  // I1
    }
}

std::size_t Log::pump(std::vector<LogLine> lines, rt::Runtime* runtime) {
    std::ranges::stable_sort(lines, {}, &LogLine::time_ns);
    auto next = lines.cbegin();
    std::size_t count = lines.size();
    if (runtime != nullptr) {
        count += runtime->take_log([&](const rt::LogRecord& record) {
            for (; next != lines.cend() && next->time_ns <= record.event.time_ns; ++next) emit(*next);
            emit(record);
        });
    }
    for (; next != lines.cend(); ++next) emit(*next);
    if (count != 0) sink_->flush();
    return count;
}

void Log::report_missing(rt::Runtime* runtime, bool last) {
    std::vector<LogLine> lines;
    rate_limit_.collect(now_, last, [&](rt::EventKind kind, const char* plugin, std::uint64_t count) {
        const std::string name(rt::describe(kind).name);
        LogLine line = line_of(rt::EventKind::log_suppressed,
                               name + " came " + std::to_string(count) + " times more than log.rate_limit allows",
                               {static_cast<std::int64_t>(count)});
        if (plugin != nullptr) line.plugin = plugin;
        line.fields.emplace_back("suppressed_event", name);
        lines.push_back(std::move(line));
    });
    std::uint64_t dropped = 0;
    if (runtime != nullptr) {
        for (const rt::ExecutorCounters& counters : runtime->counters()) dropped += counters.events_dropped;
    }
    {
        const std::lock_guard lock(mutex_);
        dropped += lines_refused_;
    }
    if (dropped > dropped_reported_ && (last || now_ - drops_reported_ >= report_interval)) {
        drops_reported_ = now_;
        lines.push_back(
            line_of(rt::EventKind::log_dropped, "",
                    {static_cast<std::int64_t>(dropped - dropped_reported_), static_cast<std::int64_t>(dropped)}));
        dropped_reported_ = dropped;
        dropped_.store(dropped, std::memory_order_relaxed);
    }
    for (const LogLine& line : lines) emit(line);
    if (!lines.empty()) sink_->flush();
}

void Log::report_lost() {
    const std::uint64_t lost = lost_before_ + sink_->lost();
    if (lost <= lost_reported_ || now_ - losses_reported_ < report_interval) return;
    losses_reported_ = now_;
    lost_.store(lost, std::memory_order_relaxed);
    complain("the log cannot be written: " + sink_->trouble() + "; " + std::to_string(lost) + " lines are lost so far");
    emit(line_of(rt::EventKind::log_lost, sink_->trouble(),
                 {static_cast<std::int64_t>(lost - lost_reported_), static_cast<std::int64_t>(lost)}));
    sink_->flush();
    const std::uint64_t lost_now = lost_before_ + sink_->lost();
    if (lost_now == lost) lost_reported_ = lost;  // It could be written: that is said now.
}

void Log::emit(const LogLine& line) {
    // relaxed: a figure of its own.
    if (line.level < daemon_level_.load(std::memory_order_relaxed)) return;
    sink_->add(LineView(line));
    lines_written_.fetch_add(1, std::memory_order_relaxed);
}

void Log::emit(const rt::LogRecord& record) {
    if (record.event.kind != rt::EventKind::plugin_event &&
        !rate_limit_.admit(record.event.kind, record.event.plugin, now_)) {
        suppressed_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    sink_->add(LineView(record));
    lines_written_.fetch_add(1, std::memory_order_relaxed);
}

void Log::reopen_sink(std::vector<LogLine>& lines) {
    if (!is_file(settings_.sink)) {
        lines.push_back(line_of(rt::EventKind::log_reopened, "nothing to open anew: log.sink is " + settings_.sink));
        return;
    }
    // What came before the signal belongs into the old file.
    pump(std::exchange(lines, {}), nullptr);
    if (const auto opened = open_sink()) {
        lines.push_back(line_of(rt::EventKind::log_reopened, settings_.sink + " was opened anew"));
    } else {
        lines.push_back(line_of(rt::EventKind::log_failed, opened.error().message));
    }
}

}  // namespace umbel::daemon
