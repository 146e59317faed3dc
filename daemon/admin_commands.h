// admin_commands.h: what umbelctl may ask of a running daemon.
//
// Why.    One table of commands, each a few lines: what it is called, who may give it, where it runs, what it answers.
//             status      what runs, since when, in which state; the log's figures
//             plugins     each plugin and what it announced
//             counters    what each executor has counted
//             settings    the settings in force, with their origins
//             log.levels  each module's level
//             log.level   {"module":…,"level":…,"for_ns":…} sets one; level "configured" takes it back
//             reload      what SIGHUP does; answers the number of the run, for:
//             reload.outcome  {"run":…} what came of it: done, applied, problems, changes, restarts
//             stop        what SIGTERM does
// Not here.  How they come and go: admin.h. umbelctl's side: admin_client.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemon/admin.h"
#include "daemon/log.h"
#include "daemon/reload.h"
#include "runtime/runtime.h"

namespace umbel::daemon {

/// What the commands work on. All of it outlives the Admin.
struct AdminContext {
    rt::Runtime& runtime;
    Log& log;
    const Reload& reload;  // on the main thread
    std::string config_file;
    std::function<void()> begin_reload;  // as SIGHUP does
    std::function<void()> stop;          // begins it
};

/// Adds every command.
void add_admin_commands(Admin& admin, const AdminContext& context);

/// Where the socket is to be: admin.socket's path, or for auto umbeld.sock in systemd's RUNTIME_DIRECTORY; "": nowhere.
[[nodiscard]] std::string admin_socket_path(const std::string& setting);

}  // namespace umbel::daemon
