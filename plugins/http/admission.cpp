#include "admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace http {

std::uint64_t address_key(const void* address, std::size_t size) {
    sa_family_t family = AF_UNSPEC;
    if (size >= sizeof(sockaddr_in)) std::memcpy(&family, static_cast<const char*>(address), sizeof family);
    if (family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, address, sizeof v4);
        return std::uint64_t{1} << 32 | ntohl(v4.sin_addr.s_addr);
    }
    if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, address, sizeof v6);
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
            std::uint32_t v4 = 0;
            std::memcpy(&v4, v6.sin6_addr.s6_addr + 12, sizeof v4);
            return std::uint64_t{1} << 32 | ntohl(v4);
        }
        std::uint64_t network = 0;
        std::memcpy(&network, v6.sin6_addr.s6_addr, sizeof network);
        return network;
    }
    return 0;
}

std::string peer_text(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    std::array<char, INET6_ADDRSTRLEN> host{};
    if (address.ss_family == AF_INET) {
        sockaddr_in v4{};
        std::memcpy(&v4, &address, sizeof v4);
        inet_ntop(AF_INET, &v4.sin_addr, host.data(), host.size());
        return std::string(host.data()) + ":" + std::to_string(ntohs(v4.sin_port));
    }
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &address, sizeof v6);
        inet_ntop(AF_INET6, &v6.sin6_addr, host.data(), host.size());
        return "[" + std::string(host.data()) + "]:" + std::to_string(ntohs(v6.sin6_port));
    }
    return {};
}

ConnectionCounts::ConnectionCounts(std::uint64_t secret)
    : secret_(secret), table_(std::make_unique<std::array<std::atomic<std::uint64_t>, slots>>()) {}

std::uint64_t ConnectionCounts::hash(std::uint64_t key) const {
    // Two rounds of splitmix64's mixing, the secret in between.
    std::uint64_t mixed = key ^ secret_;
    for (int i = 0; i < 2; ++i) {
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
        mixed = (mixed ^ (mixed >> 31)) + secret_;
    }
    return mixed;
}

Admission ConnectionCounts::look(std::uint64_t key, std::uint32_t limit, std::uint32_t limit_of_address) const {
    if (limit != 0 && total() >= limit) return Admission::too_many;
    if (limit_of_address == 0) return Admission::granted;
    const std::uint64_t mixed = hash(key);
    const std::uint64_t tag = mixed & ~count_mask;
    for (std::size_t i = 0; i < probes; ++i) {
        const std::uint64_t have = (*table_)[(mixed + i) % slots].load(std::memory_order_relaxed);
        if ((have & ~count_mask) != tag || (have & count_mask) == 0) continue;
        return (have & count_mask) >= limit_of_address ? Admission::too_many_of_address : Admission::granted;
    }
    return Admission::granted;
}

Admission ConnectionCounts::enter(std::uint64_t key, std::uint32_t limit, std::uint32_t limit_of_address,
                                  Ticket& ticket) {
    ticket = {};
    if (total_.fetch_add(1, std::memory_order_relaxed) >= limit && limit != 0) {
        total_.fetch_sub(1, std::memory_order_relaxed);
        return Admission::too_many;
    }
    if (limit_of_address == 0) return Admission::granted;
    const std::uint64_t mixed = hash(key);
    const std::uint64_t tag = mixed & ~count_mask;
    // The slot of this address, or else the first free one.
    for (int attempt = 0; attempt < 8; ++attempt) {
        std::size_t at = slots;
        std::uint64_t have = 0;
        for (std::size_t i = 0; i < probes; ++i) {
            const std::size_t here = (mixed + i) % slots;
            const std::uint64_t there = (*table_)[here].load(std::memory_order_relaxed);
            const bool mine = (there & count_mask) != 0 && (there & ~count_mask) == tag;
            if (!mine && (there != 0 || at != slots)) continue;
            at = here;
            have = there;
            if (mine) break;
        }
        if (at == slots) break;
        if ((have & count_mask) >= limit_of_address || (have & count_mask) == count_mask) {
            total_.fetch_sub(1, std::memory_order_relaxed);
            return Admission::too_many_of_address;
        }
        const std::uint64_t wanted = have == 0 ? tag | 1 : have + 1;
        if ((*table_)[at].compare_exchange_strong(have, wanted, std::memory_order_relaxed)) {
            ticket.slot = static_cast<std::uint32_t>(at);
            break;
        }
    }
    return Admission::granted;
}

void ConnectionCounts::leave(Ticket ticket) {
    total_.fetch_sub(1, std::memory_order_relaxed);
    if (ticket.slot == Ticket::none) return;
    std::atomic<std::uint64_t>& slot = (*table_)[ticket.slot];
    std::uint64_t have = slot.load(std::memory_order_relaxed);
    while (!slot.compare_exchange_weak(have, (have & count_mask) == 1 ? 0 : have - 1, std::memory_order_relaxed)) {
    }
}

void ConnectionCounts::clear() {
    total_.store(0, std::memory_order_relaxed);
    for (auto& slot : *table_) slot.store(0, std::memory_order_relaxed);
}

bool ConnectionCounts::empty() const {
    for (const auto& slot : *table_) {
        if (slot.load(std::memory_order_relaxed) != 0) return false;
    }
    return total() == 0;
}

}  // namespace http
