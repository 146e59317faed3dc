// settings.h: one plugin's section of the config, checked against the table of settings the plugin declares.
//
// Why.    A misspelt key or a value out of range must stop the daemon before anything runs, with the line it stands on;
//         and a plugin must be able to take its settings without parsing or checking anything.
// Shape.  check_settings() takes the declared rows and the written lines and gives an umbel_settings: for each row its
//         value, as text or as a number. The plugin asks by name (setting_text, setting_number: entries of umbel_host).
// Owner.  Made by the control thread, never changed, read from any thread. The loader keeps it for the process's life.
// Errors. Configuration errors, one line each: `umbel.conf:12: plugin.http.root: cause (remedy)`. The first is reported.
//
// Invariants (check_invariants())
//   I1  every declared setting has exactly one value, of its type and in its range
//   I2  the text of a FOLDER is absolute, without links, or empty where the default is
//   I3  a text contains no zero byte: the plugin sees the whole of it
//
// Not here.  Where the lines come from, and which of file and command line wins: config/ passes each key once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/base/options.h"
#include "runtime/base/result.h"
#include "umbel/abi.h"

/// What plugins know as an opaque pointer: the checked values of one section.
struct umbel_settings {
public:
    struct Value {
        std::string name;
        std::uint32_t type = 0;   // UMBEL_SETTING_…
        std::string text;         // of TEXT, FOLDER, ADDRESS and LISTEN
        std::int64_t number = 0;  // of INTEGER, FLAG (0 or 1), SIZE (bytes) and DURATION (nanoseconds)
    };

    /// For check_settings().
    umbel_settings(std::string plugin, std::vector<Value> values);

    /// The value of a TEXT, FOLDER, ADDRESS or LISTEN. Lives as long as this object. Asking for a setting that was not declared,
    /// or not as one of these, is an error of the plugin's programmer: the process ends and says which.
    [[nodiscard]] const char* text(std::string_view name) const;

    /// The value of an INTEGER, FLAG, SIZE or DURATION. As text() otherwise.
    [[nodiscard]] std::int64_t number(std::string_view name) const;

    /// The passed sockets that LISTEN settings name (`systemd:NAME`): setting and NAME.
    [[nodiscard]] std::vector<std::pair<std::string, std::string>> wanted_listeners() const;

    void check_invariants() const;

private:
    [[nodiscard]] const Value& find(std::string_view name, bool textual) const;

    std::string plugin_;  // for the messages
    std::vector<Value> values_;
};

namespace umbel::rt {

/// The most settings a plugin may declare: a larger number is a damaged descriptor.
constexpr std::uint32_t max_settings = 1024;

/// Checks the table itself: names (snake_case, unique), types, ranges, that each row is required or has a default that
/// fits. The message names the plugin: its programmer must act.
[[nodiscard]] Result<void> check_setting_table(const PluginOptions& plugin, std::span<const umbel_setting> table);

/// Checks the table, then the section against it: unknown and repeated keys, missing ones, types, ranges, folders,
/// addresses. The table is not needed afterwards.
[[nodiscard]] Result<std::unique_ptr<const umbel_settings>> check_settings(const PluginOptions& plugin,
                                                                           std::span<const umbel_setting> table);

/// One line for each setting: "root: folder, required: the folder that is served".
[[nodiscard]] std::vector<std::string> describe_settings(std::span<const umbel_setting> table);

/// Which of `known` was probably meant by `written` (one letter differs, or up to a third of them), or "".
[[nodiscard]] std::string_view nearest_name(std::string_view written, std::span<const std::string_view> known);

/// The entries of umbel_host. [any]
[[nodiscard]] const char* setting_text(const umbel_settings* settings, const char* name);
[[nodiscard]] std::int64_t setting_number(const umbel_settings* settings, const char* name);

}  // namespace umbel::rt
