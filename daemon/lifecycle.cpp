#include "daemon/lifecycle.h"

#include <atomic>
#include <csignal>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "daemon/notify.h"
#include "daemon/watchdog.h"

namespace umbel::daemon {

namespace {

using rt::EventKind;
using Time = std::chrono::steady_clock::time_point;

constexpr rt::Nanoseconds look_interval = std::chrono::milliseconds(2);  // how often the runtime's state is looked at
constexpr rt::Nanoseconds long_wait = std::chrono::seconds(60);

std::int64_t milliseconds(rt::Nanoseconds time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

class Life {
public:
    Life(rt::Runtime& runtime, Log& log, SignalSource& signals, const LifecycleOptions& options)
        : runtime_(runtime), log_(log), signals_(signals), options_(options), drain_timeout_(options.drain_timeout) {}

    int run() {
        began_ = std::chrono::steady_clock::now();
        notify_status("starting");
        if (const auto started = runtime_.start(); !started) return fail(started.error());
        if (options_.watchdog > rt::Nanoseconds(0)) watchdog_.emplace(runtime_, log_, options_.watchdog, notify_alive);
        if (!wait_until_ready()) return fail(runtime_.failure());
        if (ending_signal_ == 0) serve();
        if (!drain()) return exit_abandoned;
        return end(0);
    }

private:
    static constexpr int exit_abandoned = 1;

    /// False: a plugin failed. A signal that comes before it is ready ends the wait as well.
    bool wait_until_ready() {
        for (;;) {
            const rt::RuntimeState state = runtime_.state();
            if (state == rt::RuntimeState::failed) return false;
            if (state == rt::RuntimeState::ready) {
                say_ready();
                return true;
            }
            if (take_signal(look_interval)) return true;
        }
    }

    void say_ready() {
        LogLine line = line_of(EventKind::ready, "", {milliseconds(std::chrono::steady_clock::now() - began_)});
        std::string text;
        for (const auto& [plugin, announced] : runtime_.announcements()) {
            text.append(text.empty() ? "" : "; ").append(plugin).append(": ").append(announced);
            line.fields.emplace_back("plugin." + plugin, announced);
        }
        if (!text.empty()) line.message = text;
        log_.write(std::move(line));
        for (const std::string& name : runtime_.untaken_listeners()) {
            std::string hint = name;
            hint.append(": no plugin has taken it (give one of them listen = systemd:").append(name).append(")");
            log_.write(line_of(EventKind::listener_unused, hint));
        }
        notify_ready(status());
    }

    /// What runs, in one line.
    std::string status() const {
        std::string text;
        for (const auto& [plugin, announced] : runtime_.announcements()) {
            text.append(text.empty() ? "" : "; ").append(plugin).append(": ").append(announced);
        }
        return text.empty() ? "ready; no plugin has announced anything" : text;
    }

    void serve() {
        serving_ = true;
        if (reload_wanted_) begin_reload();
        for (;;) {
            const bool busy =
                (options_.reload != nullptr && options_.reload->under_way()) || runtime_.plugins_changing();
            if (take_signal(busy ? look_interval : long_wait)) break;
            look_after_reload();
            look_after_plugins();
        }
        serving_ = false;
    }

    // ---- Reloading.

    void begin_reload() {
        reload_wanted_ = false;
        if (options_.reload == nullptr) return;
        notify_reloading();
        options_.reload->request();
    }

    void look_after_reload() {
        if (options_.reload == nullptr) return;
        const std::optional<ReloadOutcome> outcome = options_.reload->poll(runtime_);
        if (!outcome) return;
        if (outcome->applied()) {
            const config::Settings& settings = options_.reload->running().settings;
            log_.configure(settings.log);
            drain_timeout_ = settings.daemon.drain_timeout;
            for (const std::string& warning : options_.reload->running().warnings) {
                log_.write(line_of(EventKind::config_warning, warning));
            }
            say_reloaded(*outcome);
        } else {
            LogLine line = line_of(EventKind::reload_refused, "nothing is changed: " + joined(outcome->problems, "; "),
                                   {static_cast<std::int64_t>(outcome->problems.size()), milliseconds(outcome->took)});
            log_.write(std::move(line));
        }
        if (options_.reload->under_way()) {
            notify_reloading();  // It was asked for again meanwhile.
        } else {
            notify_ready(status());
        }
    }

    void say_reloaded(const ReloadOutcome& outcome) {
        std::string text = outcome.changes.empty() ? "nothing has changed" : joined(outcome.changes, "; ");
        if (!outcome.restarts.empty()) text += "; needs a restart: " + joined(outcome.restarts, "; ");
        LogLine line = line_of(EventKind::reloaded, std::move(text),
                               {static_cast<std::int64_t>(outcome.changes.size()),
                                static_cast<std::int64_t>(outcome.restarts.size()), milliseconds(outcome.took)});
        log_.write(std::move(line));
        for (const std::string& plugin : outcome.plugins.added) say_of(EventKind::plugin_added, plugin, "", {});
        for (const std::string& plugin : outcome.plugins.retired) {
            say_of(EventKind::plugin_retiring, plugin, "finishing what is in flight", {milliseconds(drain_timeout_)});
        }
    }

    void look_after_plugins() {
        if (!runtime_.plugins_changing()) return;
        rt::PluginPatience patience;
        patience.start = options_.plugin_start_timeout;
        patience.drain = drain_timeout_;
        patience.cancel = options_.cancel_timeout;
        const std::vector<rt::PluginNews> all = runtime_.tend_plugins(patience);
        for (const rt::PluginNews& news : all) {
            switch (news.kind) {
                case rt::PluginNews::Kind::running:
                    break;  // Its main has said so: plugin_ready.
                case rt::PluginNews::Kind::failed:
                    say_of(EventKind::plugin_failed, news.plugin, news.text + "; it is taken out again", {});
                    break;
                case rt::PluginNews::Kind::cancelled:
                    say_of(EventKind::plugin_drain_timed_out, news.plugin, "", {milliseconds(drain_timeout_)});
                    break;
                case rt::PluginNews::Kind::gone:
                    say_of(EventKind::plugin_retired, news.plugin, "", {milliseconds(news.took)});
                    break;
            }
        }
        if (!all.empty()) notify_status(status());
    }

    void say_of(EventKind kind, const std::string& plugin, std::string text,
                std::initializer_list<std::int64_t> values) {
        LogLine line = line_of(kind, std::move(text), values);
        line.plugin = plugin;
        log_.write(std::move(line));
    }

    static std::string joined(const std::vector<std::string>& parts, std::string_view between) {
        std::string text;
        for (const std::string& part : parts) text.append(text.empty() ? "" : between).append(part);
        return text;
    }

    // ---- Ending.

    /// Waits for a signal at most so long. True: the daemon is to end.
    bool take_signal(rt::Nanoseconds timeout) {
        const std::optional<int> signal = signals_.wait(timeout);
        // In end() it is another thread that waits, and the runtime is being stopped.
        if (options_.queue != nullptr && !ended_) options_.queue->run();
        if (!signal) return false;
        if (*signal == SIGHUP) {
            log_.reopen();
            reload_wanted_ = true;
            if (serving_) begin_reload();
            return false;
        }
        ending_signal_ = *signal;
        return true;
    }

    /// False: abandoned.
    bool drain() {
        drain_began_ = std::chrono::steady_clock::now();
        log_.write(line_of(EventKind::draining, signal_name(ending_signal_) + ": finishing what is in flight",
                           {milliseconds(drain_timeout_)}));
        notify_stopping("draining", drain_timeout_ + options_.cancel_timeout + options_.stop_timeout);
        runtime_.begin_drain();
        if (!wait_drained(drain_timeout_)) {
            if (abandoned_) return false;
            log_.write(line_of(EventKind::drain_timed_out, "", {milliseconds(drain_timeout_)}));
            notify_status("cancelling what is still in flight");
            runtime_.cancel_operations();
            static_cast<void>(wait_drained(options_.cancel_timeout));
        }
        return !abandoned_;
    }

    bool wait_drained(rt::Nanoseconds most) {
        const Time until = std::chrono::steady_clock::now() + most;
        for (;;) {
            if (runtime_.drained()) return true;
            if (std::chrono::steady_clock::now() >= until) return false;
            if (take_signal(look_interval)) {
                abandon(signal_name(ending_signal_) + " came a second time: ended at once, with work in flight");
                return false;
            }
        }
    }

    int fail(const rt::Error& error) {
        const int code = exit_code_of(error.error_class);
        complain(error.message);
        log_.write(line_of(EventKind::start_failed, error.message, {code}));
        notify_stopping(error.message, options_.stop_timeout);
        drain_began_ = std::chrono::steady_clock::now();
        return end(code);
    }

    /// Stops the runtime while a second thread listens for who cannot wait.
    int end(int code) {
        ended_ = true;
        std::atomic<bool> stopped{false};
        std::thread impatience([&] {
            const Time until = std::chrono::steady_clock::now() + options_.stop_timeout;
            // acquire: nothing is read behind it but the flag itself. Pairs with the release below.
            while (!stopped.load(std::memory_order_acquire)) {
                if (take_signal(look_interval)) {
                    abandon(signal_name(ending_signal_) + " came while the executors were ending: ended at once");
                    return;
                }
                if (std::chrono::steady_clock::now() < until) continue;
                abandon("the executors did not end in " + std::to_string(milliseconds(options_.stop_timeout)) +
                        " ms: a plugin's code keeps one of them; ended at once");
                return;
            }
        });
        watchdog_.reset();  // Executors that end do not answer; stop_timeout is for those that do not.
        runtime_.stop();
        // release: pairs with the acquire above.
        stopped.store(true, std::memory_order_release);
        impatience.join();
        if (abandoned_) return exit_abandoned;
        const auto drained_for = std::chrono::steady_clock::now() - drain_began_;
        log_.stop(line_of(EventKind::stopped, code == 0 ? "ended as asked" : "ended after a failure",
                          {code, milliseconds(drained_for)}));  // I1
        return code;
    }

    void abandon(const std::string& why) {
        abandoned_ = true;
        options_.abandon(why);  // I2
    }

    rt::Runtime& runtime_;
    Log& log_;
    SignalSource& signals_;
    const LifecycleOptions& options_;
    rt::Nanoseconds drain_timeout_;
    bool serving_ = false;
    bool reload_wanted_ = false;  // SIGHUP came before the daemon served
    Time began_{};
    Time drain_began_{};
    std::optional<Watchdog> watchdog_;  // while executors run
    int ending_signal_ = 0;             // of the thread that waits for signals: the main one, in end() the other
    bool abandoned_ = false;            // as ending_signal_
    bool ended_ = false;                // nothing is taken from the queue any more
};

}  // namespace

int exit_code_of(rt::ErrorClass error_class) {
    switch (error_class) {
        case rt::ErrorClass::usage:
            return 64;
        case rt::ErrorClass::system:
            return 71;
        case rt::ErrorClass::configuration:
            return 78;
        case rt::ErrorClass::failure:
            return 1;
    }
    return 1;
}

int live(rt::Runtime& runtime, Log& log, SignalSource& signals, const LifecycleOptions& options) {
    log.attach(runtime);
    return Life(runtime, log, signals, options).run();
}

}  // namespace umbel::daemon
