#include "content_type.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace http {

namespace {

struct Known {
    std::string_view extension;  // in small letters
    std::string_view type;
};

constexpr std::array known = {
    Known{"7z", "application/x-7z-compressed"},
    Known{"avif", "image/avif"},
    Known{"bmp", "image/bmp"},
    Known{"bz2", "application/x-bzip2"},
    Known{"c", "text/plain; charset=utf-8"},
    Known{"conf", "text/plain; charset=utf-8"},
    Known{"cpp", "text/plain; charset=utf-8"},
    Known{"css", "text/css; charset=utf-8"},
    Known{"csv", "text/csv; charset=utf-8"},
    Known{"gif", "image/gif"},
    Known{"gz", "application/gzip"},
    Known{"h", "text/plain; charset=utf-8"},
    Known{"htm", "text/html; charset=utf-8"},
    Known{"html", "text/html; charset=utf-8"},
    Known{"ico", "image/vnd.microsoft.icon"},
    Known{"jpeg", "image/jpeg"},
    Known{"jpg", "image/jpeg"},
    Known{"js", "text/javascript; charset=utf-8"},
    Known{"json", "application/json"},
    Known{"log", "text/plain; charset=utf-8"},
    Known{"md", "text/markdown; charset=utf-8"},
    Known{"mjs", "text/javascript; charset=utf-8"},
    Known{"mp3", "audio/mpeg"},
    Known{"mp4", "video/mp4"},
    Known{"ogg", "audio/ogg"},
    Known{"otf", "font/otf"},
    Known{"pdf", "application/pdf"},
    Known{"png", "image/png"},
    Known{"svg", "image/svg+xml"},
    Known{"tar", "application/x-tar"},
    Known{"ttf", "font/ttf"},
    Known{"txt", "text/plain; charset=utf-8"},
    Known{"wasm", "application/wasm"},
    Known{"wav", "audio/wav"},
    Known{"webm", "video/webm"},
    Known{"webmanifest", "application/manifest+json"},
    Known{"webp", "image/webp"},
    Known{"woff", "font/woff"},
    Known{"woff2", "font/woff2"},
    Known{"xhtml", "application/xhtml+xml"},
    Known{"xml", "text/xml; charset=utf-8"},
    Known{"xz", "application/x-xz"},
    Known{"zip", "application/zip"},
    Known{"zst", "application/zstd"},
};

static_assert(std::ranges::is_sorted(known, {}, &Known::extension), "it is searched by halves");

constexpr std::size_t longest = 11;

}  // namespace

std::string_view content_type(std::string_view path) {
    constexpr std::string_view unknown = "application/octet-stream";
    const std::string_view name = path.substr(path.rfind('/') + 1);
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return unknown;
    const std::string_view written = name.substr(dot + 1);
    if (written.size() > longest) return unknown;

    std::array<char, longest> small{};
    std::ranges::transform(written, small.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    const std::string_view extension(small.data(), written.size());
    const auto* const found = std::ranges::lower_bound(known, extension, {}, &Known::extension);
    return found != known.end() && found->extension == extension ? found->type : unknown;
}

}  // namespace http
