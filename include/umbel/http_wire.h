// http_wire.h: what travels between the plugin `http` and the actors that answer its routes. Part of the C++ SDK; http.h is
// what a plugin's author includes.
//
// Why.    Both sides are plugins, compiled by different people at different times: what passes between them is bytes with a
//         layout of their own, as abi.h is between a plugin and the daemon.
// Shape.  Pure functions and plain structures. A request and an answer are each one block of bytes, head and body, cut into
//         parts that fit a message:
//
//           actor → gate     join (executor, path)              gate → actor     joined (0 or an error)
//           session → actor  ask (part 0, 1, … of the request)  actor → session  more (that many parts may come)
//           actor → session  answer (part 0, 1, …)              session → actor  more
//           session → actor  cancel (nobody wants the answer)
//
//         The first part of a request is sent unasked, further ones when asked for; of an answer, `answer_window` parts.
//         An exchange is a number that the session chose; messages of one that is over are dropped.
//
// Invariants (tests/unit/http/wire_test.cpp, tests/fuzz/http/wire_fuzz.cpp)
//   W1  what was encoded is decoded to the same; what is decoded lies within the bytes, whatever they are
//   W2  an answer's headers are lines of a token, a colon, a blank and characters that a header may have: none can end early
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "umbel/abi.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel::http::wire {

// The types of these messages.
constexpr std::uint32_t type_join = 0x48545031;
constexpr std::uint32_t type_joined = 0x48545032;
constexpr std::uint32_t type_ask = 0x48545033;
constexpr std::uint32_t type_more = 0x48545034;
constexpr std::uint32_t type_answer = 0x48545035;
constexpr std::uint32_t type_cancel = 0x48545036;

constexpr std::size_t path_max = 1024;      // bytes of a route's path
constexpr std::uint32_t answer_window = 4;  // parts of an answer that may be under way
constexpr std::int64_t unknown_length = -1;

/// The registered name of the gate of an executor.
inline std::string gate_name(std::uint32_t executor) { return "http." + std::to_string(executor); }

struct exchange_id {
    umbel_actor_id session = 0;
    std::uint64_t exchange = 0;
};

struct joined {
    static constexpr std::uint32_t message_type = type_joined;
    std::int32_t status = 0;  // 0, UMBEL_E_NAME_TAKEN, UMBEL_E_INVALID (no path), UMBEL_E_NO_MEMORY (too many)
    std::uint32_t reserved = 0;
};
struct more {
    static constexpr std::uint32_t message_type = type_more;
    std::uint64_t exchange = 0;
    std::uint32_t parts = 0;
    std::uint32_t reserved = 0;
};
struct cancel {
    static constexpr std::uint32_t message_type = type_cancel;
    std::uint64_t exchange = 0;
};

// ---- Parts -------------------------------------------------------------------------------------------------------------

/// In front of each part of a request or an answer.
struct part {
    std::uint64_t exchange = 0;
    std::uint32_t number = 0;
    std::uint32_t last = 0;  // 1: the last one. part_aborted: there will be no more, and what came is not whole.
};
constexpr std::uint32_t part_aborted = 2;
constexpr std::size_t part_max = UMBEL_MESSAGE_MAX - sizeof(part);  // bytes of a part behind that

inline std::string encode_part(const part& part, std::string_view bytes) {
    std::string text(sizeof part, '\0');
    std::memcpy(text.data(), &part, sizeof part);
    text.append(bytes);
    return text;
}
inline bool decode_part(std::span<const std::byte> message, part& part, std::string_view& bytes) {
    if (message.size() < sizeof part) return false;
    std::memcpy(&part, message.data(), sizeof part);
    const auto rest = message.subspan(sizeof part);
    bytes = {reinterpret_cast<const char*>(rest.data()), rest.size()};
    return true;
}

/// A part's place in a block: its bytes, and whether it is the last.
inline std::string_view part_of(std::string_view block, std::uint32_t number, bool& last) {
    const std::size_t begin = std::size_t{number} * part_max;
    last = block.size() <= begin + part_max;
    return block.substr(begin < block.size() ? begin : block.size(), part_max);
}

// ---- Joining -----------------------------------------------------------------------------------------------------------

inline std::string encode_join(std::uint32_t executor, std::string_view path) {
    std::string text(sizeof executor, '\0');
    std::memcpy(text.data(), &executor, sizeof executor);
    text.append(path);
    return text;
}
inline bool decode_join(std::span<const std::byte> message, std::uint32_t& executor, std::string_view& path) {
    if (message.size() < sizeof executor) return false;
    std::memcpy(&executor, message.data(), sizeof executor);
    const auto rest = message.subspan(sizeof executor);
    path = {reinterpret_cast<const char*>(rest.data()), rest.size()};
    return path.size() <= path_max;
}

// ---- Text --------------------------------------------------------------------------------------------------------------

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }
constexpr bool same_name(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        if (lower(a[i]) != lower(b[i])) return false;
    }
    return true;
}
constexpr bool is_token_char(char c) {
    const bool letter = lower(c) >= 'a' && lower(c) <= 'z';
    return letter || (c >= '0' && c <= '9') || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
constexpr bool is_token(std::string_view text) {
    for (const char c : text) {
        if (!is_token_char(c)) return false;
    }
    return !text.empty();
}
/// What a header's value may be (RFC 9110, 5.5): no control characters, no blanks around it.
constexpr bool is_value(std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte < 0x20 && c != '\t') || byte == 0x7f) return false;
    }
    const auto blank = [](char c) { return c == ' ' || c == '\t'; };
    return text.empty() || (!blank(text.front()) && !blank(text.back()));
}
/// http writes these itself.
constexpr bool is_reserved(std::string_view name) {
    for (const std::string_view own : {"content-length", "transfer-encoding", "connection", "date", "keep-alive",
                                       "upgrade", "trailer", "te", "proxy-connection"}) {
        if (same_name(name, own)) return true;
    }
    return false;
}
/// W2
constexpr bool header_allowed(std::string_view name, std::string_view value) {
    return is_token(name) && is_value(value) && !is_reserved(name);
}

/// Text for a log line: what is not printable becomes '?', and it has an end.
inline std::string printable(std::string_view text) {
    constexpr std::size_t longest = 200;
    std::string printed(text.substr(0, longest));
    for (char& c : printed) {
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
    }
    return printed;
}

/// The first parameter of this name in "a=b&c=d", decoded (+ and %20 are blanks); a bad % stays as it is.
inline std::optional<std::string> query_parameter(std::string_view query, std::string_view name) {
    const auto digit = [](char c) {
        if (c >= '0' && c <= '9') return c - '0';
        return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
    };
    const auto decoded = [&](std::string_view text) {
        std::string result;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
                result.push_back(static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])));
                i += 2;
            } else {
                result.push_back(text[i] == '+' ? ' ' : text[i]);
            }
        }
        return result;
    };
    while (!query.empty()) {
        const std::size_t end = query.find('&');
        const std::string_view pair = query.substr(0, end);
        const std::size_t equals = pair.find('=');
        if (!pair.empty() && decoded(pair.substr(0, equals)) == name)
            return equals == std::string_view::npos ? std::string() : decoded(pair.substr(equals + 1));
        if (end == std::string_view::npos) break;
        query.remove_prefix(end + 1);
    }
    return std::nullopt;
}

// ---- Requests ----------------------------------------------------------------------------------------------------------

/// A request as it travels; views into its block.
struct request_text {
    std::string_view method;
    std::string_view target;
    std::string_view path;  // "/" and what http made of the target
    std::string_view peer;
    std::vector<std::pair<std::string_view, std::string_view>> headers;
    std::string_view body;
};

namespace detail {
inline void put_number(std::string& block, std::size_t number) {
    const auto small = static_cast<std::uint32_t>(number);
    block.append(reinterpret_cast<const char*>(&small), sizeof small);
}
inline bool take_number(std::string_view& block, std::uint32_t& number) {
    if (block.size() < sizeof number) return false;
    std::memcpy(&number, block.data(), sizeof number);
    block.remove_prefix(sizeof number);
    return true;
}
inline void put_text(std::string& block, std::string_view text) {
    put_number(block, text.size());
    block.append(text);
}
inline bool take_text(std::string_view& block, std::string_view& text) {
    std::uint32_t size = 0;
    if (!take_number(block, size) || block.size() < size) return false;
    text = block.substr(0, size);
    block.remove_prefix(size);
    return true;
}
}  // namespace detail

inline std::string encode_request(const request_text& request) {
    std::string block;
    for (const std::string_view text : {request.method, request.target, request.path, request.peer})
        detail::put_text(block, text);
    detail::put_number(block, request.headers.size());
    for (const auto& [name, value] : request.headers) {
        detail::put_text(block, name);
        detail::put_text(block, value);
    }
    block.append(request.body);
    return block;
}
inline std::optional<request_text> decode_request(std::string_view block) {
    request_text request;
    for (std::string_view* text : {&request.method, &request.target, &request.path, &request.peer}) {
        if (!detail::take_text(block, *text)) return std::nullopt;
    }
    std::uint32_t count = 0;
    if (!detail::take_number(block, count)) return std::nullopt;
    for (std::uint32_t i = 0; i < count; ++i) {
        std::string_view name;
        std::string_view value;
        if (!detail::take_text(block, name) || !detail::take_text(block, value)) return std::nullopt;
        request.headers.emplace_back(name, value);
    }
    request.body = block;
    return request;
}

// ---- Answers -----------------------------------------------------------------------------------------------------------

struct answer_head {
    std::uint32_t status = 0;
    std::uint32_t headers = 0;  // bytes of lines behind this: "Name: value\r\n"
    std::int64_t length = 0;    // of the body; unknown_length: until the last part
};

inline std::string encode_answer_head(int status, std::string_view headers, std::int64_t length) {
    const answer_head head{static_cast<std::uint32_t>(status), static_cast<std::uint32_t>(headers.size()), length};
    std::string block(sizeof head, '\0');
    std::memcpy(block.data(), &head, sizeof head);
    block.append(headers);
    return block;
}

/// An answer's headers are what W2 says.
inline bool headers_valid(std::string_view lines) {
    while (!lines.empty()) {
        const std::size_t end = lines.find("\r\n");
        if (end == std::string_view::npos) return false;
        const std::string_view line = lines.substr(0, end);
        const std::size_t colon = line.find(": ");
        if (colon == std::string_view::npos || !header_allowed(line.substr(0, colon), line.substr(colon + 2)))
            return false;
        lines.remove_prefix(end + 2);
    }
    return true;
}

enum class answer_state : std::uint8_t { incomplete, complete, invalid };
/// Takes the head of an answer from what has come of its block; `size`: bytes of it, and the body begins behind them.
/// most: bytes that it may have.
inline answer_state decode_answer_head(std::string_view block, std::size_t most, answer_head& head,
                                       std::string_view& headers, std::size_t& size) {
    if (block.size() < sizeof head) return answer_state::incomplete;
    std::memcpy(&head, block.data(), sizeof head);
    if (head.status < 200 || head.status > 599 || head.headers > most || head.length < unknown_length)
        return answer_state::invalid;
    size = sizeof head + head.headers;
    if (block.size() < size) return answer_state::incomplete;
    headers = block.substr(sizeof head, head.headers);
    return headers_valid(headers) ? answer_state::complete : answer_state::invalid;
}

}  // namespace umbel::http::wire
#pragma GCC visibility pop
