// settings.h: what a configuration says, once it has been read and checked.
//
// Why.    Everything behind the parser works with typed values that are known to be in range; nobody reads text twice.
// Shape.  The runtime's options (runtime/base/options.h) and the daemon's own.
// Owner.  Made by config/configuration.h, handed on by value, never changed afterwards.
// Not here.  Names, units, bounds and meanings: option_table.h.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/base/event.h"
#include "runtime/base/options.h"
#include "runtime/base/units.h"

namespace umbel::config {

enum class LogFormat : std::uint8_t { json, text };

struct LogSettings {
    rt::Level level = rt::Level::info;
    LogFormat format = LogFormat::json;
    std::string sink = "stdout";  // stdout, stderr, or a file's path (it has a slash).
};

struct DaemonSettings {
    std::string plugin_dir;  // Where relative plugin paths are searched.
    rt::Nanoseconds drain_timeout = std::chrono::seconds(10);
};

struct Settings {
    rt::Options runtime;
    DaemonSettings daemon;
    LogSettings log;
};

}  // namespace umbel::config
