// Specification of the operations, one by one, on the kernel that runs the tests: what goes in, what comes out, and that
// nothing is left over: no span, no credit, no descriptor.                            (docs/operations.md, abi.h)
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/signals.h"
#include "runtime/io/completion.h"
#include "runtime/io/real_ring.h"
#include "runtime/io/submission.h"

namespace umbel::rt {
namespace {

using std::chrono::milliseconds;

// The independent witness of what the process has open.
std::size_t open_descriptors() {
    std::size_t count = 0;
    DIR* folder = opendir("/proc/self/fd");
    while (readdir(folder) != nullptr) ++count;
    closedir(folder);
    return count;
}

struct Told {
    std::int64_t result = 0;
    umbel_buffer buffer{};
};

constexpr std::size_t heap_bytes = 4 << 20;
constexpr std::uint64_t actor = 77;

// What an executor is to Submission and Completion, on a real ring.
class Desk {
public:
    explicit Desk(const RingOptions& options = {})
        : ring(std::move(*RealRing::create(options))),
          timers(ring->clock().now()),
          descriptors(4096),
          submission(*ring, timers, descriptors),
          completion(submission),
          memory_(new(std::align_val_t{4096}) std::byte[heap_bytes]),
          owner(memory_, Bytes{heap_bytes}) {
        owner.actor = actor;
        owner.completions_limit = 300;
    }
    ~Desk() {
        ring.reset();
        ::operator delete[](memory_, std::align_val_t{4096});
    }
    Desk(const Desk&) = delete;
    Desk& operator=(const Desk&) = delete;

    Submission::Verdict submit(const umbel_operation& operation, umbel_pending* pending = nullptr) {
        umbel_pending ignored = 0;
        return submission.submit(owner, {&operation, 1}, pending == nullptr ? &ignored : pending, ring->clock().now());
    }
    umbel_pending start(const umbel_operation& operation) {
        umbel_pending pending = 0;
        const Submission::Verdict verdict = submit(operation, &pending);
        EXPECT_EQ(verdict.outcome, Submission::Outcome::submitted) << verdict.error;
        return pending;
    }
    void turn(Nanoseconds most = milliseconds(20)) {
        (void)ring->enter(1, most);
        completion.reap(
            UINT_MAX,
            [this](Operation& operation, const CompletionMessage& message) { unread.push_back({&operation, message}); },
            [this](OperationOwner& dead) {
                submission.bury(dead);
                buried = true;
            });
        timers.expire(ring->clock().now(),
                      [this](Timer& timer) { submission.expired(static_cast<Operation&>(timer)); });
        submission.catch_up();
        std::array<OperationOwner*, 1> owners{&owner};
        submission.check_invariants(owners);
        owner.io_heap.check_invariants();
    }
    // The next completion; its buffer is the caller's.
    Told take() {
        for (int i = 0; i < 500 && unread.empty(); ++i) turn();
        EXPECT_FALSE(unread.empty()) << "nothing came";
        if (unread.empty()) return {};
        const auto [operation, came] = unread.front();
        unread.erase(unread.begin());
        umbel_message message{};
        message.result = came.result;
        message.buffer = came.buffer;
        submission.take(*operation, message);
        return {message.result, message.buffer};
    }
    Told result_of(const umbel_operation& operation) {
        start(operation);
        return take();
    }
    std::int64_t number_of(const umbel_operation& operation) {
        Told told = result_of(operation);
        submission.release(owner, told.buffer);
        return told.result;
    }
    // A buffer of the actor's with this text, as a read would have brought it.
    umbel_buffer buffer_with(std::string_view text) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
        umbel_operation read{};
        read.code = UMBEL_OP_READ;
        read.fd = ends[0];
        read.length = static_cast<std::uint32_t>(text.size());
        read.offset = UMBEL_AT_POSITION;
        const Told told = result_of(read);
        EXPECT_EQ(told.result, static_cast<std::int64_t>(text.size()));
        ::close(ends[0]);
        ::close(ends[1]);
        return told.buffer;
    }
    // Cancels everything; the result of what was in flight, which is one operation.
    std::int64_t cancelled() {
        umbel_operation all{};
        all.code = UMBEL_OP_CANCEL_ALL;
        all.fd = -1;
        all.flags = UMBEL_OP_DETACHED;
        start(all);
        return take().result;
    }
    void release(Told& told) { submission.release(owner, told.buffer); }
    void close_owned() {
        owner.descriptors.take_all(descriptors, actor, [](int fd) { ::close(fd); });
    }
    void expect_untouched() {
        EXPECT_EQ(owner.io_heap.live_spans(), 0u);
        EXPECT_EQ(owner.in_flight, 0u);
        EXPECT_EQ(owner.completions_reserved, 0u);
        EXPECT_EQ(submission.credits().used(), 0u);
    }

    std::unique_ptr<RealRing> ring;
    TimerWheel timers;
    DescriptorTable descriptors;
    Submission submission;
    Completion completion;

private:
    std::byte* memory_;

public:
    OperationOwner owner;
    struct Unread {
        Operation* operation;
        CompletionMessage message;
    };
    std::vector<Unread> unread;
    bool buried = false;
};

umbel_operation of(std::uint16_t code, int fd = -1) {
    umbel_operation operation{};
    operation.code = code;
    operation.fd = fd;
    return operation;
}

umbel_slice slice_of(std::string_view text) { return {text.data(), text.size()}; }

std::string_view text_of(const umbel_buffer& buffer) {
    return {reinterpret_cast<const char*>(buffer.data), buffer.size};
}

// A folder that is gone afterwards, with what is in it, and the descriptors of everything counted.
class Operations : public testing::Test {
protected:
    Operations() {
        std::array<char, 64> name{"/tmp/umbel-operations-XXXXXX"};
        path = mkdtemp(name.data());
        folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        before_ = open_descriptors();
        desk = std::make_unique<Desk>();
    }
    ~Operations() override {
        desk->expect_untouched();
        desk.reset();
        EXPECT_EQ(open_descriptors(), before_) << "a descriptor has leaked";
        ::close(folder);
        (void)std::system(("rm -rf " + path).c_str());  // NOLINT(cert-env33-c): a folder of our own
    }
    int file(const std::string& name, std::string_view text = "") {
        const int fd = ::open((path + "/" + name).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        EXPECT_GE(fd, 0);
        EXPECT_EQ(::write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
        return fd;
    }
    [[nodiscard]] std::string content(const std::string& name) const {
        std::string text(1 << 16, '\0');
        const int fd = ::open((path + "/" + name).c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0) return "(none)";
        const ssize_t got = ::read(fd, text.data(), text.size());
        ::close(fd);
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }
    [[nodiscard]] bool there(const std::string& name) const {
        struct stat status{};
        return ::lstat((path + "/" + name).c_str(), &status) == 0;
    }
    // An operation on one or two paths in the folder.
    std::int64_t with_paths(umbel_operation operation, std::string_view first, std::string_view second = {}) {
        const std::array<umbel_slice, 2> slices{slice_of(first), slice_of(second)};
        operation.slices = slices.data();
        operation.slice_count = second.data() == nullptr ? 1 : 2;
        return desk->number_of(operation);
    }

    std::string path;
    int folder = -1;
    std::unique_ptr<Desk> desk;

private:
    std::size_t before_ = 0;
};

// ---- Names ---------------------------------------------------------------------------------------------------------

// Spec.   mkdirat, renameat2, linkat, symlinkat and unlinkat do what their system calls do, relative to a directory, and
//         say -errno when they cannot.
TEST_F(Operations, ChangeNames) {
    umbel_operation make = of(UMBEL_OP_MKDIRAT, folder);
    make.arg2 = 0755;
    EXPECT_EQ(with_paths(make, "sub"), 0);
    EXPECT_EQ(with_paths(make, "sub"), -EEXIST);
    ::close(file("one", "text"));
    umbel_operation rename = of(UMBEL_OP_RENAMEAT2, folder);
    rename.arg = static_cast<std::uint32_t>(folder);
    EXPECT_EQ(with_paths(rename, "one", "sub/two"), 0);
    EXPECT_EQ(with_paths(rename, "one", "sub/two"), -ENOENT);
    EXPECT_EQ(content("sub/two"), "text");
    umbel_operation link = of(UMBEL_OP_LINKAT, folder);
    link.arg = static_cast<std::uint32_t>(folder);
    EXPECT_EQ(with_paths(link, "sub/two", "three"), 0);
    EXPECT_EQ(content("three"), "text");
    rename.arg2 = RENAME_NOREPLACE;
    EXPECT_EQ(with_paths(rename, "three", "sub/two"), -EEXIST);
    EXPECT_EQ(with_paths(of(UMBEL_OP_SYMLINKAT, folder), "sub/two", "four"), 0);
    EXPECT_EQ(content("four"), "text");
    umbel_operation unlink = of(UMBEL_OP_UNLINKAT, folder);
    EXPECT_EQ(with_paths(unlink, "four"), 0);
    EXPECT_FALSE(there("four"));
    EXPECT_EQ(content("sub/two"), "text");
    EXPECT_EQ(with_paths(unlink, "sub"), -EISDIR);
    EXPECT_EQ(with_paths(unlink, "sub/two"), 0);
    unlink.arg = AT_REMOVEDIR;
    EXPECT_EQ(with_paths(unlink, "sub"), 0);
    EXPECT_FALSE(there("sub"));
}

// Spec.   A path that is empty, too long, holds a NUL, or is missing of two, is refused before anything is submitted.
TEST_F(Operations, RefuseBadPaths) {
    const auto refusal = [&](umbel_operation operation, std::vector<std::string_view> paths) {
        std::vector<umbel_slice> slices;
        for (const std::string_view each : paths) slices.push_back(slice_of(each));
        operation.slices = slices.data();
        operation.slice_count = static_cast<std::uint32_t>(slices.size());
        const Submission::Verdict verdict = desk->submit(operation);
        EXPECT_EQ(verdict.outcome, Submission::Outcome::failed);
        return verdict.error;
    };
    const std::string longest(4096, 'x');
    using namespace std::string_view_literals;
    EXPECT_EQ(refusal(of(UMBEL_OP_UNLINKAT, folder), {""}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_UNLINKAT, folder), {"a\0b"sv}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_OPENAT2, folder), {"a\0b"sv}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_STATX, folder), {"a\0b"sv}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_MKDIRAT, folder), {longest}), -ENAMETOOLONG);
    EXPECT_EQ(refusal(of(UMBEL_OP_RENAMEAT2, folder), {"a"}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_RENAMEAT2, folder), {"a", "b", "c"}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_LINKAT, folder), {"", "b"}), UMBEL_E_INVALID);
    EXPECT_EQ(refusal(of(UMBEL_OP_SYMLINKAT, folder), {"a", longest}), -ENAMETOOLONG);
}

// ---- Files ---------------------------------------------------------------------------------------------------------

// Spec.   fallocate, ftruncate and fdatasync; a length of more than 32 bits comes in two halves.
TEST_F(Operations, ChangeSizes) {
    const int fd = file("sized", "0123456789");
    umbel_operation truncate = of(UMBEL_OP_FTRUNCATE, fd);
    truncate.offset = 4;
    if (desk->ring->features().supports(op_ftruncate)) {
        EXPECT_EQ(desk->number_of(truncate), 0);
        EXPECT_EQ(content("sized"), "0123");
    } else {
        EXPECT_EQ(desk->submit(truncate).error, UMBEL_E_UNSUPPORTED);
        EXPECT_EQ(::ftruncate(fd, 4), 0);
    }
    umbel_operation allocate = of(UMBEL_OP_FALLOCATE, fd);
    allocate.offset = 4;
    allocate.length = 96;
    EXPECT_EQ(desk->number_of(allocate), 0);
    struct stat status{};
    ::fstat(fd, &status);
    EXPECT_EQ(status.st_size, 100);
    allocate.arg = FALLOC_FL_KEEP_SIZE;
    allocate.arg2 = 1u << 31;  // 2^63 bytes and more
    EXPECT_LT(desk->number_of(allocate), 0);
    umbel_operation sync = of(UMBEL_OP_FSYNC, fd);
    sync.arg = 1;
    EXPECT_EQ(desk->number_of(sync), 0);
    ::close(fd);
    truncate.fd = allocate.fd = fd;
    EXPECT_EQ(desk->number_of(allocate), -EBADF);
}

// Spec.   READV fills fresh buffers and memory of the actor, in order; the vector holds what is fresh, with how much of it
//         was filled. Releasing the vector releases what nobody took.
TEST_F(Operations, ReadIntoPieces) {
    const int fd = file("pieces", "abcdefghijklmnop");
    std::array<char, 4> mine{};
    const std::array<umbel_slice, 4> slices{{{nullptr, 3}, {mine.data(), mine.size()}, {nullptr, 100}, {nullptr, 5}}};
    umbel_operation read = of(UMBEL_OP_READV, fd);
    read.slices = slices.data();
    read.slice_count = slices.size();
    Told told = desk->result_of(read);
    EXPECT_EQ(told.result, 16);
    ASSERT_EQ(umbel_vector_size(&told.buffer), 4u);
    umbel_buffer* pieces = umbel_vector(&told.buffer);
    EXPECT_EQ(text_of(pieces[0]), "abc");
    EXPECT_EQ(std::string_view(mine.data(), mine.size()), "defg");
    EXPECT_EQ(pieces[1].data, nullptr);
    EXPECT_EQ(text_of(pieces[2]), "hijklmnop");
    EXPECT_EQ(pieces[3].size, 0u);
    umbel_buffer taken = std::exchange(pieces[0], {});
    desk->release(told);
    EXPECT_EQ(desk->owner.io_heap.live_spans(), 1u);
    EXPECT_EQ(text_of(taken), "abc");
    desk->submission.release(desk->owner, taken);

    // Into memory only: no vector. At the end of the file: nothing.
    read.slices = &slices[1];
    read.slice_count = 1;
    read.offset = 12;
    told = desk->result_of(read);
    EXPECT_EQ(told.result, 4);
    EXPECT_EQ(told.buffer.data, nullptr);
    EXPECT_EQ(std::string_view(mine.data(), mine.size()), "mnop");
    read.offset = 16;
    EXPECT_EQ(desk->number_of(read), 0);
    ::close(fd);
    EXPECT_EQ(desk->number_of(read), -EBADF);
}

// Spec.   Buffers of the actor go to the kernel as they are: WRITEV writes the data first, then them, and frees them, or
//         brings them back as a vector (KEEP). READV into them brings them back whatever the result.
TEST_F(Operations, WritePieces) {
    const int fd = file("written");
    std::array<umbel_buffer, 2> buffers{desk->buffer_with("second "), desk->buffer_with("third")};
    const umbel_slice head = slice_of("first ");
    umbel_operation write = of(UMBEL_OP_WRITEV, fd);
    write.slices = &head;
    write.slice_count = 1;
    write.buffer = buffers.data();
    write.length = 2;
    write.flags = UMBEL_OP_KEEP;
    Told told = desk->result_of(write);
    EXPECT_EQ(told.result, 18);
    EXPECT_EQ(content("written"), "first second third");
    EXPECT_EQ(buffers[0].data, nullptr);
    EXPECT_EQ(buffers[1].data, nullptr);
    ASSERT_EQ(umbel_vector_size(&told.buffer), 2u);
    buffers = {std::exchange(umbel_vector(&told.buffer)[0], {}), std::exchange(umbel_vector(&told.buffer)[1], {})};
    EXPECT_EQ(text_of(buffers[1]), "third");
    desk->release(told);

    umbel_operation read = of(UMBEL_OP_READV, fd);
    read.buffer = buffers.data();
    read.length = 2;
    told = desk->result_of(read);
    EXPECT_EQ(told.result, 18);
    EXPECT_EQ(text_of(umbel_vector(&told.buffer)[0]), "first second third");
    desk->release(told);

    buffers = {desk->buffer_with("x"), desk->buffer_with("y")};
    write.flags = 0;
    EXPECT_EQ(desk->number_of(write), 8);
    EXPECT_EQ(desk->owner.io_heap.live_spans(), 0u);
    umbel_operation copied = of(UMBEL_OP_WRITEV, fd);
    copied.slices = &head;
    copied.slice_count = 1;
    EXPECT_EQ(desk->number_of(copied), 6);
    EXPECT_EQ(desk->number_of(of(UMBEL_OP_WRITEV, fd)), 0);
    ::close(fd);
}

// Spec.   What is wrong with pieces is refused, and the author has its buffers still.
TEST_F(Operations, RefuseBadPieces) {
    const int fd = file("refused");
    std::array<umbel_buffer, 2> buffers{desk->buffer_with("a"), {}};
    umbel_operation write = of(UMBEL_OP_WRITEV, fd);
    write.buffer = buffers.data();
    write.length = 2;
    EXPECT_EQ(desk->submit(write).error, UMBEL_E_INVALID) << "an empty place";
    buffers[1] = buffers[0];
    EXPECT_EQ(desk->submit(write).error, UMBEL_E_INVALID) << "the same buffer twice";
    write.length = UMBEL_VECTOR_MAX + 1;
    EXPECT_EQ(desk->submit(write).error, UMBEL_E_INVALID);
    write.buffer = nullptr;
    EXPECT_EQ(desk->submit(write).error, UMBEL_E_INVALID);
    umbel_operation read = of(UMBEL_OP_READV, fd);
    EXPECT_EQ(desk->submit(read).error, UMBEL_E_INVALID) << "no pieces";
    std::vector<umbel_slice> slices(3, umbel_slice{nullptr, UMBEL_BUFFER_MAX});
    read.slices = slices.data();
    read.slice_count = 3;
    EXPECT_EQ(desk->submit(read).error, UMBEL_E_IO_HEAP_FULL);
    EXPECT_EQ(desk->owner.io_heap.live_spans(), 1u) << "what was made for the refused one is freed";
    EXPECT_EQ(text_of(buffers[0]), "a");
    // A vector is not data.
    const umbel_slice piece{nullptr, 8};
    read.slices = &piece;
    read.slice_count = 1;
    Told told = desk->result_of(read);
    umbel_operation send = of(UMBEL_OP_SEND, fd);
    send.buffer = &told.buffer;
    EXPECT_EQ(desk->submit(send).error, UMBEL_E_INVALID);
    desk->release(told);
    desk->submission.release(desk->owner, buffers[0]);
    ::close(fd);
}

// ---- Pipes ---------------------------------------------------------------------------------------------------------

// Spec.   splice moves bytes between a file and a pipe at an offset of the file, and says 0 at the end.
TEST_F(Operations, Splice) {
    const int from = file("from", "abcdefgh");
    const int to = file("to", "........");
    std::array<int, 2> ends{};
    ASSERT_EQ(desk->ring->make_pipe(0, ends), 0);
    EXPECT_NE(::fcntl(ends[0], F_GETFD) & FD_CLOEXEC, 0);
    umbel_operation splice = of(UMBEL_OP_SPLICE, from);
    splice.arg = static_cast<std::uint32_t>(ends[1]);
    splice.length = 100;
    splice.offset = 2;
    EXPECT_EQ(desk->number_of(splice), 6);
    splice = of(UMBEL_OP_SPLICE, ends[0]);
    splice.arg = static_cast<std::uint32_t>(to);
    splice.arg2 = UMBEL_SPLICE_OFFSET_OUT;
    splice.length = 4;
    splice.offset = 1;
    EXPECT_EQ(desk->number_of(splice), 4);
    EXPECT_EQ(content("to"), ".cdef...");
    splice.offset = UMBEL_AT_POSITION;
    EXPECT_EQ(desk->number_of(splice), 2) << "what was there";
    splice.arg2 |= SPLICE_F_NONBLOCK;
    EXPECT_EQ(desk->number_of(splice), -EAGAIN);
    ::close(ends[1]);
    EXPECT_EQ(desk->number_of(splice), 0);
    splice.fd = from;
    EXPECT_EQ(desk->number_of(splice), -EINVAL) << "two files";
    ::close(ends[0]);
    ::close(from);
    ::close(to);
}

// Spec.   A splice that waits is ended by a cancel, by the close of either end, and by its actor's end.
TEST_F(Operations, ASpliceThatWaitsCanBeEnded) {
    std::array<int, 2> ends{};
    ASSERT_EQ(desk->ring->make_pipe(0, ends), 0);
    const int to = file("to");
    umbel_operation splice = of(UMBEL_OP_SPLICE, ends[0]);
    splice.arg = static_cast<std::uint32_t>(to);
    splice.length = 100;
    splice.offset = UMBEL_AT_POSITION;
    desk->start(splice);
    for (int i = 0; i < 5; ++i) desk->turn();
    EXPECT_TRUE(desk->unread.empty());
    EXPECT_EQ(desk->cancelled(), -ECANCELED);

    splice.deadline_ns = 30'000'000;
    EXPECT_EQ(desk->number_of(splice), UMBEL_E_DEADLINE);

    splice.deadline_ns = 0;
    desk->start(splice);
    for (int i = 0; i < 3; ++i) desk->turn();
    umbel_operation close = of(UMBEL_OP_CLOSE, to);
    close.flags = UMBEL_OP_DETACHED;
    desk->start(close);
    EXPECT_EQ(desk->take().result, -ECANCELED);

    splice.arg = static_cast<std::uint32_t>(file("other"));
    desk->start(splice);
    for (int i = 0; i < 3; ++i) desk->turn();
    desk->submission.end(desk->owner);
    for (int i = 0; i < 200 && !desk->buried; ++i) desk->turn();
    EXPECT_TRUE(desk->buried);
    ::close(static_cast<int>(splice.arg));
    ::close(ends[0]);
    ::close(ends[1]);
}

// ---- Messages ------------------------------------------------------------------------------------------------------

struct Pair {
    explicit Pair(int type) { EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, end.data()), 0); }
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;
    ~Pair() {
        for (const int fd : end) ::close(fd);
    }
    std::array<int, 2> end{};
};

umbel_operation receive_from(int fd, std::uint32_t length = 100, std::uint32_t descriptors = 0) {
    umbel_operation receive = of(UMBEL_OP_RECVMSG, fd);
    receive.length = length;
    receive.arg2 = descriptors;
    return receive;
}

struct Message {
    Message(int fd, std::string_view text, std::vector<std::int32_t> passed = {}, std::span<const std::byte> to = {})
        : descriptors(std::move(passed)),
          slices{{{to.data(), to.size()}, {descriptors.data(), 4 * descriptors.size()}, {text.data(), text.size()}}} {
        operation = of(UMBEL_OP_SENDMSG, fd);
        operation.slices = slices.data();
        operation.slice_count = 3;
    }
    std::vector<std::int32_t> descriptors;
    std::array<umbel_slice, 3> slices;
    umbel_operation operation;
};

std::string_view payload_of(const Told& told) {
    const umbel_datagram& received = *datagram_of(told.buffer);
    return {reinterpret_cast<const char*>(told.buffer.data) + received.payload_offset, received.payload_size};
}

sockaddr_in loopback(int fd) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    return address;
}

// Spec.   UDP: a datagram goes to the address it is given, arrives with its sender's, and goes back without a copy; one that
//         is longer than the room says so; an empty one is one.
TEST_F(Operations, ExchangeDatagrams) {
    const int here = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int there = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const sockaddr_in from = loopback(here);
    const sockaddr_in to = loopback(there);
    const Message hello(here, "hello", {}, std::as_bytes(std::span(&to, 1)));
    EXPECT_EQ(desk->number_of(hello.operation), 5);
    Told told = desk->result_of(receive_from(there));
    EXPECT_EQ(told.result, 5);
    EXPECT_EQ(payload_of(told), "hello");
    const umbel_datagram& received = *datagram_of(told.buffer);
    ASSERT_EQ(received.address_size, sizeof from);
    EXPECT_EQ(std::memcmp(received.address, &from, sizeof from), 0);
    EXPECT_EQ(received.flags, 0u);
    EXPECT_EQ(received.descriptor_count, 0u);

    // Back: the same span, from its payload on.
    const umbel_datagram header = received;
    const std::array<umbel_slice, 2> address{{{header.address, header.address_size}, {}}};
    umbel_operation back = of(UMBEL_OP_SENDMSG, there);
    back.slices = address.data();
    back.slice_count = 2;
    back.buffer = &told.buffer;
    back.length = 1;
    back.offset = header.payload_offset;
    EXPECT_EQ(desk->number_of(back), 5);
    told = desk->result_of(receive_from(here, 3));
    EXPECT_EQ(told.result, 3);
    EXPECT_EQ(payload_of(told), "hel");
    EXPECT_NE(datagram_of(told.buffer)->flags & MSG_TRUNC, 0u);
    desk->release(told);

    const Message empty(here, "", {}, std::as_bytes(std::span(&to, 1)));
    EXPECT_EQ(desk->number_of(empty.operation), 0);
    told = desk->result_of(receive_from(there));
    EXPECT_EQ(told.result, 0);
    EXPECT_EQ(datagram_of(told.buffer)->address_size, sizeof from);
    desk->release(told);

    const Message nowhere(here, "lost");
    EXPECT_EQ(desk->number_of(nowhere.operation), -EDESTADDRREQ);
    ::close(here);
    ::close(there);
}

// Spec.   Descriptors that come are the receiver's, with O_CLOEXEC; the sender may close its own as soon as it has submitted.
TEST_F(Operations, PassDescriptors) {
    const Pair pair(SOCK_STREAM);
    const int passed = file("passed", "content");
    const Message message(pair.end[0], "take this", {passed, passed});
    desk->start(message.operation);
    ::close(passed);  // Before the kernel has seen the entry.
    EXPECT_EQ(desk->take().result, 9);
    Told told = desk->result_of(receive_from(pair.end[1], 100, 4));
    EXPECT_EQ(payload_of(told), "take this");
    const umbel_datagram received = *datagram_of(told.buffer);
    ASSERT_EQ(received.descriptor_count, 2u);
    EXPECT_EQ(received.flags & MSG_CTRUNC, 0u);
    for (std::uint32_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(desk->descriptors.owned_by(received.descriptors[i], actor));
        EXPECT_NE(::fcntl(received.descriptors[i], F_GETFD) & FD_CLOEXEC, 0);
        std::array<char, 8> text{};
        EXPECT_EQ(::pread(received.descriptors[i], text.data(), text.size(), 0), 7);
    }
    desk->release(told);
    desk->close_owned();
}

// Spec.   What is more than was welcome is closed, and the message says so.
TEST_F(Operations, CloseDescriptorsThatAreNotWelcome) {
    const Pair pair(SOCK_STREAM);
    const int passed = file("passed");
    const Message message(pair.end[0], "x", {passed, passed, passed});
    for (const std::uint32_t welcome : {0u, 1u, 2u}) {
        EXPECT_EQ(desk->number_of(message.operation), 1);
        Told told = desk->result_of(receive_from(pair.end[1], 100, welcome));
        EXPECT_EQ(datagram_of(told.buffer)->descriptor_count, welcome);
        EXPECT_NE(datagram_of(told.buffer)->flags & MSG_CTRUNC, 0u);
        desk->release(told);
        desk->close_owned();
    }
    ::close(passed);
}

// Spec.   A descriptor that comes for nobody is closed: its receive was forgotten before or after it was there, was
//         detached, or its actor is dead.                                                                    (C2)
TEST_F(Operations, CloseDescriptorsThatNobodyTakes) {
    const Pair pair(SOCK_SEQPACKET);
    const int passed = file("passed");
    const Message message(pair.end[0], "x", {passed, passed});

    EXPECT_EQ(desk->number_of(message.operation), 1);
    desk->start(receive_from(pair.end[1], 100, 2));
    while (desk->unread.empty()) desk->turn();
    desk->submission.forget(*desk->unread[0].operation);
    desk->submission.drop(*desk->unread[0].operation, desk->unread[0].message);
    desk->unread.clear();
    desk->expect_untouched();

    EXPECT_EQ(desk->number_of(message.operation), 1);
    umbel_operation detached = receive_from(pair.end[1], 100, 2);
    detached.flags = UMBEL_OP_DETACHED;
    desk->start(detached);
    while (desk->owner.in_flight != 0) desk->turn();

    EXPECT_EQ(desk->number_of(message.operation), 1);
    desk->start(receive_from(pair.end[1], 100, 2));
    (void)desk->ring->enter(0, Nanoseconds(0));  // It has come, and nobody has looked.
    desk->submission.end(desk->owner);
    for (int i = 0; i < 200 && !desk->buried; ++i) desk->turn();
    EXPECT_TRUE(desk->buried);
    ::close(passed);
}

// Spec.   A message that cannot be sent leaves nothing: a descriptor that is none, a peer that is gone, bad arguments.
TEST_F(Operations, RefuseBadMessages) {
    const Pair pair(SOCK_STREAM);
    const int passed = file("passed");
    const Message bad(pair.end[0], "x", {passed, 999});
    EXPECT_EQ(desk->submit(bad.operation).error, -EBADF);
    umbel_operation one = bad.operation;
    one.slice_count = 1;
    EXPECT_EQ(desk->submit(one).error, UMBEL_E_INVALID);
    Message odd(pair.end[0], "x", {passed});
    odd.slices[1].size = 3;
    EXPECT_EQ(desk->submit(odd.operation).error, UMBEL_E_INVALID);
    const Message many(pair.end[0], "x", std::vector<std::int32_t>(UMBEL_DESCRIPTORS_MAX + 1, passed));
    EXPECT_EQ(desk->submit(many.operation).error, UMBEL_E_INVALID);
    EXPECT_EQ(desk->submit(receive_from(pair.end[1], 0)).error, UMBEL_E_INVALID);
    EXPECT_EQ(desk->submit(receive_from(pair.end[1], 8, UMBEL_DESCRIPTORS_MAX + 1)).error, UMBEL_E_INVALID);
    umbel_operation whole = receive_from(pair.end[1], 8, 1);
    whole.arg = MSG_WAITALL;
    EXPECT_EQ(desk->submit(whole).error, UMBEL_E_INVALID);
    ::shutdown(pair.end[1], SHUT_RDWR);
    const Message good(pair.end[0], "x", {passed});
    EXPECT_EQ(desk->number_of(good.operation), -EPIPE);
    ::close(passed);
}

// Spec.   A SENDMSG sends its data and then several buffers as one, all of it, through a socket that has less room than that.
TEST_F(Operations, SendPiecesWhole) {
    const Pair pair(SOCK_STREAM);
    constexpr int small = 4096;
    ::setsockopt(pair.end[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    const std::string long_text(60'000, 'b');
    std::array<umbel_buffer, 2> buffers{desk->buffer_with(long_text), desk->buffer_with("c")};
    Message message(pair.end[0], "a");
    message.operation.buffer = buffers.data();
    message.operation.length = 2;
    message.operation.offset = 10;
    desk->start(message.operation);
    std::string got;
    while (desk->unread.empty()) {
        std::array<char, 4096> part{};
        const ssize_t count = ::recv(pair.end[1], part.data(), part.size(), MSG_DONTWAIT);
        if (count > 0) got.append(part.data(), static_cast<std::size_t>(count));
        desk->turn(milliseconds(1));
    }
    EXPECT_EQ(desk->take().result, 59'992);
    for (;;) {
        std::array<char, 4096> part{};
        const ssize_t count = ::recv(pair.end[1], part.data(), part.size(), MSG_DONTWAIT);
        if (count <= 0) break;
        got.append(part.data(), static_cast<std::size_t>(count));
    }
    EXPECT_EQ(got, "a" + long_text.substr(10) + "c");
}

// ---- What is read or polled ------------------------------------------------------------------------------------------

// Spec.   A watch is added for what a descriptor refers to; its events are read with READ, which waits for them.
TEST_F(Operations, WatchFiles) {
    const int watcher = desk->ring->open_watcher();
    ASSERT_GE(watcher, 0);
    const int place = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    const int watch = desk->ring->add_watch(watcher, place, IN_CREATE | IN_DELETE | IN_DONT_FOLLOW);
    ASSERT_GE(watch, 0);
    ::close(place);
    umbel_operation read = of(UMBEL_OP_READ, watcher);
    read.length = 4096;
    read.offset = UMBEL_AT_POSITION;
    desk->start(read);
    for (int i = 0; i < 3; ++i) desk->turn();
    EXPECT_TRUE(desk->unread.empty());
    ::close(file("new"));
    Told told = desk->take();
    ASSERT_GE(told.result, static_cast<std::int64_t>(sizeof(inotify_event)));
    const auto& event = *reinterpret_cast<const inotify_event*>(told.buffer.data);
    EXPECT_EQ(event.wd, watch);
    EXPECT_EQ(event.mask, static_cast<std::uint32_t>(IN_CREATE));
    EXPECT_STREQ(reinterpret_cast<const char*>(told.buffer.data) + sizeof event, "new");
    desk->release(told);
    EXPECT_EQ(desk->ring->remove_watch(watcher, watch), 0);
    EXPECT_EQ(desk->ring->remove_watch(watcher, watch), -EINVAL);
    told = desk->result_of(read);
    EXPECT_EQ(reinterpret_cast<const inotify_event*>(told.buffer.data)->mask, static_cast<std::uint32_t>(IN_IGNORED));
    desk->release(told);
    EXPECT_EQ(desk->ring->add_watch(watcher, 999, IN_CREATE), -ENOENT);
    // Cancelled while it waits.
    desk->start(read);
    for (int i = 0; i < 3; ++i) desk->turn();
    EXPECT_EQ(desk->cancelled(), -ECANCELED);
    ::close(watcher);
}

// Spec.   The end of a process is seen by a poll of its descriptor; its status is then to be had, once.
TEST_F(Operations, SeeAProcessEnd) {
    const Pair pair(SOCK_STREAM);
    const pid_t child = ::fork();
    if (child == 0) {
        char byte = 0;
        (void)!::read(pair.end[1], &byte, 1);
        ::_exit(42);
    }
    const int process = desk->ring->open_process(child);
    ASSERT_GE(process, 0);
    umbel_process_status status{};
    EXPECT_EQ(desk->ring->process_status(process, status), 0) << "it runs still";
    umbel_operation poll = of(UMBEL_OP_POLL, process);
    poll.arg = POLLIN;
    desk->start(poll);
    for (int i = 0; i < 3; ++i) desk->turn();
    EXPECT_TRUE(desk->unread.empty());
    ASSERT_EQ(::write(pair.end[0], "x", 1), 1);
    EXPECT_EQ(desk->take().result & POLLIN, POLLIN);
    EXPECT_EQ(desk->ring->process_status(process, status), 1);
    EXPECT_EQ(status.code, CLD_EXITED);
    EXPECT_EQ(status.status, 42);
    EXPECT_EQ(status.pid, child);
    EXPECT_EQ(desk->ring->process_status(process, status), -ECHILD);
    EXPECT_EQ(desk->ring->open_process(child), -ESRCH);
    ::close(process);
    const int stranger = desk->ring->open_process(1);
    if (stranger >= 0) {
        EXPECT_EQ(desk->ring->process_status(stranger, status), -ECHILD);
        ::close(stranger);
    }
}

// Spec.   Signals that are blocked are read from a descriptor, from its opening on; others are refused.
TEST_F(Operations, ReadSignals) {
    const int signal = SIGRTMIN + 3;
    EXPECT_EQ(desk->ring->open_signals(signal_bit(signal)), -EPERM) << "not blocked";
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
    ::kill(::getpid(), signal);
    ::kill(::getpid(), signal);
    const int signals = desk->ring->open_signals(signal_bit(signal));
    ASSERT_GE(signals, 0);
    umbel_operation read = of(UMBEL_OP_READ, signals);
    read.length = sizeof(signalfd_siginfo);
    read.offset = UMBEL_AT_POSITION;
    desk->start(read);
    for (int i = 0; i < 3; ++i) desk->turn();
    EXPECT_TRUE(desk->unread.empty()) << "what was sent before is dropped";
    const sigval value{.sival_int = 4711};
    ::sigqueue(::getpid(), signal, value);
    Told told = desk->take();
    ASSERT_EQ(told.result, static_cast<std::int64_t>(sizeof(signalfd_siginfo)));
    const auto& info = *reinterpret_cast<const signalfd_siginfo*>(told.buffer.data);
    EXPECT_EQ(info.ssi_signo, static_cast<std::uint32_t>(signal));
    EXPECT_EQ(info.ssi_int, 4711);
    EXPECT_EQ(info.ssi_pid, static_cast<std::uint32_t>(::getpid()));
    desk->release(told);
    ::close(signals);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

// ---- What a kernel lacks -----------------------------------------------------------------------------------------------

// Spec.   What this kernel cannot do, and nothing else can instead, is UMBEL_E_UNSUPPORTED, and so is a code of a newer runtime.
TEST_F(Operations, SayWhatIsUnsupported) {
    RingOptions options;
    options.without_opcodes.set();
    Desk old(options);
    const std::array<umbel_slice, 3> slices{slice_of("a"), slice_of("b"), slice_of("c")};
    const std::array<std::pair<std::uint16_t, std::uint32_t>, 12> codes{{{UMBEL_OP_SENDMSG, 0},
                                                                         {UMBEL_OP_RECVMSG, 0},
                                                                         {UMBEL_OP_SPLICE, 0},
                                                                         {UMBEL_OP_READV, 1},
                                                                         {UMBEL_OP_WRITEV, 1},
                                                                         {UMBEL_OP_FALLOCATE, 0},
                                                                         {UMBEL_OP_FTRUNCATE, 0},
                                                                         {UMBEL_OP_UNLINKAT, 1},
                                                                         {UMBEL_OP_RENAMEAT2, 2},
                                                                         {UMBEL_OP_MKDIRAT, 1},
                                                                         {UMBEL_OP_LINKAT, 2},
                                                                         {UMBEL_OP_SYMLINKAT, 2}}};
    for (const auto& [code, paths] : codes) {
        umbel_operation operation = of(code, folder);
        operation.slices = slices.data();
        operation.slice_count = paths;
        if (code == UMBEL_OP_RECVMSG) operation.length = 8;
        EXPECT_EQ(old.submit(operation).error, UMBEL_E_UNSUPPORTED) << code;
    }
    for (const unsigned code : {UMBEL_OP_COUNT + 0u, UMBEL_OP_COUNT + 1u, 65535u}) {
        EXPECT_EQ(desk->submit(of(static_cast<std::uint16_t>(code), folder)).error, UMBEL_E_UNSUPPORTED) << code;
    }
    old.expect_untouched();
}

}  // namespace
}  // namespace umbel::rt
