#include "condition.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "date.h"
#include "syntax.h"

namespace http {

namespace {

bool is_weak(std::string_view etag) { return etag.starts_with("W/"); }

// 8.8.3: visible characters but the quote, and bytes above ASCII, in quotes.
bool is_etag(std::string_view text) {
    if (is_weak(text)) text.remove_prefix(2);
    if (text.size() < 2 || text.front() != '"' || text.back() != '"') return false;
    return std::ranges::all_of(text.substr(1, text.size() - 2), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte > 0x20 && byte != 0x7f && c != '"';
    });
}

bool same_etag(std::string_view a, std::string_view b, bool strong) {
    if (strong && (is_weak(a) || is_weak(b))) return false;
    if (is_weak(a)) a.remove_prefix(2);
    if (is_weak(b)) b.remove_prefix(2);
    return a == b;
}

}  // namespace

Validators validators(std::uint64_t size, std::int64_t modified_s, std::uint32_t modified_ns, std::string_view coding,
                      std::int64_t now) {
    // No file system's times are coarser (FAT has two seconds). A time in the future proves nothing.
    constexpr std::int64_t coarsest = 2;
    std::array<char, 64> tag{};
    const int length =
        std::snprintf(tag.data(), tag.size(), "\"%llx.%x-%llx", static_cast<unsigned long long>(modified_s),
                      modified_ns, static_cast<unsigned long long>(size));
    Validators made;
    made.strong = now - modified_s > coarsest;
    made.etag = made.strong ? "" : "W/";
    made.etag.append(tag.data(), static_cast<std::size_t>(length));
    if (!coding.empty()) made.etag.append("-").append(coding);
    made.etag.push_back('"');
    // A file may be of any year; an HTTP date has four digits for it. And it is never later than the answer (8.8.2.1).
    constexpr std::int64_t last = 253402300799;
    made.modified = std::clamp(std::min(modified_s, now), std::int64_t{0}, last);
    return made;
}

bool lists_etag(std::string_view list, std::string_view etag, bool strong) {
    if (trimmed(list) == "*") return true;
    while (const auto element = next_element(list)) {
        if (is_etag(*element) && same_etag(*element, etag, strong)) return true;
    }
    return false;
}

Verdict evaluate(const Conditions& conditions, const Validators& file, bool safe, std::int64_t now) {
    if (conditions.has_if_match) {
        if (!lists_etag(conditions.if_match, file.etag, true)) return Verdict::failed;
    } else if (!conditions.if_unmodified_since.empty()) {
        const auto since = parse_date(conditions.if_unmodified_since, now);
        if (since && file.modified > *since) return Verdict::failed;
    }
    if (conditions.has_if_none_match) {
        if (lists_etag(conditions.if_none_match, file.etag, false))
            return safe ? Verdict::not_modified : Verdict::failed;
    } else if (safe && !conditions.if_modified_since.empty()) {
        const auto since = parse_date(conditions.if_modified_since, now);
        if (since && file.modified <= *since) return Verdict::not_modified;
    }
    return Verdict::perform;
}

bool range_applies(std::string_view if_range, const Validators& file, std::int64_t now) {
    if_range = trimmed(if_range);
    if (is_etag(if_range)) return same_etag(if_range, file.etag, true);
    const auto since = parse_date(if_range, now);
    return since && file.strong && *since == file.modified;
}

}  // namespace http
