// session.h: one connection, from its first request to its end.
//
// Shape.  Straight-line code in one actor a connection: receive a request, answer it, again.
// Owner.  The actor; it lives on its stack.
#pragma once

#include "site.h"
#include "umbel/umbel.h"

namespace http {

/// The largest block of a file that is in one buffer: two are, the next being read while one is sent.
constexpr std::size_t largest_block = 256 << 10;
/// What is needed of each region of a session's memory.
[[nodiscard]] std::size_t session_memory(const Site& site);

/// The actor of a connection. cache: this executor's FileCache.
void session(umbel::self& me, umbel::socket peer, const Site* site, umbel::actor_id cache);

}  // namespace http
