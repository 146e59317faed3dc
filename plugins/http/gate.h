// gate.h: where connections come in, one gate on each executor.
//
// Why.    Somebody must say who may come in, and with which settings and routes a session works; both may change.
// Shape.  The gate has the executor's listener and the current Served. It spawns a session for each connection it lets in,
//         hands a new Served to the sessions that ask (they do when theirs is outdated), and enters the routes that actors
//         register with it (umbel/http.h). Connections over a limit get a short answer and are closed.
// Owner.  Itself; it lives until the daemon ends, because requests in flight may need it while the daemon drains.
#pragma once

#include <cstdint>

#include "admission.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {

/// Session → gate: what is served now?
struct ServedQuestion {
    std::uint32_t reserved = 0;
};
/// Gate → session.
struct ServedAnswer {
    const Served* served = nullptr;  // packed
};
/// Main → gate: from now on, this.
struct SiteChanged {
    const Site* site = nullptr;  // packed
};
/// Session → gate: this actor, which answers a route, has ended.
struct AnswererEnded {
    umbel::actor_id actor;
};

/// A number that nobody outside can guess, the same as long as the process lives.
std::uint64_t secret();
/// How many connections there are, on all executors.
ConnectionCounts& connection_counts();

/// site: packed. cache: this executor's FileCache.
void gate(umbel::self& me, umbel::socket listener, const Site* site, umbel::actor_id cache);

}  // namespace http
