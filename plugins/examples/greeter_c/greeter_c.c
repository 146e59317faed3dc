/* greeter_c.c: answers each line it receives over TCP with a greeting; an empty line ends the connection.
 *
 * Shape.  main_run listens and spawns one session a connection. Whatever waits suspends the actor, not the thread.
 * Errors. Functions return 0 or more, or a negative error: -errno or UMBEL_E_…. What an actor got from the runtime is
 *         freed when it ends, however it ends, so an error may simply end it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "umbel/abi.h"

enum { LINE_MAX_BYTES = 1000 };

/* Written by load, before any actor lives; only read afterwards. */
static const umbel_host* host;
static struct sockaddr_in address;
static const char* address_text;
static const char* greeting;
static uint64_t idle_timeout_ns;

/* ---- One operation, from submission to completion ----------------------------------------------------------------- */

/* Waits at most timeout_ns; what is not over then is given up. Returns the result; what it brings is in *completion. */
static int64_t perform(umbel_self* self, const umbel_operation* operation, uint64_t timeout_ns,
                       umbel_message* completion) {
    umbel_pending pending = 0;
    int status = umbel_submit(self, operation, 1, &pending);
    if (status < 0) return status;
    status = umbel_await(self, pending, timeout_ns, completion);
    if (status == UMBEL_E_TIMEOUT) umbel_forget(self, pending); /* cancelled, and what it brings is freed */
    return status < 0 ? status : completion->result;
}

/* One whose completion brings nothing but its result. */
static int64_t perform_plain(umbel_self* self, const umbel_operation* operation) {
    umbel_message completion;
    return perform(self, operation, UINT64_MAX, &completion);
}

/* ---- One connection --------------------------------------------------------------------------------------------------- */

struct session_state {
    int fd;
};

static int64_t send_text(umbel_self* self, int fd, const umbel_slice* slices, uint32_t count) {
    /* The slices are copied at submission, one behind the other; all of it is sent. */
    const umbel_operation send = {.code = UMBEL_OP_SEND, .fd = fd, .slices = slices, .slice_count = count};
    return perform_plain(self, &send);
}

/* Answers every whole line in text[0 … *size) and keeps the rest at the front. Returns 0, or 1 when it is over. */
static int answer_lines(umbel_self* self, int fd, char* text, size_t* size) {
    size_t done = 0;
    for (;;) {
        char* line = text + done;
        char* end = memchr(line, '\n', *size - done);
        if (end == NULL) break;
        size_t length = (size_t)(end - line);
        done += length + 1;
        if (length > 0 && line[length - 1] == '\r') --length;
        if (length == 0) return 1;
        const umbel_slice answer[] = {{greeting, strlen(greeting)}, {", ", 2}, {line, length}, {"!\n", 2}};
        if (send_text(self, fd, answer, 4) < 0) return 1; /* the client is gone */
    }
    memmove(text, text + done, *size - done);
    *size -= done;
    return *size > LINE_MAX_BYTES;
}

static void session_run(umbel_self* self, void* state) {
    const int fd = ((struct session_state*)state)->fd;
    umbel_adopt(self, fd); /* it was the main actor's; from now on it is closed when this actor ends */
    char text[2 * LINE_MAX_BYTES];
    size_t size = 0;
    for (;;) {
        /* UMBEL_OP_DRAINS: it only waits for work, so draining may end it. Answering is not cut short. */
        const umbel_operation receive = {
            .code = UMBEL_OP_RECV, .flags = UMBEL_OP_DRAINS, .fd = fd, .length = LINE_MAX_BYTES - 1};
        umbel_message completion;
        const int64_t received = perform(self, &receive, idle_timeout_ns, &completion);
        if (received < 0) return; /* broken, too slow, or the daemon drains */
        memcpy(text + size, completion.buffer.data, (size_t)received);
        size += (size_t)received;
        umbel_release(self, &completion.buffer); /* a fresh buffer, in the I/O heap: ours until given back */
        if (received == 0 || answer_lines(self, fd, text, &size)) return;
    }
}

static umbel_actor_type session_type = {.size = sizeof(umbel_actor_type),
                                        .state_size = sizeof(struct session_state),
                                        .name = "session",
                                        .run = session_run};

/* ---- What the runtime starts -------------------------------------------------------------------------------------------- */

/* A listening socket, or an error. */
static int64_t listen_on_address(umbel_self* self) {
    const umbel_operation open = {.code = UMBEL_OP_SOCKET, .arg = AF_INET, .arg2 = SOCK_STREAM};
    const int64_t fd = perform_plain(self, &open);
    if (fd < 0) return fd;
    umbel_set_socket_option(self, (int)fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const umbel_slice name = {&address, sizeof address};
    const umbel_operation bind = {.code = UMBEL_OP_BIND, .fd = (int)fd, .slices = &name, .slice_count = 1};
    const int64_t bound = perform_plain(self, &bind);
    if (bound < 0) return bound;
    const umbel_operation listen = {.code = UMBEL_OP_LISTEN, .fd = (int)fd, .arg = 4096};
    const int64_t listening = perform_plain(self, &listen);
    return listening < 0 ? listening : fd;
}

static void main_run(umbel_self* self, void* state) {
    char text[256];
    (void)state;
    const int64_t listener = listen_on_address(self);
    if (listener < 0) {
        snprintf(text, sizeof text, "cannot listen on %s: %s", address_text, host->error_text(listener));
        umbel_exit(self, text); /* does not return: the daemon does not start, and says this */
    }
    snprintf(text, sizeof text, "listening on %s", address_text);
    umbel_ready(self, text);
    for (;;) {
        const umbel_operation accept = {.code = UMBEL_OP_ACCEPT, .fd = (int)listener};
        struct session_state session;
        const int64_t accepted = perform_plain(self, &accept);
        if (accepted == -ECANCELED) return; /* the daemon drains */
        if (accepted < 0) {                 /* no descriptors left, for instance: it passes */
            snprintf(text, sizeof text, "cannot accept a connection: %s", host->error_text(accepted));
            umbel_log(self, UMBEL_LOG_WARNING, text, strlen(text));
            const umbel_operation pause = {.code = UMBEL_OP_TIMEOUT, .offset = UINT64_C(100000000)};
            (void)perform_plain(self, &pause);
            continue;
        }
        session.fd = (int)accepted;
        const int spawned = umbel_spawn(self, &session_type, &session, sizeof session, UMBEL_HERE, NULL);
        if (spawned < 0) {
            const umbel_operation close = {.code = UMBEL_OP_CLOSE, .fd = session.fd};
            (void)perform_plain(self, &close);
        }
        umbel_yield(self); /* the session adopts its socket before this actor may end */
    }
}

static umbel_actor_type main_type = {.size = sizeof(umbel_actor_type), .name = "main", .run = main_run};

/* ---- Settings and descriptor ------------------------------------------------------------------------------------------------ */

static int load(const umbel_host* given, const umbel_settings* settings, char* error, size_t error_size) {
    host = given;
    address_text = host->setting_text(settings, "listen");
    greeting = host->setting_text(settings, "greeting");
    idle_timeout_ns = (uint64_t)host->setting_number(settings, "idle_timeout");
    /* The runtime has checked that it is IPv4:port or [IPv6]:port. */
    char name[64];
    const char* colon = strrchr(address_text, ':');
    snprintf(name, sizeof name, "%.*s", (int)(colon - address_text), address_text);
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, name, &address.sin_addr) == 1) return 0;
    snprintf(error, error_size, "listen: %s is no IPv4 address (this plugin knows no others)", name);
    return UMBEL_E_INVALID;
}

static const umbel_setting settings[] = {
    {.name = "listen",
     .type = UMBEL_SETTING_ADDRESS,
     .default_value = "127.0.0.1:7777",
     .description = "IPv4 address and TCP port to listen on"},
    {.name = "greeting",
     .type = UMBEL_SETTING_TEXT,
     .default_value = "hello",
     .description = "What every answer begins with"},
    {.name = "idle_timeout",
     .type = UMBEL_SETTING_DURATION,
     .default_value = "1min",
     .min = INT64_C(1000000),
     .max = INT64_C(3600000000000),
     .description = "A connection that says nothing for so long is closed"},
};

UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {
    UMBEL_PLUGIN_HEADER,
    .setting_count = sizeof settings / sizeof settings[0],
    .settings = settings,
    .name = "greeter_c",
    .version = "0.1.0",
    .description = "Greets whoever sends a line, in C",
    .load = load,
    .main = &main_type,
    .main_placement = UMBEL_MAIN_ONCE,
};
