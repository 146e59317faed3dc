// admission.h: how many connections there are, in all and from one address.
//
// Why.    A client that opens connections without end takes what others need. The limits hold for all executors together,
//         whose gates and sessions run on several threads, and counting must cost next to nothing.
// Shape.  One atomic number, and a table of atomic slots: a hash of the address with its count. A slot is found by probing a
//         few places behind the hash's. IPv6 addresses count by their /64: one client has that many.
// Owner.  The plugin; gates look, sessions enter and leave.
//
// Invariants (tests/unit/http/admission_test.cpp)
//   A1  in the end every enter() that succeeded has its leave(): no slot is in use
//   A2  a slot in use has a count of at least 1
//
// How exact.  Two executors that enter the same new address at the same moment may take two slots for it, so an address may
//         get up to twice its limit; addresses whose hashes of 44 bits are the same share a count. If all places are taken
//         (there are more connections than the table is for), the address is not counted.
// Cost.   One atomic addition and a compare-and-swap a connection.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace http {

/// What identifies the client: the IPv4 address, the /64 of an IPv6 address, 0 for anything else.
std::uint64_t address_key(const void* sockaddr, std::size_t size);

/// Who is at the other end of a connected socket: "127.0.0.1:41234", "[::1]:41234", or "".
std::string peer_text(int fd);

enum class Admission : std::uint8_t { granted, too_many, too_many_of_address };

class ConnectionCounts {
public:
    /// secret: makes the hash one that clients cannot aim at.
    explicit ConnectionCounts(std::uint64_t secret);

    struct Ticket {
        static constexpr std::uint32_t none = ~0U;
        std::uint32_t slot = none;
    };

    /// Counts a connection, unless it is over a limit (0: there is none).
    Admission enter(std::uint64_t key, std::uint32_t limit, std::uint32_t limit_of_address, Ticket& ticket);
    void leave(Ticket ticket);
    /// Whether enter() would let it in now.
    [[nodiscard]] Admission look(std::uint64_t key, std::uint32_t limit, std::uint32_t limit_of_address) const;
    [[nodiscard]] std::uint32_t total() const { return total_.load(std::memory_order_relaxed); }
    /// Forgets everybody; nobody may be inside. (Of a plugin that was retired, abandoned sessions did not leave.)
    void clear();
    /// No slot is in use, nobody is counted.  A1
    [[nodiscard]] bool empty() const;

private:
    static constexpr std::size_t slots = 1 << 16;
    static constexpr std::size_t probes = 64;
    static constexpr unsigned count_bits = 20;
    static constexpr std::uint64_t count_mask = (1U << count_bits) - 1;

    [[nodiscard]] std::uint64_t hash(std::uint64_t key) const;

    std::uint64_t secret_;
    // relaxed throughout: these are numbers, nothing is published by them.
    std::atomic<std::uint32_t> total_{0};
    std::unique_ptr<std::array<std::atomic<std::uint64_t>, slots>> table_;
};

}  // namespace http
