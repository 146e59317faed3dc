#include "config/command_line.h"

#include <boost/program_options/errors.hpp>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <boost/program_options/variables_map.hpp>
#include <optional>
#include <sstream>

#include "config/option_table.h"
#include "runtime/base/quantity.h"

namespace umbel::config {

namespace {

namespace po = boost::program_options;

po::options_description options() {
    po::options_description all("Options");
    auto add = all.add_options();
    add("config", po::value<std::string>()->value_name("FILE"),
        "the config file; /etc/umbel/umbel.conf if it is not given");
    add("set", po::value<std::vector<std::string>>()->composing()->value_name("KEY=VALUE"),
        "sets one setting over the config file; may be repeated, the last one counts");
    add("check-config", "checks the config and every plugin in it, says what is wrong, and ends");
    add("dump-config", "prints every setting with its origin, as a config file, and ends");
    add("version", "prints versions and ends");
    add("help", "prints this and ends");
    return all;
}

std::unexpected<rt::Error> refuse(const std::string& message) {
    return rt::fail(rt::ErrorClass::usage, message + "; umbeld --help says what can be written");
}

}  // namespace

rt::Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
    namespace style = po::command_line_style;
    po::variables_map given;
    try {
        po::store(po::command_line_parser(arguments)
                      .options(options())
                      .positional(po::positional_options_description())
                      .style(style::allow_long | style::long_allow_adjacent | style::long_allow_next)
                      .run(),
                  given);
    } catch (const po::error& error) {
        return refuse(error.what());
    }
    CommandLine result;
    std::string chosen;
    const std::pair<const char*, Action> actions[] = {{"check-config", Action::check_config},
                                                      {"dump-config", Action::dump_config},
                                                      {"version", Action::version},
                                                      {"help", Action::help}};
    for (const auto& [name, action] : actions) {
        if (!given.contains(name)) continue;
        if (!chosen.empty()) return refuse("--" + chosen + " and --" + name + " exclude each other");
        chosen = name;
        result.action = action;
    }
    if (given.contains("config")) result.config_file = given["config"].as<std::string>();
    if (result.config_file.empty()) return refuse("--config wants a file");
    if (given.contains("set")) {
        for (const std::string& text : given["set"].as<std::vector<std::string>>()) {
            const std::size_t equals = text.find('=');
            if (equals == std::string::npos || equals == 0) {
                return refuse("--set wants KEY=VALUE, not " + rt::quotation(text));
            }
            result.assignments.push_back({text.substr(0, equals), text.substr(equals + 1)});
        }
    }
    return result;
}

std::string help_text() {
    std::ostringstream text;
    text << "umbeld runs plugins of actors (docs/operator-guide.md).\n\n"
         << "Usage: umbeld --config FILE [--set KEY=VALUE]... "
            "[--check-config | --dump-config | --version | --help]\n\n"
         << options()
         << "\nExit codes: 0 ended as asked, 64 wrong usage, 71 the system refused something, 78 wrong configuration, "
            "1 anything else.\n"
         << "\nSettings, written `name = value` below [section] in the file, section.name=value after --set; "
            "a plugin's own in [plugin.NAME]:\n"
         << option_help();
    return text.str();
}

}  // namespace umbel::config
