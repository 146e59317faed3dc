// passed_listeners.h: the sockets the process was handed at its start, and who has taken them.
//
// Why.    systemd opens a listening socket before the daemon runs and keeps it open over restarts, so that no connection is
//         refused meanwhile, and a port below 1024 needs no privilege. A plugin asks for such a socket by its name.
// Shape.  A list of names and descriptors that never changes; beside each name the plugin that took it first. Who takes
//         one gets a descriptor of its own: executors accept on one socket, each through its own, and the kernel wakes one
//         of them for a connection.
// Owner.  Shared. [any thread]
//
// Invariants
//   I1  a name is one plugin's, from its first successful take() to give_back()
//   I2  the descriptors handed over stay open as long as the process: what waits in a socket's backlog outlives every
//       actor, and nothing here shuts a socket down
//
// Cost.   A lock and a system call for each take(): a plugin's main actor does it at its start.
// Not here.  Where they come from: daemon/socket_activation.h.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/options.h"

namespace umbel::rt {

class PassedListeners {
public:
    explicit PassedListeners(const std::vector<PassedSocket>& sockets);
    PassedListeners(const PassedListeners&) = delete;
    PassedListeners& operator=(const PassedListeners&) = delete;

    /// A new descriptor of the socket number `index` of those with this name.
    ///
    /// plugin:   the taker's name; one pointer for each distinct name (LoadedPlugin::name).
    /// Returns:  a descriptor that nobody owns yet, or an error, and then `why` says it with cause and remedy:
    ///           UMBEL_E_NO_LISTENER (no such name, or fewer than that), -EBUSY (another plugin's), -EINVAL (not a listening
    ///           stream socket), -EMFILE.
    [[nodiscard]] int take(const char* plugin, std::string_view name, std::uint32_t index, std::string& why);

    /// The plugin has ended: what it took may be taken again. Its descriptors were closed with its actors.
    void give_back(const char* plugin);
    /// Names that are taken, each with its plugin.
    [[nodiscard]] std::map<std::string, std::string> takers() const;
    /// The names that no plugin has taken yet.
    [[nodiscard]] std::vector<std::string> untaken() const;

private:
    struct Entry {
        PassedSocket socket;
        const char* plugin = nullptr;  // I1; the same for each socket of one name
    };
    mutable std::mutex mutex_;
    std::vector<Entry> entries_;
};

/// What is wrong with asking for a socket of this name, cause and remedy; "" if nothing is.
[[nodiscard]] std::string why_no_listener(const std::vector<PassedSocket>& sockets, std::string_view name);

}  // namespace umbel::rt
