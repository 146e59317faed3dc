#include "plugins/http/date.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>

namespace http {
namespace {

constexpr std::int64_t now = 1'700'000'000;  // 2023

// Spec.   Dates are written as RFC 9110, 5.6.7 wants them, and what is written can be read, in each of the three forms.
// Method. The C library's gmtime and strftime are the witness.
TEST(Date, Forms) {
    EXPECT_EQ(date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
    EXPECT_EQ(parse_date("Sun, 06 Nov 1994 08:49:37 GMT", now), 784111777);
    EXPECT_EQ(parse_date("Sunday, 06-Nov-94 08:49:37 GMT", now), 784111777);
    EXPECT_EQ(parse_date("Sun Nov  6 08:49:37 1994", now), 784111777);
    for (std::int64_t seconds = 0; seconds < 253402300800; seconds += 86'413'571) {
        const std::time_t time = seconds;
        std::tm parts{};
        gmtime_r(&time, &parts);
        char expected[64];
        std::strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        EXPECT_EQ(date(seconds), expected);
        EXPECT_EQ(parse_date(expected, now), seconds);
        std::strftime(expected, sizeof expected, "%a %b %e %H:%M:%S %Y", &parts);
        EXPECT_EQ(parse_date(expected, now), seconds);
        std::strftime(expected, sizeof expected, "%A, %d-%b-%y %H:%M:%S GMT", &parts);
        if (parts.tm_year + 1900 >= 1975 && parts.tm_year + 1900 < 2070) {
            EXPECT_EQ(parse_date(expected, now), seconds) << expected;
        }
    }
}

// Spec.   A year of two digits more than 50 years ahead is one of the century before.
TEST(Date, TwoDigits) {
    EXPECT_EQ(parse_date("Tuesday, 01-Jan-74 00:00:00 GMT", now), 126230400);  // 1974
    EXPECT_EQ(parse_date("Sunday, 01-Jan-73 00:00:00 GMT", now), 3250454400);  // 2073
}

TEST(Date, OthersAreNone) {
    for (const std::string_view text : {"",
                                        "never",
                                        ",",
                                        "Sun, 06 Nov 1994 08:49:37 UTC",
                                        "Mon, 06 Nov 1994 08:49:37 GMT",
                                        "Sun, 31 Feb 1994 08:49:37 GMT",
                                        "Sun, 06 Nov 1994 24:49:37 GMT",
                                        "Sun, 06 nov 1994 08:49:37 GMT",
                                        "Sun, -6 Nov 1994 08:49:37 GMT",
                                        "Sun, 06 Nov 1969 08:49:37 GMT",
                                        "Sun, 06 Nov 1994 08-49-37 GMT",
                                        "Sun,_06 Nov 1994 08:49:37 GMT",
                                        "Monday, 06-Nov-94 08:49:37 GMT",
                                        "Sunday, 06-Nov-1994 08:49:37 GMT",
                                        "Sunday, 06 Nov 94 08:49:37 GMT",
                                        "Sun Nov 06 08:49:37 94",
                                        "Mon Nov  6 08:49:37 1994",
                                        "Sun Nov  6 08:49:37 1994 ",
                                        " Sun, 06 Nov 1994 08:49:37 GMT",
                                        "784111777"}) {
        EXPECT_EQ(parse_date(text, now), std::nullopt) << text;
    }
}

}  // namespace
}  // namespace http
