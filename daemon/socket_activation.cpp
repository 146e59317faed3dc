#include "daemon/socket_activation.h"

#include <systemd/sd-daemon.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace umbel::daemon {

rt::Result<std::vector<rt::PassedSocket>> take_passed_sockets() {
    char** names = nullptr;
    const int count = ::sd_listen_fds_with_names(1, &names);
    if (count < 0) {
        return rt::fail(rt::ErrorClass::usage,
                        std::string("LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES do not fit together: ") +
                            strerrordesc_np(-count) + " (unset them, or let systemd set them)");
    }
    std::vector<rt::PassedSocket> sockets;
    for (int i = 0; i < count; ++i) {
        sockets.push_back({names != nullptr && names[i] != nullptr ? names[i] : "unknown", SD_LISTEN_FDS_START + i});
        if (names != nullptr) std::free(names[i]);
    }
    std::free(static_cast<void*>(names));
    return sockets;
}

}  // namespace umbel::daemon
