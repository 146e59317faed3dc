// encoding.h: content codings: in which of the forms that lie ready a file is sent.
//
// Shape.  Pure functions. A Coding is the file beside the file: page.html.br, page.html.zst, page.html.gz.
// Source. RFC 9110, 12.5.3.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace http {

enum class Coding : std::uint8_t { brotli, zstandard, gzip };
constexpr std::size_t coding_count = 3;

struct CodingInfo {
    std::string_view name;    // in Accept-Encoding and Content-Encoding
    std::string_view suffix;  // of the file
};
constexpr std::array<CodingInfo, coding_count> codings = {{{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"}}};
constexpr const CodingInfo& info(Coding coding) { return codings[static_cast<std::size_t>(coding)]; }
std::optional<Coding> coding_named(std::string_view name);

/// Codings in an order of preference, without repetition.
class CodingList {
public:
    void add(Coding coding) {
        for (const Coding have : *this) {
            if (have == coding) return;
        }
        items_[size_++] = coding;
    }
    [[nodiscard]] const Coding* begin() const { return items_.data(); }
    [[nodiscard]] const Coding* end() const { return items_.data() + size_; }
    [[nodiscard]] bool empty() const { return size_ == 0; }

private:
    std::array<Coding, coding_count> items_{};
    std::size_t size_ = 0;
};

/// What the client accepts of what `offered` lists, the best first: by its weight, then by our order. A coding that is
/// weighed less than no coding at all is left out. (A client that forbids the plain form, identity;q=0, gets it all the same
/// if there is no other: an answer it may not want is of more use than none, and 12.5.3 allows it.)
CodingList acceptable(const CodingList& offered, std::string_view accept_encoding);

/// Weights, 0 … 1000 thousandths; nullopt: the text is no weight (12.4.2).
std::optional<unsigned> parse_weight(std::string_view text);

}  // namespace http
