// options.h: everything that can be set before the runtime starts; immutable afterwards.
//
// Why.    Settings are parsed and checked once (config/), by one thread, and then only read: executors need no lock for
//         them and cannot see half a change.
// Not here.  What belongs to the daemon alone (log sinks, drain timeout): config/settings.h.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/units.h"
#include "umbel/abi.h"

namespace umbel::rt {

struct ExecutorOptions {
    std::size_t count = 0;        // 0: one for each of `cpus`.
    std::vector<int> cpus;        // Where executor 0, 1, … is pinned, repeated if there are more. Empty: not pinned.
    unsigned ring_entries = 256;  // Submission queue of each executor's io_uring.
    unsigned completion_entries = 16384;  // Completion queue; bounds the operations in flight on an executor.
    unsigned buffer_count = 1024;         // Buffers for multishot recv, a power of two; 0: none, recv is single.
    Bytes buffer_size = 4_KiB;            // … bytes of each.
    Nanoseconds time_slice = std::chrono::milliseconds(1);
    Nanoseconds spin = Nanoseconds(0);  // How long an idle executor looks for work before it sleeps.
    unsigned kernel_workers = 16;       // Bound on io_uring's own threads, for each executor and kind.
};

struct ActorOptions {
    Bytes memory_limit = 4_MiB;     // Of each of an actor's eight regions. A power of two, 64 KiB … 4 GiB.
    Bytes stack_size = 256_KiB;     // At most half a region.
    std::size_t max = 1'000'000;    // Living actors, all executors together.
    Bytes shared_memory = 256_MiB;  // In shared blocks, at most, all actors together.
};

/// One `key = value` of a plugin's section, as written, and where.
struct PluginSetting {
    std::string key;
    std::string value;
    std::string origin;  // "umbel.conf:12" or "command line"
};

struct PluginOptions {
    std::string name;    // NAME of [plugin.NAME]
    std::string path;    // The .so, resolved.
    std::string origin;  // Where the section begins, or its `path` is given.
    std::vector<PluginSetting> settings;
    const umbel_plugin* builtin = nullptr;  // A descriptor in this program, which is loaded instead of a file.
};

/// A socket that was open when the process began: systemd passed it, under this name.
struct PassedSocket {
    std::string name;
    int fd = -1;
};

struct Options {
    ExecutorOptions executors;
    ActorOptions actors;
    std::vector<PluginOptions> plugins;
    std::vector<PassedSocket> passed;
};

}  // namespace umbel::rt
