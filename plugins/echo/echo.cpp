// echo.cpp: sends back what it receives, over TCP, without a copy.
//
// Shape.  Main opens (or is passed) one listener for each executor and spawns one acceptor on each; an acceptor spawns one session a
//         connection. The buffer the kernel filled is the buffer it sends.
// Why one send at a time.  Two sends in flight on one connection may change places when the first has to wait for room
//         in the socket; the next buffers wait in the mailbox meanwhile.

#include <iterator>

#include "umbel/umbel.h"

using umbel::operator""_KiB;

namespace {

std::string listen_text;  // Written by load, before any actor lives.

void session(umbel::self& me, umbel::socket peer);

void read_settings(const umbel::settings& settings) {
    // Its buffers are the executor's: what is left are records and mail. Small regions share their page tables.
    umbel::actor_type<session>.memory_limit = 256_KiB;
    listen_text = settings.text("listen");
}

void session(umbel::self& me, umbel::socket peer) {
    auto input = me.recv_many(peer, {.drains = true});
    umbel::pending<std::size_t> sending;
    std::size_t size = 0;
    for (;;) {
        auto received = me.next(input);
        // By now the last send is over, nearly always, and this does not wait.
        if (sending && me.await(std::move(sending)).value_or(0) != size) return;
        if (!received || received->empty()) return;  // The peer has finished, it is gone, or the daemon drains.
        size = received->size();
        sending = me.send(peer, std::move(*received));
        if (!sending) return;  // Refused: the actor's memory limit does not allow it.
    }
}

void acceptor(umbel::self& me, umbel::socket listener) {
    me.accept_each(listener, [&](umbel::socket peer) {
        if (const auto spawned = me.spawn<session>(std::move(peer)); !spawned)
            me.log_warning("connection closed: " + std::string(spawned.error().message()));
    });
}

void main_actor(umbel::self& me) {
    auto listening = me.listen_everywhere(listen_text);
    if (!listening) me.fail(listening.error());
    for (std::size_t i = 0; i < listening->sockets.size(); ++i) {
        const int executor = static_cast<int>(i % me.executor_count());
        if (const auto spawned = me.spawn_at<acceptor>(executor, std::move(listening->sockets[i])); !spawned)
            me.fail("cannot spawn an acceptor: " + std::string(spawned.error().message()));
    }
    me.ready("listening on " + listening->text);
    while (!me.receive().is_drain()) {
    }
}

constexpr umbel_setting settings[] = {
    {.name = "listen",
     .type = UMBEL_SETTING_LISTEN,
     .required = 0,
     .default_value = "127.0.0.1:7007",
     .min = 0,
     .max = 0,
     .description = "Address and TCP port to listen on, or systemd:NAME"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "echo", .version = "0.1.0",
             .description = "TCP echo", .load = umbel::load<read_settings>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE, .reserved = 0);
