#include "plugins/http/response.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "plugins/http/content_type.h"
#include "plugins/http/multipart.h"

namespace http {
namespace {

Representation file() { return {"text/plain", {}, 5, validators(5, 784111777, 0, "", 800000000), false}; }

TEST(Response, FileHeads) {
    Representation what = file();
    const std::string tag = "ETag: " + what.validators.etag + "\r\n";
    const std::string modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    EXPECT_EQ(file_head(what),
              "HTTP/1.1 200 OK\r\nServer: umbel\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"
              "Accept-Ranges: bytes\r\n" +
                  modified + tag);
    EXPECT_EQ(not_modified_head(what), "HTTP/1.1 304 Not Modified\r\nServer: umbel\r\n" + modified + tag);
    EXPECT_EQ(part_of_file_head(what, {1, 3}),
              "HTTP/1.1 206 Partial Content\r\nServer: umbel\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n"
              "Content-Range: bytes 1-3/5\r\n" +
                  modified + tag);
    what.varies = true;
    what.coding = "br";
    EXPECT_NE(file_head(what).find("\r\nContent-Encoding: br\r\n"), std::string::npos);
    EXPECT_NE(file_head(what).find("\r\nVary: Accept-Encoding\r\n"), std::string::npos);
    EXPECT_NE(not_modified_head(what).find("\r\nVary: Accept-Encoding\r\n"), std::string::npos);
    EXPECT_EQ(not_modified_head(what).find("Content-Encoding"), std::string::npos);
}

// Spec.   The length that is announced for several parts is that of the parts and what is around them.
TEST(Response, Parts) {
    const std::vector<Slice> slices = {{0, 10}, {500, 1}, {999'999, 1}};
    const std::string mark = boundary(1, 2);
    EXPECT_EQ(mark.size(), 38U);
    EXPECT_NE(mark, boundary(1, 3));
    EXPECT_NE(mark, boundary(2, 2));
    std::string body;
    for (const Slice& slice : slices)
        body += part_head(mark, "text/plain", slice, 1'000'000) + std::string(slice.length, 'x');
    body += parts_end(mark);
    EXPECT_EQ(body.size(), parts_length(mark, "text/plain", slices, 1'000'000));
    EXPECT_TRUE(body.starts_with("\r\n--" + mark +
                                 "\r\nContent-Type: text/plain\r\n"
                                 "Content-Range: bytes 0-9/1000000\r\n\r\nxxxxxxxxxx\r\n--" +
                                 mark + "\r\n"));
    EXPECT_TRUE(body.ends_with("\r\n\r\nx\r\n--" + mark + "--\r\n"));
}

// Spec.   The length a page announces is its body's.
TEST(Response, Pages) {
    for (const int status : {301, 400, 403, 404, 405, 408, 412, 413, 414, 417, 431, 500, 501, 502, 503, 504, 505}) {
        const Page page = status_page(status);
        EXPECT_TRUE(page.head.starts_with("HTTP/1.1 " + std::to_string(status) + " "));
        EXPECT_NE(page.head.find("Content-Length: " + std::to_string(page.body.size()) + "\r\n"), std::string::npos);
        EXPECT_NE(reason(status), "");
    }
    EXPECT_EQ(reason(299), "");
    EXPECT_NE(unsatisfiable_page(10).head.find("\r\nContent-Range: bytes */10\r\n"), std::string::npos);
    EXPECT_EQ(options_page("GET").head, "HTTP/1.1 204 No Content\r\nServer: umbel\r\nAllow: GET\r\n");
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
