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
// Plugins may be added, retired and given new settings between start() and begin_drain(). The control thread describes all
// plugins as they are to be, and all of it is done or none:
//
//   auto changes = (*runtime)->prepare_plugins(wanted);   // new ones are loaded, new settings checked; nobody sees it yet
//   (*runtime)->apply_plugins();   or   (*runtime)->drop_plugins();
//   for (news : (*runtime)->tend_plugins(patience)) …     // now and then, while plugins_changing(): what has become of it
//
//   a plugin     starting ──each main is ready──▶ running ──retired──▶ draining ──nothing is in flight──▶ ending ──▶ gone
//                   │ └──retired──────────────────────────────────────▲ │                                 ▲ │
//                   └──a main fails, or patience.start is over────────┘ └──patience.drain is over──▶ cancelling
//
//   draining     its accepts and DRAINS operations have ended, its mains have UMBEL_MESSAGE_DRAIN, umbel_draining() holds
//   cancelling   everything it has in flight is cancelled; for patience.cancel at most
//   ending       its remaining actors end: a handler between two messages by its `stop`, others are abandoned
//   gone         no actor of it is left, `unload` has been called; its name may be added again. The library stays mapped
//                (dlclose lies): the same file is loaded again in the same globals.
// Actors of other plugins notice nothing of it.
//
// Not here.  Signals, logs, exit codes: daemon/. Parsing: config/.
#pragma once

#include <cstdint>
#include <expected>
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

/// An executor that has not answered a roll call, and what it runs.
struct AbsentExecutor {
    ExecutorIndex executor{};
    std::uint64_t actor = 0;       // 0: no actor runs
    std::string type;              // the actor's; "": none
    const char* plugin = nullptr;  // its name (lives as long as the process) or null
};

/// What prepare_plugins() found to do: names of plugins, in the order of the config.
struct PluginChanges {
    std::vector<std::string> added;
    std::vector<std::string> retired;
    std::vector<std::string> reset;  // they get new settings
    struct Restart {
        std::string plugin;
        std::string why;
    };
    std::vector<Restart> need_restart;  // they are wanted otherwise, but go on as they are
};

/// What has become of a plugin that was added or retired.
struct PluginNews {
    enum class Kind : std::uint8_t {
        running,    // each of its mains is ready
        failed,     // a main failed, or was not ready in time: it is being retired
        cancelled,  // its drain took too long: what is in flight is cancelled
        gone,
    };
    Kind kind = Kind::gone;
    std::string plugin;
    std::string text;     // running: what it announced; failed: why
    Nanoseconds took{0};  // since it was added or retired
};

/// How long plugins that come and go may take.
struct PluginPatience {
    Nanoseconds start = std::chrono::seconds(30);
    Nanoseconds drain = std::chrono::seconds(10);
    Nanoseconds cancel = std::chrono::seconds(1);
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

    // ---- Plugins that come, change and go, in state `ready`.

    /// Loads who is new among `wanted`, and asks each plugin whose settings have changed whether it can apply them. Plugins
    /// that are not in `wanted` are to be retired. Runs code of plugins, that of new ones for the first time: preflight it.
    /// Errors: one line for each problem, as load(); nothing has happened then. Otherwise apply or drop must follow.
    [[nodiscard]] virtual std::expected<PluginChanges, std::vector<std::string>> prepare_plugins(
        std::vector<PluginOptions> wanted) = 0;
    /// What was prepared becomes true: mains of new plugins are spawned, settings count, others begin to drain.
    virtual void apply_plugins() = 0;
    /// What was prepared is forgotten.
    virtual void drop_plugins() = 0;
    /// Some plugin is starting after start(), or on its way out.
    [[nodiscard]] virtual bool plugins_changing() const = 0;
    /// Takes those a step further, and says what has happened since the last call.
    [[nodiscard]] virtual std::vector<PluginNews> tend_plugins(const PluginPatience& patience) = 0;
    /// The plugins that are to run, as they run: their settings are those in force.
    [[nodiscard]] virtual std::vector<PluginOptions> running_plugins() const = 0;

    /// Begins the end: accepts stop, operations that only wait for work (DRAINS) are cancelled.
    virtual void begin_drain() = 0;
    /// Nothing is in flight any more: no operation, no runnable actor, no message under way.
    [[nodiscard]] virtual bool drained() = 0;
    /// Cancels every operation that is still in flight. The actors get a moment to end: see drained().
    virtual void cancel_operations() = 0;
    /// Ends the executors and unloads. Actors that still live are abandoned. Idempotent.
    virtual void stop() = 0;

    /// Asks every executor for a sign of life: it answers in its next turn, and is woken for that if it sleeps. An executor
    /// that is kept by an actor which never waits cannot. Between start() and stop(). [any thread]
    virtual void call_roll() = 0;
    /// Who has not answered the last roll call. [any thread]
    [[nodiscard]] virtual std::vector<AbsentExecutor> absent() const = 0;

    /// The passed sockets (Options::passed) that no plugin has taken: connections to them wait for nobody. [any thread]
    [[nodiscard]] virtual std::vector<std::string> untaken_listeners() const = 0;

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
