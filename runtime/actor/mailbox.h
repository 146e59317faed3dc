// mailbox.h: an actor's unread messages, in the mailbox region of its context.
//
// Why.    Messages are copied, never shared. The home executor alone writes and the actor alone reads, both on one thread,
//         so a mailbox is a piece of memory and two numbers.
// Shape.  A log of entries from the region's front. Reading takes the oldest entry, or the first that matches; what was
//         taken from the middle stays as a gap. When everything has been read the log starts again at the front (so an
//         ordinary mailbox touches one page); when gaps prevail, or the end is reached, the unread entries are moved
//         together. User messages may fill a quarter of the region, completions have half of it reserved
//         (OperationOwner::completions_limit), so both always fit.
// Owner.  The home executor. No atomics.
//
// Invariants (check_invariants())
//   I1  entries lie one behind the other in [head, tail), each a multiple of 16 B; the first one is unread
//   I2  user_bytes ≤ a quarter of the region, but the largest message always fits an empty mailbox; room for a reserved completion is never refused
//   I3  unread == 0 if and only if head == tail == 0
//
// Cost.   push, take: a copy of the entry. A search from the front: O(entries passed); one who waits for a completion is
//         told where it lies (push_completion) and need not search.
// Not here.  Where a message that is read lives: ActorContext::read (Minor A).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/units.h"
#include "runtime/io/operation.h"
#include "umbel/abi.h"

namespace umbel::rt {

/// An entry: this header, and behind it a user message's bytes or a CompletionMessage.
struct MailboxEntry {
    std::uint32_t size;  // Bytes of the entry, header included; a multiple of 16.
    std::uint16_t kind;  // UMBEL_MESSAGE_…; 0: taken, a gap.
    std::uint16_t reserved;
    std::uint32_t type;     // USER
    std::uint32_t bytes;    // USER: of the message
    umbel_actor_id sender;  // USER
    Operation* operation;   // COMPLETION

    [[nodiscard]] std::byte* body() { return reinterpret_cast<std::byte*>(this + 1); }
};
static_assert(sizeof(MailboxEntry) == 32);

class Mailbox {
public:
    static constexpr std::uint32_t completion_bytes = sizeof(MailboxEntry) + (sizeof(CompletionMessage) + 15) / 16 * 16;
    static constexpr std::size_t none = SIZE_MAX;

    Mailbox(std::byte* region, Bytes size)
        : base_(region),
          capacity_(size.count),
          user_limit_(std::max<std::size_t>(capacity_ / 4, entry_bytes(UMBEL_MESSAGE_MAX))) {}

    /// How many completions may be reserved.
    [[nodiscard]] std::uint32_t completions_limit() const {
        return static_cast<std::uint32_t>(capacity_ / 2 / completion_bytes);
    }

    /// Puts a user message in. False if it has no room.
    [[nodiscard]] bool push_user(umbel_actor_id sender, std::uint32_t type, const void* data, std::uint32_t bytes) {
        const std::uint32_t size = entry_bytes(bytes);
        if (user_bytes_ + size > user_limit_) return false;  // I2
        MailboxEntry* entry = append(size);
        *entry = {size, UMBEL_MESSAGE_USER, 0, type, bytes, sender, nullptr};
        if (bytes != 0) std::memcpy(entry->body(), data, bytes);
        user_bytes_ += size;
        return true;
    }
    /// Whether push_user of so many bytes would succeed.
    [[nodiscard]] bool has_room(std::uint32_t bytes) const { return user_bytes_ + entry_bytes(bytes) <= user_limit_; }

    /// Puts a completion in; its room was reserved at submission.
    /// Returns: where it lies, for find(), until generation() changes.
    std::size_t push_completion(Operation& operation, const CompletionMessage& message) {
        MailboxEntry* entry = append(completion_bytes);
        *entry = {completion_bytes, UMBEL_MESSAGE_COMPLETION, 0, 0, 0, 0, &operation};
        std::memcpy(entry->body(), &message, sizeof message);
        return tail_ - completion_bytes;
    }
    /// Puts a message without content in (UMBEL_MESSAGE_DRAIN). There is room: an eighth of the region is nobody's.
    void push_notice(std::uint16_t kind) {
        MailboxEntry* entry = append(sizeof(MailboxEntry));
        *entry = {sizeof(MailboxEntry), kind, 0, 0, 0, 0, nullptr};
    }

    [[nodiscard]] bool empty() const { return unread_ == 0; }
    [[nodiscard]] std::size_t unread() const { return unread_; }

    /// The oldest unread entry. Not when empty(). It stays where it is until something is pushed or taken.
    [[nodiscard]] MailboxEntry& front() { return at(head_); }

    /// The first completion of `operation` at `from` or behind it (0: all), or null.
    [[nodiscard]] MailboxEntry* find(const Operation& operation, std::size_t from) {
        for (std::size_t position = from < head_ ? head_ : from; position < tail_; position += at(position).size) {
            MailboxEntry& entry = at(position);
            if (entry.kind == UMBEL_MESSAGE_COMPLETION && entry.operation == &operation) return &entry;
        }
        return nullptr;
    }
    /// Calls visit(entry) for each unread entry in order; it must not take or push.
    template <class Visit>
    void for_each(Visit&& visit) {
        for (std::size_t position = head_; position < tail_; position += at(position).size) {
            if (at(position).kind != 0) visit(at(position));
        }
    }
    /// Changes whenever entries have been moved.
    [[nodiscard]] std::uint32_t generation() const { return generation_; }

    /// Removes an unread entry; its bytes stay until the next push.
    void take(MailboxEntry& entry) {
        DCHECK(entry.kind != 0);
        if (entry.kind == UMBEL_MESSAGE_USER) user_bytes_ -= entry.size;
        entry.kind = 0;
        if (--unread_ == 0) {
            head_ = tail_ = 0;  // I3
            ++generation_;
            return;
        }
        while (at(head_).kind == 0) head_ += at(head_).size;  // I1
    }

    void check_invariants() {
        std::size_t unread = 0;
        std::size_t user = 0;
        std::size_t position = head_;
        for (; position < tail_; position += at(position).size) {
            const MailboxEntry& entry = at(position);
            CHECK(entry.size % 16 == 0);  // I1
            CHECK(entry.size >= sizeof(MailboxEntry));
            unread += entry.kind != 0 ? 1 : 0;
            user += entry.kind == UMBEL_MESSAGE_USER ? entry.size : 0;
        }
        CHECK(position == tail_);
        CHECK(unread == unread_);
        CHECK(user == user_bytes_);
        CHECK(user_bytes_ <= user_limit_);                    // I2
        CHECK((unread_ == 0) == (head_ == 0 && tail_ == 0));  // I3
        if (unread_ != 0) CHECK(at(head_).kind != 0);         // I1
    }

private:
    static constexpr std::size_t tidy_at = 16384;  // Gaps are not worth a look below this.

    [[nodiscard]] static constexpr std::uint32_t entry_bytes(std::uint32_t bytes) {
        return static_cast<std::uint32_t>(sizeof(MailboxEntry)) + (bytes + 15) / 16 * 16;
    }
    [[nodiscard]] MailboxEntry& at(std::size_t position) { return *reinterpret_cast<MailboxEntry*>(base_ + position); }

    MailboxEntry* append(std::uint32_t size) {
        if (tail_ >= tidy_at && (tail_ + size > capacity_ || live_bytes_bound() < tail_ / 4)) [[unlikely]]
            tidy();
        CHECK(tail_ + size <= capacity_);  // I2: limits leave almost a quarter of the region free
        auto* entry = reinterpret_cast<MailboxEntry*>(base_ + tail_);
        tail_ += size;
        ++unread_;
        return entry;
    }
    // Not less than the unread entries' bytes.
    [[nodiscard]] std::size_t live_bytes_bound() const { return user_bytes_ + unread_ * completion_bytes; }

    void tidy() {
        std::size_t to = 0;
        for (std::size_t from = head_; from < tail_;) {
            const std::uint32_t size = at(from).size;
            if (at(from).kind != 0) {
                if (to != from) std::memmove(base_ + to, base_ + from, size);
                to += size;
            }
            from += size;
        }
        head_ = 0;
        tail_ = to;
        ++generation_;
    }

    std::byte* base_;
    std::size_t capacity_;
    std::size_t user_limit_;
    std::size_t head_ = 0;
    std::size_t tail_ = 0;
    std::size_t unread_ = 0;
    std::size_t user_bytes_ = 0;
    std::uint32_t generation_ = 0;
};

}  // namespace umbel::rt
