// folder.h: what lies in a folder.
//
// Why.    Reading a folder is the one call of the file system that io_uring does not know, and it may wait for a disk: it
//         happens on a thread of its own, never on an executor.
// Shape.  The thread writes what it finds into a pipe, whose other end the actor reads with an operation like any other. It
//         ends when all is written or the pipe's other end is gone. At most `listers_max` such threads live at a time.
#pragma once

#include <vector>

#include "listing.h"
#include "umbel/umbel.h"

namespace http {

constexpr int listers_max = 8;

struct FolderContent {
    std::vector<FolderEntry> entries;  // in no order; without names that begin with a dot
    bool complete = false;             // false: there are more than listing_max
};

/// Reads an open folder. Waits. Errors: that of the system call; -EAGAIN: too many are being read; UMBEL_E_DEADLINE.
[[nodiscard]] umbel::result<FolderContent> read_folder(umbel::self& me, const umbel::file& folder);

}  // namespace http
