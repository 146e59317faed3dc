// runtime.h: the one door to the runtime: load → start → run → drain → stop.
//
// Why.    The daemon, the benchmarks and the tests drive the same runtime and need to know nothing of executors.
// Shape.  A Runtime owns the plugins, the executors with their threads, the directory of actors. It is driven by one
//         control thread; executors never wait for it.
// Owner.  The control thread calls everything here, except where a function says [any thread].
//
//   auto runtime = Runtime::load(options);      // plugins loaded, settings checked; no thread yet
//   (*runtime)->start();                        // executors run, mains are spawned
//   while ((*runtime)->state() == starting) …   // until each plugin is ready, or one has failed
//   (*runtime)->begin_drain();                  // accept nothing, finish what is in flight
//   while (!(*runtime)->drained()) …            // until it is finished, or the drain timeout is over:
//   (*runtime)->cancel_operations();            // what is still in flight ends as cancelled
//   (*runtime)->stop();                         // executors end; plugins' unload
//
// Not here.  Signals, logs, exit codes: daemon/. Parsing: config/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/counters.h"
#include "runtime/base/event.h"
#include "runtime/base/options.h"
#include "runtime/base/result.h"

namespace umbel::rt {

enum class RuntimeState : std::uint8_t {
    loaded,    // Plugins are loaded; nothing runs.
    starting,  // Executors run; some main actor is not ready yet.
    ready,     // Every plugin runs.
    failed,    // A main actor ended with a failure before it was ready: failure() says why.
    draining,  // begin_drain() was called.
    stopped,   // No thread is left.
};

class Runtime {
public:
    /// Opens the plugins, checks their descriptors and settings, calls their `load`.
    /// Errors: configuration (a bad plugin or setting; the message names file:line, setting, cause, remedy).
    [[nodiscard]] static Result<std::unique_ptr<Runtime>> load(Options options);

    Runtime(const Runtime&) = delete;
    Runtime& operator=(const Runtime&) = delete;
    virtual ~Runtime() = default;

    /// Starts the executors' threads, each with its ring, and spawns the main actors.
    /// Errors: system (no ring, no memory, a CPU that does not exist or is not allowed); nothing is left running.
    [[nodiscard]] virtual Result<void> start() = 0;

    /// [any thread]
    [[nodiscard]] virtual RuntimeState state() const = 0;
    /// In state `failed`: which plugin, why.
    [[nodiscard]] virtual Error failure() const = 0;
    /// What the plugins announced when they were ready: {plugin, text}, in the order of the config.
    [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> announcements() const = 0;

    /// Begins the end: accepts stop, operations that only wait for work (DRAINS) are cancelled.
    virtual void begin_drain() = 0;
    /// Nothing is in flight any more: no operation, no runnable actor, no message under way.
    [[nodiscard]] virtual bool drained() = 0;
    /// Cancels every operation that is still in flight. The actors get a moment to end: see drained().
    virtual void cancel_operations() = 0;
    /// Ends the executors and unloads. Actors that still live are abandoned. Idempotent.
    virtual void stop() = 0;

    /// Takes the log records written before the call, and hands each to `sink`, in the order of their time over all
    /// executors. [any thread], one at a time. Returns how many there were.
    virtual std::size_t take_log(const std::function<void(const LogRecord&)>& sink) = 0;

    /// [any thread]
    [[nodiscard]] virtual std::vector<ExecutorCounters> counters() const = 0;

    /// The plugins whose levels can be set. [any thread]
    [[nodiscard]] virtual std::vector<std::string> log_modules() const = 0;
    /// What `module`, a plugin or "runtime" for what the runtime reports itself, reports under `level` is from now on not
    /// made at all. Nothing happens for an unknown one. [any thread]
    virtual void set_log_level(std::string_view module, Level level) = 0;

protected:
    Runtime() = default;
};

/// What a plugin says of itself, for `--check-config` and `umbelctl plugin check`.
struct PluginDescription {
    std::string name;
    std::string version;
    std::string description;
    std::vector<std::string> settings;  // one line each: key, type, default, range, description
};

/// Loads one plugin and calls its `load` with these settings, as the daemon would, and says what is wrong.
/// Runs the plugin's code: call it in a child process.
[[nodiscard]] Result<PluginDescription> preflight(const PluginOptions& plugin);

}  // namespace umbel::rt
