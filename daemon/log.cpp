#include "daemon/log.h"

#include <pthread.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <system_error>

namespace umbel::daemon {

namespace {

bool is_file(const config::LogSettings& settings) { return settings.sink != "stdout" && settings.sink != "stderr"; }

std::unexpected<rt::Error> refuse(const std::string& file, const std::string& why) {
    return rt::fail(rt::ErrorClass::configuration,
                    "log.sink: " + file + " cannot be written: " + why +
                        "; make its folder, or let this user write there, or set log.sink to another place");
}

}  // namespace

rt::Result<void> Log::check(const config::LogSettings& settings) {
    namespace fs = std::filesystem;
    if (!is_file(settings)) return {};
    std::error_code error;
    const fs::path file(settings.sink);
    if (fs::is_directory(file, error)) return refuse(settings.sink, "it is a folder");
    const fs::path probed = fs::exists(file, error) ? file : file.parent_path();
    if (::access(probed.c_str(), W_OK) != 0) return refuse(settings.sink, std::system_category().message(errno));
    return {};
}

rt::Result<std::unique_ptr<Log>> Log::open(const config::LogSettings& settings) {
    std::unique_ptr<Log> log(new Log(settings));
    if (auto opened = log->open_sink(); !opened) return std::unexpected(opened.error());
    log->thread_ = std::thread([raw = log.get()] { raw->run(); });
    return log;
}

rt::Result<void> Log::open_sink() {
    // spdlog would make missing folders, perhaps of a misspelt path.
    if (auto possible = check(settings_); !possible) return possible;
    spdlog::sink_ptr sink;
    try {
        if (settings_.sink == "stdout") {
            sink = std::make_shared<spdlog::sinks::stdout_sink_st>();
        } else if (settings_.sink == "stderr") {
            sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
        } else {
            sink = std::make_shared<spdlog::sinks::basic_file_sink_st>(settings_.sink);
        }
    } catch (const spdlog::spdlog_ex& error) {
        return refuse(settings_.sink, error.what());
    }
    auto logger = std::make_shared<spdlog::logger>("umbel", std::move(sink));
    logger->set_formatter(std::make_unique<spdlog::pattern_formatter>("%v"));  // append_json and _text escape
    logger->set_level(spdlog::level::trace);                                   // emit() has chosen already
    logger->set_error_handler([last = std::chrono::steady_clock::time_point()](const std::string& error) mutable {
        const auto now = std::chrono::steady_clock::now();
        if (now - last < std::chrono::seconds(1)) return;
        last = now;
        std::fprintf(stderr, "umbeld: the log cannot be written: %s\n", error.c_str());
    });
    sink_ = std::move(logger);
    return {};
}

Log::~Log() { join(); }

void Log::attach(rt::Runtime& runtime) {
    const std::lock_guard lock(mutex_);
    runtime_ = &runtime;
    dropped_ = 0;
}

void Log::detach() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return !pumping_; });
    if (runtime_ == nullptr) return;
    // The log thread does not take records while this thread has the lock and pumping_ is false.
    take_records(lines_, true);
    runtime_ = nullptr;
}

void Log::write(LogLine line) {
    {
        const std::lock_guard lock(mutex_);
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

void Log::stop(const LogLine& last) {
    detach();
    join();
    emit(last);  // I1
    sink_->flush();
}

void Log::join() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_one();
    thread_.join();
}

void Log::run() {
    pthread_setname_np(pthread_self(), "umbel-log");
    std::unique_lock lock(mutex_);
    for (;;) {
        wake_.wait_for(lock, poll_interval, [&] { return stopping_ || reopen_wanted_ || !lines_.empty(); });
        const bool last = stopping_;
        std::vector<LogLine> lines;
        lines.swap(lines_);
        const bool reopening = std::exchange(reopen_wanted_, false);
        const bool records = runtime_ != nullptr;
        pumping_ = true;
        lock.unlock();
        // The lines first, the records after them: a record that was made before a line cannot be missed.
        if (records) take_records(lines, false);
        if (reopening) reopen_sink(lines);
        pump(std::move(lines));
        lock.lock();
        pumping_ = false;
        idle_.notify_all();
        if (last && lines_.empty()) return;  // I1
    }
}

void Log::take_records(std::vector<LogLine>& lines, bool last) {
    runtime_->take_log([&](const rt::LogRecord& record) {
        if (record.event.level >= settings_.level) lines.push_back(line_of(record));
    });
    std::uint64_t dropped = 0;
    for (const rt::ExecutorCounters& counters : runtime_->counters()) dropped += counters.events_dropped;
    if (dropped <= dropped_) return;
    const auto now = std::chrono::steady_clock::now();
    if (!last && now - drops_reported_ < std::chrono::seconds(1)) return;  // The next report has them.
    drops_reported_ = now;
    lines.push_back(line_of(rt::EventKind::log_dropped, "",
                            {static_cast<std::int64_t>(dropped - dropped_), static_cast<std::int64_t>(dropped)}));
    dropped_ = dropped;
}

void Log::pump(std::vector<LogLine> lines) {
    if (lines.empty()) return;
    std::ranges::stable_sort(lines, {}, &LogLine::time_ns);
    for (const LogLine& line : lines) emit(line);
    sink_->flush();
}

void Log::emit(const LogLine& line) {
    if (line.level < settings_.level) return;
    text_.clear();
    if (settings_.format == config::LogFormat::json) {
        append_json(text_, line);
    } else {
        append_text(text_, line);
    }
    sink_->log(spdlog::level::info, spdlog::string_view_t(text_));
}

void Log::reopen_sink(std::vector<LogLine>& lines) {
    if (!is_file(settings_)) {
        lines.push_back(
            line_of(rt::EventKind::log_reopened, "nothing to open anew: log.sink is " + settings_.sink +
                                                     "; the configuration is read again by a restart only"));
        return;
    }
    // What came before the signal belongs into the old file.
    pump(std::exchange(lines, {}));
    if (const auto opened = open_sink()) {
        lines.push_back(
            line_of(rt::EventKind::log_reopened,
                    settings_.sink + " was opened anew; the configuration is read again by a restart only"));
    } else {
        lines.push_back(line_of(rt::EventKind::log_failed, opened.error().message));
    }
}

}  // namespace umbel::daemon
