#include "tests/support/seed.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace umbel::test {

std::optional<std::uint64_t> requested_seed() {
    static const std::optional<std::uint64_t> requested = []() -> std::optional<std::uint64_t> {
        const char* text = std::getenv("UMBEL_SEED");  // main() puts --seed there
        if (text == nullptr || *text == '\0') return std::nullopt;
        char* end = nullptr;
        errno = 0;
        const std::uint64_t number = std::strtoull(text, &end, 0);
        if (errno != 0 || *end != '\0' || *text == '-') {
            std::fprintf(stderr, "seed '%s' is not a number from 0 to 2^64-1\n", text);
            std::exit(64);
        }
        return number;
    }();
    return requested;
}

std::uint64_t seed() {
    static const std::uint64_t chosen = requested_seed().value_or(std::random_device{}());
    return chosen;
}

}  // namespace umbel::test
