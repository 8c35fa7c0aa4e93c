/* What spool_world.c believes of the spool, and how messages come into it.
 * Included by spool_world.c alone: apart so that both can be read. */
#ifndef TESTS_SIM_SPOOL_WORLD_MODEL_H
#define TESTS_SIM_SPOOL_WORLD_MODEL_H

#include "disk/log_format.h"
#include "io/io.h"
#include "io/mailbox.h"
#include "sim_disk.h"
#include "sim_memory.h"
#include "spool.h"
#include "spool_world.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define WORKERS_MAX   4
#define SEGMENT_BYTES (1024 * 1024)
#define MESSAGES_MAX  20000
#define RCPTS_MAX     5
#define EVENTS_MAX    200000
#define UPLOADS_MAX   6 /* per worker */
#define READS_MAX     4 /* per worker */
#define LIVE_MAX      400
#define KEYS          6
#define LOG_INDEX     37 /* not a power of two: no bit of it may get lost */
#define BODY_MAX      (900 * 1024)
#define SAID_MAX      5 /* complaints of one world */
#define DIRECTORY     "/spool"

/* IN_DOUBT: refused, but the spool said that it may come back. */
enum model_state { UNSENT, SENT, ACCEPTED, REFUSED, IN_DOUBT, GONE };

struct model_rcpt {
    uint16_t attempts;      /* handed to the spool */
    uint16_t attempts_safe; /* known to be synced: the sink has seen it */
    bool final, final_safe;
    struct rcpt *rcpt; /* while the engine has it and it is ours */
};

struct model_message {
    enum model_state state;
    uint32_t body_len, seed, rcpt_count;
    struct message *message;
    struct model_rcpt rcpts[RCPTS_MAX];
    uint32_t owner, reads; /* worker that has its recipients */
    uint64_t mark;         /* behind what the owner has put about it */
};

enum event_fate { EVENT_OPEN, EVENT_MUST, EVENT_MUST_NOT };

struct model_event {
    uint32_t message, rcpt;
    uint16_t attempts;
    uint8_t fate;
    bool seen;
    uint64_t sequence;
};

struct payload {
    uint32_t serial, message, rcpt, attempts;
};

struct model_upload {
    struct spool_upload upload;
    struct spool_world *world;
    uint32_t message, written;
    uint8_t worker;
    bool busy, blocked, aborted;
};

struct model_read {
    struct spool_read read;
    struct spool_world *world;
    uint32_t message, offset, len;
    bool busy;
    char data[SPOOL_CHUNK_MAX];
};

struct model_worker {
    struct spool_world *world;
    struct io *io;
    uint32_t index;
    struct model_upload uploads[UPLOADS_MAX];
    struct model_read reads[READS_MAX];
};

struct model_key {
    uint32_t numbers; /* used so far; a multiple of five deletes */
    uint32_t value, value_safe;
    struct spool_write write;
    uint32_t writing; /* the number that `write` will tell of; 0: it is free */
    struct spool_world *world;
};

/* A wait for what was handed over by the keeper's own worker. */
struct model_barrier {
    struct spool_barrier barrier;
    uint32_t values[KEYS], event_count;
    bool waiting;
};

struct spool_world {
    struct spool_world_options options;
    struct sim *sim;
    struct rng rng;
    struct mailboxes *mailboxes;
    struct spool *spool;
    struct model_worker workers[WORKERS_MAX];
    struct spool_follower follower;
    struct model_barrier barrier;
    uint64_t durable; /* what the sink keeps */
    bool good, draining, stopped, settled, up, failed;
    uint32_t said, message_count, first_live, event_count, seen_count;
    struct model_message messages[MESSAGES_MAX];
    struct model_event events[EVENTS_MAX];
    struct model_key keys[KEYS];
    struct spool_world_counts counts;
    struct io *spoil_io;
    enum spool_spoil spoil;
};

static void fail(struct spool_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct spool_world *world, const char *format, ...)
{
    va_list arguments;
    world->good = false;
    if (world->said++ >= SAID_MAX) {
        return;
    }
    printf("seed %llu, crash %llu: ", (unsigned long long)world->options.seed,
           (unsigned long long)world->counts.crashes);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

#define EXPECT(world, condition, ...)                                                              \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fail(world, __VA_ARGS__);                                                              \
        }                                                                                          \
    } while (0)

static char body_byte(const struct model_message *message, uint32_t offset)
{
    return (char)((message->seed + offset * 7 + offset / 251) & 0xFF);
}

static uint64_t below(struct spool_world *world, uint64_t bound)
{
    return rng_below(&world->rng, bound);
}

/* ---- messages come in ----------------------------------------------------------------------- */

static struct bytes job_of(uint32_t index, char memory[16])
{
    return bytes_of(memory, (size_t)snprintf(memory, 16, "m%u", index));
}

static void commit(struct model_upload *upload)
{
    struct spool_world *world = upload->world;
    struct model_message *model = &world->messages[upload->message];
    char job[16], addresses[RCPTS_MAX][32];
    struct envelope_rcpt rcpts[RCPTS_MAX];
    for (uint32_t i = 0; i < model->rcpt_count; i++) {
        int len = snprintf(addresses[i], 32, "u%u@d%u.example", i, upload->message % 7);
        rcpts[i] = (struct envelope_rcpt){.address = bytes_of(addresses[i], (size_t)len),
                                          .domain_len = 10,
                                          .notify = (uint8_t)(i % 4)};
    }
    model->state = SENT;
    spool_upload_commit(&upload->upload,
                        &(struct envelope){.sender = BYTES("from@sender.example"),
                                           .job = job_of(upload->message, job),
                                           .vmta = BYTES("vmta1"),
                                           .accepted_wall_ms = 1000 + upload->message,
                                           .body_digest = model->seed * UINT64_C(0x12345678901),
                                           .flags = MESSAGE_EIGHT_BIT,
                                           .rcpts = rcpts,
                                           .rcpt_count = model->rcpt_count});
}

static void go_on(struct model_upload *upload)
{
    struct spool_world *world = upload->world;
    struct model_message *model = &world->messages[upload->message];
    char piece[32 * 1024];
    while (upload->written < model->body_len && !upload->blocked) {
        uint32_t left = model->body_len - upload->written;
        uint32_t len = 1 + (uint32_t)below(world, sizeof piece);
        len = len < left ? len : left;
        for (uint32_t i = 0; i < len; i++) {
            piece[i] = body_byte(model, upload->written + i);
        }
        size_t taken = spool_upload_write(&upload->upload, piece, len);
        upload->written += (uint32_t)taken;
        upload->blocked = taken < len;
        if (below(world, 4) == 0) {
            return;
        }
    }
    if (upload->written == model->body_len) {
        commit(upload);
    }
}

static void on_flowed(struct spool_upload *upload)
{
    CONTAINER_OF(upload, struct model_upload, upload)->blocked = false;
}

static void on_answered(struct spool_upload *upload, enum spool_answer answer)
{
    struct model_upload *mine = CONTAINER_OF(upload, struct model_upload, upload);
    struct spool_world *world = mine->world;
    struct model_message *model = &world->messages[mine->message];
    mine->busy = false;
    if (answer == SPOOL_OK) {
        EXPECT(world, strlen(upload->id_text) == 20, "id %s", upload->id_text);
        model->state = model->state == SENT ? ACCEPTED : model->state;
        world->counts.accepted++;
    } else {
        EXPECT(world, model->message == NULL, "message %u arrived and was refused", mine->message);
        model->state = answer == SPOOL_IN_DOUBT ? IN_DOUBT : REFUSED;
        world->counts.in_doubt += answer == SPOOL_IN_DOUBT;
        world->counts.refused++;
    }
}

static void on_released(struct spool_upload *upload)
{
    struct model_upload *mine = CONTAINER_OF(upload, struct model_upload, upload);
    struct model_message *model = &mine->world->messages[mine->message];
    if (model->state == SENT) { /* it had not arrived */
        model->state = mine->upload.answer == SPOOL_IN_DOUBT ? IN_DOUBT : REFUSED;
        mine->world->counts.in_doubt += model->state == IN_DOUBT;
    }
    mine->busy = false;
    mine->aborted = false;
}

static uint32_t draw_len(struct spool_world *world)
{
    uint64_t dice = below(world, 100);
    if (dice < world->options.large_per_cent) {
        return (uint32_t)below(world, BODY_MAX);
    }
    return (uint32_t)below(world, dice < 80 ? 4000 : 100000);
}

static void begin(struct model_worker *worker, struct model_upload *upload)
{
    struct spool_world *world = worker->world;
    const char *why;
    if (world->message_count == MESSAGES_MAX || spool_accepting(world->spool, &why) != SPOOL_OK) {
        return;
    }
    memset(&upload->upload, 0, sizeof upload->upload);
    upload->upload.answered = on_answered;
    upload->upload.flowed = on_flowed;
    upload->world = world;
    upload->busy = true;
    upload->blocked = upload->aborted = false;
    upload->written = 0;
    upload->message = world->message_count++;
    struct model_message *model = &world->messages[upload->message];
    *model = (struct model_message){.body_len = draw_len(world),
                                    .seed = (uint32_t)below(world, UINT32_MAX),
                                    .rcpt_count = 1 + (uint32_t)below(world, RCPTS_MAX)};
    if (below(world, 3) > 0) {
        model->rcpt_count = 1;
    }
    spool_upload_begin(world->spool, worker->index, &upload->upload);
    for (uint32_t i = 0; i < model->rcpt_count; i++) {
        if (!spool_upload_reserve_rcpt(&upload->upload)) {
            model->state = REFUSED;
            spool_upload_abort(&upload->upload, on_released);
            return;
        }
    }
    go_on(upload);
}

static void upload_some(struct model_worker *worker)
{
    struct spool_world *world = worker->world;
    struct model_upload *upload = &worker->uploads[below(world, UPLOADS_MAX)];
    if (!upload->busy) {
        if (!world->draining) {
            begin(worker, upload);
        }
        return;
    }
    struct model_message *model = &world->messages[upload->message];
    if (upload->aborted) {
        return;
    }
    if (model->state == UNSENT && below(world, 40) == 0) {
        upload->aborted = true;
        model->state = REFUSED;
        spool_upload_abort(&upload->upload, on_released);
    } else if (model->state == UNSENT && !upload->blocked) {
        go_on(upload);
    } else if ((model->state == SENT) && below(world, 60) == 0) {
        upload->aborted = true; /* the answer is not wanted any more; the message may stand */
        spool_upload_abort(&upload->upload, on_released);
    }
}

/* But for the one that comes next. */
static void check_spare(struct spool_world *world)
{
    struct spool_status status;
    spool_status(world->spool, &status);
    uint64_t spare = status.segments - status.bytes_used / SEGMENT_BYTES - 1;
    world->counts.spare += spare;
    EXPECT(world, !world->options.delete_spare || spare == 0, "%lu spare segments", spare);
}

#endif
