// option_table.h: every setting of the daemon, once.
//
// Why.    One row gives the parser, the bounds, `--help`, `--dump-config`, umbel.conf(5) and the test that config/umbel.conf explains
//         each key with its default. A setting that is not here does not exist.
// Shape.  A constant table of rows: key, type, unit, default, bounds, when a change applies, meaning, and where the
//         value goes. The defaults are text, as in a file; a test holds them equal to runtime/base/options.h and settings.h.
// Not here.  The keys of a plugin's section: the plugin declares them, the plugin loader checks them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/settings.h"
#include "runtime/base/result.h"

namespace umbel::config {

enum class ValueType : std::uint8_t {
    integer,   // min … max
    size,      // bytes: 64KiB; min … max bytes
    duration,  // 250us; min … max nanoseconds
    choice,    // one of `choices`
    cpu_list,  // 0,2-5; may be empty
    sink,      // auto, stdout, stderr, journal, or a path with a slash
    levels,    // MODULE:LEVEL MODULE:LEVEL …; may be empty
    socket,    // auto, none, or a path with a slash
    folder,    // a path; may be empty
};

enum class AppliesAt : std::uint8_t {
    start,   // a change needs a restart
    reload,  // a change needs a reload
};

/// A checked value: a number (for a choice its index), a text, CPUs, or levels.
using Value = std::variant<std::int64_t, std::string, std::vector<int>, std::vector<ModuleLevel>>;

struct OptionDescription {
    std::string_view key;  // "section.name"
    ValueType type;
    std::string_view default_value;  // as written in a file
    std::int64_t min;
    std::int64_t max;
    std::string_view choices;  // "json text", separated by blanks
    AppliesAt applies_at;
    std::string_view description;  // one sentence, with the unit and what special values mean
    void (*store)(const Value& value, Settings& settings);

    [[nodiscard]] std::string_view section() const { return key.substr(0, key.find('.')); }
    [[nodiscard]] std::string_view name() const { return key.substr(key.find('.') + 1); }
};

/// Every setting, a section's together, in the order in which they are explained.
[[nodiscard]] std::span<const OptionDescription> option_table();

/// The row of `key`, or null.
[[nodiscard]] const OptionDescription* find_option(std::string_view key);

/// What may be written: "0 to 255", "64KiB to 4GiB", "json or text".
[[nodiscard]] std::string range_text(const OptionDescription& option);

/// Reads a value. Errors: configuration; what is wrong with it and what is allowed, without place and key.
[[nodiscard]] rt::Result<Value> parse_value(const OptionDescription& option, std::string_view text);

/// "debug" → Level::debug. Errors: configuration; what is allowed.
[[nodiscard]] rt::Result<rt::Level> parse_level(std::string_view text);

/// Every setting at its default.
[[nodiscard]] Settings default_settings();

/// The table for people: `--help`.
[[nodiscard]] std::string option_help();

/// The table as part of a man page: scdoc.
[[nodiscard]] std::string option_manual();

/// Of `candidates`, the one a person most likely meant by `text`; "" if none is near.
[[nodiscard]] std::string nearest(std::string_view text, std::span<const std::string> candidates);

}  // namespace umbel::config
