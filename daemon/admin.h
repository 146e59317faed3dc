// admin.h: the admin socket: questions and commands to a running daemon.
//
// Why.    Whoever operates a daemon wants to see what it does and to change what can be changed, while it runs, from the same
//         machine, and with no more rights than he has.
// Shape.  A unix stream socket, and one thread that polls it and its clients. A request is a line of JSON, an object with
//         "command" and perhaps arguments; the answer is a line of JSON:
//             {"ok":true,"result":…}   {"ok":false,"error":"…","reason":"usage|permission|busy|timeout|failure"}
//         Who may connect is the file's mode, 0660. What he may do follows from his user id, which the kernel tells:
//         root and the daemon's own user control, everybody else observes.
//         A command that touches the runtime runs on the main thread (main_queue.h); its client waits, nobody else does.
// Owner.  open(), add(), start(), stop(): the main thread. The rest: the admin thread.
//
// Invariants
//   I1  a client costs a bounded amount of memory and of the thread's time: a request has at most max_request bytes and
//       must be whole within request_time; an answer must be taken within answer_time; there are at most max_clients
//   I2  a client's answers come in the order of its requests: the next one is read when the last is answered
//   I3  clients that only observe cannot keep out one that controls
// Not here.  Which commands there are: admin_commands.h. The other end: admin_client.h.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/main_queue.h"
#include "runtime/base/result.h"

namespace umbel::daemon {

enum class AdminLevel : std::uint8_t { observe, control };

struct AdminPeer {
    std::uint32_t uid = 0;
    std::int32_t pid = 0;
    AdminLevel level = AdminLevel::observe;
};

struct AdminCommand {
    std::string name;
    AdminLevel level = AdminLevel::observe;
    bool on_main = false;  // runs on the main thread
    std::string help;      // one line
    /// The result; errors: usage (the request is wrong) or failure. Must not wait.
    std::function<rt::Result<nlohmann::json>(const nlohmann::json& request, const AdminPeer& peer)> run;
};

struct AdminOptions {
    std::string path;
    std::size_t max_request = std::size_t{64} * 1024;
    std::size_t max_clients = 32;
    std::chrono::milliseconds request_time{5000};
    std::chrono::milliseconds answer_time{5000};
    std::chrono::milliseconds idle_time{60000};     // between requests
    std::chrono::milliseconds command_time{30000};  // for the main thread to run a command
};

class Admin {
public:
    /// Makes the socket. A file that a daemon which has ended left there is replaced. Errors: system (with the remedy).
    [[nodiscard]] static rt::Result<std::unique_ptr<Admin>> open(AdminOptions options, MainQueue& queue);

    Admin(const Admin&) = delete;
    Admin& operator=(const Admin&) = delete;
    ~Admin();  // stops

    /// Before start().
    void add(AdminCommand command);
    void start();
    /// Ends the thread and removes the socket.
    void stop();

    [[nodiscard]] const std::string& path() const { return options_.path; }

private:
    using Clock = std::chrono::steady_clock;
    struct Client {
        int fd = -1;
        std::uint64_t number = 0;
        AdminPeer peer;
        std::string in;
        std::string out;
        bool waiting = false;  // for the main thread
        bool closing = false;  // when `out` is empty
        Clock::time_point deadline;
    };

    Admin(AdminOptions options, MainQueue& queue) : options_(std::move(options)), queue_(queue) {}
    void run();
    void take_answers();
    void accept_clients();
    void receive(Client& client);
    void serve(Client& client);
    void flush(Client& client);
    void answer(Client& client, const nlohmann::json& json);
    void expire(Client& client);
    [[nodiscard]] std::optional<nlohmann::json> execute(Client& client, const std::string& line);

    const AdminOptions options_;
    MainQueue& queue_;
    std::map<std::string, AdminCommand> commands_;
    int listener_ = -1;
    std::uint64_t listener_inode_ = 0;
    std::atomic<bool> stopping_{false};

    // The admin thread's.
    std::vector<Client> clients_;
    std::uint64_t next_number_ = 1;

    /// Answers of the main thread; outlives the Admin in functions that are still queued.
    struct Answers {
        ~Answers();
        void put(std::uint64_t client, nlohmann::json json);
        void wake() const;
        std::mutex mutex;
        std::vector<std::pair<std::uint64_t, nlohmann::json>> ready;
        int wake_fd = -1;
    };
    std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();

    std::thread thread_;
};

}  // namespace umbel::daemon
