// umbeld: reads what it was asked, and does it.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/command_line.h"
#include "config/configuration.h"
#include "daemon/admin.h"
#include "daemon/admin_commands.h"
#include "daemon/lifecycle.h"
#include "daemon/log.h"
#include "daemon/main_queue.h"
#include "daemon/notify.h"
#include "daemon/preflight.h"
#include "daemon/reload.h"
#include "daemon/signals.h"
#include "daemon/socket_activation.h"
#include "daemon/version.h"
#include "runtime/runtime.h"

namespace {

using namespace umbel;

constexpr int exit_configuration = 78;

void print(std::FILE* to, const std::string& text) { std::fwrite(text.data(), 1, text.size(), to); }

int refuse(const rt::Error& error) {
    print(stderr, "umbeld: " + error.message + "\n");
    return daemon::exit_code_of(error.error_class);
}

/// Where log.sink was set: its error says what, not where.
std::string sink_origin(const config::Configuration& configuration) {
    for (const config::EffectiveSetting& setting : configuration.effective) {
        if (setting.section == "log" && setting.key == "sink") return setting.origin + ": ";
    }
    return {};
}

/// Checks each plugin in a child process; says what is wrong, and, if asked, what is right. Returns the exit code.
int check_plugins(const config::Configuration& configuration, bool say_what_is_right) {
    int code = 0;
    for (const rt::PluginOptions& plugin : configuration.settings.runtime.plugins) {
        const auto found = daemon::preflight_in_child(plugin);
        if (!found) {
            code = refuse(found.error());
        } else if (say_what_is_right) {
            print(stdout, "plugin." + plugin.name + ": " + plugin.path + ": " + found->name + " " + found->version +
                              ", " + found->description + "\n");
        }
    }
    return code;
}

/// The admin socket, or null if there is to be none. One that was asked for must be; one that would be nice need not.
rt::Result<std::unique_ptr<daemon::Admin>> open_admin(const config::AdminSettings& settings, daemon::MainQueue& queue,
                                                      daemon::Log& log) {
    const std::string path = daemon::admin_socket_path(settings.socket);
    if (path.empty()) return nullptr;
    daemon::AdminOptions options;
    options.path = path;
    auto admin = daemon::Admin::open(options, queue);
    if (admin) {
        log.write(daemon::line_of(rt::EventKind::admin_ready, path));
    } else if (settings.socket == "auto") {
        log.write(daemon::line_of(rt::EventKind::admin_failed, admin.error().message));
        return nullptr;
    }
    return admin;
}

int run(const config::CommandLine& command, const config::Configuration& configuration) {
    const config::Settings& settings = configuration.settings;
    auto passed = daemon::take_passed_sockets();
    if (!passed) return refuse(passed.error());
    if (const int code = check_plugins(configuration, false); code != 0) return code;

    // Before any thread: they inherit the mask.
    daemon::ProcessSignals signals;
    auto log = daemon::Log::open(settings.log);
    if (!log) return refuse({log.error().error_class, sink_origin(configuration) + log.error().message});
    (*log)->write(daemon::line_of(rt::EventKind::starting,
                                  "umbeld " + daemon::version() + " with " + command.config_file,
                                  {::getpid(), static_cast<std::int64_t>(settings.runtime.executors.count),
                                   static_cast<std::int64_t>(settings.runtime.plugins.size())}));
    for (const std::string& warning : configuration.warnings) {
        (*log)->write(daemon::line_of(rt::EventKind::config_warning, warning));
    }

    rt::Options runtime_options = settings.runtime;
    runtime_options.passed = std::move(*passed);
    auto runtime = rt::Runtime::load(std::move(runtime_options));
    if (!runtime) {
        const int code = refuse(runtime.error());
        (*log)->write(daemon::line_of(rt::EventKind::start_failed, runtime.error().message, {code}));
        (*log)->stop(daemon::line_of(rt::EventKind::stopped, "ended after a failure", {code, 0}));
        return code;
    }
    daemon::Reload reload(
        configuration,
        [&command]() -> std::expected<config::Configuration, config::Problems> {
            auto wanted = config::load_configuration(command.config_file, command.assignments,
                                                     config::this_machine(daemon::plugin_folders()));
            if (!wanted) return wanted;
            if (const auto writable = daemon::Log::check(wanted->settings.log); !writable) {
                return std::unexpected(config::Problems{sink_origin(*wanted) + writable.error().message});
            }
            return wanted;
        },
        [](const rt::PluginOptions& plugin) -> rt::Result<void> {
            const auto found = daemon::preflight_in_child(plugin);
            if (!found) return std::unexpected(found.error());
            return {};
        });
    daemon::MainQueue queue([&signals] { signals.interrupt(); });
    const auto admin = open_admin(settings.admin, queue, **log);
    if (!admin) {
        const int code = refuse(admin.error());
        (*log)->write(daemon::line_of(rt::EventKind::start_failed, admin.error().message, {code}));
        (*log)->stop(daemon::line_of(rt::EventKind::stopped, "ended after a failure", {code, 0}));
        return code;
    }
    if (*admin) {
        daemon::add_admin_commands(**admin, {**runtime, **log, reload, command.config_file,
                                             [] { ::kill(::getpid(), SIGHUP); }, [] { ::kill(::getpid(), SIGTERM); }});
        (*admin)->start();
    }
    daemon::LifecycleOptions options;
    options.queue = &queue;
    options.reload = &reload;
    options.drain_timeout = settings.daemon.drain_timeout;
    options.watchdog = daemon::watchdog_timeout();
    options.abandon = [](const std::string& why) {
        daemon::complain(why);
        ::_exit(1);
    };
    return daemon::live(**runtime, **log, signals, options);
}

int check(const config::CommandLine& command, const config::Configuration& configuration) {
    for (const std::string& warning : configuration.warnings) print(stderr, "warning: " + warning + "\n");
    const int code = check_plugins(configuration, true);
    if (code == 0) print(stdout, command.config_file + ": ok\n");
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    daemon::preflight_child(argc, argv);
    const auto command = config::parse_command_line({argv + (argc > 0 ? 1 : 0), argv + argc});
    if (!command) return refuse(command.error());
    if (command->action == config::Action::help) {
        print(stdout, config::help_text());
        return 0;
    }
    if (command->action == config::Action::version) {
        print(stdout, daemon::version_text("umbeld"));
        return 0;
    }
    const auto configuration = config::load_configuration(command->config_file, command->assignments,
                                                          config::this_machine(daemon::plugin_folders()));
    if (!configuration) {
        for (const std::string& problem : configuration.error()) print(stderr, "umbeld: " + problem + "\n");
        return exit_configuration;
    }
    if (command->action == config::Action::dump_config) {
        print(stdout, config::dump(*configuration));
        return 0;
    }
    if (const auto writable = daemon::Log::check(configuration->settings.log); !writable) {
        return refuse({writable.error().error_class, sink_origin(*configuration) + writable.error().message});
    }
    if (command->action == config::Action::check_config) return check(*command, *configuration);
    return run(*command, *configuration);
}
