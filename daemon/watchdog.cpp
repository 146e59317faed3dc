#include "daemon/watchdog.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

namespace umbel::daemon {

namespace {

std::string hexadecimal(std::uint64_t number) {
    std::array<char, 24> text{};
    (void)std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(number));
    return text.data();
}

}  // namespace

Watchdog::Watchdog(rt::Runtime& runtime, Log& log, rt::Nanoseconds timeout, std::function<void()> feed)
    : runtime_(runtime), log_(log), timeout_(timeout), feed_(std::move(feed)), thread_([this] { run(); }) {
    pthread_setname_np(thread_.native_handle(), "umbel-watchdog");
}

Watchdog::~Watchdog() {
    {
        const std::scoped_lock lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Watchdog::run() {
    do {
        runtime_.call_roll();
        if (!wait_for_all()) return;
        feed_();  // I1
    } while (pause(timeout_ / 2));
}

bool Watchdog::wait_for_all() {
    const auto called = std::chrono::steady_clock::now();
    const rt::Nanoseconds longest = std::max<rt::Nanoseconds>(timeout_ / 20, std::chrono::milliseconds(1));
    rt::Nanoseconds wait = std::chrono::milliseconds(1);
    for (bool said = false; !runtime_.absent().empty();) {
        const rt::Nanoseconds silent = std::chrono::steady_clock::now() - called;
        if (!said && silent >= timeout_ / 4) {
            say_who_is_absent(silent);
            said = true;
        }
        if (!pause(wait)) return false;
        wait = std::min(wait * 2, longest);
    }
    return true;
}

void Watchdog::say_who_is_absent(rt::Nanoseconds silent) {
    for (const rt::AbsentExecutor& absent : runtime_.absent()) {
        std::string text = "executor " + std::to_string(rt::index_of(absent.executor)) + " does not answer; ";
        if (absent.plugin == nullptr) {
            text += "no actor runs on it";
        } else {
            text += "it runs actor " + hexadecimal(absent.actor) + " of type " + absent.type + " of plugin " +
                    absent.plugin + ", which neither waits nor calls the runtime";
        }
        LogLine line = line_of(rt::EventKind::executor_hung, std::move(text),
                               {std::chrono::duration_cast<std::chrono::milliseconds>(silent).count()});
        line.executor = static_cast<unsigned>(rt::index_of(absent.executor));
        line.actor = absent.actor;
        if (absent.plugin != nullptr) line.plugin = absent.plugin;
        log_.write(std::move(line));
    }
}

bool Watchdog::pause(rt::Nanoseconds time) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, time, [this] { return ending_; });
}

}  // namespace umbel::daemon
