// document.h: the file behind a path.
//
// Why.    The one place where a request touches the file system: below the root and nowhere else (openat2 with
//         RESOLVE_BENEATH; symbolic links may lead around below it, not out of it).
#pragma once

#include <string>
#include <string_view>

#include "file_cache.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {

struct Document {
    int status = 500;  // 200: `file` is open. 301: it is a folder, and the path lacks its slash. Else there is none.
    umbel::file file;
    umbel::file_status what;
    std::string path;          // of the file, below the root
    bool first_choice = true;  // No other index file could take its place.
};

/// Opens what `path` (as parse_target gives it) stands for: the file, or the index file of a folder. Waits.
[[nodiscard]] Document open_document(umbel::self& me, const Site& site, std::string_view path);

/// Reads a document into an entry; null if the file changed its size while it was read. Waits.
[[nodiscard]] umbel::result<EntryRef> read_document(umbel::self& me, const Document& document, std::string_view key);

/// The entry is what the disk has. Waits.
[[nodiscard]] bool still_there(umbel::self& me, const Site& site, const Entry& entry);

}  // namespace http
