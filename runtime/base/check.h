// check.h: the two spellings of "this is a programmer's error".
//
// Why.    An operating error is a Result (result.h) and somebody handles it. A broken invariant is neither
//         handled nor ignored: the process stops where it is, and says which condition failed.
// Shape.  CHECK is always on and costs a predicted branch. DCHECK is for proofs that cost more (walking a
//         structure, a condition on the hot path): on in dev, asan, tsan and fuzz builds, compiled but never
//         evaluated in release. One condition per check.
// Not here.  Anything an operator or a plugin can cause: those are errors, not checks.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace umbel::rt {

/// Prints `FILE:LINE: check failed: CONDITION` to stderr and aborts.
[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) noexcept {
    std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    std::abort();
}

}  // namespace umbel::rt

#define UMBEL_CHECK(condition)                                                \
    (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) \
                                                       : ::umbel::rt::check_failed(#condition, __FILE__, __LINE__))
#define CHECK(condition) UMBEL_CHECK(condition)

#if defined(UMBEL_DCHECKS)
#define DCHECK(condition) UMBEL_CHECK(condition)
#else
#define DCHECK(condition) static_cast<void>(sizeof(static_cast<bool>(condition)))
#endif
