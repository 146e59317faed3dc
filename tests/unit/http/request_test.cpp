#include "plugins/http/request.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace http {
namespace {

struct Outcome {
    int status = 0;  // 0: complete; -1: not finished
    Method method = Method::other;
    bool keep_alive = false;
    std::string target;
    std::string if_none_match;
    std::string if_modified_since;
    std::size_t consumed = 0;
    bool operator==(const Outcome&) const = default;
};

// Feeds `bytes` in pieces of `piece` bytes, each in memory of its own that is gone afterwards.
Outcome parse(RequestParser& parser, std::string_view bytes, std::size_t piece) {
    parser.begin();
    Outcome outcome;
    std::string chunk;
    while (!parser.finished() && outcome.consumed < bytes.size()) {
        chunk.assign(bytes.substr(outcome.consumed, piece));
        const std::size_t taken = parser.feed(chunk);
        outcome.consumed += taken;
        if (parser.finished()) break;
        EXPECT_EQ(taken, chunk.size());  // I2
        parser.keep();
        chunk.assign(chunk.size(), '#');
    }
    if (!parser.finished()) {
        outcome.status = -1;
    } else if (parser.state() == RequestParser::State::refused) {
        outcome.status = parser.status();
        outcome.consumed = 0;  // Where a refusal stops is not promised.
    } else {
        outcome.method = parser.method();
        outcome.keep_alive = parser.keep_alive();
        outcome.target = parser.target();
        outcome.if_none_match = parser.if_none_match();
        outcome.if_modified_since = parser.if_modified_since();
    }
    return outcome;
}

Outcome parse(std::string_view bytes, Limits limits = {}) {
    RequestParser parser(limits);
    const Outcome whole = parse(parser, bytes, bytes.size());
    // I1: however it is cut.
    for (const std::size_t piece : {1U, 2U, 3U, 7U, 61U}) EXPECT_EQ(parse(parser, bytes, piece), whole) << piece;
    return whole;
}

constexpr std::string_view host = "Host: h\r\n";

std::string request(std::string_view line, std::string_view headers = host, std::string_view body = {}) {
    return std::string(line).append("\r\n").append(headers).append("\r\n").append(body);
}

// Spec.   A whole request gives its method, target and conditions, and is consumed to its last byte.
TEST(Request, Whole) {
    const std::string bytes = request("GET /a/b.html?q=1 HTTP/1.1",
                                      "Host: h\r\nIF-none-match: \"x\"\r\nIf-Modified-Since: never\r\nAccept: */*\r\n");
    const Outcome outcome = parse(bytes);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.method, Method::get);
    EXPECT_TRUE(outcome.keep_alive);
    EXPECT_EQ(outcome.target, "/a/b.html?q=1");
    EXPECT_EQ(outcome.if_none_match, "\"x\"");
    EXPECT_EQ(outcome.if_modified_since, "never");
    EXPECT_EQ(outcome.consumed, bytes.size());
}

// Spec.   A request that came in one piece is not copied: its target lies in the bytes that were fed.
TEST(Request, OnePieceIsNotCopied) {
    const std::string bytes = request("GET /file HTTP/1.1");
    RequestParser parser({});
    ASSERT_EQ(parser.feed(bytes), bytes.size());
    EXPECT_EQ(parser.target().data(), bytes.data() + 4);
}

// Spec.   feed() stops behind the request: what follows belongs to the next one.          (request.h, I2)
// Method. Three requests in one piece, one of them with a body, empty lines before another.
TEST(Request, Pipelined) {
    const std::string first = request("GET /1 HTTP/1.1");
    const std::string second = request("GET /2 HTTP/1.1", "Host: h\r\nContent-Length: 5\r\n", "hello");
    const std::string third = "\r\n\r\n" + request("HEAD /3 HTTP/1.0", "");
    const std::string all = first + second + third;
    for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, all.size()}) {
        RequestParser parser({});
        std::string_view rest = all;
        for (const auto& [size, target] :
             {std::pair(first.size(), "/1"), std::pair(second.size(), "/2"), std::pair(third.size(), "/3")}) {
            const Outcome outcome = parse(parser, rest, piece);
            EXPECT_EQ(outcome.status, 0);
            EXPECT_EQ(outcome.target, target);
            EXPECT_EQ(outcome.consumed, size);
            rest.remove_prefix(outcome.consumed);
        }
        EXPECT_EQ(parser.method(), Method::head);
    }
}

// Spec.   Bodies are read to their end and dropped, chunked ones too; behind these the connection ends.
TEST(Request, BodiesAreDropped) {
    const std::string chunked = request("GET / HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\n",
                                        "5;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n");
    EXPECT_EQ(parse(chunked).status, 0);
    EXPECT_EQ(parse(chunked).consumed, chunked.size());
    EXPECT_FALSE(parse(chunked).keep_alive);
    EXPECT_EQ(parse(request("POST / HTTP/1.1", "Host: h\r\nContent-Length: 3\r\n", "abc")).method, Method::other);
}

// Spec.   HTTP/1.1 connections go on unless they say close, HTTP/1.0 ones end unless they say keep-alive.
TEST(Request, KeepAlive) {
    EXPECT_TRUE(parse(request("GET / HTTP/1.1")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: close\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.0", "")).keep_alive);
    EXPECT_TRUE(parse(request("GET / HTTP/1.0", "Connection: keep-alive\r\n")).keep_alive);
    EXPECT_TRUE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("CONNECT h:1 HTTP/1.1")).keep_alive);
}

// Spec.   A list may be spread over several headers of one name.
TEST(Request, RepeatedHeaderIsAList) {
    const Outcome outcome = parse(request("GET / HTTP/1.1", "Host: h\r\nIf-None-Match: a\r\nIf-None-Match: b\r\n"));
    EXPECT_EQ(outcome.if_none_match, "a, b");
}

// Spec.   What no server should guess about is refused.
TEST(Request, Refused) {
    const std::vector<std::pair<int, std::string>> table = {
        {400, "\x16\x03\x01\x02garbage"},
        {400, "get / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET\r\n\r\n"},
        {400, " / HTTP/1.1\r\n\r\n"},
        {400, "GETGETGETGETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1\r\n\r\n"},
        {501, request("BREW / HTTP/1.1")},
        {501, request("PRI * HTTP/2.0", "")},
        {501, request("-- / HTTP/1.1")},
        {400, request("GET /")},
        {400, request("GET / HTTP/1")},
        {400, request("GET / XTTP/1.1")},
        {505, request("GET / HTTP/2.0")},
        {505, request("GET / HTTP/0.8")},
        {400, request("GET / HTTP/1.1", std::string_view("Host: h\r\nX: \0b\r\n", 16))},
        {400, request("GET / HTTP/1.1", "Host: h\r\nX:\x01\r\n")},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n\rX"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\rXab"},
        {400, "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n"},
        {400, "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, request("GET / HTTP/1.1", "")},
        {400, request("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nBad Name: x\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nName : x\r\n")},
        {400, request("GET / HTTP/1.1", std::string_view("Host: h\r\nX: a\0b\r\n", 17))},
        {400, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: -1\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 99999999999999999999999\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n")},
        {400, request("GET / HTTP/1.0", "Transfer-Encoding: chunked\r\n", "0\r\n\r\n")},
        {400, request("GET / HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\n", "zz\r\n")},
        {501, request("GET / HTTP/1.1", "Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")},
        {413, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 65537\r\n")},
        {417, request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n")},
    };
    for (const auto& [status, bytes] : table) EXPECT_EQ(parse(bytes).status, status) << bytes;
}

// Spec.   Each limit is exact: what fills it is served, one byte more is refused.         (request.h, I3)
TEST(Request, Limits) {
    const auto padded = [](std::size_t size) {
        const std::string rest = request("GET / HTTP/1.1", "Host: h\r\nX: \r\n");
        return request("GET / HTTP/1.1", "Host: h\r\nX: " + std::string(size - rest.size(), 'x') + "\r\n");
    };
    const Limits limits{.target = 100, .head = 512, .body = 10};
    EXPECT_EQ(parse(padded(512), limits).status, 0);
    EXPECT_EQ(parse(padded(513), limits).status, 431);
    EXPECT_EQ(parse(std::string(600, '\n'), limits).status, 431);
    EXPECT_EQ(parse(request("GET /" + std::string(99, 'x') + " HTTP/1.1"), limits).status, 0);
    EXPECT_EQ(parse(request("GET /" + std::string(100, 'x') + " HTTP/1.1"), limits).status, 414);
    const std::string chunked = "Host: h\r\nTransfer-Encoding: chunked\r\n";
    EXPECT_EQ(parse(request("GET / HTTP/1.1", chunked, "a\r\n0123456789\r\n0\r\n\r\n"), limits).status, 0);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", chunked, "b\r\n0123456789x\r\n0\r\n\r\n"), limits).status, 413);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 11\r\n"), limits).status, 413);
}

// Spec.   An unfinished request is neither complete nor refused, wherever it is cut.
TEST(Request, Unfinished) {
    const std::string bytes = request("GET /file HTTP/1.1", "Host: h\r\nContent-Length: 3\r\n", "abc");
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        RequestParser parser({});
        EXPECT_EQ(parser.feed(std::string_view(bytes).substr(0, size)), size);
        EXPECT_FALSE(parser.finished()) << size;
    }
}

}  // namespace
}  // namespace http
