// Specification of config_file.h.
#include "config/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace umbel::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> problems_of(std::string_view text) { return parse_config_file(text, "f").problems; }

// Spec.   Sections, keys, comments, blank lines; blanks around everything; CRLF; each entry knows its line.
TEST(ConfigFile, EntriesKnowTheirPlaces) {
    const ConfigFile file = parse_config_file(
        "# first\r\n"
        "\n"
        "  [ executors ]  # as many as fit\n"
        "count=2\n"
        "\tcpus =  0,1  # both\n"
        "[plugin.http]\n"
        "root = a = b\n"
        "empty =",
        "umbel.conf");
    EXPECT_THAT(file.problems, IsEmpty());
    ASSERT_EQ(file.heads.size(), 2u);
    EXPECT_EQ(file.heads[0].name, "executors");
    EXPECT_EQ(file.heads[0].origin, "umbel.conf:3");
    ASSERT_EQ(file.entries.size(), 4u);
    EXPECT_EQ(file.entries[0].section, "executors");
    EXPECT_EQ(file.entries[0].key, "count");
    EXPECT_EQ(file.entries[0].value, "2");
    EXPECT_EQ(file.entries[0].origin, "umbel.conf:4");
    EXPECT_EQ(file.entries[1].value, "0,1");
    EXPECT_EQ(file.entries[2].section, "plugin.http");
    EXPECT_EQ(file.entries[2].value, "a = b");
    EXPECT_EQ(file.entries[3].value, "");
    EXPECT_EQ(file.entries[3].origin, "umbel.conf:8");
}

// Spec.   What is neither a section nor an assignment is refused with its line, and the rest is still read.
TEST(ConfigFile, EachBrokenLineIsAProblem) {
    EXPECT_THAT(problems_of("[a]\nnonsense\nk = 1\nmore nonsense\n"),
                ElementsAre("f:2: \"nonsense\" is neither [section] nor `key = value`",
                            "f:4: \"more nonsense\" is neither [section] nor `key = value`"));
    EXPECT_THAT(problems_of("[a]\n= 3\n"), ElementsAre("f:2: there is no key before `=`"));
    EXPECT_THAT(problems_of("[a\nk = 1\n"), ElementsAre("f:1: \"[a\" lacks its closing bracket: write [section]"));
    EXPECT_THAT(problems_of("[]\n"), ElementsAre("f:1: the section has no name: write [section]"));
    EXPECT_THAT(problems_of("[ ]\n"), ElementsAre("f:1: the section has no name: write [section]"));
}

// Spec.   A key before the first section is refused, with a section it may have been meant for.
TEST(ConfigFile, AKeyNeedsASection) {
    EXPECT_THAT(problems_of("count = 1\n"),
                ElementsAre("f:1: \"count\" stands in no section; write for instance [executors] above it"));
    EXPECT_THAT(problems_of("log.level = info\n"),
                ElementsAre("f:1: \"log.level\" stands in no section; write for instance [log] above it"));
}

// Spec.   Duplicates are refused, and both places are named (I2).
TEST(ConfigFile, DuplicatesNameBothPlaces) {
    EXPECT_THAT(problems_of("[a]\nk = 1\nother = 1\nk = 2\n"), ElementsAre("f:4: \"k\" was set before, at f:2"));
    EXPECT_THAT(problems_of("[a]\n[b]\n[a]\nk = 1\n"),
                ElementsAre("f:3: section \"a\" was begun before, at f:1; put the keys of both together"));
    EXPECT_THAT(problems_of("[a]\nk = 1\n[b]\nk = 1\n"), IsEmpty());
}

// Spec.   Control characters are refused, wherever they stand: NUL, escape sequences, a lone carriage return.
TEST(ConfigFile, ControlCharactersAreRefused) {
    using namespace std::string_view_literals;
    for (const std::string_view line : {"[a]\nk = \0"sv, "[a]\nk = \x1b[31m"sv, "[a]\nk\r = 1"sv, "[a]\n# \x07"sv}) {
        EXPECT_THAT(problems_of(line), ElementsAre(HasSubstr("f:2: the line holds control characters")));
    }
    EXPECT_EQ(unwritable("plain text"), "");
    EXPECT_THAT(unwritable("a\nb"), HasSubstr("control characters"));
    EXPECT_THAT(unwritable("a#b"), HasSubstr("comment"));
}

TEST(ConfigFile, NamesAreShortAndPlain) {
    EXPECT_TRUE(is_name("http_2-x"));
    EXPECT_TRUE(is_name(std::string(63, 'a')));
    EXPECT_FALSE(is_name(std::string(64, 'a')));
    EXPECT_FALSE(is_name(""));
    EXPECT_FALSE(is_name("a.b"));
    EXPECT_FALSE(is_name("../x"));
}

}  // namespace
}  // namespace umbel::config
