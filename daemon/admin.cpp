#include "daemon/admin.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "runtime/base/check.h"
#include "runtime/base/quantity.h"

namespace umbel::daemon {

namespace {

using nlohmann::json;

json refusal(std::string_view reason, const std::string& error) {
    return {{"ok", false}, {"error", error}, {"reason", reason}};
}

json outcome(const rt::Result<json>& result) {
    if (result) return {{"ok", true}, {"result", *result}};
    return refusal(result.error().error_class == rt::ErrorClass::usage ? "usage" : "failure", result.error().message);
}

std::unexpected<rt::Error> refuse(const std::string& path, const std::string& why) {
    return rt::fail(rt::ErrorClass::system, "admin.socket: " + path + ": " + why);
}

std::string error_text(int error) { return std::system_category().message(error); }

/// Whether somebody listens on the socket at `address`.
bool is_alive(const sockaddr_un& address) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool refused =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED;
    ::close(fd);
    return !refused;
}

}  // namespace

// ---- The main thread's -------------------------------------------------------------------------------------------------

rt::Result<std::unique_ptr<Admin>> Admin::open(AdminOptions options, MainQueue& queue) {
    const std::string path = options.path;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return refuse(path, "a socket's path has at most " + std::to_string(sizeof address.sun_path - 1) +
                                " bytes; choose a shorter one");
    }
    path.copy(address.sun_path, path.size());
    struct stat there{};
    if (::lstat(path.c_str(), &there) == 0) {
        if (!S_ISSOCK(there.st_mode)) return refuse(path, "is there and is no socket; move it away, or choose another");
        if (is_alive(address))
            return refuse(path, "another process listens there; give each daemon a socket of its own");
        ::unlink(path.c_str());
    }
    std::unique_ptr<Admin> admin(new Admin(std::move(options), queue));
    admin->answers_->wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    admin->listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (admin->answers_->wake_fd < 0 || admin->listener_ < 0) return refuse(path, error_text(errno));
    // The mode is right from the beginning, not only after a chmod.
    const mode_t before = ::umask(0117);
    const int bound = ::bind(admin->listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const int error = errno;
    ::umask(before);
    if (bound != 0)
        return refuse(path, "cannot be made: " + error_text(error) + "; make its folder, or let this user write there");
    if (::listen(admin->listener_, 64) != 0) return refuse(path, error_text(errno));
    if (::lstat(path.c_str(), &there) == 0) admin->listener_inode_ = there.st_ino;
    return admin;
}

Admin::~Admin() { stop(); }

void Admin::add(AdminCommand command) {
    std::string name = command.name;
    CHECK(commands_.emplace(std::move(name), std::move(command)).second);
}

void Admin::start() {
    add({"help", AdminLevel::observe, false, "the commands there are",
         [this](const json&, const AdminPeer&) -> rt::Result<json> {
             json all = json::array();
             for (const auto& [name, command] : commands_) {
                 all.push_back({{"command", name},
                                {"level", command.level == AdminLevel::control ? "control" : "observe"},
                                {"help", command.help}});
             }
             return all;
         }});
    thread_ = std::thread([this] { run(); });
}

void Admin::stop() {
    if (listener_ < 0) return;
    // relaxed: the wake-up below is seen after it, for a write to a descriptor is a full barrier.
    stopping_.store(true, std::memory_order_relaxed);
    answers_->wake();
    if (thread_.joinable()) thread_.join();
    for (const Client& client : clients_) ::close(client.fd);
    clients_.clear();
    ::close(std::exchange(listener_, -1));
    // Only ours: another daemon may have made its own there since.
    struct stat there{};
    if (::lstat(options_.path.c_str(), &there) == 0 && there.st_ino == listener_inode_) ::unlink(options_.path.c_str());
}

Admin::Answers::~Answers() {
    if (wake_fd >= 0) ::close(wake_fd);
}

void Admin::Answers::put(std::uint64_t client, json json) {
    {
        const std::lock_guard lock(mutex);
        ready.emplace_back(client, std::move(json));
    }
    wake();
}

void Admin::Answers::wake() const {
    const std::uint64_t one = 1;
    static_cast<void>(::write(wake_fd, &one, sizeof one));
}

// ---- The admin thread's ------------------------------------------------------------------------------------------------

void Admin::run() {
    pthread_setname_np(pthread_self(), "umbel-admin");
    std::vector<pollfd> watched;
    while (!stopping_.load(std::memory_order_relaxed)) {
        watched.assign({{answers_->wake_fd, POLLIN, 0}, {listener_, POLLIN, 0}});
        auto next = Clock::now() + std::chrono::hours(1);
        for (const Client& client : clients_) {
            short events = 0;
            if (!client.out.empty()) {
                events = POLLOUT;
            } else if (!client.waiting) {
                events = POLLIN;  // I2
            }
            watched.push_back({client.fd, events, 0});
            next = std::min(next, client.deadline);
        }
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count() + 1;
        const int ready = ::poll(watched.data(), watched.size(), static_cast<int>(std::max<std::int64_t>(left, 0)));
        if (ready < 0) continue;
        std::uint64_t count = 0;
        if ((watched[0].revents & POLLIN) != 0) static_cast<void>(::read(answers_->wake_fd, &count, sizeof count));
        for (std::size_t i = 0; i < clients_.size(); ++i) {
            Client& client = clients_[i];
            const short events = watched[i + 2].revents;
            if ((events & POLLOUT) != 0) flush(client);
            if ((events & POLLIN) != 0) receive(client);
            if ((events & (POLLERR | POLLNVAL)) != 0 || (events & (POLLHUP | POLLIN)) == POLLHUP) {
                client.out.clear();
                client.closing = true;
            }
        }
        take_answers();
        for (Client& client : clients_) expire(client);
        std::erase_if(clients_, [](const Client& client) {
            const bool over = client.closing && client.out.empty();
            if (over) ::close(client.fd);
            return over;
        });
        if ((watched[1].revents & POLLIN) != 0) accept_clients();
    }
}

void Admin::take_answers() {
    std::vector<std::pair<std::uint64_t, json>> ready;
    {
        const std::lock_guard lock(answers_->mutex);
        ready.swap(answers_->ready);
    }
    for (const auto& [number, json] : ready) {
        const auto client = std::ranges::find(clients_, number, &Client::number);
        // It may have gone, or have been told already that it takes too long.
        if (client == clients_.end() || !client->waiting) continue;
        client->waiting = false;
        answer(*client, json);
        serve(*client);
    }
}

void Admin::accept_clients() {
    for (;;) {
        const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        ucred credentials{};
        socklen_t size = sizeof credentials;
        Client client;
        client.fd = fd;
        client.number = next_number_++;
        client.deadline = Clock::now() + options_.idle_time;
        if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
            const bool controls = credentials.uid == 0 || credentials.uid == ::geteuid();
            client.peer = {credentials.uid, credentials.pid, controls ? AdminLevel::control : AdminLevel::observe};
        }
        if (clients_.size() >= options_.max_clients) {
            const auto observer =
                std::ranges::find_if(clients_, [](const Client& one) { return one.peer.level == AdminLevel::observe; });
            if (client.peer.level == AdminLevel::control && observer != clients_.end()) {  // I3
                ::close(observer->fd);
                clients_.erase(observer);
            } else {
                answer(client, refusal("busy", "there are " + std::to_string(options_.max_clients) +
                                                   " clients at the admin socket already; try again"));
                ::close(fd);
                continue;
            }
        }
        clients_.push_back(std::move(client));
    }
}

void Admin::receive(Client& client) {
    std::array<char, 4096> bytes{};
    const ssize_t got = ::recv(client.fd, bytes.data(), bytes.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
        client.closing = true;
        return;
    }
    if (client.in.empty()) client.deadline = Clock::now() + options_.request_time;
    client.in.append(bytes.data(), static_cast<std::size_t>(got));
    serve(client);
}

void Admin::serve(Client& client) {
    while (!client.waiting && !client.closing && client.out.empty()) {
        const std::size_t end = client.in.find('\n');
        if (end == std::string::npos) {
            if (client.in.size() > options_.max_request) {
                client.in.clear();
                client.closing = true;
                answer(client,
                       refusal("usage", "a request has at most " + std::to_string(options_.max_request) + " bytes"));
            }
            return;
        }
        const std::string line = client.in.substr(0, end);
        client.in.erase(0, end + 1);
        client.deadline = Clock::now() + (client.in.empty() ? options_.idle_time : options_.request_time);
        if (const auto json = execute(client, line)) answer(client, *json);
    }
}

std::optional<nlohmann::json> Admin::execute(Client& client, const std::string& line) {
    const auto request = json::parse(line, nullptr, false);
    const auto name = request.is_object() ? request.find("command") : request.end();
    if (!request.is_object() || name == request.end() || !name->is_string()) {
        return refusal("usage", "a request is one line, a JSON object with \"command\": {\"command\":\"help\"}");
    }
    const auto found = commands_.find(name->get<std::string>());
    if (found == commands_.end()) {
        return refusal("usage", "there is no command " + rt::quotation(name->get<std::string>()) +
                                    "; {\"command\":\"help\"} lists them");
    }
    const AdminCommand& command = found->second;
    if (command.level > client.peer.level) {
        return refusal("permission", command.name + " is for root and the daemon's own user; user id " +
                                         std::to_string(client.peer.uid) + " may only observe");
    }
    if (!command.on_main) return outcome(command.run(request, client.peer));
    client.waiting = true;
    client.deadline = Clock::now() + options_.command_time;
    queue_.post([answers = answers_, run = command.run, request, peer = client.peer, number = client.number] {
        answers->put(number, outcome(run(request, peer)));
    });
    return std::nullopt;
}

void Admin::answer(Client& client, const json& json) {
    // Whatever bytes a plugin's texts have, the answer is UTF-8.
    client.out += json.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    client.deadline = Clock::now() + options_.answer_time;
    flush(client);
}

void Admin::flush(Client& client) {
    while (!client.out.empty()) {
        const ssize_t sent = ::send(client.fd, client.out.data(), client.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return;
        if (sent <= 0) {
            client.out.clear();
            client.closing = true;
            return;
        }
        client.out.erase(0, static_cast<std::size_t>(sent));
    }
    if (client.waiting) return;
    client.deadline = Clock::now() + (client.in.empty() ? options_.idle_time : options_.request_time);
}

void Admin::expire(Client& client) {
    if (client.out.empty() && !client.waiting && !client.closing && client.in.contains('\n')) serve(client);
    if (Clock::now() < client.deadline) return;
    const bool unanswered = client.waiting;
    const bool reads = client.out.empty();
    client.out.clear();
    client.waiting = false;
    client.closing = true;
    if (!reads) return;
    if (unanswered) {
        answer(client, refusal("timeout", "the daemon is busy and has not come to it; it may still do it"));
    } else if (!client.in.empty()) {
        answer(client, refusal("timeout", "the request was not whole in time"));
    }
}

}  // namespace umbel::daemon
