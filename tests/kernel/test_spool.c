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

TEST(a_second_instance_is_refused)
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

TEST(a_spool_in_memory_is_refused_unless_it_need_not_last)
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

TEST(a_spool_of_another_user_is_refused)
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

TEST(a_spool_that_cannot_be_written_is_refused)
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
