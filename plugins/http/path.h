// path.h: from a request's target to the name of a file below the served folder, and back.
//
// Why.    What is refused here never reaches the file system. (The guard that counts is still openat2 with
//         RESOLVE_BENEATH, document.cpp: it also knows of symbolic links.)
// Shape.  Pure functions.
//
// What comes out has: no empty segment, no "." and no "..", no NUL, no backslash, no control character, no slash at its
// front. A slash at its end says that a folder was asked for; "" is the served folder itself.
#pragma once

#include <string>
#include <string_view>

namespace http {

constexpr std::size_t path_max = 4000;  // below PATH_MAX, with room for the name of an index file

/// Decodes and normalises `target` into `path`. Returns 0, or the status to refuse it with: 400 or 414.
int parse_target(std::string_view target, std::string& path);

/// The query with its '?', or "".
std::string_view query_of(std::string_view target);

/// The path as it is written in a URL, without its leading slash.
std::string encode_path(std::string_view path);

}  // namespace http
