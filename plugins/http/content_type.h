// content_type.h: what a file is, by the end of its name.
#pragma once

#include <string_view>

namespace http {

/// The Content-Type of a file with this path; application/octet-stream if its extension is unknown.
std::string_view content_type(std::string_view path);

}  // namespace http
