// channel.h against a deque.
#include "runtime/sched/channel.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <vector>

namespace umbel::rt {
namespace {

// Spec.   What was published is drained once, in order and whole; what was not is not seen. push() refuses only when its
//         bytes, with what is skipped at the ring's end, do not fit.                                    (channel.h, I1, I2)
// Method. Random pushes, publishes and drains, large ones so that the ring wraps often and runs full.
TEST(ChannelProperty, IsAQueueOfPublishedEnvelopes) {
    const bool good = rc::check("a channel is a queue", [] {
        Channel channel;
        std::deque<std::pair<std::uint32_t, std::uint32_t>> pushed;  // type, bytes
        std::size_t published = 0;
        std::size_t bytes_inside = 0;
        std::vector<std::byte> body(UMBEL_MESSAGE_MAX);
        const int steps = *rc::gen::inRange(1, 400);
        for (std::uint32_t step = 0; step < static_cast<std::uint32_t>(steps); ++step) {
            switch (*rc::gen::inRange(0, 8)) {
                case 0:
                    channel.publish();
                    published = pushed.size();
                    RC_ASSERT(!channel.unpublished());
                    RC_ASSERT(channel.has_mail() == (published != 0));
                    break;
                case 1:
                    channel.drain([&](const Envelope& envelope) {
                        RC_ASSERT(published > 0);
                        const auto [type, bytes] = pushed.front();
                        RC_ASSERT(envelope.type == type);
                        RC_ASSERT(envelope.bytes == bytes);
                        for (std::uint32_t i = 0; i < bytes; i += 61) {
                            RC_ASSERT(envelope.body()[i] == static_cast<std::byte>(type));
                        }
                        bytes_inside -= envelope.size;
                        pushed.pop_front();
                        --published;
                    });
                    RC_ASSERT(published == 0);
                    RC_ASSERT(!channel.has_mail());
                    break;
                default: {
                    const auto bytes = *rc::gen::weightedOneOf<std::uint32_t>(
                        {{3, rc::gen::inRange<std::uint32_t>(0, UMBEL_MESSAGE_MAX + 1)},
                         {1, rc::gen::inRange<std::uint32_t>(0, 100)}});
                    std::fill(body.begin(), body.begin() + bytes, static_cast<std::byte>(step));
                    const std::size_t size = sizeof(Envelope) + (bytes + 15) / 16 * 16;
                    if (channel.push(EnvelopeKind::message, 1, 2, step, body.data(), bytes)) {
                        RC_ASSERT(bytes_inside + size <= Channel::capacity);
                        bytes_inside += size;
                        pushed.emplace_back(step, bytes);
                        RC_ASSERT(channel.unpublished());
                    } else {
                        RC_ASSERT(bytes_inside + 2 * (sizeof(Envelope) + UMBEL_MESSAGE_MAX) > Channel::capacity);
                    }
                    break;
                }
            }
        }
    });
    EXPECT_TRUE(good);
}

}  // namespace
}  // namespace umbel::rt
