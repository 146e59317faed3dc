#include "daemon/version.h"

#include <sys/utsname.h>
#include <umbel/abi.h>

#include <filesystem>
#include <system_error>

#include "runtime/base/options.h"
#include "runtime/io/kernel_report.h"

namespace umbel::daemon {

std::string version() { return UMBEL_VERSION; }

std::string version_text(const std::string& program) {
    const rt::ExecutorOptions defaults;
    const auto report = rt::kernel_report(defaults.ring_entries, defaults.completion_entries);
    return program + " " + version() + "\nplugin ABI " + std::to_string(UMBEL_ABI_VERSION) +
           "\ncompiler " UMBEL_COMPILER "\nliburing " UMBEL_LIBURING_VERSION "\nkernel " + kernel_release() + "\n" +
           (report ? *report : report.error().message) + "\n";
}

std::string kernel_release() {
    utsname names{};
    ::uname(&names);
    return std::string(names.sysname) + " " + names.release;
}

std::vector<std::string> plugin_folders() {
    namespace fs = std::filesystem;
    std::error_code error;
    const fs::path executable = fs::read_symlink("/proc/self/exe", error);
    if (error) return {};
    const fs::path prefix = executable.parent_path().parent_path();
    return {(prefix / "lib/umbel").string(), (prefix / UMBEL_LIBDIR / "umbel").string()};
}

}  // namespace umbel::daemon
