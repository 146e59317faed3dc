// Specification of mailbox.h, beside tests/property/actor/mailbox_property.cpp.
#include "runtime/actor/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace umbel::rt {
namespace {

struct alignas(64) Smallest {
    std::array<std::byte, 65536> bytes;
};

// Spec.   The largest message fits an empty mailbox of the smallest size.
TEST(Mailbox, TakesTheLargestMessageWhenEmpty) {
    const auto region = std::make_unique<Smallest>();
    Mailbox mailbox(region->bytes.data(), 64_KiB);
    const std::vector<std::byte> large(UMBEL_MESSAGE_MAX);
    EXPECT_TRUE(mailbox.push_user(1, 2, large.data(), UMBEL_MESSAGE_MAX));
    EXPECT_FALSE(mailbox.push_user(1, 2, large.data(), 1)) << "it is told, not lost";
    mailbox.take(mailbox.front());
    EXPECT_TRUE(mailbox.push_user(1, 2, large.data(), UMBEL_MESSAGE_MAX));
    mailbox.check_invariants();
}

// Spec.   With the user's share used up, every reserved completion and a notice still fit.                          (I2)
TEST(Mailbox, CompletionsFitBesideAFullShare) {
    const auto region = std::make_unique<Smallest>();
    Mailbox mailbox(region->bytes.data(), 64_KiB);
    while (mailbox.push_user(1, 2, "0123456789", 10)) {
    }
    Operation operation;
    for (std::uint32_t i = 0; i < mailbox.completions_limit(); ++i) mailbox.push_completion(operation, {i, 0, {}});
    mailbox.push_notice(UMBEL_MESSAGE_DRAIN);
    mailbox.check_invariants();
}

}  // namespace
}  // namespace umbel::rt
