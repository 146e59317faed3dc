#include "chunked.h"

#include <algorithm>

#include "syntax.h"

namespace http {

namespace {

int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    const char small = lower(c);
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

}  // namespace

void ChunkedDecoder::begin(std::size_t data_limit, std::size_t extra_limit) {
    *this = {};
    data_limit_ = data_limit;
    extra_limit_ = extra_limit;
}

void ChunkedDecoder::refuse(int status) {
    state_ = State::refused;
    refusal_ = status;
}

std::size_t ChunkedDecoder::feed(std::string_view bytes, std::string* into) {
    std::size_t used = 0;
    while (used < bytes.size() && state_ < State::complete) {
        if (state_ != State::data) {
            take(bytes[used++]);
            continue;
        }
        const std::size_t size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - used));
        if (into != nullptr) into->append(bytes, used, size);
        used += size;
        left_ -= size;
        if (left_ == 0) state_ = State::data_cr;
    }
    return used;
}

// One byte of what is not data.
void ChunkedDecoder::take(char c) {
    switch (state_) {
        case State::size_first:
            left_ = 0;
            if (hex_digit(c) < 0) return refuse(400);
            state_ = State::size;
            [[fallthrough]];
        case State::size:
            if (const int digit = hex_digit(c); digit >= 0) {
                left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
                if (left_ > data_limit_ - data_) refuse(413);  // I3; and it cannot overflow
                return;
            }
            [[fallthrough]];
        case State::size_blank:
            if (c == '\r') {
                // "5 \r\n": blanks are only allowed in front of an extension.
                return state_ == State::size ? void(state_ = State::size_lf) : refuse(400);
            }
            if (c != ';' && c != ' ' && c != '\t') return refuse(400);
            state_ = c == ';' ? State::extension : State::size_blank;
            if (++extra_ > extra_limit_) refuse(431);
            return;
        case State::extension:
            if (c == '\r') {
                state_ = State::size_lf;
            } else if (!is_value({&c, 1})) {
                refuse(400);
            } else if (++extra_ > extra_limit_) {
                refuse(431);
            }
            return;
        case State::size_lf:
            if (c != '\n') return refuse(400);
            data_ += static_cast<std::size_t>(left_);
            state_ = left_ == 0 ? State::trailer_first : State::data;
            return;
        case State::data_cr:
            return c == '\r' ? void(state_ = State::data_lf) : refuse(400);
        case State::data_lf:
            return c == '\n' ? void(state_ = State::size_first) : refuse(400);
        case State::trailer_first:
            if (c == '\r') {
                state_ = State::last_lf;
                return;
            }
            if (!is_token_char(c)) return refuse(400);
            state_ = State::trailer_name;
            if (++extra_ > extra_limit_) refuse(431);
            return;
        case State::trailer_name:
            if (c == ':') {
                state_ = State::trailer_value;
            } else if (!is_token_char(c)) {
                return refuse(400);
            }
            if (++extra_ > extra_limit_) refuse(431);
            return;
        case State::trailer_value:
            if (c == '\r') {
                state_ = State::trailer_lf;
            } else if (!is_value({&c, 1})) {
                refuse(400);
            } else if (++extra_ > extra_limit_) {
                refuse(431);
            }
            return;
        case State::trailer_lf:
            return c == '\n' ? void(state_ = State::trailer_first) : refuse(400);
        case State::last_lf:
            return c == '\n' ? void(state_ = State::complete) : refuse(400);
        case State::data:
        case State::complete:
        case State::refused:
            return;
    }
}

}  // namespace http
