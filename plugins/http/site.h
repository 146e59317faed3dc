// site.h: what is served and how; the plugin's section of the config file.
#pragma once

#include <string>
#include <vector>

#include "request.h"
#include "umbel/umbel.h"

namespace http {

/// Written by load and by main before it spawns anybody; only read afterwards, by every executor.
struct Site {
    std::string listen;
    std::string root;
    int root_fd = -1;                // a descriptor of `root`; main owns it and outlives every session
    std::vector<std::string> index;  // names looked for in a folder, in this order
    Limits limits;
    umbel::nanoseconds cache_valid{0};  // how long a cached file is sent without a look at the disk; 0: never
    std::size_t cache_size = 0;         // bytes, all executors together
    std::size_t cache_file_limit = 0;   // bytes; larger files are read from the disk each time
    umbel::nanoseconds idle_timeout{0};
    umbel::nanoseconds header_timeout{0};
    umbel::nanoseconds send_timeout{0};
};

}  // namespace http
