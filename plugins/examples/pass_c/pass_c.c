/* pass_c.c: a descriptor passed from one actor to another over a unix socket, and a read in two pieces. See README.md. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "umbel/abi.h"

enum { message_bound = 1, message_read = 2 };

static const char* path;

static int load(const umbel_host* host, const umbel_settings* settings, char* error, size_t error_size) {
    path = host->setting_text(settings, "file");
    if (path[0] != '\0') return 0;
    snprintf(error, error_size, "file: the path is empty");
    return UMBEL_E_INVALID;
}

/* Submits one operation and waits for its completion. Returns its result; what it brings is in *completion. */
static int64_t perform(umbel_self* self, const umbel_operation* operation, umbel_message* completion) {
    umbel_pending pending = 0;
    int status = umbel_submit(self, operation, 1, &pending);
    if (status == 0) status = umbel_await(self, pending, UINT64_MAX, completion);
    return status < 0 ? status : completion->result;
}

/* The same; ends the actor if it fails. */
static int64_t must(umbel_self* self, const umbel_operation* operation, umbel_message* completion) {
    const int64_t result = perform(self, operation, completion);
    if (result < 0) umbel_exit(self, self->host->error_text(result));
    return result;
}

/* An address that is no file: abstract, and this process's own. */
static umbel_slice meeting_point(struct sockaddr_un* address) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    const int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "umbel-pass-c-%d", (int)getpid());
    const umbel_slice slice = {address, offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length};
    return slice;
}

static int open_socket(umbel_self* self) {
    umbel_message completion;
    const umbel_operation open = {.code = UMBEL_OP_SOCKET, .arg = AF_UNIX, .arg2 = SOCK_DGRAM};
    return (int)must(self, &open, &completion);
}

struct receiver_state {
    umbel_actor_id asked_by;
};

static void receiver_run(umbel_self* self, void* state) {
    const umbel_actor_id asked_by = ((struct receiver_state*)state)->asked_by;
    struct sockaddr_un address;
    umbel_message completion;
    const int fd = open_socket(self);
    const umbel_slice place = meeting_point(&address);
    const umbel_operation bind = {.code = UMBEL_OP_BIND, .fd = fd, .slices = &place, .slice_count = 1};
    must(self, &bind, &completion);
    umbel_send(self, asked_by, message_bound, NULL, 0);

    const umbel_operation receive = {.code = UMBEL_OP_RECVMSG, .fd = fd, .length = 256, .arg2 = 1};
    must(self, &receive, &completion);
    umbel_datagram received; /* copied: the buffer goes back at once */
    memcpy(&received, completion.buffer.data, sizeof received);
    umbel_release(self, &completion.buffer);
    if (received.descriptor_count != 1) umbel_exit(self, "no descriptor came");
    const int passed = received.descriptors[0]; /* this actor's: closed when it ends, if not before */

    /* Its first 16 bytes into memory of the actor, what follows into a fresh buffer. */
    char first[17] = "";
    const umbel_slice pieces[2] = {{first, 16}, {NULL, 4096}};
    const umbel_operation read = {.code = UMBEL_OP_READV, .fd = passed, .slices = pieces, .slice_count = 2};
    const int64_t total = must(self, &read, &completion);
    umbel_buffer rest = umbel_vector(&completion.buffer)[1];
    umbel_vector(&completion.buffer)[1] = (umbel_buffer){0}; /* taken */
    umbel_release(self, &completion.buffer);

    char text[128];
    const int length = snprintf(text, sizeof text, "%lld bytes, %u of them in a buffer", (long long)total, rest.size);
    umbel_release(self, &rest);
    umbel_send(self, asked_by, message_read, text, (uint32_t)length + 1);
}

static umbel_actor_type receiver_type = {.size = sizeof(umbel_actor_type),
                                         .state_size = sizeof(struct receiver_state),
                                         .name = "receiver",
                                         .run = receiver_run};

static void run(umbel_self* self, void* state) {
    umbel_message message;
    (void)state;
    const struct receiver_state wanted = {umbel_id(self)};
    umbel_actor_id receiver = 0;
    if (umbel_spawn(self, &receiver_type, &wanted, sizeof wanted, UMBEL_SPREAD, &receiver) < 0)
        umbel_exit(self, "cannot spawn");
    while (umbel_receive(self, UINT64_MAX, &message) == 0 && message.type != message_bound) {
    }

    const umbel_slice name = {path, strlen(path)};
    const umbel_operation open = {
        .code = UMBEL_OP_OPENAT2, .fd = UMBEL_CWD, .arg = O_RDONLY, .slices = &name, .slice_count = 1};
    const int32_t file = (int32_t)must(self, &open, &message);

    struct sockaddr_un address;
    const umbel_slice parts[3] = {meeting_point(&address), {&file, sizeof file}, {"take this", 9}};
    const umbel_operation send = {.code = UMBEL_OP_SENDMSG, .fd = open_socket(self), .slices = parts, .slice_count = 3};
    const umbel_operation close = {.code = UMBEL_OP_CLOSE, .flags = UMBEL_OP_DETACHED, .fd = file};
    umbel_pending sending = 0;
    if (umbel_submit(self, &send, 1, &sending) < 0) umbel_exit(self, "cannot send");
    umbel_submit(self, &close, 1, NULL); /* the message has a duplicate */
    if (umbel_await(self, sending, UINT64_MAX, &message) < 0 || message.result < 0) umbel_exit(self, "cannot send");

    while (umbel_receive(self, UINT64_MAX, &message) == 0 && message.type != message_read) {
    }
    char line[256];
    snprintf(line, sizeof line, "passed %.80s: %.120s", path, (const char*)message.data);
    umbel_ready(self, line);
}

static umbel_actor_type main_type = {.size = sizeof(umbel_actor_type), .name = "main", .run = run};

static const umbel_setting settings[] = {
    {.name = "file",
     .type = UMBEL_SETTING_TEXT,
     .default_value = "/etc/os-release",
     .description = "The file whose descriptor is passed; relative to the daemon's working directory"},
};

UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {
    UMBEL_PLUGIN_HEADER,
    .setting_count = sizeof settings / sizeof settings[0],
    .settings = settings,
    .name = "pass_c",
    .version = "0.1.0",
    .description = "Example: passes a descriptor, in C",
    .load = load,
    .main = &main_type,
    .main_placement = UMBEL_MAIN_ONCE,
};
