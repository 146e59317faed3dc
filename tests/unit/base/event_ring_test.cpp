// Specification of event_ring.h.
#include "runtime/base/event_ring.h"

#include <gtest/gtest.h>

#include <string>

namespace umbel::rt {
namespace {

Event event_of(EventKind kind) {
    Event event;
    event.kind = kind;
    return event;
}

// Spec.   Events come out in the order they went in, with their text.
TEST(EventRing, KeepsOrderAndText) {
    EventRing ring(8);
    ASSERT_TRUE(ring.push(event_of(EventKind::plugin_log), "one"));
    ASSERT_TRUE(ring.push(event_of(EventKind::actor_failed), "two"));
    Event event;
    ASSERT_TRUE(ring.pop(event));
    EXPECT_EQ(event.kind, EventKind::plugin_log);
    EXPECT_EQ(std::string_view(event.text.data(), event.text_length), "one");
    ASSERT_TRUE(ring.pop(event));
    EXPECT_EQ(event.kind, EventKind::actor_failed);
    EXPECT_FALSE(ring.pop(event));
}

// Spec.   A long text is spread over events marked `more`, and is written whole or not at all (I2).
TEST(EventRing, SpreadsALongTextOrDropsItWhole) {
    EventRing ring(8);
    const std::string text(2 * Event::text_capacity + 1, 'x');
    ASSERT_TRUE(ring.push(event_of(EventKind::plugin_log), text));
    ASSERT_TRUE(ring.push(event_of(EventKind::plugin_log), text));
    EXPECT_FALSE(ring.push(event_of(EventKind::plugin_log), text));  // 2 slots left, 3 needed
    EXPECT_EQ(ring.dropped(), 1u);
    std::string read;
    Event event;
    do {
        ASSERT_TRUE(ring.pop(event));
        read.append(event.text.data(), event.text_length);
    } while (event.more);
    EXPECT_EQ(read, text);
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
