#include "body.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace http {

using umbel::operator""_KiB;

bool send_slice(umbel::self& me, Connection& wire, const umbel::file& file, Slice slice, int flags) {
    constexpr std::size_t smallest_block = 4_KiB;
    const std::uint64_t end = slice.offset + slice.length;
    std::uint64_t offset = slice.offset;
    std::size_t block = largest_block;
    const auto read_next = [&] { return me.read(file, std::min<std::uint64_t>(block, end - offset), offset); };
    if (offset == end) return true;
    umbel::pending<umbel::buffer> next = read_next();
    while (offset < end) {
        auto got = me.await(std::exchange(next, {}));
        if (!got && got.error().code == UMBEL_E_IO_HEAP_FULL && block > smallest_block) {
            block /= 2;
            if (!wire.flush()) return false;
            next = read_next();
            continue;
        }
        if (!got || got->empty()) return false;
        offset += got->size();
        if (!wire.send(std::move(*got), offset < end ? 0 : flags)) return false;
        if (offset < end) next = read_next();
    }
    return true;
}

}  // namespace http
