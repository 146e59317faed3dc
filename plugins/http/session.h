// session.h: one connection, from its first request to its end.
//
// Why.    What a server does, in the order in which it does it: receive a request, find out who answers it (an actor, a
//         file, a folder, this page), send the answer, again.
// Shape.  Straight-line code in one actor a connection. What is said is decided in pure functions elsewhere (request.h,
//         condition.h, range.h, encoding.h, response.h); here it is waited and sent.
// Owner.  The actor; it lives on its stack.
#pragma once

#include <cstdint>

#include "site.h"
#include "umbel/umbel.h"

namespace http {

/// The actor of a connection. served: packed. cache: this executor's FileCache. address: address_key() of the client.
void session(umbel::self& me, umbel::socket peer, const Served* served, umbel::actor_id gate, umbel::actor_id cache,
             std::uint64_t address);

}  // namespace http
