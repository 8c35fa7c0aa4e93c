/* The spool with real threads: three workers hand messages in, read bodies and finish recipients
 * while the keeper reclaims segments under them. Meant for the thread sanitizer as well. */
#include "spool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/logger.h"

#include "../unit/test.h"

#define WORKERS  3
#define MESSAGES 1500 /* per worker */
#define UPLOADS  8
#define BODY_MAX 40000

struct world;

struct flight {
    struct spool_upload upload;
    struct spool_read read;
    struct worker *worker;
    struct message *message;
    bool busy;
    char seen[BODY_MAX];
};

struct worker {
    struct world *world;
    struct io *io;
    uint32_t index, begun, done, bad;
    struct flight flights[UPLOADS];
    struct letter arrivals[UPLOADS];
    char body[BODY_MAX];
    pthread_t thread;
};

struct world {
    struct mailboxes *mailboxes;
    struct spool *spool;
    struct worker workers[WORKERS];
    pthread_barrier_t barrier;
    _Atomic uint32_t finished;
    bool stopped;
    char directory[64];
};

static struct world world;

static void no_lines(enum logger_level level, const char *line)
{
    (void)level;
    (void)line;
}

/* ---- a flight: upload, read back, final outcome ---------------------------------------------- */

static void begin(struct worker *worker, struct flight *flight);

static void on_read(struct spool_read *read, int result)
{
    struct flight *flight = CONTAINER_OF(read, struct flight, read);
    struct worker *worker = flight->worker;
    struct message *message = flight->message;
    worker->bad +=
        result != 0 || memcmp(flight->seen, worker->body, message->body_size) != 0 ? 1 : 0;
    spool_put_outcome(worker->world->spool, worker->index,
                      &(struct spool_outcome){.kind = SPOOL_FINAL,
                                              .rcpt = &message->rcpts[0],
                                              .event = BYTES("delivered to somewhere")});
    worker->done++;
    flight->busy = false;
}

/* The keeper tells which message it was by its job; the worker is told by the answer, after. */
static void on_arrived(void *owner, struct message *message)
{
    struct bytes job = message_job(message);
    uint64_t worker = (uint64_t)(job.data[0] - '0'), flight = (uint64_t)(job.data[1] - '0');
    (void)owner;
    world.workers[worker].flights[flight].message = message;
}

static void on_answered(struct spool_upload *upload, enum spool_answer answer)
{
    struct flight *flight = CONTAINER_OF(upload, struct flight, upload);
    struct worker *worker = flight->worker;
    if (answer != SPOOL_OK) {
        flight->busy = false;
        worker->begun--;
        return;
    }
    flight->read.done = on_read;
    spool_read_body(worker->world->spool, worker->index, &flight->read, flight->message, 0,
                    flight->seen, flight->message->body_size);
}

static void on_flowed(struct spool_upload *upload)
{
    (void)upload;
}

static void begin(struct worker *worker, struct flight *flight)
{
    char job[2] = {(char)('0' + worker->index), (char)('0' + (flight - worker->flights))};
    const struct envelope_rcpt rcpt = {.address = BYTES("to@example.org"), .domain_len = 11};
    const char *why;
    if (spool_accepting(worker->world->spool, &why) != SPOOL_OK) {
        return;
    }
    uint32_t len = 100 + worker->begun * 37 % (BODY_MAX - 100);
    worker->begun++;
    flight->busy = true;
    flight->upload.answered = on_answered;
    flight->upload.flowed = on_flowed;
    spool_upload_begin(worker->world->spool, worker->index, &flight->upload);
    spool_upload_reserve_rcpt(&flight->upload);
    if (spool_upload_write(&flight->upload, worker->body, len) < len) {
        worker->bad++;
    }
    spool_upload_commit(&flight->upload, &(struct envelope){.sender = BYTES("from@example.org"),
                                                            .job = bytes_of(job, 2),
                                                            .rcpts = &rcpt,
                                                            .rcpt_count = 1});
}

/* ---- threads ------------------------------------------------------------------------------ */

static void turn(struct worker *worker)
{
    struct mailboxes *mailboxes = worker->world->mailboxes;
    mailbox_receive(mailboxes, worker->index, 100);
    spool_flush(worker->world->spool, worker->index);
    bool asleep = mailbox_sleep(mailboxes, worker->index);
    io_run(worker->io, asleep ? io_now_ms(worker->io) + 5 : 0);
    mailbox_awake(mailboxes, worker->index);
}

static void on_stopped(void *owner)
{
    ((struct world *)owner)->stopped = true;
}

static void open_world(void)
{
    struct error error;
    world.spool = spool_open(world.workers[0].io,
                             &(struct spool_options){.directory = world.directory,
                                                     .segment_bytes = 1024 * 1024,
                                                     .max_bytes = 24 * 1024 * 1024,
                                                     .max_recipients = 1000,
                                                     .upload_bytes_max = 24 * 1024 * 1024,
                                                     .journal_sync_ms = 20,
                                                     .sync = true,
                                                     .workers = WORKERS,
                                                     .mailboxes = world.mailboxes},
                             &error);
    CHECK(world.spool != NULL);
    spool_on_arrival(world.spool, on_arrived, NULL);
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct error error;
    worker->io = io_create(&(struct io_options){.worker_index = worker->index,
                                                .entries = 128,
                                                .recv_buffer_bytes = 4096,
                                                .recv_buffer_count = 16},
                           &error);
    mailboxes_attach(world.mailboxes, worker->index, worker->io);
    pthread_barrier_wait(&world.barrier);
    if (worker->index == 0) {
        open_world();
    }
    pthread_barrier_wait(&world.barrier);
    spool_attach(world.spool, worker->index, worker->io);
    pthread_barrier_wait(&world.barrier);
    while (worker->done < MESSAGES) {
        for (uint32_t i = 0; i < UPLOADS && worker->begun < MESSAGES; i++) {
            if (!worker->flights[i].busy) {
                worker->flights[i].worker = worker;
                begin(worker, &worker->flights[i]);
            }
        }
        turn(worker);
    }
    atomic_fetch_add(&world.finished, 1);
    while (atomic_load(&world.finished) < WORKERS) {
        turn(worker);
    }
    if (worker->index == 0) {
        spool_stop(world.spool, on_stopped, &world);
        while (!world.stopped) {
            turn(worker);
        }
        atomic_fetch_add(&world.finished, 1);
    }
    while (atomic_load(&world.finished) <= WORKERS) {
        turn(worker);
    }
    pthread_barrier_wait(&world.barrier);
    if (worker->index == 0) {
        spool_close(world.spool);
    }
    pthread_barrier_wait(&world.barrier);
    io_destroy(worker->io);
    return NULL;
}

TEST(threads_share_a_spool_while_it_reclaims)
{
    char command[128];
    logger_set_sink(no_lines);
    snprintf(world.directory, sizeof world.directory, "./spool-XXXXXX");
    CHECK(mkdtemp(world.directory) != NULL);
    world.mailboxes = mailboxes_create(WORKERS, 2);
    pthread_barrier_init(&world.barrier, NULL, WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        struct worker *worker = &world.workers[i];
        worker->world = &world;
        worker->index = i;
        memset(worker->body, (int)('a' + i), sizeof worker->body);
        pthread_create(&worker->thread, NULL, work, worker);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(world.workers[i].thread, NULL);
        CHECK_INT(world.workers[i].done, MESSAGES);
        CHECK_INT(world.workers[i].bad, 0);
    }
    mailboxes_destroy(world.mailboxes);
    snprintf(command, sizeof command, "rm -r '%s'", world.directory);
    CHECK_INT(system(command), 0);
}
