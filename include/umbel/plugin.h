// plugin.h: a plugin's settings and its descriptor. Part of the C++ SDK; include umbel.h.
//
// Shape.  UMBEL_PLUGIN(.members…) defines the one exported symbol; load<read> wraps the function that reads the settings.
//         Settings that may change while actors run live in a reloadable<T>, which load_into and reload_into fill;
//         reload<prepare, apply> is for plugins that do more.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

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

namespace detail {

/// Runs `code`; an exception becomes the text of an error.
template <class Code>
int guarded(char* error, std::size_t error_size, Code&& code) {
    const auto say = [&](std::string_view reason) {
        reason = reason.substr(0, error_size - 1);
        reason.copy(error, reason.size());
        error[reason.size()] = 0;
        return int{UMBEL_E_INVALID};
    };
    try {
        code();
        return 0;
    } catch (const std::exception& failure) {
        return say(failure.what());
    } catch (...) {
        return say("exception of an unknown type");
    }
}

}  // namespace detail

/// A value that actors on all executors read and a reload replaces.
///
/// Cost:   get() is one load. Each value that was ever set is kept, since somebody may still read it: meant for settings.
template <class T>
class reloadable {
public:
    /// The value in force; it never changes and lives as long as the process. After the first set(). [any]
    [[nodiscard]] const T& get() const {
        // acquire: the value is seen whole. Pairs with the release in set().
        return *now_.load(std::memory_order_acquire);
    }
    [[nodiscard]] const T& operator*() const { return get(); }
    [[nodiscard]] const T* operator->() const { return &get(); }
    /// Puts `value` in force. [control]
    void set(std::unique_ptr<const T> value) noexcept {
        // release: publishes the value. Pairs with the acquire in get().
        now_.store(value.get(), std::memory_order_release);
        // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): noexcept says what happens.
        newest_ = new kept{std::move(value), newest_};
    }

private:
    struct kept {
        std::unique_ptr<const T> value;
        kept* older;
    };
    std::atomic<const T*> now_{nullptr};
    kept* newest_ = nullptr;  // All of them, never freed: reachable, so that leak checkers see no leak.
};

/// A plugin's `.load`: reads the settings by Read(settings); an exception refuses them with its text.
template <auto Read = read_no_settings>
int load(const umbel_host* host, const umbel_settings* raw, char* error, std::size_t error_size) {
    detail::host = host;
    return detail::guarded(error, error_size, [&] { Read(settings(raw)); });
}

/// A plugin's `.load`: what Read(settings) returns is put into the reloadable Place.
template <auto& Place, auto Read>
int load_into(const umbel_host* host, const umbel_settings* raw, char* error, std::size_t error_size) {
    detail::host = host;
    return detail::guarded(error, error_size, [&] {
        using Value = std::invoke_result_t<decltype(Read), const settings&>;
        Place.set(std::make_unique<const Value>(Read(settings(raw))));
    });
}

/// A plugin's `.reload`: Prepare(settings) checks the new settings and returns what applying them takes; an exception refuses
/// the whole configuration with its text. Apply(prepared) puts them in force and cannot fail (noexcept). If another part of
/// the configuration is refused, what was prepared is destroyed. See umbel_plugin.reload about threads.
template <auto Prepare, auto Apply>
int reload(const umbel_settings* raw, std::uint32_t phase, char* error, std::size_t error_size) {
    using Prepared = std::invoke_result_t<decltype(Prepare), const settings&>;
    static_assert(std::is_nothrow_invocable_v<decltype(Apply), Prepared&&>, "applying cannot fail: make it noexcept");
    static std::optional<Prepared> prepared;
    switch (phase) {
        case UMBEL_RELOAD_CHECK:
            return detail::guarded(error, error_size, [&] { prepared.emplace(Prepare(settings(raw))); });
        case UMBEL_RELOAD_APPLY:
            if (prepared) Apply(std::move(*prepared));
            [[fallthrough]];
        default:
            prepared.reset();
            return 0;
    }
}

namespace detail {

template <auto Read>
auto read_value(const settings& from) {
    return std::make_unique<const std::invoke_result_t<decltype(Read), const settings&>>(Read(from));
}
template <auto& Place, class Pointer>
void set_value(Pointer&& value) noexcept {
    Place.set(std::forward<Pointer>(value));
}

}  // namespace detail

/// A plugin's `.reload`, beside load_into: the reloadable Place gets what Read(settings) returns.
template <auto& Place, auto Read>
int reload_into(const umbel_settings* raw, std::uint32_t phase, char* error, std::size_t error_size) {
    using Pointer = decltype(detail::read_value<Read>(std::declval<const settings&>()));
    return reload<&detail::read_value<Read>, &detail::set_value<Place, Pointer>>(raw, phase, error, error_size);
}

/// Defines the plugin: UMBEL_PLUGIN(.setting_count = …, .settings = …, .name = …, .version = …, .description = …,
/// .load = umbel::load<…>, .main = &umbel::actor_type<…>, …, .reload = umbel::reload_into<…>); members in the order of
/// umbel_plugin.
#define UMBEL_PLUGIN(...) \
    extern "C" UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {UMBEL_PLUGIN_HEADER, __VA_ARGS__}

}  // namespace umbel
#pragma GCC visibility pop
