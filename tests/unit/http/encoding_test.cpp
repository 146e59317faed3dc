#include "plugins/http/encoding.h"

#include <gtest/gtest.h>

#include <string>

namespace http {
namespace {

CodingList all() {
    CodingList list;
    for (const Coding coding : {Coding::brotli, Coding::zstandard, Coding::gzip}) list.add(coding);
    return list;
}

std::string accepted(std::string_view field, const CodingList& offered) {
    std::string names;
    for (const Coding coding : acceptable(offered, field)) names.append(info(coding).name).append(" ");
    return names;
}

// Spec.   The client's weights decide, then our order; what it does not name it does not get.     (RFC 9110, 12.5.3)
TEST(Encoding, Acceptable) {
    EXPECT_EQ(accepted("", all()), "");
    EXPECT_EQ(accepted("gzip", all()), "gzip ");
    EXPECT_EQ(accepted("gzip, deflate, br, zstd", all()), "br zstd gzip ");
    EXPECT_EQ(accepted("GZIP;Q=1", all()), "gzip ");
    EXPECT_EQ(accepted("x-gzip", all()), "gzip ");
    EXPECT_EQ(accepted("gzip;q=1.0, br;q=0.5", all()), "gzip br ");
    EXPECT_EQ(accepted("br;q=0, gzip", all()), "gzip ");
    EXPECT_EQ(accepted("br;q=0.001", all()), "br ");
    EXPECT_EQ(accepted("*", all()), "br zstd gzip ");
    EXPECT_EQ(accepted("*;q=0.5, gzip", all()), "gzip br zstd ");
    EXPECT_EQ(accepted("*;q=0, gzip", all()), "gzip ");
    EXPECT_EQ(accepted("br, *;q=0", all()), "br ");
    EXPECT_EQ(accepted("identity", all()), "");
    EXPECT_EQ(accepted("identity, gzip;q=0.5", all()), "");
    EXPECT_EQ(accepted("identity;q=0.5, gzip;q=0.8, br;q=0.2", all()), "gzip ");
    EXPECT_EQ(accepted("identity;q=0, gzip", all()), "gzip ");
    EXPECT_EQ(accepted("gzip;q=2, br;q=x, zstd;level=3", all()), "");
    EXPECT_EQ(accepted("gzip ; q=0.3 , br", all()), "br gzip ");
    EXPECT_EQ(accepted("br, gzip", {}), "");
}

TEST(Encoding, Weights) {
    EXPECT_EQ(parse_weight("1"), 1000U);
    EXPECT_EQ(parse_weight("0"), 0U);
    EXPECT_EQ(parse_weight("0."), 0U);
    EXPECT_EQ(parse_weight("1.000"), 1000U);
    EXPECT_EQ(parse_weight("0.5"), 500U);
    EXPECT_EQ(parse_weight("0.123"), 123U);
    for (const char* text : {"", "2", "1.001", "0.1234", ".5", "-1", "0,5", "0.5a", "00"})
        EXPECT_EQ(parse_weight(text), std::nullopt) << text;
}

}  // namespace
}  // namespace http
