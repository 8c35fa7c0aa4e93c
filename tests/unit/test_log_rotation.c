#include "log_rotation.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/logger.h"
#include "config_files.h"
#include "policy/config.h"
#include "test.h"

#define DAY_MS   INT64_C(86400000)
#define TODAY_MS (20000 * DAY_MS)

static char directory[64], path[80], old[80];

/* A configuration with these lines, and a log with one line in it. */
static struct config *begin(const char *lines)
{
    char text[256];
    (void)snprintf(directory, sizeof directory, "/tmp/test_log_rotation.XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof path, "%s/log", directory);
    (void)snprintf(old, sizeof old, "%s/log.1", directory);
    (void)snprintf(text, sizeof text, "log-file %s\n%s\n", path, lines);
    logger_set_sink(NULL);
    CHECK_INT(logger_open(path), 0);
    LOG_ERROR("a line");
    return load_good(text);
}

static void end(struct config *config)
{
    unload(config);
    unlink(old);
    unlink(path);
    rmdir(directory);
}

static bool rotated(void)
{
    return access(old, F_OK) == 0;
}

TEST(the_log_is_rotated_once_when_the_day_ends)
{
    struct log_rotation rotation = {0};
    struct config *config = begin("");
    log_rotation_look(&rotation, config, TODAY_MS);
    log_rotation_look(&rotation, config, TODAY_MS + DAY_MS - 1);
    CHECK(!rotated());
    log_rotation_look(&rotation, config, TODAY_MS + DAY_MS);
    CHECK(rotated());
    unlink(old);
    LOG_ERROR("of the next day");
    log_rotation_look(&rotation, config, TODAY_MS + DAY_MS + 1);
    CHECK(!rotated());
    end(config);
}

TEST(a_clock_set_back_begins_no_day)
{
    struct log_rotation rotation = {0};
    struct config *config = begin("");
    log_rotation_look(&rotation, config, TODAY_MS);
    log_rotation_look(&rotation, config, TODAY_MS - DAY_MS);
    CHECK(!rotated());
    end(config);
}

TEST(the_log_is_not_rotated_by_itself_where_the_policy_says_so)
{
    struct log_rotation rotation = {0};
    struct config *config = begin("log-auto-rotation no");
    log_rotation_look(&rotation, config, TODAY_MS);
    log_rotation_look(&rotation, config, TODAY_MS + DAY_MS);
    CHECK(!rotated());
    struct error error;
    CHECK_INT(log_rotation_now(config, &error), 0);
    CHECK(rotated());
    end(config);
}
