#include "document.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
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

// Of a file that is open, what the kernel knows without asking anybody: this cannot block, and spares a kernel thread.
umbel::result<umbel::file_status> status_of_open(const umbel::file& file) {
    struct statx status{};
    if (statx(file.fd(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &status) != 0)
        return std::unexpected(umbel::error{-errno});
    return umbel::file_status{status.stx_mode, status.stx_size, status.stx_ino, status.stx_mtime.tv_sec,
                              status.stx_mtime.tv_nsec};
}

// Opens one file and finds out what it is.
Document open_one(umbel::self& me, const Site& site, std::string path) {
    Document document;
    auto opened = open_below(me, site, path);
    if (!opened) {
        document.status = status_of(opened.error().code);
        return document;
    }
    const auto what = status_of_open(*opened);
    if (!what) {
        document.status = status_of(what.error().code);
        return document;
    }
    document.status = what->is_regular() || what->is_directory() ? 200 : 403;
    document.file = std::move(*opened);
    document.what = *what;
    document.base = path;
    document.path = std::move(path);
    return document;
}

constexpr std::uint8_t bit(Coding coding) { return static_cast<std::uint8_t>(1U << static_cast<unsigned>(coding)); }

bool is_coded(std::string_view path) {
    return std::ranges::any_of(codings, [&](const CodingInfo& known) { return path.ends_with(known.suffix); });
}

// Which of the site's codings lie ready beside a file. All are looked for at once.
class SiblingSearch {
public:
    SiblingSearch(umbel::self& me, const Site& site, const std::string& base) : me_(me) {
        if (is_coded(base)) return;
        for (const Coding coding : site.precompressed)
            asked_[static_cast<std::size_t>(coding)] = me.status(base + std::string(info(coding).suffix), site.root_fd);
    }
    std::uint8_t found() {
        std::uint8_t mask = 0;
        for (std::size_t i = 0; i < coding_count; ++i) {
            if (!asked_[i]) continue;
            const auto what = me_.await(std::exchange(asked_[i], {}));
            if (what && what->is_regular()) mask |= bit(static_cast<Coding>(i));
        }
        return mask;
    }

private:
    umbel::self& me_;
    std::array<umbel::pending<umbel::file_status>, coding_count> asked_;
};

// The best form of a document that lies ready and that the client accepts takes its place.
Document best_form(umbel::self& me, const Site& site, Document document, const CodingList& acceptable) {
    if (site.precompressed.empty()) return document;
    document.siblings = SiblingSearch(me, site, document.base).found();
    for (const Coding coding : acceptable) {
        if ((document.siblings & bit(coding)) == 0) continue;
        Document coded = open_one(me, site, document.base + std::string(info(coding).suffix));
        if (coded.status != 200 || !coded.what.is_regular()) continue;
        coded.base = std::move(document.base);
        coded.coding = coding;
        coded.siblings = document.siblings;
        coded.first_choice = document.first_choice;
        return coded;
    }
    return document;
}

}  // namespace

Document open_document(umbel::self& me, const Site& site, std::string_view path, const CodingList& acceptable) {
    Document document = open_one(me, site, std::string(path));
    if (document.status != 200) return document;
    if (!document.what.is_directory()) return best_form(me, site, std::move(document), acceptable);
    if (!path.empty() && !path.ends_with('/')) {
        document.status = 301;
        return document;
    }
    bool first = true;
    for (const std::string& name : site.index) {
        Document index = open_one(me, site, std::string(path) + name);
        if (index.status != 404 && !(index.status == 200 && index.what.is_directory())) {
            index.first_choice = first;
            if (index.status != 200) return index;
            return best_form(me, site, std::move(index), acceptable);
        }
        first = false;
    }
    document.folder = true;
    if (!site.listing) document.status = 403;
    return document;
}

Document open_entry(umbel::self& me, const Site& site, const Entry& entry) {
    Document document = open_one(me, site, entry.path);
    if (document.status == 200 && !entry.same_as(document.what)) document.status = 404;
    return document;
}

umbel::result<EntryRef> make_entry(umbel::self& me, const Document& document, std::string key, bool with_content,
                                   std::int64_t now) {
    auto* const entry = new Entry;
    EntryRef reference(entry);
    entry->key = std::move(key);
    entry->path = document.path;
    entry->base = document.base;
    entry->inode = document.what.inode;
    entry->size = document.what.size;
    entry->modified_s = document.what.modified_s;
    entry->modified_ns = document.what.modified_ns;
    entry->siblings = document.siblings;
    entry->large = !with_content;
    entry->content_type = content_type(entry->base);
    if (document.coding) entry->coding = info(*document.coding).name;
    entry->validators = validators(entry->size, entry->modified_s, entry->modified_ns, entry->coding, now);
    entry->head = file_head(entry->representation());
    if (!with_content || entry->size == 0) return reference;
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
    auto asked = me.status(entry.path, site.root_fd);
    SiblingSearch siblings(me, site, entry.base);
    const bool same_siblings = siblings.found() == entry.siblings;
    const auto now = me.await(std::move(asked));
    return same_siblings && now && entry.same_as(*now);
}

}  // namespace http
