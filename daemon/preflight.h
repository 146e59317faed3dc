// preflight.h: looks at a plugin from the safety of a child process.
//
// Why.    A plugin is native code: dlopen runs its constructors, `load` runs its checks, and either may crash, hang or
//         call exit. In a child that is a sentence about the plugin instead of the daemon's end.
// Shape.  fork, rt::preflight in the child, the answer through a pipe, a deadline. The child cannot outlive its parent,
//         leaves no core file and writes to stderr only.
// Owner.  The main thread, before the process has other threads: a forked child has only the one that forked.
#pragma once

#include <chrono>
#include <functional>

#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

constexpr rt::Nanoseconds preflight_timeout = std::chrono::seconds(10);

using Preflight = std::function<rt::Result<rt::PluginDescription>(const rt::PluginOptions&)>;

/// What `preflight` says of the plugin. Errors: its own, and configuration when the child crashed, ended by itself or
/// did not answer in time; system when there is no child to be had.
[[nodiscard]] rt::Result<rt::PluginDescription> preflight_in_child(const rt::PluginOptions& plugin,
                                                                   const Preflight& preflight,
                                                                   rt::Nanoseconds timeout = preflight_timeout);

}  // namespace umbel::daemon
