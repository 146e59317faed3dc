// umbelctl: looks at machines and plugins for operators and plugin authors, and asks a running umbeld.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <expected>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "daemon/admin_client.h"
#include "daemon/doctor.h"
#include "daemon/lifecycle.h"
#include "daemon/preflight.h"
#include "daemon/version.h"
#include "runtime/base/quantity.h"
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
    "       umbelctl [--socket PATH] [--json] COMMAND\n"
    "           Asks a running umbeld, at the socket PATH; without it at $UMBEL_SOCKET or /run/umbel/umbeld.sock.\n"
    "           --json: what the daemon answers, as JSON, on one line. Exit code 0: done, 1: it refused, 64: wrong\n"
    "           usage, 71: no daemon there, not permitted to connect, or no answer.\n"
    "             status                        what runs, since when, in which state\n"
    "             plugins                       each plugin and what it announced\n"
    "             counters                      what each executor has counted\n"
    "             settings                      the settings in force, with their origins\n"
    "             log levels                    each module's level\n"
    "             log level MODULE LEVEL [--for TIME]\n"
    "                                           sets one (MODULE: daemon, runtime, a plugin's name, or all; LEVEL:\n"
    "                                           trace, debug, info, warning, error, or configured), for a TIME as "
    "10min\n"
    "             reload                        what SIGHUP does; waits, and says what changed, what needs a restart, "
    "or\n"
    "                                           what is wrong: exit code 78, and nothing has changed\n"
    "             stop                          drains and ends, as SIGTERM does\n"
    "           reload, stop and log level are for root and the daemon's own user.\n"
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

// ---- A running daemon ------------------------------------------------------------------------------------------------

using nlohmann::json;

/// What is asked, and how its answer is shown to people.
struct Question {
    json request;
    std::string (*show)(const json& result);
    std::chrono::milliseconds most{10'000};
};

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

/// Rows as a table: each cell as wide as its column.
std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
        }
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
}

std::string show_status(const json& result) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& [key, value] : result.items()) {
        if (!value.is_object()) {
            rows.push_back({key, text_of(value)});
            continue;
        }
        for (const auto& [inner, figure] : value.items()) {
            std::string name = key;
            rows.push_back({name.append(".").append(inner), text_of(figure)});
        }
    }
    return table(rows);
}

std::string show_plugins(const json& result) {
    if (result.empty()) return "no plugin is loaded\n";
    std::vector<std::vector<std::string>> rows;
    for (const json& one : result) {
        rows.push_back({one.value("name", ""), one.value("path", ""), one.value("announced", "")});
    }
    return table(rows);
}

std::string show_counters(const json& result) {
    std::vector<std::vector<std::string>> rows{{"executor"}};
    for (std::size_t i = 0; i < result.size(); ++i) rows[0].push_back(std::to_string(i));
    if (result.empty()) return "no executor runs\n";
    for (const auto& [name, first] : result[0].items()) {
        rows.push_back({name});
        for (const json& one : result) rows.back().push_back(text_of(one.value(name, json(0))));
    }
    return table(rows);
}

std::string show_settings(const json& result) {
    std::string text;
    for (const json& one : result) {
        text += one.value("key", "") + " = " + one.value("value", "") + "  # " + one.value("origin", "") + "\n";
    }
    return text;
}

std::string show_levels(const json& result) {
    std::vector<std::vector<std::string>> rows;
    for (const json& one : result) {
        std::string note;
        if (one.value("level", "") != one.value("configured", "")) note = "configured: " + one.value("configured", "");
        if (one.contains("for_s")) note += (note.empty() ? "" : ", ") + ("for another " + text_of(one["for_s"]) + " s");
        rows.push_back({one.value("module", ""), one.value("level", ""), note});
    }
    return table(rows);
}

std::string show_text(const json& result) {
    if (!result.is_object() && !result.is_array()) return text_of(result) + "\n";
    return result.is_object() ? show_status(result) : result.dump(2) + "\n";
}

/// The question `words` are, or what is wrong with them.
std::expected<Question, std::string> question_of(const std::vector<std::string>& words) {
    struct Simple {
        const char* command;
        std::string (*show)(const json& result);
        int seconds;
    };
    constexpr Simple simple[] = {{"status", show_status, 10},
                                 {"plugins", show_plugins, 35},
                                 {"counters", show_counters, 10},
                                 {"settings", show_settings, 35},
                                 {"stop", show_text, 10}};
    for (const Simple& one : simple) {
        if (words[0] != one.command) continue;
        if (words.size() > 1) return std::unexpected(words[0] + " takes no argument: " + words[1]);
        return Question{{{"command", words[0]}}, one.show, std::chrono::seconds(one.seconds)};
    }
    if (words[0] != "log") return std::unexpected("there is no such command: " + words[0]);
    if (words.size() == 2 && words[1] == "levels") return Question{{{"command", "log.levels"}}, show_levels};
    if (words.size() < 4 || words[1] != "level") {
        return std::unexpected("log levels, or log level MODULE LEVEL [--for TIME] is wanted");
    }
    json request{{"command", "log.level"}, {"module", words[2]}, {"level", words[3]}};
    if (words.size() == 6 && words[4] == "--for") {
        const auto time = rt::parse_duration(words[5]);
        if (!time) return std::unexpected("--for: " + time.error().message);
        request["for_ns"] = time->count();
    } else if (words.size() != 4) {
        return std::unexpected("after the level there may be --for TIME, as in --for 10min");
    }
    return Question{std::move(request), show_levels};
}

void print_list(std::FILE* to, const json& texts) {
    for (const json& one : texts) {
        std::string line = "  ";
        print(to, line.append(text_of(one)).append("\n"));
    }
}

/// Asks the daemon to read its configuration anew, and waits for what comes of it.
int reload(const std::string& socket, bool as_json) {
    constexpr auto step = std::chrono::milliseconds(20);
    constexpr auto answer_within = std::chrono::milliseconds(35'000);
    constexpr auto most = std::chrono::minutes(2);  // a plugin's check may take 10 s
    const auto failed = [](const rt::Error& error) {
        print(stderr, "umbelctl: " + error.message + "\n");
        return daemon::exit_code_of(error.error_class);
    };
    const auto begun = daemon::ask_daemon(socket, {{"command", "reload"}}, answer_within);
    if (!begun) return failed(begun.error());
    const json question{{"command", "reload.outcome"}, {"run", begun->at("run")}};
    for (const auto until = std::chrono::steady_clock::now() + most;;) {
        const auto outcome = daemon::ask_daemon(socket, question, answer_within);
        if (!outcome) return failed(outcome.error());
        if (outcome->value("done", false)) {
            const bool applied = outcome->value("applied", false);
            if (as_json) {
                print(stdout, outcome->dump() + "\n");
            } else if (applied) {
                print(stdout, outcome->at("changes").empty() ? "nothing has changed\n" : "reloaded:\n");
                print_list(stdout, outcome->at("changes"));
                if (!outcome->at("restarts").empty()) print(stdout, "needs a restart:\n");
                print_list(stdout, outcome->at("restarts"));
            } else {
                print(stderr, "umbelctl: the daemon refused its configuration, and goes on as before:\n");
                print_list(stderr, outcome->at("problems"));
            }
            return applied ? 0 : daemon::exit_code_of(rt::ErrorClass::configuration);
        }
        if (std::chrono::steady_clock::now() > until) {
            return failed({rt::ErrorClass::system,
                           "the daemon has not finished reading its configuration; the log will say what came of it"});
        }
        std::this_thread::sleep_for(step);
    }
}

int ask(std::vector<std::string> words) {
    bool as_json = false;
    std::string socket = daemon::default_admin_socket();
    for (std::size_t i = 0; i < words.size();) {
        if (words[i] == "--json") {
            as_json = true;
            words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
        } else if (words[i] == "--socket") {
            if (i + 1 == words.size()) return wrong_usage("--socket wants a path");
            socket = words[i + 1];
            words.erase(words.begin() + static_cast<std::ptrdiff_t>(i),
                        words.begin() + static_cast<std::ptrdiff_t>(i + 2));
        } else {
            ++i;
        }
    }
    if (words.empty()) return wrong_usage("what is to be asked?");
    if (words[0] == "reload" && words.size() == 1) return reload(socket, as_json);
    const auto question = question_of(words);
    if (!question) return wrong_usage(question.error());
    const auto result = daemon::ask_daemon(socket, question->request, question->most);
    if (!result) {
        print(stderr, "umbelctl: " + result.error().message + "\n");
        return daemon::exit_code_of(result.error().error_class);
    }
    print(stdout, as_json ? result->dump() + "\n" : question->show(*result));
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
    return ask(arguments);
}
