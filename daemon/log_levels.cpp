#include "daemon/log_levels.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/quantity.h"

namespace umbel::daemon {

void LogLevels::set_plugins(const std::vector<std::string>& plugins) {
    std::vector<std::string> modules{"daemon", "runtime"};
    for (const std::string& plugin : plugins) {
        if (std::ranges::find(modules, plugin) == modules.end()) modules.push_back(plugin);
    }
    std::vector<Row> rows;
    for (const std::string& module : modules) {
        const auto known = std::ranges::find(rows_, module, &Row::module);
        rows.push_back(known != rows_.end() ? *known : Row{module, configured(module), {}, {}});
    }
    rows_ = std::move(rows);
}

void LogLevels::configure(const config::LogSettings& settings) {
    settings_ = settings;
    for (Row& row : rows_) row.configured = configured(row.module);
}

rt::Result<void> LogLevels::set(std::string_view module, std::optional<rt::Level> level, std::optional<Time> until) {
    bool found = false;
    for (Row& row : rows_) {
        if (module != every_module && module != row.module) continue;
        found = true;
        row.set = level;
        row.until = level ? until : std::nullopt;
    }
    if (found) return {};
    std::string names(every_module);
    for (const Row& row : rows_) names += ", " + row.module;
    return rt::fail(rt::ErrorClass::usage, "there is no module " + rt::quotation(module) + "; there are: " + names);
}

bool LogLevels::expire(Time now) {
    bool changed = false;
    for (Row& row : rows_) {
        if (!row.until || now < *row.until) continue;
        changed = changed || row.level() != row.configured;
        row.set.reset();
        row.until.reset();
    }
    return changed;
}

rt::Level LogLevels::level_of(std::string_view module) const {
    const auto row = std::ranges::find(rows_, module, &Row::module);
    return row == rows_.end() ? configured(module) : row->level();
}

rt::Level LogLevels::configured(std::string_view module) const {
    const auto own = std::ranges::find(settings_.levels, module, &config::ModuleLevel::module);
    return own == settings_.levels.end() ? settings_.level : own->level;
}

}  // namespace umbel::daemon
