// greeter_c_test.cpp: the plugin on the test kit (C++; what it tests is C): a simulated kernel, each day from a seed.
#include <errno.h>

#include <string>

#include "umbel/testkit_gtest.h"

using namespace std::chrono_literals;
namespace kit = umbel::testkit;

namespace {

constexpr std::uint16_t port = 7777;

// Spec.   A line is answered by a greeting; an empty line ends the connection.
TEST(greeter_c, answers_each_line) {
    kit::simulation simulation({.plugin = UMBEL_PLUGIN_FILE, .settings = "greeting = good morning"});
    simulation.start();
    kit::client client = simulation.connect(port);
    client.send("world\nmoon\n");
    EXPECT_EQ(client.read_line(), "good morning, world!");
    EXPECT_EQ(client.read_line(), "good morning, moon!");
    client.send("\n");
    EXPECT_EQ(client.read_all(), "");
    simulation.finish();  // whatever is left is a leak
}

// Spec.   However the bytes arrive, and whatever the kernel does, an answer is the right one, and nothing is left behind.
TEST(greeter_c, survives_a_bad_day) {
    kit::for_each_seed(100, [](std::uint64_t seed) {
        kit::simulation simulation({.plugin = UMBEL_PLUGIN_FILE, .seed = seed, .executors = 2, .any_kernel = true});
        simulation.start();
        simulation.set_faults(kit::faults::harsh());
        kit::client client = simulation.connect(port);
        client.send("world\n");
        client.finish();
        simulation.run_until([&] { return client.over(); });
        const std::string right = "hello, world!\n";
        EXPECT_EQ(client.all(), right.substr(0, client.all().size()));  // the connection may have been broken
        simulation.finish();
    });
}

// Spec.   A silent client is shown the door after idle_timeout, and nothing of it stays.
TEST(greeter_c, closes_idle_connections) {
    kit::simulation simulation({.plugin = UMBEL_PLUGIN_FILE, .settings = "idle_timeout = 5s"});
    simulation.start();
    simulation.run_until_idle();
    const kit::holdings before = simulation.held();
    kit::client client = simulation.connect(port);
    simulation.run_for(4s);
    EXPECT_FALSE(client.ended());
    simulation.run_for(2s);
    EXPECT_TRUE(client.ended());
    EXPECT_EQ(simulation.held(), before);
    simulation.finish();
}

// Spec.   A client that never ends its line does not fill the memory.
TEST(greeter_c, refuses_endless_lines) {
    kit::simulation simulation({.plugin = UMBEL_PLUGIN_FILE});
    simulation.start();
    kit::client client = simulation.connect(port);
    client.send(std::string(10'000, 'x'));
    simulation.run_until([&] { return client.over(); });
    EXPECT_EQ(client.all(), "");
    simulation.finish();
}

// Spec.   When the system has no socket for it, the plugin does not start, and says why.
TEST(greeter_c, says_why_it_cannot_listen) {
    kit::simulation simulation({.plugin = UMBEL_PLUGIN_FILE});
    simulation.fail_next(UMBEL_OP_BIND, EADDRINUSE);
    try {
        simulation.start();
        ADD_FAILURE() << "it started";
    } catch (const kit::failure& refused) {
        EXPECT_NE(std::string(refused.what()).find("Address already in use"), std::string::npos) << refused.what();
    }
}

}  // namespace
