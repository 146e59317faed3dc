#include "request.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "syntax.h"

namespace http {

namespace {

struct MethodName {
    std::string_view name;
    Method method;
};

// RFC 9110, 9.3; RFC 5789; WebDAV's, because clients send them to find out whether it is one.
constexpr std::array methods = {
    MethodName{"GET", Method::get},         MethodName{"HEAD", Method::head},
    MethodName{"OPTIONS", Method::options}, MethodName{"POST", Method::known},
    MethodName{"PUT", Method::known},       MethodName{"DELETE", Method::known},
    MethodName{"PATCH", Method::known},     MethodName{"CONNECT", Method::known},
    MethodName{"TRACE", Method::known},     MethodName{"PROPFIND", Method::known},
    MethodName{"PROPPATCH", Method::known}, MethodName{"MKCOL", Method::known},
    MethodName{"COPY", Method::known},      MethodName{"MOVE", Method::known},
    MethodName{"LOCK", Method::known},      MethodName{"UNLOCK", Method::known},
};

Method method_of(std::string_view name) {
    for (const MethodName& known : methods) {
        if (known.name == name) return known.method;
    }
    return Method::other;
}

Known known_field(std::string_view name) {
    const auto is = [&](std::string_view text, Known known) { return same_name(name, text) ? known : Known::none; };
    switch (name.size()) {
        case 4:
            return is("host", Known::host);
        case 5:
            return is("range", Known::range);
        case 6:
            return is("expect", Known::expect);
        case 8:
            if (lower(name[3]) == 'm') return is("if-match", Known::if_match);
            return is("if-range", Known::if_range);
        case 10:
            return is("connection", Known::connection);
        case 13:
            return is("if-none-match", Known::if_none_match);
        case 14:
            return is("content-length", Known::content_length);
        case 15:
            return is("accept-encoding", Known::accept_encoding);
        case 17:
            if (lower(name[0]) == 't') return is("transfer-encoding", Known::transfer_encoding);
            return is("if-modified-since", Known::if_modified_since);
        case 19:
            return is("if-unmodified-since", Known::if_unmodified_since);
        default:
            return Known::none;
    }
}

std::string_view without_line_end(std::string_view line) {
    // 2.2: a single LF may be taken for a line's end. (In chunked bodies it is not: chunked.h.)
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

// The next line of a head, without its end; it has one.
std::string_view take_line(std::string_view& text) {
    const auto* const end = static_cast<const char*>(std::memchr(text.data(), '\n', text.size()));
    const std::string_view line = text.substr(0, static_cast<std::size_t>(end - text.data()) + 1);
    text.remove_prefix(line.size());
    return without_line_end(line);
}

}  // namespace

bool is_host(std::string_view text) {
    constexpr std::string_view of_name = "-._~!$&'()*+,;=%";
    const auto in = [](std::string_view part, std::string_view also) {
        return std::ranges::all_of(part, [&](char c) {
            return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || also.find(c) != std::string_view::npos;
        });
    };
    std::size_t end = 0;
    if (text.starts_with('[')) {
        end = text.find(']');
        if (end == std::string_view::npos || end == 1 || !in(text.substr(1, end - 1), ":.-_~!$&'()*+,;=")) return false;
        ++end;
    } else {
        end = std::min(text.find(':'), text.size());
        if (!in(text.substr(0, end), of_name)) return false;
    }
    const std::string_view port = text.substr(end);
    return port.empty() || (port.starts_with(':') && std::ranges::all_of(port.substr(1), is_digit));
}

RequestParser::RequestParser(Limits limits) : limits_(limits) {
    fields_.reserve(16);
    begin();
}

void RequestParser::begin(const Limits& limits) {
    limits_ = limits;
    begin();
}

void RequestParser::begin() {
    state_ = State::waiting;
    seen_ = 0;
    repeated_ = 0;
    skipped_ = 0;
    line_ = 0;
    scanned_ = 0;
    status_ = 0;
    method_ = Method::other;
    keep_alive_ = false;
    old_ = false;
    expects_continue_ = false;
    chunked_ = false;
    connect_ = false;
    body_ = nullptr;
    left_ = 0;
    head_ = nullptr;
    method_at_ = {};
    target_at_ = {};
    copy_.clear();
    fields_.clear();
    if (!lists_.empty()) lists_.clear();
}

std::size_t RequestParser::feed(std::string_view bytes) {
    switch (state_) {
        case State::waiting:
        case State::head:
            return feed_head(bytes);
        case State::body:
            return feed_body(bytes);
        case State::complete:
        case State::refused:
            break;
    }
    return 0;
}

std::size_t RequestParser::feed_head(std::string_view bytes) {
    std::size_t used = 0;
    if (state_ == State::waiting) {
        // 2.2: empty lines in front of a request are ignored.
        while (used < bytes.size() && (bytes[used] == '\r' || bytes[used] == '\n')) ++used;
        if ((skipped_ += used) >= limits_.head) refuse(431);
        if (used == bytes.size() || finished()) return used;
        bytes.remove_prefix(used);
        state_ = State::head;
        // What is no HTTP at all (TLS, say) is told so at once.
        if (!is_token_char(bytes.front())) {
            refuse(400);
            return used + 1;
        }
    }
    const std::size_t before = copy_.size();
    bytes = bytes.substr(0, limits_.head - before);
    std::string_view text = bytes;
    if (before != 0) {
        copy_.append(bytes);
        text = copy_;
    }
    const std::size_t end = end_of_head(text);
    if (end == 0) {
        if (text.size() == limits_.head) {  // I3
            const std::size_t line = text.find('\n');
            refuse(line == std::string_view::npos || line > limits_.target ? 414 : 431);
        } else if (before == 0) {
            copy_.assign(text);
        }
        return used + bytes.size();
    }
    text = text.substr(0, end);
    head_ = text.data();
    if (const int refusal = read_head(text); refusal != 0) {
        refuse(refusal);
    } else if (chunked_ || left_ != 0) {
        state_ = State::body;
        // The body may come in other bytes: these may go away.
        if (before == 0) copy_.assign(text);
        head_ = copy_.data();
    } else {
        state_ = State::complete;
    }
    return used + end - before;
}

// Where the head ends, behind its empty line; 0: not yet.
std::size_t RequestParser::end_of_head(std::string_view text) {
    for (;;) {
        const auto* const found =
            static_cast<const char*>(std::memchr(text.data() + scanned_, '\n', text.size() - scanned_));
        if (found == nullptr) {
            scanned_ = text.size();
            return 0;
        }
        const auto at = static_cast<std::size_t>(found - text.data());
        const bool empty = at == line_ || (at == line_ + 1 && text[line_] == '\r');
        line_ = scanned_ = at + 1;
        if (empty) return at + 1;
    }
}

std::size_t RequestParser::feed_body(std::string_view bytes) {
    std::size_t used = 0;
    if (chunked_) {
        used = decoder_.feed(bytes, body_);
        if (decoder_.refusal() != 0) {
            refuse(decoder_.refusal());
        } else if (decoder_.complete()) {
            state_ = State::complete;
        }
    } else {
        used = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
        if (body_ != nullptr) body_->append(bytes, 0, used);
        left_ -= used;
        if (left_ == 0) state_ = State::complete;
    }
    return used;
}

void RequestParser::refuse(int status) {
    state_ = State::refused;
    status_ = status;
    keep_alive_ = false;
}

// Each of these returns 0 or the status to refuse with.

int RequestParser::read_head(std::string_view text) {
    if (const int refusal = read_request_line(take_line(text)); refusal != 0) return refusal;
    for (;;) {
        const std::string_view line = take_line(text);
        if (line.empty()) break;
        if (const int refusal = read_field(line); refusal != 0) return refusal;
    }
    if (repeated_ != 0) join_repeated();
    return decide();
}

// 3: method SP request-target SP HTTP-version, one blank each.
int RequestParser::read_request_line(std::string_view line) {
    const std::size_t first = line.find(' ');
    const std::size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) return 400;
    const std::string_view method = line.substr(0, first);
    const std::string_view target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(method) || target.empty() || !is_visible(target)) return 400;
    if (target.size() > limits_.target) return 414;
    // 2.3: HTTP-version is case-sensitive, one digit each.
    if (version.size() != 8 || !version.starts_with("HTTP/") || !is_digit(version[5]) || version[6] != '.' ||
        !is_digit(version[7]))
        return 400;
    if (version[5] != '1') return 505;
    old_ = version[7] == '0';
    method_at_ = place(method);
    target_at_ = place(target);
    method_ = method_of(method);
    connect_ = method == "CONNECT";
    return 0;
}

int RequestParser::read_field(std::string_view line) {
    // 5.1: no blank between name and colon. 5.2: no folded lines. Neither begins with a token and a colon.
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) return 400;
    const std::string_view name = line.substr(0, colon);
    const std::string_view value = trimmed(line.substr(colon + 1));
    if (!is_token(name) || !is_value(value)) return 400;
    if (fields_.size() == limits_.fields) return 431;  // I3
    const Known known = known_field(name);
    if (known != Known::none) {
        repeated_ |= seen_ & bit(known);
        seen_ |= bit(known);
    }
    // An empty value has no place of its own worth looking at, but it must lie in the head.
    fields_.push_back({place(name), value.empty() ? Place{} : place(value), known});
    return 0;
}

// 5.3: several fields of one name are one list.
void RequestParser::join_repeated() {
    for (unsigned i = 0; i < static_cast<unsigned>(Known::none); ++i) {
        const auto known = static_cast<Known>(i);
        if ((repeated_ & bit(known)) == 0) continue;
        std::string list;
        for (const FieldPlace& field : fields_) {
            if (field.known != known) continue;
            if (!list.empty()) list.append(", ");
            list.append(text(field.value));
        }
        lists_.emplace_back(known, std::move(list));
    }
}

std::string_view RequestParser::value(Known known) const {
    if ((seen_ & bit(known)) == 0) return {};
    if ((repeated_ & bit(known)) != 0) {
        for (const auto& [of, list] : lists_) {
            if (of == known) return list;
        }
    }
    for (const FieldPlace& field : fields_) {
        if (field.known == known) return text(field.value);
    }
    return {};
}

int RequestParser::decide() {
    // 3.2: exactly one Host, and a valid one; HTTP/1.0 did not know it.
    if ((repeated_ & bit(Known::host)) != 0) return 400;
    if ((seen_ & bit(Known::host)) == 0) {
        if (!old_) return 400;
    } else if (!is_host(value(Known::host))) {
        return 400;
    }
    if (const int refusal = decide_length(); refusal != 0) return refusal;

    const bool has_body = chunked_ || left_ != 0;
    if (has(Known::expect) && !old_) {
        // RFC 9110, 10.1.1: other expectations cannot be met.
        std::string_view expected = value(Known::expect);
        while (const auto element = next_element(expected)) {
            if (!same_name(*element, "100-continue")) return 417;
            expects_continue_ = has_body;
        }
    }
    keep_alive_ = !old_;
    if (has(Known::connection)) {
        const std::string_view options = value(Known::connection);
        if (old_) keep_alive_ = has_element(options, "keep-alive");
        if (has_element(options, "close")) keep_alive_ = false;
    }
    // What follows a CONNECT is not HTTP.
    if (connect_) keep_alive_ = false;
    return 0;
}

// 6.3, 6.1, 6.2.
int RequestParser::decide_length() {
    const bool has_length = has(Known::content_length);
    if (has(Known::transfer_encoding)) {
        // Two programs could see two different ends of this request.
        if (has_length || old_) return 400;
        std::string_view codings = value(Known::transfer_encoding);
        unsigned count = 0;
        unsigned chunked = 0;
        bool last = false;
        while (const auto coding = next_element(codings)) {
            last = same_name(*coding, "chunked");
            chunked += last ? 1 : 0;
            ++count;
        }
        if (!last || chunked > 1) return 400;
        if (count > 1) return 501;
        chunked_ = true;
        decoder_.begin(limits_.body, limits_.head);
        return 0;
    }
    if (!has_length) return 0;
    // A list of equal lengths could be taken for one (6.3); it is refused all the same.
    if ((repeated_ & bit(Known::content_length)) != 0) return 400;
    const auto length = parse_number(value(Known::content_length));
    if (!length) return 400;
    if (*length > limits_.body) return 413;  // I3
    left_ = *length;
    return 0;
}

}  // namespace http
