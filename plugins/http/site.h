// site.h: what is served and how: the plugin's section of the config file, and the routes that other actors answer.
//
// Why.    Both may change while requests are answered, and a request ends under the settings it began with. So neither
//         changes: a new Served takes the place of the old one, which lives as long as somebody uses it.
// Shape.  Site is made by settings.cpp and, once its folder is open, given to the gates. Each gate (gate.h) joins it with the
//         routes it knows and gives the result to its sessions; `outdated` tells these that there is a newer one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "encoding.h"
#include "ref.h"
#include "request.h"
#include "umbel/umbel.h"

namespace http {

enum class AccessLog : std::uint8_t { off, on, full };

struct Site : Counted {
    std::uint64_t serial = 0;  // of the settings: one more with each reload
    std::string listen;
    std::string root;
    int root_fd = -1;                // a descriptor of `root`; main owns it and outlives every session
    std::vector<std::string> index;  // names looked for in a folder, in this order
    bool listing = false;            // Folders without one of these are listed.
    CodingList precompressed;        // codings whose files are looked for, in this order
    Limits limits;
    umbel::nanoseconds cache_valid{0};  // how long a cached file is sent without a look at the disk; 0: never
    std::size_t cache_size = 0;         // bytes, all executors together
    std::size_t cache_file_limit = 0;   // bytes; larger files are read from the disk each time
    umbel::nanoseconds idle_timeout{0};
    umbel::nanoseconds header_timeout{0};
    umbel::nanoseconds body_timeout{0};
    umbel::nanoseconds send_timeout{0};
    umbel::nanoseconds route_timeout{0};
    std::uint64_t send_rate = 0;  // bytes/s an answer must be taken with, on average; 0: any
    AccessLog access_log = AccessLog::off;
    std::uint32_t connections = 0;              // at once; 0: any number
    std::uint32_t connections_per_address = 0;  // the same of one address
};

/// A route: who answers requests for a path.
struct Route {
    std::string path;  // as parse_target gives it: "a": exactly this; "a/": this and all below; "": everything
    struct Answerer {
        umbel::actor_id actor;
        std::uint32_t executor = 0;
    };
    std::vector<Answerer> answerers;
    [[nodiscard]] bool matches(std::string_view target_path) const {
        return path.empty() || path.ends_with('/') ? target_path.starts_with(path) : target_path == path;
    }
};

/// What a session serves.
struct Served : Counted {
    Ref<Site> site;
    std::vector<Route> routes;  // the longest path first
    /// There is a newer one; set by the gate, read by its sessions.
    mutable std::atomic<bool> outdated{false};

    /// The route of a path (as parse_target gives it), or null.
    [[nodiscard]] const Route* route_of(std::string_view path) const {
        for (const Route& route : routes) {
            if (route.matches(path)) return &route;
        }
        return nullptr;
    }
};

}  // namespace http
