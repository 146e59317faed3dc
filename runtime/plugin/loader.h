// loader.h: from a plugin's file to a descriptor that can be trusted, or one line that says what does not fit.
//
// Why.    A plugin is built by others, at other times. Whatever is wrong with its file must be an operator's error with
//         a remedy: never a crash, and never a structure read with the wrong layout.
// Shape.  open_plugin(): look at the file (ELF, whole, ours) before any of it is mapped; dlopen; find the descriptor;
//         compare it field by field; check the settings. call_load(): the plugin's own `load`, its errors caught.
//         A program may bring plugins of its own (PluginOptions::builtin, as umbel-bench does): they have no file, and
//         everything else is the same.
// Sizes.  What may differ from this daemon's abi.h of the same ABI version, following "structures grow at their end":
//           descriptor, actor type   first … ours: an older plugin's is shorter, the rest reads as zero
//           setting                  first … ours: the table is walked with the plugin's stride
//           umbel_host               first … ours: an older plugin uses the front of our table
//           operation, message       ours: arrays and results of them pass in both directions on every call
//         "first" is the size in the first header of this ABI version; a larger one than ours is a newer plugin.
// Owner.  The control thread. What it returns lives as long as the process: libraries are never unmapped (dlclose does
//         not undo unique symbols and thread-local destructors), so their tables and names stay.
//
// Invariants
//   I1  no byte of a file is mapped before its headers have been found to lie inside it
//   I2  no field of a descriptor is read before the fields that say it exists: symbol size, magic, ABI version, sizes
//   I3  one file serves one section: a second one would share its globals. The same section may open it again.
//
// Not here.  A file whose headers are right and whose code is broken: preflight in a child process finds that
//            (runtime.h). The host table: the runtime. unload: the runtime, after the last actor.
#pragma once

#include <cstddef>
#include <expected>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "runtime/plugin/settings.h"
#include "umbel/abi.h"

namespace umbel::rt {

/// A plugin whose descriptor and settings are checked. All pointers are valid as long as the process lives.
struct LoadedPlugin {
    const char* name = nullptr;                // NAME of [plugin.NAME]; one pointer for each distinct name
    const umbel_plugin* descriptor = nullptr;  // a copy, complete to our size; `main` is the plugin's own object
    const umbel_settings* settings = nullptr;
    std::vector<std::string> setting_lines;  // for PluginDescription: see describe_settings()
    std::string path;                        // absolute, without links; "" for a builtin plugin
    std::string origin;                      // where the section stands, for messages
};

/// Opens the plugin's file, or takes its builtin descriptor, and checks everything that can be checked without calling
/// it. (Its initialisers of static objects run: dlopen does that.)
/// Errors: configuration; `umbel.conf:3: plugin.http.path: …` about the file, `umbel.conf:3: plugin.http: …` about what
///         is in it.
/// Role:   [control]
[[nodiscard]] Result<LoadedPlugin> open_plugin(const PluginOptions& plugin);

/// Calls the plugin's `load`. What it writes as its error, or throws, becomes the message.
/// host: lives as long as the process.
/// Role: [control]
[[nodiscard]] Result<void> call_load(const LoadedPlugin& plugin, const umbel_host& host);

/// New settings for a plugin that is loaded: its section as it is written now, checked against its table.
/// Errors: configuration, as open_plugin().
/// Role:   [control]
[[nodiscard]] Result<std::unique_ptr<const umbel_settings>> check_new_settings(const LoadedPlugin& plugin,
                                                                               const PluginOptions& section);

/// Calls the plugin's `reload`, which must not be null, with UMBEL_RELOAD_CHECK. What it writes as its error, or throws,
/// becomes the message. section: for the message's place.
/// Role: [control]
[[nodiscard]] Result<void> call_reload_check(const LoadedPlugin& plugin, const umbel_settings& settings,
                                             const PluginOptions& section);

/// What was checked counts from now on, and its settings live as long as the process.
/// Role: [control]
void call_reload_apply(LoadedPlugin& plugin, std::unique_ptr<const umbel_settings> settings);

/// What was checked is forgotten.
/// Role: [control]
void call_reload_drop(const LoadedPlugin& plugin, const umbel_settings& settings);

/// Whether the file is a whole shared library for this machine. Reads headers, maps nothing. The error is the cause and
/// the remedy, without the file's name.
[[nodiscard]] std::expected<void, std::string> check_library_file(const std::string& path);

/// What does not fit in a descriptor of which `available` bytes may be read, cause and remedy; settings aside.
[[nodiscard]] std::expected<void, std::string> check_descriptor(const umbel_plugin* descriptor, std::size_t available);

}  // namespace umbel::rt
