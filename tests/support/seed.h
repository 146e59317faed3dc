// seed.h: the one number from which every random choice of a test run follows.
//
// Why.    A failure that depends on chance must come back when asked to. The seed is taken from --seed=N, else from
//         UMBEL_SEED, else from the machine; it is printed at the start, and rapidcheck is given the same one.
#pragma once

#include <cstdint>
#include <optional>

namespace umbel::test {

/// The seed of this run. The same for all tests of the process.
[[nodiscard]] std::uint64_t seed();

/// The seed somebody asked for with --seed=N or UMBEL_SEED. A test that walks a range of seeds walks only this one then.
[[nodiscard]] std::optional<std::uint64_t> requested_seed();

}  // namespace umbel::test
