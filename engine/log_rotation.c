#include "log_rotation.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>

#include "base/logger.h"
#include "policy/config.h"

#define DAY_MS 86400000

int log_rotation_now(const struct config *config, struct error *error)
{
    const struct global_settings *global = config_global(config);
    int result = logger_rotate((uint32_t)global->log_rotate_count);
    if (result == -ENOENT && global->log_file.len == 0) {
        return error_set(error, EX_UNAVAILABLE, "the log goes to standard error: no log-file");
    }
    if (result < 0) {
        return error_set(error, EX_IOERR, "log-file: %s; it is written on", strerror(-result));
    }
    return 0;
}

void log_rotation_look(struct log_rotation *rotation, const struct config *config, int64_t wall_ms)
{
    int64_t today = wall_ms / DAY_MS, last = rotation->day;
    if (last == today) {
        return;
    }
    if (last == 0) {
        last = logger_last_wall_ms() / DAY_MS;
    }
    rotation->day = today;
    /* A clock that was set back begins no day. */
    if (last == 0 || last >= today || !config_global(config)->log_auto_rotation ||
        config_global(config)->log_file.len == 0) {
        return;
    }
    struct error error;
    if (log_rotation_now(config, &error) < 0) {
        LOG_ERROR("rotating the log at midnight: %s", error.text);
    }
}
