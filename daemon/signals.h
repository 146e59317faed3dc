// signals.h: the signals the daemon lives by, as something to wait for.
//
// Why.    A handler may do next to nothing, and would run on any thread. Blocked signals, read from a descriptor by one
//         thread, are ordinary input.
// Shape.  SignalSource is the seam for tests; ProcessSignals blocks the signals and reads them from a signalfd.
// Owner.  Made by the main thread before there is any other (they inherit the mask); one thread waits at a time.
#pragma once

#include <optional>

#include "runtime/base/result.h"
#include "runtime/base/units.h"

namespace umbel::daemon {

class SignalSource {
public:
    SignalSource() = default;
    SignalSource(const SignalSource&) = delete;
    SignalSource& operator=(const SignalSource&) = delete;
    virtual ~SignalSource() = default;
    /// The next signal, or none after `timeout`.
    [[nodiscard]] virtual std::optional<int> wait(rt::Nanoseconds timeout) = 0;
    /// Ends a wait, now or the next one, without a signal. [any thread]
    virtual void interrupt() {}
};

/// SIGTERM, SIGINT and SIGHUP of this process, from its construction on. SIGPIPE is ignored for good. Those that actors may
/// ask for (runtime/base/signals.h) are blocked: one that nobody has claimed stays pending, and does nothing.
class ProcessSignals final : public SignalSource {
public:
    ProcessSignals();
    ~ProcessSignals() override;
    [[nodiscard]] std::optional<int> wait(rt::Nanoseconds timeout) override;
    void interrupt() override;

private:
    int fd_ = -1;
    int interrupt_ = -1;
};

/// "SIGTERM"; "signal 40" for one without a name.
[[nodiscard]] std::string signal_name(int signal);

}  // namespace umbel::daemon
