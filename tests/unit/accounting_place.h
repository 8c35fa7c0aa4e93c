/* A directory, an io and a fake spool for the tests of accounting on a real file system. Include
 * once per binary. */
#ifndef TESTS_UNIT_ACCOUNTING_PLACE_H
#define TESTS_UNIT_ACCOUNTING_PLACE_H

#include "accounting.h"
#include "accounting_files.h"
#include "base/logger.h"
#include "config_files.h"
#include "fake_spool.h"
#include "policy/config.h"
#include "test.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define HEADER "type,rcpt,dsnDiag\r\n"
#define LINES  "records d,b\nrecord-fields d,b rcpt,dsnDiag\n"

/* ---- a place of its own ---------------------------------------------------------------------- */

static struct place {
    char directory[64], moved[80];
    struct io *io;
    struct config *config;
    struct accounting *accounting;
    bool stopped;
    uint32_t turns;
} place;

static uint32_t diag_len; /* bytes of an event's text: how large records are */

static void make_event(uint64_t sequence, struct event *event)
{
    static char rcpt[64], diag[4096];
    memset(diag, 'x', sizeof diag);
    snprintf(rcpt, sizeof rcpt, "rcpt-%" PRIu64 "@d.test", sequence);
    event->type = sequence % 5 == 0 ? EVENT_BOUNCED : EVENT_DELIVERED;
    event->rcpt = bytes_from_string(rcpt);
    event->dsn_diag = bytes_of(diag, diag_len);
}

static void open_io(void)
{
    struct error error = {0};
    struct io_options options = {.entries = 64, .recv_buffer_bytes = 512, .recv_buffer_count = 4};
    place.io = io_create(&options, &error);
    CHECK_STRING(error.text, "");
}

static void open_place(void)
{
    fake_reset(make_event);
    diag_len = 20;
    place = (struct place){.directory = "/tmp/posthaste-acct-XXXXXX"};
    CHECK(mkdtemp(place.directory) != NULL);
    snprintf(place.moved, sizeof place.moved, "%s/moved", place.directory);
    CHECK_INT(mkdir(place.moved, 0750), 0);
    open_io();
}

static void close_place(void)
{
    char command[100];
    io_destroy(place.io);
    snprintf(command, sizeof command, "rm -r '%s'", place.directory);
    CHECK_INT(system(command), 0);
}

/* A configuration in which $D is the directory; owned by the caller. */
static struct config *config_of(const char *template)
{
    char text[4096] = "";
    size_t len = 0;
    for (const char *at = template; *at != '\0'; at++) {
        if (at[0] == '$' && at[1] == 'D') {
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", place.directory);
            at++;
        } else {
            text[len++] = *at;
        }
    }
    struct config *config = load_good(text);
    CHECK(config != NULL);
    return config;
}

/* Starts accounting; on failure `error` says why. */
static bool start_with(const char *template, struct error *error)
{
    place.config = config_of(template);
    place.accounting = accounting_create(
        &(struct accounting_options){
            .io = place.io, .logs = fake_logs, .log_count = fake_log_count, .config = place.config},
        error);
    if (place.accounting == NULL) {
        unload(place.config);
    }
    place.stopped = false;
    return place.accounting != NULL;
}

static void start(const char *template)
{
    struct error error = {0};
    CHECK(start_with(template, &error));
    CHECK_STRING(error.text, "");
}

static void turn(void)
{
    CHECK_INT(io_run(place.io, io_now_ms(place.io) + 1), 0);
    fake_turn();
    place.turns++;
}

static void run_turns(int count)
{
    for (int i = 0; i < count; i++) {
        turn();
    }
}

static inline void run_for(uint64_t ms)
{
    uint64_t until_ms = io_now_ms(place.io) + ms;
    while (io_now_ms(place.io) < until_ms) {
        turn();
    }
}

static void on_stopped(void *owner)
{
    place.stopped = true;
}

static void stop(void)
{
    accounting_stop(place.accounting, on_stopped, NULL);
    CHECK(!place.stopped);
    for (int i = 0; i < 20000 && !place.stopped; i++) {
        turn();
    }
    CHECK(place.stopped);
    accounting_destroy(place.accounting);
    fake_sync();
    unload(place.config);
}

/* Runs one life: events up to `last` are there, and are all written at its end. */
static void live(const char *template, uint64_t last)
{
    start(template);
    fake.last = last;
    run_turns(5);
    stop();
}

#define ONE_FILE "<acct-file $D/acct.csv>\n" LINES "</acct-file>\n"

static inline void check_records(uint64_t last, uint32_t files)
{
    find_records(place.io, place.directory, place.moved, HEADER);
    CHECK_INT(records_found_once(last), last);
    CHECK_INT(seen_records.files, files);
}

/* The path of the one file with that number, of today; valid until the next call. */
static const char *path_of(const char *directory, const char *stem, int number, const char *suffix)
{
    static char path[512];
    time_t now = (time_t)(io_wall_ms(place.io) / 1000);
    struct tm day;
    gmtime_r(&now, &day);
    snprintf(path, sizeof path, "%s/%s-%04d-%02d-%02d-%04d%s", directory, stem, day.tm_year + 1900,
             day.tm_mon + 1, day.tm_mday, number, suffix);
    return path;
}

static inline const char *file_path(int number)
{
    return path_of(place.directory, "acct", number, ".csv");
}

static struct bytes file_text(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) {
        close(fd);
    }
    return bytes_of(text, len < 0 ? 0 : (size_t)len);
}

static void append_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    CHECK(fd >= 0);
    CHECK_INT(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int errors_logged;

static void count_errors(enum logger_level level, const char *line)
{
    errors_logged += level == LOGGER_ERROR ? 1 : 0;
}

#endif
