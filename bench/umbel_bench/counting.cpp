// counting: one actor sends, the other counts. What a message costs when many are under way. After each batch the sender
// asks how many there were, so that no mailbox fills up and none can be lost unseen.
#include "bench/umbel_bench/measure.h"

namespace umbel::bench {
namespace {

constexpr std::uint64_t batch = 4096;

struct Increment {
    std::uint64_t by;
};
struct HowMany {};
struct SoMany {
    std::uint64_t count;
};

class Counter {
public:
    explicit Counter(self&) {}
    void on_message(self& me, message& received) {
        if (const auto* increment = received.as<Increment>()) {
            count_ += increment->by;
        } else if (received.as<HowMany>() != nullptr) {
            (void)me.send_to(received.sender(), SoMany{count_});
        }
    }

private:
    std::uint64_t count_ = 0;
};

void main_actor(self& me) {
    const auto counter = me.spawn_at<Counter>(far_executor(me));
    if (!counter) me.fail("cannot spawn");
    const Limit limit = Measure::current->limit();
    const nanoseconds began = me.now();
    std::uint64_t sent = 0;
    for (;;) {
        for (std::uint64_t i = 0; i < batch; ++i) {
            if (!me.send_to(*counter, Increment{1})) me.fail("a message was refused");
        }
        sent += batch;
        if (!me.send_to(*counter, HowMany{})) me.fail("a message was refused");
        const message received = me.receive();
        const auto* answer = received.as<SoMany>();
        if (answer == nullptr || answer->count != sent) me.fail("messages were lost");
        const std::int64_t lasted = (me.now() - began).count();
        const bool over = limit.messages != 0 ? sent >= limit.messages : lasted >= limit.nanoseconds;
        if (over) return Measure::current->end({sent, lasted});
    }
}

constexpr umbel_plugin plugin = plugin_of<main_actor>("counting");

int run(const BenchOptions& options) { return Measure(plugin, options).run("counting", ""); }

}  // namespace

const Benchmark counting{"counting", "one actor sends, another counts, in batches", run};

}  // namespace umbel::bench
