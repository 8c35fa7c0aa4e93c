/* Accounting pipes: real programs, over a spool that is only a journal. */
#include "test.h"

#include "accounting_given.h"
#include "accounting_place.h"

#define PIPE(more) "<acct-file \"|/bin/sh $D/feed.sh\">\n" LINES more "</acct-file>\n"
#define QUICK      "retry-interval 50ms\nwrite-timeout 400ms\n"

/* ---- programs -------------------------------------------------------------------------------- */

static const char *in_place(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", place.directory, name);
    return path;
}

/* The program, with D as its folder. It writes what it has dealt with to $D/out. */
static void write_program(const char *text)
{
    char all[2000];
    snprintf(all, sizeof all, "D=%s\n%s\n", place.directory, text);
    (void)unlink(in_place("feed.sh"));
    append_to(in_place("feed.sh"), all);
}

static void open_with_program(const char *text)
{
    open_place();
    write_program(text);
}

#define COPY_ALL "exec cat >> $D/out"
/* Reads line by line and stops when told, if ever. */
#define COPY_UNTIL(stop)                                                                           \
    "n=0\n"                                                                                        \
    "while read -r line; do\n"                                                                     \
    "    " stop "\n"                                                                               \
    "    printf '%s\\n' \"$line\" >> $D/out; n=$((n + 1))\n"                                       \
    "done"

/* ---- what arrived ---------------------------------------------------------------------------- */

static struct arrived {
    uint64_t headers, records, last; /* last: the highest number */
    bool whole, in_order;            /* whole lines; each start goes on from one that was there */
} arrived;

static void note_line(struct bytes line)
{
    uint64_t number;
    struct bytes text = bytes_slice(line, 0, line.len);
    if (bytes_equal(line, BYTES("type,rcpt,dsnDiag\r"))) {
        arrived.headers++;
        return;
    }
    ptrdiff_t from = bytes_find(text, '-', 0), to = bytes_find(text, '@', 0);
    bool is_record =
        from > 0 && to > from &&
        bytes_to_u64(bytes_slice(text, (size_t)from + 1, (size_t)to), 1000000, &number);
    arrived.whole = arrived.whole && is_record && line.data[line.len - 1] == '\r';
    if (is_record) {
        arrived.records++;
        arrived.in_order = arrived.in_order && number <= arrived.last + 1; /* no gap, ever */
        arrived.last = number > arrived.last ? number : arrived.last;
    }
}

/* Of all programs so far, oldest first. */
static void find_arrived(void)
{
    static char text[8 * 1024 * 1024];
    int fd = open(in_place("out"), O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, text, sizeof text);
    arrived = (struct arrived){.whole = true, .in_order = true};
    if (fd >= 0) {
        close(fd);
    }
    for (size_t at = 0; at < (size_t)len;) {
        struct bytes all = bytes_of(text, (size_t)len);
        ptrdiff_t end = bytes_find(all, '\n', at);
        if (end < 0) {
            break; /* being written */
        }
        note_line(bytes_slice(all, at, (size_t)end));
        at = (size_t)end + 1;
    }
}

static bool wait_arrived(uint64_t last)
{
    for (int i = 0; i < 20000; i++) {
        turn();
        find_arrived();
        if (arrived.last >= last) {
            return true;
        }
    }
    return false;
}

/* Every record up to last, in order, whole; `again` of them more than once at most. */
static void check_arrived(uint64_t last, uint64_t headers, uint64_t again)
{
    find_arrived();
    CHECK(arrived.whole);
    CHECK(arrived.in_order);
    CHECK_INT(arrived.last, last);
    CHECK_INT(arrived.headers, headers);
    CHECK(arrived.records <= last + again);
}

static uint64_t let_go(void)
{
    return fake.states[0].let_go;
}

/* ---- the ordinary life ------------------------------------------------------------------------
 */

TEST(a_program_gets_each_record_once_under_one_header_and_its_end)
{
    open_with_program(COPY_ALL);
    live(PIPE(), 1000);
    check_arrived(1000, 1, 0);
    CHECK_INT(let_go(), 1000);
    close_place();
}

TEST(a_restart_goes_on_behind_what_was_given)
{
    open_with_program(COPY_ALL);
    for (uint64_t last = 100; last <= 300; last += 100) {
        live(PIPE(), last);
    }
    check_arrived(300, 3, 0);
    close_place();
}

TEST(records_reach_the_program_without_a_stop)
{
    open_with_program(COPY_ALL);
    start(PIPE());
    run_turns(10);
    fake.last = 10;
    CHECK(wait_arrived(10));
    stop();
    close_place();
}

TEST(more_than_all_buffers_hold_arrives_in_order)
{
    open_with_program(COPY_ALL);
    diag_len = 4000;
    fake.batch_max = UINT64_MAX;
    live(PIPE(), 1500);
    check_arrived(1500, 1, 0);
    close_place();
}

TEST(records_of_other_types_let_the_journal_go_too)
{
    open_with_program(COPY_ALL);
    start("<acct-file \"|/bin/sh $D/feed.sh\">\nrecords r\nrecord-fields r rcpt\n</acct-file>\n");
    fake.last = 300;
    run_for(1500);
    CHECK_INT(let_go(), 300);
    stop();
    close_place();
}

TEST(words_reach_the_program_as_they_are)
{
    open_with_program("printf '%s|' \"$@\" > $D/words; cat >> $D/out");
    live("<acct-file \"|/bin/sh $D/feed.sh one \\\"two words\\\" $HOME\">\n" LINES "</acct-file>\n",
         1);
    CHECK_BYTES(file_text(in_place("words")), "one|two words|$HOME|");
    close_place();
}

/* ---- what counts as given ---------------------------------------------------------------------
 */

TEST(what_was_read_counts_when_the_program_reads_on)
{
    static struct accounting_given given;
    struct accounting_position reached = {.log_count = 1};
    accounting_given_begin(&given, 1000);
    for (uint64_t i = 1; i <= 3; i++) {
        accounting_given_mark(&given, (struct accounting_mark){.end = i * 100, .sequence = i});
    }
    accounting_given_read(&given, 250, 300, 1100, 5000);
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[0].sequence, 0); /* taken, perhaps not dealt with */
    accounting_given_read(&given, 300, 300, 1200, 5000);
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[0].sequence, 2); /* the third was read in part */
    accounting_given_read(&given, 300, 300, 6100, 5000);
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[0].sequence, 2);
    accounting_given_read(&given, 300, 300, 6200, 5000);
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[0].sequence, 3); /* nothing has happened for so long */
}

TEST(events_that_are_no_records_count_with_what_stands_before_them)
{
    static struct accounting_given given;
    struct accounting_position reached = {.log_count = 2};
    accounting_given_begin(&given, 1000);
    for (uint64_t i = 1; i <= 2 * ACCOUNTING_MARKS_MAX; i++) {
        accounting_given_mark(&given, (struct accounting_mark){.sequence = i}); /* no bytes yet */
    }
    accounting_given_mark(&given, (struct accounting_mark){.end = 50, .sequence = 8, .log = 1});
    for (uint64_t i = 9; i <= 2 * ACCOUNTING_MARKS_MAX; i++) {
        accounting_given_mark(&given, (struct accounting_mark){.end = 50, .sequence = i, .log = 1});
    }
    CHECK(accounting_given_has_room(&given));
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[0].sequence, 2 * ACCOUNTING_MARKS_MAX);
    CHECK_INT(reached.logs[1].sequence, 0);
    accounting_given_read(&given, 50, 50, 1100, 5000);
    accounting_given_all(&given);
    accounting_given_advance(&given, &reached);
    CHECK_INT(reached.logs[1].sequence, 2 * ACCOUNTING_MARKS_MAX);
}

/* ---- trouble ----------------------------------------------------------------------------------
 */

/* effect: acct-file retry-interval */
TEST(a_program_that_ends_is_started_again_and_nothing_is_lost)
{
    open_with_program(COPY_UNTIL("[ $n = 8 ] && exit 3"));
    logger_set_sink(count_errors);
    start(PIPE("retry-interval 400ms\n"));
    fake.last = 3; /* with the header four lines: it lives */
    CHECK(wait_arrived(3));
    fake.last = 20;
    CHECK(wait_arrived(7));
    uint64_t died_ms = io_now_ms(place.io);
    CHECK(wait_arrived(8));
    CHECK(io_now_ms(place.io) - died_ms >= 300);
    CHECK(wait_arrived(20));
    logger_set_sink(NULL);
    stop();
    find_arrived();
    CHECK(arrived.headers >= 3);
    check_arrived(20, arrived.headers, 8 * arrived.headers);
    close_place();
}

TEST(what_it_took_with_its_last_read_comes_again)
{
    /* It takes all at once and dies before it has dealt with any of it. */
    open_with_program("[ -e $D/died ] && exec cat >> $D/out\n"
                      "while ! dd of=$D/taken bs=64k count=1 2> $D/dd || [ ! -s $D/taken ]; do :;"
                      " done\n> $D/died\nkill -9 $$");
    logger_set_sink(count_errors);
    start(PIPE(QUICK));
    fake.last = 50;
    CHECK(wait_arrived(50));
    CHECK(access(in_place("died"), F_OK) == 0);
    CHECK_INT(let_go(), 0);
    logger_set_sink(NULL);
    stop();
    check_arrived(50, 1, 0);
    close_place();
}

/* effect: acct-file write-timeout */
TEST(a_program_that_does_not_read_is_killed_and_another_is_started)
{
    open_with_program("[ -e $D/hung ] && exec cat >> $D/out\n> $D/hung\nexec sleep 1000");
    logger_set_sink(count_errors);
    errors_logged = 0;
    start(PIPE(QUICK));
    fake.last = 50;
    run_for(300);
    CHECK_INT(errors_logged, 0);
    CHECK(access(in_place("hung"), F_OK) == 0);
    CHECK(wait_arrived(50));
    CHECK_INT(errors_logged, 2); /* that it does not read, and that it was killed */
    logger_set_sink(NULL);
    stop();
    check_arrived(50, 1, 0);
    close_place();
}

TEST(a_program_that_does_not_read_lets_records_wait_in_the_journal)
{
    open_with_program("exec sleep 1000");
    diag_len = 4000;
    fake.batch_max = UINT64_MAX;
    start(PIPE());
    fake.last = 1500;
    run_for(1500);
    struct spool_follower *follower =
        CONTAINER_OF(list_first(&fake.followers), struct spool_follower, node);
    CHECK(follower->last_sequence > 10);
    CHECK(follower->last_sequence < 120); /* a pipe and a buffer full of 4 kB each */
    CHECK_INT(let_go(), 0);
    logger_set_sink(count_errors);
    uint64_t began_ms = io_now_ms(place.io);
    stop(); /* it is killed */
    CHECK(io_now_ms(place.io) - began_ms < 8000);
    logger_set_sink(NULL);
    CHECK_INT(let_go(), 0);
    write_program(COPY_ALL);
    live(PIPE(), 1500);
    check_arrived(1500, 1, 0);
    close_place();
}

TEST(a_program_that_does_not_end_with_its_input_is_killed)
{
    open_with_program("trap '' TERM; cat >> $D/out; sleep 1000");
    logger_set_sink(count_errors);
    start(PIPE());
    fake.last = 10;
    CHECK(wait_arrived(10));
    uint64_t began_ms = io_now_ms(place.io);
    stop();
    CHECK(io_now_ms(place.io) - began_ms < 8000);
    CHECK(let_go() < 10); /* nobody knows what became of them */
    logger_set_sink(NULL);
    close_place();
}

TEST(a_program_that_ends_badly_gets_its_last_records_again)
{
    open_with_program("cat >> $D/out; exit 1");
    start(PIPE());
    fake.last = 10;
    CHECK(wait_arrived(10));
    stop();
    CHECK(let_go() < 10);
    write_program(COPY_ALL);
    live(PIPE(), 20);
    check_arrived(20, 2, 10);
    close_place();
}

TEST(what_a_program_left_unread_is_not_let_go_whatever_its_status)
{
    open_with_program("head -c 100 >> /dev/null; exit 0");
    live(PIPE("retry-interval 1h\n"), 1000);
    CHECK_INT(let_go(), 0);
    write_program(COPY_ALL);
    live(PIPE(), 1000);
    check_arrived(1000, 1, 0);
    close_place();
}

TEST(a_program_that_is_not_there_is_tried_again)
{
    open_place();
    logger_set_sink(count_errors);
    errors_logged = 0;
    start("<acct-file \"|$D/feed\">\n" LINES "retry-interval 100ms\n</acct-file>\n");
    fake.last = 10;
    run_for(250);
    CHECK(errors_logged >= 2);
    append_to(in_place("feed"), "#!/bin/sh\nexec cat >> ${0%/*}/out\n");
    CHECK_INT(chmod(in_place("feed"), 0755), 0);
    CHECK(wait_arrived(10));
    logger_set_sink(NULL);
    stop();
    check_arrived(10, 1, 0);
    close_place();
}

static int lines_said;
static bool said_cut;

static void note_said(enum logger_level level, const char *line)
{
    const char *said = strstr(line, "says: ");
    lines_said += said != NULL ? 1 : 0;
    said_cut = said_cut || (said != NULL && strlen(said) > 200 && strlen(said) < 500);
}

TEST(what_it_complains_of_is_logged_bounded)
{
    open_with_program("echo 'no such table' >&2; head -c 9000 /dev/zero | tr '\\0' x >&2\n"
                      "echo >&2; yes 'and on' | head -n 100000 >&2; " COPY_ALL);
    logger_set_sink(note_said);
    lines_said = 0;
    said_cut = false;
    logger_set_wall_ms(1000);
    start(PIPE());
    fake.last = 10;
    CHECK(wait_arrived(10));
    stop();
    logger_set_sink(NULL);
    logger_set_wall_ms(0);
    CHECK(said_cut);
    CHECK(lines_said >= 2);
    CHECK(lines_said <= 11);
    close_place();
}

/* ---- reload ------------------------------------------------------------------------------------
 */

static void reload(const char *template)
{
    struct config *old = place.config;
    place.config = config_of(template);
    accounting_reload(place.accounting, place.config);
    config_free(old);
}

TEST(a_pipe_that_leaves_ends_its_program_and_goes_on_when_it_is_back)
{
    open_with_program("cat >> $D/out; > $D/ended");
    start(PIPE());
    fake.last = 10;
    CHECK(wait_arrived(10));
    reload("");
    run_for(500);
    CHECK(access(in_place("ended"), F_OK) == 0);
    fake.last = 20;
    reload(PIPE());
    CHECK(wait_arrived(20));
    stop();
    check_arrived(20, 2, 0);
    close_place();
}

TEST(other_columns_begin_another_program)
{
    open_with_program(COPY_ALL);
    start(PIPE());
    fake.last = 10;
    CHECK(wait_arrived(10));
    reload("<acct-file \"|/bin/sh $D/feed.sh\">\nrecord-fields d,b rcpt\n</acct-file>\n");
    fake.last = 12;
    CHECK(wait_arrived(11));
    stop();
    struct bytes text = file_text(in_place("out"));
    CHECK(bytes_starts_with(text, BYTES(HEADER)));
    CHECK(bytes_contains_nocase(
        text, BYTES("\r\ntype,rcpt\r\nd,rcpt-11@d.test\r\nd,rcpt-12@d.test\r\n")));
    close_place();
}

TEST(a_reload_that_changes_nothing_leaves_the_program_alone)
{
    open_with_program(COPY_ALL);
    start(PIPE());
    for (uint64_t last = 10; last <= 50; last += 10) {
        fake.last = last;
        reload(PIPE());
        CHECK(wait_arrived(last));
    }
    stop();
    check_arrived(50, 1, 0);
    close_place();
}

TEST(a_reload_starts_a_program_that_was_given_up)
{
    open_with_program("exit 1");
    logger_set_sink(count_errors);
    start(PIPE("retry-interval 1h\n"));
    fake.last = 10;
    run_for(300);
    write_program(COPY_ALL);
    reload(PIPE("retry-interval 1h\n"));
    CHECK(wait_arrived(10));
    logger_set_sink(NULL);
    stop();
    check_arrived(10, 1, 0);
    close_place();
}
