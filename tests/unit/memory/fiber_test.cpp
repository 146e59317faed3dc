// Specification of fiber.h.
#include "runtime/memory/fiber.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cfenv>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "runtime/memory/slot_store.h"

namespace umbel::rt {
namespace {

/// A fiber on the stack of a slot of its own, running any callable.
class TestFiber {
public:
    explicit TestFiber(std::function<void(Fiber&)> body) : body_(std::move(body)) {
        slot_ = store().acquire(RegionSize::from(1_MiB).value()).value();
        prepare();
    }
    ~TestFiber() {
        fiber.abandon();
        store().release(slot_);
    }
    TestFiber(const TestFiber&) = delete;
    TestFiber& operator=(const TestFiber&) = delete;

    void prepare() {
        fiber.prepare(
            slot_.stack_low(), slot_.stack_top(),
            [](void* self) { static_cast<TestFiber*>(self)->body_(static_cast<TestFiber*>(self)->fiber); }, this);
    }
    [[nodiscard]] Slot slot() const { return slot_; }
    static SlotStore& store() {
        static SlotStore store;
        return store;
    }

    Fiber fiber;

private:
    std::function<void(Fiber&)> body_;
    Slot slot_;
};

// Spec.   Control goes in and out in turns, and the states say where it is (I1, I2).
TEST(Fiber, SwitchesInAndOut) {
    std::vector<int> trace;
    TestFiber test([&](Fiber& self) {
        EXPECT_TRUE(self.running());
        trace.push_back(1);
        self.switch_out();
        trace.push_back(3);
    });
    EXPECT_FALSE(test.fiber.started());
    EXPECT_TRUE(test.fiber.resumable());
    test.fiber.switch_in();
    EXPECT_TRUE(test.fiber.started());
    EXPECT_FALSE(test.fiber.finished());
    trace.push_back(2);
    test.fiber.switch_in();
    EXPECT_TRUE(test.fiber.finished());
    EXPECT_FALSE(test.fiber.resumable());
    EXPECT_EQ(trace, (std::vector{1, 2, 3}));
}

// Spec.   A finished or abandoned fiber is not switched into (I2).
TEST(FiberDeathTest, RefusesToResumeWhatIsOver) {
    TestFiber test([](Fiber&) {});
    test.fiber.switch_in();
    EXPECT_DEATH(test.fiber.switch_in(), "check failed");
    test.prepare();
    test.fiber.abandon();
    EXPECT_DEATH(test.fiber.switch_in(), "check failed");
}

// Spec.   A stack serves the next fiber when the one before has finished or was abandoned in the middle.
TEST(Fiber, StackIsReused) {
    int runs = 0;
    TestFiber test([&](Fiber& self) {
        std::array<char, 256> deep{};
        deep[static_cast<std::size_t>(runs) % deep.size()] = 1;
        ++runs;
        if (runs % 2 == 0) self.switch_out();
    });
    for (int i = 0; i < 10; ++i) {
        test.fiber.switch_in();
        test.prepare();  // Every second time it was suspended: forgotten without unwinding.
    }
    EXPECT_EQ(runs, 10);
}

// Spec.   Abandoning runs no destructor of what is on the stack.
TEST(Fiber, AbandoningDoesNotUnwind) {
    bool destroyed = false;
    struct Witness {
        bool* destroyed;
        ~Witness() { *destroyed = true; }
    };
    {
        TestFiber test([&](Fiber& self) {
            const Witness witness{&destroyed};
            self.switch_out();
        });
        test.fiber.switch_in();
        test.fiber.abandon();
        EXPECT_FALSE(test.fiber.resumable());
    }
    EXPECT_FALSE(destroyed);
}

// Spec.   A fiber that waits inside a catch block rethrows its own exception, whatever others caught meanwhile (I3).
// Method. Several fibers enter their catch blocks one after the other and leave them in another order; the executor
//         is in a catch block of its own.
TEST(Fiber, WaitsInsideACatchBlock) {
    constexpr int count = 5;
    std::vector<std::string> rethrown(count);
    std::vector<std::unique_ptr<TestFiber>> fibers;
    for (int i = 0; i < count; ++i) {
        fibers.push_back(std::make_unique<TestFiber>([&rethrown, i](Fiber& self) {
            try {
                try {
                    throw std::runtime_error("of fiber " + std::to_string(i));
                } catch (const std::exception&) {
                    self.switch_out();
                    try {
                        throw std::logic_error("nested");
                    } catch (const std::logic_error&) {
                        self.switch_out();
                    }
                    throw;  // The current one is the outer one again.
                }
            } catch (const std::runtime_error& error) {
                rethrown[static_cast<std::size_t>(i)] = error.what();
            }
        }));
    }
    try {
        throw std::runtime_error("of the executor");
    } catch (const std::runtime_error&) {
        for (auto& test : fibers) test->fiber.switch_in();
        for (const std::size_t i : {2, 0, 4, 1, 3}) fibers[i]->fiber.switch_in();
        for (const std::size_t i : {1, 3, 0, 2, 4}) fibers[i]->fiber.switch_in();
        try {
            throw;
        } catch (const std::runtime_error& error) {
            EXPECT_STREQ(error.what(), "of the executor");
        }
    }
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_TRUE(fibers[i]->fiber.finished());
        EXPECT_EQ(rethrown[i], "of fiber " + std::to_string(i));
    }
    EXPECT_EQ(std::current_exception(), nullptr);
}

// Spec.   A fiber that is switched out in a destructor during unwinding takes its uncaught exception with it.
TEST(Fiber, CarriesTheCountOfUncaughtExceptions) {
    struct WaitsInDestructor {
        Fiber* self;
        ~WaitsInDestructor() {
            EXPECT_EQ(std::uncaught_exceptions(), 1);
            self->switch_out();
            EXPECT_EQ(std::uncaught_exceptions(), 1);
        }
    };
    const auto body = [](Fiber& self) {
        EXPECT_EQ(std::uncaught_exceptions(), 0);
        try {
            const WaitsInDestructor waits{&self};
            throw 1;
        } catch (int) {
            EXPECT_EQ(std::uncaught_exceptions(), 0);
        }
    };
    TestFiber one(body);
    TestFiber two(body);
    one.fiber.switch_in();
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    two.fiber.switch_in();
    EXPECT_EQ(std::uncaught_exceptions(), 0);
    one.fiber.switch_in();
    two.fiber.switch_in();
    EXPECT_TRUE(one.fiber.finished());
    EXPECT_TRUE(two.fiber.finished());
}

// Spec.   The rounding mode belongs to the fiber; the executor keeps its own (I3).
TEST(Fiber, KeepsItsRoundingMode) {
    const auto third = [] {
        volatile double one = 1.0;
        volatile double three = 3.0;
        return one / three;
    };
    const double nearest = third();
    double up = 0;
    double up_again = 0;
    double of_other = 0;
    TestFiber rounds_up([&](Fiber& self) {
        std::fesetround(FE_UPWARD);
        up = third();
        self.switch_out();
        EXPECT_EQ(std::fegetround(), FE_UPWARD);
        up_again = third();
    });
    TestFiber other([&](Fiber&) { of_other = third(); });
    rounds_up.fiber.switch_in();
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    EXPECT_EQ(third(), nearest);
    other.fiber.switch_in();
    rounds_up.fiber.switch_in();
    EXPECT_EQ(std::fegetround(), FE_TONEAREST);
    EXPECT_GT(up, nearest);
    EXPECT_EQ(up, up_again);
    EXPECT_EQ(of_other, nearest);
}

// Spec.   A suspended fiber may be resumed by another thread, exceptions and all.
TEST(Fiber, MovesToAnotherThread) {
    std::string caught;
    TestFiber test([&](Fiber& self) {
        try {
            throw std::runtime_error("carried along");
        } catch (const std::exception&) {
            self.switch_out();
            try {
                throw;
            } catch (const std::exception& error) {
                caught = error.what();
            }
        }
    });
    test.fiber.switch_in();
    std::thread([&] { test.fiber.switch_in(); }).join();
    EXPECT_TRUE(test.fiber.finished());
    EXPECT_EQ(caught, "carried along");
}

// Spec.   An exception must not leave a fiber's entry.
TEST(FiberDeathTest, TerminatesWhenAnExceptionLeavesTheEntry) {
    TestFiber test([](Fiber&) { throw std::runtime_error("nobody"); });
    EXPECT_DEATH(test.fiber.switch_in(), "");
}

const SlotStore* searched_store = nullptr;

void report_fault(int, siginfo_t* info, void*) {
    const std::optional<SlotAddress> found = searched_store->find(info->si_addr);
    _exit(found && found->in_guard && found->region == Region::context ? 42 : 43);
}

int recurse(int depth) {
    volatile char frame[512] = {};
    frame[0] = static_cast<char>(depth);
    if (depth < 0) return 0;
    return recurse(depth + 1) + frame[0];
}

void install_fault_handler() {
    static std::array<std::byte, 1 << 16> signal_stack;
    const stack_t alternate{.ss_sp = signal_stack.data(), .ss_flags = 0, .ss_size = signal_stack.size()};
    sigaltstack(&alternate, nullptr);
    struct sigaction action{};
    action.sa_sigaction = report_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
}

// Spec.   A stack overflow hits the guard, and SlotStore::find() tells it from another fault.
// Method. A handler on its own stack asks find(): endless recursion in a fiber against a wild pointer.
TEST(FiberDeathTest, OverflowIsToldByTheGuard) {
    const auto run = [](const std::function<void(Fiber&)>& body) {
        searched_store = &TestFiber::store();
        TestFiber test(body);
        TestFiber::store().before_run(test.slot());
        install_fault_handler();
        test.fiber.switch_in();
        _exit(0);
    };
    EXPECT_EXIT(run([](Fiber&) { recurse(0); }), testing::ExitedWithCode(42), "");
    EXPECT_EXIT(run([](Fiber&) {
                    void* const page = mmap(nullptr, page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                    std::memset(page, 1, 1);
                }),
                testing::ExitedWithCode(43), "");
}

}  // namespace
}  // namespace umbel::rt
