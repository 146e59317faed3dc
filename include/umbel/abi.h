/* abi.h: everything a plugin and umbeld agree on. C11 and C++20; includes nothing else of ours.
 *
 * Why.    Plugins are compiled by others, at other times, by other compilers. What crosses between them and the
 *         daemon is C: one exported symbol (the descriptor), functions by table, structures that only grow.
 * Shape.  The plugin exports `umbel_plugin_descriptor`. The runtime reads it (no code of the plugin runs for that),
 *         calls `load` once, and spawns the plugin's main actor on each executor. An actor is code that gets a
 *         `umbel_self*`, the door to everything it may do: `self->host->…`, spelt `umbel_…(self, …)` below.
 * Roles.  Each function says who may call it:
 *           [control]   the control thread, in load, reload and unload, one at a time; never an actor
 *           [actor]     the actor that `self` belongs to, from its own code, on its own executor
 *           [any]       any code of the plugin on any thread
 * Waiting. A function tagged "waits" suspends the calling actor, never the thread: others run meanwhile. Any [actor]
 *         function may find its time slice over and let others run, so native `thread_local` data and `errno` must not be held
 *         across a call of it. Both styles of actor may wait, inside a handler too.
 * Errors. A negative number is an error: -errno from the system call, or one of UMBEL_E_… (umbel_error_text names
 *         both). Nothing is half done when a function returns an error.
 * Versions. UMBEL_ABI_VERSION changes when an old plugin cannot run any more. Otherwise structures grow at their end;
 *         each side tells the other its sizes, and the loader names the field that does not fit.
 */
#ifndef UMBEL_ABI_H
#define UMBEL_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UMBEL_ABI_MAGIC UINT64_C(0x6e67756c704c4255) /* "UBLplugn" in memory */
#define UMBEL_ABI_VERSION 1u
#define UMBEL_EXPORT __attribute__((visibility("default")))

/* Limits. */
#define UMBEL_STATE_MAX 128u      /* bytes of an actor's inline state, and of what spawn hands it */
#define UMBEL_MESSAGE_MAX 16384u  /* bytes of one message */
#define UMBEL_CHAIN_MAX 16u       /* operations of one chain */
#define UMBEL_BUFFER_MAX 2097152u /* bytes of one buffer: the largest size class of the I/O heap */
#define UMBEL_NAME_MAX 63u        /* bytes of a registered name */
#define UMBEL_VECTOR_MAX 16u      /* pieces of one READV, WRITEV or SENDMSG */
#define UMBEL_DESCRIPTORS_MAX 24u /* descriptors passed with one SENDMSG, taken by one RECVMSG */
#define UMBEL_LOG_TEXT_MAX 800u   /* bytes of a log line's text that are kept */
#define UMBEL_EVENT_NAME_MAX 63u  /* bytes of a log event's name */
#define UMBEL_FIELDS_MAX 24u      /* fields of one log event */
#define UMBEL_FIELD_NAME_MAX 32u  /* bytes of a field's name */
#define UMBEL_FIELD_TEXT_MAX 512u /* bytes of a text field that are kept */

/* ---- Errors beside -errno ---------------------------------------------------------------------------------------- */

enum {
    UMBEL_E_IO_HEAP_FULL = -5001,    /* no free span fits; nothing was submitted */
    UMBEL_E_MAILBOX_FULL = -5002,    /* the receiver's mailbox, or one's own for a completion, has no room */
    UMBEL_E_NO_ACTOR = -5003,        /* no living actor has this id or name */
    UMBEL_E_UNSUPPORTED = -5004,     /* neither the kernel nor a fallback can do it */
    UMBEL_E_DEADLINE = -5005,        /* the operation's deadline passed; it was cancelled */
    UMBEL_E_INVALID = -5006,         /* an argument is wrong: see the function's contract */
    UMBEL_E_TOO_MANY_ACTORS = -5007, /* actors.max is reached */
    UMBEL_E_TIMEOUT = -5008,         /* nothing came in time */
    UMBEL_E_NAME_TAKEN = -5009,      /* another living actor has this name */
    UMBEL_E_NO_MEMORY = -5010,       /* the system gave no memory for an actor's context */
    UMBEL_E_NO_LISTENER = -5011      /* no socket of this name was passed to the daemon, or not so many */
};

/* ---- Who and what ------------------------------------------------------------------------------------------------ */

typedef uint64_t umbel_actor_id; /* 0: nobody. After the actor's death not used again by the next 2^24 actors. */
typedef uint64_t umbel_pending; /* 0: none. A result that a later message fulfils; valid in the actor that submitted. */

typedef struct umbel_host umbel_host;

/* The door of one actor to the runtime. Valid while code of that actor runs or waits. */
typedef struct umbel_self {
    const umbel_host* host;
} umbel_self;

/* Bytes in an I/O heap, owned by the actor that got them until it hands them back (umbel_release), hands them to an
 * operation (umbel_operation.buffer), or ends. `data` and `capacity` are the runtime's; `size` is how many bytes are
 * in use and may be changed between 0 and capacity. All zero: no buffer. */
typedef struct umbel_buffer {
    uint8_t* data;
    uint32_t size;
    uint32_t capacity;
    uint32_t span;   /* the runtime's */
    uint32_t origin; /* the runtime's */
} umbel_buffer;

/* Bytes that many actors send and nobody changes: written once by their maker, never moved, freed when the last reference
 * is given back. A reference is a pointer: it may be kept anywhere, and travel in a message, for the receiver to give back. */
typedef struct umbel_block umbel_block;

typedef struct umbel_slice {
    const void* data;
    size_t size;
} umbel_slice;

/* ---- Messages ---------------------------------------------------------------------------------------------------- */

enum {
    UMBEL_MESSAGE_USER = 1,       /* sent by an actor: type, data, size, sender */
    UMBEL_MESSAGE_COMPLETION = 2, /* fulfils `pending`: result, flags, buffer */
    UMBEL_MESSAGE_DRAIN = 3, /* to main actors: the daemon stops, or the plugin is retired; finish what is in flight */
    UMBEL_MESSAGE_RELOAD = 4 /* to main actors: new settings have been applied (umbel_plugin.reload) */
};

enum {
    UMBEL_COMPLETION_MORE = 1 /* of a multishot operation: further completions of this pending will come */
};

typedef struct umbel_message {
    uint32_t kind;
    uint32_t type;         /* USER: the number the sender gave it */
    umbel_actor_id sender; /* USER */
    umbel_pending pending; /* COMPLETION */
    int64_t result;        /* COMPLETION: what the system call returned, or an error */
    uint32_t flags;        /* COMPLETION */
    uint32_t size;         /* USER: bytes of data */
    const void* data;      /* USER: lies in Minor A; valid until this actor next receives or awaits; aligned to 16 */
    umbel_buffer buffer;   /* COMPLETION: the fresh buffer, or the one that comes back; now the receiver's */
} umbel_message;

/* ---- Operations -------------------------------------------------------------------------------------------------- */

/* `data` below means the bytes of `slices`, one after the other: they are copied into the I/O heap at submission and
 * may be changed at once. Where a buffer is named instead, it goes to the kernel as it is: a read or receive brings it
 * back with its completion, a write or send frees it then (UMBEL_OP_KEEP: brings it back). Results are those of the system call of the same name unless said otherwise. */
enum {
    UMBEL_OP_NOP = 0,
    UMBEL_OP_OPENAT2 = 1,  /* fd: directory or UMBEL_CWD; data: path; arg: O_… flags (O_CLOEXEC is added); arg2: mode;
                               offset: RESOLVE_… flags. Result: a descriptor, owned by the actor. */
    UMBEL_OP_CLOSE = 2,    /* fd. Ends this actor's receives, accepts, connects and polls on it with -ECANCELED. */
    UMBEL_OP_READ = 3,     /* fd; length 1 … UMBEL_BUFFER_MAX; offset or UMBEL_AT_POSITION. `into`: the bytes are
                               copied there when the completion is received. `buffer`: read into it, from its start.
                               Neither: a fresh buffer. */
    UMBEL_OP_WRITE = 4,    /* fd; data or buffer (its first `size` bytes); offset or UMBEL_AT_POSITION */
    UMBEL_OP_FSYNC = 5,    /* fd; arg: IORING_FSYNC_DATASYNC (1) or 0 */
    UMBEL_OP_STATX = 6,    /* fd: directory, UMBEL_CWD, or with an empty path the file itself (arg AT_EMPTY_PATH);
                               data: path; arg: AT_… flags; arg2: STATX_… mask. `into`: struct statx, 256 B;
                               without it a fresh buffer holds the struct statx. */
    UMBEL_OP_SOCKET = 7,   /* arg: domain; arg2: type (SOCK_CLOEXEC is added); length: protocol. A descriptor. */
    UMBEL_OP_BIND = 8,     /* fd; data: struct sockaddr */
    UMBEL_OP_LISTEN = 9,   /* fd; arg: backlog */
    UMBEL_OP_ACCEPT = 10,  /* fd; arg: SOCK_… flags (SOCK_CLOEXEC is added). A descriptor. May be UMBEL_OP_MULTI.
                               Ends with -ECANCELED when the daemon or its plugin drains. */
    UMBEL_OP_CONNECT = 11, /* fd; data: struct sockaddr */
    UMBEL_OP_RECV = 12,    /* fd; length; arg: MSG_… flags. `into`, `buffer` or neither, as READ.
                               With UMBEL_OP_MULTI: length is ignored, each completion brings a buffer of up to
                               executors.buffer_size bytes; result 0 without MORE is the end of the stream. */
    UMBEL_OP_SEND = 13,    /* fd; data or buffer; arg: MSG_… flags (MSG_NOSIGNAL and MSG_WAITALL are added: the
                               result is short only if the connection broke; before Linux 5.19 also otherwise).
                               `buffer` may be lent (umbel_block_lend), and data goes before it then, if the socket is
                               the actor's own (else -EBADF). The pages of a large block are sent as they are; the descriptor is
                               made non-blocking for that. */
    UMBEL_OP_SHUTDOWN = 14,  /* fd; arg: SHUT_… */
    UMBEL_OP_POLL = 15,      /* fd; arg: POLL… mask. Result: the events. May be UMBEL_OP_MULTI. */
    UMBEL_OP_TIMEOUT = 16,   /* offset: nanoseconds from now. Result 0 when they are over. Needs no kernel operation. */
    UMBEL_OP_CANCEL = 17,    /* offset: the umbel_pending of one operation of this actor. Result: 1, or 0 when it had
                               ended. The victim ends with -ECANCELED or, if it was faster, its own result. */
    UMBEL_OP_CANCEL_FD = 18, /* fd: all of this actor's operations on it. Result: how many were asked to end. */
    UMBEL_OP_CANCEL_ALL = 19, /* all of this actor's other operations. Result: as CANCEL_FD. */
    UMBEL_OP_SENDMSG = 20, /* fd; slices: the first is the address to send to (struct sockaddr; empty: none), the second
                              the descriptors to pass (int32_t each, at most UMBEL_DESCRIPTORS_MAX; empty: none), the
                              rest is data; no slices at all: none of these. `buffer`: `length` buffers (an array), which
                              follow the data; `offset`: bytes of the first of them that are not sent. arg: MSG_… flags
                              (MSG_NOSIGNAL is added; without descriptors MSG_WAITALL too, as SEND). The descriptors are
                              duplicated at submission: the sender may close its own at once. UMBEL_OP_KEEP: a vector. */
    UMBEL_OP_RECVMSG = 21, /* fd; length: bytes of payload; arg: MSG_… flags (MSG_CMSG_CLOEXEC is added); arg2: how many
                              descriptors are welcome, 0 … UMBEL_DESCRIPTORS_MAX; those beyond are closed (MSG_CTRUNC).
                              A fresh buffer holds an umbel_datagram, then the payload; or `into` (both, one behind the
                              other). Result: the payload's bytes. Descriptors that came are owned by the actor. */
    UMBEL_OP_SPLICE = 22, /* from fd to arg, one of them a pipe; length: at most so many bytes; arg2: SPLICE_F_… and
                              UMBEL_SPLICE_OFFSET_OUT; offset: in the file that is read (with UMBEL_SPLICE_OFFSET_OUT:
                              written), or UMBEL_AT_POSITION. Waits on a thread of the kernel's, unless
                              SPLICE_F_NONBLOCK (then -EAGAIN). Result: bytes moved, 0 at the end. */
    UMBEL_OP_READV = 23, /* fd; offset or UMBEL_AT_POSITION; into 1 … UMBEL_VECTOR_MAX pieces, filled in order. Either
                              slices: one with `data` null is a fresh buffer of `size` bytes, any other memory of the
                              actor that the bytes are copied to when the completion is received; or `buffer`: `length`
                              buffers (an array), filled up to their capacity. Brings a vector of all pieces (those of
                              the actor's memory are empty in it; none if all are). Result: bytes in all. */
    UMBEL_OP_WRITEV = 24,    /* fd; data, then `buffer`: `length` buffers (an array); offset or UMBEL_AT_POSITION.
                              UMBEL_OP_KEEP: a vector of the buffers. */
    UMBEL_OP_FALLOCATE = 25, /* fd; arg: FALLOC_FL_… mode; offset; bytes: length + arg2 * 2^32 */
    UMBEL_OP_FTRUNCATE = 26, /* fd; offset: the new size. Linux 6.9; before: UMBEL_E_UNSUPPORTED. */
    UMBEL_OP_UNLINKAT = 27,  /* fd: directory or UMBEL_CWD; data: path; arg: 0 or AT_REMOVEDIR */
    UMBEL_OP_RENAMEAT2 = 28, /* fd, arg: old and new directory (or UMBEL_CWD); two slices: old and new path; arg2:
                                 RENAME_… flags */
    UMBEL_OP_MKDIRAT = 29,   /* fd: directory or UMBEL_CWD; data: path; arg2: mode */
    UMBEL_OP_LINKAT = 30,    /* fd, arg, two slices: as RENAMEAT2; arg2: AT_SYMLINK_FOLLOW or AT_EMPTY_PATH */
    UMBEL_OP_SYMLINKAT = 31, /* fd: directory or UMBEL_CWD; two slices: what it points to, and its own path */
    UMBEL_OP_COUNT           /* this and above: UMBEL_E_UNSUPPORTED, as what the kernel lacks */
};

enum {
    UMBEL_OP_MULTI = 1,  /* accept, recv, poll: one submission, many completions */
    UMBEL_OP_DRAINS = 2, /* cancelled when the daemon or its plugin drains: waiting for a request, not answering one */
    UMBEL_OP_DETACHED = 4, /* no completion is wanted: its result is dropped, what it brings is freed */
    UMBEL_OP_KEEP = 8      /* send, write: the buffer comes back with the completion instead of being freed by it */
};

enum { UMBEL_SPLICE_OFFSET_OUT = 0x10000 }; /* SPLICE: `offset` is in the file that is written */

#define UMBEL_CWD (-100)                 /* the current directory, as AT_FDCWD */
#define UMBEL_AT_POSITION (~UINT64_C(0)) /* read or write at the file's own position */

typedef struct umbel_operation {
    uint16_t code;  /* UMBEL_OP_… */
    uint16_t flags; /* UMBEL_OP_MULTI … */
    int32_t fd;
    uint64_t offset;
    uint64_t deadline_ns; /* 0: none; else it ends with UMBEL_E_DEADLINE this many nanoseconds from now */
    uint32_t length;
    uint32_t arg;
    uint32_t arg2;
    uint32_t slice_count;
    const umbel_slice* slices;
    void* into;           /* must stay valid until the completion has been received; not of a stream */
    umbel_buffer* buffer; /* emptied on success: the operation has it now; not of a stream, once in a chain */
} umbel_operation;

/* What a RECVMSG puts at the beginning of its buffer. */
typedef struct umbel_datagram {
    uint32_t payload_offset; /* bytes from the beginning of this structure */
    uint32_t payload_size;
    uint32_t flags;        /* MSG_TRUNC: the datagram was longer; MSG_CTRUNC: descriptors were lost; MSG_EOR … */
    uint32_t address_size; /* 0: none, as of a connected stream */
    uint32_t descriptor_count;
    uint32_t reserved[3];
    uint8_t address[128];                       /* the sender's struct sockaddr */
    int32_t descriptors[UMBEL_DESCRIPTORS_MAX]; /* owned by the actor: closed when it ends, if not before */
} umbel_datagram;

/* A vector is a small buffer that holds an array of buffers: `data` is an umbel_buffer[], `size` the array's bytes. Take
 * a buffer by copying it out and emptying its place ({0}). Releasing the vector releases those that are still in it. */
static inline umbel_buffer* umbel_vector(const umbel_buffer* vector) { return (umbel_buffer*)(void*)vector->data; }
static inline uint32_t umbel_vector_size(const umbel_buffer* vector) {
    return vector->size / (uint32_t)sizeof(umbel_buffer);
}

/* ---- Actor types ------------------------------------------------------------------------------------------------- */

/* An actor type has static storage in the plugin. Give either `run` (stackful: straight-line code, the actor ends when
 * it returns) or `message` (handler: called for each message, costs only its record in between). */
typedef struct umbel_actor_type {
    uint32_t size;         /* sizeof(umbel_actor_type) */
    uint32_t state_size;   /* bytes of inline state, 0 … UMBEL_STATE_MAX; begins as what spawn was given, then zeros */
    const char* name;      /* for logs and metrics */
    uint64_t memory_limit; /* bytes of each of the eight regions; 0: actors.memory_limit */
    void (*run)(umbel_self* self, void* state);
    void (*start)(umbel_self* self, void* state); /* handler, may be null: before the first message */
    void (*message)(umbel_self* self, void* state, umbel_message* message);
    void (*stop)(umbel_self* self, void* state); /* may be null: when it ends, but not when it is abandoned */
    void* runtime;                               /* the runtime's: null */
} umbel_actor_type;

enum {
    UMBEL_HERE = -1,  /* on the spawner's executor */
    UMBEL_SPREAD = -2 /* on the next executor, round robin */
};

/* ---- Settings ---------------------------------------------------------------------------------------------------- */

enum {
    UMBEL_SETTING_TEXT = 1,
    UMBEL_SETTING_INTEGER = 2,  /* min … max */
    UMBEL_SETTING_FLAG = 3,     /* true or false */
    UMBEL_SETTING_SIZE = 4,     /* bytes; written 64KiB, 2MiB …; min … max */
    UMBEL_SETTING_DURATION = 5, /* nanoseconds; written 250us, 10ms, 5s, 1min …; min … max */
    UMBEL_SETTING_FOLDER = 6,   /* an existing folder; relative to the working directory */
    UMBEL_SETTING_ADDRESS = 7,  /* IPv4:port or [IPv6]:port */
    UMBEL_SETTING_LISTEN = 8    /* as ADDRESS, or systemd:NAME, a socket passed under this name: umbel_take_listener */
};

/* One key of the plugin's section in the config file. */
typedef struct umbel_setting {
    const char* name;          /* snake_case */
    uint32_t type;             /* UMBEL_SETTING_… */
    uint32_t required;         /* 1: has no default */
    const char* default_value; /* as written in a file */
    int64_t min;
    int64_t max;
    const char* description; /* one line, with the unit */
} umbel_setting;

typedef struct umbel_settings umbel_settings; /* the checked values of one plugin's section */

/* ---- The plugin's descriptor --------------------------------------------------------------------------------------- */

enum { UMBEL_MAIN_EVERYWHERE = 0, UMBEL_MAIN_ONCE = 1 };

/* What umbel_plugin.reload is asked to do. A CHECK that returned 0 is followed by exactly one APPLY or DROP. */
enum {
    UMBEL_RELOAD_CHECK =
        0, /* could these settings be applied? Prepares what may fail, changes nothing that actors see */
    UMBEL_RELOAD_APPLY = 1, /* now they count: publishes what was prepared. Cannot fail */
    UMBEL_RELOAD_DROP = 2   /* another part of the configuration was refused: forgets what was prepared */
};

/* In C++, what was appended to a structure since its first version need not be named by who fills it in. */
#ifdef __cplusplus
#define UMBEL_APPENDED = nullptr
#else
#define UMBEL_APPENDED
#endif

typedef struct umbel_plugin {
    uint64_t magic;           /* UMBEL_ABI_MAGIC */
    uint32_t abi_version;     /* UMBEL_ABI_VERSION */
    uint32_t descriptor_size; /* sizeof(umbel_plugin) */
    uint32_t host_size;       /* sizeof(umbel_host) the plugin was compiled with */
    uint32_t operation_size;  /* sizeof(umbel_operation) */
    uint32_t message_size;    /* sizeof(umbel_message) */
    uint32_t actor_type_size; /* sizeof(umbel_actor_type) */
    uint32_t setting_size;    /* sizeof(umbel_setting) */
    uint32_t setting_count;
    const umbel_setting* settings;
    const char* name; /* as in [plugin.NAME] of the samples; for people */
    const char* version;
    const char* description;
    /* [control] Called once before any actor of the plugin. `settings` and `host` live as long as the process.
     * Returns 0, or an error after writing a sentence into `error` (error_size bytes): the daemon does not start, or
     * refuses the reload that adds the plugin. Must not leave threads, must not open what only a running daemon may hold:
     * it is also called by --check-config. Called again, in the same globals, when the plugin was retired (or added in
     * vain) and is added once more: it must set everything it relies on. */
    int (*load)(const umbel_host* host, const umbel_settings* settings, char* error, size_t error_size);
    /* [control] Called after the last actor has ended: the daemon stops, or the plugin was retired. May be null. */
    void (*unload)(void);
    /* Spawned by the runtime, on each executor or on one. The plugin is ready when each has called umbel_ready or
     * ended; one that fails before stops the daemon. */
    umbel_actor_type* main;
    uint32_t main_placement; /* UMBEL_MAIN_… */
    uint32_t reserved;
    /* [control] The plugin's section has changed and the daemon reads its configuration anew. `phase`: UMBEL_RELOAD_….
     * CHECK returns 0, or an error after writing a sentence into `error`: then nothing of the whole configuration is
     * applied. The results of APPLY and DROP are ignored. `settings` has the new values, checked against the table; it
     * lives until DROP, or as long as the process once applied. Must return at once.
     * Threads: actors of the plugin run on the executors meanwhile. What they read, APPLY may only change by publishing:
     * store an atomic pointer to a value that is never changed again, nor freed while an actor may still read it. After
     * APPLY each main actor gets UMBEL_MESSAGE_RELOAD.
     * Null: the settings in force stay, and changed ones are reported as needing a restart. */
    int (*reload)(const umbel_settings* settings, uint32_t phase, char* error, size_t error_size) UMBEL_APPENDED;
} umbel_plugin;

/* The one symbol a plugin exports. */
extern UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor;

/* First members of a descriptor: `.magic = …` and so on. */
#define UMBEL_PLUGIN_HEADER                                                                                            \
    .magic = UMBEL_ABI_MAGIC, .abi_version = UMBEL_ABI_VERSION, .descriptor_size = sizeof(umbel_plugin),               \
    .host_size = sizeof(umbel_host), .operation_size = sizeof(umbel_operation), .message_size = sizeof(umbel_message), \
    .actor_type_size = sizeof(umbel_actor_type), .setting_size = sizeof(umbel_setting)

/* How a process ended: umbel_exit_of. */
typedef struct umbel_process_status {
    int32_t code;   /* CLD_EXITED, CLD_KILLED or CLD_DUMPED */
    int32_t status; /* the exit status, or the signal */
    int32_t pid;
    uint32_t user;
} umbel_process_status;

/* ---- What the runtime offers --------------------------------------------------------------------------------------- */

enum { UMBEL_LOG_TRACE = 0, UMBEL_LOG_DEBUG = 1, UMBEL_LOG_INFO = 2, UMBEL_LOG_WARNING = 3, UMBEL_LOG_ERROR = 4 };

enum {
    UMBEL_FIELD_INTEGER = 1, /* value.integer */
    UMBEL_FIELD_TEXT = 2,    /* the first `size` bytes of value.text; UMBEL_FIELD_TEXT_MAX of them are kept */
    UMBEL_FIELD_NUMBER = 3,  /* value.number; one that is not finite is written as null */
    UMBEL_FIELD_FLAG = 4,    /* value.integer: 0 is false */
    UMBEL_FIELD_DURATION =
        5 /* value.integer, in nanoseconds; written in the unit the name ends in: _ns, _us, _ms (whole
                                numbers, the rest is cut off) or _s (with decimals) */
};

/* One named value of a log event. Its size is part of this ABI version. */
typedef struct umbel_field {
    const char* name; /* snake_case, 1 … UMBEL_FIELD_NAME_MAX bytes; none of ts, level, event, msg, executor, plugin,
                         actor, truncated */
    uint32_t type;    /* UMBEL_FIELD_… */
    uint32_t size;    /* TEXT */
    union {
        int64_t integer;
        double number;
        const char* text;
    } value;
} umbel_field;

/* The table behind the functions below, in the order in which it grew. */
struct umbel_host {
    uint32_t size; /* sizeof(umbel_host) the daemon was compiled with */
    uint32_t abi_version;
    int (*submit)(umbel_self*, const umbel_operation*, uint32_t, umbel_pending*);
    int (*await)(umbel_self*, umbel_pending, uint64_t, umbel_message*);
    void (*forget)(umbel_self*, umbel_pending);
    int (*receive)(umbel_self*, uint64_t, umbel_message*);
    int (*send)(umbel_self*, umbel_actor_id, uint32_t, const void*, uint32_t);
    int (*spawn)(umbel_self*, umbel_actor_type*, const void*, uint32_t, int, umbel_actor_id*);
    void (*exit)(umbel_self*, const char*);
    void (*release)(umbel_self*, umbel_buffer*);
    umbel_actor_id (*id)(const umbel_self*);
    int (*register_name)(umbel_self*, const char*);
    umbel_actor_id (*whereis)(umbel_self*, const char*);
    int (*adopt)(umbel_self*, int);
    int (*set_socket_option)(umbel_self*, int, int, int, int);
    int (*local_address)(umbel_self*, int, void*, uint32_t*);
    void (*yield)(umbel_self*);
    uint64_t (*now)(const umbel_self*);
    uint32_t (*executor)(const umbel_self*);
    uint32_t (*executor_count)(const umbel_self*);
    int (*draining)(const umbel_self*);
    void (*ready)(umbel_self*, const char*);
    void (*log)(umbel_self*, int, const char*, size_t);
    const char* (*error_text)(int64_t);
    const char* (*setting_text)(const umbel_settings*, const char*);
    int64_t (*setting_number)(const umbel_settings*, const char*);
    int (*block_make)(umbel_self*, uint64_t, umbel_block**);
    int (*block_lend)(umbel_self*, umbel_block*, uint64_t, uint64_t, umbel_buffer*);
    void* (*block_data)(umbel_block*);
    uint64_t (*block_size)(const umbel_block*);
    void (*block_retain)(umbel_block*);
    void (*block_release)(umbel_block*);
    int (*log_enabled)(const umbel_self*, int);
    int (*log_event)(umbel_self*, int, const char*, const char*, size_t, const umbel_field*, uint32_t);
    int (*make_pipe)(umbel_self*, int, int*);
    int (*open_watcher)(umbel_self*);
    int (*add_watch)(umbel_self*, int, int, uint32_t);
    int (*remove_watch)(umbel_self*, int, int);
    int (*open_process)(umbel_self*, int32_t);
    int (*process_status)(umbel_self*, int, umbel_process_status*);
    int (*open_signals)(umbel_self*, const int*, uint32_t);
    int (*alive)(umbel_self*, umbel_actor_id);
    int (*take_listener)(umbel_self*, const char*, uint32_t, char*, size_t);
};

/* Submits `count` operations (1 … UMBEL_CHAIN_MAX); more than one form a chain: each begins when the one before it
 * succeeded, and a failure ends the rest with -ECANCELED. Streams and cancels cannot be in a chain (UMBEL_E_INVALID), nor
 * what this kernel cannot do itself (UMBEL_E_UNSUPPORTED). out: `count` pendings (0 for a detached one).
 * Returns 0, or an error, and then nothing was submitted. [actor] May wait, for room in the ring (case 3). */
static inline int umbel_submit(umbel_self* self, const umbel_operation* operations, uint32_t count,
                               umbel_pending* out) {
    return self->host->submit(self, operations, count, out);
}

/* Waits for the next completion of `pending`, at most `timeout_ns` (as umbel_receive); other messages stay in the
 * mailbox. Returns 0; UMBEL_E_TIMEOUT, and the operation goes on; UMBEL_E_INVALID when the pending has had its last
 * completion. [actor] Waits. */
static inline int umbel_await(umbel_self* self, umbel_pending pending, uint64_t timeout_ns, umbel_message* out) {
    return self->host->await(self, pending, timeout_ns, out);
}

/* Gives up on a pending: it is cancelled, and its completions, those in the mailbox and those to come, are dropped and
 * what they bring is freed. Nothing happens to one that has had its last completion. [actor] Never waits. */
static inline void umbel_forget(umbel_self* self, umbel_pending pending) { self->host->forget(self, pending); }

/* Waits for any message, in order of arrival, at most `timeout_ns` (UINT64_MAX: for ever; 0: not at all).
 * Returns 0 or UMBEL_E_TIMEOUT. [actor] Waits. */
static inline int umbel_receive(umbel_self* self, uint64_t timeout_ns, umbel_message* out) {
    return self->host->receive(self, timeout_ns, out);
}

/* Sends a copy of `size` bytes (0 … UMBEL_MESSAGE_MAX). Messages between two actors arrive in order.
 * Returns 0; UMBEL_E_NO_ACTOR; UMBEL_E_MAILBOX_FULL (try later); UMBEL_E_INVALID. A receiver on another executor that
 * dies or fills up while the message is under way makes it a dead letter: counted and logged. UMBEL_E_NO_MEMORY: there is
 * no memory for the receiver's context. [actor] Never waits for the receiver. */
static inline int umbel_send(umbel_self* self, umbel_actor_id to, uint32_t type, const void* data, uint32_t size) {
    return self->host->send(self, to, type, data, size);
}

/* Spawns an actor whose state begins with a copy of `size` bytes (≤ type->state_size). `where`: an executor's number,
 * UMBEL_HERE or UMBEL_SPREAD. Returns 0, UMBEL_E_TOO_MANY_ACTORS or UMBEL_E_INVALID. [actor] Never waits for it. */
static inline int umbel_spawn(umbel_self* self, umbel_actor_type* type, const void* state, uint32_t size, int where,
                              umbel_actor_id* out) {
    return self->host->spawn(self, type, state, size, where, out);
}

/* Ends the calling actor. Null or "": normally; else it has failed, with this reason. Its operations are cancelled, its
 * buffers and descriptors are freed. Does not return; C++ frames are not unwound (use the SDK's). [actor] */
static inline void umbel_exit(umbel_self* self, const char* reason) { self->host->exit(self, reason); }

/* Gives a buffer back and empties it. Nothing happens to an empty one. [actor] */
static inline void umbel_release(umbel_self* self, umbel_buffer* buffer) { self->host->release(self, buffer); }

static inline umbel_actor_id umbel_id(const umbel_self* self) { return self->host->id(self); } /* [actor] */

/* Gives the calling actor a name (1 … UMBEL_NAME_MAX bytes) until it ends. 0, UMBEL_E_NAME_TAKEN, UMBEL_E_INVALID.
 * [actor] */
static inline int umbel_register_name(umbel_self* self, const char* name) {
    return self->host->register_name(self, name);
}

/* Who has this name: an id or 0. [actor] */
static inline umbel_actor_id umbel_whereis(umbel_self* self, const char* name) {
    return self->host->whereis(self, name);
}

/* 1 if the actor lives, 0 if it has ended: for who waits for its answer. It may end right after. [actor] Never waits. */
static inline int umbel_alive(umbel_self* self, umbel_actor_id id) { return self->host->alive(self, id); }

/* Makes the calling actor the owner of a descriptor that another actor opened: it is closed when its owner ends.
 * 0 or UMBEL_E_INVALID. [actor] */
static inline int umbel_adopt(umbel_self* self, int fd) { return self->host->adopt(self, fd); }

/* setsockopt(2) with an int, getsockname(2) into `address` of *size bytes: neither can block. 0 or -errno. [actor] */
static inline int umbel_set_socket_option(umbel_self* self, int fd, int level, int option, int value) {
    return self->host->set_socket_option(self, fd, level, option, value);
}
static inline int umbel_local_address(umbel_self* self, int fd, void* address, uint32_t* size) {
    return self->host->local_address(self, fd, address, size);
}

/* A listening stream socket that was passed to the daemon under this name (systemd: FileDescriptorName= of a .socket unit), as
 * a new descriptor, owned by the caller: each executor may accept on one of its own. `index`: 0, 1, … among several of one
 * name. The first plugin that takes a name keeps it. Never shut the socket down: the daemon's successor goes on with it, and
 * what waits in its backlog.
 * Returns the descriptor, or UMBEL_E_NO_LISTENER, -EBUSY (another plugin's), -EINVAL (no listening stream socket), -EMFILE;
 * then `why` (may be null; ends with a zero) has the reason and the remedy. [actor] Never waits. */
static inline int umbel_take_listener(umbel_self* self, const char* name, uint32_t index, char* why, size_t why_size) {
    return self->host->take_listener(self, name, index, why, why_size);
}

/* pipe2(2): ends[0] is read, ends[1] is written; both are the actor's. flags: O_NONBLOCK, O_DIRECT (O_CLOEXEC is added).
 * Without O_NONBLOCK reads wait for data, and splices for data or room. 0 or -errno. [actor] */
static inline int umbel_make_pipe(umbel_self* self, int flags, int* ends) {
    return self->host->make_pipe(self, flags, ends);
}

/* A descriptor of the actor's from which changes of files are read, as struct inotify_event (READ with
 * UMBEL_AT_POSITION; give it 4 KiB, at least 272 B). -errno. [actor] */
static inline int umbel_open_watcher(umbel_self* self) { return self->host->open_watcher(self); }

/* Watches what `path_fd` refers to (open it with OPENAT2 and O_PATH: that waits for the disk, this does not; close it
 * afterwards). mask: IN_…; IN_DONT_FOLLOW belongs to the open, as O_NOFOLLOW. Returns the watch's number (inotify_event.wd)
 * or -errno; -ENOSPC: fs.inotify.max_user_watches is reached. [actor] */
static inline int umbel_add_watch(umbel_self* self, int watcher, int path_fd, uint32_t mask) {
    return self->host->add_watch(self, watcher, path_fd, mask);
}
/* Ends a watch; an event IN_IGNORED follows. 0 or -errno. [actor] */
static inline int umbel_remove_watch(umbel_self* self, int watcher, int watch) {
    return self->host->remove_watch(self, watcher, watch);
}

/* A descriptor of the actor's that stands for a process (pidfd_open): POLL with POLLIN ends when the process has.
 * -errno; -ESRCH: there is none. [actor] */
static inline int umbel_open_process(umbel_self* self, int32_t pid) { return self->host->open_process(self, pid); }

/* How the process behind such a descriptor ended, if it is a child of the daemon's; its entry in the process table is
 * given up by that. 1; 0: it runs still; -errno, -ECHILD: it is not a child, or was asked before. [actor] Never waits. */
static inline int umbel_exit_of(umbel_self* self, int process, umbel_process_status* out) {
    return self->host->process_status(self, process, out);
}

/* A descriptor of the actor's from which these signals are read, as struct signalfd_siginfo (READ with UMBEL_AT_POSITION
 * and a length of 128 or more). Offered: SIGUSR1, SIGUSR2, SIGCHLD, SIGWINCH, SIGRTMIN+1 … SIGRTMAX. What was sent before
 * is not seen. -errno; UMBEL_E_INVALID: another signal; -EBUSY: one is claimed by a descriptor that is open still;
 * UMBEL_E_UNSUPPORTED: this process does not block it, and would die by it. [actor] */
static inline int umbel_open_signals(umbel_self* self, const int* signals, uint32_t count) {
    return self->host->open_signals(self, signals, count);
}

/* Lets the others run first. [actor] Waits. */
static inline void umbel_yield(umbel_self* self) { self->host->yield(self); }

/* Monotonic time in nanoseconds; of the simulation in a simulation. [actor] */
static inline uint64_t umbel_now(const umbel_self* self) { return self->host->now(self); }

static inline uint32_t umbel_executor(const umbel_self* self) { return self->host->executor(self); } /* [actor] */
static inline uint32_t umbel_executor_count(const umbel_self* self) {
    return self->host->executor_count(self);
} /* [actor] */

/* 1 once the daemon has been told to stop, or the actor's plugin is retired. [actor] */
static inline int umbel_draining(const umbel_self* self) { return self->host->draining(self); }

/* Called by a main actor when it serves; `text` is logged ("listening on 127.0.0.1:7007"). [actor] */
static inline void umbel_ready(umbel_self* self, const char* text) { self->host->ready(self, text); }

/* Logs a line (UMBEL_LOG_…; UMBEL_LOG_TEXT_MAX bytes are kept). Never blocks. [actor] */
static inline void umbel_log(umbel_self* self, int level, const char* text, size_t size) {
    self->host->log(self, level, text, size);
}

/* ---- Shared blocks ------------------------------------------------------------------------------------------------- */

/* Makes a block of `size` bytes (1 … 2^30), whose content is undefined, with one reference. Its maker may write to it
 * (umbel_block_data) until it first retains, lends or passes it on; nobody may afterwards.
 * Returns 0; UMBEL_E_NO_MEMORY: actors.shared_memory is used up, or the system's; UMBEL_E_INVALID. [actor] */
static inline int umbel_block_make(umbel_self* self, uint64_t size, umbel_block** out) {
    return self->host->block_make(self, size, out);
}

/* Lends the calling actor `size` bytes of a block, at least one, from `offset`, as a buffer that is only read: to be sent
 * or written without a copy, by as many operations and actors at once as like. The loan keeps the block alive until the
 * buffer is freed: by umbel_release, by the last completion of the operation that has it, or after the actor's end; the
 * caller's own reference is untouched. Returns 0, UMBEL_E_IO_HEAP_FULL, UMBEL_E_INVALID (not within the block). [actor] */
static inline int umbel_block_lend(umbel_self* self, umbel_block* block, uint64_t offset, uint64_t size,
                                   umbel_buffer* out) {
    return self->host->block_lend(self, block, offset, size, out);
}

static inline void* umbel_block_data(const umbel_host* host, umbel_block* block) { return host->block_data(block); }
static inline uint64_t umbel_block_size(const umbel_host* host, const umbel_block* block) {
    return host->block_size(block);
} /* [any] */

/* One reference more, one less; the last one frees the block. [any] */
static inline void umbel_block_retain(const umbel_host* host, umbel_block* block) { host->block_retain(block); }
static inline void umbel_block_release(const umbel_host* host, umbel_block* block) { host->block_release(block); }

/* 1 if what this plugin logs at this level is wanted now: whoever builds a costly text asks first. Two loads. [actor] */
static inline int umbel_log_enabled(const umbel_self* self, int level) { return self->host->log_enabled(self, level); }

/* Logs a structured event. `name` is stable and says whose it is: "http.request", snake_case words with dots between.
 * `text` is for people, `fields` (at most UMBEL_FIELDS_MAX) become keys of the line, in this order. Everything is copied.
 * Texts that are cut give the line a key truncated. Returns 0, also if the level is not wanted, or the log has no room (that
 * is counted), or UMBEL_E_INVALID: a name is none, or two are equal; the log says which. Never blocks. [actor] */
static inline int umbel_log_event(umbel_self* self, int level, const char* name, const char* text, size_t size,
                                  const umbel_field* fields, uint32_t count) {
    return self->host->log_event(self, level, name, text, size, fields, count);
}

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* UMBEL_ABI_H */
