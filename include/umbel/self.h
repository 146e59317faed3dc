// self.h: the door of an actor to the runtime, and how functions and classes become actors. Part of the C++ SDK; include
// umbel.h.
//
// Why.    Straight-line code: every member of `self` reads like a call, and those that wait suspend the actor, not the
//         thread.
// Shape.  A stackful actor is a function `void name(umbel::self&, …)`, a handler a class with on_message(self&, message&).
//         What they are spawned with travels as bytes (detail::carrier), descriptors as numbers that are adopted.
// Not here.  Contracts: abi.h.
#pragma once

#include <exception>
#include <expected>
#include <initializer_list>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "umbel/operation.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel {

// ---- Actors ------------------------------------------------------------------------------------------------------------

/// What a server listens on.
struct listeners {
    std::vector<socket> sockets;  // of listen_everywhere: number i is meant for executor i % executor_count()
    std::string text;             // for ready(): "127.0.0.1:8080", "systemd:http ([::]:80)"
};

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

template <>
struct carrier<shared_block> {
    using type = umbel_block*;
    static umbel_block* pack(shared_block&& value) { return std::move(value).pack(); }
    static shared_block unpack(umbel_self*, umbel_block* packed) { return shared_block::unpack(packed); }
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
    return base_name(pretty.substr(0, pretty.find(';') == std::string_view::npos ? pretty.size() : pretty.find(';')));
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
        operation.settle();
        const int status = umbel_submit(raw_, &operation.raw, 1, &id);
        return {raw_, id, status};
    }
    /// Submits a multishot operation: accept, recv or poll.
    template <class T>
    stream<T> submit_many(operation<T> operation) {
        umbel_pending id = 0;
        operation.raw.flags |= UMBEL_OP_MULTI;
        operation.settle();
        const int status = umbel_submit(raw_, &operation.raw, 1, &id);
        return {raw_, id, status};
    }
    /// Submits operations as one chain: each begins when the one before it succeeded.
    template <class... T>
    std::tuple<pending<T>...> chain(operation<T>... operations) {
        static_assert(sizeof...(T) <= UMBEL_CHAIN_MAX);
        (operations.settle(), ...);
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
    pending<buffers> read_pieces(const file& from, std::span<const piece> pieces, std::uint64_t offset = at_position,
                                 op_options options = {}) {
        return submit(op::read_pieces(from, pieces, offset, options));
    }
    pending<std::size_t> write(const file& to, buffer_list&& bytes, std::uint64_t offset = at_position,
                               op_options options = {}) {
        return submit(op::write(to, bytes, offset, options));
    }
    pending<void> sync(const file& of, op_options options = {}) { return submit(op::sync(of, options)); }
    pending<void> data_sync(const file& of, op_options options = {}) { return submit(op::data_sync(of, options)); }
    pending<void> allocate(const file& of, std::uint64_t offset, std::uint64_t length, int mode = 0) {
        return submit(op::allocate(of, offset, length, mode));
    }
    pending<void> resize(const file& of, std::uint64_t size) { return submit(op::resize(of, size)); }
    template <class From, class To>
    pending<std::size_t> splice(const descriptor<From>& from, const descriptor<To>& to, std::size_t length,
                                std::uint64_t offset = at_position, unsigned flags = 0, op_options options = {}) {
        return submit(op::splice(from, to, length, offset, flags, options));
    }
    pending<std::size_t> splice_at(const file& from, const file& to, std::uint64_t offset, std::size_t length,
                                   unsigned flags = 0, op_options options = {}) {
        return submit(op::splice_at(from, to, offset, length, flags, options));
    }
    pending<void> unlink(std::string_view path, int directory = UMBEL_CWD, int flags = 0) {
        return submit(op::unlink(path, directory, flags));
    }
    pending<void> make_directory(std::string_view path, std::uint32_t mode = 0777, int directory = UMBEL_CWD) {
        return submit(op::make_directory(path, mode, directory));
    }
    pending<void> rename(std::string_view from, std::string_view to, op::directories in = {}, unsigned flags = 0) {
        return submit(op::rename(from, to, in, flags));
    }
    pending<void> link(std::string_view from, std::string_view to, op::directories in = {}, int flags = 0) {
        return submit(op::link(from, to, in, flags));
    }
    pending<void> symlink(std::string_view target, std::string_view path, int directory = UMBEL_CWD) {
        return submit(op::symlink(target, path, directory));
    }
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
    pending<std::size_t> send_message(const socket& via, std::span<const std::byte> bytes,
                                      const op::message_parts& parts = {}, op_options options = {}) {
        return submit(op::send_message(via, bytes, parts, options));
    }
    pending<std::size_t> send_message(const socket& via, std::span<const std::byte> head, buffer_list&& bytes,
                                      const op::message_parts& parts = {}, op_options options = {}) {
        return submit(op::send_message(via, head, bytes, parts, options));
    }
    pending<std::size_t> send_message(const socket& via, datagram&& received, const op::message_parts& parts = {},
                                      op_options options = {}) {
        return submit(op::send_message(via, received, parts, options));
    }
    pending<std::size_t> send_to(const socket& via, const endpoint& to, std::span<const std::byte> bytes,
                                 op_options options = {}) {
        return submit(op::send_to(via, to, bytes, options));
    }
    pending<datagram> receive_message(const socket& from, std::size_t length, std::uint32_t descriptors = 0,
                                      op_options options = {}) {
        return submit(op::receive_message(from, length, descriptors, options));
    }
    pending<file_events> events(const watcher& of, op_options options = {}) {
        return submit(op::events(of, 4096, options));
    }
    pending<signal_info> next_signal(const signals& of, op_options options = {}) {
        return submit(op::next_signal(of, options));
    }
    pending<void> end_of(const process& awaited, op_options options = {}) {
        return submit(op::end_of(awaited, options));
    }
    pending<void> shutdown(const socket& peer, int how) { return submit(op::shutdown(peer, how)); }
    pending<std::size_t> poll(int fd, int events, op_options options = {}) {
        return submit(op::poll(fd, events, options));
    }
    stream<std::size_t> poll_many(int fd, int events, op_options options = {}) {
        return submit_many(op::poll(fd, events, options));
    }
    pending<void> timeout(nanoseconds after, op_options options = {}) { return submit(op::timeout(after, options)); }
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

    // -- shared blocks --

    /// A block of `size` bytes (1 B … 1 GiB), to be written and then shared. Errors: UMBEL_E_NO_MEMORY.
    result<shared_block> make_block(std::size_t size) {
        umbel_block* made = nullptr;
        if (const int status = umbel_block_make(raw_, size, &made); status < 0) return std::unexpected(error{status});
        return shared_block::unpack(made);
    }
    /// Borrows a part of it as a buffer to send or write, without a copy. Errors: UMBEL_E_IO_HEAP_FULL.
    result<buffer> lend(const shared_block& block, std::size_t offset, std::size_t size) {
        umbel_buffer lent{};
        if (!block) return std::unexpected(error{UMBEL_E_INVALID});
        const int status = umbel_block_lend(raw_, block.raw(), offset, size, &lent);
        if (status < 0) return std::unexpected(error{status});
        return buffer(raw_, lent);
    }
    result<buffer> lend(const shared_block& block) { return lend(block, 0, block.size()); }

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

    /// The actor has not ended: for who waits for its answer.
    [[nodiscard]] bool alive(actor_id id) { return umbel_alive(raw_, id.value) != 0; }

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
    /// Whether this plugin's lines of this level are written now: ask before building a costly text.
    [[nodiscard]] bool logs(log_level level) const { return umbel_log_enabled(raw_, static_cast<int>(level)) != 0; }
    /// Logs a structured event: its fields become keys of the line. Never waits. A wrong name is reported in the log.
    ///     me.log_event("greeter.greeted", "hello, Ann", {{"name", name}, {"duration_us", me.now() - began}});
    void log_event(const char* name, std::string_view text, std::initializer_list<log_field> fields) {
        log_event(log_level::info, name, text, {fields.begin(), fields.size()});
    }
    void log_event(log_level level, const char* name, std::string_view text, std::initializer_list<log_field> fields) {
        log_event(level, name, text, {fields.begin(), fields.size()});
    }
    void log_event(log_level level, const char* name, std::string_view text, std::span<const log_field> fields) {
        umbel_log_event(raw_, static_cast<int>(level), name, text.data(), text.size(), fields.data(),
                        static_cast<std::uint32_t>(fields.size()));
    }
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

    /// A pipe; flags: O_NONBLOCK, O_DIRECT.
    result<pipe> make_pipe(int flags = 0) {
        std::array<int, 2> ends{};
        const int status = umbel_make_pipe(raw_, flags, ends.data());
        if (status < 0) return std::unexpected(error{status});
        return pipe{file(raw_, ends[0]), file(raw_, ends[1])};
    }

    /// What changes of files are read from, with events().
    result<watcher> open_watcher() { return opened<watcher>(umbel_open_watcher(raw_)); }
    /// Watches `path` (relative to `directory`) for events of `mask` (IN_…). Gives the watch's number. Waits.
    result<int> watch(const watcher& with, std::string_view path, std::uint32_t mask, int directory = UMBEL_CWD) {
        const int follow = (mask & IN_DONT_FOLLOW) != 0 ? O_NOFOLLOW : 0;
        const auto place = await(open(path, O_PATH | follow, directory));
        if (!place) return std::unexpected(place.error());
        const int number = umbel_add_watch(raw_, with.fd(), place->fd(), mask);
        if (number < 0) return std::unexpected(error{number});
        return number;
    }
    result<void> unwatch(const watcher& with, int number) {
        return checked(umbel_remove_watch(raw_, with.fd(), number));
    }

    /// Claims signals: from now on, each is read with next_signal(). -EBUSY: another actor has one of them.
    result<signals> open_signals(std::initializer_list<int> wanted) {
        return opened<signals>(umbel_open_signals(raw_, wanted.begin(), static_cast<std::uint32_t>(wanted.size())));
    }

    /// What stands for a process, for end_of().
    result<process> open_process(int pid) { return opened<process>(umbel_open_process(raw_, pid)); }
    /// How a child of the daemon's has ended, once; nullopt: it runs still. Never waits.
    result<std::optional<process_end>> exit_of(const process& ended) {
        umbel_process_status status{};
        const int known = umbel_exit_of(raw_, ended.fd(), &status);
        if (known < 0) return std::unexpected(error{known});
        if (known == 0) return std::nullopt;
        return process_end{status.code, status.status};
    }

    /// Opens a TCP listener; `shared` lets several listeners have the same address (SO_REUSEPORT).
    result<socket> listen_on(const endpoint& address, std::uint32_t backlog = 4096, bool shared = false);
    /// One listener for each executor, all with this address: the kernel spreads the connections over them. Fails
    /// with EADDRINUSE if somebody else listens there, SO_REUSEPORT or not. Port 0: a free one, put into `address`.
    result<std::vector<socket>> listen_everywhere(endpoint& address, std::uint32_t backlog = 4096);
    /// Listens on `where`, the value of a setting of type LISTEN: an address, or `systemd:NAME`, the sockets that were passed
    /// to the daemon under that name. One socket for each executor and address. The error is a sentence for fail().
    std::expected<listeners, std::string> listen_everywhere(std::string_view where, std::uint32_t backlog = 4096);
    /// As that, with one socket (of a passed name: the only one) for the caller alone.
    std::expected<listeners, std::string> listen_on(std::string_view where, std::uint32_t backlog = 4096);
    /// A new descriptor of a socket that was passed under this name; `index` among several. The error is the reason and the
    /// remedy.
    std::expected<socket, std::string> take_listener(const std::string& name, std::uint32_t index = 0);
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
    template <class Descriptor>
    result<Descriptor> opened(int status) {
        if (status < 0) return std::unexpected(error{status});
        return Descriptor(raw_, status);
    }
    static result<void> checked(int status) {
        if (status < 0) return std::unexpected(error{status});
        return {};
    }

    umbel_self* raw_;
};

inline bool buffer_list::add(self& me, buffer&& bytes) {
    count_ = size();
    if (count_ == raw_.size() || bytes.raw()->data == nullptr) return false;
    owner_ = me.raw();
    raw_[count_++] = std::exchange(*bytes.raw(), {});
    return true;
}

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

}  // namespace umbel
#pragma GCC visibility pop
