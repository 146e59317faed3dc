// document.h: the file behind a path.
//
// Why.    The one place where a request touches the file system: below the root and nowhere else (openat2 with
//         RESOLVE_BENEATH; symbolic links may lead around below it, not out of it).
// Shape.  open_document finds the file (or the index file of a folder) and, among the codings the client accepts, the
//         form of it to send; make_entry makes of that what the cache keeps.
// Not here.  Reading folders: folder.h. Sending: body.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "encoding.h"
#include "file_cache.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {

struct Document {
    int status = 500;     // 200: `file` is open. 301: it is a folder, and the path lacks its slash. Else there is none.
    bool folder = false;  // A folder without index file: `file` is the folder.
    umbel::file file;
    umbel::file_status what;
    std::string path;  // of the file, below the root
    std::string base;  // the same without its coding's suffix
    std::optional<Coding> coding;
    std::uint8_t siblings = 0;  // which codings lie beside `base`
    bool first_choice = true;   // No other index file could take its place.
};

/// Opens what `path` (as parse_target gives it) stands for. Waits.
[[nodiscard]] Document open_document(umbel::self& me, const Site& site, std::string_view path,
                                     const CodingList& acceptable);

/// The same for a file that an entry describes; status 404 if it is not that file any more. Waits.
[[nodiscard]] Document open_entry(umbel::self& me, const Site& site, const Entry& entry);

/// What the cache keeps of a document: with its content if `with_content`; null if the file changed its size while it
/// was read. now: seconds since 1970. Waits.
[[nodiscard]] umbel::result<EntryRef> make_entry(umbel::self& me, const Document& document, std::string key,
                                                 bool with_content, std::int64_t now);

/// The entry is what the disk has. Waits.
[[nodiscard]] bool still_there(umbel::self& me, const Site& site, const Entry& entry);

}  // namespace http
