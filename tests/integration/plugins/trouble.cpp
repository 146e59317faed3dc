// trouble.cpp: a plugin that misbehaves when it is told to: one line a connection, `hang` (its executor never turns again),
// `crash` (a memory fault) or `log TEXT`; anything else is sent back.
#include <csignal>
#include <iterator>
#include <string>

#include "umbel/umbel.h"

namespace {

std::string listen_text;  // Written by load, before any actor lives.

void read_settings(const umbel::settings& settings) { listen_text = settings.text("listen"); }

void troublemaker(umbel::self& me, umbel::socket peer) {
    const auto line = me.await(me.recv(peer, 4096, {.drains = true}));
    if (!line) return;
    std::string text(reinterpret_cast<const char*>(line->bytes().data()), line->size());
    while (!text.empty() && text.back() == '\n') text.pop_back();
    if (text == "hang") {
        for (volatile bool hung = true; hung;) {
        }
    }
    if (text == "crash") *reinterpret_cast<volatile int*>(16) = 1;
    if (text.starts_with("log ")) me.log_info(text.substr(4));
    (void)me.await(me.send(peer, text + "\n"));
}

void main_actor(umbel::self& me) {
    auto listening = me.listen_on(listen_text);
    if (!listening) me.fail(listening.error());
    me.ready("listening on " + listening->text);
    me.accept_each(listening->sockets.front(),
                   [&](umbel::socket peer) { (void)me.spawn<troublemaker>(std::move(peer)); });
}

constexpr umbel_setting settings[] = {{.name = "listen",
                                       .type = UMBEL_SETTING_LISTEN,
                                       .required = 1,
                                       .default_value = nullptr,
                                       .min = 0,
                                       .max = 0,
                                       .description = "Where it listens"}};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "trouble", .version = "1.0.0",
             .description = "Misbehaves when it is told to", .load = umbel::load<read_settings>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE, .reserved = 0);
