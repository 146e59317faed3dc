// read.cpp: the two shapes of read, and that they give the same bytes. See README.md.

#include <fcntl.h>

#include <array>
#include <cstring>
#include <iterator>
#include <string>

#include "umbel/umbel.h"

namespace {

std::string path;

void read_settings(const umbel::settings& settings) { path = settings.text("file"); }

void main_actor(umbel::self& me) {
    const umbel::result<umbel::file> file = me.await(me.open(path, O_RDONLY));
    if (!file) me.fail("cannot open " + path + ": " + std::string(file.error().message()));

    // Two reads of the same place, both in flight at once.
    std::array<std::byte, 4096> mine{};
    umbel::pending<std::size_t> into_mine = me.read_into(*file, mine, 0);      // the actor's buffer: a count
    umbel::pending<umbel::buffer> by_length = me.read(*file, mine.size(), 0);  // by length only: a fresh buffer

    const umbel::result<std::size_t> count = me.await(std::move(into_mine));
    const umbel::result<umbel::buffer> fresh = me.await(std::move(by_length));
    if (!count) me.fail("read into the actor's buffer: " + std::string(count.error().message()));
    if (!fresh) me.fail("read by length: " + std::string(fresh.error().message()));

    me.log_info("read " + path + ": into the actor's buffer, a count of " + std::to_string(*count) +
                "; by length, a fresh buffer of " + std::to_string(fresh->size()) + " bytes, room for " +
                std::to_string(fresh->capacity()));
    const bool same = *count == fresh->size() && std::memcmp(mine.data(), fresh->data(), *count) == 0;
    if (!same) me.fail("the two reads of " + path + " differ");
    me.log_info("both are the same bytes");
    me.ready("read " + path + " in both shapes");
}  // The fresh buffer goes back to the I/O heap, the file is closed.

constexpr umbel_setting settings[] = {
    {.name = "file",
     .type = UMBEL_SETTING_TEXT,
     .required = 0,
     .default_value = "/etc/os-release",
     .min = 0,
     .max = 0,
     .description = "The file to read; relative to the daemon's working directory"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "read", .version = "0.1.0",
             .description = "Example: the two shapes of read", .load = umbel::load<read_settings>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE, .reserved = 0);
