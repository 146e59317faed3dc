// preflight.h: looks at a plugin from the safety of a child process.
//
// Why.    A plugin is native code: dlopen runs its constructors, `load` runs its checks, and either may crash, hang or
//         call exit. In a child that is a sentence about the plugin instead of the daemon's end.
// Shape.  The child is this program anew (/proc/self/exe with a first argument that nobody else gives): a forked copy of a
//         process with threads may not run a plugin's code. The plugin's section goes to it through a file in memory, the
//         answer comes back through a pipe, before a deadline. The child cannot outlive its parent, leaves no core file and
//         writes to stderr only.
// Owner.  Any thread. Each main() that uses it begins with preflight_child().
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "runtime/base/units.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

constexpr rt::Nanoseconds preflight_timeout = std::chrono::seconds(10);

using Preflight = std::function<rt::Result<rt::PluginDescription>(const rt::PluginOptions&)>;

/// What a child says of the plugin. Errors: its own, and configuration when the child crashed, ended by itself or
/// did not answer in time; system when there is no child to be had.
[[nodiscard]] rt::Result<rt::PluginDescription> preflight_in_child(const rt::PluginOptions& plugin,
                                                                   rt::Nanoseconds timeout = preflight_timeout);

/// If this process is such a child, does what it was started for and ends it. Else returns at once.
void preflight_child(int argc, char** argv, const Preflight& preflight = rt::preflight);

}  // namespace umbel::daemon
