// command_line.h: what umbeld was asked to do.
//
// Not here.  What is done about it: daemon/umbeld.cpp. Values of settings: configuration.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/configuration.h"
#include "runtime/base/result.h"

namespace umbel::config {

enum class Action : std::uint8_t { run, check_config, dump_config, version, help };

struct CommandLine {
    Action action = Action::run;
    std::string config_file = "/etc/umbel/umbel.conf";
    std::vector<Assignment> assignments;  // in the order given; of the same key the last one counts
};

/// arguments: without the program's name. Errors: usage.
[[nodiscard]] rt::Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);

/// `--help`: usage, then every setting.
[[nodiscard]] std::string help_text();

}  // namespace umbel::config
