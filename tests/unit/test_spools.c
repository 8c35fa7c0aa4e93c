/* Which of several logs is the home, which takes a message, which holds what. */
#include "spools.h"

#include "config_files.h"
#include "message.h"
#include "test.h"

#define LOGS_MAX 4

struct spool {
    uint64_t log_id, booked, min_free_bytes;
    uint32_t index;
    bool used; /* before */
    bool delete_spare;
    char directory[32], state[32]; /* state: "" = none */
    enum spool_answer accepting;
    const char *why;
    bool held, stalled;
    uint32_t closed, stopped, attached;
    void (*on_stopped)(void *owner);
    void *owner;
};

/* As they lie on disk, by directory. */
static struct spool disk[LOGS_MAX];
static const char *broken; /* a directory that cannot be opened */
static struct config *config;
static uint64_t upload_bytes;

/* ---- the spools --------------------------------------------------------------------------- */

struct spool *spool_open(struct io *io, const struct spool_options *options, struct error *error)
{
    upload_bytes += options->upload_bytes_max;
    for (int i = 0; i < LOGS_MAX; i++) {
        if (strcmp(disk[i].directory, options->directory) == 0) {
            if (broken != NULL && strcmp(broken, options->directory) == 0) {
                error_set(error, 75, "locked");
                return NULL;
            }
            disk[i].min_free_bytes = options->min_free_bytes;
            disk[i].delete_spare = options->delete_spare;
            return &disk[i];
        }
    }
    abort();
}

void spool_attach(struct spool *spool, uint32_t worker, struct io *io)
{
    spool->attached++;
}

uint64_t spool_log_id(const struct spool *spool)
{
    return spool->log_id;
}

bool spool_is_fresh(const struct spool *spool)
{
    return !spool->used;
}

void spool_set_index(struct spool *spool, uint32_t index)
{
    spool->index = index;
}

void spool_each_state(struct spool *spool,
                      void (*found)(void *owner, struct bytes key, struct bytes value), void *owner)
{
    if (spool->state[0] != '\0') {
        found(owner, bytes_from_string(spool->state), BYTES("1"));
    }
}

void spool_put_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value)
{
    snprintf(spool->state, sizeof spool->state, "%.*s", BYTES_FMT(key));
}

enum spool_answer spool_accepting(struct spool *spool, const char **why)
{
    *why = spool->why;
    return spool->accepting;
}

void spool_refuse(struct spool *spool, const char *why)
{
    spool->accepting = why == NULL ? SPOOL_OK : SPOOL_FULL;
    spool->why = why;
}

bool spool_attempts_held(const struct spool *spool)
{
    return spool->held;
}

bool spool_outcomes_stalled(const struct spool *spool, uint32_t worker)
{
    return spool->stalled;
}

void spool_flush(struct spool *spool, uint32_t worker)
{
}

void spool_status(const struct spool *spool, struct spool_status *out)
{
    *out = (struct spool_status){.segments = 2,
                                 .recipients = spool->booked,
                                 .bytes_max = UINT64_MAX / 2 + 1,
                                 .hold_reason = spool->why};
}

void spool_stop(struct spool *spool, void (*stopped)(void *owner), void *owner)
{
    spool->stopped++;
    spool->on_stopped = stopped;
    spool->owner = owner;
}

/* At a start that fails: the one that was told to stop has stopped. */
int io_run(struct io *io, uint64_t deadline_ms)
{
    for (int i = 0; i < LOGS_MAX; i++) {
        if (disk[i].on_stopped != NULL) {
            disk[i].on_stopped(disk[i].owner);
            disk[i].on_stopped = NULL;
        }
    }
    return 0;
}

void spool_close(struct spool *spool)
{
    if (spool != NULL) {
        spool->closed++;
    }
}

/* ---- a place of its own ------------------------------------------------------------------- */

static void begin(void)
{
    memset(disk, 0, sizeof disk);
    broken = NULL;
    upload_bytes = 0;
    for (int i = 0; i < LOGS_MAX; i++) {
        snprintf(disk[i].directory, sizeof disk[i].directory, "/%c", 'a' + i);
        disk[i].log_id = (uint64_t)i + 1;
    }
}

static struct spools *open_as(const char *text, struct error *error)
{
    config = load_good(text);
    CHECK(config != NULL);
    return spools_open(
        NULL, config,
        &(struct spool_options){.workers = 2, .upload_bytes_max = 1200, .min_free_bytes = 1000},
        error);
}

static struct spools *open_good(const char *text)
{
    struct error error = {0};
    struct spools *spools = open_as(text, &error);
    CHECK_STRING(error.text, "");
    return spools;
}

static void check_refused(const char *text, int code, const char *reason)
{
    struct error error = {0};
    CHECK(open_as(text, &error) == NULL);
    CHECK_INT(error.code, code);
    CHECK(strstr(error.text, reason) != NULL);
    for (int i = 0; i < LOGS_MAX; i++) {
        CHECK_INT(disk[i].stopped, disk[i].closed); /* nothing is closed unsettled */
    }
    unload(config);
}

static void end(struct spools *spools)
{
    uint32_t count;
    (void)spools_all(spools, &count);
    spools_close(spools);
    for (uint32_t i = 0; i < count; i++) {
        CHECK_INT(disk[i].closed, 1);
    }
    unload(config);
}

/* The directories of the next `count` messages of a worker, a letter each; '-': refused. */
static const char *choices(struct spools *spools, uint32_t worker, int count)
{
    static char out[32];
    for (int i = 0; i < count; i++) {
        struct spool *chosen = NULL;
        const char *why = NULL;
        bool taken = spools_choose(spools, worker, &chosen, &why) == SPOOL_OK;
        out[i] = taken ? chosen->directory[1] : '-';
    }
    out[count] = '\0';
    return out;
}

static enum spool_answer answer_of(struct spools *spools, const char **why)
{
    struct spool *chosen = NULL;
    return spools_choose(spools, 0, &chosen, why);
}

static char home_of(const struct spools *spools)
{
    return spools_home(spools)->directory[1];
}

/* ---- where a message goes ----------------------------------------------------------------- */

TEST(equal_logs_take_turns_for_each_worker)
{
    begin();
    struct spools *spools = open_good("spool /a\nspool /b\nspool /c\n");
    CHECK_STRING(choices(spools, 0, 6), "abcabc");
    CHECK_STRING(choices(spools, 1, 2), "ab");
    CHECK_STRING(choices(spools, 0, 1), "a");
    CHECK_INT(upload_bytes, 1200);
    end(spools);
}

TEST(the_highest_priority_that_takes_mail_gets_it)
{
    begin();
    struct spools *spools =
        open_good("<spool /a>\npriority 1\n</spool>\n<spool /b>\npriority 5\n</spool>\n"
                  "<spool /c>\npriority 5\n</spool>\n<spool /d>\npriority 3\n</spool>\n");
    CHECK_STRING(choices(spools, 0, 4), "bcbc");
    disk[1].accepting = SPOOL_FULL;
    CHECK_STRING(choices(spools, 0, 2), "cc");
    disk[2].accepting = SPOOL_FAILED;
    CHECK_STRING(choices(spools, 0, 2), "dd");
    disk[3].accepting = SPOOL_FULL;
    CHECK_STRING(choices(spools, 0, 2), "aa");
    disk[1].accepting = SPOOL_OK;
    CHECK_STRING(choices(spools, 0, 2), "bb");
    end(spools);
}

TEST(mail_is_refused_when_no_log_takes_it)
{
    begin();
    const char *why = NULL;
    struct spools *spools = open_good("spool /a\nspool /b\n");
    disk[0] = (struct spool){.directory = "/a", .accepting = SPOOL_FAILED, .why = "broken"};
    disk[1] = (struct spool){.directory = "/b", .accepting = SPOOL_FULL, .why = "it is full"};
    CHECK_INT(answer_of(spools, &why), SPOOL_FULL);
    CHECK_STRING(why, "it is full");
    disk[1].accepting = SPOOL_FAILED;
    CHECK_INT(answer_of(spools, &why), SPOOL_FAILED);
    spools_refuse(spools, NULL);
    CHECK_STRING(choices(spools, 0, 2), "ab");
    spools_refuse(spools, "no memory");
    CHECK_INT(answer_of(spools, &why), SPOOL_FULL);
    CHECK_STRING(why, "no memory");
    end(spools);
}

TEST(a_deliver_only_log_takes_no_new_mail)
{
    begin();
    struct spools *spools =
        open_good("<spool /a>\npriority 9\ndeliver-only yes\n</spool>\nspool /b\n");
    CHECK_STRING(choices(spools, 0, 3), "bbb");
    disk[1].accepting = SPOOL_FULL;
    CHECK_STRING(choices(spools, 0, 1), "-");
    end(spools);
}

/* ---- the home log ------------------------------------------------------------------------- */

TEST(the_first_log_is_the_home_and_is_marked_so)
{
    begin();
    struct spools *spools = open_good("spool /a\nspool /b\n");
    spools_mark_home(spools, 0);
    CHECK_INT(home_of(spools), 'a');
    CHECK_STRING(disk[0].state, "home");
    CHECK_STRING(disk[1].state, "");
    end(spools);
    disk[0].closed = disk[1].closed = 0;
    spools = open_good("spool /b\nspool /a\n"); /* in another order: still the same */
    CHECK_INT(home_of(spools), 'a');
    CHECK_INT(disk[0].index, 0);
    CHECK_INT(disk[1].index, 1);
    end(spools);
}

TEST(a_log_that_is_alone_needs_no_mark)
{
    begin();
    struct spools *spools = open_good("spool /a\n");
    spools_mark_home(spools, 0);
    CHECK_STRING(disk[0].state, "");
    end(spools);
}

TEST(a_dead_box_s_log_is_not_the_home)
{
    begin();
    snprintf(disk[0].state, sizeof disk[0].state, "acct:/x");
    struct spools *spools = open_good("<spool /a>\ndeliver-only yes\n</spool>\nspool /b\n");
    struct message message = {0};
    message_set_log_index(&message, 1);
    CHECK_INT(home_of(spools), 'b');
    CHECK_INT(spools_of(spools, &message)->directory[1], 'a');
    struct spools_log log;
    spools_log_status(spools, 1, &log);
    CHECK(log.deliver_only && !log.home);
    CHECK_STRING(log.directory, "/a");
    end(spools);
}

TEST(what_is_a_spool_s_own_is_its_own)
{
    begin();
    struct spools *spools = open_good("<spool /a>\nmin-free-space 2000\n</spool>\n"
                                      "<spool /b>\nmin-free-space 10\n"
                                      "delete-file-holders yes\n</spool>\n");
    CHECK_INT(disk[0].min_free_bytes, 2000);
    CHECK(!disk[0].delete_spare);
    CHECK_INT(disk[1].min_free_bytes, 1000); /* what holds for all */
    CHECK(disk[1].delete_spare);
    end(spools);
}

TEST(a_new_home_beside_an_old_log_is_no_fresh_start)
{
    begin();
    struct spools *spools = open_good("spool /a\n<spool /b>\ndeliver-only yes\n</spool>\n");
    CHECK(spools_are_fresh(spools));
    disk[1].used = true;
    CHECK(!spools_are_fresh(spools));
    end(spools);
}

TEST(logs_that_cannot_be_used_together_are_refused)
{
    begin();
    snprintf(disk[0].state, sizeof disk[0].state, "acct:/x");
    snprintf(disk[1].state, sizeof disk[1].state, "pause:x");
    check_refused("spool /a\nspool /b\n", 78, "/a and /b were each the main spool");
    disk[2].log_id = disk[0].log_id;
    check_refused("spool /a\nspool /c\n", 78, "/a and /c are the same log");
    broken = "/d";
    check_refused("spool /a\nspool /d\n", 75, "locked");
    check_refused("host-name a.example\n", 78, "no spool");
    CHECK_INT(disk[0].closed, 3);
}

/* ---- holds, status, end ------------------------------------------------------------------- */

TEST(a_held_log_holds_its_own_messages_only)
{
    begin();
    struct spools *spools = open_good("spool /a\nspool /b\n");
    struct message in_home = {0}, in_other = {0};
    message_set_log_index(&in_other, 1);
    disk[0].held = disk[0].stalled = true;
    CHECK(spools_holds(spools, &in_home));
    CHECK(!spools_holds(spools, &in_other));
    CHECK(!spools_held(spools));
    CHECK(!spools_stalled(spools, 0)); /* nothing new goes to the one that is */
    CHECK(spools_for_event(spools) == &disk[1]);
    disk[1].stalled = true;
    CHECK(spools_stalled(spools, 0));
    disk[1].held = true;
    CHECK(spools_held(spools));
    CHECK(spools_for_event(spools) == &disk[0]);
    end(spools);
}

TEST(a_log_that_is_alone_holds_everything_or_nothing)
{
    begin();
    struct spools *spools = open_good("spool /a\n");
    struct message message = {0};
    disk[0].held = disk[0].stalled = true;
    CHECK(spools_held(spools));
    CHECK(!spools_holds(spools, &message));
    CHECK(spools_stalled(spools, 0));
    end(spools);
}

TEST(the_status_is_the_sum)
{
    begin();
    struct spool_status status;
    struct spools *spools =
        open_good("spool /a\nspool /b\n<spool /c>\ndeliver-only yes\n</spool>\n");
    disk[0].booked = 3;
    disk[1].booked = 4;
    disk[0].why = "full";
    spools_status(spools, &status);
    CHECK_INT(status.segments, 6);
    CHECK_INT(status.recipients, 7);
    CHECK(status.bytes_max == UINT64_MAX);
    CHECK(status.hold_reason == NULL);
    disk[1].why = "full too";
    spools_status(spools, &status);
    CHECK_STRING(status.hold_reason, "full");
    end(spools);
}

static void on_stopped(void *owner)
{
    ++*(int *)owner;
}

TEST(a_stop_is_told_when_all_have_stopped)
{
    begin();
    int stops = 0;
    struct spools *spools = open_good("spool /a\nspool /b\n");
    spools_attach(spools, 0, NULL);
    CHECK_INT(disk[1].attached, 1);
    for (int round = 1; round <= 2; round++) {
        spools_stop(spools, on_stopped, &stops);
        disk[1].on_stopped(disk[1].owner);
        CHECK_INT(stops, round - 1);
        disk[0].on_stopped(disk[0].owner);
        CHECK_INT(stops, round);
    }
    end(spools);
}
