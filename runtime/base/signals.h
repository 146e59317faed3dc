// signals.h: which signals actors may ask for.
//
// Why.    They must be blocked in every thread from the process's first moment, or they kill it; so the daemon's start and
//         the runtime must agree on which they are.
// Not here.  Who has claimed which: runtime/io/signal_claims.h. The daemon's own signals: daemon/signals.h.
#pragma once

#include <csignal>
#include <cstdint>

namespace umbel::rt {

/// Not those the daemon lives by (SIGTERM, SIGINT, SIGHUP), those that report a fault, those that cannot be blocked; and
/// SIGRTMIN is kept for the runtime.
[[nodiscard]] inline bool offered_to_actors(int signal) {
    return signal == SIGUSR1 || signal == SIGUSR2 || signal == SIGCHLD || signal == SIGWINCH ||
           (signal > SIGRTMIN && signal <= SIGRTMAX);
}

/// Bit n - 1: signal n.
[[nodiscard]] inline std::uint64_t signal_bit(int signal) { return std::uint64_t{1} << (signal - 1); }

}  // namespace umbel::rt
