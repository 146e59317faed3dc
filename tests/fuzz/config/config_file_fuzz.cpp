// Fuzzes config_file.h and configuration.h: the input is a config file.
//
// Whatever the bytes: entries or problems, each problem one printable line that begins with a place; what is accepted
// can be dumped, and the dump gives the same values (configuration.h, I2).
#include "config/config_file.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string_view>
#include <utility>

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

    const Machine machine{{0, 1}, 2, {}};
    const auto first = configure(text, "f", {}, machine);
    if (!first) {
        CHECK(!first.error().empty());
        for (const std::string& problem : first.error()) {
            CHECK(problem.contains(": "));
            for (const char c : problem) CHECK(static_cast<unsigned char>(c) >= 0x20);
        }
        return 0;
    }
    CHECK(file.problems.empty());
    const auto second = configure(dump(*first), "f", {}, machine);
    CHECK(second.has_value());
    CHECK(second->effective.size() == first->effective.size());
    for (std::size_t i = 0; i < first->effective.size(); ++i) {
        CHECK(second->effective[i].section == first->effective[i].section);
        CHECK(second->effective[i].key == first->effective[i].key);
        CHECK(second->effective[i].value == first->effective[i].value);
    }
    return 0;
}
