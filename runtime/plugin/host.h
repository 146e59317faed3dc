// host.h: the table of functions a plugin sees: each finds the calling actor's context and its executor.
//
// Why.    C on one side, C++ on the other, and nothing in between that could fail on its own.
// Not here.  Contracts: abi.h. What the functions do: sched/actor_calls.cpp.
#pragma once

#include "umbel/abi.h"

namespace umbel::rt {

/// The one table of this process; every plugin and every context points to it.
[[nodiscard]] const umbel_host& host_table();

}  // namespace umbel::rt
