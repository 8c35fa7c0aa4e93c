/* Accounting files through kills and with several logs, and their positions as text. */
#include "test.h"

#include "accounting_place.h"

/* ---- another log beside the first --------------------------------------------------------------
 */

#define OTHER_FIRST 100000 /* records of the other log are numbered from here on */

static void make_other_event(uint64_t sequence, struct event *event)
{
    make_event(OTHER_FIRST + sequence, event);
}

static void add_other_log(void)
{
    fake_log_count = 2;
    fake_other.event = make_other_event;
}

static void open_two_logs(void)
{
    open_place();
    add_other_log();
}

static void check_other_records(uint64_t from, uint64_t last)
{
    uint64_t right = 0;
    for (uint64_t i = 1; i <= last; i++) {
        right += seen_records.count[OTHER_FIRST + i] == (i >= from ? 1 : 0) ? 1 : 0;
    }
    CHECK_INT(right, last);
}

/* ---- kill -9 at each point
 * ---------------------------------------------------------------------------- */

static struct shared {
    struct spool spool;
    uint64_t other_last, steps, kill_at;
} * shared;

/* The states outlive the process in shared memory; so does what a kill finds written. */
static void on_step(void)
{
    memcpy(shared->spool.states, fake.states, sizeof fake.states);
    shared->spool.last = fake.last;
    shared->other_last = fake_other.last;
    if (++shared->steps == shared->kill_at) {
        _exit(0);
    }
}

static void life_to_be_killed(const char *template)
{
    fake.step = on_step;
    start(template);
    for (int i = 0; i < 60; i++) {
        fake.last += 10;
        fake_other.last += fake_log_count == 2 ? 7 : 0;
        turn();
        if (i == 20) {
            accounting_rotate(place.accounting);
        }
    }
    stop();
}

/* A killed process is not quite dead while the kernel finishes its last write. */
static int wait_for_lock(void *owner, const char *name)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", place.directory, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK_INT(flock(fd, LOCK_EX), 0);
    close(fd);
    return 0;
}

/* The io of the parent must not be shared with the child: each process has its own. */
static bool killed_at(uint64_t step, const char *template, bool keep_pending)
{
    io_destroy(place.io);
    shared->steps = 0;
    shared->kill_at = step;
    pid_t child = fork();
    if (child == 0) {
        open_io();
        life_to_be_killed(template);
        _exit(42);
    }
    int status = 0;
    CHECK_INT(waitpid(child, &status, 0), child);
    open_io();
    CHECK_INT(io_directory_walk(place.io, place.directory, wait_for_lock, NULL), 0);
    memcpy(fake.states, shared->spool.states, sizeof fake.states);
    fake.last = shared->spool.last;
    fake_other.last = shared->other_last;
    fake_crash(keep_pending);
    return WEXITSTATUS(status) != 42;
}

/* False: the life ended before it could be killed. */
static bool check_killed_at(uint64_t step, const char *template, bool two_logs)
{
    open_place();
    if (two_logs) {
        add_other_log();
    }
    diag_len = 2000;
    memset(&shared->spool, 0, sizeof shared->spool);
    shared->other_last = 0;
    bool killed = killed_at(step, template, step % 2 == 0);
    killed_at(step / 2 + 7, template, step % 3 == 0);
    live(template, fake.last + 3);
    find_records(place.io, place.directory, place.moved, HEADER);
    CHECK_INT(records_found_once(fake.last), fake.last);
    check_other_records(1, fake_other.last);
    if (test_failed) {
        printf("killed at step %" PRIu64 " of %s\n", step, template);
    }
    close_place();
    return killed;
}

static void check_kills(const char *template, bool two_logs)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    logger_set_sink(count_errors);
    uint64_t step = 1, kills = 0;
    while (check_killed_at(step, template, two_logs) && !test_failed) {
        step += kills < 40 ? 1 : 13; /* the start step by step, then here and there */
        kills++;
    }
    CHECK(kills > 60);
    logger_set_sink(NULL);
    munmap(shared, sizeof *shared);
}

TEST(a_kill_at_any_point_neither_loses_nor_repeats_a_record)
{
    check_kills(ONE_FILE, false);
}

TEST(a_kill_at_any_point_of_a_rotation_neither_loses_nor_repeats_a_record)
{
    check_kills("<acct-file $D/acct.csv>\n" LINES "max-size 1m\nmove-to $D/moved\n</acct-file>\n",
                false);
}

TEST(a_kill_at_any_point_with_two_logs_neither_loses_nor_repeats_a_record)
{
    check_kills("<acct-file $D/acct.csv>\n" LINES "max-size 1m\nmove-to $D/moved\n</acct-file>\n",
                true);
}

/* ---- several logs -------------------------------------------------------------------------------
 */

TEST(one_file_holds_the_records_of_all_logs_once)
{
    open_two_logs();
    for (uint64_t life = 1; life <= 4; life++) {
        fake_other.last = 300 * life;
        live(ONE_FILE, 200 * life);
    }
    check_records(800, 1);
    check_other_records(1, 1200);
    CHECK_INT(fake.states[0].let_go, 800);
    CHECK_INT(fake.states[0].other_let_go, 1200);
    close_place();
}

TEST(a_log_that_comes_back_goes_on_where_it_was)
{
    open_two_logs();
    fake_other.last = 300;
    live(ONE_FILE, 200);
    fake_log_count = 1;
    live(ONE_FILE, 250);
    fake_log_count = 2;
    fake_other.last = 400;
    live(ONE_FILE, 300);
    check_records(300, 1);
    check_other_records(1, 400);
    close_place();
}

TEST(another_engine_s_log_is_followed_from_where_its_sink_was)
{
    open_two_logs();
    struct fake_state *state = &fake_other.states[0];
    snprintf(state->key, sizeof state->key, "acct:%s/acct.csv", place.directory);
    /* Its file of that name, which this one must not touch. */
    const char *theirs = path_of(place.directory, "acct", 0, ".csv");
    append_to(theirs, HEADER);
    snprintf(state->durable, sizeof state->durable, "2 77 1000000 1 1 %u:120 %s", 0x5678,
             strrchr(theirs, '/') + 1);
    fake_other.last = 500;
    live(ONE_FILE, 100);
    CHECK_BYTES(file_text(file_path(0)), HEADER);
    check_records(100, 2);
    check_other_records(121, 500);
    CHECK_STRING(state->pending, ""); /* nothing is put there */
    live(ONE_FILE, 150);
    check_records(150, 2);
    check_other_records(121, 500);
    close_place();
}

TEST(a_position_of_the_first_form_is_that_of_its_log)
{
    struct accounting_position position;
    CHECK(accounting_position_parse(BYTES("1 55 7 100 9 11 acct-1.csv"), 0x1234, &position));
    CHECK_INT(position.log_count, 1);
    CHECK(position.logs[0].log_id == 0x1234);
    CHECK_INT(position.logs[0].sequence, 55);
    CHECK_INT(position.inode, 7);
    CHECK_STRING(position.name, "acct-1.csv");
}

TEST(a_position_keeps_all_logs_that_fit_and_those_attached_first)
{
    struct accounting_position position = {.name = "a.csv", .inode = UINT64_MAX}, again;
    for (uint64_t i = 0; i < ACCOUNTING_LOGS_MAX; i++) {
        accounting_position_reach(&position, &(struct accounting_reached){.log_id = UINT64_MAX - i,
                                                                          .sequence = UINT64_MAX});
    }
    uint64_t attached[] = {1, UINT64_MAX - 3};
    accounting_position_align(&position, attached, 2);
    CHECK_INT(position.log_count, ACCOUNTING_LOGS_MAX);
    CHECK_INT(position.logs[0].sequence, 0);
    CHECK(position.logs[1].sequence == UINT64_MAX);
    position.logs[0].sequence = 5;
    char text[ACCOUNTING_POSITION_MAX];
    struct buffer out;
    buffer_init(&out, text, sizeof text);
    CHECK(accounting_position_put(&out, &position));
    CHECK(accounting_position_parse(buffer_bytes(&out), 0, &again));
    CHECK(memcmp(&again, &position, sizeof again) == 0);
}

TEST(a_text_that_is_no_position_is_refused)
{
    static const char *const texts[] = {"",
                                        "3 1 1 1 1 1:1 a",
                                        "2 1 1 1 1 1 a",
                                        "2 1 1 1 1 1:x a",
                                        "2 1 1 1 1 1:1,, a",
                                        "2 1 1 1 1 1:1",
                                        "2 1 1 1 1 1:1 a/b",
                                        "1 1 1 1 1"};
    struct accounting_position position;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        CHECK(!accounting_position_parse(bytes_from_string(texts[i]), 1, &position));
    }
}
