// Plugins come, change and go on real executors while others work.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "runtime/runtime.h"
#include "umbel/umbel.h"

namespace umbel::rt {
namespace {

using namespace std::chrono_literals;

std::atomic<long> steady_messages{0};
std::atomic<bool> steady_was_told{false};
std::atomic<int> guests_loaded{0};
std::atomic<int> guests_unloaded{0};

// ---- The plugin that stays: a pair of actors over two executors that never stop talking.

void answers(self& me) {
    for (;;) {
        auto message = me.receive();
        if (message.from_actor()) (void)me.send_to(message.sender(), 1);
    }
}
void steady_main(self& me) {
    const int other = (static_cast<int>(me.executor()) + 1) % static_cast<int>(me.executor_count());
    const auto peer = me.spawn_at<answers>(other);
    if (!peer) me.fail("no peer");
    me.ready("steady");
    for (;;) {
        (void)me.send_to(*peer, 1);
        const auto answer = me.receive_within(10ms);
        if (answer && answer->is_drain()) return;
        if (me.draining()) steady_was_told = true;
        ++steady_messages;
    }
}

// ---- The guest: dormant handlers, sleepers, talkers, everywhere; some of them never end by themselves.

struct Word {
    std::string text;
};
reloadable<Word> word;
Word read_word(const settings& from) { return {from.text("word")}; }
int load_guest(const umbel_host* host, const umbel_settings* raw, char* error, std::size_t size) {
    ++guests_loaded;
    return load_into<word, read_word>(host, raw, error, size);
}
void unload_guest() { ++guests_unloaded; }

class Dormant {
public:
    explicit Dormant(self&) {}
    void on_message(self& me, message&) {
        if (word->text.empty()) me.fail("the word is gone");
    }
};
void sleeper(self& me) {
    for (;;) me.sleep(1ms);
}
void talker(self& me, actor_id to) {
    for (;;) {
        (void)me.send_to(to, 1);
        (void)me.receive_within(1ms);
    }
}
void guest_main(self& me) {
    const int count = static_cast<int>(me.executor_count());
    for (int i = 0; i < 60; ++i) {
        const auto dormant = me.spawn_at<Dormant>(i % count);
        if (dormant && i % 3 == 0) (void)me.send_to(*dormant, i);
        if (dormant && i % 10 == 0) (void)me.spawn_at<talker>((i + 1) % count, *dormant);
        if (i % 20 == 0) (void)me.spawn_at<sleeper>(i % count);
    }
    me.ready("guest");
    for (;;) (void)me.receive();
}

constexpr umbel_setting guest_settings[] = {{.name = "word",
                                             .type = UMBEL_SETTING_TEXT,
                                             .required = 0,
                                             .default_value = "hello",
                                             .min = 0,
                                             .max = 0,
                                             .description = "A word"}};

umbel_plugin descriptor(umbel_actor_type& main) {
    umbel_plugin plugin = {UMBEL_PLUGIN_HEADER, .setting_count = 0,
                           .settings = nullptr, .name = "stress",
                           .version = "1",      .description = "",
                           .load = load<>,      .unload = nullptr,
                           .main = &main,       .main_placement = UMBEL_MAIN_EVERYWHERE,
                           .reserved = 0};
    return plugin;
}

PluginOptions section(const char* name, const umbel_plugin& builtin) {
    PluginOptions options;
    options.name = name;
    options.builtin = &builtin;
    return options;
}

/// Tends until the guest has come to this; false if it takes too long.
bool tended_until(Runtime& runtime, PluginNews::Kind kind) {
    const PluginPatience patience{.start = 60s, .drain = 20ms, .cancel = 20ms};
    for (const auto until = std::chrono::steady_clock::now() + 60s; std::chrono::steady_clock::now() < until;) {
        for (const PluginNews& news : runtime.tend_plugins(patience)) {
            if (news.kind == kind) return true;
        }
        std::this_thread::sleep_for(1ms);
    }
    return false;
}

// Spec.   A guest is added, given new words and retired, again and again; each time all of its actors go, load and unload
//         alternate, and the plugin that stays works on and is never told that anything drains.
TEST(PluginsStress, ComeChangeAndGo) {
    const umbel_plugin steady = descriptor(actor_type<steady_main>);
    umbel_plugin guest = descriptor(actor_type<guest_main>);
    guest.setting_count = 1;
    guest.settings = guest_settings;
    guest.load = load_guest;
    guest.unload = unload_guest;
    guest.reload = reload_into<word, read_word>;

    Options options;
    options.executors.count = 3;
    options.executors.ring_entries = 64;
    options.executors.completion_entries = 1024;
    options.executors.buffer_count = 16;
    options.actors.memory_limit = 256_KiB;
    options.actors.stack_size = 128_KiB;
    options.plugins = {section("steady", steady)};
    auto runtime = Runtime::load(options);
    ASSERT_TRUE(runtime) << runtime.error().message;
    ASSERT_TRUE((*runtime)->start());
    while ((*runtime)->state() == RuntimeState::starting) std::this_thread::sleep_for(1ms);
    ASSERT_EQ((*runtime)->state(), RuntimeState::ready);
    std::atomic<bool> over{false};
    std::thread log([&] {
        while (!over) {
            (*runtime)->take_log([](const LogRecord&) {});
            (void)(*runtime)->announcements();
            std::this_thread::sleep_for(1ms);
        }
    });

    constexpr int rounds = 12;
    for (int round = 0; round < rounds && !testing::Test::HasFailure(); ++round) {
        const long before = steady_messages;
        std::vector<PluginOptions> wanted{section("steady", steady), section("guest", guest)};
        const auto added = (*runtime)->prepare_plugins(wanted);
        ASSERT_TRUE(added) << added.error()[0];
        ASSERT_EQ(added->added.size(), 1u);
        (*runtime)->apply_plugins();
        ASSERT_TRUE(tended_until(**runtime, PluginNews::Kind::running)) << "round " << round;
        EXPECT_EQ(guests_loaded, round + 1);
        for (int change = 0; change < 5; ++change) {
            wanted[1].settings = {{"word", "word " + std::to_string(change), ""}};
            const auto reset = (*runtime)->prepare_plugins(wanted);
            ASSERT_TRUE(reset) << reset.error()[0];
            EXPECT_EQ(reset->reset.size(), 1u);
            if (change % 2 == 0) {
                (*runtime)->apply_plugins();
            } else {
                (*runtime)->drop_plugins();
            }
        }
        EXPECT_EQ(word->text, "word 4");
        ASSERT_TRUE((*runtime)->prepare_plugins({section("steady", steady)}));
        (*runtime)->apply_plugins();
        if (round % 2 == 0) {
            EXPECT_FALSE((*runtime)->prepare_plugins(wanted)) << "its name is free before it has ended";
        }
        ASSERT_TRUE(tended_until(**runtime, PluginNews::Kind::gone)) << "round " << round;
        EXPECT_EQ(guests_unloaded, round + 1);
        for (const auto until = std::chrono::steady_clock::now() + 60s;
             steady_messages < before + 50 && std::chrono::steady_clock::now() < until;) {
            std::this_thread::sleep_for(1ms);
        }
        EXPECT_GE(steady_messages, before + 50) << "the other plugin has stopped";
    }
    EXPECT_FALSE(steady_was_told);
    (*runtime)->begin_drain();
    for (int i = 0; i < 10'000 && !(*runtime)->drained(); ++i) std::this_thread::sleep_for(1ms);
    over = true;
    log.join();
    (*runtime)->stop();
}

}  // namespace
}  // namespace umbel::rt
