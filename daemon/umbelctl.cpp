// umbelctl: looks at machines and plugins for operators and plugin authors.
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/doctor.h"
#include "daemon/lifecycle.h"
#include "daemon/preflight.h"
#include "daemon/version.h"
#include "runtime/runtime.h"

namespace {

using namespace umbel;

constexpr int exit_usage = 64;

constexpr std::string_view usage =
    "Usage: umbelctl doctor\n"
    "           Says whether this machine lets umbeld run, and what to change. Exit code 0: it does, 1: it does not.\n"
    "       umbelctl plugin check FILE [KEY=VALUE]...\n"
    "           Loads a plugin in a child process as umbeld would, with these settings, and says what is wrong with\n"
    "           it, or what it is and which settings it takes. Exit code 0: it is good, 78: it is not.\n"
    "       umbelctl --version | --help\n";

void print(std::FILE* to, std::string_view text) { std::fwrite(text.data(), 1, text.size(), to); }

int wrong_usage(const std::string& why) {
    print(stderr, "umbelctl: " + why + "\n");
    print(stderr, usage);
    return exit_usage;
}

int doctor() {
    constexpr std::string_view marks[] = {"ok    ", "poor  ", "BROKEN"};
    bool broken = false;
    for (const daemon::Finding& finding : daemon::diagnose(daemon::facts())) {
        print(stdout, std::string(marks[static_cast<std::size_t>(finding.health)]) + "  " + finding.text + "\n");
        if (!finding.remedy.empty()) print(stdout, "        remedy: " + finding.remedy + "\n");
        broken = broken || finding.health == daemon::Health::broken;
    }
    return broken ? 1 : 0;
}

int check_plugin(const std::vector<std::string>& arguments) {
    rt::PluginOptions plugin;
    plugin.path = plugin.origin = arguments[0];
    // Without a slash the name would be searched in the system's library folders.
    if (!plugin.path.contains('/')) plugin.path = "./" + plugin.path;
    plugin.name = std::filesystem::path(plugin.path).stem().string();
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        const std::size_t equals = arguments[i].find('=');
        if (equals == std::string::npos || equals == 0) return wrong_usage("KEY=VALUE is wanted, not " + arguments[i]);
        plugin.settings.push_back({arguments[i].substr(0, equals), arguments[i].substr(equals + 1), "command line"});
    }
    const auto found = daemon::preflight_in_child(plugin);
    if (!found) {
        print(stderr, "umbelctl: " + found.error().message + "\n");
        return daemon::exit_code_of(found.error().error_class);
    }
    print(stdout, found->name + " " + found->version + ": " + found->description + "\n");
    for (const std::string& setting : found->settings) print(stdout, "  " + setting + "\n");
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    daemon::preflight_child(argc, argv);
    const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
    if (arguments.empty()) return wrong_usage("what is to be done?");
    if (arguments[0] == "--help") {
        print(stdout, usage);
        return 0;
    }
    if (arguments[0] == "--version") {
        print(stdout, daemon::version_text("umbelctl"));
        return 0;
    }
    if (arguments[0] == "doctor" && arguments.size() == 1) return doctor();
    if (arguments[0] == "plugin" && arguments.size() >= 3 && arguments[1] == "check") {
        return check_plugin({arguments.begin() + 2, arguments.end()});
    }
    return wrong_usage("there is no such command");
}
