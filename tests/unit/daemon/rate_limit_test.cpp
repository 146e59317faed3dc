// Specification of rate_limit.h, with a clock of its own.
#include "daemon/rate_limit.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace umbel::daemon {
namespace {

using rt::EventKind;
using std::chrono::milliseconds;

std::map<std::string, std::uint64_t> collected(RateLimit& limit, RateLimit::Time now, bool all = false) {
    std::map<std::string, std::uint64_t> counts;
    limit.collect(now, all, [&](EventKind kind, const char* plugin, std::uint64_t count) {
        counts[std::string(rt::describe(kind).name) + "/" + (plugin == nullptr ? "" : plugin)] = count;
    });
    return counts;
}

// Spec.   The first `limit` of a second pass, for each event and plugin by itself; what was held back is reported once, when
//         the second is over; then the count begins anew.
TEST(RateLimit, CountsEachEventAndPluginByItself) {
    const RateLimit::Time start{};
    RateLimit limit(3);
    int passed = 0;
    for (int i = 0; i < 10; ++i) passed += limit.admit(EventKind::plugin_log, "http", start + milliseconds(i)) ? 1 : 0;
    EXPECT_EQ(passed, 3);
    EXPECT_TRUE(limit.admit(EventKind::plugin_log, "echo", start + milliseconds(20)));
    EXPECT_TRUE(limit.admit(EventKind::actor_failed, "http", start + milliseconds(20)));
    EXPECT_TRUE(collected(limit, start + milliseconds(999)).empty());
    EXPECT_EQ(collected(limit, start + milliseconds(1000)),
              (std::map<std::string, std::uint64_t>{{"plugin_log/http", 7}}));
    EXPECT_TRUE(collected(limit, start + milliseconds(3000)).empty()) << "reported once";
    EXPECT_TRUE(limit.admit(EventKind::plugin_log, "http", start + milliseconds(1001)));
}

// Spec.   At the end everything is reported, the running second's too. No limit: nothing is counted.
TEST(RateLimit, AtTheEndAndWithoutALimit) {
    const RateLimit::Time start{};
    RateLimit limit(1);
    for (int i = 0; i < 5; ++i) (void)limit.admit(EventKind::dead_letter, nullptr, start);
    EXPECT_EQ(collected(limit, start, true), (std::map<std::string, std::uint64_t>{{"dead_letter/", 4}}));
    RateLimit none(0);
    for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(none.admit(EventKind::dead_letter, nullptr, start));
    EXPECT_TRUE(collected(none, start, true).empty());
}

}  // namespace
}  // namespace umbel::daemon
