#include "plugins/http/response.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>

#include "plugins/http/content_type.h"

namespace http {
namespace {

// Spec.   Dates are written as RFC 9110 wants them, and what is written can be read.
// Method. The C library's gmtime and strftime are the witness.
TEST(Response, Date) {
    EXPECT_EQ(date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
    for (std::int64_t seconds = 0; seconds < 253402300800; seconds += 86'413'571) {
        const std::time_t time = seconds;
        std::tm parts{};
        gmtime_r(&time, &parts);
        char expected[64];
        std::strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        EXPECT_EQ(date(seconds), expected);
        EXPECT_EQ(parse_date(expected), seconds);
    }
}

TEST(Response, OtherDatesAreNone) {
    for (const std::string_view text :
         {"", "never", "Sun, 06 Nov 1994 08:49:37 UTC", "Mon, 06 Nov 1994 08:49:37 GMT",
          "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
          "Sun Nov  6 08:49:37 1994", "Sun, -6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1969 08:49:37 GMT"}) {
        EXPECT_EQ(parse_date(text), std::nullopt) << text;
    }
}

// Spec.   304 exactly if the client's copy is good; If-None-Match wins.
TEST(Response, NotModified) {
    const Validators file = validators(1024, 784111777, 500);
    const std::string& tag = file.etag;
    const std::string then = date(784111777);
    const std::string before = date(784111776);
    EXPECT_FALSE(not_modified(file, "", ""));
    EXPECT_TRUE(not_modified(file, tag, ""));
    EXPECT_TRUE(not_modified(file, tag.substr(2), ""));
    EXPECT_TRUE(not_modified(file, "*", ""));
    EXPECT_TRUE(not_modified(file, "\"a\", " + tag + " ,\"b\"", ""));
    EXPECT_FALSE(not_modified(file, "\"a\"", ""));
    EXPECT_FALSE(not_modified(file, "\"a\"", then));
    EXPECT_TRUE(not_modified(file, tag, before));
    EXPECT_TRUE(not_modified(file, "", then));
    EXPECT_FALSE(not_modified(file, "", before));
    EXPECT_FALSE(not_modified(file, "", "nonsense"));
    EXPECT_NE(validators(1025, 784111777, 500).etag, tag);
    EXPECT_NE(validators(1024, 784111778, 500).etag, tag);
    EXPECT_NE(validators(1024, 784111777, 501).etag, tag);
}

TEST(Response, FileHead) {
    const Validators file = validators(5, 784111777, 0);
    EXPECT_EQ(file_head("text/plain", 5, file),
              "HTTP/1.1 200 OK\r\nServer: umbel\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
              "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nETag: " +
                  file.etag + "\r\n");
}

// Spec.   The length a page announces is its body's.
TEST(Response, Pages) {
    for (const int status : {301, 400, 403, 404, 405, 408, 413, 414, 417, 431, 500, 501, 503, 505}) {
        const Page page = status_page(status);
        EXPECT_TRUE(page.head.starts_with("HTTP/1.1 " + std::to_string(status) + " "));
        EXPECT_NE(page.head.find("Content-Length: " + std::to_string(page.body.size()) + "\r\n"), std::string::npos);
        EXPECT_NE(reason(status), "Unknown");
    }
    EXPECT_NE(redirect_page("/a/?b").head.find("\r\nLocation: /a/?b\r\n"), std::string::npos);
}

// Spec.   The Ending follows the clock and the connection, whatever it said before.
TEST(Response, Ending) {
    Ending ending;
    using enum Ending::Connection;
    const std::string first = "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
    const std::string second = "Date: Thu, 01 Jan 1970 00:00:01 GMT\r\n";
    EXPECT_EQ(ending.text(0, goes_on), first + "\r\n");
    EXPECT_EQ(ending.text(0, goes_on_old), first + "Connection: keep-alive\r\n\r\n");
    EXPECT_EQ(ending.text(0, closes), first + "Connection: close\r\n\r\n");
    EXPECT_EQ(ending.text(1, closes), second + "Connection: close\r\n\r\n");
    EXPECT_EQ(ending.text(1, goes_on), second + "\r\n");
}

TEST(ContentType, ByExtension) {
    EXPECT_EQ(content_type("a/b.html"), "text/html; charset=utf-8");
    EXPECT_EQ(content_type("a.b.PNG"), "image/png");
    EXPECT_EQ(content_type("x.7z"), "application/x-7z-compressed");
    EXPECT_EQ(content_type("x.zst"), "application/zstd");
    EXPECT_EQ(content_type("x.webmanifest"), "application/manifest+json");
    EXPECT_EQ(content_type("README.md"), "text/markdown; charset=utf-8");
    for (const std::string_view path : {"", "html", "a.html/b", "a.", "a.unknown", "a.averyverylongone"})
        EXPECT_EQ(content_type(path), "application/octet-stream") << path;
}

}  // namespace
}  // namespace http
