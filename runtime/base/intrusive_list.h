// intrusive_list.h: a doubly linked list whose links live in its elements.
//
// Why.    Run queues, in-flight lists and warm lists link objects that already exist and must not allocate.
// Shape.  An element derives from ListHook<Tag> once per list it can be on. The list is a ring around a
//         sentinel, so neither insertion nor removal has a branch.
// Owner.  Whoever owns the list; no atomics. An element's hook is null when it is on no list of that tag.
//
// Invariants (check_invariants())
//   I1  next(prev(x)) == x == prev(next(x)) for every x on the list, the sentinel included
#pragma once

#include <cstddef>

#include "runtime/base/check.h"

namespace umbel::rt {

template <class Tag>
struct ListHook {
    ListHook* next = nullptr;
    ListHook* prev = nullptr;
    [[nodiscard]] bool linked() const { return next != nullptr; }
};

template <class T, class Tag>
class IntrusiveList {
    using Hook = ListHook<Tag>;

public:
    IntrusiveList() { head_.next = head_.prev = &head_; }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;

    [[nodiscard]] bool empty() const { return head_.next == &head_; }
    [[nodiscard]] T* front() { return empty() ? nullptr : static_cast<T*>(head_.next); }

    void push_back(T* element) { insert(head_.prev, element, &head_); }
    void push_front(T* element) { insert(&head_, element, head_.next); }

    T* pop_front() {
        if (empty()) return nullptr;
        T* first = static_cast<T*>(head_.next);
        remove(first);
        return first;
    }

    static void remove(T* element) {
        Hook* hook = element;
        DCHECK(hook->linked());
        hook->prev->next = hook->next;
        hook->next->prev = hook->prev;
        hook->next = hook->prev = nullptr;
    }

    /// The element after `element`, or null at the end.
    [[nodiscard]] T* after(T* element) {
        Hook* next = static_cast<Hook*>(element)->next;
        return next == &head_ ? nullptr : static_cast<T*>(next);
    }

    [[nodiscard]] std::size_t count() const {
        std::size_t elements = 0;
        for (const Hook* hook = head_.next; hook != &head_; hook = hook->next) ++elements;
        return elements;
    }

    void check_invariants() const {
        const Hook* hook = &head_;
        do {
            CHECK(hook->next->prev == hook);  // I1
            hook = hook->next;
        } while (hook != &head_);
    }

private:
    static void insert(Hook* before, T* element, Hook* after) {
        Hook* hook = element;
        DCHECK(!hook->linked());
        hook->prev = before;
        hook->next = after;
        before->next = hook;
        after->prev = hook;
    }

    Hook head_;
};

}  // namespace umbel::rt
