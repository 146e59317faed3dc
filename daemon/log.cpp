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
    if (runtime_ == nullptr) return;
    detaching_ = true;
    wake_.notify_one();
    detached_.wait(lock, [&] { return runtime_ == nullptr; });
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
    emit(LineView(last));  // I1
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
        wake_.wait_for(lock, poll_interval,
                       [&] { return stopping_ || detaching_ || reopen_wanted_ || !lines_.empty(); });
        const bool last = stopping_;
        std::vector<LogLine> lines;
        lines.swap(lines_);
        const bool reopening = std::exchange(reopen_wanted_, false);
        const bool detaching = std::exchange(detaching_, false);
        rt::Runtime* const runtime = runtime_;
        lock.unlock();
        if (reopening) reopen_sink(lines);
        // The lines were taken first: a record that was made before a line cannot be missed.
        pump(std::move(lines), runtime);
        if (runtime != nullptr) report_dropped(*runtime, detaching);
        lock.lock();
        if (detaching) {
            runtime_ = nullptr;
            detached_.notify_all();
        }
        if (last && lines_.empty()) return;  // I1
    }
}

void Log::pump(std::vector<LogLine> lines, rt::Runtime* runtime) {
    std::ranges::stable_sort(lines, {}, &LogLine::time_ns);
    auto next = lines.cbegin();
    bool wrote = !lines.empty();
    if (runtime != nullptr) {
        const std::size_t records = runtime->take_log([&](const rt::LogRecord& record) {
            for (; next != lines.cend() && next->time_ns <= record.event.time_ns; ++next) emit(LineView(*next));
            emit(LineView(record));
        });
        wrote = wrote || records != 0;
    }
    for (; next != lines.cend(); ++next) emit(LineView(*next));
    if (wrote) sink_->flush();
}

void Log::report_dropped(rt::Runtime& runtime, bool last) {
    std::uint64_t dropped = 0;
    for (const rt::ExecutorCounters& counters : runtime.counters()) dropped += counters.events_dropped;
    if (dropped <= dropped_) return;
    const auto now = std::chrono::steady_clock::now();
    if (!last && now - drops_reported_ < std::chrono::seconds(1)) return;  // The next report has them.
    drops_reported_ = now;
    emit(LineView(line_of(rt::EventKind::log_dropped, "",
                          {static_cast<std::int64_t>(dropped - dropped_), static_cast<std::int64_t>(dropped)})));
    sink_->flush();
    dropped_ = dropped;
}

void Log::emit(const LineView& line) {
    if (line.level < level_.load(std::memory_order_relaxed)) return;
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
