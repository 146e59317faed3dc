// sim_sockets.cpp: sockets and clients of the simulated kernel: connections, datagrams, messages with descriptors.
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>

#include "runtime/io/sim_objects.h"

namespace umbel::rt {

namespace {

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

}  // namespace

// ---- Between two ends.

std::size_t SimWorld::room_to_send(const Description& socket) {
    const Description* peer = find(socket.peer);
    const std::size_t used = socket.travelling + (peer != nullptr ? peer->inbox.size() : 0);
    return used >= socket.window ? 0 : socket.window - used;
}

void SimWorld::transmit(Description& from, std::string_view bytes, RightsId rights) {
    constexpr std::size_t longest_piece = 16384;
    from.travelling += bytes.size();
    while (!bytes.empty()) {
        const std::size_t length = 1 + random_below(std::min(bytes.size(), longest_piece));
        from.last_arrival = std::max(from.last_arrival, now_ + delay());
        after(from.last_arrival - now_,
              [this, id = from.id, to = from.peer, with = std::exchange(rights, 0),
               piece = std::string(bytes.substr(0, length))] { arrive(id, to, piece, with); });
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

void SimWorld::arrive(DescriptionId from, DescriptionId to, const std::string& bytes, RightsId rights) {
    trace("arrive", to, bytes.size(), 0, 0);
    Description* sender = find(from);
    if (sender != nullptr) sender->travelling -= bytes.size();
    Description* reached = find(to);
    if (reached == nullptr) {  // Nobody is there any more: the answer is a reset.
        if (sender != nullptr) mark_broken(*sender);
        return drop_rights(rights);
    }
    if (reached->broken || reached->deaf) return drop_rights(rights);
    if (rights != 0) reached->rights.emplace_back(reached->received + reached->inbox.size(), rights);
    reached->inbox += bytes;
    poke(*reached);
    tell_client(to);
}

// Received by something that takes no descriptors: those that came with the bytes are lost.
void SimWorld::take_from_inbox(Description& socket, std::size_t bytes) {
    socket.inbox.erase(0, bytes);
    socket.received += bytes;
    while (!socket.rights.empty() && socket.rights.front().first < socket.received) {
        const RightsId rights = socket.rights.front().second;
        socket.rights.pop_front();
        drop_rights(rights);
    }
    if (Description* peer = find(socket.peer)) poke(*peer);  // There is room again.
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
    for (const auto& [at, rights] : std::exchange(description.rights, {})) drop_rights(rights);
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

// ---- Sockets.

int SimWorld::do_socket(int domain, int type, int protocol) {
    if (domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) return -EAFNOSUPPORT;
    const int kind = type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (kind != SOCK_STREAM && kind != SOCK_DGRAM) return -EPROTONOSUPPORT;
    const int usual = kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    if (protocol != 0 && (domain == AF_UNIX || protocol != usual)) return -EPROTONOSUPPORT;
    Description& description = make_description();
    description.kind = Description::Kind::socket;
    description.domain = domain;
    description.datagrams = kind == SOCK_DGRAM;
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
        if (other->datagrams != socket->datagrams) continue;
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
    if (socket->datagrams) return -EOPNOTSUPP;
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
    if (socket.datagrams) {
        // Where its datagrams go from now on; it stays bound to where it is.
        socket.remote = address;
        return finish(0);
    }
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

// A receive's pieces, if it takes a provided buffer. False: there is none, and it has ended.
bool SimWorld::select_buffer(Operation& op, unsigned& result_flags) {
    const auto group = op.ring->buffers_.find(op.sqe.buf_group);
    if (group != op.ring->buffers_.end()) {
        SimRing::ProvidedBuffers& provided = group->second;
        // acquire: makes the slots' bytes visible. Pairs with the release in BufferRing::publish().
        const std::uint16_t tail =
            std::atomic_ref<const std::uint16_t>(provided.slots[0].resv).load(std::memory_order_acquire);
        if (provided.head != tail && !chance(faults_.no_buffers)) {
            const io_uring_buf& slot = provided.slots[provided.head++ & (provided.entries - 1)];
            const std::size_t room = op.sqe.len != 0 ? std::min<std::size_t>(op.sqe.len, slot.len) : slot.len;
            op.pieces = {{reinterpret_cast<void*>(slot.addr), room}};
            result_flags = IORING_CQE_F_BUFFER | static_cast<unsigned>(slot.bid) << IORING_CQE_BUFFER_SHIFT;
            return true;
        }
    }
    complete(op, -ENOBUFS);
    return false;
}

void SimWorld::attempt_receive(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (socket.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    if (socket.datagrams) return receive_datagram(op);
    if (socket.state != Description::State::connected) return finish(-ENOTCONN);
    const bool message = op.sqe.opcode == IORING_OP_RECVMSG;
    const unsigned flags = message || op.sqe.opcode == IORING_OP_RECV ? op.sqe.msg_flags : 0;
    const bool selects = (op.sqe.flags & IOSQE_BUFFER_SELECT) != 0;
    const bool whole = (flags & static_cast<unsigned>(MSG_WAITALL)) != 0 && !selects;
    constexpr auto known = static_cast<unsigned>(MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC);
    if ((flags & ~known) != 0) return finish(-EOPNOTSUPP);
    if (!selects && op.asked() == 0) return finish(0);
    const auto moved = static_cast<int>(op.moved);
    const auto over = [&](int result) {
        if (message && result >= 0) return finish_receive(op, result, 0, 0, "", 0);
        finish(result);
    };
    if (moved == 0 && !op.multishot && chance(faults_.interrupted)) return finish(-EINTR);
    if (!socket.broken && chance(faults_.connection_reset)) break_connection(socket);
    if (socket.broken) {
        if (moved != 0) return over(moved);
        return over(std::exchange(socket.broken_reported, true) ? 0 : -ECONNRESET);
    }
    if (socket.inbox.empty()) {
        if (socket.end || socket.deaf) return over(moved);
        if ((flags & static_cast<unsigned>(MSG_DONTWAIT)) != 0) return over(moved != 0 ? moved : -EAGAIN);
        return park(op);
    }

    unsigned result_flags = 0;
    if (selects && !select_buffer(op, result_flags)) return;
    std::size_t length = std::min(op.asked() - op.moved, socket.inbox.size());
    // Descriptors come with the first byte of what they were sent with, and two sets never come together.
    RightsId rights = 0;
    const bool here = !socket.rights.empty() && socket.rights.front().first == socket.received;
    const std::size_t next = here ? 1 : 0;
    if (socket.rights.size() > next)
        length = std::min<std::size_t>(length, socket.rights[next].first - socket.received);
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    if (message && here) {
        rights = socket.rights.front().second;
        socket.rights.pop_front();
    }
    op.put(op.moved, std::string_view(socket.inbox).substr(0, length));
    take_from_inbox(socket, length);
    op.moved += length;
    const bool more = !socket.inbox.empty() || socket.end;
    if (whole && op.moved < op.asked() && rights == 0) return more ? schedule(op, delay()) : park(op);
    if (!socket.inbox.empty()) result_flags |= IORING_CQE_F_SOCK_NONEMPTY;
    if (op.multishot) {
        op.moved = 0;
        if (!complete(op, static_cast<int>(length), result_flags | IORING_CQE_F_MORE)) return;
        return more ? schedule(op, delay()) : park(op);
    }
    if (message) return finish_receive(op, static_cast<int>(op.moved), result_flags, rights, "", 0);
    complete(op, static_cast<int>(op.moved), result_flags);
}

void SimWorld::receive_datagram(Operation& op) {
    Description& socket = *find(op.description);
    const bool message = op.sqe.opcode == IORING_OP_RECVMSG;
    const unsigned flags = message || op.sqe.opcode == IORING_OP_RECV ? op.sqe.msg_flags : 0;
    if (!op.multishot && chance(faults_.interrupted)) {
        complete(op, -EINTR);
        return;
    }
    if (socket.arrived.empty()) {
        if ((flags & static_cast<unsigned>(MSG_DONTWAIT)) == 0) return park(op);
        complete(op, -EAGAIN);
        return;
    }
    unsigned result_flags = 0;
    if ((op.sqe.flags & IOSQE_BUFFER_SELECT) != 0 && !select_buffer(op, result_flags)) return;
    const Datagram datagram = std::move(socket.arrived.front());
    socket.arrived.pop_front();
    const std::size_t length = std::min(datagram.bytes.size(), op.asked());
    op.put(0, std::string_view(datagram.bytes).substr(0, length));
    const int cut = length < datagram.bytes.size() ? MSG_TRUNC : 0;
    if (message) return finish_receive(op, static_cast<int>(length), result_flags, datagram.rights, datagram.from, cut);
    drop_rights(datagram.rights);
    if (complete(op, static_cast<int>(length), result_flags | (op.multishot ? IORING_CQE_F_MORE : 0u)))
        schedule(op, delay());
}

// Fills in what a RECVMSG says besides the bytes, and ends it.
void SimWorld::finish_receive(Operation& op, int result, unsigned flags, RightsId rights, const std::string& from,
                              int message_flags) {
    auto* header = reinterpret_cast<msghdr*>(op.sqe.addr);
    if (op.message.msg_name != nullptr) {
        header->msg_namelen = op.message.msg_namelen;
        give_address(from, op.message.msg_name, &header->msg_namelen);
    }
    std::size_t used = 0;
    if (rights != 0) {
        std::vector<DescriptionId> passed = std::move(rights_.at(rights));
        rights_.erase(rights);
        const std::size_t space = op.message.msg_control != nullptr ? op.message.msg_controllen : 0;
        const std::size_t room = space > CMSG_LEN(0) ? (space - CMSG_LEN(0)) / sizeof(int) : 0;
        std::vector<int> numbers;
        for (const DescriptionId id : passed) {
            if (numbers.size() < room) {
                numbers.push_back(install(*find(id)));
            } else {
                message_flags |= MSG_CTRUNC;
            }
        }
        for (const DescriptionId id : passed) release(id);  // What was under way is not any more.
        if (!numbers.empty()) {
            auto* part = static_cast<cmsghdr*>(op.message.msg_control);
            part->cmsg_level = SOL_SOCKET;
            part->cmsg_type = SCM_RIGHTS;
            part->cmsg_len = CMSG_LEN(numbers.size() * sizeof(int));
            std::memcpy(CMSG_DATA(part), numbers.data(), numbers.size() * sizeof(int));  // W2
            used = part->cmsg_len;
        }
    }
    header->msg_controllen = used;
    header->msg_flags = message_flags;
    complete(op, result, flags);
}

// Descriptors of a SENDMSG, on their way from now on. 0, or -errno.
int SimWorld::collect_rights(const Operation& op, RightsId& rights) {
    if (op.sqe.opcode != IORING_OP_SENDMSG || op.message.msg_control == nullptr) return 0;
    std::vector<DescriptionId> passed;
    msghdr message = op.message;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        for (std::size_t i = 0; i < (part->cmsg_len - CMSG_LEN(0)) / sizeof(int); ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            const Description* description = at(fd);
            if (description == nullptr) return -EBADF;
            passed.push_back(description->id);
        }
    }
    if (passed.empty()) return 0;
    for (const DescriptionId id : passed) ++find(id)->references;
    rights = next_rights_++;
    rights_.emplace(rights, std::move(passed));
    return 0;
}

// They were not received.
void SimWorld::drop_rights(RightsId rights) {
    if (rights == 0) return;
    const std::vector<DescriptionId> passed = std::move(rights_.at(rights));
    rights_.erase(rights);
    for (const DescriptionId id : passed) release(id);
}

std::int64_t SimWorld::push(int fd, std::string_view bytes) {
    Description* found = at(fd);
    if (found == nullptr) return -EBADF;
    Description& socket = *found;
    if (socket.kind != Description::Kind::socket) return -ENOTSOCK;
    if (socket.state != Description::State::connected) return -EPIPE;
    if (!socket.broken && chance(faults_.connection_reset)) break_connection(socket);
    if (socket.broken) return std::exchange(socket.broken_reported, true) ? -EPIPE : -ECONNRESET;
    if (socket.sent_end || find(socket.peer) == nullptr) return -EPIPE;
    std::size_t length = std::min(bytes.size(), room_to_send(socket));
    if (length == 0) return -EAGAIN;
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    transmit(socket, bytes.substr(0, length));  // W2
    return static_cast<std::int64_t>(length);
}

void SimWorld::attempt_send(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    if (socket.kind != Description::Kind::socket) return finish(-ENOTSOCK);
    if (socket.datagrams) return send_datagram(op);
    const bool message = op.sqe.opcode == IORING_OP_SENDMSG;
    const unsigned flags = message || op.sqe.opcode == IORING_OP_SEND ? op.sqe.msg_flags : 0;
    const bool whole = (flags & static_cast<unsigned>(MSG_WAITALL)) != 0;
    constexpr auto known = static_cast<unsigned>(MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
    if ((flags & ~known) != 0) return finish(-EOPNOTSUPP);
    if (socket.state != Description::State::connected) return finish(-EPIPE);
    if (!op.path.empty()) return finish(-EISCONN);
    const auto moved = static_cast<int>(op.moved);
    if (moved == 0 && chance(faults_.interrupted)) return finish(-EINTR);
    if (!socket.broken && chance(faults_.connection_reset)) break_connection(socket);
    if (socket.broken) {
        if (moved != 0) return finish(moved);
        return finish(std::exchange(socket.broken_reported, true) ? -EPIPE : -ECONNRESET);
    }
    if (socket.sent_end || find(socket.peer) == nullptr) return finish(moved != 0 ? moved : -EPIPE);
    std::size_t length = op.asked() - op.moved;
    if (length == 0) return finish(moved);
    length = std::min(length, room_to_send(socket));
    if (length == 0) {
        if ((flags & static_cast<unsigned>(MSG_DONTWAIT)) != 0) return finish(moved != 0 ? moved : -EAGAIN);
        return park(op);
    }
    RightsId rights = 0;
    if (op.moved == 0) {
        if (const int error = collect_rights(op, rights); error != 0) return finish(error);
        if (rights != 0 && socket.domain != AF_UNIX) {
            drop_rights(rights);  // Other families take no notice of them.
            rights = 0;
        }
    }
    if (length > 1 && chance(faults_.short_transfer)) length = 1 + random_below(length);
    transmit(socket, op.get(op.moved, length), rights);
    op.moved += length;
    if (whole && op.moved < op.asked()) return schedule(op, delay());
    complete(op, static_cast<int>(op.moved));
}

void SimWorld::send_datagram(Operation& op) {
    Description& socket = *find(op.description);
    const auto finish = [this, &op](int result) { complete(op, result); };
    const std::string to = op.path.empty() ? socket.remote : normalised(op.path);
    const bool named = op.path.empty() ? to != unnamed(socket.domain) : !to.empty();
    if (!named) return finish(op.path.empty() ? (socket.domain == AF_UNIX ? -ENOTCONN : -EDESTADDRREQ) : -EINVAL);
    if (family_of(to) != socket.domain) return finish(-EAFNOSUPPORT);
    constexpr std::size_t longest = 65507;  // What fits one UDP datagram.
    if (op.asked() > longest) return finish(-EMSGSIZE);
    if (chance(faults_.interrupted)) return finish(-EINTR);
    if (socket.state == Description::State::fresh && has_port(socket.local)) {
        socket.local = to;  // Sent from the same machine.
        set_port(socket.local, next_port_++);
        socket.state = Description::State::bound;
    }
    Description* reached = nullptr;
    for (const auto& [id, other] : descriptions_) {
        if (other->datagrams && other->state == Description::State::bound && covers(other->local, to))
            reached = other.get();
    }
    const bool local = socket.domain == AF_UNIX;
    if (reached == nullptr && local) return finish(-ECONNREFUSED);
    RightsId rights = 0;
    if (const int error = collect_rights(op, rights); error != 0) return finish(error);
    const auto length = static_cast<int>(op.asked());
    if (reached == nullptr || (!local && chance(faults_.lost_datagram))) {
        drop_rights(rights);  // As the network will have it.
        return finish(length);
    }
    if (!local) drop_rights(std::exchange(rights, 0));
    Nanoseconds wait = delay();
    if (local) {
        // Those between two sockets of one machine keep their order.
        socket.last_arrival = std::max(socket.last_arrival, now_ + wait);
        wait = socket.last_arrival - now_;
    }
    const std::string from = socket.local == unnamed(AF_UNIX) ? "" : socket.local;
    after(wait, [this, id = reached->id, datagram = Datagram{op.get(0, op.asked()), from, rights}] {
        trace("datagram", id, datagram.bytes.size(), 0, 0);
        Description* there = find(id);
        if (there == nullptr) return drop_rights(datagram.rights);
        there->arrived.push_back(datagram);
        poke(*there);
    });
    finish(length);
}

}  // namespace umbel::rt
