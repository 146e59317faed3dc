#include "daemon/signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/signals.h"

namespace umbel::daemon {

ProcessSignals::ProcessSignals() {
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
        // Started in the background by a shell without job control, or under nohup, they may be ignored: an ignored
        // signal never reaches the descriptor.
        std::signal(signal, SIG_DFL);
        sigaddset(&set, signal);
    }
    CHECK(::pthread_sigmask(SIG_BLOCK, &set, nullptr) == 0);
    // Those that actors may ask for: nobody dies by them, whether somebody has asked or not.
    sigset_t offered;
    sigemptyset(&offered);
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        if (rt::offered_to_actors(signal)) sigaddset(&offered, signal);
    }
    CHECK(::pthread_sigmask(SIG_BLOCK, &offered, nullptr) == 0);
    fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(fd_ >= 0);
    interrupt_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(interrupt_ >= 0);
}

ProcessSignals::~ProcessSignals() {
    ::close(fd_);
    ::close(interrupt_);
}

void ProcessSignals::interrupt() {
    const std::uint64_t one = 1;
    static_cast<void>(::write(interrupt_, &one, sizeof one));
}

std::optional<int> ProcessSignals::wait(rt::Nanoseconds timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const auto left = std::max(rt::Nanoseconds(0), rt::Nanoseconds(until - std::chrono::steady_clock::now()));
        const timespec time{static_cast<std::time_t>(left.count() / 1'000'000'000),
                            static_cast<long>(left.count() % 1'000'000'000)};
        std::array<pollfd, 2> watched{{{fd_, POLLIN, 0}, {interrupt_, POLLIN, 0}}};
        const int ready = ::ppoll(watched.data(), watched.size(), &time, nullptr);
        if (ready == 0) return std::nullopt;
        std::uint64_t count = 0;
        if (ready > 0 && ::read(interrupt_, &count, sizeof count) > 0) return std::nullopt;
        signalfd_siginfo info{};
        if (ready > 0 && ::read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
            return static_cast<int>(info.ssi_signo);
        }
    }
}

std::string signal_name(int signal) {
    const char* name = ::sigabbrev_np(signal);
    return name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(signal);
}

}  // namespace umbel::daemon
