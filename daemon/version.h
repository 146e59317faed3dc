// version.h: what this build is and what it runs on.
#pragma once

#include <string>
#include <vector>

namespace umbel::daemon {

/// "0.1.0"
[[nodiscard]] std::string version();

/// `--version`: program, ABI, compiler, libraries, kernel, what its io_uring offers. One line each.
[[nodiscard]] std::string version_text(const std::string& program);

/// "Linux 6.18.44"
[[nodiscard]] std::string kernel_release();

/// Where an installed or freshly built umbeld keeps its plugins, most likely first: seen from its own folder.
[[nodiscard]] std::vector<std::string> plugin_folders();

}  // namespace umbel::daemon
