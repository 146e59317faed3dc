#include "bench/umbel_bench/refusals.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace umbel::bench {

std::unique_ptr<Refusals> Refusals::begin(unsigned every, std::string& trouble) {
    // Little-endian, as all our machines: the low half of an argument comes first.
    const auto offset_of = [](std::size_t offset) { return static_cast<std::uint32_t>(offset); };
    std::array<sock_filter, 6> program{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset_of(offsetof(seccomp_data, nr))),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offset_of(offsetof(seccomp_data, args) + sizeof(std::uint64_t))),  // to_submit
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    std::unique_ptr<Refusals> refusals(new Refusals(every));
    refusals->stop_ = ::eventfd(0, EFD_CLOEXEC);
    if (refusals->stop_ < 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        trouble = std::string("no seccomp filter can be prepared: ") + std::strerror(errno);
        return nullptr;
    }
    const long listener = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0) {
        trouble =
            std::string("no seccomp filter can be set: ") + std::strerror(errno) +
            " (the kernel needs CONFIG_SECCOMP_FILTER and Linux 5.5, and no other program may supervise this one)";
        return nullptr;
    }
    refusals->listener_ = static_cast<int>(listener);
    // It has the filter as well, and never enters a ring.
    refusals->supervisor_ = std::thread([&supervisor = *refusals] { supervisor.supervise(); });
    return refusals;
}

Refusals::~Refusals() {
    if (supervisor_.joinable()) {
        const std::uint64_t one = 1;
        while (::write(stop_, &one, sizeof one) < 0 && errno == EINTR) {
        }
        supervisor_.join();
    }
    if (listener_ >= 0) ::close(listener_);
    if (stop_ >= 0) ::close(stop_);
}

void Refusals::supervise() {
    std::uint64_t seen = 0;
    for (;;) {
        std::array<pollfd, 2> ready{{{listener_, POLLIN, 0}, {stop_, POLLIN, 0}}};
        if (::poll(ready.data(), ready.size(), -1) < 0) continue;
        if ((ready[1].revents & POLLIN) != 0) return;
        if ((ready[0].revents & POLLIN) == 0) return;  // Nobody is left whom the filter concerns.
        seccomp_notif call{};
        if (::ioctl(listener_, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;  // A signal ended the call first.
        seccomp_notif_resp answer{};
        answer.id = call.id;
        if (++seen % every_ == 0) {
            answer.error = -EBUSY;
            // relaxed: a figure.
            count_.fetch_add(1, std::memory_order_relaxed);
        } else {
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        }
        (void)::ioctl(listener_, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

}  // namespace umbel::bench
