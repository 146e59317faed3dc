// A channel between two threads.
#include <gtest/gtest.h>

#include <thread>

#include "runtime/sched/channel.h"

namespace umbel::rt {
namespace {

// Spec.   The consumer sees every envelope once, in order and whole, while the producer goes on.        (channel.h)
// Method. Envelopes of all sizes, published in batches of any length; every byte depends on the envelope's number.
TEST(ChannelStress, EverythingArrivesInOrderAndWhole) {
    constexpr std::uint64_t count = 200'000;
    Channel channel;
    std::thread producer([&] {
        std::byte body[600];
        for (std::uint64_t i = 0; i < count; ++i) {
            const auto bytes = static_cast<std::uint32_t>(i * 37 % sizeof body);
            std::memset(body, static_cast<int>(i & 0xff), bytes);
            while (!channel.push(EnvelopeKind::message, i, ~i, static_cast<std::uint32_t>(i), body, bytes)) {
                channel.publish();
                std::this_thread::yield();
            }
            if (i % 17 == 0) channel.publish();
        }
        channel.publish();
    });
    std::uint64_t next = 0;
    std::uint64_t wrong = 0;
    while (next < count) {
        if (!channel.has_mail()) std::this_thread::yield();
        channel.drain([&](const Envelope& envelope) {
            const auto bytes = static_cast<std::uint32_t>(next * 37 % 600);
            if (envelope.sender != next || envelope.target != ~next || envelope.bytes != bytes) ++wrong;
            for (std::uint32_t i = 0; i < envelope.bytes; ++i) {
                if (envelope.body()[i] != static_cast<std::byte>(next)) ++wrong;
            }
            ++next;
        });
    }
    producer.join();
    EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace umbel::rt
