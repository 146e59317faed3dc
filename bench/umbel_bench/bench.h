// bench.h: what the benchmarks of umbel-bench share: options, a runtime around a plugin, a line of figures.
//
// Why.    A benchmark must measure what a plugin's author gets. So each is a plugin like any other, written against
//         include/umbel/umbel.h only, and runs in the runtime's own executors; it is merely built into this program.
// Shape.  Benchmark: a name and a function. It makes a Session of its plugin and waits for a message from the main
//         actor's side of the fence: Session::finish(). Figures go out as one line.
// Owner.  The control thread (main). finish() alone is called by an actor, once, as the last thing it does.
// Not here.  What is measured: the other files of this folder. How runs are compared: bench/run.py.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/runtime.h"
#include "umbel/abi.h"

namespace umbel::bench {

/// The command line, checked. 0 or "" is the benchmark's own default.
struct BenchOptions {
    std::size_t executors = 1;
    bool json = false;
    unsigned ring_entries = 0;
    unsigned completion_entries = 0;
    double seconds = 1;          // each measurement lasts at least so long, …
    std::uint64_t messages = 0;  // … or this many messages
    std::string style;           // ping_pong: handler or stackful; "": both
    // flood
    std::uint64_t operations = 1'200'000;
    std::uint32_t actors = 2'000;
    std::uint32_t window = 8;   // operations each actor wants in flight
    unsigned refuse_every = 0;  // every so many submissions are answered EBUSY; 0: none
};

/// One line of figures: a JSON object, or `name: key value, key value`.
class Line {
public:
    Line& add(std::string_view key, std::string_view text);
    Line& add(std::string_view key, std::uint64_t number);
    Line& add(std::string_view key, double number);
    /// Writes it to standard output.
    void print(bool json) const;

private:
    struct Figure {
        std::string key;
        std::string text;
        bool quoted;
    };
    std::vector<Figure> figures_;
};

/// Something cannot be measured: printed, exit code 1.
[[nodiscard]] int failed(std::string_view name, std::string_view reason);

/// A runtime with one built-in plugin, from start to stop.
class Session {
public:
    /// Executors are pinned to the CPUs 0 … executors-1.
    Session(const umbel_plugin& plugin, const BenchOptions& options, const rt::ExecutorOptions& defaults = {});

    /// Starts it and waits until finish(). Returns what went wrong, or "". The plugin's main actor never says that it
    /// is ready: then its failure, whenever it comes, is seen as one to start.
    /// each_second: called about once a second meanwhile; false gives up.
    [[nodiscard]] std::string run(const std::function<bool(const rt::Runtime&)>& each_second = nullptr);
    /// All executors' counters together, after run().
    [[nodiscard]] const rt::ExecutorCounters& counters() const { return counters_; }

    /// The plugin has done its work. [any thread]
    void finish();

private:
    rt::Options options_;
    rt::ExecutorCounters counters_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool finished_ = false;
};

struct Benchmark {
    const char* name;
    const char* description;
    int (*run)(const BenchOptions& options);
};

extern const Benchmark ping_pong;
extern const Benchmark counting;
extern const Benchmark thread_ring;
extern const Benchmark spawn;
extern const Benchmark flood;

}  // namespace umbel::bench
