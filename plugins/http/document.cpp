#include "document.h"

#include <fcntl.h>
#include <linux/openat2.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "content_type.h"

namespace http {

using namespace std::chrono_literals;

namespace {

int status_of(std::int64_t error) {
    switch (error) {
        case -ENOENT:
        case -ENOTDIR:
        case -ENAMETOOLONG:
            return 404;
        case -EACCES:
        case -EPERM:
        case -ELOOP:
        case -ENXIO:  // A socket, or a device that is not there.
        case -EXDEV:
            return 403;  // It leads out of the root.
        case -EAGAIN:
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case UMBEL_E_DEADLINE:
        case UMBEL_E_IO_HEAP_FULL:
            return 503;
        default:
            return 500;
    }
}

umbel::result<umbel::file> open_below(umbel::self& me, const Site& site, std::string_view path) {
    // EAGAIN: something was renamed meanwhile, and the kernel could not rule out that the path led outside.
    for (int attempt = 0;; ++attempt) {
        // The deadline is for a pipe among the files: opening it waits for its other end.
        auto opened = me.await(me.open(path.empty() ? "." : path, O_RDONLY | O_NOCTTY, site.root_fd, 0,
                                       RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, {.deadline = 10s}));
        if (opened || opened.error().code != -EAGAIN || attempt == 3) return opened;
    }
}

// Opens one file and finds out what it is.
Document open_one(umbel::self& me, const Site& site, std::string path) {
    Document document;
    auto opened = open_below(me, site, path);
    if (!opened) {
        document.status = status_of(opened.error().code);
        return document;
    }
    const auto what = me.await(me.status(*opened));
    if (!what) {
        document.status = status_of(what.error().code);
        return document;
    }
    document.status = what->is_regular() || what->is_directory() ? 200 : 403;
    document.file = std::move(*opened);
    document.what = *what;
    document.path = std::move(path);
    return document;
}

}  // namespace

Document open_document(umbel::self& me, const Site& site, std::string_view path) {
    Document document = open_one(me, site, std::string(path));
    if (document.status != 200 || !document.what.is_directory()) return document;
    if (!path.empty() && !path.ends_with('/')) {
        document.status = 301;
        return document;
    }
    bool first = true;
    for (const std::string& name : site.index) {
        Document index = open_one(me, site, std::string(path) + name);
        if (index.status != 404 && !(index.status == 200 && index.what.is_directory())) {
            index.first_choice = first;
            return index;
        }
        first = false;
    }
    document.status = 403;  // Folders are not listed.
    return document;
}

umbel::result<EntryRef> read_document(umbel::self& me, const Document& document, std::string_view key) {
    auto* const entry = new Entry;
    EntryRef reference(entry);
    entry->key = key;
    entry->path = document.path;
    entry->inode = document.what.inode;
    entry->size = document.what.size;
    entry->modified_s = document.what.modified_s;
    entry->modified_ns = document.what.modified_ns;
    entry->validators = validators(entry->size, entry->modified_s, entry->modified_ns);
    entry->head = file_head(content_type(entry->path), entry->size, entry->validators);
    if (entry->size == 0) return reference;
    auto content = me.make_block(entry->size);
    if (!content) return std::unexpected(content.error());
    for (std::size_t have = 0; have < entry->size;) {
        constexpr std::size_t block = 64 << 10;
        const auto into = content->writable().subspan(have);
        const auto read = me.await(me.read_into(document.file, into.first(std::min(block, into.size())), have));
        if (!read) return std::unexpected(read.error());
        if (*read == 0) return EntryRef();
        have += *read;
    }
    entry->content = std::move(*content);
    return reference;
}

bool still_there(umbel::self& me, const Site& site, const Entry& entry) {
    const auto now = me.await(me.status(entry.path, site.root_fd));
    return now && entry.same_as(*now);
}

}  // namespace http
