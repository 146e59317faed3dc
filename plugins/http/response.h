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
#include <string>
#include <string_view>

#include "condition.h"
#include "date.h"
#include "range.h"

namespace http {

/// "OK", "Not Found", …; "" for a status that is not registered.
std::string_view reason(int status);

/// What the head of an answer says of a file's representation.
struct Representation {
    std::string_view content_type;
    std::string_view coding;  // "": none
    std::uint64_t size = 0;
    Validators validators;
    bool varies = false;  // There are others in other codings.
};

// Status line and headers, all but the Ending.

std::string file_head(const Representation& file);
/// 206, one part or several: then `boundary` is not empty, and `length` that of the whole body.
std::string part_of_file_head(const Representation& file, const Slice& slice);
std::string parts_of_file_head(const Representation& file, std::string_view boundary, std::uint64_t length);
std::string not_modified_head(const Representation& file);
/// The first lines of any answer: the status line and Server.
std::string first_lines(int status);
void put_header(std::string& head, std::string_view name, std::string_view value);

/// A response that is not a file.
struct Page {
    int status = 0;
    std::string head;  // all but the Ending
    std::string body;
};
/// `header`: lines of its own ("Allow: GET, HEAD\r\n"), or "".
Page status_page(int status, std::string_view header = {});
/// 301. location: a path as it is written in a URL.
Page redirect_page(std::string_view location);
/// 416, with what there is.
Page unsatisfiable_page(std::uint64_t size);
/// 200 or 204 without content, for OPTIONS.
Page options_page(std::string_view allow);
Page html_page(std::string body);

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
