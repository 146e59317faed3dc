// The test kit as authors of plugins use it, on a plugin that is linked into this test and has one role for each question.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "umbel/testkit_gtest.h"
#include "umbel/umbel.h"

using namespace std::chrono_literals;

namespace umbel::testkit {
namespace {

// ---- The plugin --------------------------------------------------------------------------------------------------------

struct question {
    int number;
};
struct answer {
    int number;
    std::int64_t nanoseconds;
};
struct stop {};

class oracle {
public:
    explicit oracle(umbel::self& me) { (void)me.register_name("oracle"); }
    void on_message(umbel::self& me, umbel::message& message) {
        if (message.as<stop>() != nullptr) me.exit();
        if (const question* asked = message.as<question>()) {
            if (asked->number < 0) me.fail("a negative question");
            (void)me.send_to(message.sender(), answer{asked->number * 2, me.now().count()});
        }
    }
};

// Copies /in to /out in pieces; logs what went wrong.
void copier(umbel::self& me) {
    auto from = me.await(me.open("/in", O_RDONLY));
    auto to = me.await(me.open("/out", O_WRONLY | O_CREAT, UMBEL_CWD, 0600));
    if (!from || !to) me.fail("cannot open");
    for (std::uint64_t at = 0;;) {
        auto piece = me.await(me.read(*from, 1000, at));
        if (!piece) me.fail("cannot read: " + std::string(piece.error().message()));
        if (piece->empty()) break;
        std::size_t done = 0;
        while (done < piece->size()) {
            const auto written = me.await(me.write(*to, piece->bytes().subspan(done), at + done));
            if (!written) me.fail("cannot write: " + std::string(written.error().message()));
            done += *written;
        }
        at += piece->size();
    }
    me.log_info("copied");
}

void hoarder(umbel::self& me, umbel::actor_id) {
    for (;;) (void)me.receive();
}

// Answers nothing that drains, so that draining has to wait for it.
void stubborn(umbel::self& me) { me.sleep(100s); }

void keeps_descriptors(umbel::self& me) {
    std::vector<umbel::file> kept;
    std::vector<umbel::buffer> buffers;
    (void)me.register_name("keeper");
    for (;;) {
        auto message = me.receive();
        if (message.as<stop>() != nullptr) return;
        if (message.as<question>() == nullptr) continue;
        if (auto opened = me.await(me.open("/in", O_RDONLY))) kept.push_back(std::move(*opened));
        if (auto read = me.await(me.read(kept.back(), 10))) buffers.push_back(std::move(*read));
    }
}

// Logs a structured event.
void reporter(umbel::self& me) {
    me.log_event("kit.reported", "a report", {{"times", 3}, {"who", "reporter"}, {"right", true}});
}

std::string role;

void main_actor(umbel::self& me) {
    if (role == "cannot start") me.fail("the moon is not full");
    if (role == "oracle") (void)me.spawn<oracle>();
    if (role == "far oracle") (void)me.spawn_at<oracle>(1);
    if (role == "copier") (void)me.spawn<copier>();
    if (role == "hoarder") (void)me.spawn<hoarder>(umbel::actor_id{});
    if (role == "stubborn") (void)me.spawn<stubborn>();
    if (role == "keeper") (void)me.spawn<keeps_descriptors>();
    if (role == "never ready") me.sleep(1000h);
    if (role == "reporter") (void)me.spawn<reporter>();
    me.ready("as " + role);
    if (role != "reloaded") return;
    for (;;) {
        const auto message = me.receive();
        if (message.is_drain()) return;
        if (message.is_reload()) me.log_info("now as " + role);
    }
}

void read_settings(const umbel::settings& settings) { role = settings.text("role"); }
std::string prepare(const umbel::settings& settings) {
    if (settings.text("role") == "traitor") throw std::runtime_error("role: never");
    return settings.text("role");
}
void apply(std::string prepared) noexcept { role = std::move(prepared); }

bool unloaded = false;

constexpr umbel_setting settings[] = {{.name = "role",
                                       .type = UMBEL_SETTING_TEXT,
                                       .required = 1,
                                       .default_value = nullptr,
                                       .min = 0,
                                       .max = 0,
                                       .description = "What it does"}};

constexpr umbel_plugin descriptor = {UMBEL_PLUGIN_HEADER,
                                     .setting_count = 1,
                                     .settings = settings,
                                     .name = "kit",
                                     .version = "1",
                                     .description = "",
                                     .load = umbel::load<read_settings>,
                                     .unload = [] { unloaded = true; },
                                     .main = &umbel::actor_type<main_actor>,
                                     .main_placement = UMBEL_MAIN_ONCE,
                                     .reserved = 0,
                                     .reload = umbel::reload<prepare, apply>};

options with(const std::string& wanted, std::uint64_t seed = 1) {
    options chosen;
    chosen.descriptor = &descriptor;
    chosen.settings = "# a comment\n role = " + wanted + " # and another\n";
    chosen.seed = seed;
    return chosen;
}

// The text of the failure that body() throws; "" if it throws none.
template <class Body>
std::string failure_of(Body&& body) {
    try {
        body();
    } catch (const failure& thrown) {
        return thrown.what();
    }
    return "";
}

#define EXPECT_CONTAINS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

// ---- Starting and ending -------------------------------------------------------------------------------------------------

// Spec.   start() runs until the mains are ready, finish() to the end, and then unload was called.
TEST(Testkit, StartsAndFinishes) {
    unloaded = false;
    simulation simulation(with("nothing"));
    simulation.start();
    EXPECT_TRUE(simulation.logged("as nothing"));
    EXPECT_TRUE(simulation.actors().empty());
    simulation.finish();
    EXPECT_TRUE(unloaded);
}

// Spec.   A plugin that cannot start is a failure with its reason and the seed, and so is one that is never ready.
TEST(Testkit, SaysWhyAPluginDoesNotStart) {
    const std::string refused = failure_of([] { simulation(with("cannot start", 77)).start(); });
    EXPECT_CONTAINS(refused, "plugin kit cannot start: the moon is not full");
    EXPECT_CONTAINS(refused, "UMBEL_SEED=77");
    EXPECT_CONTAINS(failure_of([] { simulation(with("never ready")).start(5s); }), "in time");
}

// Spec.   Settings are checked as the daemon checks them; what is wrong is named with its line.
TEST(Testkit, RefusesWrongSettings) {
    options wrong = with("oracle");
    wrong.settings += "rolle = oracle\n";
    EXPECT_CONTAINS(failure_of([&] { simulation{wrong}; }), "settings:3: plugin.kit.rolle");
    wrong.settings = "role oracle";
    EXPECT_CONTAINS(failure_of([&] { simulation{wrong}; }), "settings:1: 'role oracle'");
    wrong.settings = "";
    EXPECT_CONTAINS(failure_of([&] { simulation{wrong}; }), "role");
}

// Spec.   What a test does wrong is said, not suffered.
TEST(Testkit, RefusesMisuse) {
    EXPECT_CONTAINS(failure_of([] { simulation{options{}}; }), "options.plugin");
    options many = with("oracle");
    many.executors = 1000;
    EXPECT_CONTAINS(failure_of([&] { simulation{many}; }), "options.executors is 1000");
    options odd = with("oracle");
    odd.memory_limit = 12345;
    EXPECT_CONTAINS(failure_of([&] { simulation{odd}; }), "options.memory_limit");
    options missing;
    missing.plugin = "/nowhere/kit.so";
    EXPECT_CONTAINS(failure_of([&] { simulation{missing}; }), "No such file");

    simulation first(with("oracle"));
    EXPECT_CONTAINS(failure_of([] { simulation{with("oracle")}; }), "there is a simulation already");
    EXPECT_CONTAINS(failure_of([&] { first.fail_next(UMBEL_OP_TIMEOUT, EIO); }), "cannot be made to fail");
    EXPECT_CONTAINS(failure_of([&] { first.fail_next(UMBEL_OP_READ, -EIO); }), "errno");
    EXPECT_CONTAINS(failure_of([&] { first.add_file("relative", ""); }), "absolute");
    EXPECT_CONTAINS(failure_of([&] { (void)first.send(1, question{1}); }), "start()");
    first.start();
    EXPECT_EQ(first.send(12345, question{1}), UMBEL_E_NO_ACTOR);
    std::string in_script;
    first.after(1ms, [&] { in_script = failure_of([&] { first.run_for(1s); }); });
    first.run_for(2ms);
    EXPECT_CONTAINS(in_script, "a script cannot run the simulation");
    first.finish({"oracle"});
    EXPECT_CONTAINS(failure_of([&] { first.run_for(1s); }), "finish() was called");
}

// ---- Messages ------------------------------------------------------------------------------------------------------------

// Spec.   The test sends to actors and gets their answers, from any executor, in order, from scripts too.
TEST(Testkit, ExchangesMessages) {
    for (const char* where : {"oracle", "far oracle"}) {
        options chosen = with(where);
        chosen.executors = 2;
        simulation simulation(chosen);
        simulation.start();
        simulation.run_until_idle();
        const umbel_actor_id oracle = simulation.whereis("oracle");
        ASSERT_NE(oracle, 0u);
        for (int i = 0; i < 10; ++i) EXPECT_EQ(simulation.send(oracle, question{i}), 0);
        for (int i = 0; i < 10; ++i) {
            const auto got = simulation.receive();
            ASSERT_TRUE(got);
            EXPECT_EQ(got->sender, oracle);
            EXPECT_FALSE(got->as<question>());
            ASSERT_TRUE(got->as<answer>());
            EXPECT_EQ(got->as<answer>()->number, 2 * i);
        }
        simulation.after(5ms, [&] { EXPECT_EQ(simulation.send(oracle, question{21}), 0); });
        ASSERT_TRUE(simulation.receive());
        EXPECT_FALSE(simulation.receive(1s));  // nothing more
        EXPECT_EQ(simulation.send(oracle, stop{}), 0);
        simulation.run_until_idle();
        EXPECT_EQ(simulation.send(oracle, question{1}), UMBEL_E_NO_ACTOR);
        simulation.finish();
    }
}

// Spec.   An actor's failure is found with its type and reason: by take_failures(), or else by finish().
TEST(Testkit, FindsFailures) {
    for (const bool taken : {true, false}) {
        simulation simulation(with("oracle"));
        simulation.start();
        simulation.run_until_idle();
        simulation.send(simulation.whereis("oracle"), question{-1});
        simulation.run_until_idle();
        if (taken) {
            EXPECT_EQ(simulation.take_failures(), std::vector<std::string>{"oracle: a negative question"});
            simulation.finish();
        } else {
            EXPECT_CONTAINS(failure_of([&] { simulation.finish(); }), "oracle: a negative question");
        }
    }
}

// ---- Time ------------------------------------------------------------------------------------------------------------------

// Spec.   Time passes exactly as told; being idle costs none of the far future.
TEST(Testkit, MovesTheClock) {
    simulation simulation(with("oracle"));
    simulation.start();
    EXPECT_TRUE(simulation.run_until_idle());
    const nanoseconds before = simulation.now();
    simulation.run_for(1h);
    EXPECT_EQ(simulation.now() - before, 1h);
    bool late = false;
    simulation.after(10min, [&] { late = true; });
    EXPECT_FALSE(simulation.run_until([&] { return late; }, 9min));
    EXPECT_TRUE(simulation.run_until([&] { return late; }, 2min));
    simulation.after(10min, [&] { late = false; });
    EXPECT_TRUE(simulation.run_until_idle(1s));
    EXPECT_TRUE(late);
    simulation.finish({"oracle"});
}

// ---- Files and faults ------------------------------------------------------------------------------------------------------

std::string pattern(std::size_t size) {
    std::string bytes(size, '\0');
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7);
    return bytes;
}

// Spec.   Files are read and written; transfers may be short, by the seed, and the copy is right all the same.
TEST(Testkit, CopiesAFile) {
    for_each_seed(50, [](std::uint64_t seed) {
        options chosen = with("copier", seed);
        chosen.faults.short_transfer = 0.5;
        chosen.any_kernel = true;
        simulation simulation(chosen);
        simulation.add_file("/in", pattern(10'000));
        simulation.start();
        EXPECT_TRUE(simulation.run_until([&] { return simulation.logged("copied"); }));
        EXPECT_EQ(simulation.file("/out"), pattern(10'000));
        EXPECT_EQ(simulation.file("/nothing"), std::nullopt);
        simulation.finish();
    });
}

// Spec.   fail_next ends the operations it means, and no others, with its error; rules are used up.
TEST(Testkit, MakesOperationsFail) {
    simulation simulation(with("copier"));
    simulation.add_file("/in", pattern(10'000));
    simulation.fail_next(UMBEL_OP_WRITE, ENOSPC, 1, 3);
    simulation.start();
    simulation.run_until_idle();
    EXPECT_EQ(simulation.take_failures(), std::vector<std::string>{"copier: cannot write: No space left on device"});
    EXPECT_EQ(simulation.file("/out"), pattern(3000));
    simulation.finish();
}

// Spec.   The same holds on kernels that lack an operation, where the runtime calls the system itself.
TEST(Testkit, MakesOperationsFailOnAnyKernel) {
    for_each_seed(50, [](std::uint64_t seed) {
        options chosen = with("copier", seed);
        chosen.any_kernel = true;
        simulation simulation(chosen);
        simulation.add_file("/in", pattern(10));
        simulation.fail_next(UMBEL_OP_OPENAT2, EMFILE);
        simulation.start();
        simulation.run_until_idle();
        EXPECT_EQ(simulation.take_failures(), std::vector<std::string>{"copier: cannot open"});
        simulation.finish();
    });
}

// Spec.   One seed is one run; another seed is another.
TEST(Testkit, IsDeterministic) {
    const auto trace = [](std::uint64_t seed) {
        options chosen = with("copier", seed);
        chosen.faults = faults::harsh();
        chosen.executors = 3;
        simulation simulation(chosen);
        simulation.add_file("/in", pattern(10'000));
        (void)failure_of([&] { simulation.start(); });
        simulation.run_until_idle();
        return simulation.trace();
    };
    EXPECT_EQ(trace(5), trace(5));
    EXPECT_NE(trace(5), trace(6));
}

// Spec.   Structured events are seen with their own name and fields, lines of text with their text.
TEST(Testkit, SeesStructuredEvents) {
    simulation simulation(with("reporter"));
    simulation.start();
    simulation.run_until_idle();
    const auto line = std::ranges::find(simulation.log(), "kit.reported", &log_line::event);
    ASSERT_NE(line, simulation.log().end());
    EXPECT_EQ(line->text, "a report");
    EXPECT_EQ(line->level, UMBEL_LOG_INFO);
    EXPECT_EQ(line->field("times"), "3");
    EXPECT_EQ(line->field("who"), "reporter");
    EXPECT_EQ(line->field("right"), "true");
    EXPECT_EQ(line->field("nothing"), std::nullopt);
    simulation.finish();
}

// Spec.   reload() is all or nothing, and mains hear of it.
TEST(Testkit, Reloads) {
    simulation simulation(with("reloaded"));
    simulation.start();
    simulation.reload("role = something new");
    simulation.run_until_idle();
    EXPECT_TRUE(simulation.logged("now as something new"));
    EXPECT_CONTAINS(failure_of([&] { simulation.reload("role = traitor"); }), "role: never");
    EXPECT_CONTAINS(failure_of([&] { simulation.reload("rule = none"); }), "settings:1: plugin.kit.rule");
    EXPECT_EQ(role, "something new");
    simulation.finish();
}

// ---- Leaks -------------------------------------------------------------------------------------------------------------------

// Spec.   finish() names an actor that lives on, unless it was expected to.
TEST(Testkit, FindsActorsThatLiveOn) {
    simulation forgotten(with("hoarder"));
    forgotten.start();
    const std::string found = failure_of([&] { forgotten.finish(); });
    EXPECT_CONTAINS(found, "an actor that lives on: hoarder");
    EXPECT_CONTAINS(found, "finish({\"hoarder\"})");
}

// Spec.   Draining that waits for somebody longer than it may is a failure with the name.
TEST(Testkit, FindsWhoHoldsUpADrain) {
    simulation simulation(with("stubborn"));
    simulation.start();
    simulation.run_until_idle();
    EXPECT_CONTAINS(failure_of([&] { simulation.drain(10s); }), "stubborn (1 operations in flight)");
    simulation.run_for(100s);
    simulation.finish();
}

// Spec.   What a living actor holds is counted, so that a test can see it grow.
TEST(Testkit, CountsWhatIsHeld) {
    simulation simulation(with("keeper"));
    simulation.add_file("/in", "some bytes");
    simulation.start();
    simulation.run_until_idle();
    const holdings before = simulation.held();
    const umbel_actor_id keeper = simulation.whereis("keeper");
    for (int i = 0; i < 3; ++i) simulation.send(keeper, question{i});
    simulation.run_until_idle();
    const holdings after = simulation.held();
    EXPECT_EQ(after.actors, before.actors);
    EXPECT_EQ(after.descriptors, before.descriptors + 3);
    EXPECT_EQ(after.buffers, before.buffers + 3);
    EXPECT_EQ(after.operations, before.operations);
    simulation.send(keeper, stop{});
    simulation.run_until_idle();
    EXPECT_EQ(simulation.held(), (holdings{}));
    simulation.finish();
}

// Spec.   Waiting for bytes that do not come is a failure that says what came, and why no more does.
TEST(Testkit, SaysWhatAClientGotInstead) {
    simulation simulation(with("oracle"));
    simulation.start();
    client client = simulation.connect(80);
    EXPECT_CONTAINS(failure_of([&] { (void)client.read_line(); }), "nobody listens on the port");
    EXPECT_TRUE(client.refused());
    simulation.finish({"oracle"});
}

}  // namespace
}  // namespace umbel::testkit
