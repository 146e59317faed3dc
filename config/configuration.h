// configuration.h: a config file, its drop-ins and the command line's `--set`s, checked and put together.
//
// Why.    The daemon starts with a configuration that is right as a whole, or not at all: then everything that is wrong
//         with it is said at once, each with its place.
// Shape.  default → file → drop-ins → command line, later ones win. Drop-ins are conf.d/*.conf beside the file, in the order
//         of the bytes of their names. A key may stand once in each file: twice in one is a mistake, in a later one it
//         overrides. Each effective value keeps its origin, for messages and `--dump-config`. Values are checked one by one
//         (option_table.h), then against each other and the machine.
// Reload. differences() says what a new configuration changes in one that runs; running_after() is what runs then.
// Invariants
//   I1  a Configuration has no problem: every value is in its bounds and fits the others
//   I2  dump() is a config file that gives the same Configuration
// Not here.  Whether a plugin's file is one, and its keys are right: the plugin loader says that.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "config/settings.h"

namespace umbel::config {

/// One `--set key=value`.
struct Assignment {
    std::string key;
    std::string value;
};

/// What a configuration is checked against; taken from the machine but in tests.
struct Machine {
    std::vector<int> allowed_cpus;            // those this process may run on
    int configured_cpus = 0;                  // CPUs 0 … configured_cpus-1 exist
    std::vector<std::string> plugin_folders;  // for an empty daemon.plugin_dir: the first that exists
};

/// The machine as it is. The plugin folders are the caller's to know.
[[nodiscard]] Machine this_machine(std::vector<std::string> plugin_folders);

struct EffectiveSetting {
    std::string section;
    std::string key;
    std::string value;   // as written
    std::string origin;  // "default", "umbel.conf:12", "command line"
    std::string note;    // what an automatic value means here, "" if there is nothing to say
};

struct Configuration {
    Settings settings;
    std::vector<EffectiveSetting> effective;  // a section's together
    std::vector<std::string> warnings;        // one line each
};

using Problems = std::vector<std::string>;  // one line each, at least one

/// A file's contents, and its name, for origins.
struct SourceText {
    std::string text;
    std::string file;
};

/// sources: the config file, then its drop-ins, in their order.
[[nodiscard]] std::expected<Configuration, Problems> configure(const std::vector<SourceText>& sources,
                                                               const std::vector<Assignment>& assignments,
                                                               const Machine& machine);

/// text: the file's contents.   file: its name, for origins.
[[nodiscard]] std::expected<Configuration, Problems> configure(std::string_view text, const std::string& file,
                                                               const std::vector<Assignment>& assignments,
                                                               const Machine& machine);

/// The folder of `file`'s drop-ins, which need not exist: conf.d beside it.
[[nodiscard]] std::string drop_in_folder(const std::string& file);

/// Reads the file and its drop-ins and configures. Problems: also that one of them cannot be read.
[[nodiscard]] std::expected<Configuration, Problems> load_configuration(const std::string& file,
                                                                        const std::vector<Assignment>& assignments,
                                                                        const Machine& machine);

/// A setting that a reload finds changed.
struct SettingChange {
    std::string section;
    std::string key;
    std::string before;  // as written; of a plugin's key that was not set: "(not set)"
    std::string after;
    std::string origin;          // of `after`
    bool needs_restart = false;  // of a plugin's key always false: the plugin decides
};

/// What `wanted` changes, without plugins that are added or retired as a whole.
[[nodiscard]] std::vector<SettingChange> differences(const Configuration& running, const Configuration& wanted);

/// What runs once `wanted` has been applied to what runs now: what needs a restart is as before.
/// kept: plugins that go on as they are, though they are wanted otherwise.
[[nodiscard]] Configuration running_after(const Configuration& running, const Configuration& wanted,
                                          const std::vector<std::string>& kept);

/// Every setting with its origin, as a config file.
[[nodiscard]] std::string dump(const Configuration& configuration);

}  // namespace umbel::config
