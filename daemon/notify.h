// notify.h: what systemd is told. Nothing happens where nobody listens (NOTIFY_SOCKET is not set).
#pragma once

#include <string_view>

#include "runtime/base/units.h"

namespace umbel::daemon {

/// Every plugin runs. status: one line for people.
void notify_ready(std::string_view status);
void notify_status(std::string_view status);
/// The configuration is read anew; notify_ready() follows.
void notify_reloading();
/// Every executor turns.
void notify_alive();
/// How long after a notify_alive() the service manager gives up on this process; 0: it does not watch it.
[[nodiscard]] rt::Nanoseconds watchdog_timeout();
/// The daemon ends, and that may take until `most` from now.
void notify_stopping(std::string_view status, rt::Nanoseconds most);

}  // namespace umbel::daemon
