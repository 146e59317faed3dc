#include "runtime/plugin/host.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "runtime/plugin/settings.h"
#include "runtime/sched/executor.h"

namespace umbel::rt {

namespace {

Executor& executor_of(umbel_self* self) { return *context_of(self).executor; }

int host_submit(umbel_self* self, const umbel_operation* operations, std::uint32_t count, umbel_pending* pendings) {
    return executor_of(self).submit(context_of(self), {operations, count}, pendings);
}
int host_await(umbel_self* self, umbel_pending pending, std::uint64_t timeout_ns, umbel_message* message) {
    return executor_of(self).await(context_of(self), pending, timeout_ns, *message);
}
void host_forget(umbel_self* self, umbel_pending pending) { executor_of(self).forget(context_of(self), pending); }
int host_receive(umbel_self* self, std::uint64_t timeout_ns, umbel_message* message) {
    return executor_of(self).receive(context_of(self), timeout_ns, *message);
}
int host_send(umbel_self* self, umbel_actor_id to, std::uint32_t type, const void* data, std::uint32_t bytes) {
    return executor_of(self).send(context_of(self), ActorId{to}, type, data, bytes);
}
int host_spawn(umbel_self* self, umbel_actor_type* type, const void* state, std::uint32_t bytes, int where,
               umbel_actor_id* id) {
    ActorId spawned;
    const int status = executor_of(self).spawn(context_of(self), *type, state, bytes, where, spawned);
    if (id != nullptr) *id = spawned.value;
    return status;
}
void host_exit(umbel_self* self, const char* reason) {
    executor_of(self).exit(context_of(self), reason == nullptr ? std::string_view() : std::string_view(reason));
}
void host_release(umbel_self* self, umbel_buffer* buffer) { executor_of(self).release(context_of(self), *buffer); }
umbel_actor_id host_id(const umbel_self* self) { return context_of(self).actor; }
int host_register_name(umbel_self* self, const char* name) {
    return name == nullptr ? int{UMBEL_E_INVALID} : executor_of(self).register_name(context_of(self), name);
}
umbel_actor_id host_whereis(umbel_self* self, const char* name) {
    return name == nullptr ? 0 : executor_of(self).shared().directory.whereis(name).value;
}
int host_adopt(umbel_self* self, int fd) { return executor_of(self).adopt(context_of(self), fd); }
int host_set_socket_option(umbel_self* self, int fd, int level, int option, int value) {
    return executor_of(self).ring().set_socket_option(fd, level, option, value);
}
int host_local_address(umbel_self* self, int fd, void* address, std::uint32_t* size) {
    return executor_of(self).ring().local_address(fd, static_cast<sockaddr*>(address), size);
}
int host_make_pipe(umbel_self* self, int flags, int* ends) {
    return executor_of(self).make_pipe(context_of(self), flags, ends);
}
int host_open_watcher(umbel_self* self) { return executor_of(self).open_watcher(context_of(self)); }
int host_add_watch(umbel_self* self, int watcher, int path_fd, std::uint32_t mask) {
    return executor_of(self).add_watch(context_of(self), watcher, path_fd, mask);
}
int host_remove_watch(umbel_self* self, int watcher, int watch) {
    return executor_of(self).remove_watch(context_of(self), watcher, watch);
}
int host_open_process(umbel_self* self, std::int32_t pid) {
    return executor_of(self).open_process(context_of(self), pid);
}
int host_process_status(umbel_self* self, int process, umbel_process_status* status) {
    return executor_of(self).process_status(context_of(self), process, *status);
}
int host_open_signals(umbel_self* self, const int* signals, std::uint32_t count) {
    return executor_of(self).open_signals(context_of(self), {signals, count});
}
void host_yield(umbel_self* self) { executor_of(self).yield(context_of(self)); }
std::uint64_t host_now(const umbel_self* self) {
    return static_cast<std::uint64_t>(context_of(self).executor->now().count());
}
std::uint32_t host_executor(const umbel_self* self) {
    return static_cast<std::uint32_t>(index_of(context_of(self).executor->index()));
}
std::uint32_t host_executor_count(const umbel_self* self) {
    return static_cast<std::uint32_t>(context_of(self).executor->shared().ports.size());
}
int host_alive(umbel_self* self, umbel_actor_id id) {
    return context_of(self).executor->shared().directory.find(ActorId{id}) != nullptr ? 1 : 0;
}
int host_draining(const umbel_self* self) { return context_of(self).executor->draining(context_of(self)) ? 1 : 0; }
void host_ready(umbel_self* self, const char* text) {
    executor_of(self).ready(context_of(self), text == nullptr ? std::string_view() : std::string_view(text));
}
Level known_level(int level) {
    return static_cast<Level>(level < UMBEL_LOG_TRACE   ? UMBEL_LOG_TRACE
                              : level > UMBEL_LOG_ERROR ? UMBEL_LOG_ERROR
                                                        : level);
}
void host_log(umbel_self* self, int level, const char* text, std::size_t bytes) {
    executor_of(self).log(context_of(self), known_level(level), {text, text == nullptr ? 0 : bytes});
}
int host_log_enabled(const umbel_self* self, int level) {
    return context_of(self).executor->wants(context_of(self), known_level(level)) ? 1 : 0;
}
int host_log_event(umbel_self* self, int level, const char* name, const char* text, std::size_t bytes,
                   const umbel_field* fields, std::uint32_t count) {
    if (count != 0 && fields == nullptr) return UMBEL_E_INVALID;
    return executor_of(self).log_event(context_of(self), known_level(level), name, {text, text == nullptr ? 0 : bytes},
                                       {fields, count});
}

// An umbel_block is a SharedBlock that only we can look into.
SharedBlock& block_of(umbel_block* block) { return *reinterpret_cast<SharedBlock*>(block); }
int host_block_make(umbel_self* self, std::uint64_t size, umbel_block** out) {
    if (size == 0 || size > SharedBlocks::most_bytes) return UMBEL_E_INVALID;
    SharedBlock* const made = executor_of(self).shared().blocks.make(size);
    if (made == nullptr) return UMBEL_E_NO_MEMORY;
    *out = reinterpret_cast<umbel_block*>(made);
    return 0;
}
int host_block_lend(umbel_self* self, umbel_block* block, std::uint64_t offset, std::uint64_t size, umbel_buffer* out) {
    return executor_of(self).lend(context_of(self), block_of(block), offset, size, *out);
}
void* host_block_data(umbel_block* block) { return block_of(block).data(); }
std::uint64_t host_block_size(const umbel_block* block) { return reinterpret_cast<const SharedBlock*>(block)->size(); }
void host_block_retain(umbel_block* block) { block_of(block).retain(); }
void host_block_release(umbel_block* block) { block_of(block).release(); }

const char* host_error_text(std::int64_t code) {
    switch (code) {
        case UMBEL_E_IO_HEAP_FULL:
            return "the actor's I/O heap is full";
        case UMBEL_E_MAILBOX_FULL:
            return "the mailbox is full";
        case UMBEL_E_NO_ACTOR:
            return "no such actor";
        case UMBEL_E_UNSUPPORTED:
            return "not supported by this kernel";
        case UMBEL_E_DEADLINE:
            return "the deadline has passed";
        case UMBEL_E_INVALID:
            return "invalid argument or use";
        case UMBEL_E_TOO_MANY_ACTORS:
            return "actors.max is reached";
        case UMBEL_E_TIMEOUT:
            return "nothing came in time";
        case UMBEL_E_NAME_TAKEN:
            return "another actor has this name";
        case UMBEL_E_NO_MEMORY:
            return "no memory, or its limit is reached";
        case UMBEL_E_NO_LISTENER:
            return "no socket of this name was passed";
        default:
            break;
    }
    if (code >= 0) return "success";
    const char* text = code > -4096 ? strerrordesc_np(static_cast<int>(-code)) : nullptr;
    return text != nullptr ? text : "unknown error";
}

int host_take_listener(umbel_self* self, const char* name, std::uint32_t index, char* why, std::size_t why_size) {
    std::string reason;
    const int fd =
        name == nullptr ? int{UMBEL_E_INVALID} : executor_of(self).take_listener(context_of(self), name, index, reason);
    if (fd < 0 && reason.empty()) reason = host_error_text(fd);
    if (why != nullptr && why_size != 0) {
        const std::size_t kept = std::min(reason.size(), why_size - 1);
        std::memcpy(why, reason.data(), kept);
        why[kept] = '\0';
    }
    return fd;
}

constexpr umbel_host table{
    .size = sizeof(umbel_host),
    .abi_version = UMBEL_ABI_VERSION,
    .submit = host_submit,
    .await = host_await,
    .forget = host_forget,
    .receive = host_receive,
    .send = host_send,
    .spawn = host_spawn,
    .exit = host_exit,
    .release = host_release,
    .id = host_id,
    .register_name = host_register_name,
    .whereis = host_whereis,
    .adopt = host_adopt,
    .set_socket_option = host_set_socket_option,
    .local_address = host_local_address,
    .yield = host_yield,
    .now = host_now,
    .executor = host_executor,
    .executor_count = host_executor_count,
    .draining = host_draining,
    .ready = host_ready,
    .log = host_log,
    .error_text = host_error_text,
    .setting_text = setting_text,
    .setting_number = setting_number,
    .block_make = host_block_make,
    .block_lend = host_block_lend,
    .block_data = host_block_data,
    .block_size = host_block_size,
    .block_retain = host_block_retain,
    .block_release = host_block_release,
    .log_enabled = host_log_enabled,
    .log_event = host_log_event,
    .make_pipe = host_make_pipe,
    .open_watcher = host_open_watcher,
    .add_watch = host_add_watch,
    .remove_watch = host_remove_watch,
    .open_process = host_open_process,
    .process_status = host_process_status,
    .open_signals = host_open_signals,
    .alive = host_alive,
    .take_listener = host_take_listener,
};

}  // namespace

const umbel_host& host_table() { return table; }

}  // namespace umbel::rt
