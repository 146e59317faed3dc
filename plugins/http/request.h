// request.h: HTTP/1.x requests out of a stream of bytes, one after the other.
//
// Why.    Where a request ends, and what it says, must be read in one way only: whatever two programs could read differently
//         (two lengths, folded lines, blanks in front of a colon, …) is refused here, once, where it can be tested and fuzzed.
// Shape.  feed() takes bytes as they come. It stops behind the head of a request with a body, so that the caller may look
//         at it and say where the body shall go, and behind the request's last byte, so that pipelined requests stay with
//         the caller. What is found are views into the caller's bytes as long as the request came in one piece.
// Owner.  One connection. Pure: no clock, no input, no output.
//
// Invariants (tests/unit/http/request_test.cpp, tests/fuzz/http/request_fuzz.cpp)
//   I1  what is found, and whether it is refused, does not depend on how the bytes were cut into pieces (of two faults,
//       either may be the one it is refused for)
//   I2  feed() consumes nothing behind the request's end, and never fails to consume while it wants more
//   I3  a request's head is at most `Limits::head` bytes, in at most `Limits::fields` fields, its body at most `Limits::body`
//
// Cost.   A head that came in one piece is looked at twice (its end, its fields) and copied nowhere.
// Not here.  What the target means: path.h. What fields mean: condition.h, range.h, encoding.h.
// Source. RFC 9112; docs/decisions says why this is not http-parser.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "chunked.h"

namespace http {

struct Limits {
    std::size_t target = 8192;  // bytes of the request's target; more is 414
    std::size_t head = 16384;   // bytes from the first of the method to the empty line; more is 431
    std::size_t fields = 100;   // how many header lines; more is 431
    std::size_t body = 65536;   // bytes of a body; more is 413
};

enum class Method : std::uint8_t {
    get,
    head,
    options,
    known,  // One that HTTP or its extensions define, and that files do not answer: 405.
    other,  // 501
};

/// The fields the server itself looks at.
enum class Known : std::uint8_t {
    accept_encoding,
    connection,
    content_length,
    expect,
    host,
    if_match,
    if_modified_since,
    if_none_match,
    if_range,
    if_unmodified_since,
    range,
    transfer_encoding,
    none,
};

constexpr std::uint32_t bit(Known known) { return 1U << static_cast<unsigned>(known); }

struct Field {
    std::string_view name;
    std::string_view value;
};

class RequestParser {
public:
    enum class State : std::uint8_t {
        waiting,   // Nothing of a request has come, but perhaps empty lines.
        head,      // Some of its head has come.
        body,      // The head is complete and may be looked at, the body is not.
        complete,  // The request may be answered. begin() comes next.
        refused,   // It is answered with status(), and the connection ends: where the next request begins is unknown.
    };

    explicit RequestParser(Limits limits);
    RequestParser(const RequestParser&) = delete;
    RequestParser& operator=(const RequestParser&) = delete;

    /// Forgets the last request and waits for the next, under these limits from now on.
    void begin(const Limits& limits);
    void begin();
    /// Takes bytes until the head, then until the body is complete, or until it is refused. Returns how many it took. If
    /// the request is not finished, it has copied what it needs: the bytes may go away.
    std::size_t feed(std::string_view bytes);
    /// Where the body goes, asked in state `body`; null, as it begins: nowhere.
    void keep_body(std::string* into) { body_ = into; }

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] bool finished() const { return state_ >= State::complete; }
    /// When refused: 400, 413, 414, 417, 431, 501 or 505.
    [[nodiscard]] int status() const { return status_; }

    // From state `body` on; valid until begin(), or until the bytes fed go away.
    [[nodiscard]] Method method() const { return method_; }
    [[nodiscard]] std::string_view method_text() const { return text(method_at_); }
    [[nodiscard]] std::string_view target() const { return text(target_at_); }
    /// The client wants to go on with this connection.
    [[nodiscard]] bool keep_alive() const { return keep_alive_; }
    /// It speaks HTTP/1.0, where going on must be said.
    [[nodiscard]] bool old() const { return old_; }
    /// It waits for "100 Continue" before it sends its body.
    [[nodiscard]] bool expects_continue() const { return expects_continue_; }
    /// The value of a field; of one that came several times, the list of all. "": there is none, or it is empty.
    [[nodiscard]] std::string_view value(Known known) const;
    [[nodiscard]] bool has(Known known) const { return (seen_ & bit(known)) != 0; }
    /// No field sets a condition or asks for a part.
    [[nodiscard]] bool plain() const {
        constexpr std::uint32_t selecting = bit(Known::if_match) | bit(Known::if_modified_since) |
                                            bit(Known::if_none_match) | bit(Known::if_unmodified_since) |
                                            bit(Known::range) | bit(Known::if_range);
        return (seen_ & selecting) == 0;
    }
    [[nodiscard]] std::size_t field_count() const { return fields_.size(); }
    [[nodiscard]] Field field(std::size_t i) const { return {text(fields_[i].name), text(fields_[i].value)}; }

private:
    struct Place {
        std::uint32_t at = 0;
        std::uint32_t size = 0;
    };
    struct FieldPlace {
        Place name;
        Place value;
        Known known = Known::none;
    };

    [[nodiscard]] std::string_view text(Place place) const { return {head_ + place.at, place.size}; }
    [[nodiscard]] Place place(std::string_view text) const {
        return {static_cast<std::uint32_t>(text.data() - head_), static_cast<std::uint32_t>(text.size())};
    }
    std::size_t feed_head(std::string_view bytes);
    std::size_t feed_body(std::string_view bytes);
    std::size_t end_of_head(std::string_view text);
    int read_head(std::string_view text);
    int read_request_line(std::string_view line);
    int read_field(std::string_view line);
    void join_repeated();
    int decide();
    int decide_length();
    void refuse(int status);

    Limits limits_;

    // Of the request at hand.
    State state_ = State::waiting;
    Method method_ = Method::other;
    bool keep_alive_ = false;
    bool old_ = false;
    bool expects_continue_ = false;
    bool chunked_ = false;
    bool connect_ = false;
    int status_ = 0;
    std::uint32_t seen_ = 0;      // bits of Known
    std::uint32_t repeated_ = 0;  // … that came more than once
    std::size_t skipped_ = 0;     // bytes of empty lines in front of it
    std::size_t line_ = 0;        // where the line begins that is looked at by end_of_head()
    std::size_t scanned_ = 0;     // up to here it has been looked at
    const char* head_ = nullptr;  // its first byte: the caller's, or in copy_
    std::string copy_;            // of a head that came in pieces, or whose body has not come yet
    Place method_at_;
    Place target_at_;
    std::vector<FieldPlace> fields_;
    std::vector<std::pair<Known, std::string>> lists_;  // the values of repeated ones

    // Its body.
    std::string* body_ = nullptr;
    std::uint64_t left_ = 0;  // bytes of a body with a Content-Length
    ChunkedDecoder decoder_;
};

/// The value of a Host field is one (RFC 9110, 7.2; 9112, 3.2).
bool is_host(std::string_view text);

}  // namespace http
