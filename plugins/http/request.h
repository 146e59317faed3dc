// request.h: HTTP/1.x requests out of a stream of bytes, one after the other.
//
// Why.    http-parser finds the syntax; what a server must refuse beyond that (limits, versions, framings that two
//         parsers could read differently, missing Host) is decided here, once, where it can be tested and fuzzed.
// Shape.  feed() takes bytes as they come and stops behind the request's last byte, so that pipelined requests stay with
//         the caller. What is found are views into the caller's bytes as long as a request came in one piece; keep()
//         copies them when it did not.
// Owner.  One connection. Pure: no clock, no input, no output.
//
// Invariants (tests/unit/http/request_test.cpp, tests/fuzz/http/request_fuzz.cpp)
//   I1  what is found, and whether it is refused, does not depend on how the bytes were cut into pieces (of two faults,
//       either may be the one it is refused for)
//   I2  feed() consumes nothing behind the request's end, and never fails to consume while it is not finished
//   I3  a request's head is at most `Limits::head` bytes, its body at most `Limits::body`
//
// Cost.   A request that came in one piece is copied nowhere.
// Not here.  What the target means: path.h.
#pragma once

#include <http_parser.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

struct Limits {
    std::size_t target = 8192;  // bytes of the request's target; more is 414
    std::size_t head = 16384;   // bytes from the first of the method to the empty line; more is 431
    std::size_t body = 65536;   // bytes of a body, which is read and dropped; more is 413
};

enum class Method : std::uint8_t { get, head, other };

/// Text that comes in pieces: a view while they lie one behind the other, a copy from then on.
class Gathered {
public:
    [[nodiscard]] std::string_view text() const { return owned_ ? std::string_view(copy_) : view_; }
    void clear() {
        view_ = {};
        owned_ = false;
    }
    void append(const char* at, std::size_t size) {
        if (owned_) {
            copy_.append(at, size);
        } else if (view_.empty()) {
            view_ = {at, size};
        } else if (view_.data() + view_.size() == at) {
            view_ = {view_.data(), view_.size() + size};
        } else {
            own();
            copy_.append(at, size);
        }
    }
    /// The bytes behind the view will go away.
    void own() {
        if (owned_) return;
        copy_.assign(view_);
        owned_ = true;
    }

private:
    std::string_view view_;
    std::string copy_;
    bool owned_ = false;
};

class RequestParser {
public:
    enum class State : std::uint8_t {
        waiting,   // Nothing of a request has come, but perhaps empty lines.
        head,      // Some of its head has come.
        body,      // The head is complete, the body is not.
        complete,  // The request may be answered. begin() comes next.
        refused,   // It is answered with status(), and the connection ends: where the next request begins is unknown.
    };

    explicit RequestParser(Limits limits);
    RequestParser(const RequestParser&) = delete;
    RequestParser& operator=(const RequestParser&) = delete;

    /// Forgets the last request and waits for the next.
    void begin();
    /// Takes bytes until the request is complete or refused. Returns how many of them it took.
    std::size_t feed(std::string_view bytes);
    /// The bytes fed so far will go away, and the request is not complete.
    void keep();

    [[nodiscard]] State state() const { return state_; }
    [[nodiscard]] bool finished() const { return state_ >= State::complete; }
    /// When refused: 400, 413, 414, 417, 431, 501 or 505.
    [[nodiscard]] int status() const { return status_; }

    // When complete; valid until begin(), or until the bytes fed go away.
    [[nodiscard]] Method method() const { return method_; }
    /// The client wants to go on with this connection.
    [[nodiscard]] bool keep_alive() const { return keep_alive_; }
    /// It speaks HTTP/1.0, where going on must be said.
    [[nodiscard]] bool old() const { return parser_.http_minor == 0; }
    [[nodiscard]] std::string_view target() const { return target_.text(); }
    [[nodiscard]] std::string_view if_none_match() const { return if_none_match_.text(); }
    [[nodiscard]] std::string_view if_modified_since() const { return if_modified_since_.text(); }

private:
    enum class Header : std::uint8_t { other, host, transfer_encoding, expect, if_none_match, if_modified_since };
    struct Callbacks;
    friend struct Callbacks;

    std::size_t take_method(std::string_view bytes);
    std::size_t parse(std::string_view bytes);
    void refuse(int status);
    int head_complete();
    [[nodiscard]] Gathered* wanted();

    Limits limits_;
    http_parser parser_{};

    // Of the request at hand.
    State state_ = State::waiting;
    Method method_ = Method::other;
    bool method_known_ = false;
    bool keep_alive_ = false;
    bool in_name_ = false;  // The last piece of a header was of its name.
    Header header_ = Header::other;
    int status_ = 0;
    unsigned hosts_ = 0;
    std::size_t head_size_ = 0;
    std::size_t body_size_ = 0;
    std::size_t method_size_ = 0;
    std::array<char, 32> method_text_{};
    Gathered name_;
    Gathered target_;
    Gathered transfer_encoding_;
    Gathered expect_;
    Gathered if_none_match_;
    Gathered if_modified_since_;
};

}  // namespace http
