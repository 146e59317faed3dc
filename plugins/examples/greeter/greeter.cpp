// greeter.cpp: answers each line it receives over TCP with a greeting; an empty line ends the connection.
//
// Shape.  main_actor listens and spawns one session a connection. All sessions ask one counter, an actor of the other
//         style, for the number of a greeting: what they share, they share by message.

#include <chrono>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>

#include "umbel/umbel.h"

using namespace std::chrono_literals;

namespace {

constexpr std::size_t longest_line = 1000;

// What the section [plugin.greeter] says. A reload of the daemon puts a new one in force, for all actors at once.
struct configuration {
    umbel::endpoint address;
    std::string greeting;
    umbel::nanoseconds idle_timeout;
};
umbel::reloadable<configuration> configured;

configuration read_settings(const umbel::settings& settings) {
    configuration read{umbel::endpoint::parse(settings.text("listen")).value(), settings.text("greeting"),
                       settings.duration("idle_timeout")};
    if (read.greeting.empty()) throw std::runtime_error("greeting: the text is empty (say something, or leave it out)");
    return read;
}

// ---- What the actors tell each other: plain structs, copied as bytes ---------------------------------------------------

struct greeted {};
struct count {
    long value;
};

// A handler: called for each message. In between it costs its members, and no stack.
class counter {
public:
    explicit counter(umbel::self&) {}

    void on_message(umbel::self& me, umbel::message& message) {
        if (message.as<greeted>() != nullptr) (void)me.send_to(message.sender(), count{++greetings_});
    }

private:
    long greetings_ = 0;
};

// ---- One connection: straight-line code. Whatever waits lets the other actors run ---------------------------------------

// The next line, without its end. Nothing: the client has finished, is too slow or says too much, or the daemon drains.
std::optional<std::string> next_line(umbel::self& me, const umbel::socket& peer, std::string& unread) {
    for (;;) {
        if (const std::size_t end = unread.find('\n'); end != std::string::npos) {
            std::string line = unread.substr(0, end);
            unread.erase(0, end + 1);
            if (line.ends_with('\r')) line.pop_back();
            return line;
        }
        if (unread.size() > longest_line) return std::nullopt;
        // It only waits for work, so draining may end it; answering, below, is not cut short.
        auto receiving = me.recv(peer, 4096, {.drains = true});
        const auto received = me.await_within(receiving, configured->idle_timeout);
        if (!received || received->empty()) return std::nullopt;
        unread += received->text();
    }
}

// The number of this greeting, from the counter; nothing if it does not answer soon.
std::optional<long> next_number(umbel::self& me, umbel::actor_id numbers) {
    if (!me.send_to(numbers, greeted{})) return std::nullopt;
    while (const auto message = me.receive_within(1s)) {
        if (const count* got = message->as<count>()) return got->value;
    }
    return std::nullopt;
}

void session(umbel::self& me, umbel::socket peer, umbel::actor_id numbers) {
    std::string unread;
    while (const auto line = next_line(me, peer, unread)) {
        if (line->empty()) return;
        std::string answer = configured->greeting + ", " + *line + "!";
        if (const auto number = next_number(me, numbers)) answer += " You are number " + std::to_string(*number) + ".";
        if (!me.await(me.send(peer, answer + "\n"))) return;  // The client is gone.
    }
}

// ---- What the runtime starts -----------------------------------------------------------------------------------------------

void main_actor(umbel::self& me) {
    const umbel::endpoint address = configured->address;
    const auto listener = me.listen_on(address);
    if (!listener) me.fail(umbel::cannot_listen(address, listener.error()));
    const auto numbers = me.spawn<counter>();
    if (!numbers) me.fail("cannot spawn the counter: " + std::string(numbers.error().message()));
    me.ready("listening on " + address.text());
    me.accept_each(*listener, [&](umbel::socket peer) {
        if (const auto spawned = me.spawn<session>(std::move(peer), *numbers); !spawned)
            me.log_warning("connection closed: " + std::string(spawned.error().message()));
    });
}

constexpr umbel_setting settings[] = {
    {.name = "listen",
     .type = UMBEL_SETTING_ADDRESS,
     .required = 0,
     .default_value = "127.0.0.1:7777",
     .min = 0,
     .max = 0,
     .description = "Address and TCP port to listen on"},
    {.name = "greeting",
     .type = UMBEL_SETTING_TEXT,
     .required = 0,
     .default_value = "hello",
     .min = 0,
     .max = 0,
     .description = "What every answer begins with"},
    {.name = "idle_timeout",
     .type = UMBEL_SETTING_DURATION,
     .required = 0,
     .default_value = "1min",
     .min = 1'000'000,
     .max = 3'600'000'000'000,
     .description = "A connection that says nothing for so long is closed"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "greeter", .version = "0.1.0",
             .description = "Greets whoever sends a line", .load = umbel::load_into<configured, read_settings>,
             .unload = nullptr, .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE,
             .reserved = 0, .reload = umbel::reload_into<configured, read_settings>);
