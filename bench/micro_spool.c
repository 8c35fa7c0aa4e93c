/* What the spool costs by itself: messages in, durable; their outcomes; a restart.
 *
 *   micro_spool DIRECTORY [messages] [clients] [body bytes]
 *
 * One worker. `clients` messages are under way at any time; each is handed in, answered, gets one
 * final outcome of 400 bytes. Then as many are left queued, and the spool is opened again. */
#include "spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arena.h"

#define CLIENTS_MAX 4096

struct client {
    struct spool_upload upload;
};

struct bench {
    struct io *io;
    struct mailboxes *mailboxes;
    struct spool *spool;
    const char *directory;
    struct client clients[CLIENTS_MAX];
    uint64_t wanted, begun, answered, refused;
    uint32_t client_count, body_len;
    char *body;
    bool keep, stopped;
};

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void open_spool(struct bench *bench)
{
    struct error error = {0};
    bench->spool = spool_open(bench->io,
                              &(struct spool_options){.directory = bench->directory,
                                                      .segment_bytes = 64 * 1024 * 1024,
                                                      .max_bytes = UINT64_MAX,
                                                      .max_recipients = 10000000,
                                                      .upload_bytes_max = 256 * 1024 * 1024,
                                                      .journal_sync_ms = 100,
                                                      .sync = true,
                                                      .workers = 1,
                                                      .mailboxes = bench->mailboxes},
                              &error);
    if (bench->spool == NULL) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    spool_attach(bench->spool, 0, bench->io);
}

static void start(struct bench *bench, struct client *client);

static struct bench *the_bench;

static void on_answered(struct spool_upload *upload, enum spool_answer answer)
{
    struct bench *bench = the_bench;
    bench->answered += answer == SPOOL_OK;
    bench->refused += answer != SPOOL_OK;
    if (bench->begun < bench->wanted) {
        start(bench, CONTAINER_OF(upload, struct client, upload));
    }
}

static void start(struct bench *bench, struct client *client)
{
    struct spool_upload *upload = &client->upload;
    const struct envelope_rcpt rcpt = {.address = BYTES("somebody@example.org"), .domain_len = 11};
    bench->begun++;
    upload->answered = on_answered;
    spool_upload_begin(bench->spool, 0, upload);
    spool_upload_reserve_rcpt(upload);
    spool_upload_write(upload, bench->body, bench->body_len);
    spool_upload_commit(upload, &(struct envelope){.sender = BYTES("news@sender.example"),
                                                   .vmta = BYTES("vmta1"),
                                                   .job = BYTES("job"),
                                                   .rcpts = &rcpt,
                                                   .rcpt_count = 1});
}

static void on_arrived(void *owner, struct message *message)
{
    static char event[400];
    struct bench *bench = owner;
    if (!bench->keep) {
        spool_put_outcome(bench->spool, 0,
                          &(struct spool_outcome){.kind = SPOOL_FINAL,
                                                  .rcpt = &message->rcpts[0],
                                                  .event = bytes_of(event, sizeof event)});
    }
}

static void turn(struct bench *bench)
{
    mailbox_receive(bench->mailboxes, 0, 10000);
    spool_flush(bench->spool, 0);
    bool asleep = mailbox_sleep(bench->mailboxes, 0);
    io_run(bench->io, asleep ? UINT64_MAX : 0);
    mailbox_awake(bench->mailboxes, 0);
}

static void run(struct bench *bench, const char *what, uint64_t count)
{
    struct spool_status before, after;
    spool_status(bench->spool, &before);
    bench->begun = bench->answered = bench->refused = 0;
    bench->wanted = count;
    spool_on_arrival(bench->spool, on_arrived, bench);
    uint64_t began_us = io_now_us(bench->io);
    double cpu = cpu_seconds();
    for (uint32_t i = 0; i < bench->client_count && bench->begun < count; i++) {
        start(bench, &bench->clients[i]);
    }
    while (bench->answered + bench->refused < count) {
        turn(bench);
    }
    double seconds = (double)(io_now_us(bench->io) - began_us) / 1e6;
    cpu = cpu_seconds() - cpu;
    spool_status(bench->spool, &after);
    printf("%-28s %9.0f/s  %6.2f us CPU each  %llu syncs  %llu refused\n", what,
           (double)count / seconds, cpu * 1e6 / (double)count,
           (unsigned long long)(after.syncs - before.syncs), (unsigned long long)bench->refused);
}

static void on_stopped(void *owner)
{
    ((struct bench *)owner)->stopped = true;
}

static void stop(struct bench *bench)
{
    bench->stopped = false;
    spool_stop(bench->spool, on_stopped, bench);
    while (!bench->stopped) {
        turn(bench);
    }
    spool_close(bench->spool);
}

static void count_message(void *owner, struct message *message)
{
    (void)message;
    (*(uint64_t *)owner)++;
}

static void restart(struct bench *bench)
{
    uint64_t found = 0;
    size_t memory = memory_allocated();
    uint64_t began_us = io_now_us(bench->io);
    open_spool(bench);
    spool_each_message(bench->spool, count_message, &found);
    double seconds = (double)(io_now_us(bench->io) - began_us) / 1e6;
    printf("%-28s %9llu messages in %.3f s\n", "restart", (unsigned long long)found, seconds);
    if (found > 0) {
        printf("%-28s %9.0f bytes per queued message\n", "memory",
               (double)(memory_allocated() - memory) / (double)found);
    }
}

int main(int argc, char **argv)
{
    struct error error = {0};
    struct bench *bench = calloc(1, sizeof *bench);
    if (argc < 2) {
        fprintf(stderr, "micro_spool DIRECTORY [messages] [clients] [body bytes]\n");
        return 64;
    }
    the_bench = bench;
    bench->directory = argv[1];
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000;
    bench->client_count = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 64;
    bench->body_len = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 4096;
    if (bench->client_count > CLIENTS_MAX) {
        bench->client_count = CLIENTS_MAX;
    }
    bench->body = calloc(1, bench->body_len + 1);
    bench->io = io_create(
        &(struct io_options){.entries = 512, .recv_buffer_bytes = 4096, .recv_buffer_count = 16},
        &error);
    if (bench->io == NULL) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    bench->mailboxes = mailboxes_create(1, 64);
    mailboxes_attach(bench->mailboxes, 0, bench->io);
    open_spool(bench);
    run(bench, "in, warm-up", count / 4);
    run(bench, "in, durable, and outcome", count);
    bench->keep = true;
    run(bench, "in, durable, queued", count);
    stop(bench);
    restart(bench);
    stop(bench);
    io_destroy(bench->io);
    mailboxes_destroy(bench->mailboxes);
    free(bench->body);
    free(bench);
    return 0;
}
