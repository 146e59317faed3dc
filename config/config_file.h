// config_file.h: a config file's lines, each with its place.
//
// Why.    Every message about a setting begins with FILE:LINE, so a value must know where it was written.
// Shape.  `[section]` lines, `key = value` lines, `#` begins a comment anywhere. Boost.Program_options takes a line
//         apart; sections, line numbers and duplicates are ours.
// Invariants (tests/fuzz/config/config_file_fuzz.cpp)
//   I1  whatever the bytes, there is a result: entries, and a problem for each line that is none
//   I2  no two entries have the same section and key, no two heads the same name
// Not here.  Which keys there are and what their values mean: configuration.h.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace umbel::config {

struct FileEntry {
    std::string section;
    std::string key;
    std::string value;
    std::string origin;  // "umbel.conf:12"
};

struct SectionHead {
    std::string name;
    std::string origin;
};

struct ConfigFile {
    std::vector<SectionHead> heads;
    std::vector<FileEntry> entries;
    std::vector<std::string> problems;  // "umbel.conf:12: …", one line each
};

/// file: the name that origins begin with.
[[nodiscard]] ConfigFile parse_config_file(std::string_view text, const std::string& file);

/// What neither a key nor a value may hold, in a file or on the command line: "" or what is wrong with `value`.
[[nodiscard]] std::string unwritable(std::string_view value);

/// Whether `name` is letters, digits, `_` and `-`, 1 to 63 of them: a section's or plugin's name, or a key.
[[nodiscard]] bool is_name(std::string_view name);

}  // namespace umbel::config
