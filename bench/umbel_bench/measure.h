// measure.h: what the message benchmarks share: how long to go on, and what comes out.
//
// Shape.  A benchmark's main actor calls Measure::end() with an Outcome when the work is done. Measure lives on the
//         control thread's stack; actors reach it by `current`, which is set before the runtime starts.
// Owner.  One benchmark at a time.
#pragma once

#include "bench/umbel_bench/bench.h"
#include "umbel/umbel.h"

namespace umbel::bench {

/// How long a measurement goes on. Travels in messages and in what an actor is spawned with.
struct Limit {
    std::uint64_t messages = 0;  // 0: by time
    std::int64_t nanoseconds = 0;
};

/// Counts until the limit is reached.
class Meter {
public:
    Meter(self& me, Limit limit) : limit_(limit), began_(me.now()) {}

    /// After `count` messages: is it over? Looks at the clock now and then only.
    [[nodiscard]] bool over(self& me, std::uint64_t count) {
        if (limit_.messages != 0) return count >= limit_.messages;
        if (++looks_ % looks_a_clock != 0) return false;
        return (me.now() - began_).count() >= limit_.nanoseconds;
    }
    [[nodiscard]] std::int64_t lasted(self& me) const { return (me.now() - began_).count(); }

private:
    static constexpr std::uint64_t looks_a_clock = 256;

    Limit limit_;
    umbel::nanoseconds began_;
    std::uint64_t looks_ = 0;
};

/// What a measurement gave. A message to the main actor.
struct Outcome {
    std::uint64_t messages = 0;
    std::int64_t nanoseconds = 0;
    std::uint64_t actors = 0;
};

class Measure {
public:
    Measure(const umbel_plugin& plugin, const BenchOptions& options)
        : session_(plugin, options),
          options_(options),
          limit_{options.messages, static_cast<std::int64_t>(options.seconds * 1e9)} {
        current = this;
    }
    ~Measure() { current = nullptr; }
    Measure(const Measure&) = delete;
    Measure& operator=(const Measure&) = delete;

    /// Runs it and prints its line; `style` is left out if "". The exit code.
    [[nodiscard]] int run(std::string_view name, std::string_view style) {
        const std::string trouble = session_.run();
        if (!trouble.empty()) return failed(name, trouble);
        if (outcome_.messages == 0) return failed(name, "its actors have failed");
        Line line;
        line.add("name", name);
        if (!style.empty()) line.add("style", style);
        const auto seconds = static_cast<double>(outcome_.nanoseconds) / 1e9;
        line.add("executors", std::uint64_t{options_.executors})
            .add("messages", outcome_.messages)
            .add("seconds", seconds);
        line.add("ns_per_message", seconds * 1e9 / static_cast<double>(outcome_.messages));
        if (outcome_.actors != 0) {
            line.add("actors", outcome_.actors);
            line.add("ns_per_actor", seconds * 1e9 / static_cast<double>(outcome_.actors));
        }
        line.print(options_.json);
        return 0;
    }

    [[nodiscard]] Limit limit() const { return limit_; }
    /// From the main actor, as its last act.
    void end(Outcome outcome) {
        outcome_ = outcome;
        session_.finish();
    }

    static inline Measure* current = nullptr;

private:
    Session session_;
    const BenchOptions& options_;
    Limit limit_;
    Outcome outcome_;
};

/// Where the second actor of a pair lives: as far from the first, on executor 0, as there are executors.
[[nodiscard]] inline int far_executor(self& me) { return me.executor_count() > 1 ? 1 : 0; }

/// Waits for the outcome and ends the measurement.
inline void end_with_outcome(self& me) {
    for (;;) {
        const message received = me.receive();
        if (const auto* outcome = received.as<Outcome>()) return Measure::current->end(*outcome);
    }
}

/// The descriptor of a benchmark's plugin.
template <auto Main>
[[nodiscard]] constexpr umbel_plugin plugin_of(const char* name) {
    return {UMBEL_PLUGIN_HEADER,
            .setting_count = 0,
            .settings = nullptr,
            .name = name,
            .version = "1",
            .description = "",
            .load = load<>,
            .unload = nullptr,
            .main = &actor_type<Main>,
            .main_placement = UMBEL_MAIN_ONCE,
            .reserved = 0};
}

}  // namespace umbel::bench
