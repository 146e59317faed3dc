#include "plugins/http/path.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace http {
namespace {

std::string parsed(std::string_view target) {
    std::string path;
    const int status = parse_target(target, path);
    return status == 0 ? path : std::to_string(status);
}

// Spec.   A target becomes the name of a file below the root: decoded once, without empty and "." segments, query
//         and fragment.
TEST(Path, Normalised) {
    const std::vector<std::pair<std::string, std::string>> table = {
        {"/", ""},
        {"/index.html", "index.html"},
        {"/a/b/c", "a/b/c"},
        {"/a/b/", "a/b/"},
        {"//a///b//", "a/b/"},
        {"/./a/./b/.", "a/b/"},
        {"/.", ""},
        {"/.hidden", ".hidden"},
        {"/...", "..."},
        {"/a..b", "a..b"},
        {"/a%20b", "a b"},
        {"/%41%2f%42", "A/B"},
        {"/%c3%a4", "\xc3\xa4"},
        {"/%2541", "%41"},
        {"/a?b=/../c", "a"},
        {"/a#b", "a"},
        {"/a%3fb", "a?b"},
        {"http://host/a/b?c", "a/b"},
        {"HTTPS://host:1/a", "a"},
        {"http://host", ""},
        {"http://host?q", ""},
    };
    for (const auto& [target, path] : table) EXPECT_EQ(parsed(target), path) << target;
}

// Spec.   What could leave the root, or means nothing, is refused.
TEST(Path, Refused) {
    for (const std::string_view target :
         {"/..",    "/../",      "/a/../b", "/a/..", "/%2e%2e/x", "/.%2E/x", "/a%2f..%2fb", "/..%2f",
          "/a%00b", "/a%0d%0ab", "/a%7f",   "/a\\b", "/a%5cb",    "/%",      "/%4",         "/%zz",
          "/%4g",   "",          "*",       "a",     "host:80",   "http://", "http:///a",   "ftp://host/a"}) {
        EXPECT_EQ(parsed(target), "400") << target;
    }
    EXPECT_EQ(parsed("/" + std::string(path_max, 'x')), std::string(path_max, 'x'));
    EXPECT_EQ(parsed("/" + std::string(path_max + 1, 'x')), "414");
}

TEST(Path, Query) {
    EXPECT_EQ(query_of("/a"), "");
    EXPECT_EQ(query_of("/a?b?c#d"), "?b?c");
    EXPECT_EQ(query_of("/a#b?c"), "");
}

// Spec.   Encoding undoes decoding.
TEST(Path, Encoded) {
    EXPECT_EQ(encode_path("a b/\xc3\xa4?#%\""), "a%20b/%C3%A4%3F%23%25%22");
    for (int c = 0x20; c < 256; ++c) {
        if (c == 0x7f || c == '\\' || c == '.' || c == '/') continue;
        const std::string path(1, static_cast<char>(c));
        EXPECT_EQ(parsed("/" + encode_path(path)), path);
    }
}

}  // namespace
}  // namespace http
