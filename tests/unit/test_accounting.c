/* Accounting files on a real file system, over a spool that is only a journal. */
#include "test.h"

#include "accounting_place.h"

/* ---- the ordinary life ------------------------------------------------------------------------
 */

TEST(each_record_is_written_once_under_one_header)
{
    open_place();
    live(ONE_FILE, 1000);
    check_records(1000, 1);
    CHECK(access(file_path(0), F_OK) == 0);
    close_place();
}

TEST(a_file_is_there_from_the_start)
{
    open_place();
    start(ONE_FILE);
    CHECK(access(file_path(0), F_OK) == 0);
    run_turns(5);
    stop();
    close_place();
}

TEST(records_reach_the_file_without_a_stop)
{
    open_place();
    start(ONE_FILE);
    run_turns(10);
    fake.last = 10;
    run_turns(50);
    check_records(10, 1);
    stop();
    close_place();
}

TEST(a_restart_goes_on_in_the_same_file)
{
    open_place();
    for (uint64_t last = 100; last <= 500; last += 100) {
        live(ONE_FILE, last);
    }
    check_records(500, 1);
    close_place();
}

/* effect: acct-file sync */
TEST(the_position_becomes_durable_within_two_seconds)
{
    open_place();
    start(ONE_FILE);
    fake.last = 10;
    run_for(1500);
    CHECK_INT(fake.states[0].let_go, 10);
    stop();
    close_place();
}

TEST(records_of_other_types_let_the_journal_go_too)
{
    open_place();
    live("<acct-file $D/acct.csv>\nrecords r\nrecord-fields r rcpt,dsnDiag\n</acct-file>\n", 300);
    check_records(0, 0);
    CHECK_INT(fake.states[0].let_go, 300);
    close_place();
}

TEST(json_lines_carry_the_id_of_the_event)
{
    open_place();
    live("<acct-file $D/acct.jsonl>\nrecords d\nrecord-fields d rcpt\n</acct-file>\n", 1);
    CHECK_BYTES(file_text(path_of(place.directory, "acct", 0, ".jsonl")),
                "{\"type\":\"d\",\"rcpt\":\"rcpt-1@d.test\","
                "\"eid\":\"0000000000001234-0000000000000001\"}\n");
    close_place();
}

TEST(a_batch_larger_than_all_buffers_is_taken_in_parts)
{
    open_place();
    diag_len = 4000;
    fake.batch_max = UINT64_MAX;
    live(ONE_FILE, 1500);
    check_records(1500, 1);
    close_place();
}

TEST(a_stop_without_files_is_told_later)
{
    open_place();
    start("");
    CHECK(!accounting_wants_received(place.accounting));
    stop();
    close_place();
}

TEST(received_records_are_wanted_by_a_file_that_holds_them)
{
    open_place();
    start("<acct-file $D/a.csv>\n</acct-file>\n<acct-file $D/b.csv>\nrecords d,r\n</acct-file>\n");
    CHECK(accounting_wants_received(place.accounting));
    stop();
    start(ONE_FILE);
    CHECK(!accounting_wants_received(place.accounting));
    stop();
    close_place();
}

/* ---- what cannot be -----------------------------------------------------------------------------
 */

static void check_refused(const char *template, const char *reason)
{
    struct error error = {0};
    CHECK(!start_with(template, &error));
    CHECK(strstr(error.text, reason) != NULL);
    if (strstr(error.text, reason) == NULL) {
        printf("said: %s\n", error.text);
    }
    CHECK(error.code >= 64);
}

TEST(what_cannot_be_written_is_refused_by_name)
{
    open_place();
    check_refused("<acct-file $D/none/acct.csv>\n</acct-file>\n", "/none/acct.csv: No such file");
    check_refused(ONE_FILE ONE_FILE, "configured twice");
    check_refused("<acct-file $D/acct.csv>\nmove-to $D/none\n</acct-file>\n",
                  "/none: No such file");
    close_place();
}

TEST(a_file_that_another_process_has_open_is_waited_for)
{
    open_place();
    live(ONE_FILE, 5);
    int fd = open(file_path(0), O_RDONLY | O_CLOEXEC);
    CHECK_INT(flock(fd, LOCK_EX), 0);
    append_to(file_path(0), "written late\n");
    start(ONE_FILE);
    fake.last = 10;
    run_turns(30);
    CHECK(memmem(file_text(file_path(0)).data, 4096, "written late", 12) != NULL);
    close(fd);
    run_for(1500);
    stop();
    check_records(10, 1);
    close_place();
}

/* ---- files that are not as they were
 * ------------------------------------------------------------- */

TEST(a_longer_file_is_cut_to_its_position)
{
    open_place();
    live(ONE_FILE, 10);
    append_to(file_path(0), "d,rcpt-11@d.test,x\r\nhalf a rec");
    live(ONE_FILE, 20);
    check_records(20, 1);
    close_place();
}

TEST(a_shorter_file_is_left_alone)
{
    open_place();
    live(ONE_FILE, 10);
    CHECK_INT(truncate(file_path(0), (off_t)strlen(HEADER)), 0);
    live(ONE_FILE, 20);
    find_records(place.io, place.directory, NULL, HEADER);
    CHECK_INT(seen_records.files, 2);
    CHECK_INT(records_found_once(20), 10);
    CHECK_INT(seen_records.count[11], 1);
    close_place();
}

TEST(another_file_of_the_same_name_is_left_alone)
{
    open_place();
    live(ONE_FILE, 10);
    char other[600];
    snprintf(other, sizeof other, "%s.other", file_path(0));
    append_to(other, "a longer file that somebody has put in place of ours, and that is his, "
                     "whatever its length, as it has another inode, and none of our records, "
                     "so that nothing of ours may be cut away from it or be added to its end, "
                     "though at least as long as the records that were written to the other\n");
    CHECK_INT(rename(other, file_path(0)), 0);
    live(ONE_FILE, 20);
    CHECK(bytes_starts_with(file_text(file_path(0)), BYTES("a longer file")));
    CHECK(bytes_starts_with(file_text(file_path(1)), BYTES(HEADER "d,rcpt-11@d.test")));
    close_place();
}

TEST(a_file_that_is_gone_leaves_its_number_unused)
{
    open_place();
    live(ONE_FILE, 10);
    CHECK_INT(unlink(file_path(0)), 0);
    live(ONE_FILE, 20);
    CHECK(access(file_path(0), F_OK) < 0);
    CHECK(bytes_starts_with(file_text(file_path(1)), BYTES(HEADER "d,rcpt-11@d.test")));
    close_place();
}

TEST(an_empty_file_that_a_crash_left_is_deleted)
{
    open_place();
    live(ONE_FILE, 10);
    append_to(file_path(7), "");
    live(ONE_FILE, 20);
    CHECK(access(file_path(7), F_OK) < 0);
    check_records(20, 1);
    close_place();
}

/* ---- rotation
 * ------------------------------------------------------------------------------------- */

#define SMALL_FILES "<acct-file $D/acct.csv>\n" LINES "max-size 1m\n</acct-file>\n"
#define MOVED_FILES                                                                                \
    "<acct-file $D/acct.csv>\n" LINES "max-size 1m\nmove-to $D/moved\n</acct-file>\n"

/* effect: acct-file max-size */
TEST(a_full_file_is_followed_by_the_next_number)
{
    open_place();
    diag_len = 4000;
    live(SMALL_FILES, 1000);
    check_records(1000, 4);
    struct stat info;
    for (int i = 0; i < 4; i++) {
        CHECK_INT(stat(file_path(i), &info), 0);
        CHECK(info.st_size <= 1024 * 1024);
    }
    close_place();
}

/* effect: acct-file move-to */
TEST(a_full_file_is_moved_away)
{
    open_place();
    diag_len = 4000;
    live(MOVED_FILES, 1000);
    check_records(1000, 4);
    CHECK(access(path_of(place.moved, "acct", 0, ".csv"), F_OK) == 0);
    CHECK(access(path_of(place.moved, "acct", 2, ".csv"), F_OK) == 0);
    CHECK(access(file_path(3), F_OK) == 0);
    CHECK(access(file_path(0), F_OK) < 0);
    close_place();
}

TEST(a_moved_file_that_was_taken_away_leaves_its_number_unused)
{
    open_place();
    diag_len = 4000;
    start(MOVED_FILES);
    for (uint64_t last = 10; last <= 30; last += 10) {
        fake.last = last;
        run_turns(30);
        accounting_rotate(place.accounting);
        run_turns(30);
        CHECK_INT(unlink(path_of(place.moved, "acct", (int)last / 10 - 1, ".csv")), 0);
    }
    CHECK(access(file_path(3), F_OK) == 0);
    stop();
    close_place();
}

TEST(no_moved_file_is_overwritten)
{
    open_place();
    start(MOVED_FILES);
    fake.last = 10;
    run_turns(30);
    append_to(path_of(place.moved, "acct", 0, ".csv"), "of somebody else");
    accounting_rotate(place.accounting);
    run_turns(30);
    CHECK_BYTES(file_text(path_of(place.moved, "acct", 0, ".csv")), "of somebody else");
    CHECK(bytes_starts_with(file_text(file_path(0)), BYTES(HEADER)));
    stop();
    close_place();
}

TEST(a_move_that_a_crash_prevented_is_made_at_the_start)
{
    open_place();
    live(SMALL_FILES, 10);
    start(SMALL_FILES);
    run_turns(5);
    accounting_rotate(place.accounting);
    run_turns(30);
    stop();
    live(MOVED_FILES, 20);
    check_records(20, 2);
    CHECK(access(path_of(place.moved, "acct", 0, ".csv"), F_OK) == 0);
    close_place();
}

TEST(an_empty_file_is_not_rotated)
{
    open_place();
    start(MOVED_FILES);
    run_turns(10);
    accounting_rotate(place.accounting);
    run_turns(30);
    CHECK(access(file_path(0), F_OK) == 0);
    CHECK(access(file_path(1), F_OK) < 0);
    stop();
    close_place();
}

TEST(a_file_moved_by_others_is_left_at_a_rotation)
{
    open_place();
    start(ONE_FILE);
    fake.last = 10;
    run_turns(30);
    char taken[600];
    snprintf(taken, sizeof taken, "%s/taken", place.directory);
    CHECK_INT(rename(file_path(0), taken), 0);
    accounting_rotate(place.accounting);
    run_turns(30);
    fake.last = 20;
    stop();
    check_records(20, 2);
    CHECK(access(file_path(1), F_OK) == 0);
    close_place();
}

/* effect: acct-file move-interval */
TEST(a_file_is_finished_after_its_interval)
{
    open_place();
    start("<acct-file $D/acct.csv>\n" LINES "move-to $D/moved\nmove-interval 300ms\n"
          "</acct-file>\n");
    run_for(400);
    CHECK(access(file_path(0), F_OK) == 0); /* no record yet: no age */
    fake.last = 10;
    run_for(500);
    CHECK(access(path_of(place.moved, "acct", 0, ".csv"), F_OK) == 0);
    stop();
    check_records(10, 2 - 1); /* the next one is empty */
    close_place();
}

/* effect: acct-file delete-after */
TEST(old_files_are_deleted_and_nothing_else)
{
    open_place();
    char path[600];
    const char *names[] = {"acct-2019-02-08-0000.csv", "acct-2019-02-08-0001.csv",
                           "acct-2019-03-01-0000.csv", "other-2019-02-08-0000.csv",
                           "acct-2019-02-08-0000.csv.gz"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", place.directory, names[i]);
        append_to(path, "x");
    }
    live("<acct-file $D/acct.csv>\n" LINES "delete-after 8d\n</acct-file>\n", 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", place.directory, names[i]);
        /* the last of March was in use until today's file began */
        CHECK_INT(access(path, F_OK) == 0, i >= 2);
    }
    close_place();
}

/* ---- reload
 * ----------------------------------------------------------------------------------------- */

static void reload(const char *template)
{
    struct config *old = place.config;
    place.config = config_of(template);
    accounting_reload(place.accounting, place.config);
    config_free(old);
}

TEST(a_reload_ends_files_and_begins_others)
{
    open_place();
    start(ONE_FILE);
    fake.last = 10;
    run_turns(30);
    reload("<acct-file $D/more.csv>\n" LINES "</acct-file>\n");
    fake.last = 20;
    run_turns(30);
    stop();
    find_records(place.io, place.directory, NULL, HEADER);
    CHECK_INT(seen_records.files, 2);
    CHECK_INT(seen_records.count[10], 2);
    CHECK_INT(seen_records.count[11], 1);
    close_place();
}

static bool holds(const char *path, const char *text)
{
    return bytes_contains_nocase(file_text(path), bytes_from_string(text));
}

/* The old one is finished when it comes back, or is not: then it begins again when it is. */
static void bring_back_after(int turns)
{
    open_place();
    start(ONE_FILE);
    fake.last = 10;
    run_turns(30);
    reload("");
    run_turns(turns);
    fake.last = 20;
    reload(ONE_FILE);
    for (int i = 0; i < 20000 && !holds(file_path(0), "rcpt-20@"); i++) {
        turn();
    }
    stop();
    check_records(20, 1);
    close_place();
}

TEST(a_file_that_comes_back_goes_on_where_it_was)
{
    bring_back_after(30);
    bring_back_after(0);
}

TEST(other_columns_begin_another_file)
{
    open_place();
    start(ONE_FILE);
    fake.last = 10;
    run_turns(30);
    reload("<acct-file $D/acct.csv>\nrecords d,b\nrecord-fields d,b rcpt\n</acct-file>\n");
    fake.last = 20;
    run_turns(30);
    stop();
    CHECK(bytes_starts_with(file_text(file_path(0)), BYTES(HEADER)));
    CHECK(bytes_starts_with(file_text(file_path(1)), BYTES("type,rcpt\r\nd,rcpt-11@d.test\r\n")));
    CHECK(access(file_path(2), F_OK) < 0);
    close_place();
}

TEST(other_columns_begin_another_file_at_a_start_too)
{
    open_place();
    live(ONE_FILE, 10);
    live("<acct-file $D/acct.csv>\nrecords d,b\nrecord-fields d,b rcpt\n</acct-file>\n", 20);
    CHECK(bytes_starts_with(file_text(file_path(1)), BYTES("type,rcpt\r\nd,rcpt-11@d.test\r\n")));
    close_place();
}

TEST(a_reload_that_changes_nothing_changes_nothing)
{
    open_place();
    start(ONE_FILE);
    for (uint64_t last = 10; last <= 50; last += 10) {
        fake.last = last;
        reload(ONE_FILE);
        run_turns(10);
    }
    stop();
    check_records(50, 1);
    close_place();
}

/* ---- trouble
 * ----------------------------------------------------------------------------------------- */

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

TEST(a_full_volume_holds_the_records_until_there_is_room)
{
    open_place();
    signal(SIGXFSZ, SIG_IGN);
    logger_set_sink(count_errors);
    errors_logged = 0;
    diag_len = 1000;
    start(ONE_FILE);
    limit_files(100000);
    fake.last = 500;
    run_for(3500);
    CHECK_INT(errors_logged, 1);
    limit_files(RLIM_INFINITY);
    run_for(1500);
    logger_set_sink(NULL);
    stop();
    check_records(500, 1);
    close_place();
}

TEST(a_stop_with_a_full_volume_leaves_the_records_in_the_journal)
{
    open_place();
    signal(SIGXFSZ, SIG_IGN);
    logger_set_sink(count_errors);
    diag_len = 1000;
    limit_files(100000);
    live(ONE_FILE, 500);
    limit_files(RLIM_INFINITY);
    logger_set_sink(NULL);
    live(ONE_FILE, 500);
    check_records(500, 1);
    close_place();
}
