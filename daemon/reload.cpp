#include "daemon/reload.h"

#include <pthread.h>

#include <algorithm>

#include "config/option_table.h"

namespace umbel::daemon {

namespace {

/// Whether this section says what it said before.
bool same(const rt::PluginOptions& left, const rt::PluginOptions& right) {
    return left.path == right.path && left.settings.size() == right.settings.size() &&
           std::ranges::all_of(left.settings, [&](const rt::PluginSetting& setting) {
               return std::ranges::any_of(right.settings, [&](const rt::PluginSetting& other) {
                   return other.key == setting.key && other.value == setting.value;
               });
           });
}

std::string text_of(const config::SettingChange& change) {
    const auto shown = [](const std::string& value) { return value.empty() ? std::string("(empty)") : value; };
    return change.section + "." + change.key + ": " + shown(change.before) + " → " + shown(change.after) + " (" +
           change.origin + ")";
}

}  // namespace

Reload::Reload(config::Configuration running, Read read, Check check)
    : running_(std::move(running)), read_(std::move(read)), check_(std::move(check)) {}

Reload::~Reload() {
    // relaxed: a request; the thread may look at one more plugin.
    stopping_.store(true, std::memory_order_relaxed);
    if (reader_.joinable()) reader_.join();
}

void Reload::request() {
    if (under_way()) {
        requested_again_ = true;  // R2
    } else {
        begin();
    }
}

void Reload::begin() {
    requested_again_ = false;
    began_ = std::chrono::steady_clock::now();
    done_.store(false, std::memory_order_relaxed);
    reader_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "umbel-reload");
        read_and_check();
        // release: publishes wanted_. Pairs with the acquire in poll().
        done_.store(true, std::memory_order_release);
    });
}

void Reload::read_and_check() {
    wanted_ = read_();
    if (!wanted_) return;
    config::Problems problems;
    for (const rt::PluginOptions& plugin : wanted_->settings.runtime.plugins) {
        if (stopping_.load(std::memory_order_relaxed)) return;
        const auto& present = running_.settings.runtime.plugins;
        const auto before = std::ranges::find(present, plugin.name, &rt::PluginOptions::name);
        // Who goes on as before is not looked at: its file may have been replaced, and that is none of its business.
        if (before != present.end() && same(*before, plugin)) continue;
        if (const auto checked = check_(plugin); !checked) problems.push_back(checked.error().message);
    }
    if (!problems.empty()) wanted_ = std::unexpected(std::move(problems));
}

std::optional<ReloadOutcome> Reload::poll(rt::Runtime& runtime) {
    // acquire: pairs with the release in begin().
    if (!under_way() || !done_.load(std::memory_order_acquire)) return std::nullopt;
    reader_.join();
    ReloadOutcome outcome = apply(runtime);
    outcome.took = std::chrono::steady_clock::now() - began_;
    if (requested_again_) begin();  // R2
    return outcome;
}

ReloadOutcome Reload::apply(rt::Runtime& runtime) {
    ReloadOutcome outcome;
    if (!wanted_) {
        outcome.problems = std::move(wanted_.error());
        return outcome;  // R1
    }
    auto prepared = runtime.prepare_plugins(wanted_->settings.runtime.plugins);
    if (!prepared) {
        outcome.problems = std::move(prepared.error());
        return outcome;  // R1
    }
    runtime.apply_plugins();
    outcome.plugins = std::move(*prepared);

    std::vector<std::string> kept;
    kept.reserve(outcome.plugins.need_restart.size());
    const auto why_kept = [&](std::string_view section) -> const std::string* {
        for (const auto& [plugin, why] : outcome.plugins.need_restart) {
            if (section == "plugin." + plugin) return &why;
        }
        return nullptr;
    };
    for (const auto& restart : outcome.plugins.need_restart) kept.push_back(restart.plugin);
    for (const std::string& plugin : outcome.plugins.added) outcome.changes.push_back("plugin." + plugin + ": added");
    for (const std::string& plugin : outcome.plugins.retired) {
        outcome.changes.push_back("plugin." + plugin + ": retired");
    }
    for (const config::SettingChange& change : config::differences(running_, *wanted_)) {
        const std::string* why = why_kept(change.section);
        if (why != nullptr) {
            outcome.restarts.push_back(text_of(change) + ": " + *why);
        } else if (change.needs_restart) {
            outcome.restarts.push_back(text_of(change));
        } else {
            outcome.changes.push_back(text_of(change));
        }
    }
    running_ = config::running_after(running_, *wanted_, kept);
    return outcome;
}

}  // namespace umbel::daemon
