// Spec.   What parse_target lets through names a file below the root: no "..", no empty segment, no NUL, no backslash, no
//         control character, no slash in front; and encoding it again gives a target that means the same.  (path.h)

#include "plugins/http/path.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view target(reinterpret_cast<const char*>(data), size);
    std::string path;
    const int status = http::parse_target(target, path);
    require(status == 0 || status == 400 || status == 414);
    if (status != 0) return 0;

    require(path.size() <= http::path_max);
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        require(byte >= 0x20 && byte != 0x7f && c != '\\');
    }
    std::size_t begin = 0;
    while (begin < path.size()) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string_view segment = std::string_view(path).substr(begin, end - begin);
        require(!segment.empty() && segment != "." && segment != "..");
        begin = end + 1;
    }
    std::string again;
    require(http::parse_target("/" + http::encode_path(path), again) == 0 && again == path);
    return 0;
}
