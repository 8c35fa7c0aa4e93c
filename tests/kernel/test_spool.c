/* The spool on the kernel's files: who may open it, and one message there and back. */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/logger.h"

#include "../unit/test.h"

struct scene {
    char directory[64];
    struct io *io;
    struct mailboxes *mailboxes;
    struct spool *spool;
    struct error error;
    bool delete_spare;
};

static void no_lines(enum logger_level level, const char *line)
{
    (void)level;
    (void)line;
}

static bool open_spool(struct scene *scene, bool sync)
{
    scene->spool = spool_open(scene->io,
                              &(struct spool_options){.directory = scene->directory,
                                                      .segment_bytes = 1024 * 1024,
                                                      .max_bytes = 16 * 1024 * 1024,
                                                      .max_recipients = 1000,
                                                      .upload_bytes_max = 4 * 1024 * 1024,
                                                      .journal_sync_ms = 20,
                                                      .sync = sync,
                                                      .delete_spare = scene->delete_spare,
                                                      .workers = 1,
                                                      .mailboxes = scene->mailboxes},
                              &scene->error);
    if (scene->spool != NULL) {
        spool_attach(scene->spool, 0, scene->io);
    }
    return scene->spool != NULL;
}

static void begin(struct scene *scene, const char *parent)
{
    logger_set_sink(no_lines);
    memset(scene, 0, sizeof *scene);
    snprintf(scene->directory, sizeof scene->directory, "%s/spool-XXXXXX", parent);
    CHECK(mkdtemp(scene->directory) != NULL);
    scene->io = io_create(
        &(struct io_options){.entries = 64, .recv_buffer_bytes = 4096, .recv_buffer_count = 16},
        &scene->error);
    CHECK(scene->io != NULL);
    scene->mailboxes = mailboxes_create(1, 2);
    mailboxes_attach(scene->mailboxes, 0, scene->io);
}

static void turn(struct scene *scene)
{
    mailbox_receive(scene->mailboxes, 0, 100);
    if (scene->spool != NULL) {
        spool_flush(scene->spool, 0);
    }
    io_run(scene->io, io_now_ms(scene->io) + 5);
}

static bool stopped;

static void on_stopped(void *owner)
{
    (void)owner;
    stopped = true;
}

static void close_spool(struct scene *scene)
{
    stopped = false;
    spool_stop(scene->spool, on_stopped, NULL);
    while (!stopped) {
        turn(scene);
    }
    spool_close(scene->spool);
    scene->spool = NULL;
}

static void end(struct scene *scene)
{
    char command[128];
    mailboxes_destroy(scene->mailboxes);
    io_destroy(scene->io);
    snprintf(command, sizeof command, "rm -r '%s'", scene->directory);
    CHECK_INT(system(command), 0);
}

TEST(k11_a_second_instance_is_refused)
{
    struct scene one, two;
    begin(&one, ".");
    CHECK(open_spool(&one, true));
    two = one;
    CHECK(!open_spool(&two, true));
    CHECK_INT(two.error.code, 75);
    CHECK(strstr(two.error.text, "in use by another instance") != NULL);
    close_spool(&one);
    end(&one);
}

/* effect: global spool-sync */
TEST(k11_a_spool_in_memory_is_refused_unless_it_need_not_last)
{
    struct scene scene;
    if (access("/dev/shm", W_OK) != 0) {
        return;
    }
    begin(&scene, "/dev/shm");
    CHECK(!open_spool(&scene, true));
    CHECK_INT(scene.error.code, 73);
    CHECK(strstr(scene.error.text, "spool-sync no") != NULL);
    CHECK(open_spool(&scene, false));
    close_spool(&scene);
    end(&scene);
}

TEST(k11_a_spool_of_another_user_is_refused)
{
    struct scene scene;
    if (geteuid() != 0) {
        return;
    }
    begin(&scene, ".");
    CHECK_INT(chown(scene.directory, 12345, 12345), 0);
    CHECK(!open_spool(&scene, true));
    CHECK_INT(scene.error.code, 73);
    CHECK(strstr(scene.error.text, "belongs to user 12345") != NULL);
    end(&scene);
}

TEST(k11_a_spool_that_cannot_be_written_is_refused)
{
    struct scene scene;
    begin(&scene, ".");
    char saved[64];
    snprintf(saved, sizeof saved, "%s", scene.directory);
    snprintf(scene.directory, sizeof scene.directory, "/proc/self");
    CHECK(!open_spool(&scene, true));
    CHECK_INT(scene.error.code, 73);
    snprintf(scene.directory, sizeof scene.directory, "%s", saved);
    end(&scene);
}

/* ---- there and back ------------------------------------------------------------------------- */

static enum spool_answer answer;
static struct message *arrived;
static int read_result;

static void on_answered(struct spool_upload *upload, enum spool_answer given)
{
    (void)upload;
    answer = given;
}

static void on_arrived(void *owner, struct message *message)
{
    (void)owner;
    arrived = message;
}

static void on_read(struct spool_read *read, int result)
{
    (void)read;
    read_result = result;
}

static void hand_in(struct scene *scene, struct spool_upload *upload, const char *body, size_t len)
{
    const struct envelope_rcpt rcpt = {.address = BYTES("to@example.org"), .domain_len = 11};
    *upload = (struct spool_upload){.answered = on_answered};
    answer = SPOOL_FAILED;
    arrived = NULL;
    spool_on_arrival(scene->spool, on_arrived, NULL);
    spool_upload_begin(scene->spool, 0, upload);
    CHECK(spool_upload_reserve_rcpt(upload));
    CHECK_INT(spool_upload_write(upload, body, len), len);
    spool_upload_commit(
        upload,
        &(struct envelope){.sender = BYTES("from@example.org"), .rcpts = &rcpt, .rcpt_count = 1});
    for (int i = 0; i < 1000 && upload->state != 0; i++) {
        turn(scene);
    }
}

TEST(a_message_is_found_after_a_restart_and_gone_after_its_outcome)
{
    static char body[600000], seen[SPOOL_CHUNK_MAX];
    struct scene scene;
    struct spool_upload upload;
    struct spool_read read = {.done = on_read};
    begin(&scene, ".");
    CHECK(open_spool(&scene, true));
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (char)(i * 31 % 253);
    }
    hand_in(&scene, &upload, body, sizeof body);
    CHECK_INT(answer, SPOOL_OK);
    CHECK(arrived != NULL);
    close_spool(&scene);

    CHECK(open_spool(&scene, true));
    arrived = NULL;
    spool_each_message(scene.spool, on_arrived, NULL);
    CHECK(arrived != NULL);
    read_result = 1;
    spool_read_body(scene.spool, 0, &read, arrived, 200000, seen, sizeof seen);
    while (read_result == 1) {
        turn(&scene);
    }
    CHECK_INT(read_result, 0);
    CHECK(memcmp(seen, body + 200000, sizeof seen) == 0);
    spool_put_outcome(scene.spool, 0,
                      &(struct spool_outcome){.kind = SPOOL_FINAL,
                                              .rcpt = &arrived->rcpts[0],
                                              .event = BYTES("delivered")});
    close_spool(&scene);

    CHECK(open_spool(&scene, true));
    arrived = NULL;
    spool_each_message(scene.spool, on_arrived, NULL);
    CHECK(arrived == NULL);
    close_spool(&scene);
    end(&scene);
}

/* ---- damage --------------------------------------------------------------------------------- */

/* Flips a byte of the first body in the spool's files. */
static bool damage_body(const struct scene *scene, const char *body, size_t len)
{
    static char data[1024 * 1024];
    char path[128];
    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "%s/segment-%05d", scene->directory, i);
        int fd = open(path, O_RDWR);
        ssize_t size = fd < 0 ? 0 : pread(fd, data, sizeof data, 0);
        char *found = size <= 0 ? NULL : memmem(data, (size_t)size, body, len);
        if (found != NULL) {
            char changed = (char)(found[100] ^ 1);
            CHECK_INT(pwrite(fd, &changed, 1, found + 100 - data), 1);
        }
        if (fd >= 0) {
            close(fd);
        }
        if (found != NULL) {
            return true;
        }
    }
    return false;
}

static bool has_damaged_file(const struct scene *scene)
{
    char command[160];
    snprintf(command, sizeof command, "ls '%s'/damaged-* >/dev/null 2>&1", scene->directory);
    return system(command) == 0;
}

static void finish(struct scene *scene, struct message *message)
{
    spool_put_outcome(scene->spool, 0,
                      &(struct spool_outcome){.kind = SPOOL_FINAL,
                                              .rcpt = &message->rcpts[0],
                                              .event = BYTES("delivered")});
}

static int count_segments(const struct scene *scene)
{
    char path[128];
    int count = 0;
    for (int i = 0; i < 32; i++) {
        snprintf(path, sizeof path, "%s/segment-%05d", scene->directory, i);
        count += access(path, F_OK) == 0;
    }
    return count;
}

/* effect: spool delete-file-holders */
TEST(files_that_hold_nothing_are_deleted_at_the_start_if_that_is_wanted)
{
    static char body[200000];
    struct scene scene;
    struct spool_upload upload;
    begin(&scene, ".");
    CHECK(open_spool(&scene, true));
    struct message *held[40];
    for (int i = 0; i < 40; i++) {
        hand_in(&scene, &upload, body, sizeof body);
        CHECK(arrived != NULL);
        held[i] = arrived;
    }
    hand_in(&scene, &upload, body, sizeof body); /* this one stays */
    for (int i = 0; i < 40; i++) {
        finish(&scene, held[i]);
    }
    for (int i = 0; i < 200; i++) {
        turn(&scene);
    }
    for (int i = 0; i < 8; i++) { /* a segment's head says what was released before it */
        hand_in(&scene, &upload, body, sizeof body);
    }
    close_spool(&scene);
    int many = count_segments(&scene);
    CHECK(open_spool(&scene, true));
    CHECK(count_segments(&scene) >= many);
    close_spool(&scene);
    scene.delete_spare = true;
    CHECK(open_spool(&scene, true));
    CHECK(count_segments(&scene) < many - 2);
    arrived = NULL;
    spool_each_message(scene.spool, on_arrived, NULL);
    CHECK(arrived != NULL);
    close_spool(&scene);
    end(&scene);
}

TEST(a_damaged_body_is_found_when_it_is_moved_and_its_segment_set_aside)
{
    static char body[200000], other[200000], seen[SPOOL_CHUNK_MAX];
    struct scene scene;
    struct spool_upload upload;
    struct spool_read read = {.done = on_read};
    begin(&scene, ".");
    CHECK(open_spool(&scene, true));
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (char)(i * 31 % 251);
    }
    hand_in(&scene, &upload, body, sizeof body);
    CHECK_INT(answer, SPOOL_OK);
    struct message *victim = arrived;
    CHECK(damage_body(&scene, body, 1000));
    for (int i = 0; i < 200 && !has_damaged_file(&scene); i++) {
        hand_in(&scene, &upload, other, sizeof other);
        if (arrived != NULL) {
            finish(&scene, arrived);
        }
        turn(&scene);
    }
    CHECK(has_damaged_file(&scene));
    struct spool_status status;
    spool_status(scene.spool, &status);
    CHECK_INT(status.damaged_records, 1);
    read_result = 1;
    spool_read_body(scene.spool, 0, &read, victim, 0, seen, 1000);
    while (read_result == 1) {
        turn(&scene);
    }
    CHECK_INT(read_result, -EBADMSG);
    close_spool(&scene);
    end(&scene);
}

/* ---- sinks ---------------------------------------------------------------------------------- */

static uint32_t events_seen;

static bool on_event(struct spool_follower *follower, uint64_t sequence, struct bytes event)
{
    (void)follower;
    (void)sequence;
    (void)event;
    events_seen++;
    return true;
}

static void on_batch_end(struct spool_follower *follower)
{
    spool_follow_durable(follower, follower->last_sequence);
    spool_follow_next(follower);
}

/* The gate is looked at ten times a second. */
static void settle(struct scene *scene)
{
    uint64_t until_ms = io_now_ms(scene->io) + 300;
    while (io_now_ms(scene->io) < until_ms) {
        turn(scene);
    }
}

static void put_events(struct scene *scene, uint32_t count)
{
    static char event[1000];
    for (uint32_t i = 0; i < count; i++) {
        spool_put_outcome(
            scene->spool, 0,
            &(struct spool_outcome){.kind = SPOOL_EVENT, .event = bytes_of(event, sizeof event)});
        if (i % 100 == 0) {
            turn(scene);
        }
    }
    settle(scene);
}

static void follow(struct scene *scene, struct spool_follower *follower, bool hold)
{
    events_seen = 0;
    *follower = (struct spool_follower){.event = on_event,
                                        .batch_end = on_batch_end,
                                        .name = "the sink",
                                        .max_lag_bytes = 100000,
                                        .hold = hold};
    spool_follow(scene->spool, follower, 0);
}

TEST(t3_a_sink_that_holds_stops_acceptance_until_it_has_caught_up)
{
    struct scene scene;
    struct spool_follower follower;
    const char *why;
    begin(&scene, ".");
    CHECK(open_spool(&scene, true));
    follow(&scene, &follower, true);
    CHECK_INT(spool_accepting(scene.spool, &why), SPOOL_OK);
    put_events(&scene, 200);
    CHECK_INT(spool_accepting(scene.spool, &why), SPOOL_FULL);
    CHECK(strstr(why, "the sink") != NULL);
    spool_follow_next(&follower);
    settle(&scene);
    CHECK_INT(events_seen, 200);
    CHECK(spool_follow_at_end(&follower));
    CHECK_INT(spool_accepting(scene.spool, &why), SPOOL_OK);
    spool_unfollow(&follower);
    close_spool(&scene);
    end(&scene);
}

TEST(t3_a_sink_that_may_skip_stops_nothing_and_counts)
{
    struct scene scene;
    struct spool_follower follower;
    const char *why;
    begin(&scene, ".");
    CHECK(open_spool(&scene, true));
    follow(&scene, &follower, false);
    put_events(&scene, 6000);
    CHECK_INT(spool_accepting(scene.spool, &why), SPOOL_OK);
    CHECK(follower.skipped > 0);
    spool_follow_next(&follower);
    settle(&scene);
    CHECK(events_seen > 1000);
    CHECK(events_seen < 6000);
    spool_unfollow(&follower);
    close_spool(&scene);
    end(&scene);
}
