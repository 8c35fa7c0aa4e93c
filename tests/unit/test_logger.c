#include "base/logger.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "test.h"

static char last[16384];
static int lines;

static void on_line(enum logger_level level, const char *line)
{
    (void)level;
    (void)snprintf(last, sizeof(last), "%s", line);
    lines++;
}

static void begin(int64_t wall_ms)
{
    lines = 0;
    last[0] = '\0';
    logger_set_sink(on_line);
    logger_set_level(LOGGER_INFO);
    logger_set_wall_ms(wall_ms);
}

TEST(lines_below_the_level_are_dropped)
{
    begin(0);
    LOG_DEBUG("no");
    CHECK_INT(lines, 0);
    logger_set_level(LOGGER_DEBUG);
    LOG_DEBUG("yes %d", 1);
    CHECK_STRING(last, "yes 1");
}

TEST(controls_and_invalid_bytes_are_escaped)
{
    begin(0);
    LOG_INFO("a\r\nb\x7F\xFF\xC3\xA4\xC2\x9B");
    CHECK_STRING(last, "a\\x0D\\x0Ab\\x7F\\xFF\xC3\xA4\\xC2\\x9B");
}

TEST(long_lines_are_cut)
{
    begin(0);
    LOG_INFO("%5000d", 1);
    CHECK_INT(strlen(last), 2000);
}

TEST(repeats_are_counted_and_summed_up)
{
    begin(1000000);
    for (int i = 0; i < 50; i++) {
        LOG_WARNING("host %d is down", i);
        logger_set_wall_ms(1000000 + i * 100);
    }
    CHECK_INT(lines, 10);
    LOG_WARNING("something else");
    CHECK_INT(lines, 11);
    logger_set_wall_ms(1010000);
    CHECK_INT(lines, 12);
    CHECK_STRING(last, "40 more like this in 10 s: host 10 is down");
    LOG_WARNING("host %d is down", 50);
    CHECK_INT(lines, 13);
}

TEST(bare_texts_are_told_apart)
{
    begin(1000000);
    for (int i = 0; i < 20; i++) {
        char text[20];
        (void)snprintf(text, sizeof(text), "text %d", i);
        LOG_INFO("%s", text);
    }
    CHECK_INT(lines, 20);
}

static void read_file(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");
    size_t len = file == NULL ? 0 : fread(out, 1, size - 1, file);
    out[len] = '\0';
    if (file != NULL) {
        fclose(file);
    }
}

TEST(rotation_keeps_so_many_old_files_and_loses_no_line)
{
    char directory[] = "/tmp/test_logger.XXXXXX", path[64], old[80], text[256];
    CHECK_INT(logger_rotate(2), -ENOENT);
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(path, sizeof(path), "%s/log", directory);
    logger_set_sink(NULL);
    logger_set_stamps(false);
    CHECK_INT(logger_open(path), 0);
    CHECK_INT(logger_last_wall_ms(), 0);
    for (int i = 0; i < 4; i++) {
        LOG_INFO("line %d", i);
        CHECK_INT(logger_rotate(2), 0);
        CHECK_INT(logger_rotate(2), 0); /* an empty file stays */
    }
    LOG_INFO("last");
    const char *texts[] = {"info: last\n", "info: line 3\n", "info: line 2\n"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(old, sizeof(old), i == 0 ? "%s" : "%s.%d", path, i);
        read_file(old, text, sizeof(text));
        CHECK_STRING(text, texts[i]);
    }
    (void)snprintf(old, sizeof(old), "%s.3", path);
    CHECK(access(old, F_OK) != 0);
    CHECK_INT(logger_rotate(0), 0); /* none is kept: the old ones are not looked after any more */
    CHECK_INT(logger_open(path), 0);
    CHECK_INT(logger_last_wall_ms(), 0);
    LOG_INFO("new");
    CHECK_INT(logger_open(path), 0);
    CHECK(logger_last_wall_ms() > 0);
    logger_set_stamps(true);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(old, sizeof(old), i == 0 ? "%s" : "%s.%d", path, i);
        unlink(old);
    }
    rmdir(directory);
}

TEST(file_gets_stamped_lines_and_a_new_one_after_reopen)
{
    char directory[] = "/tmp/test_logger.XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    char path[64], moved[64], text[256];
    (void)snprintf(path, sizeof(path), "%s/log", directory);
    (void)snprintf(moved, sizeof(moved), "%s/log.1", directory);
    logger_set_sink(NULL);
    logger_set_wall_ms(1700000000123);
    CHECK_INT(logger_open(path), 0);
    LOG_ERROR("one");
    CHECK_INT(rename(path, moved), 0);
    CHECK_INT(logger_reopen(), 0);
    logger_set_stamps(false);
    LOG_INFO("two");
    logger_set_stamps(true);
    read_file(moved, text, sizeof(text));
    CHECK_STRING(text, "2023-11-14T22:13:20.123Z error: one\n");
    read_file(path, text, sizeof(text));
    CHECK_STRING(text, "info: two\n");
    CHECK(logger_open("/nonexistent/x") < 0);
    unlink(path);
    unlink(moved);
    rmdir(directory);
}
