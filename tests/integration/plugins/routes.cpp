// routes.cpp: answers requests behind the plugin `http` in each way that may go right or wrong: for test_http_routes.py.
#include <stdexcept>
#include <string>

#include "umbel/http.h"

namespace {

using umbel::http::request;
using umbel::http::response;

void describe(umbel::self& me, const request& ask, response& answer) {
    std::string text;
    text.append(ask.method()).append(" ").append(ask.path()).append(" ?").append(ask.query()).append("\n");
    for (const auto& [name, value] : ask.headers()) text.append(name).append("=").append(value).append("\n");
    text.append("executor ").append(std::to_string(me.executor())).append("\npeer ").append(ask.peer()).append("\n");
    answer.type("text/plain").body(text);
}

void handle(umbel::self& me, const request& ask, response& answer) {
    const std::string_view path = ask.path();
    if (path == "/api/echo") {
        answer.type("application/octet-stream").header("X-Size", std::to_string(ask.body().size()));
        answer.body(std::string(ask.body()));
    } else if (path == "/api/big") {
        answer.body(std::string(static_cast<std::size_t>(std::stoul(ask.parameter("size").value_or("1"))), 'b'));
    } else if (path == "/api/stream") {
        const std::string piece(10'000, 's');
        for (int i = 0; i < 100; ++i) {
            if (!answer.write(piece)) return me.log_info("nobody wants the rest");
        }
    } else if (path == "/api/slow") {
        me.sleep(std::chrono::milliseconds(std::stoul(ask.parameter("ms").value_or("100"))));
        answer.body("slept\n");
    } else if (path == "/api/none") {
        answer.status(204);
    } else if (path == "/api/inject") {
        answer.header("X-Name", ask.parameter("name").value_or("")).body("injected");
    } else if (path == "/api/reserved") {
        answer.header("Content-Length", "1").body("reserved");
    } else if (path == "/api/throw") {
        throw std::runtime_error("as the test wants it");
    } else if (path == "/api/throw_late") {
        (void)answer.write("begun");
        throw std::runtime_error("as the test wants it");
    } else if (path == "/api/get_only" && ask.method() != "GET") {
        answer.allow("GET");
    } else {
        describe(me, ask, answer);
    }
}

struct serving {
    int reserved = 0;
};

// Each of these is one actor: what one does to its mailbox does not hold up the others. Main is told when its path is there.
[[noreturn]] void serve(umbel::self& me, umbel::actor_id main, const char* path, umbel::http::handler answers) {
    umbel::http::server server(me);
    server.on(path, std::move(answers));
    (void)me.send_to(main, serving{});
    server.run();
}

void api(umbel::self& me, umbel::actor_id main) { serve(me, main, "/api/", handle); }

void mortal(umbel::self& me, umbel::actor_id main) {
    serve(me, main, "/dies", [](umbel::self& dying, const request&, response&) { dying.fail("as the test wants it"); });
}

// What is no answer of http.h's: a head that lies.
void liar(umbel::self& me, umbel::actor_id main) {
    namespace wire = umbel::http::wire;
    umbel::http::server server(me);
    server.on("/lies", [](umbel::self&, const request&, response&) {});
    (void)me.send_to(main, serving{});
    for (;;) {
        auto message = me.receive();
        if (message.type() != wire::type_ask) continue;
        wire::part part;
        std::string_view bytes;
        if (!wire::decode_part(message.bytes(), part, bytes)) continue;
        const std::string head = wire::encode_answer_head(200, "X: a\r\n\r\nHTTP/1.1 200 OK\r\n", 0);
        const std::string text = wire::encode_part({part.exchange, 0, 1}, head);
        (void)me.send_to(message.sender(), wire::type_answer, std::as_bytes(std::span(text)));
    }
}

void main_actor(umbel::self& me) {
    (void)me.spawn<api>(me.id());
    (void)me.spawn<mortal>(me.id());
    (void)me.spawn<liar>(me.id());
    for (int missing = 3; missing > 0;) {
        if (me.receive().as<serving>() != nullptr) --missing;
    }
    umbel::http::server server(me);
    server.on("/one", describe);
    server.on("/one/", describe);
    server.on("/one/two", [](umbel::self&, const request&, response& answer) { answer.body("the longest wins"); });
    me.ready("routes are answered");
    server.run();
}

}  // namespace

UMBEL_PLUGIN(.setting_count = 0, .settings = nullptr, .name = "routes", .version = "0.1.0",
             .description = "Answers routes for tests", .load = umbel::load<>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE, .reserved = 0);
