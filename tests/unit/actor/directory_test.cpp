// Specification of directory.h.
#include "runtime/actor/directory.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace umbel::rt {
namespace {

constexpr ExecutorIndex first{0};
constexpr ExecutorIndex second{1};

ActorRecord& take(Directory& directory, ExecutorIndex slab) {
    ActorRecord* record = directory.take(slab);
    CHECK(record != nullptr);
    record->state = ActorState::runnable;
    return *record;
}

// Spec.   An id names its actor until it is retired, and nobody ever after, however often the record is used again.   (A2)
TEST(Directory, IdsAreNeverUsedAgain) {
    Directory directory(2, 10);
    std::set<umbel_actor_id> ids;
    for (int i = 0; i < 3000; ++i) {
        ActorRecord& record = take(directory, i % 3 == 0 ? second : first);
        const ActorId id = record.id;
        EXPECT_TRUE(ids.insert(id.value).second);
        EXPECT_EQ(directory.find(id), &record);
        Directory::retire(record);
        EXPECT_EQ(directory.find(id), nullptr);
        directory.free(record);
        EXPECT_EQ(directory.find(id), nullptr);
    }
    EXPECT_EQ(directory.living(), 0u);
    directory.check_invariants();
}

// Spec.   Ids that were never given name nobody.
TEST(Directory, FindsNobodyByNonsense) {
    Directory directory(1, 10);
    EXPECT_EQ(directory.find(ActorId{0}), nullptr);
    EXPECT_EQ(directory.find(ActorId{~std::uint64_t{0}}), nullptr);
    EXPECT_EQ(directory.find(ActorId::of(1, ExecutorIndex{5}, 0)), nullptr);
    EXPECT_EQ(directory.find(ActorId::of(1, first, 5000)), nullptr);
}

// Spec.   max_actors living ones are given, all slabs together, and one more when one has ended.
TEST(Directory, KeepsToItsLimit) {
    Directory directory(2, 7);
    std::vector<ActorRecord*> records;
    for (int i = 0; i < 7; ++i) records.push_back(&take(directory, i < 6 ? first : second));
    EXPECT_EQ(directory.take(first), nullptr);
    EXPECT_EQ(directory.take(second), nullptr);
    Directory::retire(*records.front());
    directory.free(*records.front());
    EXPECT_NE(directory.take(second), nullptr);
}

// Spec.   A name belongs to one living actor; it is free again when that one has ended, even if nobody dropped it.
TEST(Directory, NamesBelongToTheLiving) {
    Directory directory(1, 10);
    ActorRecord& one = take(directory, first);
    ActorRecord& other = take(directory, first);
    EXPECT_TRUE(directory.set_name("door", one.id));
    EXPECT_TRUE(directory.set_name("door", one.id)) << "its own";
    EXPECT_FALSE(directory.set_name("door", other.id));
    EXPECT_EQ(directory.whereis("door"), one.id);
    EXPECT_EQ(directory.whereis("window").value, 0u);
    Directory::retire(one);
    EXPECT_EQ(directory.whereis("door").value, 0u);
    EXPECT_TRUE(directory.set_name("door", other.id));
    directory.drop_names(other.id);
    EXPECT_EQ(directory.whereis("door").value, 0u);
}

}  // namespace
}  // namespace umbel::rt
