// kernel_report.h: what this machine's io_uring is good for, as a sentence for people.
//
// Why.    `umbelctl doctor` and `umbeld --version` ask before there is an executor, and need nothing else of a ring.
// Cost.   kernel_report(): makes a ring and gives it back.
// Not here.  What an executor finds at its start: it logs RingFeatures::summary() itself.
#pragma once

#include <string>

#include "runtime/base/result.h"
#include "runtime/base/units.h"

namespace umbel::rt {

/// Makes a ring of these sizes for the calling thread, and says what the kernel offers and lacks.
/// Errors: system; why there can be no ring, and the remedy.
[[nodiscard]] Result<std::string> kernel_report(unsigned ring_entries, unsigned completion_entries);

/// The locked memory that a ring of these sizes needs.
[[nodiscard]] Bytes locked_memory(unsigned ring_entries, unsigned completion_entries);

}  // namespace umbel::rt
