#include "path.h"

#include <strings.h>

namespace http {

namespace {

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool starts_with_scheme(std::string_view target, std::string_view scheme) {
    return target.size() > scheme.size() && strncasecmp(target.data(), scheme.data(), scheme.size()) == 0;
}

// The path's part of an origin-form or absolute-form target; without '/' at its front if it is neither.
std::string_view path_of(std::string_view target) {
    if (!target.starts_with('/')) {
        for (const std::string_view scheme : {"http://", "https://"}) {
            if (!starts_with_scheme(target, scheme)) continue;
            const std::size_t slash = target.find_first_of("/?#", scheme.size());
            if (slash == scheme.size()) return {};  // No host.
            if (slash == std::string_view::npos || target[slash] != '/') return "/";
            target.remove_prefix(slash);
            break;
        }
    }
    return target.substr(0, target.find_first_of("?#"));
}

// What has been written since the last slash is a segment: empty ones and "." are dropped, ".." is refused.
bool end_segment(std::string& path, std::size_t& begin, bool slash) {
    const std::string_view segment = std::string_view(path).substr(begin);
    if (segment == "..") return false;
    if (segment.empty() || segment == ".") {
        path.resize(begin);
    } else if (slash) {
        path.push_back('/');
        begin = path.size();
    }
    return true;
}

}  // namespace

int parse_target(std::string_view target, std::string& path) {
    path.clear();
    const std::string_view encoded = path_of(target);
    if (!encoded.starts_with('/')) return 400;

    std::size_t begin = 0;
    for (std::size_t i = 1; i < encoded.size(); ++i) {
        char c = encoded[i];
        if (c == '%') {
            // Decoded once: what is encoded twice stays encoded.
            if (i + 2 >= encoded.size()) return 400;
            const int high = digit(encoded[i + 1]);
            const int low = digit(encoded[i + 2]);
            if (high < 0 || low < 0) return 400;
            c = static_cast<char>(high * 16 + low);
            i += 2;
        }
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f || c == '\\') return 400;
        if (c != '/') {
            path.push_back(c);
        } else if (!end_segment(path, begin, true)) {
            return 400;
        }
        if (path.size() > path_max) return 414;
    }
    return end_segment(path, begin, false) ? 0 : 400;
}

std::string_view query_of(std::string_view target) {
    target = target.substr(0, target.find('#'));
    const std::size_t mark = target.find('?');
    return mark == std::string_view::npos ? std::string_view() : target.substr(mark);
}

std::string encode_path(std::string_view path) {
    constexpr std::string_view plain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()*+,;=:@";
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : path) {
        if (plain.find(c) != std::string_view::npos) {
            encoded.push_back(c);
        } else {
            const auto byte = static_cast<unsigned char>(c);
            encoded.append({'%', digits[byte >> 4], digits[byte & 15]});
        }
    }
    return encoded;
}

}  // namespace http
