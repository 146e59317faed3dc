// Specification of configuration.h.
#include "config/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "config/option_table.h"

namespace umbel::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const Machine four_cpus{{0, 1, 2, 5}, 8, {}};

std::expected<Configuration, Problems> configured(std::string_view text, std::vector<Assignment> assignments = {}) {
    return configure(text, "umbel.conf", assignments, four_cpus);
}

/// The only problem there is.
std::string problem_of(std::string_view text, std::vector<Assignment> assignments = {}) {
    const auto result = configured(text, std::move(assignments));
    if (result) return "(accepted)";
    EXPECT_EQ(result.error().size(), 1u) << testing::PrintToString(result.error());
    return result.error()[0];
}

const EffectiveSetting& effective(const Configuration& configuration, std::string_view section, std::string_view key) {
    for (const EffectiveSetting& setting : configuration.effective) {
        if (setting.section == section && setting.key == key) return setting;
    }
    ADD_FAILURE() << section << "." << key << " is not in force";
    return configuration.effective[0];
}

// Spec.   An empty file gives the defaults, one executor for each CPU the process may run on, and a warning that
//         nothing will run.
TEST(Configuration, AnEmptyFileGivesTheDefaults) {
    const auto result = configured("");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->settings.runtime.executors.count, 4u);
    EXPECT_THAT(result->settings.runtime.executors.cpus, ElementsAre(0, 1, 2, 5));
    EXPECT_EQ(result->settings.runtime.actors.memory_limit, rt::ActorOptions().memory_limit);
    EXPECT_THAT(result->warnings, ElementsAre(HasSubstr("nothing will run")));
    EXPECT_EQ(effective(*result, "executors", "count").origin, "default");
    EXPECT_EQ(effective(*result, "executors", "count").note, "here: 4");
}

// Spec.   The command line wins over the file, the file over the default; of two --set the last one wins.
TEST(Configuration, LaterSourcesWin) {
    const auto result = configured("[executors]\ncount = 2\ncpus = 0,1\n[log]\nlevel = debug\n",
                                   {{"log.level", "error"}, {"log.level", "warning"}});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->settings.runtime.executors.count, 2u);
    EXPECT_EQ(result->settings.log.level, rt::Level::warning);
    EXPECT_EQ(effective(*result, "executors", "count").origin, "umbel.conf:2");
    EXPECT_EQ(effective(*result, "log", "level").origin, "command line");
    EXPECT_EQ(effective(*result, "log", "format").origin, "default");
}

// Spec.   A bad value in the file does no harm when the command line sets the key.
TEST(Configuration, OnlyTheValueInForceIsChecked) {
    EXPECT_TRUE(configured("[executors]\ncount = many\n", {{"executors.count", "1"}}));
}

// Spec.   Every message begins with the place and the key.
TEST(Configuration, ProblemsNamePlaceAndKey) {
    EXPECT_EQ(problem_of("\n[executors]\ncount = 300\n"),
              "umbel.conf:3: executors.count: 300 is over 255; allowed: 0 to 255");
    EXPECT_EQ(problem_of("", {{"executors.count", "-1"}}),
              "command line: executors.count: -1 is under 0; allowed: 0 to 255");
    EXPECT_THAT(problem_of("[executors]\ntime_slice = fast\n"), HasSubstr("umbel.conf:2: executors.time_slice: "));
}

// Spec.   All problems are said at once.
TEST(Configuration, AllProblemsAreSaid) {
    const auto result = configured("[executors]\ncount = 300\nspin = x\nnonsense\n[nowhere]\n[log]\nformat = xml\n",
                                   {{"actors.max", "0"}});
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error(),
                testing::UnorderedElementsAre(
                    HasSubstr("umbel.conf:4: "), HasSubstr("umbel.conf:5: there is no section \"nowhere\""),
                    HasSubstr("umbel.conf:2: executors.count: "), HasSubstr("umbel.conf:3: executors.spin: "),
                    HasSubstr("umbel.conf:7: log.format: "), HasSubstr("command line: actors.max: ")));
}

// Spec.   Unknown keys and sections are refused with what was probably meant; an unknown section once, not for each key.
TEST(Configuration, UnknownKeysAndSectionsAreRefused) {
    EXPECT_EQ(problem_of("[executors]\ncuont = 1\n"),
              "umbel.conf:2: executors.cuont: there is no such setting; did you mean executors.count?");
    EXPECT_EQ(problem_of("[executors]\ndrain_timeout = 1s\n"),
              "umbel.conf:2: executors.drain_timeout: there is no such setting; did you mean daemon.drain_timeout?");
    EXPECT_EQ(problem_of("", {{"log.colour", "red"}}), "command line: log.colour: there is no such setting");
    EXPECT_EQ(problem_of("", {{"level", "info"}}),
              "command line: level: there is no such setting; did you mean log.level?");
    EXPECT_EQ(problem_of("[executers]\ncount = 1\ncpus = 0\n"),
              "umbel.conf:1: there is no section \"executers\"; did you mean [executors]?");
    EXPECT_EQ(problem_of("[http]\nroot = docs\n"),
              "umbel.conf:1: there is no section \"http\"; a plugin's is [plugin.NAME]");
    EXPECT_THAT(problem_of("[executors]\nc\x80ount = 1\n"), HasSubstr("\"executors.c\\x80ount\""));
}

// Spec.   CPUs must exist and be allowed; the message tells the two apart.
TEST(Configuration, CpusMustBeAllowed) {
    EXPECT_THAT(problem_of("[executors]\ncpus = 0,3\n"),
                HasSubstr("umbel.conf:2: executors.cpus: CPU 3 is not allowed to this process"));
    EXPECT_THAT(problem_of("[executors]\ncpus = 9\n"), HasSubstr("CPU 9 does not exist; allowed: 0-2,5"));
    const auto result = configured("[executors]\ncpus = 5,0\n");
    ASSERT_TRUE(result);
    EXPECT_THAT(result->settings.runtime.executors.cpus, ElementsAre(5, 0));
    EXPECT_EQ(result->settings.runtime.executors.count, 2u);
}

// Spec.   More executors than CPUs, or listed CPUs without an executor, are allowed, with a warning.
TEST(Configuration, OddCountsAreWarnedAbout) {
    auto result = configured("[executors]\ncount = 3\ncpus = 0,1\n[plugin.a]\n");
    ASSERT_TRUE(result);
    EXPECT_EQ(result->settings.runtime.executors.count, 3u);
    EXPECT_THAT(result->warnings, ElementsAre("umbel.conf:2: executors.count: 3 executors share 2 CPUs (0,1) and wait "
                                              "for each other"));
    result = configured("[executors]\ncount = 1\ncpus = 0,1\n[plugin.a]\n");
    ASSERT_TRUE(result);
    EXPECT_THAT(result->warnings, ElementsAre(HasSubstr("umbel.conf:3: executors.cpus: it lists 2 CPUs, but "
                                                        "executors.count (umbel.conf:2) is 1")));
    result = configured("[executors]\ncount = 1\n[plugin.a]\n");
    ASSERT_TRUE(result);
    EXPECT_THAT(result->warnings, IsEmpty());
}

// Spec.   On a machine of more CPUs than executors can be, the automatic count is the most there can be.
TEST(Configuration, AutomaticCountHasABound) {
    Machine huge;
    for (int cpu = 0; cpu < 512; ++cpu) huge.allowed_cpus.push_back(cpu);
    huge.configured_cpus = 512;
    const auto result = configure("", "f", {}, huge);
    ASSERT_TRUE(result);
    EXPECT_EQ(result->settings.runtime.executors.count, rt::max_executors);
    const auto listed = configure("[executors]\ncpus = 0-511\n", "f", {}, huge);
    ASSERT_FALSE(listed);
    EXPECT_THAT(listed.error(), ElementsAre(HasSubstr("f:2: executors.cpus: it lists 512 CPUs")));
}

// Spec.   Values that do not fit each other are refused, and both are named with their places.
TEST(Configuration, ValuesMustFitEachOther) {
    EXPECT_EQ(
        problem_of("[executors]\nring_entries = 1024\ncompletion_entries = 512\n"),
        "umbel.conf:3: executors.completion_entries: 512 is under executors.ring_entries (umbel.conf:2), which is "
        "1024");
    EXPECT_EQ(problem_of("[executors]\nbuffer_count = 1000\n"),
              "umbel.conf:2: executors.buffer_count: 1000 is no power of two; the nearest are 512 and 1024");
    EXPECT_TRUE(configured("[executors]\nbuffer_count = 0\n"));
    EXPECT_EQ(problem_of("[actors]\nmemory_limit = 3MiB\n"),
              "umbel.conf:2: actors.memory_limit: 3MiB is no power of two; the nearest are 2MiB and 4MiB");
    EXPECT_EQ(problem_of("[actors]\nmemory_limit = 64KiB\n"),
              "default: actors.stack_size: 256KiB is over 32KiB, half of actors.memory_limit (umbel.conf:2)");
}

// Spec.   A plugin's section gives its path, looked for in daemon.plugin_dir, and hands its own keys on with their
//         places, in order.
TEST(Configuration, PluginsKeepTheirSettings) {
    const auto result =
        configured("[plugin.http]\nroot = docs\npath = /opt/h.so\nlisten = 127.0.0.1:1\n[plugin.echo]\n",
                   {{"plugin.http.root", "/srv"}, {"daemon.plugin_dir", "/"}});
    ASSERT_TRUE(result);
    const auto& plugins = result->settings.runtime.plugins;
    ASSERT_EQ(plugins.size(), 2u);
    EXPECT_EQ(plugins[0].name, "http");
    EXPECT_EQ(plugins[0].path, "/opt/h.so");
    EXPECT_EQ(plugins[0].origin, "umbel.conf:3");
    ASSERT_EQ(plugins[0].settings.size(), 2u);
    EXPECT_EQ(plugins[0].settings[0].key, "root");
    EXPECT_EQ(plugins[0].settings[0].value, "/srv");
    EXPECT_EQ(plugins[0].settings[0].origin, "command line");
    EXPECT_EQ(plugins[0].settings[1].origin, "umbel.conf:4");
    EXPECT_EQ(plugins[1].path, "/echo.so");
    EXPECT_EQ(plugins[1].origin, "umbel.conf:5");
}

// Spec.   --set alone makes a plugin.
TEST(Configuration, TheCommandLineMakesAPlugin) {
    const auto result = configured("", {{"plugin.echo.listen", "127.0.0.1:7"}});
    ASSERT_TRUE(result);
    ASSERT_EQ(result->settings.runtime.plugins.size(), 1u);
    EXPECT_EQ(result->settings.runtime.plugins[0].path, "./echo.so");
    EXPECT_EQ(result->settings.runtime.plugins[0].origin, "command line");
}

TEST(Configuration, BadPluginNamesAndKeysAreRefused) {
    EXPECT_THAT(problem_of("[plugin.../x]\nk = 1\n"), HasSubstr("umbel.conf:1: \"../x\" cannot be a plugin's name"));
    EXPECT_THAT(problem_of("[plugin.]\n"), HasSubstr("umbel.conf:1: \"\" cannot be a plugin's name"));
    EXPECT_THAT(problem_of("[plugin.a]\nb.c = 1\n"), HasSubstr("umbel.conf:2: plugin.a.b.c: a key is"));
    EXPECT_THAT(problem_of("[plugin.a]\npath =\n"), HasSubstr("umbel.conf:2: plugin.a.path: a path is wanted"));
    EXPECT_THAT(problem_of("", {{"plugin.a", "1"}}), HasSubstr("command line: plugin.a: "));
    EXPECT_THAT(problem_of("", {{"plugin.a.b", "x\ny"}}), HasSubstr("command line: plugin.a.b: a value cannot hold"));
    EXPECT_THAT(problem_of("", {{"plugin.a.b", "x#y"}}), HasSubstr("begins a comment"));
}

TEST(Configuration, ThePluginFolderMustBeOne) {
    EXPECT_THAT(problem_of("[daemon]\nplugin_dir = /nonexistent\n"),
                HasSubstr("umbel.conf:2: daemon.plugin_dir: \"/nonexistent\" is not a folder"));
}

// Spec.   Without daemon.plugin_dir the first of the machine's folders that exists is taken, else the last one named.
TEST(Configuration, ThePluginFolderIsFound) {
    const auto result = configure("[plugin.a]\n", "f", {}, Machine{{0}, 1, {"/nonexistent", "/usr"}});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->settings.runtime.plugins[0].path, "/usr/a.so");
}

// Spec.   What dump() writes is a config file that gives the same configuration, with each origin in a comment (I2).
TEST(Configuration, ADumpGivesTheSameConfiguration) {
    const auto first = configured("[executors]\ncpus = 1\n[plugin.a]\nk = v w\nempty =\n", {{"plugin.a.z", "1"}});
    ASSERT_TRUE(first);
    const std::string text = dump(*first);
    EXPECT_THAT(text, HasSubstr("cpus = 1  # umbel.conf:2\n"));
    EXPECT_THAT(text, HasSubstr("z = 1  # command line\n"));
    EXPECT_THAT(text, HasSubstr("count = 0  # default; here: 1\n"));
    const auto second = configured(text);
    ASSERT_TRUE(second) << testing::PrintToString(second.error());
    ASSERT_EQ(second->effective.size(), first->effective.size());
    for (std::size_t i = 0; i < first->effective.size(); ++i) {
        EXPECT_EQ(second->effective[i].section, first->effective[i].section);
        EXPECT_EQ(second->effective[i].key, first->effective[i].key);
        EXPECT_EQ(second->effective[i].value, first->effective[i].value);
    }
    EXPECT_EQ(second->settings.runtime.executors.cpus, first->settings.runtime.executors.cpus);
    EXPECT_EQ(second->settings.runtime.plugins[0].path, first->settings.runtime.plugins[0].path);
}

// Spec.   A file that cannot be read is a problem with the reason.
TEST(Configuration, AFileThatCannotBeReadIsAProblem) {
    const auto problems = [](const std::string& file) { return load_configuration(file, {}, four_cpus).error(); };
    EXPECT_THAT(problems("/nonexistent/umbel.conf"),
                ElementsAre(HasSubstr("/nonexistent/umbel.conf: cannot be opened: No such file or directory")));
    EXPECT_THAT(problems("/"), ElementsAre(HasSubstr("/: is a folder")));
    EXPECT_THAT(problems("/dev/zero"), ElementsAre(HasSubstr("larger than 1 MiB")));
}

// Spec.   config/umbel.conf is right, and explains every key with its meaning, its range and its default.
// Method. In its section, each key has a comment with the table's words before `#key = default` or `key = …`.
TEST(ShippedConfiguration, ExplainsEveryKey) {
    const std::filesystem::path root(UMBEL_SOURCE_DIR);
    std::ifstream in(root / "config/umbel.conf");
    ASSERT_TRUE(in) << "config/umbel.conf is missing";
    std::string section;
    std::string comment;
    std::set<std::string> explained;
    std::string text;
    for (std::string line; std::getline(in, line);) {
        text += line + "\n";
        if (line.starts_with("[")) {
            section = line.substr(1, line.find(']') - 1);
            comment.clear();
        } else if (line.starts_with("# ")) {
            comment += line.substr(2) + " ";
        } else if (line.empty()) {
            comment.clear();
        } else {
            const std::string assignment = line.substr(line.starts_with("#") ? 1 : 0);
            const std::string key = section + "." + assignment.substr(0, assignment.find(' '));
            const OptionDescription* option = find_option(key);
            if (option == nullptr) continue;  // a plugin's
            explained.insert(key);
            EXPECT_THAT(comment, HasSubstr(std::string(option->description) + " Allowed: " + range_text(*option)));
            if (!line.starts_with("#")) continue;
            const std::string name(option->name());
            const std::string written(option->default_value);
            EXPECT_EQ(line, "#" + name + (written.empty() ? " =" : " = " + written));
        }
    }
    for (const OptionDescription& option : option_table()) {
        EXPECT_TRUE(explained.contains(std::string(option.key))) << option.key << " is not in config/umbel.conf";
    }
    const auto result = configured(text);
    ASSERT_TRUE(result) << testing::PrintToString(result.error());
    ASSERT_EQ(result->settings.runtime.plugins.size(), 2u);
    EXPECT_THAT(result->warnings, IsEmpty());
}

// Spec.   A drop-in overrides the file, a later one an earlier one, the command line all of them; each value has the place it
//         came from. A plugin's section may be spread over files.
TEST(DropIns, LaterOnesWin) {
    const auto result = configure({{"[log]\nlevel = debug\nformat = text\n[plugin.a]\nx = 1\ny = 1\n", "umbel.conf"},
                                   {"[log]\nlevel = error\n[plugin.a]\nx = 2\n[plugin.b]\n", "conf.d/1.conf"},
                                   {"[log]\nlevel = warning\n[plugin.a]\nz = 3\n", "conf.d/2.conf"}},
                                  {{"log.format", "json"}}, four_cpus);
    ASSERT_TRUE(result) << testing::PrintToString(result.error());
    EXPECT_EQ(effective(*result, "log", "level").value, "warning");
    EXPECT_EQ(effective(*result, "log", "level").origin, "conf.d/2.conf:2");
    EXPECT_EQ(effective(*result, "log", "format").origin, "command line");
    EXPECT_EQ(effective(*result, "plugin.a", "x").origin, "conf.d/1.conf:4");
    EXPECT_EQ(effective(*result, "plugin.a", "y").origin, "umbel.conf:6");
    EXPECT_EQ(effective(*result, "plugin.a", "z").origin, "conf.d/2.conf:4");
    ASSERT_EQ(result->settings.runtime.plugins.size(), 2u);
    EXPECT_EQ(result->settings.runtime.plugins[0].settings.size(), 3u);
}

// Spec.   What is wrong in each file is said at once; twice in one file is wrong, once in each is not.
TEST(DropIns, EachFileIsChecked) {
    const auto result = configure({{"[log]\nlevle = debug\n", "umbel.conf"},
                                   {"[log]\nlevel = loud\n", "conf.d/1.conf"},
                                   {"[log]\nformat = json\nformat = json\n", "conf.d/2.conf"}},
                                  {}, four_cpus);
    ASSERT_FALSE(result);
    EXPECT_THAT(result.error(), testing::UnorderedElementsAre(
                                    HasSubstr("umbel.conf:2: log.levle: there is no such setting"),
                                    HasSubstr("conf.d/1.conf:2: log.level: \"loud\""),
                                    HasSubstr("conf.d/2.conf:3: \"format\" was set before, at conf.d/2.conf:2")));
}

TEST(DropIns, LieBesideTheFile) {
    EXPECT_EQ(drop_in_folder("/etc/umbel/umbel.conf"), "/etc/umbel/conf.d");
    EXPECT_EQ(drop_in_folder("config/umbel.conf"), "config/conf.d");
    EXPECT_EQ(drop_in_folder("umbel.conf"), "conf.d");
}

// Spec.   A change is a value that means something else, with old, new and place; whether it needs a restart is the table's word.
TEST(Differences, AreWhatMeansSomethingElse) {
    const auto running = configured("[log]\nlevel = info\n[actors]\nmemory_limit = 4MiB\n[plugin.a]\nx = 1\ny = 1\n");
    const auto wanted = configured(
        "[log]\nlevel = debug\n[actors]\nmemory_limit = 4096KiB\nmax = 7\n[plugin.a]\nx = 2\nz = 1\n[plugin.b]\nq = "
        "1\n");
    ASSERT_TRUE(running && wanted);
    std::vector<std::string> found;
    for (const SettingChange& change : differences(*running, *wanted)) {
        found.push_back(change.section + "." + change.key + ": " + change.before + " > " + change.after +
                        (change.needs_restart ? " restart" : ""));
    }
    EXPECT_THAT(found, ElementsAre("actors.max: 1000000 > 7 restart", "log.level: info > debug", "plugin.a.x: 1 > 2",
                                   "plugin.a.z: (not set) > 1", "plugin.a.y: 1 > (not set)"));
    EXPECT_THAT(differences(*wanted, *wanted), IsEmpty());
}

// Spec.   After a reload, what needs a restart is as before, so that the next reload says so again; the rest is as wanted.
TEST(Differences, WhatRunsAfterAReload) {
    const auto running = configured("[actors]\nmax = 5\n[plugin.a]\nx = 1\n[plugin.b]\nx = 1\n");
    const auto wanted =
        configured("[log]\nlevel = debug\n[actors]\nmax = 7\n[plugin.a]\nx = 2\n[plugin.b]\nx = 2\n[plugin.c]\n");
    ASSERT_TRUE(running && wanted);
    const Configuration after = running_after(*running, *wanted, {"b"});
    EXPECT_EQ(after.settings.log.level, rt::Level::debug);
    EXPECT_EQ(after.settings.runtime.actors.max, 5u);
    EXPECT_EQ(effective(after, "actors", "max").value, "5");
    ASSERT_EQ(after.settings.runtime.plugins.size(), 3u);
    EXPECT_EQ(after.settings.runtime.plugins[0].settings[0].value, "2");
    EXPECT_EQ(after.settings.runtime.plugins[1].settings[0].value, "1");
    std::vector<std::string> left;
    for (const SettingChange& change : differences(after, *wanted)) left.push_back(change.section + "." + change.key);
    EXPECT_THAT(left, ElementsAre("actors.max", "plugin.b.x"));
}

}  // namespace
}  // namespace umbel::config
