// seeds.h: walks a test through many seeds, and says which one it was when something breaks.
//
// Why.    A simulated run follows from one number. A failed expectation names it by a scoped trace, a failed CHECK (which
//         aborts) by a line on stderr; --seed=N then runs that one alone.
// Shape.  Half of the seeds are 1, 2, 3 …, the same in every run; the other half begin at this run's own seed, so that runs
//         go on finding new ones.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/support/seed.h"

namespace umbel::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr unsigned seed_divisor = 20;  // Ten times slower or more, and there to look at memory, not at orders.
#else
constexpr unsigned seed_divisor = 1;
#endif

namespace detail {
inline std::array<char, 96> seed_line{};
inline std::size_t seed_line_length = 0;
inline void name_the_seed(int) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, seed_line.data(), seed_line_length);
}
}  // namespace detail

/// Calls body(seed) for about `count` seeds (fewer under sanitizers; UMBEL_SIM_SEEDS overrides), or for the one that was
/// asked for. Stops at the first that fails.
template <class Body>
void for_each_seed(unsigned count, Body&& body) {
    const auto once = [&](std::uint64_t seed) {
        const int length = std::snprintf(detail::seed_line.data(), detail::seed_line.size(),
                                         "\naborted at seed %llu (again: --seed=%llu)\n",
                                         static_cast<unsigned long long>(seed), static_cast<unsigned long long>(seed));
        detail::seed_line_length = static_cast<std::size_t>(length);
        const auto before = std::signal(SIGABRT, detail::name_the_seed);
        SCOPED_TRACE("again: --seed=" + std::to_string(seed));
        body(seed);
        std::signal(SIGABRT, before);
    };
    if (const auto wanted = requested_seed()) return once(*wanted);
    unsigned long seeds = count / seed_divisor;
    if (const char* override = std::getenv("UMBEL_SIM_SEEDS")) seeds = std::strtoul(override, nullptr, 10);
    for (unsigned long i = 0; i < seeds && !testing::Test::HasFailure(); ++i) {
        once(i % 2 == 0 ? 1 + i / 2 : seed() + i / 2);
    }
}

}  // namespace umbel::test
