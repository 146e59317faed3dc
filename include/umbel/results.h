// results.h: what operations bring besides numbers, buffers and descriptors: datagrams, buffers in pieces, changes of files,
// signals, ends of processes. Part of the C++ SDK; include umbel.h.
//
// Why.    Each of these is bytes with a layout. Here they become values with owners, and bytes from outside are read with
//         bounds.
// Owner.  The actor that got them; what nobody takes out of them is freed or closed with them.
// Not here.  How one gets them: operation.h, self.h.
#pragma once

#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <csignal>
#include <initializer_list>
#include <iterator>

#include "umbel/types.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

/// An IPv4, IPv6 or other socket address.
struct endpoint {
    sockaddr_storage storage{};
    socklen_t size = 0;

    [[nodiscard]] std::span<const std::byte> bytes() const {
        return {reinterpret_cast<const std::byte*>(&storage), size};
    }
    [[nodiscard]] int domain() const { return storage.ss_family; }
    [[nodiscard]] std::uint16_t port() const {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(&storage);
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&storage);
        return ntohs(domain() == AF_INET6 ? v6->sin6_port : v4->sin_port);
    }
    /// "127.0.0.1:80" or "[::1]:80" in; nullopt if it is neither.
    [[nodiscard]] static std::optional<endpoint> parse(std::string_view text);
    /// The same out again.
    [[nodiscard]] std::string text() const;
};

// ---- Buffers in pieces -------------------------------------------------------------------------------------------------

/// Where a piece of a read goes.
struct piece : umbel_slice {
    /// Into a fresh buffer of up to `length` bytes.
    static piece fresh(std::size_t length) { return {{nullptr, length}}; }
    /// Into memory of the actor, which must stay there until the result has been received.
    static piece into(std::span<std::byte> memory) { return {{memory.data(), memory.size()}}; }
};
static_assert(sizeof(piece) == sizeof(umbel_slice), "an array of pieces is one of slices");

/// What a read in pieces brought: its fresh buffers, in order. Those that nobody takes are freed.
class buffers {
public:
    buffers() = default;
    buffers(umbel_self* owner, umbel_buffer vector, std::size_t total) : owner_(owner), raw_(vector), total_(total) {}
    buffers(buffers&& other) noexcept
        : owner_(other.owner_), raw_(std::exchange(other.raw_, {})), total_(other.total_) {}
    buffers& operator=(buffers&& other) noexcept {
        if (this != &other) {
            reset();
            owner_ = other.owner_;
            raw_ = std::exchange(other.raw_, {});
            total_ = other.total_;
        }
        return *this;
    }
    ~buffers() { reset(); }

    /// Bytes read, into all pieces.
    [[nodiscard]] std::size_t total() const { return total_; }
    /// Pieces: as many as were asked for, or 0 if none of them was a fresh buffer.
    [[nodiscard]] std::size_t size() const { return raw_.data == nullptr ? 0 : umbel_vector_size(&raw_); }
    /// The bytes of a fresh piece that has not been taken; of any other: none.
    [[nodiscard]] std::span<const std::byte> operator[](std::size_t index) const {
        const umbel_buffer& piece = umbel_vector(&raw_)[index];
        return {reinterpret_cast<const std::byte*>(piece.data), piece.size};
    }
    /// A fresh piece as a buffer of its own.
    [[nodiscard]] buffer take(std::size_t index) {
        return {owner_, std::exchange(umbel_vector(&raw_)[index], umbel_buffer{})};
    }
    void reset() {
        if (raw_.data != nullptr) umbel_release(owner_, &raw_);
    }

private:
    umbel_self* owner_ = nullptr;
    umbel_buffer raw_{};
    std::size_t total_ = 0;
};

/// Buffers that are written or sent together, without a copy. Those of an operation that was refused are still here.
class buffer_list {
public:
    buffer_list() = default;
    buffer_list(const buffer_list&) = delete;
    buffer_list& operator=(const buffer_list&) = delete;
    ~buffer_list() {
        for (std::uint32_t i = 0; i < count_; ++i) {
            if (raw_[i].data != nullptr) umbel_release(owner_, &raw_[i]);
        }
    }

    /// Adds one that is not empty, up to UMBEL_VECTOR_MAX. False: it is the caller's still.
    [[nodiscard]] bool add(self& me, buffer&& bytes);
    /// 0 once they have been handed to an operation, which empties their places.
    [[nodiscard]] std::uint32_t size() const { return raw_[0].data != nullptr ? count_ : 0; }
    [[nodiscard]] umbel_buffer* raw() { return raw_.data(); }

private:
    umbel_self* owner_ = nullptr;
    std::array<umbel_buffer, UMBEL_VECTOR_MAX> raw_{};
    std::uint32_t count_ = 0;
};

// ---- Messages of sockets -----------------------------------------------------------------------------------------------

/// A message as it was received: its bytes, who sent it, and descriptors that came with it. Those that nobody takes are
/// closed.
class datagram {
public:
    datagram() = default;
    datagram(umbel_self* owner, umbel_buffer raw) : owner_(owner), raw_(raw) {
        if (raw_.data != nullptr) std::memcpy(&header_, raw_.data, sizeof header_);
    }
    datagram(datagram&& other) noexcept
        : owner_(other.owner_), raw_(std::exchange(other.raw_, {})), header_(std::exchange(other.header_, {})) {}
    datagram& operator=(datagram&& other) noexcept {
        if (this != &other) {
            reset();
            owner_ = other.owner_;
            raw_ = std::exchange(other.raw_, {});
            header_ = std::exchange(other.header_, {});
        }
        return *this;
    }
    ~datagram() { reset(); }

    [[nodiscard]] std::span<const std::byte> payload() const {
        if (raw_.data == nullptr) return {};
        return {reinterpret_cast<const std::byte*>(raw_.data) + header_.payload_offset, header_.payload_size};
    }
    [[nodiscard]] std::string_view text() const {
        return {reinterpret_cast<const char*>(payload().data()), payload().size()};
    }
    [[nodiscard]] bool empty() const { return header_.payload_size == 0; }
    /// Who sent it; size 0 on a connected stream.
    [[nodiscard]] endpoint from() const {
        endpoint sender;
        sender.size = header_.address_size;
        std::memcpy(&sender.storage, header_.address, header_.address_size);
        return sender;
    }
    /// The message was longer than there was room for; the rest of it is lost.
    [[nodiscard]] bool truncated() const { return (header_.flags & static_cast<unsigned>(MSG_TRUNC)) != 0; }
    /// More descriptors came than were welcome; those are closed.
    [[nodiscard]] bool descriptors_lost() const { return (header_.flags & static_cast<unsigned>(MSG_CTRUNC)) != 0; }
    /// How many came with it, those taken included.
    [[nodiscard]] std::size_t descriptors() const { return header_.descriptor_count; }
    /// One of them, once: `take<umbel::file>(0)`.
    template <class Descriptor>
    [[nodiscard]] Descriptor take(std::size_t index) {
        if (index >= header_.descriptor_count) return {};
        return {owner_, std::exchange(header_.descriptors[index], -1)};
    }
    void reset() {
        for (std::uint32_t i = 0; i < header_.descriptor_count; ++i)
            descriptor<void>(owner_, header_.descriptors[i]).reset();
        header_ = {};
        if (raw_.data != nullptr) umbel_release(owner_, &raw_);
    }
    [[nodiscard]] umbel_buffer* raw() { return &raw_; }
    [[nodiscard]] std::uint32_t payload_offset() const { return header_.payload_offset; }

private:
    umbel_self* owner_ = nullptr;
    umbel_buffer raw_{};
    umbel_datagram header_{};  // a copy: what was taken is marked here
};

// ---- Pipes, watches, signals, processes ----------------------------------------------------------------------------------

/// The two ends of a pipe.
struct pipe {
    file reads;
    file writes;
};

using watcher = descriptor<struct watcher_kind>;
using signals = descriptor<struct signals_kind>;
using process = descriptor<struct process_kind>;

/// Something that happened to a file that is watched.
struct file_event {
    int watch = -1;            // What self::watch gave; -1 with IN_Q_OVERFLOW: events were lost.
    std::uint32_t mask = 0;    // IN_….
    std::uint32_t cookie = 0;  // Joins IN_MOVED_FROM and IN_MOVED_TO.
    std::string_view name;     // In the directory that is watched; empty: it is the watched file itself.
    [[nodiscard]] bool lost_some() const { return (mask & IN_Q_OVERFLOW) != 0; }
};

/// Takes the first event off `rest`; none if there is no whole one. Safe with any bytes.
[[nodiscard]] inline std::optional<file_event> next_file_event(std::span<const std::byte>& rest) {
    inotify_event raw{};
    if (rest.size() < sizeof raw) return std::nullopt;
    std::memcpy(&raw, rest.data(), sizeof raw);
    if (raw.len > rest.size() - sizeof raw) return std::nullopt;
    const std::string_view padded(reinterpret_cast<const char*>(rest.data() + sizeof raw), raw.len);
    rest = rest.subspan(sizeof raw + raw.len);
    return file_event{raw.wd, raw.mask, raw.cookie, padded.substr(0, std::min(padded.find('\0'), padded.size()))};
}

/// Some events, in order; `for (const file_event& event : events)`. Names are valid as long as this is.
class file_events {
public:
    file_events() = default;
    explicit file_events(buffer bytes) : bytes_(std::move(bytes)) {}

    class iterator {
    public:
        using value_type = file_event;
        using difference_type = std::ptrdiff_t;
        iterator() = default;
        explicit iterator(std::span<const std::byte> rest) : rest_(rest) { ++*this; }
        const file_event& operator*() const { return *event_; }
        const file_event* operator->() const { return &*event_; }
        iterator& operator++() {
            event_ = next_file_event(rest_);
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return !event_.has_value(); }

    private:
        std::span<const std::byte> rest_;
        std::optional<file_event> event_;
    };
    [[nodiscard]] iterator begin() const { return iterator(bytes_.bytes()); }
    [[nodiscard]] static std::default_sentinel_t end() { return {}; }

private:
    buffer bytes_;
};

/// A signal that has come.
struct signal_info {
    int number = 0;
    int code = 0;    // SI_USER, SI_QUEUE, CLD_EXITED …
    int sender = 0;  // Its process.
    unsigned user = 0;
    int value = 0;   // What sigqueue gave it.
    int status = 0;  // SIGCHLD: the exit status or the signal.
};

/// How a process ended.
struct process_end {
    int code = 0;    // CLD_EXITED, CLD_KILLED, CLD_DUMPED.
    int status = 0;  // The exit status, or the signal.
    [[nodiscard]] bool succeeded() const { return code == CLD_EXITED && status == 0; }
};

namespace detail {

template <>
struct fulfilment<buffers> {
    static buffers of(umbel_self* owner, umbel_message& message) {
        return {owner, std::exchange(message.buffer, {}), static_cast<std::size_t>(message.result)};
    }
};
template <>
struct fulfilment<datagram> {
    static datagram of(umbel_self* owner, umbel_message& message) { return {owner, std::exchange(message.buffer, {})}; }
};
template <>
struct fulfilment<file_events> {
    static file_events of(umbel_self* owner, umbel_message& message) {
        return file_events(buffer(owner, std::exchange(message.buffer, {})));
    }
};
template <>
struct fulfilment<signal_info> {
    static signal_info of(umbel_self*, umbel_message& message) {
        signalfd_siginfo raw{};
        std::memcpy(&raw, message.buffer.data, std::min<std::size_t>(message.buffer.size, sizeof raw));
        return {static_cast<int>(raw.ssi_signo),
                raw.ssi_code,
                static_cast<int>(raw.ssi_pid),
                raw.ssi_uid,
                raw.ssi_int,
                raw.ssi_status};
    }
};

}  // namespace detail

}  // namespace umbel
#pragma GCC visibility pop
