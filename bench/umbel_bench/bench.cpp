#include "bench/umbel_bench/bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace umbel::bench {

namespace {
constexpr unsigned most_complaints = 10;  // lines of the log that are shown
}  // namespace

Line& Line::add(std::string_view key, std::string_view text) {
    figures_.push_back({std::string(key), std::string(text), true});
    return *this;
}

Line& Line::add(std::string_view key, std::uint64_t number) {
    figures_.push_back({std::string(key), std::to_string(number), false});
    return *this;
}

Line& Line::add(std::string_view key, double number) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%.3f", number);
    figures_.push_back({std::string(key), text.data(), false});
    return *this;
}

void Line::print(bool json) const {
    // Names and figures of our own: nothing in them needs escaping.
    std::string line = json ? "{" : "";
    for (const Figure& figure : figures_) {
        if (json) {
            if (line.size() > 1) line += ',';
            line.append("\"").append(figure.key).append("\":");
            line += figure.quoted ? "\"" + figure.text + "\"" : figure.text;
        } else {
            if (!line.empty()) line += "  ";
            line.append(figure.key).append("=").append(figure.text);
        }
    }
    if (json) line += '}';
    std::puts(line.c_str());
    std::fflush(stdout);
}

int failed(std::string_view name, std::string_view reason) {
    std::fprintf(stderr, "umbel-bench: %.*s: %.*s\n", static_cast<int>(name.size()), name.data(),
                 static_cast<int>(reason.size()), reason.data());
    return 1;
}

Session::Session(const umbel_plugin& plugin, const BenchOptions& options, const rt::ExecutorOptions& defaults) {
    options_.executors = defaults;
    options_.executors.count = options.executors;
    for (std::size_t i = 0; i < options.executors; ++i) options_.executors.cpus.push_back(static_cast<int>(i));
    if (options.ring_entries != 0) options_.executors.ring_entries = options.ring_entries;
    if (options.completion_entries != 0) options_.executors.completion_entries = options.completion_entries;
    rt::PluginOptions builtin;
    builtin.name = plugin.name;
    builtin.builtin = &plugin;
    options_.plugins.push_back(std::move(builtin));
}

std::string Session::run(const std::function<bool(const rt::Runtime&)>& each_second) {
    auto loaded = rt::Runtime::load(options_);
    if (!loaded) return loaded.error().message;
    rt::Runtime& runtime = **loaded;
    if (const auto started = runtime.start(); !started) return started.error().message;
    std::string trouble;
    {
        std::unique_lock lock(mutex_);
        while (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return finished_; })) {
            if (runtime.state() == rt::RuntimeState::failed) {
                trouble = runtime.failure().message;
                break;
            }
            const auto counters = runtime.counters();
            if (std::ranges::any_of(counters, [](const auto& one) { return one.actors_failed != 0; })) {
                trouble = "an actor has failed";
                break;
            }
            if (each_second && !each_second(runtime)) {
                trouble = "given up";
                break;
            }
        }
    }
    runtime.stop();
    // An actor that fails says why in the log only.
    unsigned complaints = 0;
    runtime.take_log([&](const rt::LogRecord& record) {
        if (record.event.level < rt::Level::warning || ++complaints > most_complaints) return;
        std::fprintf(stderr, "umbel-bench: %.*s\n", static_cast<int>(record.text.size()), record.text.data());
    });
    for (const rt::ExecutorCounters& one : runtime.counters()) {
        counters_.messages += one.messages;
        counters_.operations += one.operations;
        counters_.completions += one.completions;
        counters_.enters += one.enters;
        counters_.cq_overflows += one.cq_overflows;
        counters_.high_priority_yields += one.high_priority_yields;
        counters_.dead_letters += one.dead_letters;
        counters_.actors_failed += one.actors_failed;
    }
    return trouble;
}

void Session::finish() {
    // Notified under the lock: the session may be gone as soon as the waiter can go on.
    const std::scoped_lock lock(mutex_);
    finished_ = true;
    changed_.notify_one();
}

}  // namespace umbel::bench
