#include "config/configuration.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "config/config_file.h"
#include "config/option_table.h"
#include "runtime/base/quantity.h"

namespace umbel::config {

namespace {

constexpr std::string_view command_line = "command line";
constexpr std::string_view plugin_prefix = "plugin.";
constexpr std::size_t max_file_bytes = 1 << 20;

std::string error_text(int error) { return std::system_category().message(error); }

/// One value where it counts: the last one written, with its place.
struct Written {
    std::string value;
    std::string origin;
};

struct Plugin {
    std::string name;
    std::string origin;
    std::vector<std::pair<std::string, Written>> keys;  // in the order written
};

class Builder {
public:
    explicit Builder(const Machine& machine) : machine_(machine) {}

    void read(ConfigFile file) {
        for (std::string& problem : file.problems) problems_.push_back(std::move(problem));
        for (const SectionHead& head : file.heads) read_head(head);
        for (const FileEntry& entry : file.entries) read_entry(entry);
    }

    void read(const Assignment& assignment) {
        if (const std::string wrong = unwritable(assignment.value); !wrong.empty()) {
            problem(command_line, assignment.key, wrong);
        } else if (!assignment.key.starts_with(plugin_prefix)) {
            if (known(assignment.key, command_line)) {
                written_[assignment.key] = {assignment.value, std::string(command_line)};
            }
        } else {
            read_plugin_assignment(assignment);
        }
    }

    std::expected<Configuration, Problems> build() {
        store_values();
        resolve_executors();
        check_rings_and_memory();
        resolve_plugins();
        check_log_levels();
        if (!problems_.empty()) return std::unexpected(std::move(problems_));
        return std::move(result_);
    }

private:
    void problem(std::string_view origin, std::string_view key, std::string_view message) {
        problems_.push_back(std::string(origin) + ": " + printable(key) + ": " + std::string(message));
    }
    /// A problem of a setting's effective value.
    void problem(std::string_view key, std::string_view message) { problem(origin_of(key), key, message); }
    void warn(std::string_view key, std::string_view message) {
        result_.warnings.push_back(origin_of(key) + ": " + std::string(key) + ": " + std::string(message));
    }

    /// A key as it is if it is a name, else quoted: nothing written may break a message.
    static std::string printable(std::string_view key) {
        const bool plain = !key.empty() && std::ranges::all_of(key, [](char c) {
            return is_name(std::string_view(&c, 1)) || c == '.';
        });
        return plain && key.size() <= 200 ? std::string(key) : rt::quotation(key);
    }

    [[nodiscard]] std::string origin_of(std::string_view key) const {
        const auto found = written_.find(std::string(key));
        return found == written_.end() ? "default" : found->second.origin;
    }

    /// A setting and its place, for a message about another one.
    [[nodiscard]] std::string with_origin(std::string_view key) const {
        return std::string(key) + " (" + origin_of(key) + ")";
    }

    bool known(const std::string& key, std::string_view origin) {
        if (find_option(key) != nullptr) return true;
        std::vector<std::string> keys;
        std::vector<std::string> names;
        for (const OptionDescription& option : option_table()) {
            keys.emplace_back(option.key);
            names.emplace_back(option.name());
        }
        // A right name in the wrong section, or in none, is meant more likely than a similar key.
        std::string meant;
        const std::string name = key.substr(std::min(key.find('.') + 1, key.size()));
        if (const auto same = std::ranges::find(names, name); same != names.end()) {
            meant = keys[static_cast<std::size_t>(same - names.begin())];
        } else {
            meant = nearest(key, keys);
        }
        problem(origin, key, "there is no such setting" + (meant.empty() ? "" : "; did you mean " + meant + "?"));
        return false;
    }

    void read_head(const SectionHead& head) {
        if (head.name.starts_with(plugin_prefix)) {
            const std::string name = head.name.substr(plugin_prefix.size());
            if (!is_name(name)) {
                problems_.push_back(head.origin + ": " + rt::quotation(name) +
                                    " cannot be a plugin's name: letters, digits, _ and -, at most 63");
                return;
            }
            plugin_of(name, head.origin);
            return;
        }
        std::vector<std::string> sections;
        for (const OptionDescription& option : option_table()) {
            if (sections.empty() || sections.back() != option.section()) sections.emplace_back(option.section());
        }
        if (std::ranges::find(sections, head.name) != sections.end()) return;
        unknown_sections_.insert(head.name);
        const std::string meant = nearest(head.name, sections);
        problems_.push_back(head.origin + ": there is no section " + rt::quotation(head.name) +
                            (meant.empty() ? "; a plugin's is [plugin.NAME]" : "; did you mean [" + meant + "]?"));
    }

    void read_entry(const FileEntry& entry) {
        if (unknown_sections_.contains(entry.section)) return;  // Said once, at its head.
        if (entry.section.starts_with(plugin_prefix)) {
            const std::string name = entry.section.substr(plugin_prefix.size());
            if (is_name(name)) set_plugin_key(plugin_of(name, entry.origin), entry.key, {entry.value, entry.origin});
            return;
        }
        const std::string key = entry.section + "." + entry.key;
        if (known(key, entry.origin)) written_[key] = {entry.value, entry.origin};
    }

    void read_plugin_assignment(const Assignment& assignment) {
        const std::string_view rest = std::string_view(assignment.key).substr(plugin_prefix.size());
        const std::size_t dot = rest.find('.');
        const std::string name(rest.substr(0, dot));
        if (dot == std::string_view::npos || !is_name(name)) {
            problem(command_line, assignment.key, "a plugin's setting is written plugin.NAME.KEY");
            return;
        }
        set_plugin_key(plugin_of(name, std::string(command_line)), std::string(rest.substr(dot + 1)),
                       {assignment.value, std::string(command_line)});
    }

    Plugin& plugin_of(const std::string& name, const std::string& origin) {
        const auto found = std::ranges::find(plugins_, name, &Plugin::name);
        if (found != plugins_.end()) return *found;
        plugins_.push_back({name, origin, {}});
        return plugins_.back();
    }

    void set_plugin_key(Plugin& plugin, const std::string& key, Written value) {
        if (!is_name(key)) {
            problem(value.origin, std::string(plugin_prefix) + plugin.name + "." + key,
                    "a key is letters, digits, _ and -, at most 63");
            return;
        }
        for (auto& [present, written] : plugin.keys) {
            if (present != key) continue;
            written = std::move(value);
            return;
        }
        plugin.keys.emplace_back(key, std::move(value));
    }

    void store_values() {
        for (const OptionDescription& option : option_table()) {
            const auto found = written_.find(std::string(option.key));
            const std::string value = found == written_.end() ? std::string(option.default_value) : found->second.value;
            if (const auto checked = parse_value(option, value)) {
                option.store(*checked, result_.settings);
            } else {
                problem(option.key, checked.error().message);
                broken_.insert(std::string(option.key));
            }
            result_.effective.push_back(
                {std::string(option.section()), std::string(option.name()), value, origin_of(option.key), ""});
        }
    }

    /// Whether each of these could be read: only then is it worth comparing them.
    [[nodiscard]] bool sound(std::initializer_list<const char*> keys) const {
        return std::ranges::none_of(keys, [&](const char* key) { return broken_.contains(key); });
    }

    void note(std::string_view section, std::string_view key, const std::string& text) {
        for (EffectiveSetting& setting : result_.effective) {
            if (setting.section == section && setting.key == key) setting.note = text;
        }
    }

    void resolve_executors() {
        rt::ExecutorOptions& executors = result_.settings.runtime.executors;
        if (!sound({"executors.count", "executors.cpus"})) return;
        const bool listed = !executors.cpus.empty();
        for (const int cpu : executors.cpus) {
            if (std::ranges::find(machine_.allowed_cpus, cpu) != machine_.allowed_cpus.end()) continue;
            problem("executors.cpus",
                    "CPU " + std::to_string(cpu) +
                        (cpu < machine_.configured_cpus
                             ? " is not allowed to this process (taskset, a cpuset, the service's CPUAffinity= or "
                               "AllowedCPUs=)"
                             : " does not exist") +
                        "; allowed: " + rt::to_text(machine_.allowed_cpus));
        }
        if (!listed) {
            executors.cpus = machine_.allowed_cpus;
            note("executors", "cpus", "here: " + rt::to_text(executors.cpus));
        }
        if (executors.count == 0) {
            if (executors.cpus.size() > rt::max_executors) {
                if (listed) {
                    problem("executors.cpus", "it lists " + std::to_string(executors.cpus.size()) + " CPUs; at most " +
                                                  std::to_string(rt::max_executors) + " executors can run");
                    return;
                }
                executors.cpus.resize(rt::max_executors);
            }
            executors.count = std::max<std::size_t>(1, executors.cpus.size());
            note("executors", "count", "here: " + std::to_string(executors.count));
        } else if (executors.count > executors.cpus.size()) {
            warn("executors.count", std::to_string(executors.count) + " executors share " +
                                        std::to_string(executors.cpus.size()) + " CPUs (" +
                                        rt::to_text(executors.cpus) + ") and wait for each other");
        } else if (listed && executors.count < executors.cpus.size()) {
            warn("executors.cpus", "it lists " + std::to_string(executors.cpus.size()) + " CPUs, but " +
                                       with_origin("executors.count") + " is " + std::to_string(executors.count) +
                                       ": only the first ones are used");
        }
    }

    void check_rings_and_memory() {
        const rt::ExecutorOptions& executors = result_.settings.runtime.executors;
        const rt::ActorOptions& actors = result_.settings.runtime.actors;
        if (sound({"executors.ring_entries", "executors.completion_entries"}) &&
            executors.completion_entries < executors.ring_entries) {
            problem("executors.completion_entries", std::to_string(executors.completion_entries) + " is under " +
                                                        with_origin("executors.ring_entries") + ", which is " +
                                                        std::to_string(executors.ring_entries));
        }
        if (sound({"executors.buffer_count"}) && executors.buffer_count != 0) {
            power_of_two("executors.buffer_count", executors.buffer_count,
                         [](std::uint64_t value) { return std::to_string(value); });
        }
        if (!sound({"actors.memory_limit"})) return;
        power_of_two("actors.memory_limit", actors.memory_limit.count,
                     [](std::uint64_t value) { return rt::to_text(rt::Bytes{value}); });
        if (sound({"actors.stack_size"}) && actors.stack_size > actors.memory_limit / 2) {
            problem("actors.stack_size", rt::to_text(actors.stack_size) + " is over " +
                                             rt::to_text(actors.memory_limit / 2) + ", half of " +
                                             with_origin("actors.memory_limit"));
        }
    }

    void power_of_two(std::string_view key, std::uint64_t value, std::string (*text)(std::uint64_t)) {
        if (std::has_single_bit(value)) return;
        problem(key, text(value) + " is no power of two; the nearest are " + text(std::bit_floor(value)) + " and " +
                         text(std::bit_ceil(value)));
    }

    void resolve_plugins() {
        namespace fs = std::filesystem;
        std::string& folder = result_.settings.daemon.plugin_dir;
        std::error_code error;
        if (folder.empty()) {
            for (const std::string& candidate : machine_.plugin_folders) {
                if (!folder.empty() && fs::is_directory(folder, error)) break;
                folder = candidate;
            }
            if (!folder.empty()) note("daemon", "plugin_dir", "here: " + folder);
        } else if (!fs::is_directory(folder, error)) {
            problem("daemon.plugin_dir",
                    rt::quotation(folder) + " is not a folder" + (error ? " (" + error.message() + ")" : ""));
        }
        for (const Plugin& plugin : plugins_) {
            rt::PluginOptions options{plugin.name, plugin.name + ".so", plugin.origin, {}};
            const std::string section = std::string(plugin_prefix) + plugin.name;
            std::string path_origin = "default";
            for (const auto& [key, written] : plugin.keys) {
                if (key == "path") {
                    options.path = written.value;
                    options.origin = path_origin = written.origin;
                    if (written.value.empty()) {
                        problem(written.origin, section + ".path",
                                "a path is wanted; leave the line out for " + plugin.name + ".so");
                    }
                } else {
                    options.settings.push_back({key, written.value, written.origin});
                }
            }
            EffectiveSetting path{section, "path", options.path, path_origin, ""};
            if (!fs::path(options.path).is_absolute()) {
                options.path = (fs::path(folder.empty() ? "." : folder) / options.path).string();
                path.note = "here: " + options.path;
            }
            result_.effective.push_back(std::move(path));
            for (const rt::PluginSetting& setting : options.settings) {
                result_.effective.push_back({section, setting.key, setting.value, setting.origin, ""});
            }
            result_.settings.runtime.plugins.push_back(std::move(options));
        }
        if (plugins_.empty()) result_.warnings.emplace_back("there is no section [plugin.NAME]: nothing will run");
    }

    /// Not wrong: a plugin may be added later. But more likely a slip.
    void check_log_levels() {
        std::vector<std::string> modules{"daemon", "runtime"};
        for (const Plugin& plugin : plugins_) modules.push_back(plugin.name);
        for (const ModuleLevel& one : result_.settings.log.levels) {
            if (std::ranges::find(modules, one.module) != modules.end()) continue;
            const std::string meant = nearest(one.module, modules);
            warn("log.levels", "there is no module " + one.module +
                                   (meant.empty() ? "; a module is daemon, runtime or a plugin's NAME"
                                                  : "; did you mean " + meant + "?"));
        }
    }

    const Machine& machine_;
    std::map<std::string, Written> written_;  // key → value and place, of the table's keys
    std::vector<Plugin> plugins_;
    std::set<std::string> unknown_sections_;
    std::set<std::string> broken_;  // keys whose value could not be read
    Problems problems_;
    Configuration result_;
};

}  // namespace

Machine this_machine(std::vector<std::string> plugin_folders) {
    Machine machine;
    machine.plugin_folders = std::move(plugin_folders);
    machine.configured_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_CONF));
    constexpr int most = rt::max_cpu + 1;
    std::array<cpu_set_t, most / CPU_SETSIZE> set{};
    if (::sched_getaffinity(0, sizeof set, set.data()) == 0) {
        for (int cpu = 0; cpu < most; ++cpu) {
            if (CPU_ISSET_S(static_cast<std::size_t>(cpu), sizeof set, set.data())) machine.allowed_cpus.push_back(cpu);
        }
    }
    return machine;
}

std::expected<Configuration, Problems> configure(std::string_view text, const std::string& file,
                                                 const std::vector<Assignment>& assignments, const Machine& machine) {
    return configure({{std::string(text), file}}, assignments, machine);
}

std::expected<Configuration, Problems> configure(const std::vector<SourceText>& sources,
                                                 const std::vector<Assignment>& assignments, const Machine& machine) {
    Builder builder(machine);
    for (const SourceText& source : sources) builder.read(parse_config_file(source.text, source.file));
    for (const Assignment& assignment : assignments) builder.read(assignment);
    return builder.build();
}

std::string drop_in_folder(const std::string& file) {
    return (std::filesystem::path(file).parent_path() / "conf.d").string();
}

namespace {

/// Reads a file of at most 1 MiB. The error: cause and remedy. named: how it came to be read, for the remedy.
std::expected<std::string, std::string> read_file(const std::string& file, const char* named) {
    const auto refuse = [](const std::string& why) { return std::unexpected(why); };
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return refuse("cannot be opened: " + error_text(errno) + "; " + named);
    struct Closer {
        int fd;
        ~Closer() { ::close(fd); }
    } const closer{fd};
    struct stat status{};
    if (::fstat(fd, &status) != 0) return refuse("cannot be read: " + error_text(errno));
    if (S_ISDIR(status.st_mode)) return refuse(std::string("is a folder; ") + named);
    std::string text;
    std::array<char, 16384> piece{};
    for (;;) {
        const ssize_t got = ::read(fd, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse("cannot be read: " + error_text(errno));
        if (got == 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(got));
        if (text.size() > max_file_bytes) return refuse("is larger than 1 MiB; that is no config file");
    }
}

/// The names of a folder's drop-ins, in order. Editors' and packagers' leavings (.x.conf, x.conf~, x.conf.dpkg-old) are none.
std::expected<std::vector<std::string>, std::string> drop_ins(const std::string& folder) {
    std::vector<std::string> names;
    std::error_code error;
    std::filesystem::directory_iterator entries(folder, error);
    if (error == std::errc::no_such_file_or_directory) return names;
    for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
        const std::string name = entries->path().filename().string();
        if (name.ends_with(".conf") && !name.starts_with('.')) names.push_back(name);
    }
    if (error) {
        return std::unexpected("cannot be read: " + error.message() +
                               "; it is the folder of drop-ins, and umbeld's user must be able to list it");
    }
    std::ranges::sort(names);
    return names;
}

bool same_value(const OptionDescription& option, const std::string& left, const std::string& right) {
    const auto a = parse_value(option, left);
    const auto b = parse_value(option, right);
    return a && b && *a == *b;
}

const EffectiveSetting* find_setting(const Configuration& in, const EffectiveSetting& like) {
    for (const EffectiveSetting& setting : in.effective) {
        if (setting.section == like.section && setting.key == like.key) return &setting;
    }
    return nullptr;
}

bool has_section(const Configuration& in, const std::string& section) {
    return std::ranges::find(in.effective, section, &EffectiveSetting::section) != in.effective.end();
}

}  // namespace

std::expected<Configuration, Problems> load_configuration(const std::string& file,
                                                          const std::vector<Assignment>& assignments,
                                                          const Machine& machine) {
    Problems problems;
    std::vector<SourceText> sources;
    const auto read = [&](const std::string& path, const char* named) {
        auto text = read_file(path, named);
        if (text) {
            sources.push_back({std::move(*text), path});
        } else {
            problems.push_back(path + ": " + text.error());
        }
    };
    read(file, "name the config file with --config FILE");
    const std::string folder = drop_in_folder(file);
    if (const auto names = drop_ins(folder)) {
        for (const std::string& name : *names) {
            read((std::filesystem::path(folder) / name).string(), "only files belong into the folder of drop-ins");
        }
    } else {
        problems.push_back(folder + ": " + names.error());
    }
    auto configuration = configure(sources, assignments, machine);
    if (problems.empty()) return configuration;
    if (!configuration) problems.insert(problems.end(), configuration.error().begin(), configuration.error().end());
    return std::unexpected(std::move(problems));
}

std::vector<SettingChange> differences(const Configuration& running, const Configuration& wanted) {
    std::vector<SettingChange> changes;
    for (const EffectiveSetting& after : wanted.effective) {
        const OptionDescription* option = find_option(after.section + "." + after.key);
        const EffectiveSetting* before = find_setting(running, after);
        if (option != nullptr) {
            if (before == nullptr || same_value(*option, before->value, after.value)) continue;
            changes.push_back({after.section, after.key, before->value, after.value, after.origin,
                               option->applies_at == AppliesAt::start});
        } else if (has_section(running, after.section) && (before == nullptr || before->value != after.value)) {
            changes.push_back({after.section, after.key, before == nullptr ? "(not set)" : before->value, after.value,
                               after.origin, false});
        }
    }
    for (const EffectiveSetting& before : running.effective) {
        if (!has_section(wanted, before.section) || find_setting(wanted, before) != nullptr) continue;
        changes.push_back({before.section, before.key, before.value, "(not set)", before.origin, false});
    }
    return changes;
}

Configuration running_after(const Configuration& running, const Configuration& wanted,
                            const std::vector<std::string>& kept) {
    const auto is_kept = [&](std::string_view plugin) { return std::ranges::find(kept, plugin) != kept.end(); };
    Configuration result;
    result.warnings = wanted.warnings;
    result.settings = running.settings;
    for (const EffectiveSetting& setting : wanted.effective) {
        const OptionDescription* option = find_option(setting.section + "." + setting.key);
        if (option == nullptr) {
            if (!is_kept(std::string_view(setting.section).substr(plugin_prefix.size()))) {
                result.effective.push_back(setting);
            }
            continue;
        }
        const bool stays = option->applies_at == AppliesAt::start;
        const EffectiveSetting* before = find_setting(running, setting);
        const bool changed = before != nullptr && !same_value(*option, before->value, setting.value);
        result.effective.push_back(stays && changed ? *before : setting);
        if (stays) continue;
        if (const auto value = parse_value(*option, setting.value)) option->store(*value, result.settings);
    }
    // What an empty one means has been found out already.
    result.settings.daemon.plugin_dir = wanted.settings.daemon.plugin_dir;
    for (const EffectiveSetting& setting : running.effective) {
        if (find_option(setting.section + "." + setting.key) != nullptr) continue;
        if (is_kept(std::string_view(setting.section).substr(plugin_prefix.size())))
            result.effective.push_back(setting);
    }
    result.settings.runtime.plugins.clear();
    for (const rt::PluginOptions& plugin : wanted.settings.runtime.plugins) {
        const auto before = std::ranges::find(running.settings.runtime.plugins, plugin.name, &rt::PluginOptions::name);
        const bool as_before = is_kept(plugin.name) && before != running.settings.runtime.plugins.end();
        result.settings.runtime.plugins.push_back(as_before ? *before : plugin);
    }
    return result;
}

std::string dump(const Configuration& configuration) {
    std::string text;
    const std::string* section = nullptr;
    for (const EffectiveSetting& setting : configuration.effective) {
        if (section == nullptr || *section != setting.section) {
            text += (section == nullptr ? "[" : "\n[") + setting.section + "]\n";
            section = &setting.section;
        }
        text += setting.key + " = " + setting.value + "  # " + setting.origin +
                (setting.note.empty() ? "" : "; " + setting.note) + "\n";
    }
    return text;
}

}  // namespace umbel::config
