// listing.h: a folder's content as a page.
//
// Why.    Names of files are written by anybody who may write there, and become links on a page: what is escaped, and how,
//         is decided in one place. Reading the folder: folder.h.
// Shape.  Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace http {

/// Names listed at most; more are counted and said to be missing.
constexpr std::size_t listing_max = 10'000;

struct FolderEntry {
    std::string name;
    bool folder = false;
    std::uint64_t size = 0;
    std::int64_t modified = 0;  // seconds since 1970
};

/// Text as it may stand in HTML, in attributes too: & < > " ' become references, control characters U+FFFD.
std::string escape_html(std::string_view text);

/// The page for the folder `path` (as parse_target gives it), folders first, each group by name. complete: these are all.
std::string listing_page(std::string_view path, std::vector<FolderEntry> entries, bool complete);

}  // namespace http
