// net.h: socket addresses as text, TCP listeners and the accept loop. Part of the C++ SDK; included by umbel.h.
//
// Why.    Every network plugin needs these, and each would get IPv6 brackets, a forgotten SO_REUSEADDR or a full
//         descriptor table wrong.
// Not here.  Name resolution: it blocks, and a server listens on addresses.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/un.h>

#include <array>
#include <charconv>
#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "umbel/self.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

inline std::optional<endpoint> endpoint::parse(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return std::nullopt;
    std::string host(text.substr(0, colon));
    const std::string_view digits = text.substr(colon + 1);
    std::uint16_t port = 0;
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (status != std::errc() || end != digits.data() + digits.size() || digits.empty()) return std::nullopt;

    endpoint parsed;
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        host = host.substr(1, host.size() - 2);
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(port);
        if (inet_pton(AF_INET6, host.c_str(), &address.sin6_addr) != 1) return std::nullopt;
        std::memcpy(&parsed.storage, &address, sizeof address);
        parsed.size = sizeof address;
    } else {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) return std::nullopt;
        std::memcpy(&parsed.storage, &address, sizeof address);
        parsed.size = sizeof address;
    }
    return parsed;
}

inline std::string endpoint::text() const {
    std::array<char, INET6_ADDRSTRLEN> host{};
    if (domain() == AF_INET6) {
        inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage)->sin6_addr, host.data(), host.size());
        return "[" + std::string(host.data()) + "]:" + std::to_string(port());
    }
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage)->sin_addr, host.data(), host.size());
    return std::string(host.data()) + ":" + std::to_string(port());
}

inline result<socket> self::listen_on(const endpoint& address, std::uint32_t backlog, bool shared) {
    auto listener = await(open_socket(address.domain(), SOCK_STREAM));
    if (!listener) return listener;
    (void)set_option(*listener, SOL_SOCKET, SO_REUSEADDR, 1);
    if (shared) (void)set_option(*listener, SOL_SOCKET, SO_REUSEPORT, 1);
    (void)set_option(*listener, IPPROTO_TCP, TCP_NODELAY, 1);  // Accepted connections inherit it.
    if (auto bound = await(bind(*listener, address)); !bound) return std::unexpected(bound.error());
    if (auto listening = await(listen(*listener, backlog)); !listening) return std::unexpected(listening.error());
    return listener;
}

inline result<std::vector<socket>> self::listen_everywhere(endpoint& address, std::uint32_t backlog) {
    {
        // SO_REUSEPORT would let us in beside another process of this user, and half of the connections would go
        // there. Without it, bind says whether somebody listens.
        auto probe = await(open_socket(address.domain(), SOCK_STREAM));
        if (!probe) return std::unexpected(probe.error());
        (void)set_option(*probe, SOL_SOCKET, SO_REUSEADDR, 1);
        if (auto bound = await(bind(*probe, address)); !bound) return std::unexpected(bound.error());
        if (auto closed = await(close(std::move(*probe))); !closed) return std::unexpected(closed.error());
    }
    std::vector<socket> listeners;
    for (std::uint32_t i = 0; i < executor_count(); ++i) {
        auto listener = listen_on(address, backlog, true);
        if (!listener) return std::unexpected(listener.error());
        if (address.port() == 0) {
            auto actual = local_address(*listener);
            if (!actual) return std::unexpected(actual.error());
            address = *actual;
        }
        listeners.push_back(std::move(*listener));
    }
    return listeners;
}

/// "cannot listen on 127.0.0.1:80: …", with the likely cause: for self::fail.
inline std::string cannot_listen(const endpoint& address, error why) {
    std::string text = "cannot listen on " + address.text() + ": ";
    switch (why.code) {
        case -EADDRINUSE:
            return text + "address already in use; another process has it";
        case -EADDRNOTAVAIL:
            return text + "no interface of this machine has this address";
        case -EACCES:
            return text + "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE";
        default:
            return text.append(why.message());
    }
}

namespace detail {

/// NAME of "systemd:NAME".
inline std::optional<std::string> passed_name(std::string_view where) {
    constexpr std::string_view prefix = "systemd:";
    if (!where.starts_with(prefix)) return std::nullopt;
    return std::string(where.substr(prefix.size()));
}

/// Of a passed socket, for people; it may be a unix socket.
inline std::string address_text(self& me, const socket& of) {
    const auto address = me.local_address(of);
    if (!address) return "?";
    if (address->domain() == AF_INET || address->domain() == AF_INET6) return address->text();
    if (address->domain() != AF_UNIX) return "family " + std::to_string(address->domain());
    const char* const path = reinterpret_cast<const sockaddr_un*>(&address->storage)->sun_path;
    const std::size_t size = address->size - offsetof(sockaddr_un, sun_path);
    if (size == 0) return "unix:";
    if (path[0] == '\0') return "unix:@" + std::string(path + 1, size - 1);
    return "unix:" + std::string(path, strnlen(path, size));
}

}  // namespace detail

inline std::expected<socket, std::string> self::take_listener(const std::string& name, std::uint32_t index) {
    std::array<char, 512> why{};
    const int fd = umbel_take_listener(raw_, name.c_str(), index, why.data(), why.size());
    if (fd < 0) return std::unexpected(std::string(why.data()));
    socket taken(raw_, fd);
    (void)set_option(taken, IPPROTO_TCP, TCP_NODELAY, 1);  // As in listen_on(); refused for one that is not TCP.
    return taken;
}

inline std::expected<listeners, std::string> self::listen_everywhere(std::string_view where, std::uint32_t backlog) {
    listeners opened;
    if (const auto name = detail::passed_name(where)) {
        std::string addresses;
        for (std::uint32_t index = 0;; ++index) {
            for (std::uint32_t i = 0; i < executor_count(); ++i) {
                auto taken = take_listener(*name, index);
                if (!taken && index > 0) break;  // That were all.
                if (!taken) return std::unexpected("cannot listen on " + std::string(where) + ": " + taken.error());
                if (i == 0) addresses.append(index == 0 ? "" : ", ").append(detail::address_text(*this, *taken));
                opened.sockets.push_back(std::move(*taken));
            }
            if (opened.sockets.size() != std::size_t{index + 1} * executor_count()) break;
        }
        opened.text = std::string(where) + " (" + addresses + ")";
        return opened;
    }
    auto address = endpoint::parse(where);
    if (!address) return std::unexpected("cannot listen on " + std::string(where) + ": it is not an address");
    auto sockets = listen_everywhere(*address, backlog);
    if (!sockets) return std::unexpected(cannot_listen(*address, sockets.error()));
    opened.sockets = std::move(*sockets);
    opened.text = address->text();
    return opened;
}

inline std::expected<listeners, std::string> self::listen_on(std::string_view where, std::uint32_t backlog) {
    listeners opened;
    if (const auto name = detail::passed_name(where)) {
        auto taken = take_listener(*name);
        if (!taken) return std::unexpected("cannot listen on " + std::string(where) + ": " + taken.error());
        if (take_listener(*name, 1)) {
            return std::unexpected(
                "cannot listen on " + std::string(where) +
                ": several sockets of this name were passed, and only one is served (give each .socket "
                "unit one ListenStream= and a FileDescriptorName= of its own)");
        }
        opened.text = std::string(where) + " (" + detail::address_text(*this, *taken) + ")";
        opened.sockets.push_back(std::move(*taken));
        return opened;
    }
    const auto address = endpoint::parse(where);
    if (!address) return std::unexpected("cannot listen on " + std::string(where) + ": it is not an address");
    auto listener = listen_on(*address, backlog);
    if (!listener) return std::unexpected(cannot_listen(*address, listener.error()));
    const auto actual = local_address(*listener);
    opened.text = (actual ? *actual : *address).text();
    opened.sockets.push_back(std::move(*listener));
    return opened;
}

template <class Each>
void self::accept_each(const socket& listener, Each&& each) {
    stream<socket> incoming;
    while (!draining()) {
        if (incoming.done()) incoming = accept_many(listener);
        auto peer = next(incoming);
        if (peer) {
            each(std::move(*peer));
            continue;
        }
        switch (peer.error().code) {
            case -ECANCELED:
                break;  // The daemon drains.
            case -EBADF:
            case -EINVAL:
            case -ENOTSOCK:
            case UMBEL_E_INVALID:
            case UMBEL_E_UNSUPPORTED:
                fail("cannot accept connections: " + std::string(peer.error().message()));
            default:
                log_warning("cannot accept a connection: " + std::string(peer.error().message()) +
                            "; trying again in 100 ms");
                sleep(std::chrono::milliseconds(100));
                continue;
        }
        break;
    }
    // Sockets handed to actors spawned just now are still this actor's, until those have run.
    yield();
}

}  // namespace umbel
#pragma GCC visibility pop
