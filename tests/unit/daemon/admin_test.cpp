// Specification of admin.h: real sockets, clients that behave and clients that do not.
#include "daemon/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

#include "daemon/admin_client.h"
#include "temporary_folder.h"

namespace umbel::daemon {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;

class Connection {
public:
    explicit Connection(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~Connection() { ::close(fd_); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    void send(const std::string& bytes) const { (void)::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
    /// The next line, "" if the connection ends before; waits 10 s at most.
    std::string line() {
        for (;;) {
            if (const std::size_t end = in_.find('\n'); end != std::string::npos) {
                std::string line = in_.substr(0, end);
                in_.erase(0, end + 1);
                return line;
            }
            pollfd watched{fd_, POLLIN, 0};
            std::array<char, 65536> bytes{};
            if (::poll(&watched, 1, 10'000) <= 0) return "nothing came";
            const ssize_t got = ::recv(fd_, bytes.data(), bytes.size(), 0);
            if (got <= 0) return "";
            in_.append(bytes.data(), static_cast<std::size_t>(got));
        }
    }
    json answer() { return json::parse(line(), nullptr, false); }

private:
    int fd_;
    std::string in_;
};

struct Daemon {
    explicit Daemon(AdminOptions options = {}) {
        options.path = folder / "socket";
        auto opened = Admin::open(options, queue);
        EXPECT_TRUE(opened) << opened.error().message;
        admin = std::move(*opened);
        admin->add({"echo", AdminLevel::observe, false, "says what it was told",
                    [](const json& request, const AdminPeer&) -> rt::Result<json> { return request; }});
        admin->add({"main", AdminLevel::control, true, "runs on the main thread",
                    [this](const json&, const AdminPeer&) -> rt::Result<json> { return json(++main_runs); }});
        admin->add(
            {"big", AdminLevel::observe, false, "a megabyte",
             [](const json&, const AdminPeer&) -> rt::Result<json> { return json(std::string(1 << 20, '\xff')); }});
        admin->add({"fail", AdminLevel::observe, false, "fails", [](const json&, const AdminPeer&) -> rt::Result<json> {
                        return rt::fail(rt::ErrorClass::failure, "the moon is full");
                    }});
        admin->start();
    }
    [[nodiscard]] std::string path() const { return folder / "socket"; }
    const TemporaryFolder folder;
    std::atomic<int> posted{0};
    int main_runs = 0;
    MainQueue queue{[this] { ++posted; }};
    std::unique_ptr<Admin> admin;
};

// Spec.   A request is answered, by line, in order, also if several come at once; errors say what and why.
TEST(Admin, AnswersRequestsInOrder) {
    Daemon daemon;
    Connection client(daemon.path());
    client.send("{\"command\":\"echo\",\"a\":1}\n{\"command\":\"fail\"}\n{\"command\":\"echo\",\"a\":2}\n");
    EXPECT_EQ(client.answer(), json::parse(R"({"ok":true,"result":{"command":"echo","a":1}})"));
    EXPECT_EQ(client.answer(), json::parse(R"({"ok":false,"error":"the moon is full","reason":"failure"})"));
    EXPECT_EQ(client.answer()["result"]["a"], 2);
    client.send("{\"command\":\"hlep\"}\n");
    EXPECT_THAT(client.answer()["error"].get<std::string>(), HasSubstr("no command \"hlep\""));
    client.send("{\"command\":\"help\"}\n");
    EXPECT_EQ(client.answer()["result"].size(), 5u);
    const auto asked = ask_daemon(daemon.path(), {{"command", "echo"}, {"b", 3}}, milliseconds(10'000));
    ASSERT_TRUE(asked) << asked.error().message;
    EXPECT_EQ((*asked)["b"], 3);
}

// Spec.   A command for the main thread runs when that comes to it; nobody else waits meanwhile, and the client's next
//         request waits for its answer (I2). One it never comes to is answered all the same.
TEST(Admin, TheMainThreadDoesWhatIsIts) {
    AdminOptions options;
    options.command_time = milliseconds(300);
    Daemon daemon(options);
    Connection client(daemon.path());
    client.send("{\"command\":\"main\"}\n{\"command\":\"echo\"}\n");
    while (daemon.posted == 0) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_EQ(daemon.main_runs, 0);
    Connection other(daemon.path());
    other.send("{\"command\":\"echo\"}\n");
    EXPECT_EQ(other.answer()["ok"], true);
    daemon.queue.run();
    EXPECT_EQ(client.answer()["result"], 1);
    EXPECT_EQ(client.answer()["result"]["command"], "echo");
    other.send("{\"command\":\"main\"}\n");
    EXPECT_EQ(other.answer()["reason"], "timeout");
    daemon.queue.run();  // late: its client has gone
}

// Spec.   Garbage is refused and costs nothing else: the next request of the same client is answered. A request that is too
//         long, or not whole in time, ends its client (I1).
TEST(Admin, SurvivesGarbageAndSlowness) {
    AdminOptions options;
    options.max_request = 1000;
    options.request_time = milliseconds(200);
    options.idle_time = milliseconds(1500);
    Daemon daemon(options);
    Connection client(daemon.path());
    for (const char* garbage :
         {"", "{", "[]", "null", "{\"command\":7}", "\xff\xfe", "{\"command\":\"echo\"", "GET / HTTP/1.1\r"}) {
        client.send(std::string(garbage) + "\n");
        EXPECT_EQ(client.answer()["reason"], "usage") << garbage;
    }
    client.send("{\"command\":\"echo\"}\n");
    EXPECT_EQ(client.answer()["ok"], true);
    Connection oversized(daemon.path());
    oversized.send(std::string(100'000, 'x'));
    EXPECT_THAT(oversized.answer()["error"].get<std::string>(), HasSubstr("at most 1000 bytes"));
    EXPECT_EQ(oversized.line(), "");
    Connection slow(daemon.path());
    slow.send("{\"command\"");
    EXPECT_EQ(slow.answer()["reason"], "timeout");
    EXPECT_EQ(slow.line(), "");
    Connection silent(daemon.path());
    EXPECT_EQ(silent.line(), "") << "closed after idle_time";
}

// Spec.   A client that does not read its answers is closed, and the others are served meanwhile; a text that is no UTF-8
//         does not break an answer.
TEST(Admin, AReaderThatDoesNotReadHoldsNobodyUp) {
    AdminOptions options;
    options.answer_time = milliseconds(300);
    Daemon daemon(options);
    Connection stuck(daemon.path());
    for (int i = 0; i < 20; ++i) stuck.send("{\"command\":\"big\"}\n");
    Connection other(daemon.path());
    other.send("{\"command\":\"big\"}\n");
    EXPECT_EQ(other.answer()["result"].get<std::string>().substr(0, 3), "\xef\xbf\xbd");
    std::this_thread::sleep_for(milliseconds(1000));
    other.send("{\"command\":\"echo\"}\n");
    EXPECT_EQ(other.answer()["ok"], true);
    int answers = 0;
    while (stuck.answer().is_object()) ++answers;
    EXPECT_LT(answers, 20);
}

// Spec.   There are at most max_clients; who comes then is told so. When some have left there is room again.
TEST(Admin, HasRoomForSoManyClients) {
    AdminOptions options;
    options.max_clients = 4;
    Daemon daemon(options);
    std::vector<std::unique_ptr<Connection>> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<Connection>(daemon.path()));
        clients.back()->send("{\"command\":\"echo\"}\n");
        EXPECT_EQ(clients.back()->answer()["ok"], true);
    }
    Connection late(daemon.path());
    EXPECT_EQ(late.answer()["reason"], "busy");
    EXPECT_EQ(late.line(), "");
    clients.pop_back();
    for (int i = 0; i < 1000; ++i) {
        Connection again(daemon.path());
        again.send("{\"command\":\"echo\"}\n");
        if (again.answer()["ok"] == true) return;
        std::this_thread::sleep_for(milliseconds(10));
    }
    FAIL() << "no room although a client has left";
}

// Spec.   The socket's mode is 0660. A file left behind is replaced; a living daemon's socket, and what is no socket, are not.
//         stop() removes it.
TEST(Admin, MakesItsSocketAndRemovesIt) {
    const TemporaryFolder folder;
    MainQueue queue([] {});
    AdminOptions options;
    options.path = folder / "socket";
    auto first = Admin::open(options, queue);
    ASSERT_TRUE(first) << first.error().message;
    struct stat status{};
    ASSERT_EQ(::stat(options.path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777u, 0660u);
    auto second = Admin::open(options, queue);
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().message, HasSubstr("another process listens there"));
    (*first)->stop();
    EXPECT_FALSE(std::filesystem::exists(options.path));
    const int left = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    options.path.copy(address.sun_path, sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(left);
    EXPECT_TRUE(Admin::open(options, queue)) << "nobody listens there any more";
    options.path = folder / "";
    options.path.pop_back();
    const auto third = Admin::open(options, queue);
    ASSERT_FALSE(third);
    EXPECT_THAT(third.error().message, HasSubstr("is no socket"));
}

}  // namespace
}  // namespace umbel::daemon
