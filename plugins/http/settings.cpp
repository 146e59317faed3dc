#include "settings.h"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>

namespace http {

namespace {

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
constexpr umbel_setting time(const char* name, const char* value, std::int64_t most, const char* description) {
    return amount(name, UMBEL_SETTING_DURATION, value, second / 100, most * second, description);
}

std::atomic<std::uint64_t> serials{0};

}  // namespace

extern constexpr umbel_setting setting_table[] = {
    text("listen", UMBEL_SETTING_LISTEN, "127.0.0.1:8080", "Address and TCP port to listen on, or systemd:NAME"),
    text("root", UMBEL_SETTING_FOLDER, nullptr, "The folder that is served"),
    text("index", UMBEL_SETTING_TEXT, "index.html index.htm", "Names looked for in a folder, in this order"),
    text("listing", UMBEL_SETTING_FLAG, "false",
         "Folders without an index file are answered with a list of their files"),
    text("precompressed", UMBEL_SETTING_TEXT, "br zstd gzip",
         "Content codings whose files (name.br, name.zst, name.gz) are sent if they lie beside a file, the preferred "
         "first"),
    amount("cache_valid", UMBEL_SETTING_DURATION, "1s", 0, std::int64_t{3600} * second,
           "How long a cached file is sent without a look at the disk; 0s: it is looked at each time"),
    amount("cache_size", UMBEL_SETTING_SIZE, "64MiB", 0, std::int64_t{1 << 20} * mib,
           "Memory for cached files, bytes, all executors together"),
    amount("cache_file_limit", UMBEL_SETTING_SIZE, "2MiB", 0, 1024 * mib,
           "Files up to this size are cached, bytes; larger ones are read from the disk each time"),
    amount("header_limit", UMBEL_SETTING_SIZE, "16KiB", 512, 64 * kib,
           "A request's largest head, bytes; its first line may have half of that"),
    amount("header_count", UMBEL_SETTING_INTEGER, "100", 1, 1000, "The most header lines a request may have"),
    amount("body_limit", UMBEL_SETTING_SIZE, "1MiB", 0, 64 * mib, "A request's largest body, bytes"),
    time("idle_timeout", "60s", 86400, "How long a connection may wait for its next request"),
    time("header_timeout", "10s", 3600,
         "How long a request's head may take to arrive, from its first byte to its last"),
    time("body_timeout", "60s", 3600, "How long a request's body may take to arrive"),
    time("send_timeout", "60s", 3600,
         "How long a client may take to accept 256 KiB of an answer, or the whole of a shorter one"),
    amount("send_rate", UMBEL_SETTING_SIZE, "1KiB", 0, 1024 * mib,
           "Bytes a second a client must accept on average, beyond send_timeout, or it is disconnected; 0: any"),
    time("route_timeout", "30s", 3600,
         "How long an actor that answers a route may take to begin, and between two parts"),
    amount("connections", UMBEL_SETTING_INTEGER, "50000", 0, 1'000'000,
           "The most connections at a time; further ones are answered with 503 and closed; 0: any number"),
    amount("connections_per_address", UMBEL_SETTING_INTEGER, "0", 0, 1'000'000,
           "The same for one address (of IPv6, one /64); 0: any number"),
    text("access_log", UMBEL_SETTING_TEXT, "off",
         "An event http.request for each answer: off, on, or full (with Referer and User-Agent)"),
};
static_assert(std::size(setting_table) == setting_count, "the descriptor says how many there are");

Ref<Site> read_site(const umbel::settings& settings) {
    auto* const site = new Site;
    Ref<Site> reference(site);
    // relaxed: any order will do.
    site->serial = serials.fetch_add(1, std::memory_order_relaxed);
    site->listen = settings.text("listen");
    site->root = settings.text("root");
    std::istringstream names(settings.text("index"));
    for (std::string name; names >> name;) {
        if (name.find('/') != std::string::npos || name == "." || name == ".." || name.size() > 255)
            throw std::runtime_error("index: not the name of a file: " + name);
        site->index.push_back(name);
    }
    site->listing = settings.flag("listing");
    std::istringstream offered(settings.text("precompressed"));
    for (std::string name; offered >> name;) {
        const auto coding = coding_named(name);
        if (!coding) throw std::runtime_error("precompressed: no known coding: " + name + "; allowed: br, zstd, gzip");
        site->precompressed.add(*coding);
    }
    const auto size = [&](const char* name) { return static_cast<std::size_t>(settings.number(name)); };
    site->cache_valid = settings.duration("cache_valid");
    site->cache_size = size("cache_size");
    site->cache_file_limit = size("cache_file_limit");
    site->limits.head = size("header_limit");
    site->limits.target = site->limits.head / 2;
    site->limits.fields = size("header_count");
    site->limits.body = size("body_limit");
    site->idle_timeout = settings.duration("idle_timeout");
    site->header_timeout = settings.duration("header_timeout");
    site->body_timeout = settings.duration("body_timeout");
    site->send_timeout = settings.duration("send_timeout");
    site->send_rate = size("send_rate");
    site->route_timeout = settings.duration("route_timeout");
    site->connections = static_cast<std::uint32_t>(settings.number("connections"));
    site->connections_per_address = static_cast<std::uint32_t>(settings.number("connections_per_address"));
    const std::string access_log = settings.text("access_log");
    if (access_log != "off" && access_log != "on" && access_log != "full")
        throw std::runtime_error("access_log: " + access_log + " is none of off, on, full");
    site->access_log = access_log == "off" ? AccessLog::off : access_log == "on" ? AccessLog::on : AccessLog::full;
    return reference;
}

}  // namespace http
