// umbel-bench: benchmarks of the runtime, each a plugin built into this program.
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>

#include "bench/umbel_bench/bench.h"

namespace umbel::bench {
namespace {

constexpr std::array benchmarks{&ping_pong, &counting, &thread_ring, &spawn, &flood};
constexpr int exit_usage = 64;

void print_help() {
    std::puts(
        "usage: umbel-bench NAME [OPTION]…\n"
        "  --executors N           executors, pinned to the CPUs 0 … N-1 (default 1)\n"
        "  --json                  one JSON object a line\n"
        "  --ring-entries N        submission queue of each executor's ring\n"
        "  --completion-entries N  its completion queue\n"
        "  --seconds S             how long a measurement lasts (default 1)\n"
        "  --messages N            … or how many messages it takes\n"
        "  --style STYLE           ping_pong: handler or stackful (default: one after the other)\n"
        "  --operations N          flood: operations in all (default 1200000)\n"
        "  --actors N              flood: actors (default 2000)\n"
        "  --window N              flood: operations each actor wants in flight, 4 … 16 (default 8)\n"
        "  --refuse-every N        flood: every Nth submission to the kernel is answered EBUSY\n"
        "names:");
    for (const Benchmark* benchmark : benchmarks) std::printf("  %-12s %s\n", benchmark->name, benchmark->description);
}

int usage(const std::string& complaint) {
    std::fprintf(stderr, "umbel-bench: %s (umbel-bench --help)\n", complaint.c_str());
    return exit_usage;
}

// An option that takes a whole number.
struct NumberOption {
    const char* name;
    std::uint64_t least;
    std::uint64_t most;
    void (*set)(BenchOptions& options, std::uint64_t number);
};

constexpr std::uint64_t many = std::numeric_limits<std::uint32_t>::max();
constexpr std::array<NumberOption, 8> number_options{{
    {"--executors", 1, 64, [](BenchOptions& options, std::uint64_t number) { options.executors = number; }},
    {"--ring-entries", 4, 32768,
     [](BenchOptions& options, std::uint64_t number) { options.ring_entries = static_cast<unsigned>(number); }},
    {"--completion-entries", 8, 65536,
     [](BenchOptions& options, std::uint64_t number) { options.completion_entries = static_cast<unsigned>(number); }},
    {"--messages", 1, many* many, [](BenchOptions& options, std::uint64_t number) { options.messages = number; }},
    {"--operations", 1, many, [](BenchOptions& options, std::uint64_t number) { options.operations = number; }},
    {"--actors", 1, 1'000'000,
     [](BenchOptions& options, std::uint64_t number) { options.actors = static_cast<std::uint32_t>(number); }},
    {"--window", 4, 16,
     [](BenchOptions& options, std::uint64_t number) { options.window = static_cast<std::uint32_t>(number); }},
    {"--refuse-every", 2, many,
     [](BenchOptions& options, std::uint64_t number) { options.refuse_every = static_cast<unsigned>(number); }},
}};

int run(int count, char** arguments) {
    BenchOptions options;
    const Benchmark* chosen = nullptr;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        if (argument == "--help") {
            print_help();
            return 0;
        }
        if (argument == "--json") {
            options.json = true;
            continue;
        }
        if (!argument.starts_with("--")) {
            for (const Benchmark* benchmark : benchmarks) {
                if (argument == benchmark->name) chosen = benchmark;
            }
            if (chosen == nullptr || argument != chosen->name) return usage("no benchmark '" + argument + "'");
            continue;
        }
        if (i + 1 == count) return usage("'" + argument + "' needs a value, or is not an option");
        const std::string value = arguments[++i];
        char* end = nullptr;
        errno = 0;
        if (argument == "--style") {
            if (value != "handler" && value != "stackful") return usage("--style is handler or stackful");
            options.style = value;
            continue;
        }
        if (argument == "--seconds") {
            options.seconds = std::strtod(value.c_str(), &end);
            if (*end != '\0' || !(options.seconds > 0 && options.seconds <= 3600)) {
                return usage("--seconds is more than 0 and at most 3600");
            }
            continue;
        }
        bool known = false;
        for (const NumberOption& option : number_options) {
            if (argument != option.name) continue;
            known = true;
            const bool digits = !value.empty() && value.find_first_not_of("0123456789") == std::string::npos;
            const std::uint64_t number = std::strtoull(value.c_str(), &end, 10);
            if (!digits || errno != 0 || number < option.least || number > option.most) {
                return usage(argument + " is a number from " + std::to_string(option.least) + " to " +
                             std::to_string(option.most));
            }
            option.set(options, number);
        }
        if (!known) return usage("no option '" + argument + "'");
    }
    if (chosen == nullptr) return usage("which benchmark?");
    return chosen->run(options);
}

}  // namespace
}  // namespace umbel::bench

int main(int count, char** arguments) { return umbel::bench::run(count, arguments); }
