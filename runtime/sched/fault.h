// fault.h: what happens when an actor's code touches memory that is not there.
//
// Why.    An actor that recurses without end must not take the daemon with it, and a crash of native code must at least say
//         whose it was.
// Shape.  One handler for SIGSEGV and SIGBUS, on a signal stack of each executor's thread:
//           the address is in the guard of the running actor's stack, and the code that touched it is a plugin's own:
//               the actor ends with the reason "stack overflow". Its stack is abandoned, so nothing of the runtime or of a
//               library may be open on it: that is why foreign code (libc, the runtime) does not qualify
//           anything else: a line on stderr with actor, plugin and address, a backtrace, and then the signal's default
// Owner.  The process, once. Executors' threads enter it.
//
// Invariants
//   F1  the handler allocates nothing and takes no lock
//
// Not here.  Guards: memory/slot_store.h.
#pragma once

#include <cstddef>

#include "runtime/sched/executor.h"

namespace umbel::rt {

/// Makes the handlers the process's, and gives this executor's thread a signal stack, as long as it lives.
class FaultGuard {
public:
    explicit FaultGuard(Executor& executor);
    ~FaultGuard();
    FaultGuard(const FaultGuard&) = delete;
    FaultGuard& operator=(const FaultGuard&) = delete;

private:
    std::byte* stack_;
    std::size_t stack_bytes_;
};

/// The machine code of the library that `symbol` lies in is a plugin's. [control]
void register_plugin_code(const void* symbol);

}  // namespace umbel::rt
