#include "plugins/http/range.h"

#include <gtest/gtest.h>

#include <string>

namespace http {
namespace {

std::string text(std::string_view field, std::uint64_t size) {
    const Ranges ranges = parse_ranges(field, size);
    switch (ranges.kind) {
        case Ranges::Kind::none:
            return "none";
        case Ranges::Kind::unsatisfiable:
            return "unsatisfiable";
        case Ranges::Kind::some:
            break;
    }
    std::string all;
    for (const Slice& slice : ranges.slices)
        all += std::to_string(slice.offset) + "+" + std::to_string(slice.length) + " ";
    return all;
}

// Spec.   The examples of RFC 9110, 14.1.2, on its file of 10,000 bytes.
TEST(Range, ExamplesOfTheRfc) {
    EXPECT_EQ(text("bytes=0-499", 10000), "0+500 ");
    EXPECT_EQ(text("bytes=500-999", 10000), "500+500 ");
    EXPECT_EQ(text("bytes=-500", 10000), "9500+500 ");
    EXPECT_EQ(text("bytes=9500-", 10000), "9500+500 ");
    EXPECT_EQ(text("bytes=0-0,-1", 10000), "0+1 9999+1 ");
    EXPECT_EQ(text("bytes= 0-999, 4500-5499, -1000", 10000), "0+1000 4500+1000 9000+1000 ");
}

// Spec.   What lies outside is cut or dropped; nothing left is 416.
TEST(Range, Edges) {
    EXPECT_EQ(text("bytes=0-", 1), "0+1 ");
    EXPECT_EQ(text("bytes=0-99999999999999999999999", 10), "0+10 ");
    EXPECT_EQ(text("bytes=-99999999999999999999999", 10), "0+10 ");
    EXPECT_EQ(text("bytes=10-", 10), "unsatisfiable");
    EXPECT_EQ(text("bytes=10-20,30-", 10), "unsatisfiable");
    EXPECT_EQ(text("bytes=99999999999999999999999-", 10), "unsatisfiable");
    EXPECT_EQ(text("bytes=-0", 10), "unsatisfiable");
    EXPECT_EQ(text("bytes=10-,9-", 10), "9+1 ");
    EXPECT_EQ(text("bytes=0-", 0), "unsatisfiable");
    EXPECT_EQ(text("bytes=-5", 0), "none");
}

// Spec.   What is no list of ranges of bytes is ignored.                                     (14.2)
TEST(Range, Ignored) {
    for (const char* field :
         {"",          "bytes",       "bytes=",        "bytes=,",     "bytes=-",    "bytes=a-b",    "bytes=1",
          "bytes=5-4", "bytes=0-1,x", "bytes=0-1;2-3", "bytes=1-2-3", "bytes=--1",  "bytes=+1-2",   "bytes=0x1-2",
          "lines=0-1", "bytes =0-1",  "=0-1",          "bytes:0-1",   "bytes=0 -1", "bytes=1-0,0-1"})
        EXPECT_EQ(text(field, 100), "none") << field;
    EXPECT_EQ(text("BYTES=0-1,", 100), "0+2 ");
}

// Spec.   Ranges that overlap or nearly touch become one, in the place of the first; too many are none at all.
TEST(Range, Bounded) {
    EXPECT_EQ(text("bytes=0-9,5-14", 1000), "0+15 ");
    EXPECT_EQ(text("bytes=5-14,0-9", 1000), "0+15 ");
    EXPECT_EQ(text("bytes=0-9,10-19", 1000), "0+20 ");
    EXPECT_EQ(text("bytes=0-9,89-99", 1000), "0+100 ");
    EXPECT_EQ(text("bytes=0-9,90-99", 1000), "0+10 90+10 ");
    EXPECT_EQ(text("bytes=500-509,0-9,400-450,5-405", 1000), "0+510 ");
    EXPECT_EQ(text("bytes=0-,0-,0-,0-", 1000), "0+1000 ");
    std::string many = "bytes=0-0";
    for (std::size_t i = 1; i < ranges_max; ++i)
        many += "," + std::to_string(i * 1000) + "-" + std::to_string(i * 1000);
    EXPECT_EQ(parse_ranges(many, 1 << 20).slices.size(), ranges_max);
    EXPECT_EQ(text(many + ",999999-999999", 1 << 20), "none");
}

}  // namespace
}  // namespace http
