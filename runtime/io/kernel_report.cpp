#include "runtime/io/kernel_report.h"

#include "runtime/io/real_ring.h"

namespace umbel::rt {

Result<std::string> kernel_report(unsigned ring_entries, unsigned completion_entries) {
    RingOptions options;
    options.submission_entries = ring_entries;
    options.completion_entries = completion_entries;
    const auto ring = RealRing::create(options);
    if (!ring) return std::unexpected(ring.error());
    return (*ring)->features().summary();
}

Bytes locked_memory(unsigned ring_entries, unsigned completion_entries) {
    return ring_memory(ring_entries, completion_entries);
}

}  // namespace umbel::rt
