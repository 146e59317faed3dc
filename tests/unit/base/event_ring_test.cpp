// Specification of event_ring.h.
#include "runtime/base/event_ring.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>
#include <string>

#include "tests/support/seed.h"

namespace umbel::rt {
namespace {

Event event_of(EventKind kind) {
    Event event;
    event.kind = kind;
    return event;
}

constexpr Bytes smallest{32 * 1024};

// Spec.   Records come out in the order they went in, with their texts, and what is published later is not seen by who
//         asked before.
TEST(EventRing, KeepsOrderAndText) {
    EventRing ring(smallest);
    ASSERT_TRUE(ring.push(event_of(EventKind::plugin_log), "one"));
    ASSERT_TRUE(ring.push(event_of(EventKind::actor_failed), ""));
    const std::size_t end = ring.published();
    ASSERT_TRUE(ring.push(event_of(EventKind::dead_letter), "three"));
    LogRecord record;
    ASSERT_TRUE(ring.front(end, record));
    EXPECT_EQ(record.event.kind, EventKind::plugin_log);
    EXPECT_EQ(record.text, "one");
    ring.pop(record);
    ASSERT_TRUE(ring.front(end, record));
    EXPECT_EQ(record.event.kind, EventKind::actor_failed);
    EXPECT_EQ(record.text, "");
    ring.pop(record);
    EXPECT_FALSE(ring.front(end, record));
    ASSERT_TRUE(ring.front(ring.published(), record));
    EXPECT_EQ(record.text, "three");
}

// Spec.   A full ring refuses a record whole (I2) and counts it; what is in it stays; a text over max_text is cut, and
//         says so. Around the end nothing is lost, whatever the lengths.
// Method. Random lengths, many times around; a deque keeps what must come out.
TEST(EventRing, GoesAroundWithoutLosingAnything) {
    EventRing ring(smallest);
    std::mt19937_64 random(test::seed());
    std::deque<std::string> expected;
    std::uint64_t refused = 0;
    for (int i = 0; i < 200'000; ++i) {
        if (random() % 2 == 0) {
            const std::string text(random() % 1000, static_cast<char>('a' + i % 26));
            if (ring.push(event_of(EventKind::plugin_log), text)) {
                expected.push_back(text);
            } else {
                ++refused;
            }
        } else {
            LogRecord record;
            const bool found = ring.front(ring.published(), record);
            ASSERT_EQ(found, !expected.empty());
            if (!found) continue;
            ASSERT_EQ(record.text, std::string_view(expected.front()).substr(0, EventRing::max_text));
            ASSERT_EQ(record.event.truncated, expected.front().size() > EventRing::max_text);
            ring.pop(record);
            expected.pop_front();
        }
    }
    EXPECT_GT(refused, 0u);
    EXPECT_EQ(ring.dropped(), refused);
}

// Spec.   What was reserved and not published never happened.
TEST(EventRing, ForgetsAReservation) {
    EventRing ring(smallest);
    for (int i = 0; i < 100; ++i) ASSERT_NE(ring.reserve(EventRing::max_payload), nullptr);
    LogRecord record;
    EXPECT_FALSE(ring.front(ring.published(), record));
    ASSERT_TRUE(ring.push(event_of(EventKind::plugin_log), "x"));
    ASSERT_TRUE(ring.front(ring.published(), record));
    EXPECT_EQ(record.text, "x");
}

// Spec.   The table has one row for each kind, in order, and the names are unique.
TEST(EventTable, HasARowForEachKindInOrder) {
    for (std::size_t i = 0; i < event_table.size(); ++i) {
        EXPECT_EQ(static_cast<std::size_t>(event_table[i].kind), i);
        for (std::size_t j = 0; j < i; ++j) EXPECT_NE(event_table[i].name, event_table[j].name);
    }
}

}  // namespace
}  // namespace umbel::rt
