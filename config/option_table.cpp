#include "config/option_table.h"

#include <algorithm>
#include <array>
#include <limits>

#include "config/config_file.h"
#include "runtime/base/check.h"
#include "runtime/base/quantity.h"

namespace umbel::config {

namespace {

constexpr std::int64_t kib = 1024;
constexpr std::int64_t mib = 1024 * kib;
constexpr std::int64_t gib = 1024 * mib;
constexpr std::int64_t us = 1000;
constexpr std::int64_t ms = 1000 * us;
constexpr std::int64_t s = 1000 * ms;

template <class Number>
Number number(const Value& value) {
    return static_cast<Number>(std::get<std::int64_t>(value));  // The bounds of each row fit its field.
}

rt::Bytes bytes(const Value& value) { return rt::Bytes{number<std::uint64_t>(value)}; }
rt::Nanoseconds nanoseconds(const Value& value) { return rt::Nanoseconds(number<std::int64_t>(value)); }

using enum ValueType;
using enum AppliesAt;

constexpr auto table = std::to_array<OptionDescription>({
    {"executors.count", integer, "0", 0, static_cast<std::int64_t>(rt::max_executors), "", start,
     "How many executors (threads that run actors) there are. 0: one for each CPU of executors.cpus.",
     [](const Value& v, Settings& to) { to.runtime.executors.count = number<std::size_t>(v); }},
    {"executors.cpus", cpu_list, "", 0, 0, "", start,
     "The CPUs executors are pinned to, in this order, as taskset writes lists: 0,2-5. Empty: every CPU this process "
     "may run on.",
     [](const Value& v, Settings& to) { to.runtime.executors.cpus = std::get<std::vector<int>>(v); }},
    {"executors.ring_entries", integer, "256", 4, 32768, "", start,
     "Entries of each executor's io_uring submission queue; the kernel rounds up to a power of two.",
     [](const Value& v, Settings& to) { to.runtime.executors.ring_entries = number<unsigned>(v); }},
    {"executors.completion_entries", integer, "16384", 8, 65536, "", start,
     "Entries of each executor's completion queue, at least ring_entries; bounds the operations in flight.",
     [](const Value& v, Settings& to) { to.runtime.executors.completion_entries = number<unsigned>(v); }},
    {"executors.buffer_count", integer, "1024", 0, 32768, "", start,
     "Buffers each executor lends to receives that go on (multishot), a power of two. 0: none, each receive asks anew.",
     [](const Value& v, Settings& to) { to.runtime.executors.buffer_count = number<unsigned>(v); }},
    {"executors.buffer_size", size, "4KiB", 64, 2 * mib, "", start, "Bytes of each of these buffers.",
     [](const Value& v, Settings& to) { to.runtime.executors.buffer_size = bytes(v); }},
    {"executors.time_slice", duration, "1ms", 10 * us, 1 * s, "", start, "How long an actor may run while others wait.",
     [](const Value& v, Settings& to) { to.runtime.executors.time_slice = nanoseconds(v); }},
    {"executors.spin", duration, "0", 0, 100 * ms, "", start,
     "How long an idle executor looks for work before it sleeps: shorter waits, paid for with CPU time. 0: not at all.",
     [](const Value& v, Settings& to) { to.runtime.executors.spin = nanoseconds(v); }},
    {"executors.kernel_workers", integer, "16", 1, 4096, "", start,
     "The most threads the kernel may keep for each executor's blocking operations, of each kind (files, others).",
     [](const Value& v, Settings& to) { to.runtime.executors.kernel_workers = number<unsigned>(v); }},
    {"actors.memory_limit", size, "4MiB", 64 * kib, 4 * gib, "", start,
     "Bytes of each of an actor's eight memory regions, a power of two; an actor type may choose its own.",
     [](const Value& v, Settings& to) { to.runtime.actors.memory_limit = bytes(v); }},
    {"actors.stack_size", size, "256KiB", 16 * kib, 2 * gib, "", start,
     "Bytes of an actor's stack, at most half of actors.memory_limit.",
     [](const Value& v, Settings& to) { to.runtime.actors.stack_size = bytes(v); }},
    {"actors.max", integer, "1000000", 1, 16'000'000, "", start,
     "How many actors may live at once, on all executors together.",
     [](const Value& v, Settings& to) { to.runtime.actors.max = number<std::size_t>(v); }},
    {"actors.shared_memory", size, "256MiB", 0, 1024 * gib, "", start,
     "Bytes that shared blocks may take, all together: what plugins keep to be sent again and again, such as files.",
     [](const Value& v, Settings& to) { to.runtime.actors.shared_memory = bytes(v); }},
    {"daemon.plugin_dir", folder, "", 0, 0, "", reload,
     "The folder in which relative plugin paths are searched. Empty: ../lib/umbel as seen from umbeld's own folder.",
     [](const Value& v, Settings& to) { to.daemon.plugin_dir = std::get<std::string>(v); }},
    {"daemon.drain_timeout", duration, "10s", 0, 3600 * s, "", reload,
     "How long what is in flight may take to finish, after SIGTERM, SIGINT or the end of a plugin, before it is "
     "cancelled.",
     [](const Value& v, Settings& to) { to.daemon.drain_timeout = nanoseconds(v); }},
    {"log.level", choice, "info", 0, 0, "trace debug info warning error", reload,
     "The least serious events that are logged.",
     [](const Value& v, Settings& to) { to.log.level = static_cast<rt::Level>(number<int>(v)); }},
    {"log.format", choice, "json", 0, 0, "json text", start,
     "json: one object a line, for programs (docs/log-events.md). text: for people.",
     [](const Value& v, Settings& to) { to.log.format = static_cast<LogFormat>(number<int>(v)); }},
    {"log.levels", levels, "", 0, 0, "", reload,
     "Levels of modules that are not to have log.level: daemon, runtime (what it reports itself), and plugins by their "
     "NAME, as in http:debug runtime:warning.",
     [](const Value& v, Settings& to) { to.log.levels = std::get<std::vector<ModuleLevel>>(v); }},
    {"log.sink", sink, "auto", 0, 0, "", start,
     "Where log lines go: stdout, stderr, journal (natively, with a field for each key), or a file (written with a "
     "slash), which SIGHUP opens anew. auto: journal if systemd has connected stdout to it, else stdout.",
     [](const Value& v, Settings& to) { to.log.sink = std::get<std::string>(v); }},
    {"log.rate_limit", integer, "1000", 0, 1'000'000, "", reload,
     "How many lines of one event and plugin are written in a second; of the others the number is. Structured events "
     "of "
     "plugins, as an access log's, are always written. 0: no limit.",
     [](const Value& v, Settings& to) { to.log.rate_limit = number<std::uint64_t>(v); }},
    {"admin.socket", socket, "auto", 0, 0, "", start,
     "The unix socket umbelctl speaks to. auto: umbeld.sock in the runtime folder if systemd has made one, else none. "
     "none: none.",
     [](const Value& v, Settings& to) { to.admin.socket = std::get<std::string>(v); }},
});

std::vector<std::string_view> words_of(std::string_view choices) {
    std::vector<std::string_view> words;
    while (!choices.empty()) {
        const std::size_t end = std::min(choices.find(' '), choices.size());
        words.push_back(choices.substr(0, end));
        choices.remove_prefix(std::min(end + 1, choices.size()));
    }
    return words;
}

/// A bound as it is written in a file.
std::string bound_text(ValueType type, std::int64_t bound) {
    if (type == size) return rt::to_text(rt::Bytes{static_cast<std::uint64_t>(bound)});
    if (type == duration) return rt::to_text(rt::Nanoseconds(bound));
    return std::to_string(bound);
}

std::unexpected<rt::Error> refuse(std::string message) {
    return rt::fail(rt::ErrorClass::configuration, std::move(message));
}

rt::Result<Value> bounded(const OptionDescription& option, std::int64_t value, std::string_view text) {
    if (value < option.min) {
        return refuse(std::string(text) + " is under " + bound_text(option.type, option.min) +
                      "; allowed: " + range_text(option));
    }
    if (value > option.max) {
        return refuse(std::string(text) + " is over " + bound_text(option.type, option.max) +
                      "; allowed: " + range_text(option));
    }
    return Value(value);
}

/// "http:debug runtime:warning"
rt::Result<Value> parse_levels(std::string_view text) {
    std::vector<ModuleLevel> levels_read;
    for (const std::string_view word : words_of(text)) {
        if (word.empty()) continue;  // two blanks
        const std::size_t colon = word.find(':');
        if (colon == std::string_view::npos || !is_name(word.substr(0, colon))) {
            return refuse(rt::quotation(word) + " is not MODULE:LEVEL, as in http:debug");
        }
        const auto level = parse_level(word.substr(colon + 1));
        if (!level) return refuse(std::string(word.substr(0, colon)) + ": " + level.error().message);
        const std::string module(word.substr(0, colon));
        if (std::ranges::find(levels_read, module, &ModuleLevel::module) != levels_read.end()) {
            return refuse(module + " is there twice");
        }
        levels_read.push_back({module, *level});
    }
    return Value(std::move(levels_read));
}

/// The number of single-character changes that make one of the other.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t above = row[j];
            row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
            diagonal = above;
        }
    }
    return row[b.size()];
}

}  // namespace

std::span<const OptionDescription> option_table() { return table; }

const OptionDescription* find_option(std::string_view key) {
    const auto found = std::ranges::find(table, key, &OptionDescription::key);
    return found == table.end() ? nullptr : found;
}

std::string range_text(const OptionDescription& option) {
    switch (option.type) {
        case integer:
        case size:
        case duration:
            return bound_text(option.type, option.min) + " to " + bound_text(option.type, option.max);
        case choice: {
            const std::vector<std::string_view> words = words_of(option.choices);
            std::string text;
            for (std::size_t i = 0; i < words.size(); ++i) {
                if (i > 0) text += i + 1 == words.size() ? " or " : ", ";
                text += words[i];
            }
            return text;
        }
        case cpu_list:
            return "a list of CPUs, or nothing";
        case sink:
            return "auto, stdout, stderr, journal, or a path with a slash";
        case levels:
            return "MODULE:LEVEL, separated by blanks, or nothing";
        case socket:
            return "auto, none, or a path with a slash";
        case folder:
            return "a folder, or nothing";
    }
    return {};
}

rt::Result<Value> parse_value(const OptionDescription& option, std::string_view text) {
    switch (option.type) {
        case integer: {
            const auto value = rt::parse_integer(text);
            if (!value) return refuse(value.error().message + "; allowed: " + range_text(option));
            return bounded(option, *value, text);
        }
        case size: {
            const auto value = rt::parse_bytes(text);
            if (!value) return refuse(value.error().message + "; allowed: " + range_text(option));
            constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
            return bounded(option, static_cast<std::int64_t>(std::min(value->count, most)), text);
        }
        case duration: {
            const auto value = rt::parse_duration(text);
            if (!value) return refuse(value.error().message + "; allowed: " + range_text(option));
            return bounded(option, value->count(), text);
        }
        case choice: {
            const std::vector<std::string_view> words = words_of(option.choices);
            const auto found = std::ranges::find(words, text);
            if (found == words.end()) {
                return refuse(rt::quotation(text) + " is none of the choices; allowed: " + range_text(option));
            }
            return Value(static_cast<std::int64_t>(found - words.begin()));
        }
        case cpu_list: {
            if (text.empty()) return Value(std::vector<int>());
            auto cpus = rt::parse_cpu_list(text);
            if (!cpus) return refuse(cpus.error().message);
            return Value(std::move(*cpus));
        }
        case sink: {
            constexpr auto names = std::to_array<std::string_view>({"auto", "stdout", "stderr", "journal"});
            if (std::ranges::find(names, text) == names.end() && !text.contains('/')) {
                return refuse(rt::quotation(text) +
                              " is none of auto, stdout, stderr, journal; a file is written with a slash, as in " +
                              rt::quotation("./" + std::string(text.empty() ? "umbeld.log" : text)));
            }
            if (text.ends_with('/')) return refuse(rt::quotation(text) + " is a folder; a file's path is wanted");
            return Value(std::string(text));
        }
        case socket:
            if (text != "auto" && text != "none" && !text.contains('/')) {
                return refuse(rt::quotation(text) + " is neither auto nor none; a socket's path has a slash, as in " +
                              rt::quotation("./" + std::string(text.empty() ? "umbeld.sock" : text)));
            }
            if (text.ends_with('/')) return refuse(rt::quotation(text) + " is a folder; a socket's path is wanted");
            return Value(std::string(text));
        case levels:
            return parse_levels(text);
        case folder:
            return Value(std::string(text));
    }
    return refuse("has no type");
}

rt::Result<rt::Level> parse_level(std::string_view text) {
    const std::vector<std::string_view> words = words_of("trace debug info warning error");
    const auto found = std::ranges::find(words, text);
    if (found == words.end()) {
        return refuse(rt::quotation(text) + " is no level; allowed: trace, debug, info, warning or error");
    }
    return static_cast<rt::Level>(found - words.begin());
}

Settings default_settings() {
    Settings settings;
    for (const OptionDescription& option : table) {
        const rt::Result<Value> value = parse_value(option, option.default_value);
        CHECK(value.has_value());
        option.store(*value, settings);
    }
    return settings;
}

std::string option_help() {
    std::string help;
    for (const OptionDescription& option : table) {
        help += "  " + std::string(option.key) + "\n      " + std::string(option.description) + "\n      " +
                range_text(option) +
                "; default: " + (option.default_value.empty() ? "empty" : std::string(option.default_value)) +
                "; a change needs a " + (option.applies_at == start ? "restart" : "reload") + "\n";
    }
    return help;
}

std::string option_manual() {
    // scdoc takes * and _ for marks.
    const auto plain = [](std::string_view text) {
        std::string escaped;
        for (const char c : text) {
            if (c == '*' || c == '_' || c == '\\') escaped += '\\';
            escaped += c;
        }
        return escaped;
    };
    std::string manual;
    std::string_view section;
    for (const OptionDescription& option : table) {
        if (option.section() != section) {
            section = option.section();
            manual += (manual.empty() ? "# [" : "\n# [") + std::string(section) + "]\n";
        }
        manual += "\n*" + plain(option.name()) +
                  "* (default: " + (option.default_value.empty() ? "empty" : plain(option.default_value)) + ")\n\t" +
                  plain(option.description) + " Allowed: " + plain(range_text(option)) + ". A change needs a " +
                  (option.applies_at == start ? "restart" : "reload") + ".\n";
    }
    return manual;
}

std::string nearest(std::string_view text, std::span<const std::string> candidates) {
    constexpr std::size_t longest = 64;  // Longer words are no slip of the finger.
    if (text.empty() || text.size() > longest) return {};
    std::string best;
    std::size_t best_distance = std::max<std::size_t>(1, text.size() / 3) + 1;
    for (const std::string& candidate : candidates) {
        if (candidate.size() > longest) continue;
        if (const std::size_t d = distance(text, candidate); d < best_distance) {
            best_distance = d;
            best = candidate;
        }
    }
    return best;
}

}  // namespace umbel::config
