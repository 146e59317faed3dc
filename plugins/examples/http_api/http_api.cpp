// http_api.cpp: an HTTP API in ten lines: GET /hello?name=Ann is answered by this plugin's actor, behind the plugin `http`.
#include "umbel/http.h"

namespace {

void main_actor(umbel::self& me) {
    umbel::http::serve(me, "/hello", [](umbel::self&, const auto& ask, auto& answer) {
        if (ask.method() != "GET" && ask.method() != "HEAD") return (void)answer.allow("GET, HEAD");
        answer.type("text/plain; charset=utf-8").body("Hello, " + ask.parameter("name").value_or("world") + "!\n");
    });
}

}  // namespace

UMBEL_PLUGIN(.setting_count = 0, .settings = nullptr, .name = "http_api", .version = "0.1.0",
             .description = "Answers GET /hello over HTTP", .load = umbel::load<>, .unload = nullptr,
             .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_EVERYWHERE, .reserved = 0);
