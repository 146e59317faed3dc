// event.h: everything the runtime can report, as one table, and the head of the record that carries a report.
//
// Why.    An executor never formats text and never blocks on a log. It writes a record into its ring
//         (event_ring.h); the daemon's log thread turns records into lines. One table gives the stable names,
//         the levels and the documentation: docs/log-events.md is generated from it.
// Shape.  A record is an Event (64 B: what happened, where, to whom, up to three numbers) and, behind it, a name and
//         fields if a plugin gave it some (event_fields.h), and a text. A LogRecord is how its reader sees it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "runtime/base/units.h"

namespace umbel::rt {

enum class Level : std::uint8_t { trace, debug, info, warning, error };

[[nodiscard]] constexpr std::string_view name_of(Level level) {
    constexpr std::array<std::string_view, 5> names{"trace", "debug", "info", "warning", "error"};
    return names[static_cast<std::size_t>(level)];
}

enum class EventKind : std::uint16_t {
    executor_started,
    executor_stopped,
    plugin_ready,
    plugin_failed,
    plugin_log,
    plugin_event,
    event_refused,
    actor_failed,
    dead_letter,
    ring_overflow,
    stack_overflow,
    drain_began,
    operations_cancelled,
    // The daemon's own: no executor reports them.
    starting,
    config_warning,
    start_failed,
    ready,
    draining,
    drain_timed_out,
    reloaded,
    reload_refused,
    plugin_added,
    plugin_retiring,
    plugin_drain_timed_out,
    plugin_retired,
    log_reopened,
    log_failed,
    log_dropped,
    executor_hung,
    listener_unused,
    log_suppressed,
    log_lost,
    log_level_changed,
    admin_ready,
    admin_failed,
    admin_command,
    stopped,
    count,
};

/// One row of the table. `value_names`: what the numbers of such an event are called in a log line ("" = unused).
struct EventDescription {
    EventKind kind;
    std::string_view name;
    Level level;
    std::array<std::string_view, 3> value_names;
    std::string_view meaning;
};

inline constexpr std::array<EventDescription, static_cast<std::size_t>(EventKind::count)> event_table{{
    {EventKind::executor_started,
     "executor_started",
     Level::info,
     {"cpu", "ring_entries", "completion_entries"},
     "An executor has its ring and begins to run. Text: what the kernel offers and lacks."},
    {EventKind::executor_stopped,
     "executor_stopped",
     Level::debug,
     {"turns", "operations", "cq_overflows"},
     "An executor has ended."},
    {EventKind::plugin_ready,
     "plugin_ready",
     Level::info,
     {"", "", ""},
     "A plugin runs on every executor it wanted. Text: what it announced, its addresses for instance."},
    {EventKind::plugin_failed,
     "plugin_failed",
     Level::error,
     {"", "", ""},
     "A plugin that a reload added could not start; it is taken out again, and the daemon goes on. Text: the reason."},
    {EventKind::plugin_log,
     "plugin_log",
     Level::info,
     {"", "", ""},
     "A line a plugin logged itself; its level is the one it chose, its text is the message."},
    {EventKind::plugin_event,
     "plugin_event",
     Level::info,
     {"", "", ""},
     "A structured event of a plugin's: the line has the event's own name, PLUGIN.NAME, and its fields as keys."},
    {EventKind::event_refused,
     "event_refused",
     Level::warning,
     {"", "", ""},
     "A plugin logged an event that cannot be one, and it is not written. Text: which, why, and what is allowed."},
    {EventKind::actor_failed,
     "actor_failed",
     Level::error,
     {"", "", ""},
     "An actor ended with a reason other than normal. Text: the reason."},
    {EventKind::dead_letter,
     "dead_letter",
     Level::warning,
     {"message_type", "dead_letters_total", ""},
     "A message found no living actor or no room. Sampled: one event a second at most, the count is exact."},
    {EventKind::ring_overflow,
     "ring_overflow",
     Level::warning,
     {"cq_overflows_total", "", ""},
     "The completion ring overflowed; nothing is lost, but multishot operations were ended and set up again."},
    {EventKind::stack_overflow,
     "stack_overflow",
     Level::error,
     {"", "", ""},
     "An actor ran into the guard under its stack and was ended. Text: its type, the stack's size."},
    {EventKind::drain_began,
     "drain_began",
     Level::info,
     {"actors", "operations", ""},
     "An executor stops accepting and finishes what is in flight."},
    {EventKind::operations_cancelled,
     "operations_cancelled",
     Level::warning,
     {"operations", "", ""},
     "The drain timeout is over; what was still in flight on this executor is cancelled."},
    {EventKind::starting,
     "starting",
     Level::info,
     {"pid", "executors", "plugins"},
     "The daemon has read its configuration and every plugin passed its check; it starts. Text: version, config file."},
    {EventKind::config_warning,
     "config_warning",
     Level::warning,
     {"", "", ""},
     "The configuration is right but perhaps not meant so. Text: file:line, setting, why."},
    {EventKind::start_failed,
     "start_failed",
     Level::error,
     {"exit_code", "", ""},
     "The daemon cannot run and ends. Text: the thing, the cause, the remedy; it is on stderr as well."},
    {EventKind::ready,
     "ready",
     Level::info,
     {"startup_ms", "", ""},
     "Every plugin runs. Text: what each announced; also as a key of its own, plugin.NAME."},
    {EventKind::draining,
     "draining",
     Level::info,
     {"drain_timeout_ms", "", ""},
     "The daemon was told to end: it accepts nothing new and finishes what is in flight. Text: by which signal."},
    {EventKind::drain_timed_out,
     "drain_timed_out",
     Level::warning,
     {"drain_timeout_ms", "", ""},
     "daemon.drain_timeout is over: what is still in flight is cancelled."},
    {EventKind::reloaded,
     "reloaded",
     Level::info,
     {"changed", "needs_restart", "took_ms"},
     "SIGHUP came: the configuration was read again and applied. Text: each change, old → new and where it stands; "
     "then "
     "what is changed in the files but needs a restart."},
    {EventKind::reload_refused,
     "reload_refused",
     Level::error,
     {"problems", "took_ms", ""},
     "SIGHUP came, and something is wrong with the configuration: nothing of it is applied. Text: every problem with "
     "its "
     "file:line."},
    {EventKind::plugin_added,
     "plugin_added",
     Level::info,
     {"", "", ""},
     "A reload added this plugin; plugin_ready or plugin_failed follows."},
    {EventKind::plugin_retiring,
     "plugin_retiring",
     Level::info,
     {"drain_timeout_ms", "", ""},
     "A reload no longer has this plugin: it accepts nothing new and finishes what is in flight."},
    {EventKind::plugin_drain_timed_out,
     "plugin_drain_timed_out",
     Level::warning,
     {"drain_timeout_ms", "", ""},
     "A retired plugin still had something in flight after daemon.drain_timeout: it is cancelled."},
    {EventKind::plugin_retired,
     "plugin_retired",
     Level::info,
     {"took_ms", "", ""},
     "No actor of a retired plugin is left, and it has been unloaded; its name may be added again."},
    {EventKind::log_reopened,
     "log_reopened",
     Level::info,
     {"", "", ""},
     "SIGHUP came: the log file was opened anew. Text: the file, if it is one."},
    {EventKind::log_failed,
     "log_failed",
     Level::error,
     {"", "", ""},
     "The log file could not be opened anew; the old one stays in use. Text: the file and the reason."},
    {EventKind::log_dropped,
     "log_dropped",
     Level::warning,
     {"dropped", "dropped_total", ""},
     "Executors reported faster than the log could take: so many events are missing before this line."},
    {EventKind::executor_hung,
     "executor_hung",
     Level::error,
     {"silent_ms", "", ""},
     "An executor does not turn; the service manager is not told that we live, and restarts the daemon. Text: what it "
     "runs."},
    {EventKind::listener_unused,
     "listener_unused",
     Level::warning,
     {"", "", ""},
     "A socket was passed to the daemon and no plugin has taken it: connections to it wait for nobody. Text: its "
     "name."},
    {EventKind::log_suppressed,
     "log_suppressed",
     Level::warning,
     {"suppressed", "", ""},
     "An event came more often than log.rate_limit a second: so many were not written. Also as a key: "
     "suppressed_event."},
    {EventKind::log_lost,
     "log_lost",
     Level::error,
     {"lost", "lost_total", ""},
     "The log could not be written for a while: so many lines are missing before this one. Text: the reason."},
    {EventKind::log_level_changed,
     "log_level_changed",
     Level::info,
     {"", "", ""},
     "A level was set over the admin socket, or its time is over. Text: which, to what, until when."},
    {EventKind::admin_ready,
     "admin_ready",
     Level::info,
     {"", "", ""},
     "The admin socket is open, for umbelctl. Text: its path."},
    {EventKind::admin_failed,
     "admin_failed",
     Level::error,
     {"", "", ""},
     "There is no admin socket: the one systemd's runtime folder should have could not be made. Text: the reason."},
    {EventKind::admin_command,
     "admin_command",
     Level::info,
     {"uid", "pid", ""},
     "Somebody gave a command that changes something, over the admin socket. Text: the command."},
    {EventKind::stopped,
     "stopped",
     Level::info,
     {"exit_code", "drain_ms", ""},
     "The last line: no thread of the runtime is left, the process ends with exit_code."},
}};

[[nodiscard]] constexpr const EventDescription& describe(EventKind kind) {
    return event_table[static_cast<std::size_t>(kind)];
}

/// The head of a record. Plain bytes in the ring.
struct Event {
    std::uint32_t bytes = 0;  // The ring's: of the whole record.
    EventKind kind = EventKind::count;
    Level level = Level::info;
    ExecutorIndex executor{};
    std::int64_t time_ns = 0;      // CLOCK_REALTIME, nanoseconds since 1970.
    std::uint64_t actor = 0;       // 0: no actor.
    const char* plugin = nullptr;  // A plugin's name (lives as long as the process) or null.
    std::array<std::int64_t, 3> values{};
    std::uint16_t fields_length = 0;  // Bytes behind the head: first the fields, …
    std::uint16_t text_length = 0;    // … then the text, …
    std::uint8_t name_length = 0;     // … then the name.
    bool truncated = false;           // A text was longer than what is kept.
};
static_assert(sizeof(Event) == 64, "a record begins with one cache line's worth");

/// A record as its reader sees it. What the views show lies in the ring: valid until the reader goes on.
struct LogRecord {
    Event event;
    std::string_view name;  // of a plugin_event; else empty
    std::string_view text;
    std::string_view fields;  // event_fields.h reads them
};

}  // namespace umbel::rt
