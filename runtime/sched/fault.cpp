#include "runtime/sched/fault.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <mutex>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace umbel::rt {

namespace {

struct CodeRange {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
};
std::array<CodeRange, 1024> code_ranges;
std::atomic<std::size_t> code_range_count{0};

thread_local Executor* executor_here = nullptr;

bool is_plugin_code(std::uintptr_t address) {
    // acquire: sees the ranges. Pairs with the release in register_plugin_code().
    const std::size_t count = code_range_count.load(std::memory_order_acquire);
    return std::any_of(code_ranges.begin(), code_ranges.begin() + static_cast<std::ptrdiff_t>(count),
                       [&](const CodeRange& range) { return address >= range.begin && address < range.end; });
}

// Where an actor whose stack has overflowed goes on: at the top of its own stack, whose content is lost.
[[noreturn]] void land(ActorContext* context) { context->executor->stack_overflowed(*context); }

// F1: snprintf with integers and strings neither allocates nor locks in glibc.
void tell(const char* what, int signal, const void* address) {
    std::array<char, 512> line{};
    const ActorContext* context = executor_here == nullptr ? nullptr : executor_here->running();
    int length = 0;
    if (context != nullptr && context->record != nullptr) {
        length = std::snprintf(line.data(), line.size(),
                               "umbeld: %s (signal %d) at address %p, in actor 0x%llx of type %s of plugin %s\n", what,
                               signal, address, static_cast<unsigned long long>(context->actor),
                               context->record->type->declared->name, context->record->type->plugin);
    } else {
        length = std::snprintf(line.data(), line.size(), "umbeld: %s (signal %d) at address %p, outside any actor\n",
                               what, signal, address);
    }
    if (length > 0) (void)!write(STDERR_FILENO, line.data(), std::min(line.size(), static_cast<std::size_t>(length)));
    std::array<void*, 64> frames{};
    const int depth = backtrace(frames.data(), static_cast<int>(frames.size()));
    backtrace_symbols_fd(frames.data(), depth, STDERR_FILENO);
}

void on_fault(int signal, siginfo_t* information, void* machine) {
    const void* address = information->si_addr;
    const char* what = "memory fault";
    ActorContext* context = executor_here == nullptr ? nullptr : executor_here->running();
    if (context != nullptr) {
        const auto place = executor_here->shared().slots.find(address);
        if (place && place->in_guard && place->slot_base == context->slot.base()) {
            what = "stack overflow in code that is not the plugin's own, so that the actor cannot be ended alone;";
            auto& registers = static_cast<ucontext_t*>(machine)->uc_mcontext.gregs;
            if (is_plugin_code(static_cast<std::uintptr_t>(registers[REG_RIP]))) {
#if defined(__SANITIZE_ADDRESS__)
                __asan_unpoison_memory_region(
                    context->slot.stack_low(),
                    static_cast<std::size_t>(context->slot.stack_top() - context->slot.stack_low()));
#endif
                const auto top = reinterpret_cast<std::uintptr_t>(context->slot.stack_top());
                registers[REG_RSP] = static_cast<greg_t>(top - 64 - 8);  // as after a call: 8 below a multiple of 16
                registers[REG_RDI] = reinterpret_cast<greg_t>(context);
                registers[REG_RIP] = reinterpret_cast<greg_t>(&land);
                return;
            }
        }
    }
    tell(what, signal, address);
    // The default once more: a core dump, and systemd sees the signal.
    struct sigaction fallback{};
    fallback.sa_handler = SIG_DFL;
    sigaction(signal, &fallback, nullptr);
    // What another process sent does not come again by itself. Blocked until this handler returns.
    if (information->si_code <= 0) (void)raise(signal);
}

void install_handlers() {
    std::array<void*, 1> frame{};
    (void)backtrace(frame.data(), 1);  // Loads what it needs now, not in a handler.
    struct sigaction action{};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
}

}  // namespace

FaultGuard::FaultGuard(Executor& executor) : stack_(nullptr), stack_bytes_(0) {
    static std::once_flag once;
    std::call_once(once, install_handlers);
    stack_bytes_ = std::max<std::size_t>(65536, 4 * getauxval(AT_MINSIGSTKSZ));
    void* memory = mmap(nullptr, stack_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    stack_ = static_cast<std::byte*>(memory);
    const stack_t stack{.ss_sp = stack_, .ss_flags = 0, .ss_size = stack_bytes_};
    CHECK(sigaltstack(&stack, nullptr) == 0);
    executor_here = &executor;
}

FaultGuard::~FaultGuard() {
    executor_here = nullptr;
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    CHECK(sigaltstack(&none, nullptr) == 0);
    munmap(stack_, stack_bytes_);
}

void register_plugin_code(const void* symbol) {
    Dl_info library{};
    if (dladdr(symbol, &library) == 0) return;
    struct Search {
        std::uintptr_t base;
    } search{reinterpret_cast<std::uintptr_t>(library.dli_fbase)};
    dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* argument) {
            if (info->dlpi_addr != static_cast<Search*>(argument)->base) return 0;
            for (int i = 0; i < info->dlpi_phnum; ++i) {
                const auto& header = info->dlpi_phdr[i];
                if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
                const std::size_t place = code_range_count.load(std::memory_order_relaxed);
                if (place == code_ranges.size()) return 1;
                code_ranges[place] = {info->dlpi_addr + header.p_vaddr,
                                      info->dlpi_addr + header.p_vaddr + header.p_memsz};
                // release: publishes the range. Pairs with the acquire in is_plugin_code().
                code_range_count.store(place + 1, std::memory_order_release);
            }
            return 1;
        },
        &search);
}

}  // namespace umbel::rt
