// openat.cpp: opens a path and says what it is. See README.md.

#include <fcntl.h>
#include <linux/openat2.h>

#include <iterator>
#include <string>

#include "umbel/umbel.h"

namespace {

std::string path;

void read_settings(const umbel::settings& settings) { path = settings.text("open"); }

void main_actor(umbel::self& me) {
    // Nothing waits here: the operation has been submitted, its path copied into this actor's I/O heap.
    umbel::pending<umbel::file> opening = me.open(path, O_RDONLY | O_NONBLOCK, UMBEL_CWD, 0, RESOLVE_NO_MAGICLINKS);
    umbel::result<umbel::file> file = me.await(std::move(opening));
    if (!file) {
        me.log_info("openat2 " + path + ": " + std::string(file.error().message()));
        me.ready("could not open " + path);
        return;
    }

    // statx with an empty path asks about the descriptor itself.
    const umbel::result<umbel::file_status> status = me.await(me.status(*file));
    const std::string what = !status                  ? "statx: " + std::string(status.error().message())
                             : status->is_directory() ? "a folder"
                             : status->is_regular()   ? "a file of " + std::to_string(status->size) + " bytes"
                                                      : "neither file nor folder";
    me.log_info("openat2 " + path + ": descriptor " + std::to_string(file->fd()) + ", " + what);

    // It would be closed at the end of this scope, too; awaiting the close tells whether it worked.
    if (const auto closed = me.await(me.close(std::move(*file))); !closed)
        me.fail("close: " + std::string(closed.error().message()));
    me.ready("opened " + path);
}

constexpr umbel_setting settings[] = {
    {.name = "open",
     .type = UMBEL_SETTING_TEXT,
     .required = 0,
     .default_value = "/etc/os-release",
     .min = 0,
     .max = 0,
     .description = "The path to open; relative to the daemon's working directory"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "openat", .version = "0.1.0",
             .description = "Example: opens a path and says what it is", .load = umbel::load<read_settings>,
             .unload = nullptr, .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE,
             .reserved = 0);
