/* openat_c.c: the example openat in C, against abi.h alone. See README.md. */

#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>

#include "umbel/abi.h"

static const char* path;

static int load(const umbel_host* host, const umbel_settings* settings, char* error, size_t error_size) {
    path = host->setting_text(settings, "open");
    if (path[0] != '\0') return 0;
    snprintf(error, error_size, "open: the path is empty");
    return UMBEL_E_INVALID;
}

/* Submits one operation and waits for its completion. Returns its result; what it brings is in *completion. */
static int64_t perform(umbel_self* self, const umbel_operation* operation, umbel_message* completion) {
    umbel_pending pending = 0;
    int status = umbel_submit(self, operation, 1, &pending);
    if (status == 0) status = umbel_await(self, pending, UINT64_MAX, completion);
    return status < 0 ? status : completion->result;
}

static void log_line(umbel_self* self, const char* text) { umbel_log(self, UMBEL_LOG_INFO, text, strlen(text)); }

static void run(umbel_self* self, void* state) {
    char line[512];
    umbel_message completion;
    (void)state;

    const umbel_slice slice = {.data = path, .size = strlen(path)};
    const umbel_operation open = {.code = UMBEL_OP_OPENAT2,
                                  .fd = UMBEL_CWD,
                                  .arg = O_RDONLY | O_NONBLOCK,
                                  .offset = RESOLVE_NO_MAGICLINKS,
                                  .slices = &slice,
                                  .slice_count = 1};
    const int64_t opened = perform(self, &open, &completion);
    if (opened < 0) {
        snprintf(line, sizeof line, "openat2 %s: %s", path, self->host->error_text(opened));
        log_line(self, line);
        umbel_ready(self, line);
        return;
    }
    const int fd = (int)opened; /* this actor's: closed when it ends, if not before */

    struct statx status;
    const umbel_slice empty = {.data = "", .size = 0};
    const umbel_operation stat = {.code = UMBEL_OP_STATX,
                                  .fd = fd,
                                  .arg = AT_EMPTY_PATH,
                                  .arg2 = STATX_BASIC_STATS,
                                  .slices = &empty,
                                  .slice_count = 1,
                                  .into = &status};
    const int64_t known = perform(self, &stat, &completion);
    if (known < 0) {
        snprintf(line, sizeof line, "openat2 %s: descriptor %d, statx: %s", path, fd, self->host->error_text(known));
    } else {
        snprintf(line, sizeof line, "openat2 %s: descriptor %d, mode %o, %llu bytes", path, fd,
                 (unsigned)status.stx_mode, (unsigned long long)status.stx_size);
    }
    log_line(self, line);

    const umbel_operation close = {.code = UMBEL_OP_CLOSE, .fd = fd};
    const int64_t closed = perform(self, &close, &completion);
    if (closed < 0) umbel_exit(self, self->host->error_text(closed));
    snprintf(line, sizeof line, "opened %s", path);
    umbel_ready(self, line);
}

static umbel_actor_type main_type = {.size = sizeof(umbel_actor_type), .name = "main", .run = run};

static const umbel_setting settings[] = {
    {.name = "open",
     .type = UMBEL_SETTING_TEXT,
     .default_value = "/etc/os-release",
     .description = "The path to open; relative to the daemon's working directory"},
};

UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {
    UMBEL_PLUGIN_HEADER,
    .setting_count = sizeof settings / sizeof settings[0],
    .settings = settings,
    .name = "openat_c",
    .version = "0.1.0",
    .description = "Example: openat in C",
    .load = load,
    .main = &main_type,
    .main_placement = UMBEL_MAIN_ONCE,
};
