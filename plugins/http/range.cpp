#include "range.h"

#include <algorithm>
#include <optional>

#include "syntax.h"

namespace http {

namespace {

// `into` becomes what covers both, if they overlap or nearly touch.
bool join(Slice& into, const Slice& other) {
    const std::uint64_t begin = std::min(into.offset, other.offset);
    const std::uint64_t end = std::max(into.offset + into.length, other.offset + other.length);
    const std::uint64_t gap =
        std::max(into.offset, other.offset) -
        std::min({into.offset + into.length, other.offset + other.length, std::max(into.offset, other.offset)});
    if (gap >= range_gap) return false;
    into = {begin, end - begin};
    return true;
}

// Adds a slice; what it joins may now touch a third.
void add(std::vector<Slice>& slices, const Slice& slice) {
    std::size_t at = 0;
    while (at < slices.size() && !join(slices[at], slice)) ++at;
    if (at == slices.size()) {
        slices.push_back(slice);
        return;
    }
    for (std::size_t i = 0; i < slices.size();) {
        if (i == at || !join(slices[at], slices[i])) {
            ++i;
            continue;
        }
        // The place of the earlier one is kept.
        if (i < at) slices[i] = slices[at];
        slices.erase(slices.begin() + static_cast<std::ptrdiff_t>(std::max(i, at)));
        at = std::min(i, at);
        i = 0;
    }
}

struct Spec {
    std::optional<std::uint64_t> first;  // none: a suffix
    std::optional<std::uint64_t> last;   // of a suffix, its length; none: to the end
};

std::optional<Spec> parse_spec(std::string_view text) {
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const std::string_view first = text.substr(0, dash);
    const std::string_view last = text.substr(dash + 1);
    const Spec spec{parse_number(first), parse_number(last)};
    if ((!spec.first && !first.empty()) || (!spec.last && !last.empty())) return std::nullopt;
    if (!spec.first && !spec.last) return std::nullopt;
    if (spec.first && spec.last && *spec.last < *spec.first) return std::nullopt;
    return spec;
}

}  // namespace

Ranges parse_ranges(std::string_view field, std::uint64_t size) {
    constexpr std::string_view unit = "bytes";
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos || !same_name(field.substr(0, equals), unit)) return {};
    std::string_view list = field.substr(equals + 1);
    Ranges ranges;
    std::size_t count = 0;
    while (const auto element = next_element(list)) {
        const auto spec = parse_spec(*element);
        if (!spec || ++count > ranges_max) return {};
        Slice slice;
        if (!spec->first) {
            slice.length = std::min(*spec->last, size);
            slice.offset = size - slice.length;
            // The last bytes of nothing: there is no way to say that in a Content-Range, so the whole is sent.
            if (size == 0 && *spec->last > 0) return {};
        } else if (*spec->first < size) {
            slice.offset = *spec->first;
            slice.length = std::min(spec->last.value_or(size - 1), size - 1) - slice.offset + 1;
        }
        if (slice.length > 0) add(ranges.slices, slice);
    }
    if (count == 0) return {};
    ranges.kind = ranges.slices.empty() ? Ranges::Kind::unsatisfiable : Ranges::Kind::some;
    return ranges;
}

}  // namespace http
