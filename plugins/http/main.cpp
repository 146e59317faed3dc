// main.cpp: the plugin `http`: serves a folder over HTTP/1.1.
//
// Shape.  Main runs once. It opens the folder and one listener for each executor, and spawns on each a file cache and an
//         acceptor; an acceptor spawns one session a connection (session.h).

#include <fcntl.h>

#include <cstdint>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

#include "file_cache.h"
#include "session.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {
namespace {

Site site;

void read_settings(const umbel::settings& settings) {
    Site read;
    read.listen = settings.text("listen");
    if (!umbel::endpoint::parse(read.listen)) throw std::runtime_error("listen: not an address: " + read.listen);
    read.root = settings.text("root");
    std::istringstream names(settings.text("index"));
    for (std::string name; names >> name;) {
        if (name.find('/') != std::string::npos || name == "." || name == ".." || name.size() > 255)
            throw std::runtime_error("index: not the name of a file: " + name);
        read.index.push_back(name);
    }
    read.cache_valid = settings.duration("cache_valid");
    read.cache_size = static_cast<std::size_t>(settings.number("cache_size"));
    read.cache_file_limit = static_cast<std::size_t>(settings.number("cache_file_limit"));
    read.limits.head = static_cast<std::size_t>(settings.number("header_limit"));
    read.limits.target = read.limits.head / 2;
    read.idle_timeout = settings.duration("idle_timeout");
    read.header_timeout = settings.duration("header_timeout");
    read.send_timeout = settings.duration("send_timeout");
    site = std::move(read);
    umbel::actor_type<session>.memory_limit = session_memory(site);
}

void acceptor(umbel::self& me, umbel::socket listener, umbel::actor_id cache) {
    me.accept_each(listener, [&](umbel::socket peer) {
        const Site* const served = &site;
        if (const auto spawned = me.spawn<session>(std::move(peer), served, cache); !spawned)
            me.log_warning("connection closed: " + std::string(spawned.error().message()));
    });
}

template <class T>
T or_fail(umbel::self& me, const std::string& what, umbel::result<T> result) {
    if (!result) me.fail(what + ": " + std::string(result.error().message()));
    return std::move(*result);
}

void main_actor(umbel::self& me) {
    const umbel::file root =
        or_fail(me, "cannot open the folder " + site.root, me.await(me.open(site.root, O_PATH | O_DIRECTORY)));
    site.root_fd = root.fd();
    umbel::endpoint address = *umbel::endpoint::parse(site.listen);
    auto listeners = me.listen_everywhere(address);
    if (!listeners) me.fail(umbel::cannot_listen(address, listeners.error()));

    const std::size_t cache_size = site.cache_size / listeners->size();
    for (std::size_t i = 0; i < listeners->size(); ++i) {
        const int executor = static_cast<int>(i);
        const umbel::actor_id cache =
            or_fail(me, "cannot spawn a cache", me.spawn_at<FileCache>(executor, cache_size, site.cache_valid));
        (void)or_fail(me, "cannot spawn an acceptor",
                      me.spawn_at<acceptor>(executor, std::move((*listeners)[i]), cache));
    }
    me.ready("listening on " + address.text() + ", serving " + site.root);
    // For ever: what is in flight when the daemon drains still needs the folder.
    for (;;) (void)me.receive();
}

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t kib = 1024;
constexpr std::int64_t mib = 1024 * kib;

constexpr umbel_setting text(const char* name, std::uint32_t type, const char* value, const char* description) {
    return {.name = name,
            .type = type,
            .required = value == nullptr ? 1U : 0U,
            .default_value = value,
            .min = 0,
            .max = 0,
            .description = description};
}
constexpr umbel_setting amount(const char* name, std::uint32_t type, const char* value, std::int64_t min,
                               std::int64_t max, const char* description) {
    return {.name = name,
            .type = type,
            .required = 0,
            .default_value = value,
            .min = min,
            .max = max,
            .description = description};
}

constexpr umbel_setting settings[] = {
    text("listen", UMBEL_SETTING_ADDRESS, "127.0.0.1:8080", "Address and TCP port to listen on"),
    text("root", UMBEL_SETTING_FOLDER, nullptr, "The folder that is served"),
    text("index", UMBEL_SETTING_TEXT, "index.html index.htm", "Names looked for in a folder, in this order"),
    amount("cache_valid", UMBEL_SETTING_DURATION, "1s", 0, std::int64_t{3600} * second,
           "How long a cached file is sent without a look at the disk; 0s: it is looked at each time"),
    amount("cache_size", UMBEL_SETTING_SIZE, "64MiB", 0, std::int64_t{1 << 20} * mib,
           "Memory for cached files, bytes, all executors together"),
    amount("cache_file_limit", UMBEL_SETTING_SIZE, "2MiB", 0, 1024 * mib,
           "Files up to this size are cached, bytes; larger ones are read from the disk each time"),
    amount("header_limit", UMBEL_SETTING_SIZE, "16KiB", 512, 64 * kib,
           "A request's largest head, bytes; its first line may have half of that"),
    amount("idle_timeout", UMBEL_SETTING_DURATION, "60s", second / 100, std::int64_t{86400} * second,
           "How long a connection may wait for its next request"),
    amount("header_timeout", UMBEL_SETTING_DURATION, "10s", second / 100, std::int64_t{3600} * second,
           "How long a request may take to arrive, from its first byte to its last"),
    amount("send_timeout", UMBEL_SETTING_DURATION, "60s", second / 100, std::int64_t{3600} * second,
           "How long a client may take to accept a block of an answer (256 KiB, or a cached file)"),
};

}  // namespace
}  // namespace http

UMBEL_PLUGIN(.setting_count = std::size(http::settings), .settings = http::settings, .name = "http", .version = "0.1.0",
             .description = "Serves a folder over HTTP/1.1", .load = umbel::load<http::read_settings>,
             .unload = nullptr, .main = &umbel::actor_type<http::main_actor>, .main_placement = UMBEL_MAIN_ONCE,
             .reserved = 0);
