// ping_pong: two actors, one message between them. What a message costs when there is nothing to batch: two switches, or
// with two executors two wakes.
#include "bench/umbel_bench/measure.h"

namespace umbel::bench {
namespace {

struct Ping {
    std::uint64_t number;
};
struct Pong {
    std::uint64_t number;
};

// ---- Handlers.

class PongHandler {
public:
    explicit PongHandler(self&) {}
    void on_message(self& me, message& received) {
        if (const auto* ping = received.as<Ping>()) (void)me.send_to(received.sender(), Pong{ping->number});
    }
};

class PingHandler {
public:
    PingHandler(self& me, actor_id owner, actor_id peer, Limit limit) : owner_(owner), peer_(peer), meter_(me, limit) {
        (void)me.send_to(peer_, Ping{0});
    }
    void on_message(self& me, message& received) {
        const auto* pong = received.as<Pong>();
        if (pong == nullptr) return;
        const std::uint64_t rounds = pong->number + 1;
        if (meter_.over(me, rounds * 2)) {
            (void)me.send_to(owner_, Outcome{rounds * 2, meter_.lasted(me)});
        } else {
            (void)me.send_to(peer_, Ping{rounds});
        }
    }

private:
    actor_id owner_;
    actor_id peer_;
    Meter meter_;
};

void handler_main(self& me) {
    const auto peer = me.spawn_at<PongHandler>(far_executor(me));
    if (!peer || !me.spawn<PingHandler>(me.id(), *peer, Measure::current->limit())) me.fail("cannot spawn");
    end_with_outcome(me);
}

// ---- Straight-line code.

void answer_pings(self& me) {
    for (;;) {
        const message received = me.receive();
        if (const auto* ping = received.as<Ping>()) (void)me.send_to(received.sender(), Pong{ping->number});
    }
}

void stackful_main(self& me) {
    const auto peer = me.spawn_at<answer_pings>(far_executor(me));
    if (!peer) me.fail("cannot spawn");
    Meter meter(me, Measure::current->limit());
    std::uint64_t rounds = 0;
    do {
        (void)me.send_to(*peer, Ping{rounds});
        const message received = me.receive();
        const auto* pong = received.as<Pong>();
        if (pong == nullptr || pong->number != rounds) me.fail("a pong that does not answer the ping");
        ++rounds;
    } while (!meter.over(me, rounds * 2));
    Measure::current->end({rounds * 2, meter.lasted(me)});
}

constexpr umbel_plugin handler_plugin = plugin_of<handler_main>("ping_pong_handler");
constexpr umbel_plugin stackful_plugin = plugin_of<stackful_main>("ping_pong_stackful");

int run(const BenchOptions& options) {
    if (options.style != "stackful") {
        if (const int code = Measure(handler_plugin, options).run("ping_pong", "handler"); code != 0) return code;
    }
    if (options.style == "handler") return 0;
    return Measure(stackful_plugin, options).run("ping_pong", "stackful");
}

}  // namespace

const Benchmark ping_pong{"ping_pong", "one message to and fro between two actors (--style handler|stackful)", run};

}  // namespace umbel::bench
