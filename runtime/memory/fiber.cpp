#include "runtime/memory/fiber.h"

#include <exception>

#if defined(UMBEL_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

namespace ctx = boost::context::detail;

// What fcontext calls first on the new stack: no exception may pass it, and it never returns.
struct FiberTrampoline {
    [[noreturn]] static void enter(ctx::transfer_t from) noexcept {
        Fiber::trampoline(from.fctx, static_cast<Fiber*>(from.data));
        std::terminate();  // A finished fiber was switched into: switch_in() has a CHECK against it (I2).
    }
};

void Fiber::prepare(std::byte* stack_low, std::byte* stack_top, Entry entry, void* argument) {
    CHECK(state_ != State::running);
    CHECK(stack_low < stack_top);
    abandon();
    stack_low_ = stack_low;
    stack_top_ = stack_top;
    entry_ = entry;
    argument_ = argument;
    exceptions_ = {};
    context_ = ctx::make_fcontext(stack_top, static_cast<std::size_t>(stack_top - stack_low), &FiberTrampoline::enter);
#if defined(UMBEL_FIBER_ASAN)
    fake_stack_ = nullptr;
#endif
#if defined(UMBEL_FIBER_TSAN)
    tsan_fiber_ = __tsan_create_fiber(0);
#endif
    state_ = State::prepared;
}

void Fiber::trampoline(void* from, Fiber* fiber) {
    fiber->context_ = from;
#if defined(UMBEL_FIBER_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, &fiber->executor_stack_, &fiber->executor_stack_bytes_);
#endif
    fiber->entry_(fiber->argument_);
    fiber->state_ = State::finished;
#if defined(UMBEL_FIBER_ASAN)
    // A null first argument: this stack's fake frames go.
    __sanitizer_start_switch_fiber(nullptr, fiber->executor_stack_, fiber->executor_stack_bytes_);
#endif
#if defined(UMBEL_FIBER_TSAN)
    __tsan_switch_to_fiber(fiber->tsan_executor_, 0);
#endif
    ctx::jump_fcontext(fiber->context_, fiber);
}

void Fiber::abandon() {
    CHECK(state_ != State::running);
#if defined(UMBEL_FIBER_ASAN)
    // Frames that were left without returning have left their red zones.
    if (stack_low_ != nullptr) {
        ASAN_UNPOISON_MEMORY_REGION(stack_low_, static_cast<std::size_t>(stack_top_ - stack_low_));
    }
#endif
#if defined(UMBEL_FIBER_TSAN)
    if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
    tsan_fiber_ = nullptr;
#endif
    context_ = nullptr;
    stack_low_ = nullptr;
    stack_top_ = nullptr;
    exceptions_ = {};
    state_ = State::empty;
}

}  // namespace umbel::rt
