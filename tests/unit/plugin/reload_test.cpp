// Specification of a plugin's reload: the calls of loader.h, and the SDK's load_into, reload_into and reload over them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/plugin/host.h"
#include "runtime/plugin/loader.h"
#include "umbel/umbel.h"

namespace umbel::rt {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Greeting {
    std::string text;
};
reloadable<Greeting> greeting;

Greeting read_greeting(const settings& from) {
    if (from.text("greeting") == "boo") throw std::runtime_error("greeting: nobody says boo");
    return {from.text("greeting")};
}

void main_actor(self&) {}

constexpr umbel_setting table[] = {{.name = "greeting",
                                    .type = UMBEL_SETTING_TEXT,
                                    .required = 0,
                                    .default_value = "hello",
                                    .min = 0,
                                    .max = 0,
                                    .description = "what is said"}};

// Also a specification: .reload need not be named, and then nothing warns of it.
constexpr umbel_plugin without_reload = {UMBEL_PLUGIN_HEADER,
                                         .setting_count = 1,
                                         .settings = table,
                                         .name = "greeter",
                                         .version = "1",
                                         .description = "",
                                         .load = load_into<greeting, read_greeting>,
                                         .unload = nullptr,
                                         .main = &actor_type<main_actor>,
                                         .main_placement = UMBEL_MAIN_ONCE,
                                         .reserved = 0};

umbel_plugin with_reload(decltype(umbel_plugin::reload) reload) {
    umbel_plugin plugin = without_reload;
    plugin.reload = reload;
    return plugin;
}

PluginOptions section(const umbel_plugin& descriptor, const std::string& text, const std::string& origin) {
    PluginOptions options{"greeter", "", origin, {{"greeting", text, origin}}};
    options.builtin = &descriptor;
    return options;
}

LoadedPlugin loaded(const umbel_plugin& descriptor) {
    auto plugin = open_plugin(section(descriptor, "hello", "umbel.conf:3"));
    EXPECT_TRUE(plugin && call_load(*plugin, host_table()));
    return std::move(*plugin);
}

std::string refusal(const LoadedPlugin& plugin, const PluginOptions& wanted) {
    const auto settings = check_new_settings(plugin, wanted);
    if (!settings) return settings.error().message;
    const auto checked = call_reload_check(plugin, **settings, wanted);
    return checked ? "(accepted)" : checked.error().message;
}

// Spec.   A plugin that was built before there was `reload` has none: it reads as null.
TEST(Reload, AnOlderPluginHasNone) {
    umbel_plugin older = without_reload;
    older.descriptor_size = offsetof(umbel_plugin, reload);
    EXPECT_EQ(loaded(older).descriptor->reload, nullptr);
}

// Spec.   CHECK changes nothing that can be seen, APPLY puts the new value in force, what was read before stays readable.
TEST(Reload, CountsFromApplyOn) {
    const umbel_plugin descriptor = with_reload(reload_into<greeting, read_greeting>);
    LoadedPlugin plugin = loaded(descriptor);
    const Greeting& before = *greeting;
    EXPECT_EQ(before.text, "hello");

    const PluginOptions wanted = section(descriptor, "good morning", "umbel.conf:4");
    auto settings = check_new_settings(plugin, wanted);
    ASSERT_TRUE(settings);
    ASSERT_TRUE(call_reload_check(plugin, **settings, wanted));
    EXPECT_EQ(greeting->text, "hello");
    call_reload_apply(plugin, std::move(*settings));
    EXPECT_EQ(greeting->text, "good morning");
    EXPECT_EQ(before.text, "hello");
    EXPECT_STREQ(plugin.settings->text("greeting"), "good morning");
}

// Spec.   After DROP nothing has changed, and a later reload is not surprised by what was prepared then.
TEST(Reload, DropForgets) {
    const umbel_plugin descriptor = with_reload(reload_into<greeting, read_greeting>);
    LoadedPlugin plugin = loaded(descriptor);
    const PluginOptions wanted = section(descriptor, "good night", "umbel.conf:4");
    auto settings = check_new_settings(plugin, wanted);
    ASSERT_TRUE(settings);
    ASSERT_TRUE(call_reload_check(plugin, **settings, wanted));
    call_reload_drop(plugin, **settings);
    EXPECT_EQ(greeting->text, "hello");
    call_reload_apply(plugin, std::move(*settings));  // out of order: nothing is prepared
    EXPECT_EQ(greeting->text, "hello");
}

// Spec.   What the plugin refuses comes with its place and its own words; what its table refuses never reaches it.
TEST(Reload, ARefusalHasItsPlace) {
    const umbel_plugin descriptor = with_reload(reload_into<greeting, read_greeting>);
    const LoadedPlugin plugin = loaded(descriptor);
    EXPECT_EQ(refusal(plugin, section(descriptor, "boo", "umbel.conf:4")),
              "umbel.conf:4: plugin.greeter: greeting: nobody says boo");
    PluginOptions unknown = section(descriptor, "hi", "umbel.conf:4");
    unknown.settings.push_back({"greetin", "x", "umbel.conf:9"});
    EXPECT_THAT(refusal(plugin, unknown), HasSubstr("umbel.conf:9: plugin.greeter.greetin: unknown key"));
    EXPECT_EQ(greeting->text, "hello");
}

std::vector<std::string> steps;
std::string prepare(const settings& from) {
    steps.push_back("prepare " + from.text("greeting"));
    return from.text("greeting");
}
void apply(std::string&& text) noexcept { steps.push_back("apply " + text); }

// Spec.   reload<prepare, apply>: each is called once, in its phase.
TEST(Reload, PreparesThenApplies) {
    const umbel_plugin descriptor = with_reload(reload<prepare, apply>);
    LoadedPlugin plugin = loaded(descriptor);
    steps.clear();
    const PluginOptions wanted = section(descriptor, "hi", "umbel.conf:4");
    for (const bool applied : {false, true}) {
        auto settings = check_new_settings(plugin, wanted);
        ASSERT_TRUE(settings && call_reload_check(plugin, **settings, wanted));
        if (applied) {
            call_reload_apply(plugin, std::move(*settings));
        } else {
            call_reload_drop(plugin, **settings);
        }
    }
    EXPECT_THAT(steps, ElementsAre("prepare hi", "prepare hi", "apply hi"));
}

}  // namespace
}  // namespace umbel::rt
