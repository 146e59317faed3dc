// Fuzzes config_file.h and configuration.h: the input is a config file, or several with a line "%%" between two: the first
// is the file, the others are its drop-ins.
//
// Whatever the bytes: entries or problems, each problem one printable line that begins with a place; what is accepted
// can be dumped, and the dump gives the same values (configuration.h, I2).
#include "config/config_file.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/configuration.h"
#include "runtime/base/check.h"

using namespace umbel::config;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const ConfigFile file = parse_config_file(text, "f");
    std::set<std::pair<std::string, std::string>> keys;
    for (const FileEntry& entry : file.entries) {
        CHECK(!entry.section.empty());
        CHECK(!entry.key.empty());
        CHECK(entry.origin.starts_with("f:"));
        CHECK(unwritable(entry.value).empty());
        CHECK(keys.emplace(entry.section, entry.key).second);  // I2 of config_file.h
    }
    std::set<std::string> heads;
    for (const SectionHead& head : file.heads) CHECK(heads.insert(head.name).second);  // I2 of config_file.h

    std::vector<SourceText> sources;
    std::vector<ConfigFile> files;
    for (std::string_view rest = text;;) {
        const std::size_t end = rest.find("\n%%\n");
        sources.push_back({std::string(rest.substr(0, end)), "f" + std::to_string(sources.size())});
        files.push_back(parse_config_file(sources.back().text, sources.back().file));
        if (end == std::string_view::npos || sources.size() == 8) break;
        rest.remove_prefix(end + 4);
    }

    const Machine machine{{0, 1}, 2, {}};
    const auto first = configure(sources, {}, machine);
    if (!first) {
        CHECK(!first.error().empty());
        for (const std::string& problem : first.error()) {
            CHECK(problem.contains(": "));
            for (const char c : problem) CHECK(static_cast<unsigned char>(c) >= 0x20);
        }
        return 0;
    }
    for (const ConfigFile& read : files) CHECK(read.problems.empty());
    // An independent witness of which file wins: the last one that has the key.
    for (const EffectiveSetting& setting : first->effective) {
        std::string origin = "default";
        for (const ConfigFile& read : files) {
            for (const FileEntry& entry : read.entries) {
                if (entry.section == setting.section && entry.key == setting.key) origin = entry.origin;
            }
        }
        CHECK(setting.origin == origin);
    }
    CHECK(differences(*first, *first).empty());
    const auto second = configure(dump(*first), "f", {}, machine);
    CHECK(second.has_value());
    CHECK(second->effective.size() == first->effective.size());
    for (std::size_t i = 0; i < first->effective.size(); ++i) {
        CHECK(second->effective[i].section == first->effective[i].section);
        CHECK(second->effective[i].key == first->effective[i].key);
        CHECK(second->effective[i].value == first->effective[i].value);
    }
    CHECK(differences(*first, *second).empty());
    return 0;
}
