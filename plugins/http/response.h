// response.h: the text of responses.
//
// Why.    What a response says is pure text; here it can be tested without a socket.
// Shape.  A response's head is made of two parts: what belongs to the file (file_head, made once for a cached file) and
//         what belongs to the moment and the connection (Ending: Date, Connection, the empty line).
// Source. RFC 9110 (semantics), RFC 9112 (HTTP/1.1).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace http {

/// "OK", "Not Found", …
std::string_view reason(int status);

/// "Sun, 06 Nov 1994 08:49:37 GMT"; seconds since 1970, of the years 1970 … 9999.
std::string date(std::int64_t seconds);
/// Reads what date() writes; nothing else (the two older forms are from before HTTP/1.1).
std::optional<std::int64_t> parse_date(std::string_view text);

/// What a client has of a file, and whether it is still that.
struct Validators {
    std::string etag;           // W/"…": made of size and time of change
    std::int64_t modified = 0;  // seconds since 1970
};
Validators validators(std::uint64_t size, std::int64_t modified_s, std::uint32_t modified_ns);
/// The client's copy is good: 304. If-None-Match wins over If-Modified-Since (RFC 9110, 13.2.2).
bool not_modified(const Validators& file, std::string_view if_none_match, std::string_view if_modified_since);

/// Status line and headers of a file, all but the Ending.
std::string file_head(std::string_view content_type, std::uint64_t size, const Validators& validators);
/// The same for 304.
std::string not_modified_head(const Validators& validators);

/// A response that is not a file.
struct Page {
    std::string head;  // all but the Ending
    std::string body;
};
/// `header`: lines of its own ("Allow: GET, HEAD\r\n"), or "".
Page status_page(int status, std::string_view header = {});
/// 301. location: a path as it is written in a URL.
Page redirect_page(std::string_view location);

/// The last lines of a head: Date, Connection and the empty line, made new when the second changes.
class Ending {
public:
    enum class Connection : std::uint8_t { goes_on, goes_on_old, closes };  // _old: HTTP/1.0, which must be told

    /// seconds: since 1970, now. The text is valid until the next call.
    std::string_view text(std::int64_t seconds, Connection connection);

private:
    std::int64_t seconds_ = -1;
    Connection connection_ = Connection::goes_on;
    std::size_t size_ = 0;
    std::array<char, 80> text_{};
};

}  // namespace http
