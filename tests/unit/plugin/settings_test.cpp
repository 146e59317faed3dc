// Specification of settings.h.
#include "runtime/plugin/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace umbel::rt {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kibibyte = 1024;

// One optional setting of each type, and one that is required.
const umbel_setting every_type[] = {
    {"greeting", UMBEL_SETTING_TEXT, 0, "hello", 0, 0, "what is said"},
    {"depth", UMBEL_SETTING_INTEGER, 0, "3", -5, 10, "how deep"},
    {"verbose", UMBEL_SETTING_FLAG, 0, "false", 0, 0, "whether to talk"},
    {"chunk", UMBEL_SETTING_SIZE, 0, "64KiB", 4 * kibibyte, 1024 * kibibyte, "bytes of a read"},
    {"patience", UMBEL_SETTING_DURATION, 0, "5s", 1'000'000, 60'000'000'000, "how long to wait"},
    {"root", UMBEL_SETTING_FOLDER, 0, "", 0, 0, "the folder that is served"},
    {"listen", UMBEL_SETTING_ADDRESS, 1, nullptr, 0, 0, "where to listen"},
};

PluginOptions section(std::vector<PluginSetting> lines) {
    return PluginOptions{"http", "http.so", "umbel.conf:10", std::move(lines)};
}

// With the required setting, so that only what a test writes can be wrong.
PluginOptions section_with(std::string key, std::string value) {
    return section(
        {{"listen", "127.0.0.1:8080", "umbel.conf:11"}, {std::move(key), std::move(value), "umbel.conf:12"}});
}

std::string refusal(const PluginOptions& options, std::span<const umbel_setting> table = every_type) {
    const auto checked = check_settings(options, table);
    if (checked) return "(accepted)";
    EXPECT_EQ(checked.error().error_class, ErrorClass::configuration);
    return checked.error().message;
}

std::unique_ptr<const umbel_settings> accepted(const PluginOptions& options) {
    auto checked = check_settings(options, every_type);
    EXPECT_TRUE(checked) << checked.error().message;
    return checked ? std::move(*checked) : nullptr;
}

// A folder of the test's own, removed with what it holds.
class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "umbel-settings-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

// Spec.   A setting that is not written has its default.
TEST(Settings, HaveTheirDefaults) {
    const auto settings = accepted(section({{"listen", "[::1]:0", "umbel.conf:11"}}));
    ASSERT_NE(settings, nullptr);
    EXPECT_STREQ(settings->text("greeting"), "hello");
    EXPECT_EQ(settings->number("depth"), 3);
    EXPECT_EQ(settings->number("verbose"), 0);
    EXPECT_EQ(settings->number("chunk"), 64 * kibibyte);
    EXPECT_EQ(settings->number("patience"), 5'000'000'000);
    EXPECT_STREQ(settings->text("root"), "");
    EXPECT_STREQ(settings->text("listen"), "[::1]:0");
    settings->check_invariants();
}

// Spec.   What is written is the value, numbers in bytes and nanoseconds, a folder as an absolute path without links.
TEST(Settings, TakeWhatIsWritten) {
    const TemporaryFolder folder;
    std::filesystem::create_directory(folder.path() / "real");
    std::filesystem::create_directory_symlink("real", folder.path() / "link");
    const auto settings = accepted(section({
        {"greeting", "good morning", "umbel.conf:11"},
        {"depth", "-5", "umbel.conf:12"},
        {"verbose", "true", "umbel.conf:13"},
        {"chunk", "1MiB", "umbel.conf:14"},
        {"patience", "1min", "umbel.conf:15"},
        {"root", (folder.path() / "link" / ".." / "link").string(), "umbel.conf:16"},
        {"listen", "0.0.0.0:65535", "command line"},
    }));
    ASSERT_NE(settings, nullptr);
    EXPECT_STREQ(setting_text(settings.get(), "greeting"), "good morning");
    EXPECT_EQ(setting_number(settings.get(), "depth"), -5);
    EXPECT_EQ(setting_number(settings.get(), "verbose"), 1);
    EXPECT_EQ(setting_number(settings.get(), "chunk"), 1024 * kibibyte);
    EXPECT_EQ(setting_number(settings.get(), "patience"), 60'000'000'000);
    EXPECT_EQ(setting_text(settings.get(), "root"), std::filesystem::canonical(folder.path() / "real").string());
    EXPECT_STREQ(setting_text(settings.get(), "listen"), "0.0.0.0:65535");
}

// Spec.   An unknown key is refused where it stands, with what was probably meant and what is known.
TEST(Settings, RefuseUnknownKeysByName) {
    EXPECT_EQ(refusal(section_with("rooot", "/")),
              "umbel.conf:12: plugin.http.rooot: unknown key (did you mean root? "
              "Known: greeting, depth, verbose, chunk, patience, root, listen)");
    EXPECT_EQ(refusal(section_with("colour", "red")),
              "umbel.conf:12: plugin.http.colour: unknown key ("
              "Known: greeting, depth, verbose, chunk, patience, root, listen)");
    EXPECT_EQ(refusal(section({{"root", "/", "umbel.conf:11"}}), {}),
              "umbel.conf:11: plugin.http.root: unknown key (this plugin has no settings)");
}

// Spec.   A key may be written once.
TEST(Settings, RefuseARepeatedKey) {
    EXPECT_EQ(refusal(section_with("listen", "127.0.0.1:1")),
              "umbel.conf:12: plugin.http.listen: is already set at umbel.conf:11 (remove one of the two)");
}

// Spec.   A required setting that is missing is named, with the section it belongs to and what it is.
TEST(Settings, NameWhatIsMissing) {
    EXPECT_EQ(refusal(section({})),
              "umbel.conf:10: plugin.http.listen: is required and not set "
              "(add `listen = …`, address: where to listen)");
}

// Spec.   The ends of a range belong to it; what lies beyond is refused in the unit of its type.
TEST(Settings, KeepToTheirRanges) {
    for (const char* depth : {"-5", "10"}) EXPECT_EQ(refusal(section_with("depth", depth)), "(accepted)");
    for (const char* chunk : {"4KiB", "1048576"}) EXPECT_EQ(refusal(section_with("chunk", chunk)), "(accepted)");
    for (const char* time : {"1ms", "60s"}) EXPECT_EQ(refusal(section_with("patience", time)), "(accepted)");
    EXPECT_EQ(refusal(section_with("depth", "-6")),
              "umbel.conf:12: plugin.http.depth: \"-6\" is too small (write -5 to 10)");
    EXPECT_EQ(refusal(section_with("depth", "11")),
              "umbel.conf:12: plugin.http.depth: \"11\" is too large (write -5 to 10)");
    EXPECT_EQ(refusal(section_with("chunk", "4095")),
              "umbel.conf:12: plugin.http.chunk: \"4095\" is too small (write 4KiB to 1MiB)");
    EXPECT_EQ(refusal(section_with("chunk", "1048577")),
              "umbel.conf:12: plugin.http.chunk: \"1048577\" is too large (write 4KiB to 1MiB)");
    EXPECT_EQ(refusal(section_with("patience", "999us")),
              "umbel.conf:12: plugin.http.patience: \"999us\" is too small (write 1ms to 1min)");
    EXPECT_EQ(refusal(section_with("patience", "1h")),
              "umbel.conf:12: plugin.http.patience: \"1h\" is too large (write 1ms to 1min)");
}

// Spec.   A setting without a range takes every value of its type, but a size must fit what the plugin is handed.
TEST(Settings, WithoutARangeAreBoundedByTheirType) {
    const umbel_setting table[] = {{"size", UMBEL_SETTING_SIZE, 1, nullptr, 0, 0, ""}};
    EXPECT_EQ(refusal(section({{"size", "9223372036854775807", "a:1"}}), table), "(accepted)");
    EXPECT_EQ(refusal(section({{"size", "9223372036854775808", "a:1"}}), table),
              "a:1: plugin.http.size: \"9223372036854775808\" is too large for a size (write a smaller one)");
}

// Spec.   A value of another type is refused as quantity.h words it.
TEST(Settings, RefuseAnotherType) {
    EXPECT_EQ(refusal(section_with("depth", "deep")),
              "umbel.conf:12: plugin.http.depth: \"deep\" is not an integer: it does not begin with a digit "
              "(write a whole number: 42)");
    EXPECT_THAT(refusal(section_with("verbose", "2")), HasSubstr("plugin.http.verbose: \"2\" is not a flag"));
    EXPECT_THAT(refusal(section_with("chunk", "64KB")), HasSubstr("\"KB\" is not a unit"));
    EXPECT_THAT(refusal(section_with("patience", "5")), HasSubstr("its unit is missing"));
    EXPECT_THAT(refusal(section_with("greeting", std::string("a\0b", 3))), HasSubstr("zero byte"));  // I3
}

// Spec.   A folder must exist and be one.
TEST(Settings, WantExistingFolders) {
    const TemporaryFolder folder;
    const std::string file = (folder.path() / "file").string();
    std::ofstream(file) << "text";
    EXPECT_EQ(refusal(section_with("root", "no/such")),
              "umbel.conf:12: plugin.http.root: \"no/such\": No such file or directory "
              "(create it, or name another folder)");
    EXPECT_THAT(refusal(section_with("root", file)), HasSubstr("is not a folder"));
    EXPECT_THAT(refusal(section_with("root", file + "/below")), HasSubstr("Not a directory"));
    EXPECT_EQ(refusal(section_with("root", "")), "(accepted)");  // as its default
    const umbel_setting required[] = {{"root", UMBEL_SETTING_FOLDER, 1, nullptr, 0, 0, ""}};
    EXPECT_THAT(refusal(section({{"root", "", "a:1"}}), required), HasSubstr("no folder is named"));
}

// Spec.   A default folder is looked at only when it is used, and the message then says that it is the default.
TEST(Settings, LookAtADefaultFolderOnlyWhenItIsUsed) {
    const umbel_setting table[] = {{"root", UMBEL_SETTING_FOLDER, 0, "no/such", 0, 0, ""}};
    EXPECT_EQ(refusal(section({{"root", "/", "a:1"}}), table), "(accepted)");
    EXPECT_THAT(refusal(section({}), table), HasSubstr("plugin.http.root: the default \"no/such\": No such file"));
}

// Spec.   An address is numbers, with a port; IPv6 stands between brackets.
TEST(Settings, TakeAddressesInNumbers) {
    const umbel_setting table[] = {{"at", UMBEL_SETTING_ADDRESS, 1, nullptr, 0, 0, ""}};
    for (const char* text : {"127.0.0.1:80", "0.0.0.0:0", "[::]:1", "[2001:db8::1]:65535"}) {
        EXPECT_EQ(refusal(section({{"at", text, "a:1"}}), table), "(accepted)") << text;
    }
    for (const char* text : {"", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:080808",
                             "127.0.0.1:-1", "localhost:80", "::1:80", "[::1]", "[::1]:", "[]:80", "[127.0.0.1]:80",
                             "127.1:80", "127.0.0.1:80 ", "[fe80::1%lo]:80"}) {
        EXPECT_THAT(refusal(section({{"at", text, "a:1"}}), table), HasSubstr("is not an address (write IPv4:port"))
            << text;
    }
}

// Spec.   Where a plugin listens is an address or the name of a passed socket; wanted_listeners() says which names. A plain
//         address setting takes no names: it may be one to connect to.
TEST(Settings, TakeListenersByAddressOrName) {
    const umbel_setting table[] = {{"at", UMBEL_SETTING_LISTEN, 1, nullptr, 0, 0, ""}};
    for (const char* text : {"127.0.0.1:80", "[::]:1", "systemd:http", "systemd:umbeld.socket"}) {
        EXPECT_EQ(refusal(section({{"at", text, "a:1"}}), table), "(accepted)") << text;
    }
    EXPECT_THAT(refusal(section({{"at", "localhost:80", "a:1"}}), table), HasSubstr("or systemd:NAME"));
    const std::string too_long = "systemd:" + std::string(256, 'a');
    for (const char* text : {"systemd:", "systemd:a:b", "systemd:a b", "systemd:\x01", too_long.c_str()}) {
        EXPECT_THAT(refusal(section({{"at", text, "a:1"}}), table), HasSubstr("names no socket (write systemd:NAME"))
            << text;
    }
    const auto named = check_settings(section({{"at", "systemd:http", "a:1"}}), table);
    ASSERT_TRUE(named.has_value());
    EXPECT_THAT((*named)->wanted_listeners(), testing::ElementsAre(std::pair("at", "http")));
    const auto plain = check_settings(section({{"at", "127.0.0.1:80", "a:1"}}), table);
    ASSERT_TRUE(plain.has_value());
    EXPECT_THAT((*plain)->wanted_listeners(), testing::IsEmpty());
    const umbel_setting address[] = {{"at", UMBEL_SETTING_ADDRESS, 1, nullptr, 0, 0, ""}};
    EXPECT_THAT(refusal(section({{"at", "systemd:http", "a:1"}}), address), HasSubstr("is not an address"));
}

// Spec.   The table itself is checked: a plugin's mistake is reported as the plugin's, whatever is written.
TEST(SettingTable, IsChecked) {
    const auto flaw = [](std::vector<umbel_setting> table) { return refusal(section({}), table); };
    const umbel_setting good = {"good", UMBEL_SETTING_INTEGER, 0, "1", 0, 0, nullptr};
    EXPECT_EQ(flaw({good}), "(accepted)");
    EXPECT_EQ(flaw({good, {nullptr, UMBEL_SETTING_TEXT, 0, "", 0, 0, ""}}),
              "umbel.conf:10: plugin.http: its setting 2 is declared wrongly: it has no name "
              "(an error of the plugin: correct its table of settings)");
    EXPECT_THAT(flaw({good, good}), HasSubstr("its setting 2, \"good\", is declared wrongly: it is declared twice"));
    EXPECT_THAT(flaw({{"path", UMBEL_SETTING_TEXT, 0, "", 0, 0, ""}}), HasSubstr("the name is taken"));
    for (const char* name : {"", "Root", "1st", "a-b", "a.b", "a b"}) {
        EXPECT_THAT(flaw({{name, UMBEL_SETTING_TEXT, 0, "", 0, 0, ""}}), HasSubstr("snake_case")) << name;
    }
    for (const std::uint32_t type : {0u, 9u, 4'000'000'000u}) {
        EXPECT_THAT(flaw({{"a", type, 0, "", 0, 0, ""}}), HasSubstr("its type " + std::to_string(type))) << type;
    }
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_TEXT, 2, "", 0, 0, ""}}), HasSubstr("neither 0 nor 1"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_TEXT, 1, "", 0, 0, ""}}), HasSubstr("is required and has a default"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_TEXT, 0, nullptr, 0, 0, ""}}), HasSubstr("neither required nor"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_INTEGER, 0, "1", 2, 1, ""}}), HasSubstr("minimum is above its maximum"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_INTEGER, 0, "x", 0, 0, ""}}),
                HasSubstr("its default does not fit: \"x\" is not an integer"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_SIZE, 0, "9", 0, 8, ""}}), HasSubstr("its default does not fit"));
    EXPECT_THAT(flaw({{"a", UMBEL_SETTING_ADDRESS, 0, "here", 0, 0, ""}}), HasSubstr("its default does not fit"));
}

// Spec.   Each setting is described in one line: type, default or required, range, meaning.
TEST(SettingTable, IsDescribed) {
    EXPECT_THAT(
        describe_settings(every_type),
        ElementsAre("greeting: text, default hello: what is said", "depth: integer, default 3, -5 to 10: how deep",
                    "verbose: flag, default false: whether to talk",
                    "chunk: size, default 64KiB, 4KiB to 1MiB: bytes of a read",
                    "patience: duration, default 5s, 1ms to 1min: how long to wait",
                    "root: folder, default empty: the folder that is served",
                    "listen: address, required: where to listen"));
}

// Spec.   The nearest name is given if at most a third of the letters differ.
TEST(NearestName, IsGivenForMisspellingsOnly) {
    const std::string_view known[] = {"root", "listen", "index_file"};
    EXPECT_EQ(nearest_name("rot", known), "root");
    EXPECT_EQ(nearest_name("listne", known), "listen");
    EXPECT_EQ(nearest_name("index-file", known), "index_file");
    EXPECT_EQ(nearest_name("timeout", known), "");
    EXPECT_EQ(nearest_name("", known), "");
    EXPECT_EQ(nearest_name(std::string(100'000, 'r'), known), "");
}

// Spec.   A plugin that asks for what it does not declare, or not as this type, ends the process, named.
TEST(SettingsDeathTest, EndOnAnUndeclaredName) {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
    const auto settings = accepted(section({{"listen", "[::1]:0", "umbel.conf:11"}}));
    ASSERT_NE(settings, nullptr);
    EXPECT_DEATH((void)setting_text(settings.get(), "folder"),
                 "plugin http asked for its setting \"folder\" which it does not declare");
    EXPECT_DEATH((void)setting_number(settings.get(), "root"), "\"root\" as a number, but declares it as a text");
    EXPECT_DEATH((void)setting_text(settings.get(), "depth"), "\"depth\" as a text, but declares it as a number");
    EXPECT_DEATH((void)setting_text(settings.get(), nullptr), "null pointer");
}

}  // namespace
}  // namespace umbel::rt
