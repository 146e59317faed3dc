// sim_files.cpp: files, directories, names and watches of the simulated kernel.
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>

#include "runtime/io/sim_objects.h"

namespace umbel::rt {

namespace {

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

// ---- Files.

void SimWorld::add_file(std::string_view path, std::string bytes) {
    auto inode = std::make_shared<Inode>();
    inode->number = next_inode_++;
    inode->bytes = std::move(bytes);
    inode->changed = now_;
    files_.insert_or_assign(std::string(path), std::move(inode));
}

void SimWorld::add_directory(std::string_view path) { directories_.emplace(path); }

std::optional<std::string> SimWorld::file(std::string_view path) const {
    const auto found = files_.find(path);
    if (found == files_.end()) return std::nullopt;
    return found->second->bytes;
}

bool SimWorld::is_directory(const std::string& path) const {
    if (path == "/" || directories_.contains(path)) return true;
    return !is_empty(path);
}

bool SimWorld::is_empty(const std::string& directory) const {
    const std::string inside = directory == "/" ? "/" : directory + "/";
    const auto file = files_.lower_bound(inside);
    if (file != files_.end() && file->first.starts_with(inside)) return false;
    const auto below = directories_.lower_bound(inside);
    return below == directories_.end() || !below->starts_with(inside);
}

bool SimWorld::exists(const std::string& path) const { return files_.contains(path) || is_directory(path); }

int SimWorld::resolve(int directory, std::string path, std::uint64_t flags, bool follow, std::string& resolved) {
    if (path.empty()) return -ENOENT;
    std::string base = "/";
    if (directory != AT_FDCWD && (path[0] != '/' || (flags & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0)) {
        const Description* description = at(directory);
        if (description == nullptr) return -EBADF;
        if (description->kind != Description::Kind::directory) return -ENOTDIR;
        base = description->path;
    }
    if (path[0] == '/' && (flags & RESOLVE_BENEATH) != 0) return -EXDEV;
    const std::string root = (flags & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0 ? base : "/";
    resolved = base;
    std::size_t begin = 0;
    unsigned links = 0;
    while (begin < path.size()) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string part = path.substr(begin, end - begin);
        begin = end + 1;
        if (part.empty() && end == 0) continue;  // The leading slash.
        if (!is_directory(resolved)) return files_.contains(resolved) ? -ENOTDIR : -ENOENT;
        if (part.empty() || part == ".") continue;
        if (part == "..") {
            if (resolved != root)
                resolved = parent_of(resolved);
            else if ((flags & RESOLVE_BENEATH) != 0)
                return -EXDEV;
            continue;
        }
        const std::string before = resolved;
        resolved += resolved == "/" ? part : "/" + part;
        const auto found = files_.find(resolved);
        const bool last = begin > path.size();
        if (found == files_.end() || !found->second->symlink || (last && !follow)) continue;
        constexpr unsigned most_links = 40;
        if (++links > most_links || (flags & RESOLVE_NO_SYMLINKS) != 0) return -ELOOP;
        const std::string& target = found->second->bytes;
        if (target[0] == '/' && (flags & RESOLVE_BENEATH) != 0) return -EXDEV;
        resolved = target[0] == '/' ? root : before;
        std::string onward = target;
        if (!last) onward.append("/").append(path, begin);
        path = std::move(onward);
        begin = 0;
    }
    if (path.back() == '/' && !is_directory(resolved)) return files_.contains(resolved) ? -ENOTDIR : -ENOENT;
    return 0;
}

int SimWorld::do_open(Operation& op) {
    if (chance(faults_.open_no_memory)) return -ENOMEM;
    if (chance(faults_.interrupted)) return -EINTR;
    const std::uint64_t flags = op.how.flags;
    const bool follow = (flags & O_NOFOLLOW) == 0 && !((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0);
    std::string path;
    if (const int error = resolve(op.sqe.fd, op.path, op.how.resolve, follow, path); error != 0) return error;
    const bool directory = is_directory(path);
    if (directory) {
        if ((flags & O_CREAT) != 0 || may_write(flags)) return -EISDIR;
    } else {
        auto found = files_.find(path);
        if (found == files_.end()) {
            if ((flags & O_CREAT) == 0 || !is_directory(parent_of(path))) return -ENOENT;
            add_file(path, {});
            found = files_.find(path);
            notify(path, found->second, IN_CREATE);
        } else {
            if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return -EEXIST;
            if ((flags & O_DIRECTORY) != 0) return -ENOTDIR;
            if (found->second->symlink && (flags & O_PATH) == 0) return -ELOOP;
        }
        if ((flags & O_TRUNC) != 0 && may_write(flags) && !found->second->bytes.empty()) {
            found->second->bytes.clear();
            notify(path, found->second, IN_MODIFY);
        }
    }
    Description& description = make_description();
    description.kind = directory ? Description::Kind::directory : Description::Kind::file;
    if (!directory) description.inode = files_.find(path)->second;
    description.path = path;
    description.open_flags = flags;
    if ((flags & O_PATH) == 0) notify(path, description.inode, IN_OPEN);
    return install(description);
}

int SimWorld::do_statx(Operation& op) {
    struct statx status{};
    std::shared_ptr<Inode> inode;
    if (op.path.empty() && (op.sqe.statx_flags & static_cast<unsigned>(AT_EMPTY_PATH)) != 0) {
        const Description* description = at(op.sqe.fd);
        if (description == nullptr) return -EBADF;
        inode = description->inode;
        status.stx_mode = description->kind == Description::Kind::socket      ? S_IFSOCK | 0777
                          : description->kind == Description::Kind::directory ? S_IFDIR | 0755
                                                                              : S_IFREG | 0644;
    } else {
        std::string path;
        const bool follow = (op.sqe.statx_flags & static_cast<unsigned>(AT_SYMLINK_NOFOLLOW)) == 0;
        if (const int error = resolve(op.sqe.fd, op.path, 0, follow, path); error != 0) return error;
        if (is_directory(path)) {
            status.stx_mode = S_IFDIR | 0755;
        } else {
            const auto found = files_.find(path);
            if (found == files_.end()) return -ENOENT;
            inode = found->second;
            status.stx_mode = inode->symlink ? S_IFLNK | 0777 : S_IFREG | 0644;
        }
    }
    status.stx_mask = STATX_BASIC_STATS;
    status.stx_blksize = 4096;
    status.stx_nlink = 1;
    if (inode != nullptr) {
        status.stx_nlink = inode->names;
        status.stx_ino = inode->number;
        status.stx_size = inode->bytes.size();
        status.stx_blocks = (status.stx_size + 511) / 512;
        status.stx_mtime.tv_sec = inode->changed.count() / 1'000'000'000;
        status.stx_mtime.tv_nsec = static_cast<std::uint32_t>(inode->changed.count() % 1'000'000'000);
        status.stx_ctime = status.stx_mtime;
    }
    std::memcpy(reinterpret_cast<void*>(op.sqe.addr2), &status, sizeof status);  // W2
    return 0;
}

void SimWorld::read_file(Operation& op) {
    Description& description = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (!may_read(description.open_flags)) return finish(-EBADF);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    if (chance(faults_.io_error)) return finish(-EIO);
    const std::string& bytes = description.inode->bytes;
    const bool at_position = op.sqe.off == static_cast<std::uint64_t>(-1);
    const std::uint64_t offset = at_position ? description.position : op.sqe.off;
    std::size_t length = offset >= bytes.size() ? 0 : std::min<std::size_t>(op.asked(), bytes.size() - offset);
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    if (length != 0) op.put(0, std::string_view(bytes).substr(offset, length));
    if (at_position) description.position = offset + length;
    finish(static_cast<int>(length));
}

void SimWorld::write_file(Operation& op) {
    Description& description = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (!may_write(description.open_flags)) return finish(-EBADF);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    if (chance(faults_.io_error)) return finish(-EIO);
    std::string& bytes = description.inode->bytes;
    const bool at_position = op.sqe.off == static_cast<std::uint64_t>(-1);
    std::uint64_t offset = at_position ? description.position : op.sqe.off;
    if ((description.open_flags & O_APPEND) != 0) offset = bytes.size();
    std::size_t length = op.asked();
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    if (length != 0) {
        if (bytes.size() < offset + length) bytes.resize(offset + length);
        bytes.replace(offset, length, op.get(0, length));
        description.inode->changed = now_;
        notify(description.path, description.inode, IN_MODIFY);
    }
    if (at_position) description.position = offset + length;
    finish(static_cast<int>(length));
}

// FSYNC, FALLOCATE, FTRUNCATE.
void SimWorld::attempt_file_change(Operation& op) {
    Description& description = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    const bool syncs = op.sqe.opcode == IORING_OP_FSYNC;
    if ((description.open_flags & O_PATH) != 0) return finish(-EBADF);
    if (description.kind == Description::Kind::directory) return finish(syncs ? 0 : -EBADF);
    if (description.kind != Description::Kind::file) {
        const bool pipe = description.kind == Description::Kind::pipe;
        return finish(op.sqe.opcode == IORING_OP_FALLOCATE ? (pipe ? -ESPIPE : -ENODEV) : -EINVAL);
    }
    if (!syncs && !may_write(description.open_flags)) return finish(op.sqe.opcode == op_ftruncate ? -EINVAL : -EBADF);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    if (chance(faults_.io_error)) return finish(-EIO);
    if (syncs) return finish(0);
    std::string& bytes = description.inode->bytes;
    constexpr std::uint64_t largest = std::uint64_t{1} << 32;  // Of a simulated file.
    if (op.sqe.opcode == op_ftruncate) {
        if (op.sqe.off > largest) return finish(-EFBIG);
        bytes.resize(op.sqe.off);
    } else {
        const auto offset = static_cast<std::int64_t>(op.sqe.off);
        const auto length = static_cast<std::int64_t>(op.sqe.addr);
        if (offset < 0 || length <= 0) return finish(-EINVAL);
        const std::uint64_t end = op.sqe.off + op.sqe.addr;
        if (end > largest) return finish(-EFBIG);
        const unsigned mode = op.sqe.len;
        if ((mode & ~static_cast<unsigned>(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
            return finish(-EOPNOTSUPP);
        const bool zeroes = (mode & static_cast<unsigned>(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
        if (end > bytes.size() && (mode & static_cast<unsigned>(FALLOC_FL_KEEP_SIZE)) == 0) bytes.resize(end);
        if (zeroes && op.sqe.off < bytes.size()) {
            const std::size_t count = std::min<std::size_t>(op.sqe.addr, bytes.size() - op.sqe.off);
            bytes.replace(op.sqe.off, count, count, '\0');
        }
    }
    description.inode->changed = now_;
    notify(description.path, description.inode, IN_MODIFY);
    finish(0);
}

// ---- Names.

// The folder stays, even if nothing else is in it.
void SimWorld::remove_name(const std::string& path) {
    directories_.insert(parent_of(path));
    directories_.erase(path);
    const auto found = files_.find(path);
    if (found == files_.end()) return;
    --found->second->names;
    files_.erase(found);
}

int SimWorld::do_unlink(Operation& op) {
    if (chance(faults_.interrupted)) return -EINTR;
    const bool directory = (op.sqe.unlink_flags & static_cast<unsigned>(AT_REMOVEDIR)) != 0;
    std::string path;
    if (const int error = resolve(op.sqe.fd, op.path, 0, false, path); error != 0) return error;
    if (!exists(path)) return -ENOENT;
    if (is_directory(path) != directory) return directory ? -ENOTDIR : -EISDIR;
    if (directory && (path == "/" || !is_empty(path))) return path == "/" ? -EBUSY : -ENOTEMPTY;
    const auto found = files_.find(path);
    const std::shared_ptr<Inode> inode = found == files_.end() ? nullptr : found->second;
    remove_name(path);
    if (inode == nullptr || inode->names == 0) notify(path, inode, IN_DELETE_SELF);
    notify(path, inode, IN_DELETE);
    return 0;
}

// A file, or a directory with everything in it.
void SimWorld::move_tree(const std::string& from, const std::string& to) {
    const auto moved = [&](const std::string& path) {
        return path == from || path.starts_with(from + "/") ? to + path.substr(from.size()) : path;
    };
    directories_.insert(parent_of(from));
    std::map<std::string, std::shared_ptr<Inode>, std::less<>> files;
    for (auto& [path, inode] : files_) files.emplace(moved(path), inode);
    files_.swap(files);
    std::set<std::string, std::less<>> directories;
    for (const std::string& path : directories_) directories.insert(moved(path));
    directories_.swap(directories);
    for (const auto& [id, description] : descriptions_) {
        description->path = moved(description->path);
        for (Watch& watch : description->watches) watch.path = moved(watch.path);
    }
}

int SimWorld::do_rename(Operation& op) {
    if (chance(faults_.interrupted)) return -EINTR;
    std::string from;
    std::string to;
    if (const int error = resolve(op.sqe.fd, op.path, 0, false, from); error != 0) return error;
    if (const int error = resolve(static_cast<int>(op.sqe.len), op.path2, 0, false, to); error != 0) return error;
    const unsigned flags = op.sqe.rename_flags;
    if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) return -EINVAL;
    if (!exists(from) || !is_directory(parent_of(to))) return -ENOENT;
    if (from == "/" || to == "/") return -EBUSY;
    if (from == to) return (flags & RENAME_NOREPLACE) != 0 ? -EEXIST : 0;
    const bool directory = is_directory(from);
    if (to.starts_with(from + "/")) return -EINVAL;
    if (exists(to)) {
        if ((flags & RENAME_NOREPLACE) != 0) return -EEXIST;
        if (is_directory(to) != directory) return directory ? -ENOTDIR : -EISDIR;
        if (directory && !is_empty(to)) return -ENOTEMPTY;
        const auto replaced = files_.find(to);
        const std::shared_ptr<Inode> inode = replaced == files_.end() ? nullptr : replaced->second;
        if (inode != nullptr && inode == files_.find(from)->second) return 0;  // Two names of one file: nothing.
        remove_name(to);
        if (inode == nullptr || inode->names == 0) notify(to, inode, IN_DELETE_SELF);
    }
    const std::shared_ptr<Inode> inode = directory ? nullptr : files_.find(from)->second;
    if (directory) directories_.insert(from);
    move_tree(from, to);
    const std::uint32_t cookie = next_cookie_++;
    notify(from, inode, IN_MOVED_FROM, cookie);
    notify(to, inode, IN_MOVED_TO, cookie);
    notify(to, inode, IN_MOVE_SELF);
    return 0;
}

int SimWorld::do_mkdir(Operation& op) {
    if (chance(faults_.interrupted)) return -EINTR;
    while (op.path.size() > 1 && op.path.back() == '/') op.path.pop_back();
    std::string path;
    if (const int error = resolve(op.sqe.fd, op.path, 0, false, path); error != 0) return error;
    if (exists(path)) return -EEXIST;
    if (!is_directory(parent_of(path))) return -ENOENT;
    directories_.insert(path);
    notify(path, nullptr, IN_CREATE);
    return 0;
}

int SimWorld::do_link(Operation& op) {
    if (chance(faults_.interrupted)) return -EINTR;
    std::shared_ptr<Inode> inode;
    const unsigned flags = op.sqe.hardlink_flags;
    if (op.path.empty() && (flags & static_cast<unsigned>(AT_EMPTY_PATH)) != 0) {
        const Description* description = at(op.sqe.fd);
        if (description == nullptr) return -EBADF;
        if (description->inode == nullptr) return -EPERM;
        if (description->inode->names == 0) return -ENOENT;
        inode = description->inode;
    } else {
        std::string from;
        const bool follow = (flags & static_cast<unsigned>(AT_SYMLINK_FOLLOW)) != 0;
        if (const int error = resolve(op.sqe.fd, op.path, 0, follow, from); error != 0) return error;
        if (is_directory(from)) return -EPERM;
        const auto found = files_.find(from);
        if (found == files_.end()) return -ENOENT;
        inode = found->second;
    }
    std::string to;
    if (const int error = resolve(static_cast<int>(op.sqe.len), op.path2, 0, false, to); error != 0) return error;
    if (exists(to)) return -EEXIST;
    if (!is_directory(parent_of(to))) return -ENOENT;
    ++inode->names;
    files_.emplace(to, inode);
    notify(to, inode, IN_CREATE);
    return 0;
}

int SimWorld::do_symlink(Operation& op) {
    if (chance(faults_.interrupted)) return -EINTR;
    if (op.path.empty()) return -ENOENT;
    std::string path;
    if (const int error = resolve(op.sqe.fd, op.path2, 0, false, path); error != 0) return error;
    if (exists(path)) return -EEXIST;
    if (!is_directory(parent_of(path))) return -ENOENT;
    add_file(path, op.path);
    const std::shared_ptr<Inode> inode = files_.find(path)->second;
    inode->symlink = true;
    notify(path, inode, IN_CREATE);
    return 0;
}

// ---- Watches.

int SimWorld::open_watcher() {
    Description& description = make_description();
    description.kind = Description::Kind::watcher;
    return install(description);
}

int SimWorld::add_watch(int watcher, int path_fd, std::uint32_t mask) {
    Description* watching = at(watcher);
    const Description* place = at(path_fd);
    if (watching == nullptr) return -EBADF;
    if (watching->kind != Description::Kind::watcher || (mask & IN_ALL_EVENTS) == 0) return -EINVAL;
    const bool directory = place != nullptr && place->kind == Description::Kind::directory;
    if (place == nullptr || (!directory && place->kind != Description::Kind::file)) return -ENOENT;
    if (!directory && (mask & IN_ONLYDIR) != 0) return -ENOTDIR;
    for (Watch& watch : watching->watches) {
        if (directory ? watch.inode != nullptr || watch.path != place->path : watch.inode != place->inode) continue;
        if ((mask & IN_MASK_CREATE) != 0) return -EEXIST;
        watch.mask = (mask & IN_MASK_ADD) != 0 ? watch.mask | mask : mask;
        return watch.number;
    }
    watching->watches.push_back({++watching->last_watch, mask, place->path, place->inode});
    return watching->last_watch;
}

int SimWorld::remove_watch(int watcher, int watch) {
    Description* watching = at(watcher);
    if (watching == nullptr) return -EBADF;
    if (watching->kind != Description::Kind::watcher) return -EINVAL;
    if (std::erase_if(watching->watches, [&](const Watch& each) { return each.number == watch; }) == 0) return -EINVAL;
    add_record(*watching, watch, IN_IGNORED, 0, "");
    return 0;
}

void SimWorld::add_record(Description& watcher, int watch, std::uint32_t mask, std::uint32_t cookie,
                          const std::string& name) {
    constexpr std::size_t most = 16384;  // fs.inotify.max_queued_events
    if (watcher.records.size() > most) return;
    inotify_event event{};
    event.wd = watch;
    event.mask = mask;
    event.cookie = cookie;
    if (watcher.records.size() == most) {
        event = {};
        event.wd = -1;
        event.mask = IN_Q_OVERFLOW;
    } else if (!name.empty()) {
        event.len = static_cast<std::uint32_t>((name.size() + sizeof event) / sizeof event * sizeof event);
    }
    std::string record(reinterpret_cast<const char*>(&event), sizeof event);
    if (event.len != 0) record += name;
    record.resize(sizeof event + event.len);
    if (!watcher.records.empty() && watcher.records.back() == record) return;  // As the kernel does.
    watcher.records.push_back(std::move(record));
    poke(watcher);
}

void SimWorld::notify(const std::string& path, const std::shared_ptr<Inode>& inode, std::uint32_t what,
                      std::uint32_t cookie) {
    const std::string folder = parent_of(path);
    constexpr std::uint32_t of_itself = IN_DELETE_SELF | IN_MOVE_SELF;
    constexpr std::uint32_t of_folder = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
    const std::uint32_t kind = inode == nullptr ? IN_ISDIR : 0;
    for (const auto& [id, description] : descriptions_) {
        if (description->kind != Description::Kind::watcher) continue;
        std::vector<int> over;
        for (const Watch& watch : description->watches) {
            const bool wanted = (watch.mask & what) != 0;
            const bool itself = inode != nullptr ? watch.inode == inode : watch.inode == nullptr && watch.path == path;
            if (wanted && (what & of_itself) == 0 && watch.inode == nullptr && watch.path == folder && path != "/")
                add_record(*description, watch.number, what | kind, cookie, name_of(path));
            if (wanted && (what & of_folder) == 0 && itself)
                add_record(*description, watch.number, what | ((what & of_itself) != 0 ? 0 : kind), cookie, "");
            if (what == IN_DELETE_SELF && itself) over.push_back(watch.number);
        }
        for (const int number : over) {
            std::erase_if(description->watches, [&](const Watch& each) { return each.number == number; });
            add_record(*description, number, IN_IGNORED, 0, "");
        }
    }
}

}  // namespace umbel::rt
