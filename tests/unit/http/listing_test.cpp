#include "plugins/http/listing.h"

#include <gtest/gtest.h>

#include <string>

namespace http {
namespace {

// Spec.   Whatever a name holds, it is text on the page and one link: nothing of it is markup, nothing ends an attribute.
TEST(Listing, NamesAreText) {
    EXPECT_EQ(escape_html("a<b>&\"'c"), "a&lt;b&gt;&amp;&quot;&#39;c");
    EXPECT_EQ(escape_html(std::string_view("a\0\n\x7f", 4)), "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    const std::string page =
        listing_page("x<y/", {{.name = "\"><script>alert(1)</script>"}, {.name = "javascript:x"}}, true);
    EXPECT_EQ(page.find("<script>"), std::string::npos);
    EXPECT_NE(page.find("href=\"./%22%3E%3Cscript%3Ealert(1)%3C/script%3E\""), std::string::npos) << page;
    EXPECT_NE(page.find("href=\"./javascript:x\""), std::string::npos);
    EXPECT_NE(page.find("<h1>/x&lt;y/</h1>"), std::string::npos);
}

// Spec.   Folders first, each group by name; the way up but at the root; and it is said when there are more.
TEST(Listing, Order) {
    const std::string page = listing_page("",
                                          {{.name = "b", .size = 7, .modified = 784111777},
                                           {.name = "z", .folder = true},
                                           {.name = "a"},
                                           {.name = "c", .folder = true}},
                                          true);
    EXPECT_LT(page.find("./c/"), page.find("./z/"));
    EXPECT_LT(page.find("./z/"), page.find("\"./a\""));
    EXPECT_LT(page.find("\"./a\""), page.find("\"./b\""));
    EXPECT_NE(page.find(">b</a><td>7<td>1994-11-06 08:49\n"), std::string::npos) << page;
    EXPECT_EQ(page.find("../"), std::string::npos);
    EXPECT_EQ(page.find("There are more"), std::string::npos);
    EXPECT_NE(listing_page("f/", {}, false).find("href=\"../\""), std::string::npos);
    EXPECT_NE(listing_page("f/", {}, false).find("There are more"), std::string::npos);
}

}  // namespace
}  // namespace http
