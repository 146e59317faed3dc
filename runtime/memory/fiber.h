// fiber.h: a stack of its own, and the switch to it and back.
//
// Why.    Straight-line actors suspend in the middle of a call. An executor switches into the actor's stack and
//         the actor switches out, wherever it is: in a catch block, in a destructor during unwinding, in a signal
//         handler that preempts it.
// Shape.  boost::context's make_fcontext/jump_fcontext, and round them what a switch must carry besides the
//         registers those save (callee-saved integer registers, MXCSR, x87 control word):
//           - the C++ runtime's per-thread exception state (__cxa_get_globals: the stack of caught exceptions,
//             the count of uncaught ones), swapped by switch_in() on both its edges;
//           - announcements to AddressSanitizer and ThreadSanitizer, only in their builds.
//         Why not boost::context::fiber: it destroys a suspended stack by throwing through it (forced_unwind).
//         Those frames are a plugin's: they may catch (...), be noexcept, or be C. An actor that is ended from
//         outside is abandoned; what it owned is in its regions and is returned with them.
// Owner.  One executor at a time. A suspended fiber may be switched into by another thread, if the caller orders
//         the two.
//
// Invariants
//   I1  switch_in() and switch_out() alternate; the first is from outside, the second from inside
//   I2  a finished or abandoned fiber is not switched into until it is prepared again
//   I3  outside switch_in() the thread's exception state and control words are the executor's own
//
// Cost.   One way about 8 ns, of which 6 are jump_fcontext. Both are inline: after a switch the processor predicts
//         every return wrongly (7 ns each), so each call that is left out counts. prepare: some stores on the stack.
// Not here.  The memory of the stack and its guard: slot.h, slot_store.h. errno: whoever waits must not hold it
//         across a switch.
#pragma once

#include <cxxabi.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstddef>
#include <cstdint>

#include "runtime/base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#define UMBEL_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UMBEL_FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UMBEL_FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UMBEL_FIBER_TSAN 1
#endif
#endif

#if defined(UMBEL_FIBER_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(UMBEL_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace umbel::rt {

class Fiber {
public:
    using Entry = void (*)(void* argument);

    Fiber() = default;
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;
    ~Fiber() { abandon(); }

    /// Makes the next switch_in() call entry(argument) on the stack [stack_low, stack_top). The control words at
    /// that time are the ones of the thread now. No exception may leave `entry` (std::terminate).
    void prepare(std::byte* stack_low, std::byte* stack_top, Entry entry, void* argument);

    /// From the executor: runs the fiber until it switches out or its entry returns.
    void switch_in();
    /// From inside: back to the executor; returns when it switches in again.
    void switch_out();

    /// Forgets the stack without unwinding it; destructors of what is on it do not run. Not from inside.
    void abandon();

    /// Touches the top of its stack early, where it will go on.
    void prefetch() const {
        const auto* top = static_cast<const char*>(context_);
        for (int line = 0; line < 6; ++line) __builtin_prefetch(top + line * std::ptrdiff_t{64}, 1);
    }

    /// Prepared, and has run at least once.
    [[nodiscard]] bool started() const { return state_ != State::empty && state_ != State::prepared; }
    /// Its entry has returned.
    [[nodiscard]] bool finished() const { return state_ == State::finished; }
    /// switch_in() is legal.
    [[nodiscard]] bool resumable() const { return state_ == State::prepared || state_ == State::suspended; }
    /// Its code is on the processor: the caller is inside it, or another thread is.
    [[nodiscard]] bool running() const { return state_ == State::running; }

private:
    enum class State : std::uint8_t {
        empty,      // No stack.
        prepared,   // Has a stack; entry not called yet.
        running,    // Between switch_in() and switch_out().
        suspended,  // Switched out.
        finished,   // Entry returned; the stack may be reused.
    };

    // The layout the Itanium C++ ABI gives __cxa_eh_globals.
    struct ExceptionState {
        void* caught = nullptr;
        unsigned int uncaught = 0;
    };

    static void trampoline(void* from, Fiber* fiber);
    friend struct FiberTrampoline;

    void* context_ = nullptr;    // fcontext_t: the fiber's while suspended, the executor's while running.
    ExceptionState exceptions_;  // The fiber's while suspended, the executor's while running.
    Entry entry_ = nullptr;
    void* argument_ = nullptr;
    std::byte* stack_low_ = nullptr;
    std::byte* stack_top_ = nullptr;
    State state_ = State::empty;
#if defined(UMBEL_FIBER_ASAN)
    void* fake_stack_ = nullptr;            // The fiber's, while suspended.
    const void* executor_stack_ = nullptr;  // Where to announce the way back.
    std::size_t executor_stack_bytes_ = 0;
#endif
#if defined(UMBEL_FIBER_TSAN)
    void* tsan_fiber_ = nullptr;
    void* tsan_executor_ = nullptr;
#endif
};

inline void Fiber::switch_in() {
    CHECK(resumable());  // I1, I2
    state_ = State::running;

    // Valid until we are back: a thread's globals do not move, and the frame below runs on this thread.
    auto* const globals = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
    // I3. Field by field: one wide load of what was just stored as two words would wait for both to leave the store queue.
    void* const executors_caught = globals->caught;
    const unsigned int executors_uncaught = globals->uncaught;
    globals->caught = exceptions_.caught;
    globals->uncaught = exceptions_.uncaught;
#if defined(UMBEL_FIBER_ASAN)
    void* executor_fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&executor_fake_stack, stack_low_, static_cast<std::size_t>(stack_top_ - stack_low_));
#endif
#if defined(UMBEL_FIBER_TSAN)
    tsan_executor_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(tsan_fiber_, 0);
#endif

    const boost::context::detail::transfer_t back = boost::context::detail::jump_fcontext(context_, this);
    context_ = back.fctx;

#if defined(UMBEL_FIBER_ASAN)
    __sanitizer_finish_switch_fiber(executor_fake_stack, nullptr, nullptr);
#endif
    exceptions_.caught = globals->caught;
    exceptions_.uncaught = globals->uncaught;
    globals->caught = executors_caught;  // I3
    globals->uncaught = executors_uncaught;

    if (state_ == State::finished) [[unlikely]] {
        context_ = nullptr;
#if defined(UMBEL_FIBER_TSAN)
        __tsan_destroy_fiber(tsan_fiber_);
        tsan_fiber_ = nullptr;
#endif
    } else {
        state_ = State::suspended;
    }
}

inline void Fiber::switch_out() {
    DCHECK(state_ == State::running);  // I1
#if defined(UMBEL_FIBER_ASAN)
    __sanitizer_start_switch_fiber(&fake_stack_, executor_stack_, executor_stack_bytes_);
#endif
#if defined(UMBEL_FIBER_TSAN)
    __tsan_switch_to_fiber(tsan_executor_, 0);
#endif
    context_ = boost::context::detail::jump_fcontext(context_, this).fctx;
#if defined(UMBEL_FIBER_ASAN)
    __sanitizer_finish_switch_fiber(fake_stack_, &executor_stack_, &executor_stack_bytes_);
#endif
}

}  // namespace umbel::rt
