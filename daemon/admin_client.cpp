#include "daemon/admin_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace umbel::daemon {

namespace {

constexpr std::size_t max_answer = 64 << 20;

std::unexpected<rt::Error> refuse(const std::string& path, const std::string& why) {
    return rt::fail(rt::ErrorClass::system, path + ": " + why);
}

std::string remedy(int error) {
    switch (error) {
        case ENOENT:
        case ECONNREFUSED:
            return "no daemon listens there; start umbeld with admin.socket set to this path, or name its socket with "
                   "--socket PATH";
        case EACCES:
        case EPERM:
            return "this user may not connect: the socket is its owner's and its group's; use root, or that user";
        default:
            return std::system_category().message(error);
    }
}

struct Socket {
    ~Socket() {
        if (fd >= 0) ::close(fd);
    }
    int fd;
};

}  // namespace

std::string default_admin_socket() {
    const char* set = std::getenv("UMBEL_SOCKET");
    return set != nullptr && *set != '\0' ? set : "/run/umbel/umbeld.sock";
}

rt::Result<nlohmann::json> ask_daemon(const std::string& path, const nlohmann::json& request,
                                      std::chrono::milliseconds most) {
    const auto until = std::chrono::steady_clock::now() + most;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return refuse(path, "is too long for a socket's path");
    path.copy(address.sun_path, path.size());
    const Socket socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (socket.fd < 0) return refuse(path, std::system_category().message(errno));
    if (::connect(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return refuse(path, remedy(errno));
    }
    const std::string line = request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    // Whoever is turned away finds the answer even if the request could not be sent.
    static_cast<void>(::send(socket.fd, line.data(), line.size(), MSG_NOSIGNAL));
    std::string answer;
    std::array<char, 65536> bytes{};
    while (!answer.contains('\n') && answer.size() < max_answer) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
        pollfd watched{socket.fd, POLLIN, 0};
        if (left <= 0 || ::poll(&watched, 1, static_cast<int>(left)) == 0) {
            return refuse(path, "the daemon does not answer in " + std::to_string(most.count()) +
                                    " ms; if it hangs, its log and `systemctl status` may say why");
        }
        const ssize_t got = ::recv(socket.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (got <= 0) return refuse(path, "the daemon closed the connection without an answer; it may have ended");
        answer.append(bytes.data(), static_cast<std::size_t>(got));
    }
    const auto json = nlohmann::json::parse(answer, nullptr, false);
    if (!json.is_object() || !json.contains("ok")) return refuse(path, "what listens there is no umbeld");
    if (json.value("ok", false)) return json.value("result", nlohmann::json());
    const bool usage = json.value("reason", "") == "usage";
    return rt::fail(usage ? rt::ErrorClass::usage : rt::ErrorClass::failure, json.value("error", "refused"));
}

}  // namespace umbel::daemon
