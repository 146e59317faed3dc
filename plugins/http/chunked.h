// chunked.h: takes a chunked body apart.
//
// Why.    Where a chunked body ends decides where the next request begins, and two programs that disagree about that let a
//         client smuggle one request inside another. So this reads the grammar to the letter: lines end with CRLF, sizes are
//         hexadecimal digits and nothing else, and what is odd is refused, not repaired.
// Shape.  feed() takes bytes in any pieces; data goes to a string, or is dropped.
// Owner.  The RequestParser. Pure.
//
// Invariants (tests/unit/http/chunked_test.cpp, tests/fuzz/http/request_fuzz.cpp)
//   I1  the outcome does not depend on how the bytes were cut
//   I2  nothing behind the last CRLF is consumed
//   I3  at most `data_limit` bytes of data, and `extra_limit` of extensions and trailers, are let through
//
// Source. RFC 9112, 7.1. Extensions are ignored (7.1.1), trailers are checked and dropped (7.1.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace http {

class ChunkedDecoder {
public:
    void begin(std::size_t data_limit, std::size_t extra_limit);
    /// Takes bytes until the body is complete or refused; data is appended to `into` unless that is null.
    std::size_t feed(std::string_view bytes, std::string* into);

    [[nodiscard]] bool complete() const { return state_ == State::complete; }
    /// 0, or what the body is refused with: 400 (no chunked body), 413 (too much data), 431 (too much else).
    [[nodiscard]] int refusal() const { return refusal_; }

private:
    enum class State : std::uint8_t {
        size_first,  // The first digit of a chunk's size comes next.
        size,        // More digits, an extension or the line's end.
        size_blank,  // Blanks behind the size: only an extension may follow (BWS, 7.1.1).
        extension,   // Up to CR; blanks and quotes are not looked at, control characters are refused.
        size_lf,     // The LF of a size's line.
        data,        // left_ bytes of data.
        data_cr,     // The CRLF behind them.
        data_lf,
        trailer_first,  // The first byte of a trailer's line, or the last line's CR.
        trailer_name,
        trailer_value,
        trailer_lf,
        last_lf,
        complete,
        refused,
    };

    void take(char c);
    void refuse(int status);

    State state_ = State::size_first;
    int refusal_ = 0;
    std::uint64_t left_ = 0;  // bytes of the chunk that have not come; while its size is read, the size
    std::size_t data_ = 0;    // bytes of data let through, and announced
    std::size_t extra_ = 0;   // bytes of extensions and trailers
    std::size_t data_limit_ = 0;
    std::size_t extra_limit_ = 0;
};

}  // namespace http
