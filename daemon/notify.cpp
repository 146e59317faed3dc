#include "daemon/notify.h"

#include <systemd/sd-daemon.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <string>

namespace umbel::daemon {

namespace {

/// The protocol is line by line: a status is one line.
std::string one_line(std::string_view status) {
    std::string line(status);
    std::ranges::replace_if(line, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
    return line;
}

void send(const std::string& state) {
    // Whoever asked for notifications and does not read them loses them: there is nothing to do about a failure.
    static_cast<void>(::sd_notify(0, state.c_str()));
}

}  // namespace

void notify_ready(std::string_view status) { send("READY=1\nSTATUS=" + one_line(status)); }

void notify_status(std::string_view status) { send("STATUS=" + one_line(status)); }

void notify_reloading() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1'000;
    send("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(microseconds) + "\nSTATUS=reading the configuration anew");
}

void notify_alive() { send("WATCHDOG=1"); }

rt::Nanoseconds watchdog_timeout() {
    std::uint64_t microseconds = 0;
    if (::sd_watchdog_enabled(0, &microseconds) <= 0) return rt::Nanoseconds(0);
    return std::chrono::microseconds(microseconds);
}

void notify_stopping(std::string_view status, rt::Nanoseconds most) {
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(most).count();
    send("STOPPING=1\nSTATUS=" + one_line(status) + "\nEXTEND_TIMEOUT_USEC=" + std::to_string(microseconds));
}

}  // namespace umbel::daemon
