// body.h: the bytes of a file on their way to a client.
//
// Why.    One place knows how they get from the disk into the socket, whole files and parts of them alike.
// Shape.  A function of the session: block by block, the next being read while one is sent, none copied.
#pragma once

#include "connection.h"
#include "range.h"
#include "umbel/umbel.h"

namespace http {

/// The largest block of a file that is in one buffer: two are, the next being read while one is sent.
constexpr std::size_t largest_block = 256 << 10;

/// Sends a slice of a file. flags: MSG_MORE if something follows at once. False: the connection is broken, or the file has
/// become shorter; either way the promised length cannot be kept, and the connection must end.
[[nodiscard]] bool send_slice(umbel::self& me, Connection& wire, const umbel::file& file, Slice slice, int flags = 0);

}  // namespace http
