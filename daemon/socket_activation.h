// socket_activation.h: the sockets that systemd opened for us (LISTEN_FDS), by name.
#pragma once

#include <vector>

#include "runtime/base/options.h"
#include "runtime/base/result.h"

namespace umbel::daemon {

/// Takes them once, and forgets the environment variables, so that no child takes them for its own. Without any: none.
/// Errors: usage (the variables are damaged). Role: the main thread, before there is another.
[[nodiscard]] rt::Result<std::vector<rt::PassedSocket>> take_passed_sockets();

}  // namespace umbel::daemon
