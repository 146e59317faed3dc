// umbel.h: the C++ SDK, a thin and header-only layer over abi.h.
//
// Why.    Authors write plain code: values, results, RAII. Everything here is inline and compiled into the plugin; only
//         the C of abi.h crosses to the daemon, so plugin and daemon may be built by different compilers.
// Shape.  `self` is the door of an actor. An operation is described by a builder in `op::`, submitted by `self`, and
//         becomes a `pending<T>`; `await` waits for it, or `fulfilled_by` recognises its message. Multishot operations
//         are `stream<T>`. An actor is a function (stackful) or a class with `on_message` (handler).
// Errors. `result<T>` is std::expected<T, error>. An exception that leaves an actor ends that actor with its text.
// Owner.  buffers, files, sockets, pendings and streams belong to the actor that got them; they are moved, not copied.
//         Dropping a pending or a stream cancels it and frees what it brings.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <exception>
#include <expected>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "umbel/abi.h"

namespace umbel __attribute__((visibility("hidden"))) {

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
        static buffer of(umbel_self* owner, umbel_message& message) {
            return {owner, std::exchange(message.buffer, {})};
        }
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
            return {status.stx_mode, status.stx_size, status.stx_ino, status.stx_mtime.tv_sec,
                    status.stx_mtime.tv_nsec};
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
        pending(umbel_self* owner, umbel_pending id, std::int64_t refusal)
            : owner_(owner), id_(id), refusal_(refusal) {}
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
        /// Nothing is in flight for it: fulfilled, refused or moved away.
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

    // ---- Operations --------------------------------------------------------------------------------------------------------

    /// How long an operation may take, and what draining means to it.
    struct op_options {
        nanoseconds deadline{0};  // 0: none. Else it ends with UMBEL_E_DEADLINE this long from its submission.
        bool drains = false;      // Ends with cancelled() when the daemon drains: waits for work, does none.
    };

    /// The description of an operation that gives a T; made by op::…, used up by self::submit or self::chain.
    template <class T>
    struct operation {
        umbel_operation raw{};
        std::array<umbel_slice, 4> slices{};

        operation(std::uint16_t code, int fd, op_options options = {}) {
            raw.code = code;
            raw.fd = fd;
            raw.deadline_ns = static_cast<std::uint64_t>(options.deadline.count());
            raw.flags = options.drains ? UMBEL_OP_DRAINS : 0;
        }
        operation& data(std::span<const std::byte> bytes) {
            slices[raw.slice_count++] = {bytes.data(), bytes.size()};
            return *this;
        }
        operation& data(std::string_view text) { return data(std::as_bytes(std::span(text))); }
    };

    constexpr std::uint64_t at_position = UMBEL_AT_POSITION;

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

    namespace op {

    inline operation<void> nop(op_options options = {}) { return {UMBEL_OP_NOP, -1, options}; }

    /// Opens `path` relative to `directory` (a descriptor or UMBEL_CWD). flags: O_…; resolve: RESOLVE_….
    inline operation<file> open(std::string_view path, int flags, int directory = UMBEL_CWD, std::uint32_t mode = 0,
                                std::uint64_t resolve = 0, op_options options = {}) {
        operation<file> open{UMBEL_OP_OPENAT2, directory, options};
        open.raw.arg = static_cast<std::uint32_t>(flags);
        open.raw.arg2 = mode;
        open.raw.offset = resolve;
        open.data(path);
        return open;
    }
    template <class Kind>
    operation<void> close(descriptor<Kind>&& descriptor, op_options options = {}) {
        return {UMBEL_OP_CLOSE, descriptor.release(), options};
    }

    /// Reads up to `length` bytes (1 … 2 MiB) at `offset` into a fresh buffer; empty at the end of the file.
    inline operation<buffer> read(const file& from, std::size_t length, std::uint64_t offset = at_position,
                                  op_options options = {}) {
        operation<buffer> read{UMBEL_OP_READ, from.fd(), options};
        read.raw.length = static_cast<std::uint32_t>(length);
        read.raw.offset = offset;
        return read;
    }
    /// Reads into memory of the actor, which must stay there until the result has been received; gives the count.
    inline operation<std::size_t> read_into(const file& from, std::span<std::byte> into,
                                            std::uint64_t offset = at_position, op_options options = {}) {
        operation<std::size_t> read{UMBEL_OP_READ, from.fd(), options};
        read.raw.length = static_cast<std::uint32_t>(into.size());
        read.raw.into = into.data();
        read.raw.offset = offset;
        return read;
    }
    /// Writes a copy of `bytes` at `offset`.
    inline operation<std::size_t> write(const file& to, std::span<const std::byte> bytes,
                                        std::uint64_t offset = at_position, op_options options = {}) {
        operation<std::size_t> write{UMBEL_OP_WRITE, to.fd(), options};
        write.raw.offset = offset;
        write.data(bytes);
        return write;
    }
    /// Writes a buffer without a copy; it is gone afterwards.
    inline operation<std::size_t> write(const file& to, buffer& bytes, std::uint64_t offset = at_position,
                                        op_options options = {}) {
        operation<std::size_t> write{UMBEL_OP_WRITE, to.fd(), options};
        write.raw.offset = offset;
        write.raw.buffer = bytes.raw();
        return write;
    }
    inline operation<void> sync(const file& of, op_options options = {}) { return {UMBEL_OP_FSYNC, of.fd(), options}; }

    /// What `path` (relative to `directory`) is; flags: AT_….
    inline operation<file_status> status(std::string_view path, int directory = UMBEL_CWD, int flags = 0,
                                         op_options options = {}) {
        operation<file_status> status{UMBEL_OP_STATX, directory, options};
        status.raw.arg = static_cast<std::uint32_t>(flags);
        status.raw.arg2 = STATX_BASIC_STATS;
        status.data(path);
        return status;
    }
    inline operation<file_status> status(const file& of, op_options options = {}) {
        return status("", of.fd(), AT_EMPTY_PATH, options);
    }

    inline operation<socket> open_socket(int domain, int type, int protocol = 0, op_options options = {}) {
        operation<socket> open{UMBEL_OP_SOCKET, -1, options};
        open.raw.arg = static_cast<std::uint32_t>(domain);
        open.raw.arg2 = static_cast<std::uint32_t>(type);
        open.raw.length = static_cast<std::uint32_t>(protocol);
        return open;
    }
    inline operation<void> bind(const socket& unbound, const endpoint& to, op_options options = {}) {
        operation<void> bind{UMBEL_OP_BIND, unbound.fd(), options};
        bind.data(to.bytes());
        return bind;
    }
    inline operation<void> listen(const socket& bound, std::uint32_t backlog, op_options options = {}) {
        operation<void> listen{UMBEL_OP_LISTEN, bound.fd(), options};
        listen.raw.arg = backlog;
        return listen;
    }
    inline operation<socket> accept(const socket& listener, op_options options = {}) {
        return {UMBEL_OP_ACCEPT, listener.fd(), options};
    }
    inline operation<void> connect(const socket& from, const endpoint& to, op_options options = {}) {
        operation<void> connect{UMBEL_OP_CONNECT, from.fd(), options};
        connect.data(to.bytes());
        return connect;
    }
    /// Receives up to `length` bytes into a fresh buffer; empty when the peer has ended its side.
    inline operation<buffer> recv(const socket& from, std::size_t length, op_options options = {}, int flags = 0) {
        operation<buffer> recv{UMBEL_OP_RECV, from.fd(), options};
        recv.raw.length = static_cast<std::uint32_t>(length);
        recv.raw.arg = static_cast<std::uint32_t>(flags);
        return recv;
    }
    inline operation<std::size_t> recv_into(const socket& from, std::span<std::byte> into, op_options options = {},
                                            int flags = 0) {
        operation<std::size_t> recv{UMBEL_OP_RECV, from.fd(), options};
        recv.raw.length = static_cast<std::uint32_t>(into.size());
        recv.raw.into = into.data();
        recv.raw.arg = static_cast<std::uint32_t>(flags);
        return recv;
    }
    /// Sends a copy of `bytes`, all of them.
    inline operation<std::size_t> send(const socket& to, std::span<const std::byte> bytes, op_options options = {}) {
        operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
        send.data(bytes);
        return send;
    }
    /// Sends a head and a body, copied one behind the other.
    inline operation<std::size_t> send(const socket& to, std::span<const std::byte> head,
                                       std::span<const std::byte> body, op_options options = {}) {
        operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
        send.data(head).data(body);
        return send;
    }
    /// Sends a buffer without a copy; it is gone afterwards.
    inline operation<std::size_t> send(const socket& to, buffer& bytes, op_options options = {}) {
        operation<std::size_t> send{UMBEL_OP_SEND, to.fd(), options};
        send.raw.buffer = bytes.raw();
        return send;
    }
    inline operation<void> shutdown(const socket& peer, int how, op_options options = {}) {
        operation<void> shutdown{UMBEL_OP_SHUTDOWN, peer.fd(), options};
        shutdown.raw.arg = static_cast<std::uint32_t>(how);
        return shutdown;
    }
    /// Waits until one of `events` (POLL…) holds for `fd`; gives those that do.
    inline operation<std::size_t> poll(int fd, int events, op_options options = {}) {
        operation<std::size_t> poll{UMBEL_OP_POLL, fd, options};
        poll.raw.arg = static_cast<std::uint32_t>(events);
        return poll;
    }
    inline operation<void> timeout(nanoseconds after, op_options options = {}) {
        operation<void> timeout{UMBEL_OP_TIMEOUT, -1, options};
        timeout.raw.offset = static_cast<std::uint64_t>(after.count());
        return timeout;
    }
    /// Cancels the operation behind a pending; gives 1, or 0 when it had ended.
    inline operation<std::size_t> cancel(umbel_pending victim) {
        operation<std::size_t> cancel{UMBEL_OP_CANCEL, -1};
        cancel.raw.offset = victim;
        return cancel;
    }
    /// Cancels what this actor has in flight on a descriptor; gives how many operations.
    inline operation<std::size_t> cancel_descriptor(int fd) { return {UMBEL_OP_CANCEL_FD, fd}; }
    /// Cancels everything this actor has in flight; gives how many operations.
    inline operation<std::size_t> cancel_all() { return {UMBEL_OP_CANCEL_ALL, -1}; }

    }  // namespace op

    // ---- Actors ------------------------------------------------------------------------------------------------------------

    namespace detail {

    // Thrown by self::exit and self::fail to unwind an actor's own frames; caught by the trampoline below them.
    struct ending {
        std::string reason;
    };

    // What travels to a new actor for an argument: descriptors as numbers, anything else as it is.
    template <class T>
    struct carrier {
        static_assert(std::is_trivially_copyable_v<T>, "what an actor is spawned with is copied as bytes");
        using type = T;
        static T pack(T value) { return value; }
        static T unpack(umbel_self*, T value) { return value; }
    };
    template <class Kind>
    struct carrier<descriptor<Kind>> {
        using type = int;
        static int pack(descriptor<Kind>&& value) { return value.release(); }
        static descriptor<Kind> unpack(umbel_self* owner, int fd) {
            umbel_adopt(owner, fd);  // refused for one that no operation opened, which nobody owns; it is used all the same
            return {owner, fd};
        }
    };

    // What an actor is spawned with, as bytes: std::tuple is not trivially copyable, this is.
    template <class... T>
    struct arguments {};
    template <class First, class... Rest>
    struct arguments<First, Rest...> {
        First first{};
        [[no_unique_address]] arguments<Rest...> rest{};
    };

    inline arguments<> pack() { return {}; }
    template <class First, class... Rest>
    arguments<typename carrier<First>::type, typename carrier<Rest>::type...> pack(First& first, Rest&... rest) {
        arguments<typename carrier<First>::type, typename carrier<Rest>::type...> packed;
        packed.first = carrier<First>::pack(std::move(first));
        packed.rest = pack(rest...);
        return packed;
    }

    constexpr std::string_view base_name(std::string_view pretty) {
        // "… [with auto Function = ns::session]" or "… [Function = &ns::session]" → "session"
        pretty.remove_prefix(pretty.rfind("= ") + 2);
        if (pretty.ends_with(']')) pretty.remove_suffix(1);
        const std::size_t colon = pretty.rfind("::");
        if (colon != std::string_view::npos) pretty.remove_prefix(colon + 2);
        if (pretty.starts_with('&')) pretty.remove_prefix(1);
        return pretty;
    }
    template <std::size_t Size>
    struct name_text {
        char text[Size + 1] = {};
        constexpr explicit name_text(std::string_view from) {
            for (std::size_t i = 0; i < Size; ++i) text[i] = from[i];
        }
    };
    template <auto Function>
    constexpr std::string_view pretty_function() {
        return __PRETTY_FUNCTION__;
    }
    template <class T>
    constexpr std::string_view pretty_class() {
        constexpr std::string_view pretty = __PRETTY_FUNCTION__;
        // GCC appends "; std::string_view = …" behind the class.
        return pretty.substr(0, pretty.find(';') == std::string_view::npos ? pretty.size() : pretty.find(';'));
    }
    template <auto Function>
    constexpr std::string_view function_name_view() {
        constexpr std::string_view pretty = pretty_function<Function>();
        return base_name(
            pretty.substr(0, pretty.find(';') == std::string_view::npos ? pretty.size() : pretty.find(';')));
    }
    template <auto Function>
    inline constexpr name_text<function_name_view<Function>().size()> function_name{function_name_view<Function>()};
    template <class T>
    inline constexpr name_text<base_name(pretty_class<T>()).size()> class_name{base_name(pretty_class<T>())};

    // Runs an actor's code; whatever leaves it ends the actor, here, with no frame of the actor left.
    template <class Body>
    void guarded(umbel_self* raw, Body&& body) {
        std::string reason;
        try {
            body();
            return;
        } catch (const ending& end) {
            reason = end.reason;
        } catch (const std::exception& failure) {
            reason = failure.what();
            if (reason.empty()) reason = "exception without a text";
        } catch (...) {
            reason = "exception of an unknown type";
        }
        // The runtime never returns here, so the reason must not live in a string that would be leaked.
        std::array<char, 256> text{};
        reason.copy(text.data(), text.size() - 1);
        {
            std::string().swap(reason);
        }
        umbel_exit(raw, text.data());
    }

    }  // namespace detail

    /// The door of an actor to the runtime. Every member is [actor].
    class self {
    public:
        explicit self(umbel_self* raw) : raw_(raw) {}
        self(const self&) = delete;
        self& operator=(const self&) = delete;

        // -- operations: submit now, have the result later --

        /// Submits an operation. May wait for room in the ring.
        template <class T>
        pending<T> submit(operation<T> operation) {
            umbel_pending id = 0;
            operation.raw.slices = operation.slices.data();
            const int status = umbel_submit(raw_, &operation.raw, 1, &id);
            return {raw_, id, status};
        }
        /// Submits a multishot operation: accept, recv or poll.
        template <class T>
        stream<T> submit_many(operation<T> operation) {
            umbel_pending id = 0;
            operation.raw.flags |= UMBEL_OP_MULTI;
            operation.raw.slices = operation.slices.data();
            const int status = umbel_submit(raw_, &operation.raw, 1, &id);
            return {raw_, id, status};
        }
        /// Submits operations as one chain: each begins when the one before it succeeded.
        template <class... T>
        std::tuple<pending<T>...> chain(operation<T>... operations) {
            static_assert(sizeof...(T) <= UMBEL_CHAIN_MAX);
            ((operations.raw.slices = operations.slices.data()), ...);
            std::array<umbel_operation, sizeof...(T)> raw{operations.raw...};
            std::array<umbel_pending, sizeof...(T)> ids{};
            const int status = umbel_submit(raw_, raw.data(), static_cast<std::uint32_t>(raw.size()), ids.data());
            return [&]<std::size_t... Index>(std::index_sequence<Index...>) {
                return std::tuple<pending<T>...>{pending<T>(raw_, ids[Index], status)...};
            }(std::index_sequence_for<T...>());
        }

        pending<file> open(std::string_view path, int flags, int directory = UMBEL_CWD, std::uint32_t mode = 0,
                           std::uint64_t resolve = 0, op_options options = {}) {
            return submit(op::open(path, flags, directory, mode, resolve, options));
        }
        template <class Kind>
        pending<void> close(descriptor<Kind>&& descriptor) {
            return submit(op::close(std::move(descriptor)));
        }
        pending<buffer> read(const file& from, std::size_t length, std::uint64_t offset = at_position,
                             op_options options = {}) {
            return submit(op::read(from, length, offset, options));
        }
        pending<std::size_t> read_into(const file& from, std::span<std::byte> into, std::uint64_t offset = at_position,
                                       op_options options = {}) {
            return submit(op::read_into(from, into, offset, options));
        }
        pending<std::size_t> write(const file& to, std::span<const std::byte> bytes, std::uint64_t offset = at_position,
                                   op_options options = {}) {
            return submit(op::write(to, bytes, offset, options));
        }
        pending<std::size_t> write(const file& to, buffer&& bytes, std::uint64_t offset = at_position,
                                   op_options options = {}) {
            return submit(op::write(to, bytes, offset, options));
        }
        pending<void> sync(const file& of, op_options options = {}) { return submit(op::sync(of, options)); }
        pending<file_status> status(std::string_view path, int directory = UMBEL_CWD, int flags = 0,
                                    op_options options = {}) {
            return submit(op::status(path, directory, flags, options));
        }
        pending<file_status> status(const file& of, op_options options = {}) { return submit(op::status(of, options)); }
        pending<socket> open_socket(int domain, int type, int protocol = 0) {
            return submit(op::open_socket(domain, type, protocol));
        }
        pending<void> bind(const socket& unbound, const endpoint& to) { return submit(op::bind(unbound, to)); }
        pending<void> listen(const socket& bound, std::uint32_t backlog) { return submit(op::listen(bound, backlog)); }
        pending<socket> accept(const socket& listener, op_options options = {}) {
            return submit(op::accept(listener, options));
        }
        stream<socket> accept_many(const socket& listener, op_options options = {}) {
            return submit_many(op::accept(listener, options));
        }
        pending<void> connect(const socket& from, const endpoint& to, op_options options = {}) {
            return submit(op::connect(from, to, options));
        }
        pending<buffer> recv(const socket& from, std::size_t length, op_options options = {}) {
            return submit(op::recv(from, length, options));
        }
        pending<std::size_t> recv_into(const socket& from, std::span<std::byte> into, op_options options = {}) {
            return submit(op::recv_into(from, into, options));
        }
        /// Everything the peer sends, in buffers as they come; an empty one is the end.
        stream<buffer> recv_many(const socket& from, op_options options = {}) {
            return submit_many(op::recv(from, 0, options));
        }
        pending<std::size_t> send(const socket& to, std::span<const std::byte> bytes, op_options options = {}) {
            return submit(op::send(to, bytes, options));
        }
        pending<std::size_t> send(const socket& to, std::string_view text, op_options options = {}) {
            return submit(op::send(to, std::as_bytes(std::span(text)), options));
        }
        pending<std::size_t> send(const socket& to, buffer&& bytes, op_options options = {}) {
            return submit(op::send(to, bytes, options));
        }
        pending<void> shutdown(const socket& peer, int how) { return submit(op::shutdown(peer, how)); }
        pending<std::size_t> poll(int fd, int events, op_options options = {}) {
            return submit(op::poll(fd, events, options));
        }
        stream<std::size_t> poll_many(int fd, int events, op_options options = {}) {
            return submit_many(op::poll(fd, events, options));
        }
        pending<void> timeout(nanoseconds after, op_options options = {}) {
            return submit(op::timeout(after, options));
        }
        template <class T>
        pending<std::size_t> cancel(const pending<T>& victim) {
            return submit(op::cancel(victim.id()));
        }
        template <class T>
        pending<std::size_t> cancel(const stream<T>& victim) {
            return submit(op::cancel(victim.id()));
        }
        pending<std::size_t> cancel_descriptor(int fd) { return submit(op::cancel_descriptor(fd)); }
        pending<std::size_t> cancel_all() { return submit(op::cancel_all()); }

        // -- waiting --

        /// Waits for a pending's result. Other messages stay in the mailbox.
        template <class T>
        result<T> await(pending<T> pending) {
            if (pending.id_ == 0) return std::unexpected(error{pending.refusal_});
            umbel_message message;
            const int status = umbel_await(raw_, std::exchange(pending.id_, 0), UINT64_MAX, &message);
            if (status < 0) return std::unexpected(error{status});
            return detail::fulfil<T>(raw_, message);
        }
        /// The same, but at most this long: UMBEL_E_TIMEOUT, and the operation goes on.
        template <class T>
        result<T> await_within(pending<T>& pending, nanoseconds time) {
            if (pending.id_ == 0) return std::unexpected(error{pending.refusal_});
            umbel_message message;
            const int status = umbel_await(raw_, pending.id_, static_cast<std::uint64_t>(time.count()), &message);
            if (status < 0) return std::unexpected(error{status});
            pending.id_ = 0;
            return detail::fulfil<T>(raw_, message);
        }
        /// Waits for the next result of a stream. After the last one (done()): UMBEL_E_INVALID.
        template <class T>
        result<T> next(stream<T>& stream) {
            return next_of(stream, UINT64_MAX);
        }
        /// The same, but at most this long: UMBEL_E_TIMEOUT, and the stream goes on.
        template <class T>
        result<T> next_within(stream<T>& stream, nanoseconds time) {
            return next_of(stream, static_cast<std::uint64_t>(time.count()));
        }
        /// Waits for any message, in order of arrival.
        [[nodiscard]] message receive() {
            umbel_message message;
            umbel_receive(raw_, UINT64_MAX, &message);
            return {raw_, message};
        }
        /// The same, but at most this long (0: only what is there).
        [[nodiscard]] std::optional<message> receive_within(nanoseconds timeout) {
            umbel_message raw;
            if (umbel_receive(raw_, static_cast<std::uint64_t>(timeout.count()), &raw) < 0) return std::nullopt;
            return std::optional<message>(std::in_place, raw_, raw);
        }
        /// Waits this long.
        void sleep(nanoseconds time) { (void)await(timeout(time)); }
        /// Lets the others run first.
        void yield() { umbel_yield(raw_); }

        // -- other actors --

        /// Sends a copy of `value`.
        template <class T>
        result<void> send_to(actor_id to, const T& value) {
            static_assert(std::is_trivially_copyable_v<T>, "a message is copied as bytes");
            static_assert(sizeof(T) <= UMBEL_MESSAGE_MAX);
            return checked(umbel_send(raw_, to.value, message_type_of<T>(), &value, sizeof(T)));
        }
        /// Sends a copy of bytes under a number of one's own.
        result<void> send_to(actor_id to, std::uint32_t type, std::span<const std::byte> bytes) {
            return checked(umbel_send(raw_, to.value, type, bytes.data(), static_cast<std::uint32_t>(bytes.size())));
        }
        /// Spawns a stackful actor that runs `Function(self&, arguments…)`.
        template <auto Function, class... Arguments>
        result<actor_id> spawn(Arguments&&... arguments) {
            return spawn_at<Function>(UMBEL_HERE, std::forward<Arguments>(arguments)...);
        }
        template <auto Function, class... Arguments>
        result<actor_id> spawn_at(int where, Arguments&&... arguments);
        /// Spawns a handler actor: a Handler made from (self&, arguments…), given each message by on_message.
        template <class Handler, class... Arguments>
        result<actor_id> spawn(Arguments&&... arguments) {
            return spawn_at<Handler>(UMBEL_HERE, std::forward<Arguments>(arguments)...);
        }
        template <class Handler, class... Arguments>
        result<actor_id> spawn_at(int where, Arguments&&... arguments);

        [[nodiscard]] actor_id id() const { return {umbel_id(raw_)}; }
        result<void> register_name(const std::string& name) { return checked(umbel_register_name(raw_, name.c_str())); }
        [[nodiscard]] actor_id whereis(const std::string& name) { return {umbel_whereis(raw_, name.c_str())}; }

        /// Ends this actor, normally; its frames are unwound.
        [[noreturn]] void exit() { throw detail::ending{}; }
        /// Ends this actor: it has failed, for this reason.
        [[noreturn]] void fail(std::string reason) {
            throw detail::ending{reason.empty() ? std::string("failed") : std::move(reason)};
        }

        // -- surroundings --

        [[nodiscard]] std::uint32_t executor() const { return umbel_executor(raw_); }
        [[nodiscard]] std::uint32_t executor_count() const { return umbel_executor_count(raw_); }
        [[nodiscard]] nanoseconds now() const { return nanoseconds(umbel_now(raw_)); }
        [[nodiscard]] bool draining() const { return umbel_draining(raw_) != 0; }
        void ready(const std::string& text) { umbel_ready(raw_, text.c_str()); }
        void log_debug(std::string_view text) { umbel_log(raw_, UMBEL_LOG_DEBUG, text.data(), text.size()); }
        void log_info(std::string_view text) { umbel_log(raw_, UMBEL_LOG_INFO, text.data(), text.size()); }
        void log_warning(std::string_view text) { umbel_log(raw_, UMBEL_LOG_WARNING, text.data(), text.size()); }
        void log_error(std::string_view text) { umbel_log(raw_, UMBEL_LOG_ERROR, text.data(), text.size()); }
        [[nodiscard]] umbel_self* raw() { return raw_; }

        /// setsockopt with an int.
        result<void> set_option(const socket& of, int level, int option, int value) {
            return checked(umbel_set_socket_option(raw_, of.fd(), level, option, value));
        }
        /// The address a socket is bound to.
        result<endpoint> local_address(const socket& of) {
            endpoint address;
            std::uint32_t size = sizeof address.storage;
            const int status = umbel_local_address(raw_, of.fd(), &address.storage, &size);
            if (status < 0) return std::unexpected(error{status});
            address.size = static_cast<socklen_t>(size);
            return address;
        }

        /// Opens a TCP listener; `shared` lets several listeners have the same address (SO_REUSEPORT).
        result<socket> listen_on(const endpoint& address, std::uint32_t backlog = 4096, bool shared = false);
        /// One listener for each executor, all with this address: the kernel spreads the connections over them. Fails
        /// with EADDRINUSE if somebody else listens there, SO_REUSEPORT or not. Port 0: a free one, put into `address`.
        result<std::vector<socket>> listen_everywhere(endpoint& address, std::uint32_t backlog = 4096);
        /// Accepts until the daemon drains, handing each connection to `each(socket)`. What passes by itself (no
        /// descriptors or memory left, a connection that broke early) is logged and waited out.
        template <class Each>
        void accept_each(const socket& listener, Each&& each);

    private:
        template <class T>
        result<T> next_of(stream<T>& stream, std::uint64_t timeout_ns) {
            if (stream.id_ == 0) {
                return std::unexpected(error{stream.refusal_ < 0 ? stream.refusal_ : std::int64_t{UMBEL_E_INVALID}});
            }
            umbel_message message;
            const int status = umbel_await(raw_, stream.id_, timeout_ns, &message);
            if (status == UMBEL_E_TIMEOUT) return std::unexpected(error{status});
            if (status < 0 || (message.flags & UMBEL_COMPLETION_MORE) == 0) stream.id_ = 0;
            if (status < 0) return std::unexpected(error{status});
            return detail::fulfil<T>(raw_, message);
        }
        static result<void> checked(int status) {
            if (status < 0) return std::unexpected(error{status});
            return {};
        }

        umbel_self* raw_;
    };

    namespace detail {

    // Calls function(parameters…) with each argument turned back into what it was.
    template <class... Parameters>
    struct unpacker;
    template <>
    struct unpacker<> {
        template <class Function, class... Done>
        static decltype(auto) call(umbel_self*, const arguments<>&, Function&& function, Done&&... done) {
            return function(std::forward<Done>(done)...);
        }
    };
    template <class First, class... Rest>
    struct unpacker<First, Rest...> {
        template <class Packed, class Function, class... Done>
        static decltype(auto) call(umbel_self* owner, const Packed& packed, Function&& function, Done&&... done) {
            return unpacker<Rest...>::call(owner, packed.rest, std::forward<Function>(function),
                                           std::forward<Done>(done)..., carrier<First>::unpack(owner, packed.first));
        }
    };

    template <class Signature>
    struct stackful;
    template <class... Parameters>
    struct stackful<void (*)(self&, Parameters...)> {
        using packed = arguments<typename carrier<std::decay_t<Parameters>>::type...>;
        static_assert(sizeof(packed) <= UMBEL_STATE_MAX, "an actor is spawned with at most UMBEL_STATE_MAX bytes");

        template <auto Function>
        static void run(umbel_self* raw, void* state) {
            guarded(raw, [&] {
                packed arguments;
                std::memcpy(static_cast<void*>(&arguments), state, sizeof arguments);
                self me(raw);
                unpacker<std::decay_t<Parameters>...>::call(
                    raw, arguments, [&](auto&&... values) { Function(me, std::forward<decltype(values)>(values)...); });
            });
        }
        static packed pack_all(std::decay_t<Parameters>... values) { return detail::pack(values...); }
        // What was packed for an actor that could not be spawned: descriptors are closed.
        static void drop(umbel_self* raw, const packed& arguments) {
            unpacker<std::decay_t<Parameters>...>::call(raw, arguments, [](auto&&...) {});
        }
    };

    // The class's constructor arguments are those it is spawned with; they wait in the state until the actor starts.
    template <class Handler, class... Arguments>
    struct handler {
        using packed = arguments<typename carrier<std::decay_t<Arguments>>::type...>;
        static_assert(sizeof(Handler) <= UMBEL_STATE_MAX, "a handler's inline state is at most UMBEL_STATE_MAX bytes");
        static_assert(sizeof(packed) <= UMBEL_STATE_MAX, "an actor is spawned with at most UMBEL_STATE_MAX bytes");
        static_assert(alignof(Handler) <= 16);

        static void start(umbel_self* raw, void* state) {
            guarded(raw, [&] {
                packed arguments;
                std::memcpy(static_cast<void*>(&arguments), state, sizeof arguments);
                self me(raw);
                unpacker<std::decay_t<Arguments>...>::call(raw, arguments, [&](auto&&... values) {
                    ::new (state) Handler(me, std::forward<decltype(values)>(values)...);
                });
            });
        }
        static void receive(umbel_self* raw, void* state, umbel_message* message) {
            guarded(raw, [&] {
                self me(raw);
                umbel::message received(raw, std::exchange(*message, {}));
                static_cast<Handler*>(state)->on_message(me, received);
            });
        }
        static void stop(umbel_self*, void* state) { static_cast<Handler*>(state)->~Handler(); }
        static packed pack_all(std::decay_t<Arguments>... values) { return detail::pack(values...); }
        static void drop(umbel_self* raw, const packed& arguments) {
            unpacker<std::decay_t<Arguments>...>::call(raw, arguments, [](auto&&...) {});
        }

        static inline umbel_actor_type type = {
            .size = sizeof(umbel_actor_type),
            .state_size = sizeof(Handler) > sizeof(packed) ? sizeof(Handler) : sizeof(packed),
            .name = class_name<Handler>.text,
            .memory_limit = 0,
            .run = nullptr,
            .start = start,
            .message = receive,
            .stop = stop,
            .runtime = nullptr};
    };

    }  // namespace detail

    /// The actor type of a stackful actor's function, for a plugin's `.main` or for tuning its memory_limit.
    template <auto Function>
    inline umbel_actor_type actor_type = {.size = sizeof(umbel_actor_type),
                                          .state_size = sizeof(typename detail::stackful<decltype(Function)>::packed),
                                          .name = detail::function_name<Function>.text,
                                          .memory_limit = 0,
                                          .run = detail::stackful<decltype(Function)>::template run<Function>,
                                          .start = nullptr,
                                          .message = nullptr,
                                          .stop = nullptr,
                                          .runtime = nullptr};

    template <auto Function, class... Arguments>
    result<actor_id> self::spawn_at(int where, Arguments&&... arguments) {
        const auto packed = detail::stackful<decltype(Function)>::pack_all(std::forward<Arguments>(arguments)...);
        actor_id id;
        const int status = umbel_spawn(raw_, &actor_type<Function>, &packed, sizeof packed, where, &id.value);
        if (status < 0) {
            detail::stackful<decltype(Function)>::drop(raw_, packed);
            return std::unexpected(error{status});
        }
        return id;
    }

    template <class Handler, class... Arguments>
    result<actor_id> self::spawn_at(int where, Arguments&&... arguments) {
        using Type = detail::handler<Handler, std::decay_t<Arguments>...>;
        const auto packed = Type::pack_all(std::forward<Arguments>(arguments)...);
        actor_id id;
        const int status = umbel_spawn(raw_, &Type::type, &packed, sizeof packed, where, &id.value);
        if (status < 0) {
            Type::drop(raw_, packed);
            return std::unexpected(error{status});
        }
        return id;
    }

    // ---- Plugins -----------------------------------------------------------------------------------------------------------

    /// The plugin's section of the config file, checked. [control], in load.
    class settings {
    public:
        explicit settings(const umbel_settings* raw) : raw_(raw) {}
        /// TEXT, FOLDER and ADDRESS settings.
        [[nodiscard]] std::string text(const char* name) const { return detail::host->setting_text(raw_, name); }
        /// INTEGER settings; SIZE in bytes.
        [[nodiscard]] std::int64_t number(const char* name) const { return detail::host->setting_number(raw_, name); }
        [[nodiscard]] bool flag(const char* name) const { return number(name) != 0; }
        [[nodiscard]] nanoseconds duration(const char* name) const { return nanoseconds(number(name)); }

    private:
        const umbel_settings* raw_;
    };

    inline void read_no_settings(const settings&) {}

    /// A plugin's `.load`: reads the settings by Read(settings); an exception refuses them with its text.
    template <auto Read = read_no_settings>
    int load(const umbel_host* host, const umbel_settings* raw, char* error, std::size_t error_size) {
        detail::host = host;
        std::string_view reason = "exception of an unknown type";
        try {
            Read(settings(raw));
            return 0;
        } catch (const std::exception& failure) {
            reason = failure.what();
            reason = reason.substr(0, error_size - 1);
            reason.copy(error, reason.size());
            error[reason.size()] = 0;
        } catch (...) {
            reason = reason.substr(0, error_size - 1);
            reason.copy(error, reason.size());
            error[reason.size()] = 0;
        }
        return UMBEL_E_INVALID;
    }

/// Defines the plugin: UMBEL_PLUGIN(.setting_count = …, .settings = …, .name = …, .version = …, .description = …,
/// .load = umbel::load<…>, .main = &umbel::actor_type<…>, …); members in the order of umbel_plugin.
#define UMBEL_PLUGIN(...) \
    extern "C" UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {UMBEL_PLUGIN_HEADER, __VA_ARGS__}

}  // namespace umbel

#include "umbel/net.h"
