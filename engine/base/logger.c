/* Repeats are counted in a small table of formats, one window of 10 s each. Two formats that fall
 * on one row share it by turns: the newcomer has the old one's sum written and takes the row. */
#include "base/logger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/utf8.h"

#define TEXT_MAX         2000 /* bytes, before escaping */
#define LINE_MAX_BYTES   (4 * TEXT_MAX + 64)
#define REPEAT_ROWS      128
#define REPEAT_COUNT_MAX 10
#define REPEAT_WINDOW_MS 10000
#define EXCERPT_MAX      160

struct repeat {
    uint64_t key; /* 0: free */
    int64_t window_from_ms;
    uint64_t count; /* in this window */
    enum logger_level level;
    char excerpt[EXCERPT_MAX]; /* of the first line that was held back */
};

static _Atomic(enum logger_level) lowest_level = LOGGER_INFO;
static _Atomic int64_t wall_ms;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* All below: under the lock. */
static int fd = STDERR_FILENO;
static char *path;
static bool stamps = true, world_readable;
static void (*sink)(enum logger_level level, const char *line);
static struct repeat repeats[REPEAT_ROWS];
static int64_t next_sum_ms;
static int64_t last_wall_ms; /* of the file, before it was opened */

void logger_set_level(enum logger_level level)
{
    atomic_store(&lowest_level, level);
}

void logger_set_stamps(bool on)
{
    pthread_mutex_lock(&lock);
    stamps = on;
    pthread_mutex_unlock(&lock);
}

void logger_set_sink(void (*new_sink)(enum logger_level level, const char *line))
{
    pthread_mutex_lock(&lock);
    sink = new_sink;
    memset(repeats, 0, sizeof(repeats));
    pthread_mutex_unlock(&lock);
}

void logger_set_world_readable(bool readable)
{
    pthread_mutex_lock(&lock);
    world_readable = readable;
    pthread_mutex_unlock(&lock);
}

static int open_file(const char *name)
{
    int opened = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (opened < 0) {
        return -errno;
    }
    if (world_readable && fchmod(opened, 0644) != 0) {
        int error = errno; /* another owner's: written to all the same, by its rights */
        if (error != EPERM) {
            close(opened);
            return -error;
        }
    }
    struct stat before;
    bool used = fstat(opened, &before) == 0 && before.st_size > 0;
    last_wall_ms = used ? (int64_t)before.st_mtim.tv_sec * 1000 : 0;
    if (fd != STDERR_FILENO) {
        close(fd);
    }
    fd = opened;
    return 0;
}

int logger_open(const char *name)
{
    char *copy = strdup(name);
    if (copy == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_lock(&lock);
    int failed = open_file(copy);
    if (failed == 0) {
        free(path);
        path = copy;
        copy = NULL;
    }
    pthread_mutex_unlock(&lock);
    free(copy);
    return failed;
}

int logger_reopen(void)
{
    pthread_mutex_lock(&lock);
    int failed = path == NULL ? 0 : open_file(path);
    pthread_mutex_unlock(&lock);
    return failed;
}

/* "PATH.number", or PATH itself for 0. */
static void old_name(char out[PATH_MAX], uint32_t number)
{
    if (number == 0) {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        snprintf(out, PATH_MAX, "%s.%" PRIu32, path, number);
    }
}

/* From the oldest on, which is written over; a gap in the numbers is none of our business. */
static int shift_files(uint32_t keep)
{
    char from[PATH_MAX], to[PATH_MAX];
    old_name(to, keep);
    if (keep == 0) {
        return unlink(to) == 0 || errno == ENOENT ? 0 : -errno;
    }
    for (uint32_t number = keep; number > 0; number--) {
        old_name(from, number - 1);
        old_name(to, number);
        if (rename(from, to) != 0 && errno != ENOENT) {
            return -errno;
        }
    }
    return 0;
}

int logger_rotate(uint32_t keep)
{
    struct stat now;
    pthread_mutex_lock(&lock);
    int result = path == NULL ? -ENOENT : strlen(path) + 12 > PATH_MAX ? -ENAMETOOLONG : 0;
    if (result == 0 && (fstat(fd, &now) != 0 || now.st_size > 0)) {
        result = shift_files(keep);
        result = result == 0 ? open_file(path) : result;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int64_t logger_last_wall_ms(void)
{
    pthread_mutex_lock(&lock);
    int64_t result = last_wall_ms;
    pthread_mutex_unlock(&lock);
    return result;
}

static const char *level_name(enum logger_level level)
{
    switch (level) {
    case LOGGER_DEBUG:
        return "debug";
    case LOGGER_INFO:
        return "info";
    case LOGGER_WARNING:
        return "warning";
    case LOGGER_ERROR:
        return "error";
    }
    return "?";
}

static void put_stamp(struct buffer *out, int64_t at_ms)
{
    time_t seconds = (time_t)(at_ms / 1000);
    struct tm utc;
    if (at_ms > 0 && gmtime_r(&seconds, &utc) != NULL) {
        buffer_printf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ ", utc.tm_year + 1900,
                      utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                      (int)(at_ms % 1000));
    }
}

/* C0 controls, DEL, and C1 controls, which some terminals obey (U+0080–U+009F: C2 80–C2 9F). */
static bool is_control(struct bytes text, size_t at, size_t len)
{
    unsigned char first = (unsigned char)text.data[at];
    return first < 0x20 || first == 0x7F ||
           (len == 2 && first == 0xC2 && (unsigned char)text.data[at + 1] < 0xA0);
}

static void put_escaped(struct buffer *out, struct bytes text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t at = 0;
    while (at < text.len) {
        size_t len = utf8_length_at(text, at);
        size_t take = len == 0 ? 1 : len;
        if (len > 0 && !is_control(text, at, len)) {
            buffer_put(out, text.data + at, take);
            at += take;
            continue;
        }
        for (size_t end = at + take; at < end; at++) {
            unsigned char c = (unsigned char)text.data[at];
            const char escaped[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            buffer_put(out, escaped, sizeof(escaped));
        }
    }
}

static void write_line(enum logger_level level, struct bytes text, int64_t at_ms)
{
    char memory[LINE_MAX_BYTES];
    struct buffer line;
    buffer_init(&line, memory, sizeof(memory) - 1);
    if (sink == NULL) {
        if (stamps) {
            put_stamp(&line, at_ms);
        }
        buffer_put_string(&line, level_name(level));
        buffer_put_string(&line, ": ");
    }
    put_escaped(&line, text);
    if (sink != NULL) {
        memory[line.len] = '\0';
        sink(level, memory);
        return;
    }
    buffer_put_char(&line, '\n');
    /* A log that cannot be written has nobody to be told to. */
    ssize_t written = write(fd, line.data, line.len);
    (void)written;
}

/* Writes what was held back in the row's window and begins none anew. */
static void close_window(struct repeat *repeat, int64_t at_ms)
{
    if (repeat->count > REPEAT_COUNT_MAX) {
        char text[EXCERPT_MAX + 64];
        struct buffer sum;
        buffer_init(&sum, text, sizeof(text));
        buffer_printf(&sum, "%llu more like this in 10 s: %s",
                      (unsigned long long)(repeat->count - REPEAT_COUNT_MAX), repeat->excerpt);
        write_line(repeat->level, buffer_bytes(&sum), at_ms);
    }
    *repeat = (struct repeat){0};
}

static bool window_over(const struct repeat *repeat, int64_t at_ms)
{
    /* A wall clock that was set back ends the window too. */
    return at_ms - repeat->window_from_ms >= REPEAT_WINDOW_MS || at_ms < repeat->window_from_ms;
}

/* True: the line is one too many and was counted. */
static bool held_back(enum logger_level level, uint64_t key, struct bytes text, int64_t at_ms)
{
    struct repeat *repeat = &repeats[(key >> 32) % REPEAT_ROWS];
    if (repeat->key != key || window_over(repeat, at_ms)) {
        close_window(repeat, at_ms);
        *repeat = (struct repeat){.key = key, .window_from_ms = at_ms, .level = level};
    }
    if (++repeat->count <= REPEAT_COUNT_MAX) {
        return false;
    }
    if (repeat->count == REPEAT_COUNT_MAX + 1) {
        size_t len = text.len < EXCERPT_MAX - 1 ? text.len : EXCERPT_MAX - 1;
        memcpy(repeat->excerpt, text.data, len);
        repeat->excerpt[len] = '\0';
    }
    return true;
}

void logger_set_wall_ms(int64_t at_ms)
{
    atomic_store(&wall_ms, at_ms);
    /* Once in a while is enough, and whoever holds the lock will do it the next time. */
    if (pthread_mutex_trylock(&lock) != 0) {
        return;
    }
    if (at_ms >= next_sum_ms || at_ms < next_sum_ms - REPEAT_WINDOW_MS) {
        next_sum_ms = at_ms + REPEAT_WINDOW_MS / 10;
        for (unsigned row = 0; row < REPEAT_ROWS; row++) {
            if (repeats[row].key != 0 && window_over(&repeats[row], at_ms)) {
                close_window(&repeats[row], at_ms);
            }
        }
    }
    pthread_mutex_unlock(&lock);
}

void logger_write(enum logger_level level, const char *format, ...)
{
    if (level < atomic_load(&lowest_level)) {
        return;
    }
    assert(format != NULL);
    char memory[TEXT_MAX + 1];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(memory, sizeof(memory), format, arguments);
    va_end(arguments);
    struct bytes text = bytes_of(memory, len < 0 ? 0 : (size_t)len);
    text.len = text.len > TEXT_MAX ? TEXT_MAX : text.len;
    bool text_is_key = strcmp(format, "%s") == 0;
    uint64_t key = bytes_hash(text_is_key ? text : bytes_from_string(format)) | 1;
    int64_t at_ms = atomic_load(&wall_ms);
    pthread_mutex_lock(&lock);
    if (at_ms == 0 || !held_back(level, key, text, at_ms)) {
        write_line(level, text, at_ms);
    }
    pthread_mutex_unlock(&lock);
}

void logger_write_each(enum logger_level level, struct bytes text)
{
    if (level < atomic_load(&lowest_level)) {
        return;
    }
    pthread_mutex_lock(&lock);
    write_line(level, bytes_slice(text, 0, TEXT_MAX), atomic_load(&wall_ms));
    pthread_mutex_unlock(&lock);
}
