#include "response.h"

#include <algorithm>

#include "multipart.h"

namespace http {

namespace {

struct Reason {
    int status;
    std::string_view text;
};

// The registry of HTTP status codes.
constexpr std::array reasons = {
    Reason{100, "Continue"},
    Reason{200, "OK"},
    Reason{201, "Created"},
    Reason{202, "Accepted"},
    Reason{203, "Non-Authoritative Information"},
    Reason{204, "No Content"},
    Reason{205, "Reset Content"},
    Reason{206, "Partial Content"},
    Reason{300, "Multiple Choices"},
    Reason{301, "Moved Permanently"},
    Reason{302, "Found"},
    Reason{303, "See Other"},
    Reason{304, "Not Modified"},
    Reason{307, "Temporary Redirect"},
    Reason{308, "Permanent Redirect"},
    Reason{400, "Bad Request"},
    Reason{401, "Unauthorized"},
    Reason{402, "Payment Required"},
    Reason{403, "Forbidden"},
    Reason{404, "Not Found"},
    Reason{405, "Method Not Allowed"},
    Reason{406, "Not Acceptable"},
    Reason{408, "Request Timeout"},
    Reason{409, "Conflict"},
    Reason{410, "Gone"},
    Reason{411, "Length Required"},
    Reason{412, "Precondition Failed"},
    Reason{413, "Content Too Large"},
    Reason{414, "URI Too Long"},
    Reason{415, "Unsupported Media Type"},
    Reason{416, "Range Not Satisfiable"},
    Reason{417, "Expectation Failed"},
    Reason{421, "Misdirected Request"},
    Reason{422, "Unprocessable Content"},
    Reason{423, "Locked"},
    Reason{424, "Failed Dependency"},
    Reason{425, "Too Early"},
    Reason{426, "Upgrade Required"},
    Reason{428, "Precondition Required"},
    Reason{429, "Too Many Requests"},
    Reason{431, "Request Header Fields Too Large"},
    Reason{451, "Unavailable For Legal Reasons"},
    Reason{500, "Internal Server Error"},
    Reason{501, "Not Implemented"},
    Reason{502, "Bad Gateway"},
    Reason{503, "Service Unavailable"},
    Reason{504, "Gateway Timeout"},
    Reason{505, "HTTP Version Not Supported"},
    Reason{507, "Insufficient Storage"},
    Reason{511, "Network Authentication Required"},
};

// What a file's answers have in common but its type and length.
void put_representation(std::string& head, const Representation& file) {
    put_header(head, "Last-Modified", date(file.validators.modified));
    put_header(head, "ETag", file.validators.etag);
    if (file.varies) put_header(head, "Vary", "Accept-Encoding");
}

void put_content(std::string& head, std::string_view type, std::uint64_t length, std::string_view coding) {
    put_header(head, "Content-Type", type);
    put_header(head, "Content-Length", std::to_string(length));
    if (!coding.empty()) put_header(head, "Content-Encoding", coding);
}

}  // namespace

std::string_view reason(int status) {
    const auto* const found = std::ranges::find(reasons, status, &Reason::status);
    return found == reasons.end() ? std::string_view() : found->text;
}

std::string first_lines(int status) {
    std::string lines = "HTTP/1.1 " + std::to_string(status) + " ";
    lines.append(reason(status)).append("\r\nServer: umbel\r\n");
    return lines;
}

void put_header(std::string& head, std::string_view name, std::string_view value) {
    head.append(name).append(": ").append(value).append("\r\n");
}

std::string file_head(const Representation& file) {
    std::string head = first_lines(200);
    put_content(head, file.content_type, file.size, file.coding);
    put_header(head, "Accept-Ranges", "bytes");
    put_representation(head, file);
    return head;
}

std::string part_of_file_head(const Representation& file, const Slice& slice) {
    std::string head = first_lines(206);
    put_content(head, file.content_type, slice.length, file.coding);
    put_header(head, "Content-Range", content_range(slice, file.size));
    put_representation(head, file);
    return head;
}

std::string parts_of_file_head(const Representation& file, std::string_view boundary, std::uint64_t length) {
    std::string head = first_lines(206);
    put_content(head, "multipart/byteranges; boundary=" + std::string(boundary), length, file.coding);
    put_representation(head, file);
    return head;
}

std::string not_modified_head(const Representation& file) {
    std::string head = first_lines(304);
    put_representation(head, file);
    return head;
}

Page status_page(int status, std::string_view header) {
    std::string title = std::to_string(status);
    if (const std::string_view text = reason(status); !text.empty()) title.append(" ").append(text);
    Page page;
    page.status = status;
    page.body = "<!doctype html>\n<title>" + title + "</title>\n<h1>" + title + "</h1>\n";
    page.head = first_lines(status);
    page.head.append(header);
    put_content(page.head, "text/html; charset=utf-8", page.body.size(), {});
    return page;
}

Page redirect_page(std::string_view location) {
    return status_page(301, "Location: " + std::string(location) + "\r\n");
}

Page unsatisfiable_page(std::uint64_t size) {
    return status_page(416, "Content-Range: bytes */" + std::to_string(size) + "\r\n");
}

Page options_page(std::string_view allow) {
    Page page;
    page.status = 204;
    page.head = first_lines(204);
    put_header(page.head, "Allow", allow);
    return page;
}

Page html_page(std::string body) {
    Page page;
    page.status = 200;
    page.head = first_lines(200);
    put_content(page.head, "text/html; charset=utf-8", body.size(), {});
    page.body = std::move(body);
    return page;
}

std::string_view Ending::text(std::int64_t seconds, Connection connection) {
    if (seconds != seconds_ || connection != connection_ || size_ == 0) {
        constexpr std::string_view name = "Date: ";
        constexpr std::array<std::string_view, 3> lines = {"\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n",
                                                           "\r\nConnection: close\r\n\r\n"};
        const std::string_view line = lines[static_cast<std::size_t>(connection)];
        static_assert(name.size() + date_size + lines[1].size() <= sizeof text_);
        name.copy(text_.data(), name.size());
        put_date(text_.data() + name.size(), seconds);
        line.copy(text_.data() + name.size() + date_size, line.size());
        size_ = name.size() + date_size + line.size();
        seconds_ = seconds;
        connection_ = connection;
    }
    return {text_.data(), size_};
}

}  // namespace http
