#include "multipart.h"

namespace http {

std::string content_range(const Slice& slice, std::uint64_t size) {
    return "bytes " + std::to_string(slice.offset) + "-" + std::to_string(slice.offset + slice.length - 1) + "/" +
           std::to_string(size);
}

std::string boundary(std::uint64_t secret, std::uint64_t serial) {
    std::string text = "umbel-";
    std::uint64_t state = secret ^ (serial * 0x9e3779b97f4a7c15U);
    for (int i = 0; i < 2; ++i) {
        // splitmix64.
        std::uint64_t mixed = state += 0x9e3779b97f4a7c15U;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
        mixed ^= mixed >> 31;
        for (int digit = 0; digit < 16; ++digit) text.push_back("0123456789abcdef"[(mixed >> (4 * digit)) & 15]);
    }
    return text;
}

std::string part_head(std::string_view boundary, std::string_view content_type, const Slice& slice,
                      std::uint64_t size) {
    std::string head = "\r\n--";
    head.append(boundary).append("\r\nContent-Type: ").append(content_type);
    head.append("\r\nContent-Range: ").append(content_range(slice, size)).append("\r\n\r\n");
    return head;
}

std::string parts_end(std::string_view boundary) { return "\r\n--" + std::string(boundary) + "--\r\n"; }

std::uint64_t parts_length(std::string_view boundary, std::string_view content_type, std::span<const Slice> slices,
                           std::uint64_t size) {
    std::uint64_t length = parts_end(boundary).size();
    for (const Slice& slice : slices) length += part_head(boundary, content_type, slice, size).size() + slice.length;
    return length;
}

}  // namespace http
