#include "request.h"

#include <strings.h>

#include <algorithm>

namespace http {

namespace {

bool same_name(std::string_view a, std::string_view b) {
    return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// RFC 9110, 5.6.2.
bool is_token(std::string_view text) {
    static constexpr auto table = [] {
        std::array<bool, 256> allowed{};
        for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789"
                                             "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
            allowed[static_cast<unsigned char>(c)] = true;
        return allowed;
    }();
    return !text.empty() && std::ranges::all_of(text, [](char c) { return table[static_cast<unsigned char>(c)]; });
}

bool has_controls(std::string_view text) {
    return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) <= 0x20 || c == 0x7f; });
}

bool known_method(std::string_view name) {
    constexpr unsigned count = HTTP_SOURCE + 1;
    for (unsigned i = 0; i < count; ++i) {
        if (name == http_method_str(static_cast<http_method>(i))) return true;
    }
    return false;
}

}  // namespace

struct RequestParser::Callbacks {
    static RequestParser& of(http_parser* parser) { return *static_cast<RequestParser*>(parser->data); }

    static int url(http_parser* parser, const char* at, std::size_t size) {
        RequestParser& me = of(parser);
        me.target_.append(at, size);
        if (me.target_.text().size() <= me.limits_.target) return 0;
        me.refuse(414);
        return -1;
    }

    static int header_name(http_parser* parser, const char* at, std::size_t size) {
        RequestParser& me = of(parser);
        if (!me.in_name_) {
            me.name_.clear();
            me.in_name_ = true;
        }
        me.name_.append(at, size);
        return 0;
    }

    static int header_value(http_parser* parser, const char* at, std::size_t size) {
        RequestParser& me = of(parser);
        if (me.in_name_) {
            me.in_name_ = false;
            // http-parser does not look at a value's first byte.
            const bool odd = size > 0 && has_controls({at, 1}) && *at != ' ' && *at != '\t';
            if (odd || !is_token(me.name_.text())) {
                me.refuse(400);
                return -1;
            }
            me.header_ = named(me.name_.text());
            if (me.header_ == Header::host) ++me.hosts_;
            // A list may be spread over several headers of one name.
            if (Gathered* list = me.wanted(); list != nullptr && !list->text().empty()) list->append(", ", 2);
        }
        if (Gathered* value = me.wanted(); value != nullptr && size > 0) value->append(at, size);
        return 0;
    }

    static int head_complete(http_parser* parser) { return of(parser).head_complete(); }

    static int body(http_parser* parser, const char*, std::size_t size) {
        RequestParser& me = of(parser);
        me.body_size_ += size;
        if (me.body_size_ <= me.limits_.body) return 0;  // I3
        me.refuse(413);
        return -1;
    }

    static int complete(http_parser* parser) {
        of(parser).state_ = State::complete;
        http_parser_pause(parser, 1);  // I2: what follows is the next request's.
        return 0;
    }

    static Header named(std::string_view name) {
        switch (name.size()) {
            case 4:
                return same_name(name, "host") ? Header::host : Header::other;
            case 6:
                return same_name(name, "expect") ? Header::expect : Header::other;
            case 13:
                return same_name(name, "if-none-match") ? Header::if_none_match : Header::other;
            case 17:
                if (same_name(name, "transfer-encoding")) return Header::transfer_encoding;
                return same_name(name, "if-modified-since") ? Header::if_modified_since : Header::other;
            default:
                return Header::other;
        }
    }

    static const http_parser_settings& table() {
        static constexpr http_parser_settings settings = {
            .on_message_begin = nullptr,
            .on_url = url,
            .on_status = nullptr,
            .on_header_field = header_name,
            .on_header_value = header_value,
            .on_headers_complete = head_complete,
            .on_body = body,
            .on_message_complete = complete,
            .on_chunk_header = nullptr,
            .on_chunk_complete = nullptr,
        };
        return settings;
    }
};

RequestParser::RequestParser(Limits limits) : limits_(limits) { begin(); }

void RequestParser::begin() {
    http_parser_init(&parser_, HTTP_REQUEST);
    parser_.data = this;
    state_ = State::waiting;
    method_ = Method::other;
    method_known_ = false;
    keep_alive_ = false;
    in_name_ = false;
    header_ = Header::other;
    status_ = 0;
    hosts_ = 0;
    head_size_ = 0;
    body_size_ = 0;
    method_size_ = 0;
    name_.clear();
    target_.clear();
    transfer_encoding_.clear();
    expect_.clear();
    if_none_match_.clear();
    if_modified_since_.clear();
}

void RequestParser::keep() {
    if (state_ == State::waiting) return;  // There is nothing to keep, and what comes need not be copied.
    name_.own();
    target_.own();
    transfer_encoding_.own();
    expect_.own();
    if_none_match_.own();
    if_modified_since_.own();
}

std::size_t RequestParser::feed(std::string_view bytes) {
    std::size_t used = 0;
    while (used < bytes.size() && !finished()) {
        std::string_view rest = bytes.substr(used);
        if (state_ == State::body) {
            used += parse(rest);
            continue;
        }
        rest = rest.substr(0, limits_.head - head_size_);
        const std::size_t taken = method_known_ ? parse(rest) : take_method(rest);
        head_size_ += taken;  // Counts too much if the head ended on the way, and is not used again then.
        used += taken;
        if (state_ <= State::head && head_size_ == limits_.head) refuse(431);  // I3
    }
    return used;
}

// http-parser gives up on an unknown method in its middle; whether it is one (501) or no HTTP at all (400) shows at its
// end, so the method is gathered first and handed on afterwards.
std::size_t RequestParser::take_method(std::string_view bytes) {
    if (method_size_ == 0 && bytes.starts_with("GET ")) {  // It goes to http-parser with the rest, in one piece.
        state_ = State::head;
        method_ = Method::get;
        method_known_ = true;
        return parse(bytes);
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const char c = bytes[i];
        if (method_size_ == 0 && (c == '\r' || c == '\n')) continue;  // Empty lines before a request are allowed.
        state_ = State::head;
        const bool of_method = (c >= 'A' && c <= 'Z') || c == '-';
        if (of_method && method_size_ + 1 < method_text_.size()) {
            method_text_[method_size_++] = c;
            continue;
        }
        const std::string_view method(method_text_.data(), method_size_);
        if (c != ' ' || method.empty()) {
            refuse(400);
        } else if (method != "GET" && method != "HEAD" && !known_method(method)) {
            refuse(501);
        } else {
            method_ = method == "GET" ? Method::get : method == "HEAD" ? Method::head : Method::other;
            method_known_ = true;
            method_text_[method_size_] = ' ';
            parse({method_text_.data(), method_size_ + 1});
        }
        return i + 1;
    }
    return bytes.size();
}

// Debian's http-parser is built without its strict mode; what that mode would refuse and matters is refused here: names
// that are no tokens, controls in the target, a head that does not end with LF. (What it lets pass in chunked bodies is
// why a connection ends after one.)
std::size_t RequestParser::parse(std::string_view bytes) {
    const auto execute = [&](std::string_view rest) {
        return http_parser_execute(&parser_, &Callbacks::table(), rest.data(), rest.size());
    };
    std::size_t taken = execute(bytes);
    if (HTTP_PARSER_ERRNO(&parser_) == HPE_PAUSED && state_ == State::body) {
        // head_complete() has paused it in front of the head's last byte.
        if (taken >= bytes.size() || bytes[taken] != '\n') {
            refuse(400);
            return taken;
        }
        http_parser_pause(&parser_, 0);
        taken += execute(bytes.substr(taken));
    }
    if (finished()) return taken;
    switch (HTTP_PARSER_ERRNO(&parser_)) {
        case HPE_OK:
            return taken;
        case HPE_HEADER_OVERFLOW:
            refuse(431);
            return taken;
        default:
            refuse(400);
            return taken;
    }
}

void RequestParser::refuse(int status) {
    state_ = State::refused;
    status_ = status;
    keep_alive_ = false;
}

Gathered* RequestParser::wanted() {
    switch (header_) {
        case Header::transfer_encoding:
            return &transfer_encoding_;
        case Header::expect:
            return &expect_;
        case Header::if_none_match:
            return &if_none_match_;
        case Header::if_modified_since:
            return &if_modified_since_;
        case Header::host:
        case Header::other:
            break;
    }
    return nullptr;
}

int RequestParser::head_complete() {
    constexpr auto unknown = ~std::uint64_t{0};  // What http-parser has for a body without Content-Length.
    const bool chunked = (parser_.flags & F_CHUNKED) != 0;
    const bool has_length = parser_.content_length != unknown;
    const bool old_version = parser_.http_minor == 0;
    const bool coded = parser_.uses_transfer_encoding != 0;

    int refusal = 0;
    if (parser_.http_major == 0 && parser_.http_minor == 9) {
        refusal = 400;  // "GET /" without a version.
    } else if (parser_.http_major != 1) {
        refusal = 505;
    } else if (has_controls(target_.text())) {
        refusal = 400;
    } else if (hosts_ > 1 || (hosts_ == 0 && !old_version)) {
        refusal = 400;
    } else if (coded && (old_version || has_length)) {
        refusal = 400;  // Two parsers could see two different ends of this request.
    } else if (coded && !(chunked && same_name(transfer_encoding_.text(), "chunked"))) {
        refusal = 501;
    } else if (has_length && parser_.content_length > limits_.body) {
        refusal = 413;  // I3
    } else if (!expect_.text().empty() && (chunked || (has_length && parser_.content_length > 0))) {
        refusal = 417;  // Nothing is done with bodies, so no client is asked to go on.
    }
    if (refusal != 0) {
        refuse(refusal);
        return -1;
    }
    keep_alive_ = http_should_keep_alive(&parser_) != 0;
    // What follows a CONNECT is not HTTP. What follows a chunked body, two parsers could disagree about.
    if (parser_.method == HTTP_CONNECT || chunked) keep_alive_ = false;
    parser_.upgrade = 0;  // "Upgrade" may be ignored, and is.
    state_ = State::body;
    http_parser_pause(&parser_, 1);  // Goes on in parse().
    return 0;
}

}  // namespace http
