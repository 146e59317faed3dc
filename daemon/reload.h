// reload.h: SIGHUP: the configuration is read anew, and applied as a whole or not at all.
//
// Why.    An operator who edits a file must never be left with half of it in force, nor with a daemon that ended over a typing
//         mistake; and must be told what counts now and what only a restart will bring.
// Shape.  request() starts a thread that reads the files, checks them and preflights the plugins that are new or set anew:
//         that may take seconds, and nobody waits for it. poll() picks up what it found on the main thread, asks the plugins
//         (Runtime::prepare_plugins), and applies everything or nothing.
// Owner.  The main thread, which is the runtime's control thread.
//
// Invariants
//   R1  running() is what is in force: after a refused reload the same as before it
//   R2  a request that comes while one is under way is not lost: another begins when it is done
//
// Not here.  What is said about it, and daemon.drain_timeout and log.level themselves: lifecycle.cpp. Comparing: configuration.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "config/configuration.h"
#include "daemon/preflight.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

struct ReloadOutcome {
    std::vector<std::string> problems;  // none: it was applied
    std::vector<std::string> changes;   // "log.level: info → debug (umbel.conf:12)", one for each
    std::vector<std::string> restarts;  // the same, with a reason; not applied
    rt::PluginChanges plugins;
    rt::Nanoseconds took{0};
    [[nodiscard]] bool applied() const { return problems.empty(); }
};

class Reload {
public:
    using Read = std::function<std::expected<config::Configuration, config::Problems>()>;
    using Check = std::function<rt::Result<void>(const rt::PluginOptions&)>;

    /// running: what the daemon was started with.   read: reads all of the configuration.   check: preflights one plugin. Both
    /// are called on another thread.
    Reload(config::Configuration running, Read read, Check check);
    Reload(const Reload&) = delete;
    Reload& operator=(const Reload&) = delete;
    ~Reload();  // waits for the thread; it looks at no further plugin

    void request();
    /// The number of the run that will answer a request() made next: it begins after that, so it reads what was written before.
    [[nodiscard]] std::uint64_t next_run() const { return begun_ + 1; }
    /// What the run of this number came to, or a later one; null as long as it is not done.
    [[nodiscard]] const ReloadOutcome* outcome_of(std::uint64_t run) const { return ended_ >= run ? &last_ : nullptr; }
    [[nodiscard]] bool under_way() const { return reader_.joinable(); }
    /// Once the other thread is done, applies or refuses what it has read.
    [[nodiscard]] std::optional<ReloadOutcome> poll(rt::Runtime& runtime);
    /// The configuration in force.
    [[nodiscard]] const config::Configuration& running() const { return running_; }

private:
    void read_and_check();
    void begin();
    [[nodiscard]] ReloadOutcome apply(rt::Runtime& runtime);

    config::Configuration running_;
    const Read read_;
    const Check check_;
    bool requested_again_ = false;
    std::uint64_t begun_ = 0;  // runs
    std::uint64_t ended_ = 0;  // … of these
    ReloadOutcome last_;       // of the run that ended last
    std::chrono::steady_clock::time_point began_{};

    // The thread's until done_.
    std::thread reader_;
    std::expected<config::Configuration, config::Problems> wanted_;
    std::atomic<bool> done_{false};
    std::atomic<bool> stopping_{false};
};

}  // namespace umbel::daemon
