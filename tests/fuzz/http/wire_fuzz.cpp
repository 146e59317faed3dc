// Spec.   What travels between http and the actors that answer its routes is decoded to views that lie within it, or refused;
//         what was decoded is encoded to the same again; headers that are let through are lines, and none of them is one that
//         http writes itself.                                                                  (umbel/http_wire.h, W1, W2)

#include "umbel/http_wire.h"

#include <cstdlib>
#include <memory>

namespace {

namespace wire = umbel::http::wire;

void require(bool condition) {
    if (!condition) std::abort();
}

bool within(std::string_view part, std::string_view whole) {
    return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_headers(std::string_view lines) {
    while (!lines.empty()) {
        const std::size_t end = lines.find('\n');
        require(end != std::string_view::npos && end > 0 && lines[end - 1] == '\r');
        const std::string_view line = lines.substr(0, end - 1);
        require(line.find('\r') == std::string_view::npos && line.find('\0') == std::string_view::npos);
        const std::size_t colon = line.find(':');
        require(colon != std::string_view::npos && colon > 0 && !wire::is_reserved(line.substr(0, colon)));
        lines.remove_prefix(end + 1);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::unique_ptr<char[]> copy(new char[size]);
    const std::string_view block(copy.get(), size);
    std::string_view(reinterpret_cast<const char*>(data), size).copy(copy.get(), size);
    const auto bytes = std::as_bytes(std::span(block));

    if (const auto request = wire::decode_request(block)) {
        for (const std::string_view text :
             {request->method, request->target, request->path, request->peer, request->body})
            require(within(text, block));
        for (const auto& [name, value] : request->headers) require(within(name, block) && within(value, block));
        require(wire::encode_request(*request) == block);  // W1
        (void)wire::query_parameter(request->target, request->path);
    }
    wire::answer_head head;
    std::string_view headers;
    std::size_t head_size = 0;
    if (wire::decode_answer_head(block, 4096, head, headers, head_size) == wire::answer_state::complete) {
        require(head_size <= size && within(headers, block));
        check_headers(headers);  // W2
    }
    wire::part part;
    std::string_view rest;
    if (wire::decode_part(bytes, part, rest)) require(wire::encode_part(part, rest) == block);
    std::uint32_t executor = 0;
    if (wire::decode_join(bytes, executor, rest)) require(wire::encode_join(executor, rest) == block);
    (void)wire::query_parameter(block, "a");
    const std::string printed = wire::printable(block);
    for (const char c : printed) require(c >= 0x20 && c < 0x7f);
    return 0;
}
