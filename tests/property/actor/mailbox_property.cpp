// mailbox.h against a deque that knows nothing of regions, gaps and tidying.
#include "runtime/actor/mailbox.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <deque>
#include <memory>
#include <new>
#include <vector>

namespace umbel::rt {
namespace {

struct Model {
    std::uint16_t kind;
    std::uint32_t type;
    std::uint32_t bytes;
    Operation* operation;
    std::size_t place;         // of a completion
    std::uint32_t generation;  // … when it was pushed
};

// Spec.   Messages are taken in any order and are whole; those that stay keep theirs. A user message is refused exactly when
//         it does not fit its share; a completion never. A place that push_completion() gave is good as long as the
//         generation is.                                                                                 (mailbox.h, I1-I3)
// Method. Random pushes of all kinds and sizes, takes of the oldest, of one in the middle, and of the first completion of
//         some operation; everything compared with a deque after each step.
TEST(MailboxProperty, IsADequeWithLimits) {
    const bool good = rc::check("a mailbox is a deque with limits", [] {
        const std::size_t region = std::size_t{65536} << *rc::gen::inRange(0, 3);
        const auto memory = std::make_unique<std::byte[]>(region + 64);
        void* base = memory.get();
        std::size_t room = region + 64;
        base = std::align(64, region, base, room);
        Mailbox mailbox(static_cast<std::byte*>(base), Bytes{region});
        std::vector<Operation> operations(5);
        std::deque<Model> model;
        std::size_t user_bytes = 0;
        std::size_t completions = 0;
        const std::size_t limit = std::max<std::size_t>(region / 4, sizeof(MailboxEntry) + UMBEL_MESSAGE_MAX);
        std::vector<std::byte> body(UMBEL_MESSAGE_MAX);

        const auto take = [&](std::deque<Model>::iterator from, MailboxEntry& entry) {
            RC_ASSERT(entry.kind == from->kind);
            RC_ASSERT(entry.operation == from->operation);
            if (entry.kind == UMBEL_MESSAGE_USER) {
                RC_ASSERT(entry.type == from->type);
                RC_ASSERT(entry.bytes == from->bytes);
                for (std::uint32_t i = 0; i < entry.bytes; ++i)
                    RC_ASSERT(entry.body()[i] == static_cast<std::byte>(from->type));
                user_bytes -= entry.size;
            } else if (entry.kind == UMBEL_MESSAGE_COMPLETION) {
                CompletionMessage completion;
                std::memcpy(&completion, entry.body(), sizeof completion);
                RC_ASSERT(completion.result == from->type);
                --completions;
            }
            mailbox.take(entry);
            model.erase(from);
        };
        const int steps = *rc::gen::inRange(1, 600);
        for (std::uint32_t step = 0; step < static_cast<std::uint32_t>(steps); ++step) {
            const int what = *rc::gen::inRange(0, 10);
            if (what < 4) {
                const auto bytes = *rc::gen::weightedOneOf<std::uint32_t>(
                    {{8, rc::gen::inRange<std::uint32_t>(0, 200)},
                     {1, rc::gen::inRange<std::uint32_t>(0, UMBEL_MESSAGE_MAX + 1)}});
                std::fill(body.begin(), body.begin() + bytes, static_cast<std::byte>(step));
                const std::size_t size = sizeof(MailboxEntry) + (bytes + 15) / 16 * 16;
                const bool fits = user_bytes + size <= limit;
                RC_ASSERT(mailbox.has_room(bytes) == fits);
                RC_ASSERT(mailbox.push_user(9, step, body.data(), bytes) == fits);
                if (!fits) continue;
                user_bytes += size;
                model.push_back({UMBEL_MESSAGE_USER, step, bytes, nullptr, 0, 0});
            } else if (what < 7) {
                if (completions == mailbox.completions_limit()) continue;
                Operation* operation = &operations[*rc::gen::inRange<std::size_t>(0, operations.size())];
                const std::size_t place = mailbox.push_completion(*operation, {step, 0, {}});
                ++completions;
                model.push_back({UMBEL_MESSAGE_COMPLETION, step, 0, operation, place, mailbox.generation()});
            } else if (model.empty()) {
                RC_ASSERT(mailbox.empty());
            } else if (what == 7) {
                take(model.begin(), mailbox.front());
            } else {
                // The first completion of an operation, found from the front or from where it is known to lie.
                Operation* operation = &operations[*rc::gen::inRange<std::size_t>(0, operations.size())];
                auto first = model.begin();
                while (first != model.end() && first->operation != operation) ++first;
                MailboxEntry* entry = mailbox.find(*operation, 0);
                RC_ASSERT((entry != nullptr) == (first != model.end()));
                if (entry == nullptr) continue;
                if (first->generation == mailbox.generation())
                    RC_ASSERT(mailbox.find(*operation, first->place) == entry);
                take(first, *entry);
            }
            mailbox.check_invariants();
            RC_ASSERT(mailbox.unread() == model.size());
            std::size_t index = 0;
            mailbox.for_each([&](MailboxEntry& entry) {
                RC_ASSERT(entry.kind == model[index].kind);
                RC_ASSERT(entry.operation == model[index].operation);
                ++index;
            });
            RC_ASSERT(index == model.size());
        }
    });
    EXPECT_TRUE(good);
}

}  // namespace
}  // namespace umbel::rt
