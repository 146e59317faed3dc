// types.h: what passes between an actor and the runtime: results, buffers, descriptors, messages, pendings, streams.
// Part of the C++ SDK; include umbel.h.
//
// Why.    Values with owners: whoever drops one frees what is behind it, and nothing can be used after it was given away.
// Owner.  The actor that got it. Moved, not copied; never to another thread.
// Not here.  How one gets them: self.h.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "umbel/abi.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

constexpr std::size_t operator""_B(unsigned long long count) { return count; }
constexpr std::size_t operator""_KiB(unsigned long long count) { return count << 10; }
constexpr std::size_t operator""_MiB(unsigned long long count) { return count << 20; }

using nanoseconds = std::chrono::nanoseconds;

namespace detail {
// Set by load(); the plugin's own copy.
inline const umbel_host* host = nullptr;
}  // namespace detail

// ---- Results ---------------------------------------------------------------------------------------------------------

/// Why an operation failed: -errno or one of UMBEL_E_….
struct error {
    std::int64_t code = 0;

    [[nodiscard]] std::string_view message() const { return detail::host->error_text(code); }
    /// It was cancelled: by its actor, or because the daemon drains.
    [[nodiscard]] bool cancelled() const { return code == -ECANCELED; }
    [[nodiscard]] bool operator==(const error&) const = default;
};

template <class T>
using result = std::expected<T, error>;

/// An actor's id; converts to bool: somebody or nobody. The actor may have died meanwhile.
struct actor_id {
    umbel_actor_id value = 0;
    explicit operator bool() const { return value != 0; }
    bool operator==(const actor_id&) const = default;
};

class self;

/// How serious a log line is.
enum class log_level : int {
    trace = UMBEL_LOG_TRACE,
    debug = UMBEL_LOG_DEBUG,
    info = UMBEL_LOG_INFO,
    warning = UMBEL_LOG_WARNING,
    error = UMBEL_LOG_ERROR
};

/// A named value of a log event: {"status", 200}, {"path", path}, {"duration_us", me.now() - began}. The name is a
/// literal, or lives until log_event returns, as a text does. Contract: umbel_field.
struct log_field : umbel_field {
    template <std::integral Number>
        requires(!std::same_as<Number, bool>)
    log_field(const char* called, Number number) : umbel_field{called, UMBEL_FIELD_INTEGER, 0, {}} {
        value.integer = static_cast<std::int64_t>(number);
    }
    log_field(const char* called, std::floating_point auto number) : umbel_field{called, UMBEL_FIELD_NUMBER, 0, {}} {
        value.number = static_cast<double>(number);
    }
    log_field(const char* called, std::same_as<bool> auto flag) : umbel_field{called, UMBEL_FIELD_FLAG, 0, {}} {
        value.integer = flag ? 1 : 0;
    }
    log_field(const char* called, std::string_view text)
        : umbel_field{called, UMBEL_FIELD_TEXT, static_cast<std::uint32_t>(text.size()), {}} {
        value.text = text.data();
    }
    log_field(const char* called, const char* text) : log_field(called, std::string_view(text)) {}
    log_field(const char* called, const std::string& text) : log_field(called, std::string_view(text)) {}
    /// The name ends in the unit: _ns, _us, _ms or _s.
    log_field(const char* called, nanoseconds time) : umbel_field{called, UMBEL_FIELD_DURATION, 0, {}} {
        value.integer = time.count();
    }
};
static_assert(sizeof(log_field) == sizeof(umbel_field), "an array of one is an array of the other");

// ---- What an actor owns ----------------------------------------------------------------------------------------------

/// Bytes in an I/O heap; freed when it goes out of scope, or handed to an operation by moving it there.
class buffer {
public:
    buffer() = default;
    buffer(umbel_self* owner, umbel_buffer raw) : owner_(owner), raw_(raw) {}
    buffer(buffer&& other) noexcept : owner_(other.owner_), raw_(std::exchange(other.raw_, {})) {}
    buffer& operator=(buffer&& other) noexcept {
        if (this != &other) {
            reset();
            owner_ = other.owner_;
            raw_ = std::exchange(other.raw_, {});
        }
        return *this;
    }
    ~buffer() { reset(); }

    [[nodiscard]] std::byte* data() { return reinterpret_cast<std::byte*>(raw_.data); }
    [[nodiscard]] const std::byte* data() const { return reinterpret_cast<const std::byte*>(raw_.data); }
    [[nodiscard]] std::size_t size() const { return raw_.size; }
    [[nodiscard]] std::size_t capacity() const { return raw_.capacity; }
    [[nodiscard]] bool empty() const { return raw_.size == 0; }
    [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(raw_.data), raw_.size}; }
    [[nodiscard]] std::span<const std::byte> bytes() const { return {data(), size()}; }
    /// Says how many bytes are in use: 0 … capacity().
    void resize(std::size_t size) { raw_.size = static_cast<std::uint32_t>(size); }
    [[nodiscard]] umbel_buffer* raw() { return &raw_; }

    void reset() {
        if (raw_.data != nullptr) umbel_release(owner_, &raw_);
    }

private:
    umbel_self* owner_ = nullptr;
    umbel_buffer raw_{};
};

/// Bytes that many actors send and nobody changes, with a counted reference; made by self::make_block, written by its
/// maker before it is first copied, lent or sent to another actor. Empty, it refers to nothing.
class shared_block {
public:
    shared_block() = default;
    shared_block(const shared_block& other) : raw_(other.raw_) {
        if (raw_ != nullptr) umbel_block_retain(detail::host, raw_);
    }
    shared_block(shared_block&& other) noexcept : raw_(std::exchange(other.raw_, nullptr)) {}
    shared_block& operator=(shared_block other) noexcept {
        std::swap(raw_, other.raw_);
        return *this;
    }
    ~shared_block() {
        if (raw_ != nullptr) umbel_block_release(detail::host, raw_);
    }

    [[nodiscard]] explicit operator bool() const { return raw_ != nullptr; }
    [[nodiscard]] std::size_t size() const { return raw_ == nullptr ? 0 : umbel_block_size(detail::host, raw_); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return {data(), size()}; }
    [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(data()), size()}; }
    /// For its maker, while nobody else has it.
    [[nodiscard]] std::span<std::byte> writable() { return {data(), size()}; }
    [[nodiscard]] umbel_block* raw() const { return raw_; }

    /// Puts the reference into a message, and takes it out again: once.
    [[nodiscard]] umbel_block* pack() && { return std::exchange(raw_, nullptr); }
    [[nodiscard]] static shared_block unpack(umbel_block* packed) {
        shared_block block;
        block.raw_ = packed;
        return block;
    }

private:
    [[nodiscard]] std::byte* data() const {
        return raw_ == nullptr ? nullptr : static_cast<std::byte*>(umbel_block_data(detail::host, raw_));
    }

    umbel_block* raw_ = nullptr;
};

/// An open descriptor; closed when it goes out of scope. `file` and `socket` differ in type only, so that one is not
/// taken for the other.
template <class Kind>
class descriptor {
public:
    descriptor() = default;
    descriptor(umbel_self* owner, int fd) : owner_(owner), fd_(fd) {}
    descriptor(descriptor&& other) noexcept : owner_(other.owner_), fd_(std::exchange(other.fd_, -1)) {}
    descriptor& operator=(descriptor&& other) noexcept {
        if (this != &other) {
            reset();
            owner_ = other.owner_;
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~descriptor() { reset(); }

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] explicit operator bool() const { return fd_ >= 0; }
    /// Gives up ownership without closing.
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    /// Closes it; nobody waits for that.
    void reset() {
        if (fd_ < 0) return;
        umbel_operation close{};
        close.code = UMBEL_OP_CLOSE;
        close.flags = UMBEL_OP_DETACHED;
        close.fd = std::exchange(fd_, -1);
        umbel_pending none = 0;
        umbel_submit(owner_, &close, 1, &none);  // refused only when it is no descriptor
    }

private:
    umbel_self* owner_ = nullptr;
    int fd_ = -1;
};

using file = descriptor<struct file_kind>;
using socket = descriptor<struct socket_kind>;

/// What statx says of a file.
struct file_status {
    std::uint32_t mode = 0;
    std::uint64_t size = 0;
    std::uint64_t inode = 0;
    std::int64_t modified_s = 0;  // since 1970
    std::uint32_t modified_ns = 0;
    [[nodiscard]] bool is_directory() const { return S_ISDIR(mode); }
    [[nodiscard]] bool is_regular() const { return S_ISREG(mode); }
};

// ---- Messages ----------------------------------------------------------------------------------------------------------

namespace detail {
template <class T>
constexpr std::string_view name_of_type() {
    return __PRETTY_FUNCTION__;
}
constexpr std::uint32_t hash(std::string_view text) {
    std::uint32_t value = 2166136261u;
    for (const char c : text) value = (value ^ static_cast<unsigned char>(c)) * 16777619u;
    return value;
}
template <class T>
concept numbered = requires {
    { T::message_type } -> std::convertible_to<std::uint32_t>;
};
}  // namespace detail

/// The number under which messages of type T travel: T::message_type if it has one, else a hash of T's name.
template <class T>
constexpr std::uint32_t message_type_of() {
    if constexpr (detail::numbered<T>) {
        return T::message_type;
    } else {
        // A constant: otherwise each send and each as<T>() may hash the name, which costs more than the message.
        constexpr std::uint32_t number = detail::hash(detail::name_of_type<T>());
        return number;
    }
}

/// A message as it is received. Its bytes are valid until the actor next receives or awaits.
class message {
public:
    message(umbel_self* owner, umbel_message raw) : owner_(owner), raw_(raw) {}
    message(message&& other) noexcept : owner_(other.owner_), raw_(other.raw_) { other.raw_.buffer = {}; }
    message& operator=(message&&) = delete;
    ~message() {
        if (raw_.buffer.data != nullptr) umbel_release(owner_, &raw_.buffer);
    }

    [[nodiscard]] bool from_actor() const { return raw_.kind == UMBEL_MESSAGE_USER; }
    [[nodiscard]] bool is_drain() const { return raw_.kind == UMBEL_MESSAGE_DRAIN; }
    [[nodiscard]] bool is_reload() const { return raw_.kind == UMBEL_MESSAGE_RELOAD; }
    [[nodiscard]] actor_id sender() const { return {raw_.sender}; }
    [[nodiscard]] std::uint32_t type() const { return raw_.type; }
    [[nodiscard]] std::span<const std::byte> bytes() const {
        return {static_cast<const std::byte*>(raw_.data), raw_.size};
    }
    /// The message as a T, or null if it is something else.
    template <class T>
    [[nodiscard]] const T* as() const {
        static_assert(std::is_trivially_copyable_v<T>);
        const bool is = from_actor() && raw_.type == message_type_of<T>() && raw_.size == sizeof(T);
        return is ? static_cast<const T*>(raw_.data) : nullptr;
    }
    [[nodiscard]] umbel_message& raw() { return raw_; }

private:
    umbel_self* owner_;
    umbel_message raw_;
};

// ---- Pendings ----------------------------------------------------------------------------------------------------------

namespace detail {

// How a completion becomes a T.
template <class T>
struct fulfilment;

template <>
struct fulfilment<void> {
    static void of(umbel_self*, umbel_message&) {}
};
template <>
struct fulfilment<std::size_t> {
    static std::size_t of(umbel_self*, umbel_message& message) { return static_cast<std::size_t>(message.result); }
};
template <>
struct fulfilment<buffer> {
    static buffer of(umbel_self* owner, umbel_message& message) { return {owner, std::exchange(message.buffer, {})}; }
};
template <class Kind>
struct fulfilment<descriptor<Kind>> {
    static descriptor<Kind> of(umbel_self* owner, umbel_message& message) {
        return {owner, static_cast<int>(message.result)};
    }
};
template <>
struct fulfilment<file_status> {
    static file_status of(umbel_self*, umbel_message& message) {
        struct statx status;
        std::memcpy(&status, message.buffer.data, sizeof status);
        return {status.stx_mode, status.stx_size, status.stx_ino, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec};
    }
};

template <class T>
result<T> fulfil(umbel_self* owner, umbel_message& message) {
    result<T> fulfilled = std::unexpected(error{message.result});
    if (message.result >= 0) {
        if constexpr (std::is_void_v<T>) {
            fulfilled = {};
        } else {
            fulfilled = fulfilment<T>::of(owner, message);
        }
    }
    if (message.buffer.data != nullptr) umbel_release(owner, &message.buffer);
    return fulfilled;
}

}  // namespace detail

/// A result that a later message fulfils. Dropping it cancels the operation. If the operation was refused at
/// submission (refused()), awaiting it gives that error at once.
template <class T>
class [[nodiscard]] pending {
public:
    pending() = default;
    pending(umbel_self* owner, umbel_pending id, std::int64_t refusal) : owner_(owner), id_(id), refusal_(refusal) {}
    pending(pending&& other) noexcept
        : owner_(other.owner_), id_(std::exchange(other.id_, 0)), refusal_(other.refusal_) {}
    pending& operator=(pending&& other) noexcept {
        if (this != &other) {
            forget();
            owner_ = other.owner_;
            id_ = std::exchange(other.id_, 0);
            refusal_ = other.refusal_;
        }
        return *this;
    }
    ~pending() { forget(); }

    /// The result, if it is this message that fulfils it.
    [[nodiscard]] std::optional<result<T>> fulfilled_by(message& message) {
        umbel_message& raw = message.raw();
        if (id_ == 0 || raw.kind != UMBEL_MESSAGE_COMPLETION || raw.pending != id_) return std::nullopt;
        id_ = 0;
        return detail::fulfil<T>(owner_, raw);
    }
    /// It was submitted, and its result has not been taken.
    [[nodiscard]] explicit operator bool() const { return id_ != 0; }
    /// The opposite: fulfilled, refused, moved away or never made.
    [[nodiscard]] bool done() const { return id_ == 0; }
    /// Why it was refused at submission, or an error with code 0.
    [[nodiscard]] error refused() const { return {refusal_}; }
    [[nodiscard]] umbel_pending id() const { return id_; }

private:
    friend class self;
    void forget() {
        if (id_ != 0) umbel_forget(owner_, std::exchange(id_, 0));
    }

    umbel_self* owner_ = nullptr;
    umbel_pending id_ = 0;
    std::int64_t refusal_ = -EINVAL;
};

/// Many results of one multishot operation. Dropping it cancels the operation.
template <class T>
class [[nodiscard]] stream {
public:
    stream() = default;
    stream(umbel_self* owner, umbel_pending id, std::int64_t refusal) : owner_(owner), id_(id), refusal_(refusal) {}
    stream(stream&& other) noexcept
        : owner_(other.owner_), id_(std::exchange(other.id_, 0)), refusal_(other.refusal_) {}
    stream& operator=(stream&& other) noexcept {
        if (this != &other) {
            forget();
            owner_ = other.owner_;
            id_ = std::exchange(other.id_, 0);
            refusal_ = other.refusal_;
        }
        return *this;
    }
    ~stream() { forget(); }

    /// The next result, if it is this message that brings it.
    [[nodiscard]] std::optional<result<T>> fulfilled_by(message& message) {
        umbel_message& raw = message.raw();
        if (id_ == 0 || raw.kind != UMBEL_MESSAGE_COMPLETION || raw.pending != id_) return std::nullopt;
        if ((raw.flags & UMBEL_COMPLETION_MORE) == 0) id_ = 0;
        return detail::fulfil<T>(owner_, raw);
    }
    /// The last result has been taken, or it was refused at submission.
    [[nodiscard]] bool done() const { return id_ == 0; }
    /// Why it was refused at submission, or an error with code 0.
    [[nodiscard]] error refused() const { return {refusal_}; }
    [[nodiscard]] umbel_pending id() const { return id_; }

private:
    friend class self;
    void forget() {
        if (id_ != 0) umbel_forget(owner_, std::exchange(id_, 0));
    }

    umbel_self* owner_ = nullptr;
    umbel_pending id_ = 0;
    std::int64_t refusal_ = -EINVAL;
};

}  // namespace umbel
#pragma GCC visibility pop
