// condition.h: whether a request is answered at all, given what the client knows already.
//
// Shape.  Pure functions over the fields' values.
// Strong and weak.  An entity tag is strong (no W/) when the file had not been changed for a while when it was looked at: a
//         later change then has another time. Otherwise it could be changed again within the file system's resolution, and
//         the tag is weak: good enough for 304, not for putting parts of two answers together (ranges), nor for If-Match.
// Source. RFC 9110, 8.8 and 13.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace http {

/// What tells one representation of a file from another.
struct Validators {
    std::string etag;           // "…" or W/"…", made of size, time of change and coding
    std::int64_t modified = 0;  // seconds since 1970
    bool strong = false;        // of both
};
/// coding: "" or the representation's content coding. now: seconds since 1970.
Validators validators(std::uint64_t size, std::int64_t modified_s, std::uint32_t modified_ns, std::string_view coding,
                      std::int64_t now);

/// The values of a request's fields; has_…: there is one, be it empty.
struct Conditions {
    std::string_view if_match{};
    std::string_view if_none_match{};
    std::string_view if_modified_since{};
    std::string_view if_unmodified_since{};
    bool has_if_match = false;
    bool has_if_none_match = false;
};

enum class Verdict : std::uint8_t {
    perform,
    not_modified,  // 304
    failed,        // 412
};
/// In the order of 13.2.2. safe: the method is GET or HEAD. now: seconds since 1970.
Verdict evaluate(const Conditions& conditions, const Validators& file, bool safe, std::int64_t now);

/// If-Range: the parts the client wants belong to what it has (13.1.5). Nothing but a strong match will do.
bool range_applies(std::string_view if_range, const Validators& file, std::int64_t now);

/// A list of entity tags, or "*", has this one. strong: compared so (8.8.3.2).
bool lists_etag(std::string_view list, std::string_view etag, bool strong);

}  // namespace http
