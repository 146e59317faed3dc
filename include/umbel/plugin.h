// plugin.h: a plugin's settings and its descriptor. Part of the C++ SDK; include umbel.h.
//
// Shape.  UMBEL_PLUGIN(.members…) defines the one exported symbol; load<read> wraps the function that reads the settings.
#pragma once

#include "umbel/self.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

// ---- Plugins -----------------------------------------------------------------------------------------------------------

/// The plugin's section of the config file, checked. [control], in load.
class settings {
public:
    explicit settings(const umbel_settings* raw) : raw_(raw) {}
    /// TEXT, FOLDER and ADDRESS settings.
    [[nodiscard]] std::string text(const char* name) const { return detail::host->setting_text(raw_, name); }
    /// INTEGER settings; SIZE in bytes.
    [[nodiscard]] std::int64_t number(const char* name) const { return detail::host->setting_number(raw_, name); }
    [[nodiscard]] bool flag(const char* name) const { return number(name) != 0; }
    [[nodiscard]] nanoseconds duration(const char* name) const { return nanoseconds(number(name)); }

private:
    const umbel_settings* raw_;
};

inline void read_no_settings(const settings&) {}

/// A plugin's `.load`: reads the settings by Read(settings); an exception refuses them with its text.
template <auto Read = read_no_settings>
int load(const umbel_host* host, const umbel_settings* raw, char* error, std::size_t error_size) {
    detail::host = host;
    std::string_view reason = "exception of an unknown type";
    try {
        Read(settings(raw));
        return 0;
    } catch (const std::exception& failure) {
        reason = failure.what();
        reason = reason.substr(0, error_size - 1);
        reason.copy(error, reason.size());
        error[reason.size()] = 0;
    } catch (...) {
        reason = reason.substr(0, error_size - 1);
        reason.copy(error, reason.size());
        error[reason.size()] = 0;
    }
    return UMBEL_E_INVALID;
}

/// Defines the plugin: UMBEL_PLUGIN(.setting_count = …, .settings = …, .name = …, .version = …, .description = …,
/// .load = umbel::load<…>, .main = &umbel::actor_type<…>, …); members in the order of umbel_plugin.
#define UMBEL_PLUGIN(...) \
    extern "C" UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {UMBEL_PLUGIN_HEADER, __VA_ARGS__}

}  // namespace umbel
#pragma GCC visibility pop
