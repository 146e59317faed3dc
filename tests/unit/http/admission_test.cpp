#include "plugins/http/admission.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <map>
#include <random>
#include <thread>
#include <vector>

#include "tests/support/seed.h"

namespace http {
namespace {

std::uint64_t key_of(const char* text) {
    sockaddr_in v4{};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        return address_key(&v4, sizeof v4);
    }
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_key(&v6, sizeof v6);
}

// Spec.   IPv4 counts by address, IPv6 by its /64, and an IPv4 address in IPv6's clothes is that address.
TEST(Admission, Keys) {
    EXPECT_NE(key_of("127.0.0.1"), key_of("127.0.0.2"));
    EXPECT_EQ(key_of("2001:db8::1"), key_of("2001:db8::ffff:1"));
    EXPECT_NE(key_of("2001:db8::1"), key_of("2001:db8:0:1::1"));
    EXPECT_EQ(key_of("::ffff:10.0.0.1"), key_of("10.0.0.1"));
    EXPECT_EQ(address_key("x", 1), 0U);
}

// Spec.   Each limit is exact, alone and together; 0 is none; who leaves makes room.
TEST(Admission, Limits) {
    ConnectionCounts counts(42);
    ConnectionCounts::Ticket a, b, c, d;
    EXPECT_EQ(counts.enter(1, 3, 2, a), Admission::granted);
    EXPECT_EQ(counts.enter(1, 3, 2, b), Admission::granted);
    EXPECT_EQ(counts.look(1, 3, 2), Admission::too_many_of_address);
    EXPECT_EQ(counts.enter(1, 3, 2, c), Admission::too_many_of_address);
    EXPECT_EQ(counts.total(), 2U);
    EXPECT_EQ(counts.enter(2, 3, 2, c), Admission::granted);
    EXPECT_EQ(counts.enter(3, 3, 2, d), Admission::too_many);
    EXPECT_EQ(counts.look(3, 3, 2), Admission::too_many);
    EXPECT_EQ(counts.enter(3, 0, 2, d), Admission::granted);
    counts.leave(a);
    EXPECT_EQ(counts.look(1, 0, 2), Admission::granted);
    EXPECT_EQ(counts.enter(1, 0, 0, a), Admission::granted);  // Not counted by address.
    EXPECT_EQ(counts.look(1, 0, 2), Admission::granted);
    for (const auto& ticket : {a, b, c, d}) counts.leave(ticket);
    EXPECT_TRUE(counts.empty());  // A1
}

// Spec.   Any sequence of coming and going leaves nothing behind, and no address gets over its limit.
// Method. A map is the witness.
TEST(Admission, AgreesWithAMap) {
    std::mt19937_64 random(umbel::test::seed());
    ConnectionCounts counts(random());
    std::map<std::uint64_t, std::uint32_t> witness;
    std::vector<std::pair<std::uint64_t, ConnectionCounts::Ticket>> inside;
    for (int i = 0; i < 50'000; ++i) {
        if (random() % 3 != 0 || inside.empty()) {
            const std::uint64_t key = random() % 500;
            ConnectionCounts::Ticket ticket;
            const Admission wanted = witness[key] < 5 ? Admission::granted : Admission::too_many_of_address;
            ASSERT_EQ(counts.enter(key, 0, 5, ticket), wanted);
            if (wanted != Admission::granted) continue;
            ++witness[key];
            inside.emplace_back(key, ticket);
        } else {
            std::swap(inside[random() % inside.size()], inside.back());
            --witness[inside.back().first];
            counts.leave(inside.back().second);
            inside.pop_back();
        }
        ASSERT_EQ(counts.total(), inside.size());
    }
    for (const auto& [key, ticket] : inside) counts.leave(ticket);
    EXPECT_TRUE(counts.empty());  // A1
}

// Spec.   The same with several threads at once: nothing is left, and an address gets at most twice its limit.
TEST(Admission, ManyThreads) {
    ConnectionCounts counts(umbel::test::seed());
    std::vector<std::thread> threads;
    std::atomic<int> inside{0};
    std::atomic<bool> over{false};
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int round = 0; round < 20'000; ++round) {
                ConnectionCounts::Ticket ticket;
                if (counts.enter(7, 0, 2, ticket) != Admission::granted) continue;
                if (inside.fetch_add(1) >= 4) over = true;
                inside.fetch_sub(1);
                counts.leave(ticket);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_FALSE(over);
    EXPECT_TRUE(counts.empty());  // A1
}

}  // namespace
}  // namespace http
