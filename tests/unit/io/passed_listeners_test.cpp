// Specification of passed_listeners.h.
#include "runtime/io/passed_listeners.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

#include "umbel/abi.h"

namespace umbel::rt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class Passed : public testing::Test {
protected:
    ~Passed() override {
        for (const int fd : opened_) ::close(fd);
    }
    int opened(int fd) {
        EXPECT_GE(fd, 0);
        return opened_.emplace_back(fd);
    }
    int listening() {
        const int fd = opened(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::listen(fd, 8), 0);
        return fd;
    }
    static int port_of(int fd) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
        return address.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in*>(&address)->sin_port : 0;
    }
    std::string why_;
    const char* const http_ = "http";
    const char* const echo_ = "echo";

private:
    std::vector<int> opened_;
};

// Spec.   Each take gives a descriptor of its own, of the same socket, closed in children; index tells those of one name
//         apart, in the order in which they were passed.
TEST_F(Passed, AreTakenByNameAndIndex) {
    const int one = listening();
    const int other = listening();
    const int two = listening();
    PassedListeners listeners({{"http", one}, {"echo", other}, {"http", two}});
    for (int i = 0; i < 3; ++i) {
        const int taken = opened(listeners.take(http_, "http", 0, why_));
        EXPECT_NE(taken, one);
        EXPECT_EQ(port_of(taken), port_of(one));
        EXPECT_EQ(::fcntl(taken, F_GETFD), FD_CLOEXEC);
    }
    EXPECT_EQ(port_of(opened(listeners.take(http_, "http", 1, why_))), port_of(two));
    EXPECT_EQ(listeners.take(http_, "http", 2, why_), UMBEL_E_NO_LISTENER);
    EXPECT_THAT(why_, HasSubstr("only 2 sockets of this name were passed"));
}

// Spec.   A name is the first taker's, whichever of its sockets that took (I1).
TEST_F(Passed, AreOnePluginS) {
    PassedListeners listeners({{"http", listening()}, {"http", listening()}});
    (void)opened(listeners.take(http_, "http", 1, why_));
    EXPECT_EQ(listeners.take(echo_, "http", 0, why_), -EBUSY);
    EXPECT_THAT(why_, HasSubstr("plugin http has taken it"));
    (void)opened(listeners.take(http_, "http", 0, why_));
    EXPECT_THAT(listeners.takers(), ElementsAre(std::pair("http", "http")));
    listeners.give_back(echo_);
    EXPECT_EQ(listeners.take(echo_, "http", 0, why_), -EBUSY);
    listeners.give_back(http_);
    (void)opened(listeners.take(echo_, "http", 0, why_));
    EXPECT_THAT(listeners.takers(), ElementsAre(std::pair("http", "echo")));
}

// Spec.   What cannot be had is said with its cause and remedy; the names that there are, each once.
TEST_F(Passed, RefusalsSayWhy) {
    PassedListeners none({});
    EXPECT_EQ(none.take(http_, "http", 0, why_), UMBEL_E_NO_LISTENER);
    EXPECT_THAT(why_, HasSubstr("no socket was passed to this process"));

    PassedListeners others({{"a", listening()}, {"b", listening()}, {"a", listening()}});
    EXPECT_EQ(others.take(http_, "http", 0, why_), UMBEL_E_NO_LISTENER);
    EXPECT_THAT(why_, HasSubstr("passed are \"a\", \"b\" (give the .socket unit FileDescriptorName=http"));

    const int unbound = opened(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int datagrams = opened(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const int file = opened(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (const int unfit : {unbound, datagrams, file}) {
        PassedListeners listeners({{"http", unfit}});
        EXPECT_EQ(listeners.take(http_, "http", 0, why_), -EINVAL);
        EXPECT_THAT(why_, HasSubstr("not a listening stream socket"));
        EXPECT_THAT(listeners.untaken(), ElementsAre("http"));
    }
}

// Spec.   untaken() names those that nobody took, each once.
TEST_F(Passed, KnowsWhatNobodyTook) {
    PassedListeners listeners({{"a", listening()}, {"b", listening()}, {"a", listening()}});
    EXPECT_THAT(listeners.untaken(), ElementsAre("a", "b"));
    (void)opened(listeners.take(http_, "a", 0, why_));
    EXPECT_THAT(listeners.untaken(), ElementsAre("b"));
}

}  // namespace
}  // namespace umbel::rt
