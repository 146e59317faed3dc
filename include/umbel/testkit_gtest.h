// testkit_gtest.h: GoogleTest and the test kit: walks a test through many seeds, and says which one it was.
//
// Shape.  Half of the seeds are 1, 2, 3 …, the same in every run; the other half begin at this run's own seed, so that runs
//         go on finding new ones. UMBEL_SEED=N runs that one alone, UMBEL_SEEDS=N so many of them.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "umbel/testkit.h"

namespace umbel::testkit {

namespace detail {
inline std::array<char, 96> seed_line{};
inline std::size_t seed_line_length = 0;
inline void name_the_seed(int) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, seed_line.data(), seed_line_length);
}
}  // namespace detail

/// Calls body(seed) for `count` seeds, or for the one that was asked for. Stops at the first that fails, and names it.
template <class Body>
void for_each_seed(unsigned count, Body&& body) {
    const auto once = [&](std::uint64_t seed) {
        const int length = std::snprintf(detail::seed_line.data(), detail::seed_line.size(),
                                         "\naborted at UMBEL_SEED=%llu\n", static_cast<unsigned long long>(seed));
        detail::seed_line_length = static_cast<std::size_t>(length);
        const auto before = std::signal(SIGABRT, detail::name_the_seed);  // a broken invariant of the runtime
        SCOPED_TRACE("again: UMBEL_SEED=" + std::to_string(seed));
        try {
            body(seed);
        } catch (const std::exception& thrown) {
            ADD_FAILURE() << thrown.what();
        }
        std::signal(SIGABRT, before);
    };
    if (const auto wanted = requested_seed()) return once(*wanted);
    unsigned long seeds = count;
    if (const char* given = std::getenv("UMBEL_SEEDS")) seeds = std::strtoul(given, nullptr, 10);
    for (unsigned long i = 0; i < seeds && !testing::Test::HasFailure(); ++i) {
        once(i % 2 == 0 ? 1 + i / 2 : seed() + i / 2);
    }
}

}  // namespace umbel::testkit
