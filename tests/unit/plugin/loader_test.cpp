// Specification of loader.h. The plugins it opens are built from fixtures/.
#include "runtime/plugin/loader.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include "runtime/plugin/settings.h"

namespace umbel::rt {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string fixture(const std::string& name) { return std::string(UMBEL_FIXTURES "/") + name + ".so"; }

// The section [plugin.NAME] for a file; the fixtures require a greeting.
PluginOptions section(const std::string& name, const std::string& path) {
    return PluginOptions{name, path, "umbel.conf:3", {{"greeting", "hello", "umbel.conf:5"}}};
}

PluginOptions section_of(const std::string& name) { return section(name, fixture(name)); }

std::string message_of(const Error& error) {
    EXPECT_EQ(error.error_class, ErrorClass::configuration);
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    return error.message;
}

std::string refusal(const PluginOptions& options) {
    const auto opened = open_plugin(options);
    return opened ? "(opened)" : message_of(opened.error());
}

// The part of the host table that a plugin's load may use.
umbel_host host_table() {
    umbel_host host{};
    host.size = sizeof host;
    host.abi_version = UMBEL_ABI_VERSION;
    host.setting_text = setting_text;
    host.setting_number = setting_number;
    return host;
}

std::string load_refusal(const PluginOptions& options) {
    static const umbel_host host = host_table();
    const auto opened = open_plugin(options);
    if (!opened) return "(not opened) " + opened.error().message;
    const auto loaded = call_load(*opened, host);
    return loaded ? "(loaded)" : message_of(loaded.error());
}

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A folder of the test's own, in which each file is new: nothing that is mapped is ever rewritten.
class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "umbel-loader-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    [[nodiscard]] std::string path() const { return path_.string(); }

    [[nodiscard]] std::string file(std::string_view content) {
        const std::string name = (path_ / ("file" + std::to_string(++files_) + ".so")).string();
        std::ofstream(name, std::ios::binary) << content;
        return name;
    }

private:
    std::filesystem::path path_;
    int files_ = 0;
};

// Spec.   A plugin that fits is opened: its name is kept, its descriptor and settings are at hand.
TEST(Loader, OpensAPluginThatFits) {
    const auto opened = open_plugin(section_of("good"));
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_STREQ(opened->name, "good");
    EXPECT_STREQ(opened->descriptor->name, "fixture");
    EXPECT_STREQ(opened->descriptor->version, "1.2.3");
    EXPECT_STREQ(opened->descriptor->description, "");
    EXPECT_STREQ(opened->descriptor->main->name, "fixture");
    EXPECT_EQ(opened->settings->number("depth"), 3);
    EXPECT_EQ(opened->path, std::filesystem::canonical(fixture("good")).string());
    EXPECT_THAT(opened->setting_lines,
                ElementsAre("depth: integer, default 3, 1 to 9: how deep", "greeting: text, required: what is said"));
}

// Spec.   `load` gets the host table and the settings; 0 is success.
TEST(Loader, CallsLoadWithTheSettings) {
    EXPECT_EQ(load_refusal(section_of("good")), "(loaded)");
    PluginOptions other = section_of("good");
    other.settings.push_back({"depth", "4", "umbel.conf:6"});
    EXPECT_EQ(load_refusal(other), "umbel.conf:3: plugin.good: hello 4");
}

// Spec.   The settings are checked before the plugin is called, and messages point to their lines.
TEST(Loader, ChecksTheSettings) {
    PluginOptions unknown = section_of("good");
    unknown.settings.push_back({"greting", "hi", "umbel.conf:6"});
    EXPECT_EQ(refusal(unknown),
              "umbel.conf:6: plugin.good.greting: unknown key (did you mean greeting? Known: depth, greeting)");
    PluginOptions missing = section_of("good");
    missing.settings.clear();
    EXPECT_THAT(refusal(missing), StartsWith("umbel.conf:3: plugin.good.greeting: is required and not set"));
    EXPECT_THAT(refusal(section_of("bad_table")),
                AllOf(StartsWith("umbel.conf:3: plugin.bad_table: its setting 1, \"depth\", is declared wrongly: "),
                      HasSubstr("type 99")));
}

// Spec.   What `load` writes, returns or throws becomes one line.
TEST(Loader, ReportsWhatLoadSays) {
    EXPECT_EQ(load_refusal(section_of("refuses")), "umbel.conf:3: plugin.refuses: the moon is full (wait a week)");
    EXPECT_EQ(load_refusal(section_of("refuses_silently")),
              "umbel.conf:3: plugin.refuses_silently: load returned -5006 and no reason (see its documentation)");
    EXPECT_THAT(load_refusal(section_of("overlong_reason")),
                AllOf(HasSubstr(": xxxx"), ::testing::SizeIs(::testing::Lt(1200u))));
    PluginOptions throws = section_of("throws");
    throws.settings.clear();
    EXPECT_EQ(load_refusal(throws), "umbel.conf:3: plugin.throws: load threw an exception: no more paper");
    PluginOptions number = section_of("throws_a_number");
    number.settings.clear();
    EXPECT_EQ(load_refusal(number),
              "umbel.conf:3: plugin.throws_a_number: load threw something that is not a std::exception");
}

// Spec.   A file that is no library is refused before it is mapped, each kind with its own cause (I1).
TEST(Loader, RefusesWhatIsNoLibrary) {
    TemporaryFolder folder;
    const auto cause = [&](const std::string& path) { return refusal(section("x", path)); };
    const std::string missing = folder.path() + "/no.so";
    EXPECT_EQ(cause(missing), "umbel.conf:3: plugin.x.path: " + std::string("\"") + missing +
                                  "\" cannot be opened: No such file or directory (build or install the plugin, or "
                                  "correct the path; a relative one is searched in daemon.plugin_dir)");
    EXPECT_THAT(cause(folder.path()), HasSubstr("is a folder (name the .so file in it)"));
    EXPECT_THAT(cause("/dev/null"), HasSubstr("is not a regular file"));
    EXPECT_THAT(cause(""), HasSubstr("cannot be opened"));
    EXPECT_THAT(cause(folder.file("")), HasSubstr("is empty"));
    EXPECT_THAT(cause(folder.file("E")), HasSubstr("is not an ELF file"));
    EXPECT_THAT(cause(folder.file("#!/bin/sh\necho I am a plugin\n")), HasSubstr("is not an ELF file"));
    EXPECT_THAT(cause(folder.file("\x7f"
                                  "ELF")),
                HasSubstr("is truncated"));
    EXPECT_THAT(cause(folder.file(std::string("\x7f"
                                              "ELF") +
                                  std::string(8192, '\0'))),
                HasSubstr("32-bit"));
    EXPECT_THAT(cause(folder.file(std::string("\x7f"
                                              "ELF\2\1\1") +
                                  std::string(8192, '\0'))),
                HasSubstr("built for another machine"));
}

// Spec.   Every prefix of a plugin is refused as truncated; none crashes.
// Method. All lengths up to the end of the program headers, every page boundary, and the last byte.
TEST(Loader, RefusesEveryTruncation) {
    TemporaryFolder folder;
    const std::string whole = read_file(fixture("good"));
    ASSERT_GT(whole.size(), 8192u);
    const auto refuses = [&](std::size_t length) {
        EXPECT_THAT(refusal(section("x", folder.file(std::string_view(whole).substr(0, length)))),
                    HasSubstr("is truncated"))
            << length << " of " << whole.size() << " bytes";
    };
    for (std::size_t length = SELFMAG; length < sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr); ++length) refuses(length);
    for (std::size_t length = 4096; length < whole.size(); length += 4096) refuses(length);
    refuses(whole.size() - 1);
}

// Spec.   A stripped plugin, even without section headers, is checked by its segments: every prefix that loses a byte of
//         one is refused.
TEST(Loader, ChecksSegmentsWhereThereAreNoSections) {
    TemporaryFolder folder;
    std::string whole = read_file(fixture("second"));
    Elf64_Ehdr header{};
    std::memcpy(&header, whole.data(), sizeof header);
    header.e_shoff = 0;
    header.e_shnum = 0;
    header.e_shstrndx = 0;
    std::memcpy(whole.data(), &header, sizeof header);
    std::uint64_t end = 0;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment{};
        std::memcpy(&segment, whole.data() + header.e_phoff + i * sizeof segment, sizeof segment);
        end = std::max(end, segment.p_offset + segment.p_filesz);
    }
    ASSERT_LT(end, whole.size());
    for (std::uint64_t length = 4096; length < end; length += 4096) {
        EXPECT_THAT(refusal(section("x", folder.file(whole.substr(0, length)))), HasSubstr("is truncated")) << length;
    }
    EXPECT_THAT(refusal(section("x", folder.file(whole.substr(0, end - 1)))), HasSubstr("is truncated"));
    EXPECT_EQ(refusal(section("sectionless", folder.file(whole.substr(0, end)))), "(opened)");
}

// Spec.   Headers that contradict themselves, or point outside of the file, are refused, whatever their numbers.
// Method. One field of a good plugin at a time is set to a value that cannot be.
TEST(Loader, RefusesImpossibleHeaders) {
    TemporaryFolder folder;
    const std::string whole = read_file(fixture("good"));
    const auto check = [&](const std::function<void(Elf64_Ehdr&, Elf64_Phdr&)>& spoil) {
        std::string spoilt = whole;
        Elf64_Ehdr header{};
        Elf64_Phdr segment{};
        std::memcpy(&header, spoilt.data(), sizeof header);
        const std::uint64_t table = header.e_phoff;
        std::memcpy(&segment, spoilt.data() + table, sizeof segment);
        spoil(header, segment);
        std::memcpy(spoilt.data(), &header, sizeof header);
        std::memcpy(spoilt.data() + table, &segment, sizeof segment);
        const auto checked = check_library_file(folder.file(spoilt));
        return checked ? std::string("(accepted)") : checked.error();
    };
    constexpr std::uint64_t huge = ~std::uint64_t{0};
    EXPECT_EQ(check([](auto&, auto&) {}), "(accepted)");
    EXPECT_THAT(check([](auto& h, auto&) { h.e_type = ET_EXEC; }), HasSubstr("not a shared library, ELF type 2"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_type = ET_REL; }), HasSubstr("not a shared library, ELF type 1"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_machine = EM_S390; }), HasSubstr("another machine, ELF machine 22"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_ident[EI_DATA] = ELFDATA2MSB; }), HasSubstr("another machine"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_ident[EI_VERSION] = 9; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_ehsize = 1; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_phnum = 0; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_phnum = PN_XNUM; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_phnum = PN_XNUM - 1; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_phentsize = 8; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([&](auto& h, auto&) { h.e_phoff = huge; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([&](auto& h, auto&) { h.e_shoff = huge - 8; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_shentsize = 1; }), HasSubstr("is damaged"));
    EXPECT_THAT(check([](auto& h, auto&) { h.e_shnum = 65000; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([&](auto&, auto& s) { s.p_filesz = huge; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([&](auto&, auto& s) { s.p_offset = huge; }), HasSubstr("is truncated"));
    EXPECT_THAT(check([](auto&, auto& s) { s.p_memsz = 0; }), HasSubstr("is damaged"));
}

// Spec.   What the dynamic linker refuses is told with its cause and a remedy.
TEST(Loader, ExplainsTheDynamicLinker) {
    EXPECT_THAT(
        refusal(section_of("undefined_symbol")),
        AllOf(StartsWith("umbel.conf:3: plugin.undefined_symbol.path: \"" + fixture("undefined_symbol") + "\" cannot"),
              HasSubstr("cannot be loaded: undefined symbol: umbel_fixture_defined_nowhere (link the plugin")));
}

// Spec.   A library without the descriptor, or with something else of this name, is not a plugin (I2).
TEST(Loader, RefusesALibraryWithoutADescriptor) {
    EXPECT_THAT(refusal(section_of("no_symbol")),
                AllOf(StartsWith("umbel.conf:3: plugin.no_symbol.path: "),
                      HasSubstr("it does not export umbel_plugin_descriptor (define it")));
    EXPECT_THAT(refusal(section_of("tiny_symbol")), HasSubstr("umbel_plugin_descriptor has 4 bytes (define it"));
    EXPECT_THAT(refusal(section_of("function_symbol")), HasSubstr("umbel_plugin_descriptor has 0 bytes (define it"));
}

// Spec.   A descriptor of another make is refused by the field that differs.
TEST(Loader, NamesTheFieldThatDiffers) {
    EXPECT_EQ(refusal(section_of("wrong_magic")),
              "umbel.conf:3: plugin.wrong_magic: \"" + fixture("wrong_magic") +
                  "\" does not fit: magic is 0x0000000000001234, not 0x6e67756c704c4255 "
                  "(begin the descriptor with UMBEL_PLUGIN_HEADER)");
    EXPECT_THAT(refusal(section_of("wrong_abi_version")),
                HasSubstr("abi_version is 2: built for ABI 2, this umbeld speaks 1 (rebuild the plugin against "
                          "include/umbel/abi.h of this version)"));
    EXPECT_THAT(refusal(section_of("larger_descriptor")),
                HasSubstr("descriptor_size is " + std::to_string(sizeof(umbel_plugin) + 8) + ", this umbeld takes "));
}

// Spec.   One file serves one section; the same section may open it again (I3).
TEST(Loader, RefusesOneFileForTwoSections) {
    TemporaryFolder folder;
    const std::string path = folder.file(read_file(fixture("second")));
    const std::string link = folder.path() + "/link.so";
    std::filesystem::create_symlink(path, link);
    const auto first = open_plugin(section("first", path));
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_THAT(refusal(section("other", link)),
                AllOf(StartsWith("umbel.conf:3: plugin.other.path: "),
                      HasSubstr("is already loaded as [plugin.first] (umbel.conf:3): both would share its globals")));
    const auto again = open_plugin(section("first", link));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->name, first->name);
    EXPECT_EQ(again->descriptor->main, first->descriptor->main);
    EXPECT_NE(again->settings, first->settings);  // each has its own
    const std::string copy = folder.file(read_file(fixture("second")));
    const auto beside = open_plugin(section("other", copy));
    ASSERT_TRUE(beside) << beside.error().message;
    EXPECT_NE(beside->descriptor->main, first->descriptor->main);
}

// A descriptor that fits, for a test to spoil.
struct Sample {
    umbel_actor_type main{};
    umbel_setting setting{"depth", UMBEL_SETTING_INTEGER, 0, "3", 0, 0, ""};
    umbel_plugin plugin{};

    Sample() {
        main.size = sizeof main;
        main.name = "sample";
        main.run = [](umbel_self*, void*) {};
        plugin.magic = UMBEL_ABI_MAGIC;
        plugin.abi_version = UMBEL_ABI_VERSION;
        plugin.descriptor_size = sizeof(umbel_plugin);
        plugin.host_size = sizeof(umbel_host);
        plugin.operation_size = sizeof(umbel_operation);
        plugin.message_size = sizeof(umbel_message);
        plugin.actor_type_size = sizeof(umbel_actor_type);
        plugin.setting_size = sizeof(umbel_setting);
        plugin.setting_count = 1;
        plugin.settings = &setting;
        plugin.name = "sample";
        plugin.version = "1";
        plugin.load = [](const umbel_host*, const umbel_settings*, char*, size_t) { return 0; };
        plugin.main = &main;
    }
};

std::string flaw(const std::function<void(Sample&)>& spoil, std::size_t available = sizeof(umbel_plugin)) {
    Sample sample;
    spoil(sample);
    const auto checked = check_descriptor(&sample.plugin, available);
    return checked ? "(fits)" : checked.error();
}

// Spec.   Every size is compared: a smaller one than the first header's and a larger one than ours are refused, with the
//         field, both values and the remedy.
TEST(Descriptor, ComparesEverySize) {
    EXPECT_EQ(flaw([](Sample&) {}), "(fits)");
    const std::pair<const char*, std::uint32_t umbel_plugin::*> sizes[] = {
        {"descriptor_size", &umbel_plugin::descriptor_size}, {"host_size", &umbel_plugin::host_size},
        {"operation_size", &umbel_plugin::operation_size},   {"message_size", &umbel_plugin::message_size},
        {"actor_type_size", &umbel_plugin::actor_type_size}, {"setting_size", &umbel_plugin::setting_size},
    };
    for (const auto& [name, field] : sizes) {
        const std::uint32_t ours = Sample().plugin.*field;
        EXPECT_THAT(flaw([&](Sample& sample) { sample.plugin.*field = ours + 8; }),
                    AllOf(StartsWith(std::string(name) + " is " + std::to_string(ours + 8) + ", this umbeld takes "),
                          HasSubstr(std::to_string(ours) + ": the plugin is newer than this umbeld (upgrade umbeld, ")))
            << name;
        for (const std::uint32_t small : {0u, 8u}) {
            EXPECT_THAT(flaw([&](Sample& sample) { sample.plugin.*field = small; }),
                        AllOf(StartsWith(std::string(name) + " is " + std::to_string(small) + ", this umbeld takes "),
                              HasSubstr("(rebuild the plugin against include/umbel/abi.h of this version)")))
                << name;
        }
        EXPECT_NE(flaw([&](Sample& sample) { sample.plugin.*field = ~0u; }), "(fits)") << name;
    }
}

// Spec.   Nothing is read that the symbol does not have (I2).
TEST(Descriptor, IsNotReadBeyondItsSymbol) {
    for (std::size_t available = 0; available < sizeof(umbel_plugin); ++available) {
        EXPECT_THAT(flaw([](Sample&) {}, available),
                    HasSubstr("umbel_plugin_descriptor has " + std::to_string(available) + " bytes"));
    }
}

// Spec.   A symbol that is not aligned as a descriptor is none.
TEST(Descriptor, MustBeAligned) {
    alignas(umbel_plugin) char bytes[sizeof(umbel_plugin) + 1] = {};
    const Sample sample;
    std::memcpy(bytes + 1, &sample.plugin, sizeof sample.plugin);
    const auto checked =
        check_descriptor(static_cast<const umbel_plugin*>(static_cast<const void*>(bytes + 1)), sizeof(umbel_plugin));
    ASSERT_FALSE(checked);
    EXPECT_THAT(checked.error(), StartsWith("umbel_plugin_descriptor is not aligned"));
}

// Spec.   Every field that the runtime relies on is checked and named.
TEST(Descriptor, ChecksEveryFieldItReliesOn) {
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.magic ^= 1; }), StartsWith("magic is 0x6e67756c704c4254"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.abi_version = 0; }), HasSubstr("built for ABI 0, this umbeld speaks 1"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.setting_count = 1025; }), StartsWith("setting_count is 1025, at most"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.settings = nullptr; }), StartsWith("settings is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.name = nullptr; }), StartsWith("name is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.name = ""; }), StartsWith("name is null or empty"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.version = nullptr; }), StartsWith("version is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.load = nullptr; }), StartsWith("load is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.main = nullptr; }), StartsWith("main is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.plugin.main_placement = 2; }), StartsWith("main_placement is 2"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.size = 0; }), StartsWith("main->size is 0, actor_type_size says 64"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.state_size = UMBEL_STATE_MAX + 1; }),
                StartsWith("main->state_size is 129, at most 128"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.name = nullptr; }), StartsWith("main->name is null"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.run = nullptr; }), StartsWith("main has neither run nor message"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.message = [](umbel_self*, void*, umbel_message*) {}; }),
                StartsWith("main has both run and message"));
    EXPECT_THAT(flaw([](Sample& s) { s.main.start = s.main.run; }), StartsWith("main has run, and start or stop"));
}

// Spec.   What may be left out fits: a state of the largest size, a handler, no settings.
TEST(Descriptor, AcceptsWhatMayBeLeftOut) {
    EXPECT_EQ(flaw([](Sample& s) { s.main.state_size = UMBEL_STATE_MAX; }), "(fits)");
    EXPECT_EQ(flaw([](Sample& s) { s.plugin.main_placement = UMBEL_MAIN_ONCE; }), "(fits)");
    EXPECT_EQ(flaw([](Sample& s) {
                  s.plugin.settings = nullptr;
                  s.plugin.setting_count = 0;
              }),
              "(fits)");
    EXPECT_EQ(flaw([](Sample& s) {
                  s.main.run = nullptr;
                  s.main.message = [](umbel_self*, void*, umbel_message*) {};
                  s.main.start = [](umbel_self*, void*) {};
              }),
              "(fits)");
}

// Spec.   A program's own plugin needs no file; its descriptor and its settings are checked like any other's.
// Method. The same descriptor, once as it should be, once with a key it does not know, once damaged.
TEST(Builtin, IsCheckedLikeAFile) {
    Sample sample;
    sample.setting.max = 9;
    PluginOptions options{"own", "", "", {{"depth", "5", ""}}, &sample.plugin};
    const auto opened = open_plugin(options);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_STREQ(opened->name, "own");
    EXPECT_EQ(opened->path, "");
    EXPECT_EQ(opened->descriptor->main, &sample.main);

    options.settings.push_back({"dept", "5", "command line"});
    EXPECT_THAT(refusal(options), StartsWith("command line: plugin.own.dept: "));
    options.settings.pop_back();
    sample.plugin.magic = 1;
    EXPECT_THAT(refusal(options), StartsWith("plugin.own: its descriptor does not fit: magic is 0x"));
}

}  // namespace
}  // namespace umbel::rt
