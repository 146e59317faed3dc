// Spec.   Whatever a client writes into the fields that choose among answers: ranges lie within the file, are not empty, do not
//         touch, and cover nothing that was not asked for; codings are some of those offered, each once; a strong match is a
//         weak one too; a date that is read is written the same.               (range.h, encoding.h, condition.h, date.h)
// Method. The first byte says which field the rest is, and how large the file.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "plugins/http/condition.h"
#include "plugins/http/date.h"
#include "plugins/http/encoding.h"
#include "plugins/http/range.h"
#include "plugins/http/request.h"

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

void check_ranges(std::string_view field, std::uint64_t size) {
    http::Ranges ranges = http::parse_ranges(field, size);
    require(ranges.kind == http::Ranges::Kind::some || ranges.slices.empty());
    if (ranges.kind != http::Ranges::Kind::some) return;
    require(!ranges.slices.empty() && ranges.slices.size() <= http::ranges_max);
    std::ranges::sort(ranges.slices, {}, &http::Slice::offset);
    std::uint64_t end = 0;
    bool first = true;
    for (const http::Slice& slice : ranges.slices) {
        require(slice.length > 0 && slice.length <= size && slice.offset <= size - slice.length);
        require(first || slice.offset >= end + http::range_gap);
        end = slice.offset + slice.length;
        first = false;
    }
}

void check_codings(std::string_view field) {
    http::CodingList offered;
    offered.add(http::Coding::gzip);
    offered.add(http::Coding::brotli);
    std::vector<http::Coding> got;
    for (const http::Coding coding : http::acceptable(offered, field)) {
        require(coding != http::Coding::zstandard);
        require(std::ranges::find(got, coding) == got.end());
        got.push_back(coding);
    }
}

void check_conditions(std::string_view field) {
    constexpr std::int64_t now = 1'700'000'000;
    const http::Validators file = http::validators(7, 784111777, 0, "", now);
    if (http::lists_etag(field, file.etag, true)) require(http::lists_etag(field, file.etag, false));
    if (http::range_applies(field, file, now))
        require(field.find(file.etag) != std::string_view::npos || http::parse_date(field, now) == file.modified ||
                field.find("94") != std::string_view::npos);
    if (const auto at = http::parse_date(field, now)) require(http::parse_date(http::date(*at), now) == *at);
    (void)http::evaluate({.if_match = field, .if_none_match = field, .has_if_match = true}, file, true, now);
    (void)http::evaluate({.if_modified_since = field, .if_unmodified_since = field}, file, true, now);
    (void)http::is_host(field);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view field(reinterpret_cast<const char*>(data) + 1, size - 1);
    constexpr std::uint64_t sizes[] = {0, 1, 100, 1000, 1'000'000, ~std::uint64_t{0} >> 1};
    switch (data[0] % 3) {
        case 0:
            check_ranges(field, sizes[data[0] / 3 % std::size(sizes)]);
            break;
        case 1:
            check_codings(field);
            break;
        default:
            check_conditions(field);
    }
    return 0;
}
