#include <gtest/gtest.h>

#include <string>

#include "umbel/http_wire.h"

namespace umbel::http::wire {
namespace {

// Spec.   What was encoded is decoded to the same, whatever bytes it has.                        (http_wire.h, W1)
TEST(Wire, Requests) {
    const std::string body("a\0b\r\n", 5);
    const request_text asked{.method = "PUT",
                             .target = "/a?b",
                             .path = "/a",
                             .peer = "[::1]:1",
                             .headers = {{"Host", "h"}, {"X", ""}},
                             .body = body};
    const std::string block = encode_request(asked);
    const auto got = decode_request(block);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->method, "PUT");
    EXPECT_EQ(got->target, "/a?b");
    EXPECT_EQ(got->path, "/a");
    EXPECT_EQ(got->peer, "[::1]:1");
    EXPECT_EQ(got->headers, asked.headers);
    EXPECT_EQ(got->body, body);
    // Cut anywhere in front of its body it is none.
    for (std::size_t size = 0; size < block.size() - body.size(); ++size)
        EXPECT_FALSE(decode_request(std::string_view(block).substr(0, size))) << size;
}

// Spec.   Parts, put together again, are the block; the last says so.
TEST(Wire, Parts) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, part_max, part_max + 1, 3 * part_max}) {
        const std::string block(size, 'x');
        std::string again;
        bool last = false;
        std::uint32_t number = 0;
        while (!last) {
            const std::string message = encode_part({7, number, 0}, part_of(block, number, last));
            EXPECT_LE(message.size(), std::size_t{UMBEL_MESSAGE_MAX});
            part got;
            std::string_view bytes;
            ASSERT_TRUE(decode_part(std::as_bytes(std::span(message)), got, bytes));
            EXPECT_EQ(got.number, number++);
            again += bytes;
        }
        EXPECT_EQ(again, block);
        EXPECT_EQ(number, size == 0 ? 1 : (size + part_max - 1) / part_max);
    }
}

// Spec.   An answer's headers are lines that nothing can end early.                              (W2)
TEST(Wire, Headers) {
    EXPECT_TRUE(header_allowed("X-A", "b c"));
    EXPECT_TRUE(header_allowed("Set-Cookie", ""));
    for (const char* value : {"a\r\nB: c", "a\nb", "a\rb", "\x01", " a", "a ", "a\t", "\x7f"})
        EXPECT_FALSE(header_allowed("X", value)) << value;
    EXPECT_FALSE(header_allowed("X", std::string_view("a\0b", 3)));
    for (const char* name : {"", "a b", "a:", "a\r\nb", "Content-Length", "transfer-ENCODING", "Connection", "Date"})
        EXPECT_FALSE(header_allowed(name, "1")) << name;
    EXPECT_TRUE(headers_valid(""));
    EXPECT_TRUE(headers_valid("A: b\r\nC: \r\n"));
    for (const char* lines : {"A: b", "A:b\r\n", "A: b\n", "A: b\r\n\r\n", "\r\n", "A: b\nC: d\r\n", "Date: x\r\n"})
        EXPECT_FALSE(headers_valid(lines)) << lines;
}

TEST(Wire, AnswerHeads) {
    const std::string block = encode_answer_head(201, "A: b\r\n", 3) + "abc";
    answer_head head;
    std::string_view headers;
    std::size_t size = 0;
    ASSERT_EQ(decode_answer_head(block, 100, head, headers, size), answer_state::complete);
    EXPECT_EQ(head.status, 201U);
    EXPECT_EQ(headers, "A: b\r\n");
    EXPECT_EQ(head.length, 3);
    EXPECT_EQ(block.substr(size), "abc");
    for (std::size_t cut = 0, ignored = 0; cut < size; ++cut)
        EXPECT_EQ(decode_answer_head(block.substr(0, cut), 100, head, headers, ignored), answer_state::incomplete)
            << cut;
    EXPECT_EQ(decode_answer_head(block, 5, head, headers, size), answer_state::invalid);
    for (const int status : {0, 99, 100, 199, 600, -1})
        EXPECT_EQ(decode_answer_head(encode_answer_head(status, {}, 0), 9, head, headers, size), answer_state::invalid);
    EXPECT_EQ(decode_answer_head(encode_answer_head(200, {}, -2), 9, head, headers, size), answer_state::invalid);
    EXPECT_EQ(decode_answer_head(encode_answer_head(200, "x", 0), 9, head, headers, size), answer_state::invalid);
}

TEST(Wire, QueryParameters) {
    EXPECT_EQ(query_parameter("a=1&b=2&a=3", "a"), "1");
    EXPECT_EQ(query_parameter("a=1&b=x%20y+z%2b", "b"), "x y z+");
    EXPECT_EQ(query_parameter("%61=1", "a"), "1");
    EXPECT_EQ(query_parameter("a&b=", "a"), "");
    EXPECT_EQ(query_parameter("a=%zz%4", "a"), "%zz%4");
    EXPECT_EQ(query_parameter("a=b=c", "a"), "b=c");
    EXPECT_EQ(query_parameter("", "a"), std::nullopt);
    EXPECT_EQ(query_parameter("&&b", ""), std::nullopt);
    EXPECT_EQ(printable("a\r\n\x80"), "a???");
}

}  // namespace
}  // namespace umbel::http::wire
