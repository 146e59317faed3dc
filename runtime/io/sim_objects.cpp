// sim_objects.cpp: files, sockets and clients of the simulated kernel, and what operations do to them.
#include "runtime/io/sim_objects.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>

namespace umbel::rt {

namespace {

/// Far above any real descriptor: one of ours that reaches the real kernel by mistake is EBADF there.
constexpr int first_descriptor = 1'000'000;
constexpr Nanoseconds full_backlog_pause = std::chrono::milliseconds(1);
constexpr unsigned connect_tries = 1000;

// ---- Addresses: the bytes of a sockaddr.

int family_of(const std::string& address) {
    sa_family_t family = AF_UNSPEC;
    if (address.size() >= sizeof family) std::memcpy(&family, address.data(), sizeof family);
    return family;
}

std::string bytes_of(const void* address, std::size_t length) { return {static_cast<const char*>(address), length}; }

/// Without what does not tell addresses apart. Empty if it is none we know.
std::string normalised(const std::string& address) {
    switch (family_of(address)) {
        case AF_INET:
            return address.size() >= sizeof(sockaddr_in) ? address.substr(0, sizeof(sockaddr_in)) : "";
        case AF_INET6:
            return address.size() >= sizeof(sockaddr_in6) ? address.substr(0, sizeof(sockaddr_in6)) : "";
        case AF_UNIX: {
            constexpr std::size_t path = offsetof(sockaddr_un, sun_path);
            if (address.size() <= path || address[path] == '\0') return address;  // Unnamed or abstract.
            return address.substr(0, std::min(address.size(), address.find('\0', path)));
        }
        default:
            return "";
    }
}

std::uint16_t port_of(const std::string& address) {
    std::uint16_t port = 0;  // At the same place in both families.
    std::memcpy(&port, address.data() + offsetof(sockaddr_in, sin_port), sizeof port);
    return ntohs(port);
}

void set_port(std::string& address, std::uint16_t port) {
    const std::uint16_t network = htons(port);
    std::memcpy(address.data() + offsetof(sockaddr_in, sin_port), &network, sizeof network);
}

std::string host_of(const std::string& address) {
    return family_of(address) == AF_INET ? address.substr(offsetof(sockaddr_in, sin_addr), sizeof(in_addr))
                                         : address.substr(offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr));
}

bool has_port(const std::string& address) { return family_of(address) == AF_INET || family_of(address) == AF_INET6; }

/// Whether a socket bound to `bound` is meant by (or stands in the way of) `address`.
bool covers(const std::string& bound, const std::string& address) {
    if (family_of(bound) != family_of(address)) return false;
    if (!has_port(bound)) return bound == address;
    if (port_of(bound) != port_of(address)) return false;
    const std::string any(host_of(bound).size(), '\0');
    return host_of(bound) == any || host_of(bound) == host_of(address);
}

std::string ipv4_loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return bytes_of(&address, sizeof address);
}

std::string unnamed(int domain) {
    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(domain);
    if (domain == AF_INET) return bytes_of(&address, sizeof(sockaddr_in));
    if (domain == AF_INET6) return bytes_of(&address, sizeof(sockaddr_in6));
    return bytes_of(&address, sizeof(sa_family_t));
}

void give_address(const std::string& address, void* to, socklen_t* length) {
    std::memcpy(to, address.data(), std::min<std::size_t>(address.size(), *length));
    *length = static_cast<socklen_t>(address.size());
}

bool may_read(std::uint64_t flags) { return (flags & O_ACCMODE) != O_WRONLY; }
bool may_write(std::uint64_t flags) { return (flags & O_ACCMODE) != O_RDONLY; }

std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

bool uses_descriptor(unsigned opcode) {
    switch (opcode) {
        case IORING_OP_READ:
        case IORING_OP_WRITE:
        case IORING_OP_FSYNC:
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_SHUTDOWN:
        case IORING_OP_POLL_ADD:
        case op_bind:
        case op_listen:
            return true;
        default:
            return false;
    }
}

bool waits(unsigned opcode) {
    switch (opcode) {
        case IORING_OP_ACCEPT:
        case IORING_OP_CONNECT:
        case IORING_OP_RECV:
        case IORING_OP_SEND:
        case IORING_OP_POLL_ADD:
        case IORING_OP_TIMEOUT:
            return true;
        default:
            return false;
    }
}

bool breaks_chain(const io_uring_sqe& sqe, int result) {
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_TIMEOUT:
            return !(result == -ETIME && (sqe.timeout_flags & IORING_TIMEOUT_ETIME_SUCCESS) != 0);
        case IORING_OP_READ:
        case IORING_OP_WRITE:
            return result < 0 || static_cast<unsigned>(result) != sqe.len;
        case IORING_OP_RECV:
        case IORING_OP_SEND:
            if ((sqe.msg_flags & static_cast<unsigned>(MSG_WAITALL)) != 0)
                return result < 0 || static_cast<unsigned>(result) != sqe.len;
            return result < 0;
        default:
            return result < 0;
    }
}

// ---- Descriptions and descriptors.

SimWorld::Description& SimWorld::make_description() {
    auto description = std::make_unique<Description>();
    Description& made = *description;
    made.id = next_description_++;
    descriptions_.emplace(made.id, std::move(description));
    return made;
}

SimWorld::Description* SimWorld::find(DescriptionId id) {
    const auto found = descriptions_.find(id);
    return found == descriptions_.end() ? nullptr : found->second.get();
}

SimWorld::Description* SimWorld::at(int fd) {
    const auto found = descriptors_.find(fd);
    return found == descriptors_.end() ? nullptr : find(found->second);
}

int SimWorld::install(Description& description) {
    int fd = first_descriptor;  // The lowest that is free, as in the kernel.
    while (descriptors_.contains(fd)) ++fd;
    descriptors_.emplace(fd, description.id);
    ++description.references;
    return fd;
}

void SimWorld::release(DescriptionId id) {
    Description* description = find(id);
    CHECK(description != nullptr);
    CHECK(description->references > 0);  // W3
    if (--description->references == 0) hang_up(*description);
}

/// The outside no longer refers to it.
void SimWorld::let_go(Description& description) {
    CHECK(description.held_outside);
    description.held_outside = false;
    release(description.id);
}

void SimWorld::hang_up(Description& description) {
    const DescriptionId id = description.id;
    for (DescriptionId waiting : std::exchange(description.backlog, {})) {
        Description* connection = find(waiting);
        CHECK(connection != nullptr);
        break_connection(*connection);
        let_go(*connection);
    }
    if (Description* peer = find(description.peer)) {
        if (!description.inbox.empty()) {
            // Unread bytes are lost: the peer is told so.
            after(delay(), [this, to = peer->id] {
                if (Description* told = find(to)) mark_broken(*told);
            });
        } else if (!description.sent_end) {
            transmit_end(description);
        }
        poke(*peer);
    }
    descriptions_.erase(id);
}

void SimWorld::poke(Description& description) {
    for (OperationId id : description.waiters) schedule(*operations_.at(id), delay());
}

unsigned SimWorld::readiness(Description& description) {
    switch (description.kind) {
        case Description::Kind::file:
        case Description::Kind::directory:
            return POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;
        case Description::Kind::wake:
            return description.counter != 0 ? POLLIN | POLLOUT : POLLOUT;
        case Description::Kind::socket:
            break;
    }
    unsigned ready = 0;
    if (description.state == Description::State::listening) {
        if (!description.backlog.empty()) ready |= POLLIN | POLLRDNORM;
        return ready;
    }
    if (description.state != Description::State::connected) return POLLOUT | POLLHUP;
    const bool ended = description.end || description.deaf;
    if (!description.inbox.empty() || ended) ready |= POLLIN | POLLRDNORM;
    if (ended) ready |= POLLRDHUP;
    if (ended && description.sent_end) ready |= POLLHUP;
    if (description.broken) ready |= POLLIN | POLLERR | POLLHUP;
    if (room_to_send(description) != 0) ready |= POLLOUT | POLLWRNORM;
    return ready;
}

// ---- Between two ends.

std::size_t SimWorld::room_to_send(const Description& socket) {
    const Description* peer = find(socket.peer);
    const std::size_t used = socket.travelling + (peer != nullptr ? peer->inbox.size() : 0);
    return used >= socket.window ? 0 : socket.window - used;
}

void SimWorld::transmit(Description& from, std::string_view bytes) {
    constexpr std::size_t longest_piece = 16384;
    from.travelling += bytes.size();
    while (!bytes.empty()) {
        const std::size_t length = 1 + random_below(std::min(bytes.size(), longest_piece));
        from.last_arrival = std::max(from.last_arrival, now_ + delay());
        after(from.last_arrival - now_, [this, id = from.id, to = from.peer,
                                         piece = std::string(bytes.substr(0, length))] { arrive(id, to, piece); });
        bytes.remove_prefix(length);
    }
}

void SimWorld::transmit_end(Description& from) {
    from.sent_end = true;
    from.last_arrival = std::max(from.last_arrival, now_ + delay());
    after(from.last_arrival - now_, [this, to = from.peer] {
        Description* reached = find(to);
        if (reached == nullptr) return;
        trace("end", to, 0, 0, 0);
        reached->end = true;
        poke(*reached);
        tell_client(to);
    });
}

void SimWorld::arrive(DescriptionId from, DescriptionId to, const std::string& bytes) {
    trace("arrive", to, bytes.size(), 0, 0);
    Description* sender = find(from);
    if (sender != nullptr) sender->travelling -= bytes.size();
    Description* reached = find(to);
    if (reached == nullptr) {  // Nobody is there any more: the answer is a reset.
        if (sender != nullptr) mark_broken(*sender);
        return;
    }
    if (reached->broken || reached->deaf) return;
    reached->inbox += bytes;
    poke(*reached);
    tell_client(to);
}

void SimWorld::break_connection(Description& description) {
    const DescriptionId peer = description.peer;
    mark_broken(description);
    if (Description* other = find(peer)) mark_broken(*other);
}

void SimWorld::mark_broken(Description& description) {
    if (description.broken) return;
    trace("reset", description.id, 0, 0, 0);
    description.broken = true;
    description.inbox.clear();
    poke(description);
    if (const std::shared_ptr<SimClient> client = description.client; client != nullptr) {
        client->was_reset_ = true;
        const bool told = std::exchange(client->ended_, true);
        // Later, so that no hook runs in the middle of an operation.
        if (!told && !client->closed_)
            after(Nanoseconds::zero(), [client] {
                if (client->on_end) client->on_end();
            });
    }
}

/// Hands a client what has arrived for it. Its hooks may do anything, so nothing is held across them.
void SimWorld::tell_client(DescriptionId id) {
    Description* description = find(id);
    if (description == nullptr || description->client == nullptr) return;
    const std::shared_ptr<SimClient> client = description->client;
    if (!client->reading_) return;
    const std::string bytes = std::exchange(description->inbox, {});
    const bool ends = description->end && !std::exchange(client->ended_, client->ended_ || description->end);
    if (!bytes.empty()) {
        if (Description* peer = find(description->peer)) poke(*peer);  // There is room again.
        client->received_ += bytes;
        if (client->on_data) client->on_data(bytes);
    }
    if (ends && client->on_end) client->on_end();
}

/// Makes the far end of `to`, in nobody's descriptor table, held outside.
SimWorld::Description& SimWorld::make_connected(Description& to, const std::string& local, const std::string& remote) {
    Description& made = make_description();
    made.kind = Description::Kind::socket;
    made.domain = family_of(local);
    made.state = to.state = Description::State::connected;
    made.local = to.remote = local;
    made.remote = to.local = remote;
    made.peer = to.id;
    to.peer = made.id;
    made.window = 4096 + random_below(262144);
    to.window = 4096 + random_below(262144);
    made.held_outside = true;
    made.references = 1;
    return made;
}

SimWorld::Description* SimWorld::find_listener(const std::string& address) {
    std::vector<Description*> found;
    for (const auto& [id, description] : descriptions_)
        if (description->state == Description::State::listening && covers(description->local, address))
            found.push_back(description.get());
    return found.empty() ? nullptr : found[random_below(found.size())];  // SO_REUSEPORT: any of them.
}

// ---- Clients.

std::shared_ptr<SimClient> SimWorld::connect_client(std::uint16_t port) {
    auto client = std::make_shared<SimClient>();
    Description& description = make_description();
    description.kind = Description::Kind::socket;
    description.domain = AF_INET;
    description.held_outside = true;
    description.references = 1;
    description.client = client;
    client->world_ = this;
    client->description_ = description.id;
    after(delay(), [this, id = description.id, address = ipv4_loopback(port)] {
        arrive_at_listener(id, address, connect_tries);
    });
    return client;
}

void SimWorld::arrive_at_listener(DescriptionId id, const std::string& address, unsigned tries) {
    Description* description = find(id);
    if (description == nullptr) return;
    const std::shared_ptr<SimClient> client = description->client;
    Description* listener = find_listener(address);
    if (listener != nullptr && listener->backlog.size() >= listener->backlog_limit && tries > 0) {
        after(full_backlog_pause, [this, id, address, tries] { arrive_at_listener(id, address, tries - 1); });
        return;
    }
    if (listener == nullptr || tries == 0) {
        trace("refused", id, 0, 0, 0);
        client->refused_ = client->ended_ = true;
        let_go(*description);
        if (!std::exchange(client->closed_, true) && client->on_end) client->on_end();
        return;
    }
    trace("connected", id, listener->id, 0, 0);
    Description& server = make_connected(*description, address, ipv4_loopback(next_port_++));
    listener->backlog.push_back(server.id);
    poke(*listener);
    open_client(*description);
}

void SimWorld::open_client(Description& description) {
    description.client->connected_ = true;
    transmit(description, std::exchange(description.unsent, {}));
    if (description.sent_end) transmit_end(description);
    if (description.client->closed_) let_go(description);
}

void SimClient::send(std::string_view bytes) {
    SimWorld::Description* description = world_->find(description_);
    if (closed_ || description == nullptr || description->broken || description->sent_end) return;
    if (connected_) {
        world_->transmit(*description, bytes);
    } else {
        description->unsent += bytes;
    }
}

void SimClient::finish() {
    SimWorld::Description* description = world_->find(description_);
    if (closed_ || description == nullptr || description->sent_end) return;
    description->sent_end = true;
    if (connected_) world_->transmit_end(*description);
}

void SimClient::close() {
    finish();
    if (std::exchange(closed_, true)) return;
    // One that is still on its way closes when it has arrived.
    if (SimWorld::Description* description = world_->find(description_); description != nullptr && connected_)
        world_->let_go(*description);
}

void SimClient::reset() {
    SimWorld::Description* description = world_->find(description_);
    if (std::exchange(closed_, true) || description == nullptr) return;
    if (connected_) world_->break_connection(*description);
    description->sent_end = true;
    world_->let_go(*description);
}

void SimClient::set_reading(bool reading) {
    reading_ = reading;
    if (reading) world_->tell_client(description_);
}

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
    const std::string inside = path + "/";
    const auto file = files_.lower_bound(inside);
    if (file != files_.end() && file->first.starts_with(inside)) return true;
    const auto directory = directories_.lower_bound(inside);
    return directory != directories_.end() && directory->starts_with(inside);
}

int SimWorld::resolve(const Operation& op, std::uint64_t flags, std::string& resolved) {
    if (op.path.empty()) return -ENOENT;
    std::string base = "/";
    if (op.sqe.fd != AT_FDCWD && (op.path[0] != '/' || (flags & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0)) {
        const Description* description = at(op.sqe.fd);
        if (description == nullptr) return -EBADF;
        if (description->kind != Description::Kind::directory) return -ENOTDIR;
        base = description->path;
    }
    if (op.path[0] == '/' && (flags & RESOLVE_BENEATH) != 0) return -EXDEV;
    const std::string root = (flags & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) != 0 ? base : "/";
    resolved = base;
    std::size_t begin = 0;
    while (begin < op.path.size()) {
        const std::size_t end = std::min(op.path.find('/', begin), op.path.size());
        const std::string part = op.path.substr(begin, end - begin);
        begin = end + 1;
        if (part.empty() && end == 0) continue;  // The leading slash.
        if (!is_directory(resolved)) return files_.contains(resolved) ? -ENOTDIR : -ENOENT;
        if (part.empty() || part == ".") continue;
        if (part == "..") {
            if (resolved != root)
                resolved = parent_of(resolved);
            else if ((flags & RESOLVE_BENEATH) != 0)
                return -EXDEV;
        } else {
            resolved += resolved == "/" ? part : "/" + part;
        }
    }
    if (op.path.back() == '/' && !is_directory(resolved)) return files_.contains(resolved) ? -ENOTDIR : -ENOENT;
    return 0;
}

int SimWorld::do_open(Operation& op) {
    if (chance(faults_.open_no_memory)) return -ENOMEM;
    if (chance(faults_.interrupted)) return -EINTR;
    std::string path;
    if (const int error = resolve(op, op.how.resolve, path); error != 0) return error;
    const std::uint64_t flags = op.how.flags;
    const bool directory = is_directory(path);
    if (directory) {
        if ((flags & O_CREAT) != 0 || may_write(flags)) return -EISDIR;
    } else {
        auto found = files_.find(path);
        if (found == files_.end()) {
            if ((flags & O_CREAT) == 0 || !is_directory(parent_of(path))) return -ENOENT;
            add_file(path, {});
            found = files_.find(path);
        } else {
            if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return -EEXIST;
            if ((flags & O_DIRECTORY) != 0) return -ENOTDIR;
        }
        if ((flags & O_TRUNC) != 0 && may_write(flags)) found->second->bytes.clear();
    }
    Description& description = make_description();
    description.kind = directory ? Description::Kind::directory : Description::Kind::file;
    if (!directory) description.inode = files_.find(path)->second;
    description.path = path;
    description.open_flags = flags;
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
        if (const int error = resolve(op, 0, path); error != 0) return error;
        if (is_directory(path)) {
            status.stx_mode = S_IFDIR | 0755;
        } else {
            const auto found = files_.find(path);
            if (found == files_.end()) return -ENOENT;
            inode = found->second;
            status.stx_mode = S_IFREG | 0644;
        }
    }
    status.stx_mask = STATX_BASIC_STATS;
    status.stx_blksize = 4096;
    status.stx_nlink = 1;
    if (inode != nullptr) {
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

void SimWorld::attempt_file(Operation& op) {
    Description& description = *find(op.description);
    const bool reads = op.sqe.opcode == IORING_OP_READ;
    const bool syncs = op.sqe.opcode == IORING_OP_FSYNC;
    const auto finish = [this, &op](int result) { complete(op, result); };
    switch (description.kind) {
        case Description::Kind::wake:
            return reads ? attempt_wake_read(op) : finish(-EINVAL);
        case Description::Kind::socket:
            if (syncs) return finish(-EINVAL);
            return reads ? attempt_receive(op) : attempt_send(op);
        case Description::Kind::directory:
            return finish(syncs ? 0 : reads ? -EISDIR : -EBADF);
        case Description::Kind::file:
            break;
    }
    if (!syncs && !(reads ? may_read(description.open_flags) : may_write(description.open_flags)))
        return finish(-EBADF);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    if (chance(faults_.io_error)) return finish(-EIO);
    if (syncs) return finish(0);

    std::string& bytes = description.inode->bytes;
    const bool at_position = op.sqe.off == static_cast<std::uint64_t>(-1);
    std::uint64_t offset = at_position ? description.position : op.sqe.off;
    if (!reads && (description.open_flags & O_APPEND) != 0) offset = bytes.size();
    std::size_t length = op.sqe.len;
    if (reads) length = offset >= bytes.size() ? 0 : std::min<std::size_t>(length, bytes.size() - offset);
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    auto* buffer = reinterpret_cast<char*>(op.sqe.addr);
    if (length != 0) {
        if (reads) {
            std::memcpy(buffer, bytes.data() + offset, length);  // W2
        } else {
            if (bytes.size() < offset + length) bytes.resize(offset + length);
            std::memcpy(bytes.data() + offset, buffer, length);  // W2
            description.inode->changed = now_;
        }
    }
    if (at_position) description.position = offset + length;
    finish(static_cast<int>(length));
}

void SimWorld::attempt_wake_read(Operation& op) {
    Description& description = *find(op.description);
    if (op.sqe.len < sizeof description.counter) {
        complete(op, -EINVAL);
        return;
    }
    if (description.counter == 0) return park(op);
    std::memcpy(reinterpret_cast<void*>(op.sqe.addr), &description.counter, sizeof description.counter);  // W2
    description.counter = 0;
    complete(op, sizeof description.counter);
}

// ---- Sockets.

int SimWorld::do_socket(int domain, int type) {
    if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) return -EAFNOSUPPORT;
    if ((type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK)) != SOCK_STREAM) return -EPROTONOSUPPORT;
    Description& description = make_description();
    description.kind = Description::Kind::socket;
    description.domain = domain;
    description.local = description.remote = unnamed(domain);
    return install(description);
}

int SimWorld::do_bind(Description* socket, std::string address) {
    if (socket == nullptr) return -EBADF;
    if (socket->kind != Description::Kind::socket) return -ENOTSOCK;
    address = normalised(address);
    if (address.empty() || socket->state != Description::State::fresh) return -EINVAL;
    if (family_of(address) != socket->domain) return -EAFNOSUPPORT;
    if (has_port(address) && port_of(address) == 0) set_port(address, next_port_++);
    for (const auto& [id, other] : descriptions_) {
        const bool holds = other->state == Description::State::bound || other->state == Description::State::listening;
        if (!holds || (other->reuse_port && socket->reuse_port)) continue;
        if (covers(other->local, address) || covers(address, other->local)) return -EADDRINUSE;
    }
    socket->local = std::move(address);
    socket->state = Description::State::bound;
    return 0;
}

int SimWorld::do_listen(Description* socket, unsigned backlog) {
    if (socket == nullptr) return -EBADF;
    if (socket->kind != Description::Kind::socket) return -ENOTSOCK;
    if (socket->state == Description::State::connected) return -EINVAL;
    if (socket->state == Description::State::fresh && has_port(socket->local)) set_port(socket->local, next_port_++);
    socket->state = Description::State::listening;
    socket->backlog_limit = std::max(backlog, 1u);
    return 0;
}

int SimWorld::do_close(int fd) {
    const auto found = descriptors_.find(fd);
    if (found == descriptors_.end()) return -EBADF;
    const DescriptionId id = found->second;
    descriptors_.erase(found);
    release(id);
    return 0;
}

int SimWorld::do_shutdown(Description* socket, int how) {
    if (socket == nullptr) return -EBADF;
    if (socket->kind != Description::Kind::socket) return -ENOTSOCK;
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
    if (socket->state == Description::State::listening) {
        socket->state = Description::State::shut;
        for (DescriptionId waiting : std::exchange(socket->backlog, {})) {
            Description& connection = *find(waiting);
            break_connection(connection);
            let_go(connection);
        }
    } else if (socket->state != Description::State::connected || socket->broken) {
        return -ENOTCONN;
    } else {
        if (how != SHUT_RD && !socket->sent_end) transmit_end(*socket);
        if (how != SHUT_WR) socket->deaf = true;
    }
    poke(*socket);
    return 0;
}

int SimWorld::set_socket_option(int fd, int level, int option, int value) {
    Description* socket = at(fd);
    if (socket == nullptr) return -EBADF;
    if (socket->kind != Description::Kind::socket) return -ENOTSOCK;
    if (level == SOL_SOCKET && option == SO_REUSEPORT) socket->reuse_port = value != 0;
    return 0;  // The others change nothing that can be seen here.
}

int SimWorld::local_address(int fd, sockaddr* address, socklen_t* length) {
    const Description* socket = at(fd);
    if (socket == nullptr) return -EBADF;
    if (socket->kind != Description::Kind::socket) return -ENOTSOCK;
    give_address(socket->local, address, length);
    return 0;
}

void SimWorld::attempt_accept(Operation& op) {
    Description& listener = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (listener.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    if (listener.state != Description::State::listening) return finish(-EINVAL);
    if (listener.backlog.empty()) return park(op);
    if (chance(faults_.accept_error)) return finish(chance(0.5) ? -ECONNABORTED : -EMFILE);
    if (!op.multishot && chance(faults_.interrupted)) return finish(-EINTR);
    Description& connection = *find(listener.backlog.front());
    listener.backlog.pop_front();
    const int fd = install(connection);
    let_go(connection);
    if (op.sqe.addr != 0 && op.sqe.addr2 != 0)  // W2
        give_address(connection.remote, reinterpret_cast<void*>(op.sqe.addr),
                     reinterpret_cast<socklen_t*>(op.sqe.addr2));
    const bool more = !listener.backlog.empty();
    if (!complete(op, fd, op.multishot ? IORING_CQE_F_MORE : 0)) return;
    if (more)
        schedule(op, delay());
    else
        park(op);
}

void SimWorld::attempt_connect(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (socket.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    const std::string address = normalised(op.path);
    if (address.empty()) return finish(-EINVAL);
    if (family_of(address) != socket.domain) return finish(-EAFNOSUPPORT);
    if (socket.state == Description::State::connected) return finish(-EISCONN);
    if (socket.state == Description::State::listening) return finish(-EINVAL);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    Description* listener = find_listener(address);
    if (listener == nullptr) return finish(-ECONNREFUSED);
    if (listener->backlog.size() >= listener->backlog_limit) return schedule(op, full_backlog_pause);
    std::string own = socket.local;
    if (has_port(own) && port_of(own) == 0) own = address, set_port(own, next_port_++);
    Description& server = make_connected(socket, address, own);
    listener->backlog.push_back(server.id);
    poke(*listener);
    poke(socket);
    finish(0);
}

void SimWorld::attempt_receive(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (socket.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    if (socket.state != Description::State::connected) return finish(-ENOTCONN);
    const unsigned flags = op.sqe.opcode == IORING_OP_RECV ? op.sqe.msg_flags : 0;
    const bool selects = (op.sqe.flags & IOSQE_BUFFER_SELECT) != 0;
    const bool whole = (flags & static_cast<unsigned>(MSG_WAITALL)) != 0 && !selects;
    constexpr auto known = static_cast<unsigned>(MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL);
    if ((flags & ~known) != 0) return finish(-EOPNOTSUPP);
    if (!selects && op.sqe.len == 0) return finish(0);
    const auto moved = static_cast<int>(op.moved);
    if (moved == 0 && !op.multishot && chance(faults_.interrupted)) return finish(-EINTR);
    if (!socket.broken && chance(faults_.connection_reset)) break_connection(socket);
    if (socket.broken) {
        if (moved != 0) return finish(moved);
        return finish(std::exchange(socket.broken_reported, true) ? 0 : -ECONNRESET);
    }
    if (socket.inbox.empty()) {
        if (socket.end || socket.deaf) return finish(moved);
        if ((flags & static_cast<unsigned>(MSG_DONTWAIT)) != 0) return finish(moved != 0 ? moved : -EAGAIN);
        return park(op);
    }

    char* buffer = reinterpret_cast<char*>(op.sqe.addr) + op.moved;
    std::size_t room = op.sqe.len - op.moved;
    unsigned result_flags = 0;
    if (selects) {
        const auto group = op.ring->buffers_.find(op.sqe.buf_group);
        if (group == op.ring->buffers_.end()) return finish(-ENOBUFS);
        SimRing::ProvidedBuffers& provided = group->second;
        // acquire: makes the slots' bytes visible. Pairs with the release in BufferRing::publish().
        const std::uint16_t tail =
            std::atomic_ref<const std::uint16_t>(provided.slots[0].resv).load(std::memory_order_acquire);
        if (provided.head == tail || chance(faults_.no_buffers)) return finish(-ENOBUFS);
        const io_uring_buf& slot = provided.slots[provided.head++ & (provided.entries - 1)];
        buffer = reinterpret_cast<char*>(slot.addr);
        room = op.sqe.len != 0 ? std::min<std::size_t>(op.sqe.len, slot.len) : slot.len;
        result_flags = IORING_CQE_F_BUFFER | static_cast<unsigned>(slot.bid) << IORING_CQE_BUFFER_SHIFT;
    }
    std::size_t length = std::min(room, socket.inbox.size());
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    std::memcpy(buffer, socket.inbox.data(), length);  // W2
    socket.inbox.erase(0, length);
    if (Description* peer = find(socket.peer)) poke(*peer);  // There is room again.
    op.moved += length;
    const bool more = !socket.inbox.empty() || socket.end;
    if (whole && op.moved < op.sqe.len) return more ? schedule(op, delay()) : park(op);
    if (!socket.inbox.empty()) result_flags |= IORING_CQE_F_SOCK_NONEMPTY;
    if (op.multishot) {
        op.moved = 0;
        if (!complete(op, static_cast<int>(length), result_flags | IORING_CQE_F_MORE)) return;
        return more ? schedule(op, delay()) : park(op);
    }
    complete(op, static_cast<int>(op.moved), result_flags);
}

void SimWorld::attempt_send(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (socket.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    const unsigned flags = op.sqe.opcode == IORING_OP_SEND ? op.sqe.msg_flags : 0;
    const bool whole = (flags & static_cast<unsigned>(MSG_WAITALL)) != 0;
    constexpr auto known = static_cast<unsigned>(MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
    if ((flags & ~known) != 0) return finish(-EOPNOTSUPP);
    if (socket.state != Description::State::connected) return finish(-EPIPE);
    const auto moved = static_cast<int>(op.moved);
    if (moved == 0 && chance(faults_.interrupted)) return finish(-EINTR);
    if (!socket.broken && chance(faults_.connection_reset)) break_connection(socket);
    if (socket.broken) {
        if (moved != 0) return finish(moved);
        return finish(std::exchange(socket.broken_reported, true) ? -EPIPE : -ECONNRESET);
    }
    if (socket.sent_end || find(socket.peer) == nullptr) return finish(moved != 0 ? moved : -EPIPE);
    std::size_t length = op.sqe.len - op.moved;
    if (length == 0) return finish(moved);
    length = std::min(length, room_to_send(socket));
    if (length == 0) {
        if ((flags & static_cast<unsigned>(MSG_DONTWAIT)) != 0) return finish(moved != 0 ? moved : -EAGAIN);
        return park(op);
    }
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    transmit(socket, {reinterpret_cast<const char*>(op.sqe.addr) + op.moved, length});  // W2
    op.moved += length;
    if (whole && op.moved < op.sqe.len) return schedule(op, delay());
    complete(op, static_cast<int>(op.moved));
}

void SimWorld::attempt_poll(Operation& op) {
    Description& description = *find(op.description);
    const unsigned ready = readiness(description) & (op.sqe.poll32_events | POLLERR | POLLHUP);
    if (ready == 0) return park(op);
    if (complete(op, static_cast<int>(ready), op.multishot ? IORING_CQE_F_MORE : 0)) park(op);
}

}  // namespace umbel::rt
