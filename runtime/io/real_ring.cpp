// real_ring.cpp: set-up, probing and entering of the kernel's io_uring.
#include "runtime/io/real_ring.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace umbel::rt {

namespace {

// By value: newer than liburing 2.3.
constexpr unsigned enter_no_iowait = 1u << 7;     // IORING_ENTER_NO_IOWAIT
constexpr unsigned feature_no_iowait = 1u << 17;  // IORING_FEAT_NO_IOWAIT
constexpr unsigned required_features =
    IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL | IORING_FEAT_SUBMIT_STABLE;

constexpr unsigned smallest_submission_entries = 8;
constexpr unsigned smallest_completion_entries = 16;
constexpr int memory_retries = 20;
constexpr auto memory_retry_pause = std::chrono::milliseconds(10);

unsigned flags_of(RingStep step) {
    constexpr unsigned always = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    switch (step) {
        case RingStep::deferred:
            return always | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER |
                   IORING_SETUP_DEFER_TASKRUN;
        case RingStep::cooperative:
            return always | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN;
        case RingStep::submit_all:
            return always | IORING_SETUP_SUBMIT_ALL;
        case RingStep::basic:
            return always;
    }
    check_failed("a rung of the ladder", __FILE__, __LINE__);
}

std::optional<int> read_io_uring_disabled() {
    const int fd = ::open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    char digit = 0;
    const ssize_t got = ::read(fd, &digit, 1);
    ::close(fd);
    if (got != 1 || digit < '0' || digit > '9') return std::nullopt;
    return digit - '0';
}

RefusalFacts refusal_facts(unsigned submission_entries, unsigned completion_entries) {
    RefusalFacts facts;
    facts.io_uring_disabled = read_io_uring_disabled();
    rlimit limit{};
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        facts.memlock_limit = Bytes{limit.rlim_cur};
    facts.submission_entries = submission_entries;
    facts.completion_entries = completion_entries;
    return facts;
}

std::string in_kib(Bytes size) { return std::to_string((size.count + 1023) / 1024) + " KiB"; }

const char* name_of(RingStep step) {
    switch (step) {
        case RingStep::deferred:
            return "deferred task run (6.1)";
        case RingStep::cooperative:
            return "cooperative task run (5.19)";
        case RingStep::submit_all:
            return "submit-all (5.18)";
        case RingStep::basic:
            return "basic (5.15)";
    }
    return "?";
}

/// What the runtime uses where it is there; everything older is in every kernel we support.
struct NamedFeature {
    RingFeature feature;
    const char* name;
};
constexpr std::array<NamedFeature, ring_feature_count> feature_names{{
    {RingFeature::multishot_poll, "multishot poll"},
    {RingFeature::multishot_accept, "multishot accept"},
    {RingFeature::multishot_recv, "multishot recv"},
    {RingFeature::buffer_rings, "provided-buffer rings"},
    {RingFeature::cancel_matching, "cancel by descriptor"},
    {RingFeature::no_iowait, "no-iowait"},
    {RingFeature::registered_ring, "registered ring"},
}};

struct NamedOpcode {
    unsigned opcode;
    const char* name;
};
constexpr std::array<NamedOpcode, 32> opcode_names{{
    {IORING_OP_NOP, "nop"},
    {IORING_OP_OPENAT2, "openat2"},
    {IORING_OP_CLOSE, "close"},
    {IORING_OP_READ, "read"},
    {IORING_OP_WRITE, "write"},
    {IORING_OP_FSYNC, "fsync"},
    {IORING_OP_STATX, "statx"},
    {IORING_OP_SOCKET, "socket"},
    {op_bind, "bind"},
    {op_listen, "listen"},
    {IORING_OP_ACCEPT, "accept"},
    {IORING_OP_CONNECT, "connect"},
    {IORING_OP_RECV, "recv"},
    {IORING_OP_SEND, "send"},
    {IORING_OP_SHUTDOWN, "shutdown"},
    {IORING_OP_POLL_ADD, "poll"},
    {IORING_OP_TIMEOUT, "timeout"},
    {IORING_OP_LINK_TIMEOUT, "link timeout"},
    {IORING_OP_ASYNC_CANCEL, "cancel"},
    {IORING_OP_POLL_REMOVE, "poll remove"},
    {IORING_OP_SENDMSG, "sendmsg"},
    {IORING_OP_RECVMSG, "recvmsg"},
    {IORING_OP_SPLICE, "splice"},
    {IORING_OP_READV, "readv"},
    {IORING_OP_WRITEV, "writev"},
    {IORING_OP_FALLOCATE, "fallocate"},
    {op_ftruncate, "ftruncate"},
    {IORING_OP_UNLINKAT, "unlinkat"},
    {IORING_OP_RENAMEAT, "renameat2"},
    {IORING_OP_MKDIRAT, "mkdirat"},
    {IORING_OP_LINKAT, "linkat"},
    {IORING_OP_SYMLINKAT, "symlinkat"},
}};

constexpr std::size_t signal_set_size = _NSIG / 8;  // Of the kernel's signal set, which we never pass.

/// liburing's enter returns -errno. What is left of it is what ring.h promises.
int result_of_enter(int returned) {
    if (returned >= 0) return returned;
    switch (-returned) {
        case EINTR:
            return 0;
        case EBUSY:
        case EAGAIN:
        case ETIME:
        case EBADR:
        case ENOMEM:
            return returned;
        default:
            break;
    }
    CHECK(returned != -EEXIST);  // Another thread than the owner.
    check_failed("io_uring_enter: an errno that a correct call can give", __FILE__, __LINE__);
}

std::string description_of(int error) {
    const char* description = strerrordesc_np(error);
    return description != nullptr ? description : "unknown";
}

int result_of(int returned) { return returned < 0 ? -errno : returned; }

}  // namespace

std::string RingFeatures::summary() const {
    std::string lacking;
    auto lacks = [&lacking](const char* name) {
        if (!lacking.empty()) lacking += ", ";
        lacking += name;
    };
    for (const NamedFeature& named : feature_names)
        if (!has(named.feature)) lacks(named.name);
    for (const NamedOpcode& named : opcode_names)
        if (!supports(named.opcode)) lacks(named.name);
    return std::string("io_uring: ") + name_of(step) + (lacking.empty() ? "; complete" : "; lacks " + lacking);
}

Bytes ring_memory(unsigned submission_entries, unsigned completion_entries) {
    const std::uint64_t sq = std::bit_ceil(std::max(submission_entries, 1u));
    const std::uint64_t cq = std::bit_ceil(std::max(completion_entries, 1u));
    const auto pages = [](std::uint64_t bytes) { return (bytes + 4095) / 4096 * 4096; };
    constexpr std::uint64_t header = 320;  // The kernel's struct io_rings, about.
    return {pages(header + cq * sizeof(io_uring_cqe) + sq * sizeof(unsigned)) + pages(sq * sizeof(io_uring_sqe))};
}

Error setup_refusal(int error, const RefusalFacts& facts) {
    std::string message = "io_uring_setup was refused: ";
    switch (error) {
        case EPERM:
            message += "EPERM: ";
            if (facts.io_uring_disabled.value_or(0) == 2) {
                message +=
                    "io_uring is switched off on this machine (kernel.io_uring_disabled = 2); "
                    "allow it with `sysctl kernel.io_uring_disabled=0`";
            } else if (facts.io_uring_disabled.value_or(0) == 1) {
                message +=
                    "io_uring is for privileged processes only (kernel.io_uring_disabled = 1); allow it with "
                    "`sysctl kernel.io_uring_disabled=0`, or add the service's group to kernel.io_uring_group";
            } else {
                message +=
                    "most likely a container's seccomp profile (Docker 25 and newer and containerd deny io_uring by "
                    "default); allow io_uring_setup, io_uring_enter and io_uring_register in the profile";
            }
            break;
        case ENOSYS:
            message +=
                "ENOSYS: the kernel has no io_uring (Linux 5.15 or newer is needed), or a seccomp filter hides it; "
                "allow io_uring_setup, io_uring_enter and io_uring_register in the filter";
            break;
        case ENOMEM:
            message += "ENOMEM: a ring of " + std::to_string(facts.submission_entries) + " submission and " +
                       std::to_string(facts.completion_entries) + " completion entries needs " +
                       in_kib(ring_memory(facts.submission_entries, facts.completion_entries)) +
                       " of locked memory for each executor, and ";
            message += facts.memlock_limit
                           ? "RLIMIT_MEMLOCK allows this user " + in_kib(*facts.memlock_limit) +
                                 " in all; raise it (LimitMEMLOCK= in the unit, `ulimit -l` in a shell) or lower "
                                 "executors.ring_entries, executors.completion_entries or executors.count"
                           : "RLIMIT_MEMLOCK is unlimited: the machine or the service's memory cgroup is out of "
                             "memory; raise MemoryMax= or lower executors.ring_entries, "
                             "executors.completion_entries or executors.count";
            break;
        case EMFILE:
            message +=
                "EMFILE: the process has no descriptor left; raise RLIMIT_NOFILE (LimitNOFILE= in the unit, "
                "`ulimit -n` in a shell)";
            break;
        case ENFILE:
            message += "ENFILE: the machine has no descriptor left; raise fs.file-max with sysctl";
            break;
        case EINVAL:
            message +=
                "EINVAL: no set of flags was accepted; the kernel is too old (Linux 5.15 or newer is needed) or "
                "executors.ring_entries and executors.completion_entries are out of its range";
            break;
        default:
            message += "errno " + std::to_string(error) + " (" + description_of(error) +
                       "); `umbelctl doctor` checks what io_uring needs";
            break;
    }
    return {ErrorClass::system, std::move(message)};
}

Result<std::unique_ptr<RealRing>> RealRing::create(const RingOptions& options) {
    std::unique_ptr<RealRing> ring(new RealRing);
    if (Result<void> done = ring->set_up(options); !done) return std::unexpected(done.error());
    return ring;
}

Result<void> RealRing::set_up(const RingOptions& options) {
    owner_ = gettid();
    unsigned submission = std::max(options.submission_entries, 1u);
    unsigned completion = std::max(options.completion_entries, submission);
    RingStep step = options.first_step;
    int retries = memory_retries;
    io_uring_params params{};
    for (;;) {
        params = io_uring_params{};
        params.flags = flags_of(step);
        params.cq_entries = completion;
        const int error = -io_uring_queue_init_params(submission, &ring_, &params);
        if (error == 0) break;
        if (error == EINVAL && step != RingStep::basic) {
            step = static_cast<RingStep>(static_cast<int>(step) + 1);
        } else if (error == ENOMEM && retries > 0) {
            --retries;
            std::this_thread::sleep_for(memory_retry_pause);
        } else if (error == ENOMEM && completion / 2 >= smallest_completion_entries) {
            completion /= 2;
            submission =
                std::min(completion, std::max(submission / 2, std::min(submission, smallest_submission_entries)));
        } else {
            return std::unexpected(setup_refusal(
                error, refusal_facts(options.submission_entries, std::max(options.completion_entries, submission))));
        }
    }
    mapped_ = true;
    features_.step = step;

    if ((params.features & required_features) != required_features)
        return fail(ErrorClass::system,
                    "this kernel's io_uring is too old: it lacks NODROP, EXT_ARG, FAST_POLL or SUBMIT_STABLE; "
                    "run Linux 5.15 or newer");

    wake_fd_ = eventfd(0, EFD_CLOEXEC);  // Blocking: a read in the ring must wait, not say EAGAIN.
    if (wake_fd_ < 0)
        return fail(ErrorClass::system, "eventfd was refused: " + description_of(errno) +
                                            "; raise RLIMIT_NOFILE (LimitNOFILE= in the unit)");

    std::array<unsigned, 2> workers{options.bounded_workers, options.unbounded_workers};
    // A kernel that refuses the cap (a filter might) works without it.
    (void)io_uring_register_iowq_max_workers(&ring_, workers.data());

    probe(options);

    enter_fd_ = static_cast<unsigned>(ring_.ring_fd);
    if (!options.without_features.test(static_cast<std::size_t>(RingFeature::registered_ring))) {
        io_uring_rsrc_update update{};
        update.offset = ~0u;  // Any free number.
        update.data = static_cast<std::uint64_t>(ring_.ring_fd);
        if (io_uring_register(enter_fd_, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
            registered_fd_ = static_cast<int>(update.offset);
            enter_fd_ = update.offset;
            enter_flags_ |= IORING_ENTER_REGISTERED_RING;
            features_.features.set(static_cast<std::size_t>(RingFeature::registered_ring));
        }
    }
    if (features_.has(RingFeature::no_iowait)) sleep_flags_ |= enter_no_iowait;
    return {};
}

void RealRing::probe(const RingOptions& options) {
    constexpr unsigned count = 256;
    alignas(io_uring_probe) std::array<std::byte, sizeof(io_uring_probe) + count * sizeof(io_uring_probe_op)> memory{};
    auto* table = reinterpret_cast<io_uring_probe*>(memory.data());
    if (io_uring_register_probe(&ring_, table, count) >= 0) {
        const auto* row = reinterpret_cast<const io_uring_probe_op*>(memory.data() + sizeof(io_uring_probe));
        for (unsigned i = 0; i < std::min<unsigned>(table->ops_len, count); ++i, ++row)
            features_.opcodes.set(row->op, (row->flags & IO_URING_OP_SUPPORTED) != 0);
    }
    const auto found = [this](RingFeature feature, bool there) {
        features_.features.set(static_cast<std::size_t>(feature), there);
    };
    // What has no probe of its own is told by what came with it: RSRC_TAGS with 5.13, SOCKET with 5.19,
    // SEND_ZC with 6.0. No version is read: distributions backport.
    found(RingFeature::multishot_poll, (ring_.features & IORING_FEAT_RSRC_TAGS) != 0);
    found(RingFeature::multishot_accept, features_.supports(IORING_OP_SOCKET));
    found(RingFeature::cancel_matching, features_.supports(IORING_OP_SOCKET));
    found(RingFeature::multishot_recv, features_.supports(IORING_OP_SEND_ZC));
    found(RingFeature::no_iowait, (ring_.features & feature_no_iowait) != 0);
    found(RingFeature::buffer_rings, try_buffer_ring());

    features_.features &= ~options.without_features;
    features_.opcodes &= ~options.without_opcodes;
}

bool RealRing::try_buffer_ring() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(page);
    registration.ring_entries = 1;
    const bool there = io_uring_register_buf_ring(&ring_, &registration, 0) == 0;
    if (there) CHECK(io_uring_unregister_buf_ring(&ring_, 0) == 0);
    munmap(page, 4096);
    return there;
}

RealRing::~RealRing() {
    // Elsewhere the number might be another ring's; the kernel forgets the owner's numbers when the owner ends.
    if (registered_fd_ >= 0 && gettid() == owner_) {
        io_uring_rsrc_update update{};
        update.offset = static_cast<std::uint32_t>(registered_fd_);
        (void)io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_UNREGISTER_RING_FDS, &update, 1);
    }
    if (mapped_) io_uring_queue_exit(&ring_);
    if (wake_fd_ >= 0) ::close(wake_fd_);
}

int RealRing::enter(unsigned min_complete, Nanoseconds timeout) {
    const unsigned to_submit = publish();
    return min_complete == 0 ? enter_awake(to_submit) : enter_asleep(to_submit, min_complete, timeout);
}

int RealRing::enter_awake(unsigned to_submit) {
    const bool bring = work_pending() || overflowed();
    if (to_submit == 0 && !bring) return 0;
    const unsigned flags = enter_flags_ | (bring ? IORING_ENTER_GETEVENTS : 0u);
    const int submitted = result_of_enter(io_uring_enter2(enter_fd_, to_submit, 0, flags, nullptr, signal_set_size));
    if (submitted < 0 || !bring) return submitted;
    // One call runs at most 20 of the kernel's pending completions; and one with a minimum and a timeout of 0, which
    // would run them all, sleeps and wakes again if there are fewer: 22 to 35 µs more (measured on Linux 6.18).
    // Bounded, because others may go on producing: what comes later is brought by the next pause.
    constexpr unsigned completions_a_call = 20;
    for (unsigned calls = completion_entries() / completions_a_call + 1;
         calls > 0 && (work_pending() || overflowed()) && cq_ready() < completion_entries(); --calls) {
        const int brought = result_of_enter(
            io_uring_enter2(enter_fd_, 0, 0, enter_flags_ | IORING_ENTER_GETEVENTS, nullptr, signal_set_size));
        if (brought < 0) return submitted > 0 ? submitted : brought;
    }
    return submitted;
}

int RealRing::enter_asleep(unsigned to_submit, unsigned min_complete, Nanoseconds timeout) {
    __kernel_timespec time{};
    io_uring_getevents_arg wait{};
    if (timeout != Nanoseconds::max()) {
        const Nanoseconds left = std::max(timeout, Nanoseconds::zero());
        time.tv_sec = left.count() / 1'000'000'000;
        time.tv_nsec = left.count() % 1'000'000'000;
        wait.ts = reinterpret_cast<std::uintptr_t>(&time);
    }
    return result_of_enter(io_uring_enter2(enter_fd_, to_submit, min_complete,
                                           enter_flags_ | sleep_flags_ | IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                                           reinterpret_cast<sigset_t*>(&wait), sizeof wait));
}

int RealRing::call(const io_uring_sqe& sqe) {
    switch (static_cast<unsigned>(sqe.opcode)) {
        case IORING_OP_NOP:
            return 0;
        case IORING_OP_SOCKET:
            return result_of(::socket(sqe.fd, static_cast<int>(sqe.off), static_cast<int>(sqe.len)));
        case op_bind:
            return result_of(
                ::bind(sqe.fd, reinterpret_cast<const sockaddr*>(sqe.addr), static_cast<socklen_t>(sqe.addr2)));
        case op_listen:
            return result_of(::listen(sqe.fd, static_cast<int>(sqe.len)));
        case IORING_OP_CLOSE:
            return result_of(::close(sqe.fd));
        case IORING_OP_SHUTDOWN:
            return result_of(::shutdown(sqe.fd, static_cast<int>(sqe.len)));
        default:
            return -EOPNOTSUPP;
    }
}

std::int64_t RealRing::push(int fd, const Push& what) {
    for (;;) {
        ssize_t sent = 0;
        if (what.file >= 0) {
            // sendfile(2) asks the descriptor whether it may wait. Operations through the ring are not concerned.
            const int on = 1;
            if (::ioctl(fd, FIONBIO, &on) != 0) return -errno;
            auto offset = static_cast<off_t>(what.offset);
            sent = ::sendfile(fd, what.file, &offset, what.size);
        } else {
            sent = ::send(fd, what.bytes, what.size, MSG_DONTWAIT | MSG_NOSIGNAL | (what.more ? MSG_MORE : 0));
        }
        if (sent > 0) return sent;
        if (sent == 0) return -EIO;  // The file is shorter than its block: somebody has cut it.
        if (errno != EINTR) return -errno;
    }
}

int RealRing::set_socket_option(int fd, int level, int option, int value) {
    return result_of(::setsockopt(fd, level, option, &value, sizeof value));
}

int RealRing::local_address(int fd, sockaddr* address, socklen_t* length) {
    return result_of(::getsockname(fd, address, length));
}

int RealRing::duplicate(int fd) { return result_of(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

int RealRing::make_pipe(int flags, std::array<int, 2>& ends) {
    if ((flags & ~(O_NONBLOCK | O_DIRECT | O_CLOEXEC)) != 0) return -EINVAL;
    return result_of(::pipe2(ends.data(), flags | O_CLOEXEC));
}

// Blocking: a read in the ring must wait, not say EAGAIN.
int RealRing::open_watcher() { return result_of(::inotify_init1(IN_CLOEXEC)); }

int RealRing::add_watch(int watcher, int path_fd, std::uint32_t mask) {
    // The link leads to the open file itself, so it is followed whatever that is.
    std::array<char, 32> path{};
    std::snprintf(path.data(), path.size(), "/proc/self/fd/%d", path_fd);
    return result_of(::inotify_add_watch(watcher, path.data(), mask & ~std::uint32_t{IN_DONT_FOLLOW}));
}

int RealRing::remove_watch(int watcher, int watch) { return result_of(::inotify_rm_watch(watcher, watch)); }

int RealRing::open_process(int pid) { return result_of(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

int RealRing::process_status(int process, umbel_process_status& status) {
    siginfo_t info{};
    if (::waitid(P_PIDFD, static_cast<id_t>(process), &info, WEXITED | WNOHANG) < 0) return -errno;
    if (info.si_pid == 0) return 0;
    status = {info.si_code, info.si_status, info.si_pid, info.si_uid};
    return 1;
}

int RealRing::open_signals(std::uint64_t signals) {
    sigset_t wanted;
    sigset_t blocked;
    sigemptyset(&wanted);
    (void)::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    for (int signal = 1; signal <= 64; ++signal) {
        if ((signals >> (signal - 1) & 1) == 0) continue;
        if (::sigismember(&blocked, signal) != 1) return -EPERM;
        sigaddset(&wanted, signal);
    }
    constexpr timespec no_time{};
    constexpr int most_pending = 4096;  // Bounded: someone may go on sending.
    for (int i = 0; i < most_pending && ::sigtimedwait(&wanted, nullptr, &no_time) > 0; ++i) {
    }
    return result_of(::signalfd(-1, &wanted, SFD_CLOEXEC));
}

void RealRing::wake() {
    const std::uint64_t one = 1;
    // Cannot block: the counter would have to reach 2^64 - 1. A full write is the only outcome.
    while (::write(wake_fd_, &one, sizeof one) < 0) CHECK(errno == EINTR);
}

int RealRing::register_buffer_ring(const BufferRing& buffers) {
    if (!features_.has(RingFeature::buffer_rings)) return -EINVAL;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(buffers.memory());
    registration.ring_entries = buffers.entries();
    registration.bgid = buffers.group();
    return io_uring_register_buf_ring(&ring_, &registration, 0);
}

int RealRing::unregister_buffer_ring(std::uint16_t group) { return io_uring_unregister_buf_ring(&ring_, group); }

}  // namespace umbel::rt
