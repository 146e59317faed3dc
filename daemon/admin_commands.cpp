#include "daemon/admin_commands.h"

#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>

#include "config/option_table.h"
#include "daemon/version.h"
#include "runtime/base/quantity.h"

namespace umbel::daemon {

namespace {

using nlohmann::json;
using Counters = rt::ExecutorCounters;

struct CounterName {
    const char* name;
    std::uint64_t Counters::* counter;
};

constexpr auto counter_names = std::to_array<CounterName>({
    {"turns", &Counters::turns},
    {"slices", &Counters::slices},
    {"messages", &Counters::messages},
    {"messages_remote", &Counters::messages_remote},
    {"dead_letters", &Counters::dead_letters},
    {"operations", &Counters::operations},
    {"completions", &Counters::completions},
    {"enters", &Counters::enters},
    {"cq_overflows", &Counters::cq_overflows},
    {"high_priority_yields", &Counters::high_priority_yields},
    {"wakes_sent", &Counters::wakes_sent},
    {"wakes_skipped", &Counters::wakes_skipped},
    {"actors_spawned", &Counters::actors_spawned},
    {"actors_ended", &Counters::actors_ended},
    {"actors_failed", &Counters::actors_failed},
    {"contexts_leased", &Counters::contexts_leased},
    {"operations_in_flight", &Counters::operations_in_flight},
    {"events_dropped", &Counters::events_dropped},
});
static_assert(sizeof(Counters) == counter_names.size() * sizeof(std::uint64_t), "every counter has a name");

std::string_view name_of(rt::RuntimeState state) {
    constexpr std::array<std::string_view, 6> names{"loaded", "starting", "ready", "failed", "draining", "stopped"};
    return names[static_cast<std::size_t>(state)];
}

json counters_of(const Counters& counters) {
    json all = json::object();
    for (const CounterName& one : counter_names) all[one.name] = counters.*one.counter;
    return all;
}

json level_rows(Log& log) {
    const auto now = std::chrono::steady_clock::now();
    json rows = json::array();
    for (const LogLevels::Row& row : log.levels()) {
        json one = {
            {"module", row.module}, {"level", rt::name_of(row.level())}, {"configured", rt::name_of(row.configured)}};
        if (row.until) {
            const auto left = std::chrono::duration_cast<std::chrono::seconds>(*row.until - now).count();
            one["for_s"] = std::max<std::int64_t>(left, 0);
        }
        rows.push_back(std::move(one));
    }
    return rows;
}

rt::Result<json> set_level(Log& log, const json& request) {
    const auto refuse = [](const std::string& why) { return rt::fail(rt::ErrorClass::usage, "log.level: " + why); };
    const auto text = [&](const char* key) {
        const auto found = request.find(key);
        return found != request.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    const std::string module = text("module");
    const std::string name = text("level");
    if (module.empty() || name.empty()) return refuse("\"module\" and \"level\" are wanted, both texts");
    std::optional<rt::Level> level;
    if (name != "configured") {
        const auto parsed = config::parse_level(name);
        if (!parsed) return refuse(parsed.error().message + ", or configured");
        level = *parsed;
    }
    std::optional<std::chrono::nanoseconds> lasting;
    if (const auto given = request.find("for_ns"); given != request.end()) {
        constexpr std::int64_t year = std::int64_t{366} * 24 * 3600 * 1'000'000'000;
        if (!given->is_number_integer() || given->get<std::int64_t>() <= 0 || given->get<std::int64_t>() > year) {
            return refuse("\"for_ns\" is a number of nanoseconds, from 1 to a year's");
        }
        lasting = std::chrono::nanoseconds(given->get<std::int64_t>());
    }
    if (auto set = log.set_level(module, level, lasting); !set) return std::unexpected(set.error());
    return level_rows(log);
}

rt::Result<json> outcome_of(const Reload& reload, const json& request) {
    const auto run = request.find("run");
    if (run == request.end() || !run->is_number_unsigned()) {
        return rt::fail(rt::ErrorClass::usage, "reload.outcome: \"run\" is wanted, the number that reload answered");
    }
    const ReloadOutcome* outcome = reload.outcome_of(run->get<std::uint64_t>());
    if (outcome == nullptr) return json{{"done", false}};
    return json{{"done", true},
                {"applied", outcome->applied()},
                {"problems", outcome->problems},
                {"changes", outcome->changes},
                {"restarts", outcome->restarts},
                {"took_ms", std::chrono::duration_cast<std::chrono::milliseconds>(outcome->took).count()}};
}

}  // namespace

void add_admin_commands(Admin& admin, const AdminContext& context) {
    using enum AdminLevel;
    const auto said = [&log = context.log](const std::string& command, const AdminPeer& peer) {
        log.write(line_of(rt::EventKind::admin_command, command,
                          {static_cast<std::int64_t>(peer.uid), static_cast<std::int64_t>(peer.pid)}));
    };
    const auto began = std::chrono::steady_clock::now();
    admin.add({"status", observe, false, "what runs, since when, in which state",
               [context, began](const json&, const AdminPeer& peer) -> rt::Result<json> {
                   const LogFigures log = context.log.figures();
                   const auto up = std::chrono::steady_clock::now() - began;
                   std::uint64_t living = 0;
                   const auto counters = context.runtime.counters();
                   for (const Counters& one : counters) living += one.actors_spawned - one.actors_ended;
                   return json{{"version", version()},
                               {"pid", ::getpid()},
                               {"state", name_of(context.runtime.state())},
                               {"uptime_s", std::chrono::duration_cast<std::chrono::seconds>(up).count()},
                               {"config_file", context.config_file},
                               {"executors", counters.size()},
                               {"actors", living},
                               {"you", peer.level == control ? "control" : "observe"},
                               {"log",
                                {{"lines", log.lines},
                                 {"dropped", log.dropped},
                                 {"suppressed", log.suppressed},
                                 {"lost", log.lost}}}};
               }});
    admin.add({"plugins", observe, true, "each plugin, its file and what it announced",
               [context](const json&, const AdminPeer&) -> rt::Result<json> {
                   const auto announced = context.runtime.announcements();
                   json all = json::array();
                   for (const rt::PluginOptions& plugin : context.runtime.running_plugins()) {
                       json one = {{"name", plugin.name}, {"path", plugin.path}, {"announced", ""}};
                       for (const auto& [name, text] : announced) {
                           if (name == plugin.name) one["announced"] = text;
                       }
                       all.push_back(std::move(one));
                   }
                   return all;
               }});
    admin.add({"counters", observe, false, "what each executor has counted",
               [context](const json&, const AdminPeer&) -> rt::Result<json> {
                   json all = json::array();
                   for (const Counters& one : context.runtime.counters()) all.push_back(counters_of(one));
                   return all;
               }});
    admin.add({"settings", observe, true, "the settings in force, with their origins",
               [context](const json&, const AdminPeer&) -> rt::Result<json> {
                   json all = json::array();
                   for (const config::EffectiveSetting& one : context.reload.running().effective) {
                       all.push_back(
                           {{"key", one.section + "." + one.key}, {"value", one.value}, {"origin", one.origin}});
                   }
                   return all;
               }});
    admin.add({"log.levels", observe, false, "each module's level",
               [context](const json&, const AdminPeer&) -> rt::Result<json> { return level_rows(context.log); }});
    admin.add({"log.level", control, false, "sets a module's level, for ever or for a while",
               [context](const json& request, const AdminPeer&) { return set_level(context.log, request); }});
    admin.add({"reload", control, true, "what SIGHUP does; answers the number of the run",
               [context, said](const json&, const AdminPeer& peer) -> rt::Result<json> {
                   said("reload", peer);
                   const std::uint64_t run = context.reload.next_run();
                   context.begin_reload();
                   return json{{"run", run}};
               }});
    admin.add({"reload.outcome", control, true, "what came of a run of reload",
               [context](const json& request, const AdminPeer&) { return outcome_of(context.reload, request); }});
    admin.add({"stop", control, false, "drains and ends, as SIGTERM does",
               [context, said](const json&, const AdminPeer& peer) -> rt::Result<json> {
                   said("stop", peer);
                   context.stop();
                   return json("draining");
               }});
}

std::string admin_socket_path(const std::string& setting) {
    if (setting == "none") return {};
    if (setting != "auto") return setting;
    const char* folders = std::getenv("RUNTIME_DIRECTORY");  // one or more, with colons between
    if (folders == nullptr || *folders == '\0') return {};
    const std::string all(folders);
    return all.substr(0, all.find(':')) + "/umbeld.sock";
}

}  // namespace umbel::daemon
