// net.h: socket addresses as text, and a TCP listener in one call. Part of the C++ SDK; included by umbel.h.
//
// Why.    Every network plugin needs these, and each would get IPv6 brackets or a forgotten SO_REUSEADDR wrong.
// Not here.  Name resolution: it blocks, and a server listens on addresses.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <charconv>
#include <string>

#include "umbel/umbel.h"

namespace umbel __attribute__((visibility("hidden"))) {

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
        const int on = 1;
        // setsockopt on a fresh socket cannot block, so it needs no operation. A simulated descriptor has no such options.
        ::setsockopt(listener->fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (shared) ::setsockopt(listener->fd(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        // Accepted connections inherit it.
        ::setsockopt(listener->fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (auto bound = await(bind(*listener, address)); !bound) return std::unexpected(bound.error());
        if (auto listening = await(listen(*listener, backlog)); !listening) return std::unexpected(listening.error());
        return listener;
    }

}  // namespace umbel
