#include "dialogue_log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/logger.h"
#include "io/io.h"

#define LINE_MAX_BYTES (DIALOGUE_LOG_WHO_MAX + DIALOGUE_LOG_SAID_MAX + 512)
#define SECOND_MS      1000
#define SECRET         BYTES("AUTH (not shown)")

static void begin_second(struct dialogue_log *log, uint64_t now_ms)
{
    if (log->left_out > 0) {
        timer_stop(io_timers(log->io), &log->timer);
        char text[128];
        int len = snprintf(text, sizeof text,
                           "%llu lines about connections were left out: more than %d in a second",
                           (unsigned long long)log->left_out, DIALOGUE_LOG_LINES_MAX);
        logger_write_each(LOGGER_INFO, bytes_of(text, (size_t)len));
    }
    log->left_out = 0;
    log->lines = 0;
    log->second_from_ms = now_ms;
}

static void on_second_over(struct timer *timer)
{
    struct dialogue_log *log = CONTAINER_OF(timer, struct dialogue_log, timer);
    begin_second(log, io_now_ms(log->io));
}

void dialogue_log_init(struct dialogue_log *log, struct io *io, uint32_t worker)
{
    *log = (struct dialogue_log){.io = io, .worker = worker};
    timer_init(&log->timer, on_second_over);
}

void dialogue_log_deinit(struct dialogue_log *log)
{
    if (log->io != NULL) {
        begin_second(log, io_now_ms(log->io));
    }
}

static bool may_write(struct dialogue_log *log)
{
    uint64_t now_ms = io_now_ms(log->io);
    if (now_ms >= log->second_from_ms + SECOND_MS) {
        begin_second(log, now_ms);
    }
    if (log->lines < DIALOGUE_LOG_LINES_MAX) {
        log->lines++;
        return true;
    }
    if (log->left_out++ == 0) {
        timer_start(io_timers(log->io), &log->timer, log->second_from_ms + SECOND_MS);
    }
    return false;
}

void dialogue_log_line(struct dialogue_log *log, const char *format, ...)
{
    if (!may_write(log)) {
        return;
    }
    char text[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t kept = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    logger_write_each(LOGGER_INFO, bytes_of(text, kept));
}

/* What follows AUTH, here or in lines of its own, is a secret. */
static struct bytes without_secret(struct bytes command)
{
    bool is_auth = bytes_equal_nocase(bytes_slice(command, 0, 4), BYTES("AUTH")) &&
                   (command.len == 4 || command.data[4] == ' ');
    return is_auth ? SECRET : command;
}

/* The next line, without its end; *at moves behind it. */
static struct bytes take_line(struct bytes text, size_t *at)
{
    ptrdiff_t newline = bytes_find(text, '\n', *at);
    size_t end = newline < 0 ? text.len : (size_t)newline;
    struct bytes line = bytes_slice(text, *at, end);
    *at = newline < 0 ? text.len : end + 1;
    if (line.len > 0 && line.data[line.len - 1] == '\r') {
        line.len--;
    }
    return line;
}

static void write_said(struct dialogue_log *log, const char *who, struct bytes said)
{
    said = bytes_slice(said, 0, DIALOGUE_LOG_SAID_MAX);
    dialogue_log_line(log, "%s %.*s", who, BYTES_FMT(said));
}

void dialogue_log_commands(struct dialogue_log *log, const char *who, struct bytes text)
{
    size_t at = 0;
    do {
        struct bytes line = take_line(text, &at);
        write_said(log, who, line.len == 0 ? BYTES("(no command)") : without_secret(line));
    } while (at < text.len);
}

void dialogue_log_secret(struct dialogue_log *log, const char *who)
{
    write_said(log, who, SECRET);
}

void dialogue_log_data(struct dialogue_log *log, const char *who, struct bytes text)
{
    for (size_t at = 0; at < text.len;) {
        ptrdiff_t newline = bytes_find(text, '\n', at);
        size_t end = newline < 0 ? text.len : (size_t)newline + 1;
        end = end - at > DIALOGUE_LOG_SAID_MAX ? at + DIALOGUE_LOG_SAID_MAX : end;
        write_said(log, who, bytes_slice(text, at, end));
        at = end;
    }
}

void dialogue_log_content(struct dialogue_log *log, const char *who, struct bytes text,
                          uint64_t *said)
{
    uint64_t before = *said;
    *said += text.len;
    if (before > DIALOGUE_LOG_CONTENT_MAX || text.len == 0) {
        return;
    }
    dialogue_log_data(log, who, bytes_slice(text, 0, DIALOGUE_LOG_CONTENT_MAX - (size_t)before));
    if (*said > DIALOGUE_LOG_CONTENT_MAX) {
        dialogue_log_line(log, "%s (content beyond %d bytes is not shown)", who,
                          DIALOGUE_LOG_CONTENT_MAX);
    }
}

void dialogue_log_replies(struct dialogue_log *log, const char *who, struct bytes text)
{
    bool first = true;
    for (size_t at = 0; at < text.len;) {
        struct bytes line = take_line(text, &at);
        if (first) {
            write_said(log, who, line);
        }
        first = line.len < 4 || line.data[3] != '-'; /* RFC 5321 4.2.1: "-" says more follow */
    }
}
