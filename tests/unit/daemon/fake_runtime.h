// fake_runtime.h: a runtime without executors, whose life a test writes down beforehand.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/runtime.h"

namespace umbel::daemon {

class FakeRuntime final : public rt::Runtime {
public:
    // What it does; set before it is handed over.
    rt::Result<void> start_result;
    rt::RuntimeState state_after_start = rt::RuntimeState::ready;
    rt::Error failure_reason;
    std::vector<std::pair<std::string, std::string>> announced;
    int looks_until_ready = 0;      // calls of state() that say `starting`
    int looks_until_drained = 0;    // calls of drained() that say no; -1: never of itself
    bool cancel_helps = true;       // after cancel_operations(), drained() says yes
    std::function<void()> on_stop;  // called in stop()
    std::vector<std::string> untaken;
    std::atomic<int> roll_calls{0};
    std::expected<rt::PluginChanges, std::vector<std::string>> prepare_result;
    std::vector<rt::PluginNews> news;    // what tend_plugins() will say
    rt::PluginPatience last_patience{};  // what it was given last

    // What was done to it, in order.
    std::vector<std::string> calls;

    void report(rt::EventKind kind, std::int64_t time_ns, std::string text, rt::Level level = rt::Level::info) {
        const std::lock_guard lock(mutex_);
        const auto set = levels_.find(kind == rt::EventKind::plugin_log ? "http" : "runtime");
        if (set != levels_.end() && level < set->second) return;
        rt::Event event;
        event.kind = kind;
        event.level = level;
        event.time_ns = time_ns;
        records_.emplace_back(event, std::move(text));
    }
    void drop(std::uint64_t events) {
        // relaxed: a counter of its own.
        dropped_.fetch_add(events, std::memory_order_relaxed);
    }

    rt::Result<void> start() override {
        calls.emplace_back("start");
        return start_result;
    }
    rt::RuntimeState state() const override {
        return looks_++ < looks_until_ready ? rt::RuntimeState::starting : state_after_start;
    }
    rt::Error failure() const override { return failure_reason; }
    std::vector<std::pair<std::string, std::string>> announcements() const override { return announced; }
    std::expected<rt::PluginChanges, std::vector<std::string>> prepare_plugins(
        std::vector<rt::PluginOptions> wanted) override {
        std::string names = "prepare_plugins";
        for (const rt::PluginOptions& plugin : wanted) names += " " + plugin.name;
        calls.push_back(names);
        return prepare_result;
    }
    void apply_plugins() override { calls.emplace_back("apply_plugins"); }
    void drop_plugins() override { calls.emplace_back("drop_plugins"); }
    bool plugins_changing() const override { return !news.empty(); }
    std::vector<rt::PluginNews> tend_plugins(const rt::PluginPatience& patience) override {
        last_patience = patience;
        return std::exchange(news, {});
    }
    std::vector<rt::PluginOptions> running_plugins() const override { return {}; }
    void begin_drain() override { calls.emplace_back("begin_drain"); }
    bool drained() override {
        if (cancelled_ && cancel_helps) return true;
        return looks_until_drained >= 0 && looks_until_drained-- == 0;
    }
    void cancel_operations() override {
        calls.emplace_back("cancel_operations");
        cancelled_ = true;
    }
    void stop() override {
        calls.emplace_back("stop");
        if (on_stop) on_stop();
    }
    std::size_t take_log(const std::function<void(const rt::LogRecord&)>& sink) override {
        const std::lock_guard lock(mutex_);
        const std::size_t count = records_.size();
        std::ranges::stable_sort(records_, {}, [](const auto& record) { return record.first.time_ns; });
        for (; !records_.empty(); records_.pop_front()) {
            sink({records_.front().first, "", records_.front().second, ""});
        }
        return count;
    }
    void call_roll() override {
        const std::lock_guard lock(mutex_);
        ++roll_calls;
    }
    std::vector<rt::AbsentExecutor> absent() const override {
        const std::lock_guard lock(mutex_);
        return absent_;
    }
    void set_absent(std::vector<rt::AbsentExecutor> who) {
        const std::lock_guard lock(mutex_);
        absent_ = std::move(who);
    }
    std::vector<std::string> untaken_listeners() const override { return untaken; }
    std::vector<rt::ExecutorCounters> counters() const override {
        rt::ExecutorCounters counters;
        counters.events_dropped = dropped_.load(std::memory_order_relaxed);  // relaxed: as in drop()
        return {counters};
    }

    std::vector<std::string> log_modules() const override { return {"http"}; }
    void set_log_level(std::string_view module, rt::Level level) override {
        const std::lock_guard lock(mutex_);
        levels_[std::string(module)] = level;
    }

private:
    mutable int looks_ = 0;
    bool cancelled_ = false;
    std::vector<rt::AbsentExecutor> absent_;
    mutable std::mutex mutex_;
    std::map<std::string, rt::Level> levels_;  // as set; plugin_log is of the plugin http
    std::deque<std::pair<rt::Event, std::string>> records_;
    std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace umbel::daemon
