/* broken.c: a plugin that is wrong in the one way its BROKEN_… says, and right otherwise. */
#include <stdlib.h>
#include <string.h>
#include <umbel/abi.h>
#include <unistd.h>

static void main_run(umbel_self* self, void* state) {
    (void)state;
    umbel_ready(self, "ready");
}

static umbel_actor_type main_type = {.size = sizeof(umbel_actor_type), .name = "main", .run = main_run};

static int load(const umbel_host* host, const umbel_settings* settings, char* error, size_t error_size) {
    (void)host;
    (void)settings;
    (void)error;
    (void)error_size;
#if defined(BROKEN_EXITS)
    _exit(0);
#elif defined(BROKEN_REFUSES)
    if (error_size > 0) {
        strncpy(error, "there is no tea", error_size - 1);
        error[error_size - 1] = 0;
    }
    return -1;
#elif defined(BROKEN_HANGS)
    for (;;) pause();
#endif
    return 0;
}

#if defined(BROKEN_ABORTS)
__attribute__((constructor)) static void constructor(void) { abort(); }
#endif

#if defined(BROKEN_NO_DESCRIPTOR)
UMBEL_EXPORT const umbel_plugin another_descriptor;
#define umbel_plugin_descriptor another_descriptor
#endif

UMBEL_EXPORT const umbel_plugin umbel_plugin_descriptor = {
#if defined(BROKEN_WRONG_MAGIC)
    .magic = UMBEL_ABI_MAGIC + 1,
#else
    .magic = UMBEL_ABI_MAGIC,
#endif
#if defined(BROKEN_WRONG_ABI_VERSION)
    .abi_version = UMBEL_ABI_VERSION + 98,
#else
    .abi_version = UMBEL_ABI_VERSION,
#endif
    .descriptor_size = sizeof(umbel_plugin),
    .host_size = sizeof(umbel_host),
    .operation_size = sizeof(umbel_operation),
#if defined(BROKEN_WRONG_SIZE)
    .message_size = sizeof(umbel_message) / 2,
#else
    .message_size = sizeof(umbel_message),
#endif
    .actor_type_size = sizeof(umbel_actor_type),
    .setting_size = sizeof(umbel_setting),
    .name = "broken",
    .version = "1",
    .description = "wrong in one way",
    .load = load,
    .main = &main_type,
    .main_placement = UMBEL_MAIN_ONCE,
};
