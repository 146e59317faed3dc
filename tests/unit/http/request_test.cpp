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
    bool expects_continue = false;
    std::string target;
    std::string fields;  // "name: value\n" each
    std::string body;
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
        std::size_t taken = parser.feed(chunk);
        outcome.consumed += taken;
        if (parser.state() == RequestParser::State::body) parser.keep_body(&outcome.body);
        if (parser.finished()) break;
        if (parser.state() == RequestParser::State::body) continue;  // It stops behind the head.
        EXPECT_EQ(taken, chunk.size());                              // I2
        chunk.assign(chunk.size(), '#');
    }
    if (!parser.finished()) {
        outcome.status = -1;
    } else if (parser.state() == RequestParser::State::refused) {
        outcome.status = parser.status();
        outcome.consumed = 0;  // Where a refusal stops is not promised.
        outcome.body.clear();
    } else {
        outcome.method = parser.method();
        outcome.keep_alive = parser.keep_alive();
        outcome.expects_continue = parser.expects_continue();
        outcome.target = parser.target();
        for (std::size_t i = 0; i < parser.field_count(); ++i)
            outcome.fields.append(parser.field(i).name).append(": ").append(parser.field(i).value).append("\n");
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

// Spec.   A whole request gives its method, target and fields, and is consumed to its last byte.
TEST(Request, Whole) {
    const std::string bytes = request("GET /a/b.html?q=1 HTTP/1.1",
                                      "Host: h\r\nIF-none-match: \"x\"\r\nIf-Modified-Since:\t never \r\nA:\r\n");
    const Outcome outcome = parse(bytes);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_EQ(outcome.method, Method::get);
    EXPECT_TRUE(outcome.keep_alive);
    EXPECT_EQ(outcome.target, "/a/b.html?q=1");
    EXPECT_EQ(outcome.fields, "Host: h\nIF-none-match: \"x\"\nIf-Modified-Since: never\nA: \n");
    EXPECT_EQ(outcome.consumed, bytes.size());

    RequestParser parser({});
    ASSERT_EQ(parser.feed(bytes), bytes.size());
    EXPECT_EQ(parser.value(Known::if_none_match), "\"x\"");
    EXPECT_EQ(parser.value(Known::if_modified_since), "never");
    EXPECT_FALSE(parser.has(Known::range));
    EXPECT_FALSE(parser.plain());
    parser.begin();
    ASSERT_GT(parser.feed(request("GET / HTTP/1.1", "Host: h\r\nAccept-Encoding: br\r\n")), 0U);
    EXPECT_TRUE(parser.plain());
}

// Spec.   A request that came in one piece is not copied: its target lies in the bytes that were fed.
TEST(Request, OnePieceIsNotCopied) {
    const std::string bytes = request("GET /file HTTP/1.1");
    RequestParser parser({});
    ASSERT_EQ(parser.feed(bytes), bytes.size());
    EXPECT_EQ(parser.target().data(), bytes.data() + 4);
}

// Spec.   feed() stops behind the request: what follows belongs to the next one.          (request.h, I2)
// Method. Three requests in one piece, two of them with a body, empty lines before another.
TEST(Request, Pipelined) {
    const std::string first = request("GET /1 HTTP/1.1");
    const std::string second = request("POST /2 HTTP/1.1", "Host: h\r\nContent-Length: 5\r\n", "hello");
    const std::string chunked =
        request("PUT /2c HTTP/1.1", "Host: h\r\nTransfer-Encoding: chunked\r\n", "2\r\nhi\r\n0\r\nA: b\r\n\r\n");
    const std::string third = "\r\n\r\n" + request("HEAD /3 HTTP/1.0", "");
    const std::string all = first + second + chunked + third;
    for (const std::size_t piece : {std::size_t{1}, std::size_t{5}, all.size()}) {
        RequestParser parser({});
        std::string_view rest = all;
        for (const auto& [size, target] : {std::pair(first.size(), "/1"), std::pair(second.size(), "/2"),
                                           std::pair(chunked.size(), "/2c"), std::pair(third.size(), "/3")}) {
            const Outcome outcome = parse(parser, rest, piece);
            EXPECT_EQ(outcome.status, 0);
            EXPECT_EQ(outcome.target, target);
            EXPECT_EQ(outcome.consumed, size);
            rest.remove_prefix(outcome.consumed);
        }
        EXPECT_EQ(parser.method(), Method::head);
    }
}

// Spec.   Bodies come whole where the caller wants them, chunked ones without their chunks.
TEST(Request, Bodies) {
    const std::string chunked = request("POST / HTTP/1.1", "Host: h\r\nTransfer-Encoding: Chunked\r\n",
                                        "5;ext=\"1\"\r\nhello\r\n00A \t; b\r\n, my world\r\n000\r\nTrailer: x\r\n\r\n");
    EXPECT_EQ(parse(chunked).status, 0);
    EXPECT_EQ(parse(chunked).consumed, chunked.size());
    EXPECT_EQ(parse(chunked).body, "hello, my world");
    EXPECT_TRUE(parse(chunked).keep_alive);
    EXPECT_EQ(parse(request("POST / HTTP/1.1", "Host: h\r\nContent-Length: 003\r\n", "abc")).body, "abc");
}

// Spec.   HTTP/1.1 connections go on unless they say close, HTTP/1.0 ones end unless they say keep-alive.
TEST(Request, KeepAlive) {
    EXPECT_TRUE(parse(request("GET / HTTP/1.1")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: close\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: x, Close\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: x\r\nConnection: close\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.0", "")).keep_alive);
    EXPECT_TRUE(parse(request("GET / HTTP/1.0", "Connection: keep-alive\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("GET / HTTP/1.0", "Connection: keep-alive, close\r\n")).keep_alive);
    EXPECT_TRUE(parse(request("GET / HTTP/1.1", "Host: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n")).keep_alive);
    EXPECT_FALSE(parse(request("CONNECT h:1 HTTP/1.1")).keep_alive);
}

// Spec.   "Continue" is waited for by who says so, has a body to send, and speaks HTTP/1.1.
TEST(Request, Expects) {
    const auto expects = [](std::string_view line, std::string_view headers, std::string_view body) {
        return parse(request(line, headers, body)).expects_continue;
    };
    EXPECT_TRUE(expects("PUT / HTTP/1.1", "Host: h\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n", "x"));
    EXPECT_FALSE(expects("PUT / HTTP/1.1", "Host: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n", ""));
    EXPECT_FALSE(expects("PUT / HTTP/1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", "x"));
    EXPECT_FALSE(expects("PUT / HTTP/1.1", "Host: h\r\nContent-Length: 1\r\n", "x"));
}

// Spec.   A list may be spread over several fields of one name; several at once do not get in each other's way.
TEST(Request, RepeatedFieldIsAList) {
    RequestParser parser({});
    (void)parser.feed(
        request("GET / HTTP/1.1", "If-None-Match: a\r\nHost: h\r\nIf-Match: x\r\nif-none-match: b\r\nIf-Match: y\r\n"));
    const std::string_view none = parser.value(Known::if_none_match);
    const std::string_view match = parser.value(Known::if_match);
    EXPECT_EQ(none, "a, b");
    EXPECT_EQ(match, "x, y");
}

// Spec.   Malformed, ambiguous and odd requests get the answer that the RFC they break asks for.
// Method. Each row names its section: of RFC 9112, or (S…) of RFC 9110.
TEST(Request, Conformance) {
    const auto with = [](std::string_view headers, std::string_view body = {}) {
        return request("POST / HTTP/1.1", std::string("Host: h\r\n").append(headers), body);
    };
    const std::string chunked = "Transfer-Encoding: chunked\r\n";
    struct Row {
        const char* section;
        int status;  // 0: it is a request
        std::string bytes;
    };
    const std::vector<Row> table = {
        // The request line.
        {"2.2", 0, "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
        {"2.2", 0, "GET / HTTP/1.1\nHost: h\n\n"},  // A single LF may be taken for a line's end.
        {"2.2", 400, "GET / HTTP/1.1\rHost: h\r\n\r\n"},
        {"2.2", 400, "GET / HTTP/1.1\r\n Host: h\r\n\r\n"},  // A blank in front of the first field.
        {"2.2", 400, "GET / HTTP/1.1\r\n \r\nHost: h\r\n\r\n"},
        {"2.3", 505, request("GET / HTTP/2.0")},
        {"2.3", 505, request("GET / HTTP/0.9")},
        {"2.3", 400, request("GET / http/1.1")},
        {"2.3", 400, request("GET / HTTP/1")},
        {"2.3", 400, request("GET / HTTP/1.10")},
        {"2.3", 400, request("GET / HTTP/ 1.1")},
        {"2.3", 400, request("GET / XTTP/1.1")},
        {"S2.5", 0, request("GET / HTTP/1.2")},  // The highest minor version that is known counts.
        {"2.2", 400, "\x16\x03\x01\x02garbage"},
        {"3", 400, "GET\r\n\r\n"},
        {"3", 400, "GET /\r\n\r\n"},  // HTTP/0.9
        {"3", 400, request("GET  / HTTP/1.1")},
        {"3", 400, request("GET /  HTTP/1.1")},
        {"3", 400, request("GET / HTTP/1.1 ")},
        {"3", 400, request("GET\t/ HTTP/1.1")},
        {"3", 400, request(" GET / HTTP/1.1")},
        {"3.1", 400, request("G@T / HTTP/1.1")},
        {"3.1", 400, request("G(T / HTTP/1.1")},
        {"3.1", 0, request("get / HTTP/1.1")},  // A method of its own; what it is worth: 501, of the session.
        {"3.1", 0, request("M-SEARCH / HTTP/1.1")},
        {"3.2", 400, request("GET /a b HTTP/1.1")},
        {"3.2", 400, request("GET /a\x01 HTTP/1.1")},
        {"3.2", 400, request(std::string_view("GET /a\0b HTTP/1.1", 17))},
        {"3.2.2", 0, request("GET http://other/a HTTP/1.1")},
        {"3.2.4", 0, request("OPTIONS * HTTP/1.1")},
        {"3.2.3", 0, request("CONNECT h:443 HTTP/1.1")},
        // Host.
        {"3.2", 400, request("GET / HTTP/1.1", "")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a\r\nHost: b\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a b\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a/b\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a@b\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: a:x\r\n")},
        {"3.2", 400, request("GET / HTTP/1.1", "Host: [::1\r\n")},
        {"3.2", 0, request("GET / HTTP/1.1", "Host: [::1]:80\r\n")},
        {"3.2", 0, request("GET / HTTP/1.1", "Host: a.b:\r\n")},
        {"3.2", 0, request("GET / HTTP/1.1", "Host:\r\n")},
        {"3.2", 0, request("GET / HTTP/1.0", "")},
        {"3.2", 400, request("GET http://h/ HTTP/1.1", "")},
        // Fields.
        {"5.1", 400, with("A : b\r\n")},
        {"5.1", 400, with("A\t: b\r\n")},
        {"5.1", 400, with("Content-Length : 0\r\n")},
        {"5.1", 400, with(": b\r\n")},
        {"5.1", 400, with("A\r\n")},
        {"5.1", 400, with("A b: c\r\n")},
        {"5.1", 400, with("A(: c\r\n")},
        {"5.1", 0, with("A:b\r\nB: \t c \t \r\nC:\r\n")},
        {"5.2", 400, with("A: b\r\n c\r\n")},
        {"5.2", 400, with("A: b\r\n\tc\r\n")},
        {"5.2", 400, with("Transfer-Encoding:\r\n chunked\r\n")},
        {"S5.5", 400, with("A: b\rc\r\n")},
        {"S5.5", 400, with(std::string_view("A: b\0c\r\n", 8))},
        {"S5.5", 400, with(std::string_view("A\0: b\r\n", 7))},
        {"S5.5", 400, with("A: \x01\r\n")},
        {"S5.5", 400, with("A: \x7f\r\n")},
        {"S5.5", 0, with("A: \xc3\xa4\r\n")},
        // Content-Length.
        {"6.2", 0, with("Content-Length: 3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: +3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: -3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 3 3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 0x3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 3.0\r\n", "abc")},
        {"6.3", 400, with("Content-Length: abc\r\n", "abc")},
        {"6.3", 400, with("Content-Length:\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 3, 3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")},
        {"6.3", 400, with("Content-Length: 3\r\nContent-Length: 4\r\n", "abc")},
        {"6.3", 413, with("Content-Length: 65537\r\n")},
        {"6.3", 413, with("Content-Length: 18446744073709551617\r\n")},
        {"6.3", 413, with("Content-Length: 99999999999999999999999999\r\n")},
        // Transfer-Encoding.
        {"6.1", 400, with("Content-Length: 3\r\n" + chunked, "0\r\n\r\n")},
        {"6.1", 400, with(chunked + "Content-Length: 3\r\n", "0\r\n\r\n")},
        {"6.1", 400, request("GET / HTTP/1.0", chunked, "0\r\n\r\n")},
        {"6.1", 501, with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")},
        {"6.1", 501, with("Transfer-Encoding: gzip\r\n" + chunked, "0\r\n\r\n")},
        {"6.3", 400, with("Transfer-Encoding: gzip\r\n")},
        {"6.3", 400, with("Transfer-Encoding: chunked, gzip\r\n")},
        {"6.3", 400, with("Transfer-Encoding: chunked, identity\r\n")},
        {"6.3", 400, with("Transfer-Encoding: identity\r\n")},
        {"6.3", 400, with("Transfer-Encoding:\r\n")},
        {"6.3", 400, with("Transfer-Encoding: xchunked\r\n")},
        {"6.3", 400, with("Transfer-Encoding: chunked;q=1\r\n")},
        {"6.3", 400,
         with("Transfer-Encoding: \x0b"
              "chunked\r\n")},
        {"7", 400, with("Transfer-Encoding: chunked, chunked\r\n")},
        {"7", 400, with(chunked + chunked, "0\r\n\r\n")},
        {"7", 0, with("transfer-ENCODING: CHUNKED\r\n", "0\r\n\r\n")},
        // Chunks.
        {"7.1", 0, with(chunked, "3\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "3\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "3\r\nabc\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "3\r\nabcd\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "0x3\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "+3\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "-3\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, " 3\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "3 \r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 400, with(chunked, "g\r\n")},
        {"7.1", 413, with(chunked, "10001\r\n")},
        {"7.1", 413, with(chunked, "FFFFFFFFFFFFFFFF\r\n")},
        {"7.1", 413, with(chunked, "10000000000000003\r\nabc\r\n0\r\n\r\n")},
        {"7.1", 0, with(chunked, "00000000000000000003\r\nabc\r\n0\r\n\r\n")},
        {"7.1.1", 0, with(chunked, "3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n")},
        {"7.1.1", 400, with(chunked, "3;a\nabc\r\n0\r\n\r\n")},
        {"7.1.1", 400, with(chunked, "3;a\rb\r\nabc\r\n0\r\n\r\n")},
        {"7.1.1", 431, with(chunked, "3;" + std::string(20000, 'a') + "\r\n")},
        {"7.1.2", 0, with(chunked, "0\r\nA: b\r\nContent-Length: 7\r\n\r\n")},
        {"7.1.2", 400, with(chunked, "0\r\nA : b\r\n\r\n")},
        {"7.1.2", 400, with(chunked, "0\r\nA: b\r\n c\r\n\r\n")},
        {"7.1.2", 400, with(chunked, "0\r\nA: b\n\r\n")},
        {"7.1.2", 400, with(chunked, "0\r\n\n")},
        {"7.1.2", 431, with(chunked, "0\r\nA: " + std::string(20000, 'a') + "\r\n\r\n")},
        // Expectations.
        {"S10.1.1", 417, with("Expect: tea\r\n")},
        {"S10.1.1", 417, with("Expect: 100-continue, tea\r\nContent-Length: 1\r\n")},
    };
    for (const Row& row : table) EXPECT_EQ(parse(row.bytes).status, row.status) << row.section << "\n" << row.bytes;
}

// Spec.   Each limit is exact: what fills it is served, one byte more is refused.         (request.h, I3)
TEST(Request, Limits) {
    const auto padded = [](std::size_t size) {
        const std::string rest = request("GET / HTTP/1.1", "Host: h\r\nX: \r\n");
        return request("GET / HTTP/1.1", "Host: h\r\nX: " + std::string(size - rest.size(), 'x') + "\r\n");
    };
    const Limits limits{.target = 100, .head = 512, .fields = 5, .body = 10};
    EXPECT_EQ(parse(padded(512), limits).status, 0);
    EXPECT_EQ(parse(padded(513), limits).status, 431);
    EXPECT_EQ(parse(std::string(600, '\n'), limits).status, 431);
    EXPECT_EQ(parse(request("GET /" + std::string(99, 'x') + " HTTP/1.1"), limits).status, 0);
    EXPECT_EQ(parse(request("GET /" + std::string(100, 'x') + " HTTP/1.1"), limits).status, 414);
    EXPECT_EQ(parse(std::string(600, 'G'), limits).status, 414);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", "Host: h\r\nA:\r\nA:\r\nA:\r\nA:\r\n"), limits).status, 0);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", "Host: h\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n"), limits).status, 431);
    const std::string chunked = "Host: h\r\nTransfer-Encoding: chunked\r\n";
    EXPECT_EQ(parse(request("GET / HTTP/1.1", chunked, "a\r\n0123456789\r\n0\r\n\r\n"), limits).status, 0);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", chunked, "5\r\n01234\r\n6\r\n012345\r\n0\r\n\r\n"), limits).status, 413);
    EXPECT_EQ(parse(request("GET / HTTP/1.1", "Host: h\r\nContent-Length: 11\r\n"), limits).status, 413);
}

// Spec.   An unfinished request is neither complete nor refused, wherever it is cut.
TEST(Request, Unfinished) {
    const std::string bytes = request("GET /file HTTP/1.1", "Host: h\r\nContent-Length: 3\r\n", "abc");
    for (std::size_t size = 1; size < bytes.size(); ++size) {
        RequestParser parser({});
        std::size_t taken = parser.feed(std::string_view(bytes).substr(0, size));
        if (parser.state() == RequestParser::State::body)
            taken += parser.feed(std::string_view(bytes).substr(taken, size - taken));
        EXPECT_EQ(taken, size);
        EXPECT_FALSE(parser.finished()) << size;
    }
}

}  // namespace
}  // namespace http
