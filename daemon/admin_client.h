// admin_client.h: umbelctl's end of the admin socket.
//
// Not here.  The protocol: admin.h. What umbelctl prints: umbelctl.cpp.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/base/result.h"

namespace umbel::daemon {

/// The socket umbelctl looks for without --socket: $UMBEL_SOCKET, else what the service makes, /run/umbel/umbeld.sock.
[[nodiscard]] std::string default_admin_socket();

/// Asks the daemon at `path`, and returns what it answers as "result". Errors: system (nobody there, not allowed to
/// connect, no answer in time), usage and failure as the daemon says; each with its remedy.
[[nodiscard]] rt::Result<nlohmann::json> ask_daemon(const std::string& path, const nlohmann::json& request,
                                                    std::chrono::milliseconds most);

}  // namespace umbel::daemon
