#include "runtime/io/passed_listeners.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "umbel/abi.h"

namespace umbel::rt {

namespace {

bool is_listening_stream(int fd) {
    int type = 0;
    int listens = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) return false;
    size = sizeof listens;
    return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens == 1;
}

std::string quoted(std::string_view name) { return "\"" + std::string(name) + "\""; }

std::string all_names(const std::vector<PassedSocket>& sockets) {
    std::vector<std::string> names;
    for (const PassedSocket& socket : sockets) {
        if (std::ranges::find(names, quoted(socket.name)) == names.end()) names.push_back(quoted(socket.name));
    }
    std::string text;
    for (const std::string& name : names) text.append(text.empty() ? "" : ", ").append(name);
    return text;
}

}  // namespace

std::string why_no_listener(const std::vector<PassedSocket>& sockets, std::string_view name) {
    if (sockets.empty()) {
        return "no socket was passed to this process (start it by its socket unit: systemctl start umbeld.socket, "
               "with FileDescriptorName=" +
               std::string(name) + "; or name an address instead)";
    }
    const auto found = std::ranges::find(sockets, name, &PassedSocket::name);
    if (found == sockets.end()) {
        return "no socket of this name was passed; passed are " + all_names(sockets) +
               " (give the .socket unit FileDescriptorName=" + std::string(name) + ", or correct the name)";
    }
    const auto unfit = std::ranges::find_if(
        sockets, [&](const PassedSocket& socket) { return socket.name == name && !is_listening_stream(socket.fd); });
    if (unfit != sockets.end()) {
        return "the socket of this name is not a listening stream socket (use ListenStream= with Accept=no in the "
               ".socket unit)";
    }
    return "";
}

PassedListeners::PassedListeners(const std::vector<PassedSocket>& sockets) {
    for (const PassedSocket& socket : sockets) entries_.push_back({socket, nullptr});
}

int PassedListeners::take(const char* plugin, std::string_view name, std::uint32_t index, std::string& why) {
    const std::scoped_lock lock(mutex_);
    std::vector<PassedSocket> sockets;
    sockets.reserve(entries_.size());
    for (const Entry& entry : entries_) sockets.push_back(entry.socket);
    why = why_no_listener(sockets, name);
    std::uint32_t before = 0;
    for (Entry& entry : entries_) {
        if (entry.socket.name != name) continue;
        if (!why.empty()) return -EINVAL;
        if (entry.plugin != nullptr && entry.plugin != plugin) {
            why = std::string("plugin ") + entry.plugin + " has taken it (give each plugin a socket of its own name)";
            return -EBUSY;
        }
        if (before++ != index) continue;
        const int fd = ::fcntl(entry.socket.fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0) {
            const int error = errno;
            why = std::string(strerrordesc_np(error)) + " (LimitNOFILE=)";
            return -error;
        }
        for (Entry& same : entries_) {
            if (same.socket.name == name) same.plugin = plugin;  // I1
        }
        return fd;
    }
    if (why.empty()) why = "only " + std::to_string(before) + " sockets of this name were passed";
    return UMBEL_E_NO_LISTENER;
}

void PassedListeners::give_back(const char* plugin) {
    const std::scoped_lock lock(mutex_);
    for (Entry& entry : entries_) {
        if (entry.plugin == plugin) entry.plugin = nullptr;
    }
}

std::map<std::string, std::string> PassedListeners::takers() const {
    const std::scoped_lock lock(mutex_);
    std::map<std::string, std::string> takers;
    for (const Entry& entry : entries_) {
        if (entry.plugin != nullptr) takers[entry.socket.name] = entry.plugin;
    }
    return takers;
}

std::vector<std::string> PassedListeners::untaken() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::string> names;
    for (const Entry& entry : entries_) {
        if (entry.plugin == nullptr && std::ranges::find(names, entry.socket.name) == names.end()) {
            names.push_back(entry.socket.name);
        }
    }
    return names;
}

}  // namespace umbel::rt
