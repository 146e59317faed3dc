// lifecycle.h: a loaded runtime's life: start, ready, drain, stop.
//
// Why.    Everything an operator sees of a daemon's life (log lines, notifications, exit code, what a signal does when)
//         is decided in one place that a test can drive with a runtime and signals of its own.
// Shape.  One function on the main thread. It waits for signals and for the runtime in between.
//
//   starting ──ready──▶ serving ──TERM/INT──▶ draining ──drained, or drain_timeout + cancel──▶ stopped: exit 0
//      │ └──────────────TERM/INT──────────────────▲ │
//      │                   (serving ──HUP──▶ serving: reload.h)
//      └──failed──▶ stopped: exit code of the failure  └──TERM/INT again──▶ abandoned: exit at once, non-zero
//
// Invariants
//   I1  `stopped` is the last line of the log, whatever happened before, unless the daemon was abandoned
//   I2  abandon() is called from the second SIGTERM or SIGINT on, or when the runtime does not stop in stop_timeout
// Not here.  Configuration, loading, exit codes of what fails before: umbeld.cpp.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "daemon/log.h"
#include "daemon/main_queue.h"
#include "daemon/reload.h"
#include "daemon/signals.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

/// The exit code of an error (runtime/base/result.h).
[[nodiscard]] int exit_code_of(rt::ErrorClass error_class);

struct LifecycleOptions {
    rt::Nanoseconds drain_timeout = std::chrono::seconds(10);  // as long as no reload sets another
    rt::Nanoseconds cancel_timeout = std::chrono::seconds(1);  // after drain_timeout, for what was cancelled to end
    rt::Nanoseconds stop_timeout = std::chrono::seconds(5);    // for the executors' threads to end
    rt::Nanoseconds watchdog = rt::Nanoseconds(0);             // watchdog_timeout(); 0: nobody watches
    rt::Nanoseconds plugin_start_timeout = std::chrono::seconds(30);  // for a plugin that a reload adds to be ready
    Reload* reload = nullptr;  // what SIGHUP does beside opening the log anew; null: nothing
    /// Ends the process at once, non-zero, after saying why on stderr. A test's may return.
    std::function<void(const std::string& why)> abandon;
    MainQueue* queue = nullptr;  // work for this thread, done between two waits; or none
};

/// Starts the runtime, and returns the exit code when it has stopped. The log has ended then.
[[nodiscard]] int live(rt::Runtime& runtime, Log& log, SignalSource& signals, const LifecycleOptions& options);

}  // namespace umbel::daemon
