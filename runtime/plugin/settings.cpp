#include "runtime/plugin/settings.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/quantity.h"

namespace umbel::rt {
namespace {

using Value = umbel_settings::Value;

constexpr std::string_view type_name(std::uint32_t type) {
    switch (type) {
        case UMBEL_SETTING_TEXT:
            return "text";
        case UMBEL_SETTING_INTEGER:
            return "integer";
        case UMBEL_SETTING_FLAG:
            return "flag";
        case UMBEL_SETTING_SIZE:
            return "size";
        case UMBEL_SETTING_DURATION:
            return "duration";
        case UMBEL_SETTING_FOLDER:
            return "folder";
        case UMBEL_SETTING_ADDRESS:
            return "address";
        case UMBEL_SETTING_LISTEN:
            return "address or systemd:NAME";
        default:
            return "";
    }
}

constexpr bool is_textual(std::uint32_t type) {
    return type == UMBEL_SETTING_TEXT || type == UMBEL_SETTING_FOLDER || type == UMBEL_SETTING_ADDRESS ||
           type == UMBEL_SETTING_LISTEN;
}

constexpr bool has_range(const umbel_setting& row) {
    return row.min < row.max &&
           (row.type == UMBEL_SETTING_INTEGER || row.type == UMBEL_SETTING_SIZE || row.type == UMBEL_SETTING_DURATION);
}

constexpr bool is_snake_case(std::string_view name) {
    const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
    return !name.empty() && is_letter(name.front()) &&
           std::ranges::all_of(name, [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

// A number as it is written for a setting of this type.
std::string written(std::uint32_t type, std::int64_t number) {
    if (type == UMBEL_SETTING_SIZE)
        return to_text(Bytes{static_cast<std::uint64_t>(std::max<std::int64_t>(number, 0))});
    if (type == UMBEL_SETTING_DURATION) return to_text(Nanoseconds(number));
    return std::to_string(number);
}

std::string range_text(const umbel_setting& row) {
    return written(row.type, row.min) + " to " + written(row.type, row.max);
}

// `umbel.conf:12: plugin.http.root: …`; without a key, of the section.
std::unexpected<Error> refuse(const PluginOptions& plugin, std::string_view origin, std::string_view key,
                              std::string_view cause) {
    std::string message;
    if (!origin.empty()) message.append(origin).append(": ");
    message.append("plugin.").append(plugin.name);
    if (!key.empty()) message.append(".").append(key);
    message.append(": ").append(cause);
    return fail(ErrorClass::configuration, std::move(message));
}

// Below, a std::string in an `expected` is the cause and remedy of an error: refuse() says whose.

std::expected<std::int64_t, std::string> read_number(const umbel_setting& row, std::string_view text) {
    const auto cause = [](const auto& failed) { return std::unexpected(failed.error().message); };
    std::int64_t number = 0;
    if (row.type == UMBEL_SETTING_FLAG) {
        const auto flag = parse_flag(text);
        if (!flag) return cause(flag);
        number = *flag ? 1 : 0;
    } else if (row.type == UMBEL_SETTING_SIZE) {
        const auto size = parse_bytes(text);
        if (!size) return cause(size);
        if (size->count > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            return std::unexpected(quotation(text) + " is too large for a size (write a smaller one)");
        }
        number = static_cast<std::int64_t>(size->count);
    } else if (row.type == UMBEL_SETTING_DURATION) {
        const auto duration = parse_duration(text);
        if (!duration) return cause(duration);
        number = duration->count();
    } else {
        const auto integer = parse_integer(text);
        if (!integer) return cause(integer);
        number = *integer;
    }
    if (has_range(row) && (number < row.min || number > row.max)) {
        const std::string_view side = number < row.min ? " is too small" : " is too large";
        return std::unexpected(quotation(text).append(side).append(" (write ").append(range_text(row)).append(")"));
    }
    return number;
}

std::expected<std::string, std::string> read_folder(const std::string& text) {
    if (text.empty()) return std::unexpected(std::string("no folder is named (write the path of an existing folder)"));
    char* const resolved = ::realpath(text.c_str(), nullptr);
    if (resolved == nullptr) {
        const int error = errno;
        const std::string_view remedy = error == ENOENT   ? "create it, or name another folder"
                                        : error == EACCES ? "let the daemon's user enter the folders on the way to it"
                                                          : "name another folder";
        return std::unexpected(quotation(text, PATH_MAX)
                                   .append(": ")
                                   .append(std::strerror(error))
                                   .append(" (")
                                   .append(remedy)
                                   .append(")"));
    }
    std::string path(resolved);
    std::free(resolved);
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
        return std::unexpected(quotation(text, PATH_MAX) + " is not a folder (name the folder that holds it)");
    }
    if (::access(path.c_str(), X_OK) != 0) {
        return std::unexpected(quotation(text, PATH_MAX) + ": " + std::strerror(errno) +
                               " (let the daemon's user enter it)");
    }
    return path;  // I2
}

bool is_address(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return false;
    const std::string_view port = text.substr(colon + 1);
    if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string_view::npos) return false;
    if (std::stoul(std::string(port)) > 65535) return false;
    std::string_view host = text.substr(0, colon);
    std::array<unsigned char, sizeof(in6_addr)> parsed{};
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
        return ::inet_pton(AF_INET6, std::string(host).c_str(), parsed.data()) == 1;
    }
    return ::inet_pton(AF_INET, std::string(host).c_str(), parsed.data()) == 1;
}

constexpr std::string_view passed_prefix = "systemd:";

// NAME of `systemd:NAME` follows systemd's rules for FileDescriptorName=.
bool is_listener_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 &&
           std::ranges::all_of(name, [](char c) { return c > 0x20 && c < 0x7f && c != ':'; });
}

// `text` may be empty where the default is: then a folder or an address is not set.
std::expected<std::string, std::string> read_text(const umbel_setting& row, const std::string& text) {
    if (text.find('\0') != std::string::npos) {
        return std::unexpected(quotation(text) + " contains a zero byte (remove it)");  // I3
    }
    const bool may_be_empty = row.default_value != nullptr && *row.default_value == '\0';
    if (row.type == UMBEL_SETTING_TEXT || (text.empty() && may_be_empty)) return text;
    if (row.type == UMBEL_SETTING_FOLDER) return read_folder(text);
    const bool may_be_passed = row.type == UMBEL_SETTING_LISTEN;
    if (may_be_passed && text.starts_with(passed_prefix)) {
        if (is_listener_name(std::string_view(text).substr(passed_prefix.size()))) return text;
        return std::unexpected(
            quotation(text) +
            " names no socket (write systemd:NAME, NAME being the FileDescriptorName= of a .socket unit: "
            "1 to 255 printable characters without spaces and colons)");
    }
    if (!is_address(text)) {
        return std::unexpected(
            quotation(text) +
            " is not an address (write IPv4:port or [IPv6]:port, without names: 127.0.0.1:8080 or [::1]:8080" +
            (may_be_passed ? "; or systemd:NAME for a socket that systemd passes)" : ")"));
    }
    return text;
}

std::expected<Value, std::string> read_value(const umbel_setting& row, const std::string& text) {
    Value value{row.name, row.type, {}, 0};
    if (is_textual(row.type)) {
        auto read = read_text(row, text);
        if (!read) return std::unexpected(std::move(read.error()));
        value.text = std::move(*read);
    } else {
        const auto read = read_number(row, text);
        if (!read) return std::unexpected(read.error());
        value.number = *read;
    }
    return value;
}

// What is wrong with a row, or "". `earlier`: the rows before it.
std::string flaw_of(const umbel_setting& row, std::span<const umbel_setting> earlier) {
    if (!is_snake_case(row.name)) return "its name is not in snake_case";
    if (std::string_view(row.name) == "path") return "the name is taken: `path` names the plugin's file";
    for (const umbel_setting& other : earlier) {
        if (std::strcmp(other.name, row.name) == 0) return "it is declared twice";
    }
    if (type_name(row.type).empty()) return "its type " + std::to_string(row.type) + " is not one of UMBEL_SETTING_…";
    if (row.required > 1) return "`required` is " + std::to_string(row.required) + ", neither 0 nor 1";
    if (row.min > row.max) return "its minimum is above its maximum";
    if (row.required == 1) return row.default_value == nullptr ? "" : "it is required and has a default";
    if (row.default_value == nullptr) return "it is neither required nor has a default";
    // Whether a folder exists matters only if it is used.
    if (row.type == UMBEL_SETTING_FOLDER) return "";
    const auto value = read_value(row, row.default_value);
    return value ? "" : "its default does not fit: " + value.error();
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    // row[j]: the distance of the part of `a` seen so far from the first j letters of `b`.
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 0; i < a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < b.size(); ++j) {
            const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

std::string unknown_key(std::string_view key, std::span<const umbel_setting> table) {
    std::string cause = "unknown key (";
    if (table.empty()) return cause + "this plugin has no settings)";
    std::vector<std::string_view> names;
    for (const umbel_setting& row : table) names.emplace_back(row.name);
    if (const std::string_view meant = nearest_name(key, names); !meant.empty()) {
        cause.append("did you mean ").append(meant).append("? ");
    }
    cause += "Known: ";
    for (std::size_t i = 0; i < names.size(); ++i) cause.append(i == 0 ? "" : ", ").append(names[i]);
    return cause + ")";
}

[[noreturn]] void plugin_error(std::string_view plugin, std::string_view key, const char* what) {
    std::fprintf(stderr, "umbeld: plugin %.*s asked for its setting \"%.*s\" %s\n", static_cast<int>(plugin.size()),
                 plugin.data(), static_cast<int>(key.size()), key.data(), what);
    std::abort();
}

}  // namespace

std::string_view nearest_name(std::string_view written, std::span<const std::string_view> known) {
    std::string_view nearest;
    std::size_t least = std::max<std::size_t>(1, written.size() / 3) + 1;
    if (written.size() > 128) return nearest;  // Nobody mistypes that; keeps the cost bounded.
    for (const std::string_view name : known) {
        const std::size_t distance = edit_distance(written, name);
        if (distance < least) {
            least = distance;
            nearest = name;
        }
    }
    return nearest;
}

Result<void> check_setting_table(const PluginOptions& plugin, std::span<const umbel_setting> table) {
    constexpr std::string_view remedy = " (an error of the plugin: correct its table of settings)";
    for (std::size_t i = 0; i < table.size(); ++i) {
        std::string flaw = table[i].name == nullptr ? "it has no name" : flaw_of(table[i], table.first(i));
        if (flaw.empty()) continue;
        std::string whose = "its setting " + std::to_string(i + 1);
        if (table[i].name != nullptr) whose.append(", ").append(quotation(table[i].name)).append(",");
        return refuse(plugin, plugin.origin, "", whose.append(" is declared wrongly: ").append(flaw).append(remedy));
    }
    return {};
}

Result<std::unique_ptr<const umbel_settings>> check_settings(const PluginOptions& plugin,
                                                             std::span<const umbel_setting> table) {
    if (auto checked = check_setting_table(plugin, table); !checked) return std::unexpected(checked.error());
    std::vector<const PluginSetting*> given(table.size(), nullptr);  // for each row, its line
    for (const PluginSetting& line : plugin.settings) {
        const auto row =
            std::ranges::find_if(table, [&](const umbel_setting& known) { return line.key == known.name; });
        if (row == table.end()) return refuse(plugin, line.origin, line.key, unknown_key(line.key, table));
        const PluginSetting*& slot = given[static_cast<std::size_t>(row - table.begin())];
        if (slot != nullptr) {
            const std::string where = slot->origin.empty() ? "" : " at " + slot->origin;
            return refuse(plugin, line.origin, line.key, "is already set" + where + " (remove one of the two)");
        }
        slot = &line;
    }
    std::vector<Value> values;
    for (std::size_t i = 0; i < table.size(); ++i) {
        const umbel_setting& row = table[i];
        if (given[i] == nullptr && row.required == 1) {
            std::string cause = "is required and not set (add `";
            cause.append(row.name).append(" = …`, ").append(type_name(row.type));
            if (row.description != nullptr) cause.append(": ").append(row.description);
            return refuse(plugin, plugin.origin, row.name, cause.append(")"));
        }
        auto value = read_value(row, given[i] != nullptr ? given[i]->value : std::string(row.default_value));
        if (!value) {
            const bool is_default = given[i] == nullptr;
            return refuse(plugin, is_default ? plugin.origin : given[i]->origin, row.name,
                          (is_default ? "the default " : "") + value.error());
        }
        values.push_back(std::move(*value));  // I1
    }
    auto settings = std::make_unique<const umbel_settings>(plugin.name, std::move(values));
    settings->check_invariants();
    return settings;
}

std::vector<std::string> describe_settings(std::span<const umbel_setting> table) {
    std::vector<std::string> lines;
    for (const umbel_setting& row : table) {
        std::string line(row.name);
        line.append(": ").append(type_name(row.type));
        if (row.required == 1) {
            line += ", required";
        } else {
            line.append(", default ").append(*row.default_value == '\0' ? "empty" : row.default_value);
        }
        if (has_range(row)) line.append(", ").append(range_text(row));
        if (row.description != nullptr && *row.description != '\0') line.append(": ").append(row.description);
        lines.push_back(std::move(line));
    }
    return lines;
}

const char* setting_text(const umbel_settings* settings, const char* name) {
    if (settings == nullptr || name == nullptr)
        plugin_error("?", name == nullptr ? "" : name, "through a null pointer");
    return settings->text(name);
}

std::int64_t setting_number(const umbel_settings* settings, const char* name) {
    if (settings == nullptr || name == nullptr)
        plugin_error("?", name == nullptr ? "" : name, "through a null pointer");
    return settings->number(name);
}

}  // namespace umbel::rt

umbel_settings::umbel_settings(std::string plugin, std::vector<Value> values)
    : plugin_(std::move(plugin)), values_(std::move(values)) {}

const umbel_settings::Value& umbel_settings::find(std::string_view name, bool textual) const {
    const auto value = std::ranges::find(values_, name, &Value::name);
    if (value == values_.end()) umbel::rt::plugin_error(plugin_, name, "which it does not declare");
    if (umbel::rt::is_textual(value->type) != textual) {
        umbel::rt::plugin_error(
            plugin_, name,
            textual ? "as a text, but declares it as a number" : "as a number, but declares it as a text");
    }
    return *value;
}

const char* umbel_settings::text(std::string_view name) const { return find(name, true).text.c_str(); }

std::int64_t umbel_settings::number(std::string_view name) const { return find(name, false).number; }

std::vector<std::pair<std::string, std::string>> umbel_settings::wanted_listeners() const {
    std::vector<std::pair<std::string, std::string>> wanted;
    for (const Value& value : values_) {
        if (value.type != UMBEL_SETTING_LISTEN || !value.text.starts_with(umbel::rt::passed_prefix)) continue;
        wanted.emplace_back(value.name, value.text.substr(umbel::rt::passed_prefix.size()));
    }
    return wanted;
}

void umbel_settings::check_invariants() const {
    for (const Value& value : values_) {
        CHECK(!umbel::rt::type_name(value.type).empty());                                              // I1
        CHECK(std::ranges::count(values_, value.name, &Value::name) == 1);                             // I1
        CHECK(umbel::rt::is_textual(value.type) ? value.number == 0 : value.text.empty());             // I1
        CHECK(value.type != UMBEL_SETTING_FOLDER || value.text.empty() || value.text.front() == '/');  // I2
        CHECK(value.text.find('\0') == std::string::npos);                                             // I3
    }
}
