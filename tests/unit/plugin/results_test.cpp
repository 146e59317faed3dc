// Specification of the SDK's results.h: what reads bytes that came from outside.
#include "umbel/results.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "tests/support/seed.h"

namespace umbel {
namespace {

std::string event(int watch, std::uint32_t mask, std::uint32_t cookie, const std::string& name, std::uint32_t length) {
    inotify_event raw{};
    raw.wd = watch;
    raw.mask = mask;
    raw.cookie = cookie;
    raw.len = length;
    std::string bytes(reinterpret_cast<const char*>(&raw), sizeof raw);
    bytes += name;
    bytes.resize(sizeof raw + length);
    return bytes;
}

// Spec.   Events come in order, with their names; what is not a whole event ends them.
TEST(FileEvents, AreReadInOrder) {
    std::string bytes = event(1, IN_CREATE, 0, "new", 16) + event(2, IN_MODIFY, 0, "", 0) +
                        event(1, IN_MOVED_FROM, 7, "sixteen letters.", 32) + event(-1, IN_Q_OVERFLOW, 0, "", 0);
    bytes += bytes.substr(0, 10);
    std::span<const std::byte> rest = std::as_bytes(std::span(bytes));
    auto next = next_file_event(rest);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->watch, 1);
    EXPECT_EQ(next->mask, static_cast<std::uint32_t>(IN_CREATE));
    EXPECT_EQ(next->name, "new");
    next = next_file_event(rest);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->name, "");
    next = next_file_event(rest);
    ASSERT_TRUE(next);
    EXPECT_EQ(next->name, "sixteen letters.");
    EXPECT_EQ(next->cookie, 7u);
    EXPECT_FALSE(next->lost_some());
    next = next_file_event(rest);
    ASSERT_TRUE(next);
    EXPECT_TRUE(next->lost_some());
    EXPECT_FALSE(next_file_event(rest));
    EXPECT_EQ(rest.size(), 10u);
}

// Spec.   A length that points beyond the bytes, or no NUL in a name, is never read over.
TEST(FileEvents, AreSafeWithAnyBytes) {
    for (const std::uint32_t length : {1u, 17u, 0x7fffffffu, 0xffffffffu}) {
        inotify_event raw{};
        raw.len = length;
        std::span<const std::byte> rest = std::as_bytes(std::span(&raw, 1));
        EXPECT_FALSE(next_file_event(rest));
    }
    const std::string full = event(1, IN_CREATE, 0, "0123456789abcdef", 16);
    std::span<const std::byte> rest = std::as_bytes(std::span(full));
    EXPECT_EQ(next_file_event(rest)->name, "0123456789abcdef");

    std::mt19937_64 random(test::seed());
    for (int round = 0; round < 20'000; ++round) {
        // On the heap and no longer than it says, so that a sanitizer sees what is read beyond.
        std::vector<std::byte> bytes(random() % 80);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 4 == 0 ? random() : 0);
        std::span<const std::byte> left(bytes);
        std::size_t seen = 0;
        while (const auto some = next_file_event(left)) {
            seen += sizeof(inotify_event);
            for (const char letter : some->name) EXPECT_NE(letter, '\0');
        }
        EXPECT_LE(seen + left.size(), bytes.size());
    }
}

}  // namespace
}  // namespace umbel
