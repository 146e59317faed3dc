// changing.cpp: a plugin for test_reload.py. It answers each connection with a word, which a reload may change. Some words are
// special: "refused" is none a reload takes, "hangs" makes a main that is never ready, "fails" one that ends at once, and
// "stays" sessions that go on after their answer until they are made to end.
#include <iterator>
#include <stdexcept>
#include <string>

#include "umbel/umbel.h"

namespace {

struct Words {
    std::string word;
    umbel::endpoint address;
};
umbel::reloadable<Words> words;

Words read_words(const umbel::settings& settings) {
    if (settings.text("word") == "refused") throw std::runtime_error("word: this one is refused");
    return {settings.text("word"), umbel::endpoint::parse(settings.text("listen")).value()};
}

void session(umbel::self& me, umbel::socket peer) {
    (void)me.await(me.send(peer, words->word + "\n"));
    while (words->word == "stays") me.sleep(std::chrono::hours(1));
}

void acceptor(umbel::self& me, umbel::socket listener) {
    me.accept_each(listener, [&](umbel::socket peer) { (void)me.spawn<session>(std::move(peer)); });
}

void main_actor(umbel::self& me) {
    if (words->word == "fails") me.fail("this word makes it fail");
    if (words->word != "hangs") {
        auto listener = me.listen_on(words->address);
        if (!listener) me.fail(umbel::cannot_listen(words->address, listener.error()));
        if (!me.spawn<acceptor>(std::move(*listener))) me.fail("no acceptor");
        me.ready("word " + words->word);
    }
    for (;;) {
        if (me.receive().is_reload()) me.log_info("the word is " + words->word);
    }
}

constexpr umbel_setting settings[] = {
    {.name = "listen",
     .type = UMBEL_SETTING_ADDRESS,
     .required = 1,
     .default_value = nullptr,
     .min = 0,
     .max = 0,
     .description = "Address and TCP port"},
    {.name = "word",
     .type = UMBEL_SETTING_TEXT,
     .required = 0,
     .default_value = "hello",
     .min = 0,
     .max = 0,
     .description = "The answer"},
};

}  // namespace

UMBEL_PLUGIN(.setting_count = std::size(settings), .settings = settings, .name = "changing", .version = "1",
             .description = "Answers with a word", .load = umbel::load_into<words, read_words>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE, .reserved = 0,
             .reload = umbel::reload_into<words, read_words>);
