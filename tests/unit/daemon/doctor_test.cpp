// Specification of doctor.h.
#include "daemon/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace umbel::daemon {
namespace {

using testing::HasSubstr;

/// A machine on which there is nothing to remark.
MachineFacts healthy() {
    MachineFacts facts;
    facts.kernel = "Linux 6.1.0";
    facts.ring = "deferred";
    facts.io_uring_disabled = 0;
    facts.ring_memory = rt::Bytes{1 << 20};
    facts.executors = 4;
    facts.memlock_limit = rt::Bytes{8 << 20};
    facts.descriptor_limit = 1 << 20;
    return facts;
}

/// The findings that are not good; each must come with a remedy.
std::vector<Finding> remarks(const MachineFacts& facts) {
    std::vector<Finding> found = diagnose(facts);
    std::erase_if(found, [](const Finding& finding) { return finding.health == Health::good; });
    for (const Finding& finding : found) EXPECT_FALSE(finding.remedy.empty()) << finding.text;
    return found;
}

TEST(Doctor, FindsNothingOnAHealthyMachine) { EXPECT_TRUE(remarks(healthy()).empty()); }

// Spec.   A refused ring is broken, and the remedy is the one its message ends with.
TEST(Doctor, ARefusedRingIsBroken) {
    MachineFacts facts = healthy();
    facts.ring = rt::fail(rt::ErrorClass::system, "EPERM: a filter; allow it; in the profile");
    const auto found = remarks(facts);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].health, Health::broken);
    EXPECT_EQ(found[0].text, "io_uring: EPERM: a filter; allow it");
    EXPECT_EQ(found[0].remedy, "in the profile");
}

TEST(Doctor, ASwitchedOffRingIsExplained) {
    MachineFacts facts = healthy();
    facts.io_uring_disabled = 2;
    ASSERT_EQ(remarks(facts).size(), 1u);
    EXPECT_EQ(remarks(facts)[0].health, Health::broken);
    facts.io_uring_disabled = 1;
    EXPECT_EQ(remarks(facts)[0].health, Health::poor);
}

// Spec.   Locked memory must suffice for all executors, unless there is no limit or the process may exceed it.
TEST(Doctor, LockedMemoryMustSuffice) {
    MachineFacts facts = healthy();
    facts.executors = 9;
    ASSERT_EQ(remarks(facts).size(), 1u);
    EXPECT_THAT(remarks(facts)[0].text, HasSubstr("8MiB allowed; 9 executors need 9MiB"));
    facts.may_exceed_memlock = true;
    EXPECT_TRUE(remarks(facts).empty());
    facts.may_exceed_memlock = false;
    facts.memlock_limit.reset();
    EXPECT_TRUE(remarks(facts).empty());
}

TEST(Doctor, LimitsAndOvercommitAreExplained) {
    MachineFacts facts = healthy();
    facts.descriptor_limit = 1024;
    facts.address_space = rt::Bytes{1ull << 30};
    facts.overcommit_memory = 2;
    const auto found = remarks(facts);
    ASSERT_EQ(found.size(), 3u);
    EXPECT_THAT(found[0].remedy, HasSubstr("LimitNOFILE="));
    EXPECT_THAT(found[1].text, HasSubstr("limited to 1GiB"));
    EXPECT_THAT(found[2].remedy, HasSubstr("vm.overcommit_memory=0"));
}

// Spec.   The facts of this machine are plausible.
TEST(Doctor, ReadsThisMachine) {
    const MachineFacts found = facts();
    EXPECT_THAT(found.kernel, HasSubstr("Linux "));
    EXPECT_GE(found.executors, 1u);
    EXPECT_GT(found.descriptor_limit, 0u);
    EXPECT_GT(found.ring_memory.count, 0u);
    EXPECT_FALSE(found.ring ? found.ring->empty() : found.ring.error().message.empty());
}

}  // namespace
}  // namespace umbel::daemon
