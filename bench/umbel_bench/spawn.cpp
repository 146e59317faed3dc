// spawn: an actor's whole life: spawned, sent one message, answers it, ends. Batches of 64 live at once.
#include "bench/umbel_bench/measure.h"

namespace umbel::bench {
namespace {

constexpr std::uint64_t batch = 64;

struct Hello {
    std::uint64_t number;
};
struct Farewell {
    std::uint64_t number;
};

void short_life(self& me) {
    const message received = me.receive();
    if (const auto* hello = received.as<Hello>()) (void)me.send_to(received.sender(), Farewell{hello->number});
}

void main_actor(self& me) {
    const Limit limit = Measure::current->limit();
    const nanoseconds began = me.now();
    std::uint64_t actors = 0;
    for (;;) {
        for (std::uint64_t i = 0; i < batch; ++i) {
            const auto child = me.spawn_at<short_life>(UMBEL_SPREAD);
            if (!child || !me.send_to(*child, Hello{actors + i})) me.fail("cannot spawn");
        }
        std::uint64_t sum = 0;
        for (std::uint64_t i = 0; i < batch; ++i) {
            const message received = me.receive();
            if (const auto* farewell = received.as<Farewell>()) sum += farewell->number - actors;
        }
        if (sum != batch * (batch - 1) / 2) me.fail("a message was lost or came twice");
        actors += batch;
        const std::int64_t lasted = (me.now() - began).count();
        const bool over = limit.messages != 0 ? actors * 2 >= limit.messages : lasted >= limit.nanoseconds;
        if (over) return Measure::current->end({actors * 2, lasted, actors});
    }
}

constexpr umbel_plugin plugin = plugin_of<main_actor>("spawn");

int run(const BenchOptions& options) { return Measure(plugin, options).run("spawn", ""); }

}  // namespace

const Benchmark spawn{"spawn", "an actor is created, answers one message, ends", run};

}  // namespace umbel::bench
