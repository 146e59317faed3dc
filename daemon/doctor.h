// doctor.h: `umbelctl doctor`: does this machine let umbeld run, and run well?
//
// Why.    The refusals an operator meets have few causes (io_uring switched off, limits, overcommit). Each is looked for
//         before the daemon is started, and each is said with its remedy.
// Shape.  facts() reads the machine; diagnose() judges facts, and is what tests drive.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/base/units.h"

namespace umbel::daemon {

struct MachineFacts {
    std::string kernel;                      // "Linux 6.18.44"
    rt::Result<std::string> ring = "";       // what a ring of the default size offers, or why there is none
    std::optional<int> io_uring_disabled;    // kernel.io_uring_disabled, where there is such a setting
    rt::Bytes ring_memory;                   // locked memory one executor's ring needs
    std::size_t executors = 1;               // as many as CPUs this process may run on
    std::optional<rt::Bytes> memlock_limit;  // RLIMIT_MEMLOCK; none: unlimited
    bool may_exceed_memlock = false;         // CAP_IPC_LOCK
    std::uint64_t descriptor_limit = 0;      // RLIMIT_NOFILE, soft
    std::optional<rt::Bytes> address_space;  // RLIMIT_AS; none: unlimited
    int overcommit_memory = 0;               // vm.overcommit_memory
};

enum class Health : std::uint8_t { good, poor, broken };

struct Finding {
    Health health = Health::good;
    std::string text;    // what was found
    std::string remedy;  // "" if it is good
};

[[nodiscard]] MachineFacts facts();
[[nodiscard]] std::vector<Finding> diagnose(const MachineFacts& facts);

}  // namespace umbel::daemon
