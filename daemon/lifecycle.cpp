#include "daemon/lifecycle.h"

#include <atomic>
#include <csignal>
#include <thread>

#include "daemon/notify.h"

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
        : runtime_(runtime), log_(log), signals_(signals), options_(options) {}

    int run() {
        began_ = std::chrono::steady_clock::now();
        notify_status("starting");
        if (const auto started = runtime_.start(); !started) return fail(started.error());
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
        notify_ready(text.empty() ? "ready; no plugin is configured" : text);
    }

    void serve() {
        while (!take_signal(long_wait)) {
        }
    }

    /// Waits for a signal at most so long. True: the daemon is to end.
    bool take_signal(rt::Nanoseconds timeout) {
        const std::optional<int> signal = signals_.wait(timeout);
        // In end() it is another thread that waits, and the runtime is being stopped.
        if (options_.queue != nullptr && !ended_) options_.queue->run();
        if (!signal) return false;
        if (*signal == SIGHUP) {
            log_.reopen();
            return false;
        }
        ending_signal_ = *signal;
        return true;
    }

    /// False: abandoned.
    bool drain() {
        drain_began_ = std::chrono::steady_clock::now();
        log_.write(line_of(EventKind::draining, signal_name(ending_signal_) + ": finishing what is in flight",
                           {milliseconds(options_.drain_timeout)}));
        notify_stopping("draining", options_.drain_timeout + options_.cancel_timeout + options_.stop_timeout);
        runtime_.begin_drain();
        if (!wait_drained(options_.drain_timeout)) {
            if (abandoned_) return false;
            log_.write(line_of(EventKind::drain_timed_out, "", {milliseconds(options_.drain_timeout)}));
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
    Time began_{};
    Time drain_began_{};
    int ending_signal_ = 0;   // of the thread that waits for signals: the main one, in end() the other
    bool abandoned_ = false;  // as ending_signal_
    bool ended_ = false;      // nothing is taken from the queue any more
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
