#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace http {

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 10s;

std::atomic<int> listers{0};

// What goes through the pipe: a record and its name; the last has no name.
struct Record {
    std::uint16_t name_size = 0;
    bool folder = false;
    bool complete = false;   // of the last
    std::int32_t error = 0;  // of the last
    std::uint64_t size = 0;
    std::int64_t modified = 0;
};

bool write_all(int to, const void* data, std::size_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t written = ::write(to, at, size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;  // Nobody reads any more.
        at += written;
        size -= static_cast<std::size_t>(written);
    }
    return true;
}

// Owns both descriptors. Runs on the thread.
void list(int folder, int to) {
    Record last;
    DIR* const stream = fdopendir(folder);
    if (stream == nullptr) {
        last.error = errno;
        ::close(folder);
    } else {
        std::size_t count = 0;
        last.complete = true;
        bool read_by_somebody = true;
        for (errno = 0; const dirent* found = readdir(stream); errno = 0) {
            if (found->d_name[0] == '.') continue;
            struct stat status{};
            // A link shows as itself: what it leads to may be none of the client's business.
            if (fstatat(folder, found->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
            if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode) && !S_ISLNK(status.st_mode)) continue;
            if (++count > listing_max) {
                last.complete = false;
                break;
            }
            const Record record{.name_size = static_cast<std::uint16_t>(std::strlen(found->d_name)),
                                .folder = S_ISDIR(status.st_mode),
                                .size = S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0,
                                .modified = status.st_mtim.tv_sec};
            read_by_somebody = write_all(to, &record, sizeof record) && write_all(to, found->d_name, record.name_size);
            if (!read_by_somebody) break;
        }
        if (last.complete && read_by_somebody) last.error = errno;
        closedir(stream);
    }
    (void)write_all(to, &last, sizeof last);
    ::close(to);
    // relaxed: a bound, nothing is published by it.
    listers.fetch_sub(1, std::memory_order_relaxed);
}

// Starts the thread; 0 or -errno. It has the descriptors then, or has closed them.
int start(int folder, int to) {
    // The thread gets no signals: they are for the daemon's own.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int status = 0;
    try {
        std::thread(list, folder, to).detach();
    } catch (const std::system_error&) {
        status = -EAGAIN;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (status != 0) {
        ::close(folder);
        ::close(to);
        listers.fetch_sub(1, std::memory_order_relaxed);
    }
    return status;
}

// Takes whole records from the front of `bytes`; true: the last one has come.
bool take_records(std::string& bytes, FolderContent& content, Record& last) {
    std::size_t at = 0;
    bool ended = false;
    while (!ended && bytes.size() - at >= sizeof(Record)) {
        Record record;
        std::memcpy(static_cast<void*>(&record), bytes.data() + at, sizeof record);
        if (bytes.size() - at < sizeof record + record.name_size) break;
        const std::size_t name = at + sizeof record;
        at = name + record.name_size;
        if (record.name_size == 0) {
            last = record;
            ended = true;
        } else {
            content.entries.push_back(
                {bytes.substr(name, record.name_size), record.folder, record.size, record.modified});
        }
    }
    bytes.erase(0, at);
    return ended;
}

}  // namespace

umbel::result<FolderContent> read_folder(umbel::self& me, const umbel::file& folder) {
    // relaxed: as above.
    if (listers.fetch_add(1, std::memory_order_relaxed) >= listers_max) {
        listers.fetch_sub(1, std::memory_order_relaxed);
        return std::unexpected(umbel::error{-EAGAIN});
    }
    const int copy = fcntl(folder.fd(), F_DUPFD_CLOEXEC, 0);
    std::array<int, 2> ends{-1, -1};
    if (copy < 0 || pipe2(ends.data(), O_CLOEXEC) != 0) {
        const int reason = errno;
        if (copy >= 0) ::close(copy);
        listers.fetch_sub(1, std::memory_order_relaxed);
        return std::unexpected(umbel::error{-reason});
    }
    const umbel::file pipe(me.raw(), ends[0]);
    if (const int status = start(copy, ends[1]); status != 0) return std::unexpected(umbel::error{status});

    FolderContent content;
    Record last;
    std::string bytes;
    const umbel::nanoseconds deadline = me.now() + patience;
    while (!take_records(bytes, content, last)) {
        constexpr std::size_t block = 64 << 10;
        const umbel::nanoseconds left = deadline - me.now();
        if (left <= 0ns) return std::unexpected(umbel::error{UMBEL_E_DEADLINE});
        const auto read = me.await(me.read(pipe, block, umbel::at_position, {.deadline = left}));
        if (!read) return std::unexpected(read.error());
        if (read->empty()) return std::unexpected(umbel::error{-EIO});
        bytes.append(read->text());
    }
    if (last.error != 0) return std::unexpected(umbel::error{-last.error});
    content.complete = last.complete;
    return content;
}

}  // namespace http
