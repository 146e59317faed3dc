// umbel.h: the C++ SDK, a thin and header-only layer over abi.h.
//
// Why.    Authors write plain code: values, results, RAII. Everything here is inline and compiled into the plugin; only
//         the C of abi.h crosses to the daemon, so plugin and daemon may be built by different compilers.
// Shape.  `self` is the door of an actor. An operation is described by a builder in `op::`, submitted by `self`, and
//         becomes a `pending<T>`; `await` waits for it, or `fulfilled_by` recognises its message. Multishot operations
//         are `stream<T>`. An actor is a function (stackful) or a class with `on_message` (handler).
// Errors. `result<T>` is std::expected<T, error>. An exception that leaves an actor ends that actor with its text.
// Owner.  buffers, files, sockets, pendings and streams belong to the actor that got them; they are moved, not copied.
//         Dropping a pending or a stream cancels it and frees what it brings.
#pragma once

#include "umbel/abi.h"
#include "umbel/net.h"
#include "umbel/operation.h"
#include "umbel/plugin.h"
#include "umbel/results.h"
#include "umbel/self.h"
#include "umbel/types.h"
