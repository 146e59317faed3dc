// Spec.   RequestParser: the outcome does not depend on how the bytes were cut (I1); nothing behind a request's end is
//         consumed, and everything before it is (I2); limits hold (I3).                              (request.h)
// Method. The input is a connection's bytes. They are parsed as one piece and in pieces whose sizes come from the input
//         itself, each in memory that is gone afterwards; both must see the same requests.

#include "plugins/http/request.h"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "plugins/http/path.h"

namespace {

using http::RequestParser;

struct Seen {
    int status = 0;
    http::Method method = http::Method::other;
    bool keep_alive = false;
    bool expects_continue = false;
    std::string target;
    std::string fields;
    std::string lists;
    std::string body;
    std::size_t end = 0;  // of a complete request
    bool operator==(const Seen&) const = default;
};

void require(bool condition) {
    if (!condition) std::abort();
}

constexpr http::Limits limits{.target = 64, .head = 256, .fields = 8, .body = 64};

template <class NextSize>
std::vector<Seen> requests(std::string_view bytes, NextSize next_size) {
    std::vector<Seen> all;
    RequestParser parser(limits);
    std::size_t at = 0;
    while (at < bytes.size()) {
        parser.begin();
        std::string body;
        while (!parser.finished() && at < bytes.size()) {
            const std::string_view wanted = bytes.substr(at, next_size());
            const std::unique_ptr<char[]> piece(new char[wanted.size()]);
            wanted.copy(piece.get(), wanted.size());
            const bool in_body = parser.state() == RequestParser::State::body;
            const std::size_t taken = parser.feed({piece.get(), wanted.size()});
            require(taken <= wanted.size());
            at += taken;
            if (parser.state() == RequestParser::State::body) {
                parser.keep_body(&body);
                if (!in_body) continue;  // It stops behind the head.
            }
            if (!parser.finished()) {
                require(taken == wanted.size());  // I2
                continue;
            }
            Seen seen;
            seen.status = parser.state() == RequestParser::State::refused ? 1 : 0;
            if (parser.state() == RequestParser::State::complete) {
                require(parser.target().size() <= limits.target && body.size() <= limits.body);  // I3
                require(parser.field_count() <= limits.fields);                                  // I3
                seen.method = parser.method();
                seen.keep_alive = parser.keep_alive();
                seen.expects_continue = parser.expects_continue();
                seen.target = parser.target();
                for (std::size_t i = 0; i < parser.field_count(); ++i)
                    seen.fields.append(parser.field(i).name).append(":").append(parser.field(i).value).append("\n");
                for (unsigned known = 0; known < static_cast<unsigned>(http::Known::none); ++known)
                    seen.lists.append(parser.value(static_cast<http::Known>(known))).append("|");
                seen.body = body;
                seen.end = at;
            }
            all.push_back(std::move(seen));
            if (parser.state() == RequestParser::State::refused) return all;
        }
    }
    return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto whole = requests(bytes, [&] { return bytes.size(); });
    const auto single = requests(bytes, [] { return std::size_t{1}; });
    std::size_t step = 0;
    const auto mixed = requests(bytes, [&] { return static_cast<std::size_t>(data[step++ % size] % 16) + 1; });
    require(whole == single && whole == mixed);  // I1
    std::string path;
    for (const Seen& seen : whole) (void)http::parse_target(seen.target, path);
    return 0;
}
