// log_levels.h: who is heard from which level on, now and until when.
//
// Why.    A fault is looked into by listening to one module more closely, for a while, without a restart, and without
//         forgetting to turn it off again.
// Shape.  Modules: "daemon", "runtime" (what the runtime reports itself), and each plugin by its section's name. A level
//         each by the configuration; over it, perhaps, one that was set at run time, for ever or until a time.
// Owner.  One thread at a time (Log's mutex).
//
// Invariants
//   I1  a module has the level that was set for it last and has not expired, else the configured one
// Not here.  Who is told of a change: log.h.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.h"
#include "runtime/base/event.h"
#include "runtime/base/result.h"

namespace umbel::daemon {

class LogLevels {
public:
    using Time = std::chrono::steady_clock::time_point;
    static constexpr std::string_view every_module = "all";

    struct Row {
        std::string module;
        rt::Level configured = rt::Level::info;
        std::optional<rt::Level> set;  // at run time
        std::optional<Time> until;     // of `set`; none: for ever
        [[nodiscard]] rt::Level level() const { return set.value_or(configured); }
    };

    explicit LogLevels(const config::LogSettings& settings) : settings_(settings) { set_plugins({}); }

    /// The plugins there are now. What was set for those that stay is kept.
    void set_plugins(const std::vector<std::string>& plugins);
    /// Other settings; what was set at run time stays.
    void configure(const config::LogSettings& settings);

    /// Sets `module` (or every_module) to `level`, or to what is configured if it is none; until `until`, if that is given.
    /// Errors: usage (no such module; the message names those there are).
    [[nodiscard]] rt::Result<void> set(std::string_view module, std::optional<rt::Level> level,
                                       std::optional<Time> until);
    /// Ends what has expired. True if a level has changed.
    [[nodiscard]] bool expire(Time now);

    /// All modules: daemon, runtime, then the plugins.
    [[nodiscard]] const std::vector<Row>& rows() const { return rows_; }
    [[nodiscard]] rt::Level level_of(std::string_view module) const;

private:
    [[nodiscard]] rt::Level configured(std::string_view module) const;

    config::LogSettings settings_;
    std::vector<Row> rows_;
};

}  // namespace umbel::daemon
