// watch.cpp: changes of a folder and a signal, each as something an actor waits for. See README.md.

#include <csignal>
#include <iterator>
#include <string>

#include "umbel/umbel.h"

namespace {

std::string folder;

void read_settings(const umbel::settings& settings) { folder = settings.text("folder"); }

std::string described(const umbel::file_event& event) {
    const std::string name(event.name);
    if (event.lost_some()) return "some changes were lost: look at " + folder + " anew";
    if ((event.mask & IN_CREATE) != 0) return "created " + name;
    if ((event.mask & IN_CLOSE_WRITE) != 0) return "written " + name;
    if ((event.mask & IN_MOVED_FROM) != 0) return "moved from " + name;
    if ((event.mask & IN_MOVED_TO) != 0) return "moved to " + name;
    if ((event.mask & IN_DELETE) != 0) return "deleted " + name;
    return {};
}

void main_actor(umbel::self& me) {
    // Whoever sends umbeld a SIGUSR1 is told how much has happened.
    const auto claimed = me.open_signals({SIGUSR1});
    if (!claimed) me.fail("cannot claim SIGUSR1: " + std::string(claimed.error().message()));
    const auto watcher = me.open_watcher();
    if (!watcher) me.fail("cannot watch: " + std::string(watcher.error().message()));
    const auto watch =
        me.watch(*watcher, folder, IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ONLYDIR);
    if (!watch) me.fail("cannot watch " + folder + ": " + std::string(watch.error().message()));
    me.ready("watching " + folder);

    std::size_t changes = 0;
    auto events = me.events(*watcher, {.drains = true});
    auto signal = me.next_signal(*claimed, {.drains = true});
    while (events && signal) {
        umbel::message message = me.receive();
        if (const auto some = events.fulfilled_by(message)) {
            if (!*some) break;  // The daemon drains.
            for (const umbel::file_event& event : **some) {
                if (const std::string text = described(event); !text.empty()) me.log_info(text);
                ++changes;
            }
            events = me.events(*watcher, {.drains = true});
        } else if (const auto came = signal.fulfilled_by(message)) {
            if (!*came) break;
            me.log_info(std::to_string(changes) + " changes so far, for process " + std::to_string((*came)->sender));
            signal = me.next_signal(*claimed, {.drains = true});
        }
    }
}  // The watch ends, and SIGUSR1 may be claimed by another.

constexpr umbel_setting settings[] = {
    {.name = "folder",
     .type = UMBEL_SETTING_FOLDER,
     .required = 1,
     .default_value = nullptr,
     .min = 0,
     .max = 0,
     .description = "The folder to watch"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "watch", .version = "0.1.0",
             .description = "Example: watches a folder, and a signal", .load = umbel::load<read_settings>,
             .unload = nullptr, .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE,
             .reserved = 0);
