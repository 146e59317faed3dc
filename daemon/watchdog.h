// watchdog.h: tells the service manager that the daemon lives, as long as every executor turns.
//
// Why.    A process whose threads still exist may serve nobody: one actor that loops without ever waiting holds its executor
//         for good. systemd (WatchdogSec=) ends and restarts a service that does not say in time that it is well; so this
//         must be said by those who do the work.
// Shape.  A thread that calls the roll (Runtime::call_roll), waits until every executor has answered, feeds, and sleeps for
//         half of the timeout. If someone is still silent when three quarters of it have passed since the last feed, it says
//         in the log who, and what he runs: the service manager's signal comes soon after.
// Owner.  The main thread makes it when the executors run and destroys it before they end.
//
// Invariants
//   I1  between two feeds every executor has answered a call that was made after the first of them
//
// Cost.   Each executor is woken once in half of the timeout.
// Not here.  What systemd does then: the unit. The notification itself: notify.h.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "daemon/log.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

class Watchdog {
public:
    /// timeout: how long the service manager waits for feed() to be called again.
    Watchdog(rt::Runtime& runtime, Log& log, rt::Nanoseconds timeout, std::function<void()> feed);
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;
    ~Watchdog();

private:
    void run();
    /// Until every executor has answered. False: the watchdog is to end.
    [[nodiscard]] bool wait_for_all();
    /// False: the watchdog is to end.
    [[nodiscard]] bool pause(rt::Nanoseconds time);
    void say_who_is_absent(rt::Nanoseconds silent);

    rt::Runtime& runtime_;
    Log& log_;
    const rt::Nanoseconds timeout_;
    const std::function<void()> feed_;

    std::mutex mutex_;  // guards ending_
    std::condition_variable changed_;
    bool ending_ = false;

    std::thread thread_;  // the last: it uses all of the above
};

}  // namespace umbel::daemon
