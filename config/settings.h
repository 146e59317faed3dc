// settings.h: what a configuration says, once it has been read and checked.
//
// Why.    Everything behind the parser works with typed values that are known to be in range; nobody reads text twice.
// Shape.  The runtime's options (runtime/base/options.h) and the daemon's own.
// Owner.  Made by config/configuration.h, handed on by value, never changed afterwards.
// Not here.  Names, units, bounds and meanings: option_table.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/event.h"
#include "runtime/base/options.h"
#include "runtime/base/units.h"

namespace umbel::config {

enum class LogFormat : std::uint8_t { json, text };

struct ModuleLevel {
    std::string module;  // daemon, runtime, or a plugin's name
    rt::Level level = rt::Level::info;
    bool operator==(const ModuleLevel&) const = default;
};

struct LogSettings {
    rt::Level level = rt::Level::info;
    LogFormat format = LogFormat::json;
    std::string sink = "auto";        // auto, stdout, stderr, journal, or a file's path (it has a slash).
    std::vector<ModuleLevel> levels;  // of modules that do not have `level`
    std::uint64_t rate_limit = 1000;  // lines of one event and plugin a second; 0: no limit
};

struct AdminSettings {
    std::string socket = "auto";  // auto, none, or a path
};

struct DaemonSettings {
    std::string plugin_dir;  // Where relative plugin paths are searched.
    rt::Nanoseconds drain_timeout = std::chrono::seconds(10);
};

struct Settings {
    rt::Options runtime;
    DaemonSettings daemon;
    LogSettings log;
    AdminSettings admin;
};

}  // namespace umbel::config
