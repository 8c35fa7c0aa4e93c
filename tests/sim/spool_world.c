#include "spool_world.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/io.h"
#include "io/mailbox.h"
#include "sim_disk.h"
#include "sim_memory.h"
#include "spool.h"

#define WORKERS_MAX  4
#define MESSAGES_MAX 20000
#define RCPTS_MAX    5
#define EVENTS_MAX   200000
#define UPLOADS_MAX  6 /* per worker */
#define READS_MAX    4 /* per worker */
#define LIVE_MAX     400
#define KEYS         6
#define BODY_MAX     (900 * 1024)
#define DIRECTORY    "/spool"

enum model_state { UNSENT, SENT, ACCEPTED, REFUSED, GONE };

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
    bool good, draining, stopped, up, failed;
    uint32_t message_count, first_live, event_count, seen_count;
    struct model_message messages[MESSAGES_MAX];
    struct model_event events[EVENTS_MAX];
    struct model_key keys[KEYS];
    struct spool_world_counts counts;
    struct spool_status status_before;
};

static void fail(struct spool_world *world, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fail(struct spool_world *world, const char *format, ...)
{
    va_list arguments;
    printf("seed %llu, crash %llu: ", (unsigned long long)world->options.seed,
           (unsigned long long)world->counts.crashes);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    world->good = false;
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
        model->state = REFUSED;
        world->counts.refused++;
    }
}

static void on_released(struct spool_upload *upload)
{
    struct model_upload *mine = CONTAINER_OF(upload, struct model_upload, upload);
    struct model_message *model = &mine->world->messages[mine->message];
    model->state = model->state == SENT ? REFUSED : model->state; /* it had not arrived */
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

/* ---- recipients --------------------------------------------------------------------------- */

static uint32_t index_of(struct spool_world *world, const struct message *message)
{
    uint64_t index = UINT64_MAX;
    struct bytes job = message_job(message);
    bool good = bytes_to_u64(bytes_slice(job, 1, job.len), MESSAGES_MAX - 1, &index);
    EXPECT(world, good && index < world->message_count, "a message nobody sent");
    return good ? (uint32_t)index : 0;
}

static void check_envelope(struct spool_world *world, const struct message *message)
{
    uint32_t index = index_of(world, message);
    const struct model_message *model = &world->messages[index];
    EXPECT(world, message->body_size == model->body_len, "%u: body of %u, not %u", index,
           message->body_size, model->body_len);
    EXPECT(world, message->body_digest == model->seed * UINT64_C(0x12345678901), "digest");
    EXPECT(world, message->accepted_wall_ms == 1000 + index, "%u: accepted at", index);
    EXPECT(world, message->rcpt_count == model->rcpt_count, "%u: recipients", index);
    EXPECT(world, message->flags == MESSAGE_EIGHT_BIT, "%u: flags", index);
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        char address[32];
        snprintf(address, sizeof address, "u%u@d%u.example", i, index % 7);
        struct bytes seen = rcpt_address(&message->rcpts[i]);
        EXPECT(world, bytes_equal(seen, bytes_from_string(address)), "%u: address %.*s", index,
               BYTES_FMT(seen));
        EXPECT(world, message->rcpts[i].notify == i % 4, "%u: notify", index);
    }
}

static void on_arrived(void *owner, struct message *message)
{
    struct spool_world *world = owner;
    uint32_t index = index_of(world, message);
    struct model_message *model = &world->messages[index];
    check_envelope(world, message);
    EXPECT(world, model->state == SENT && model->message == NULL, "%u arrived in state %d", index,
           (int)model->state);
    model->state = ACCEPTED;
    model->message = message;
    model->owner = (uint32_t)below(world, world->options.workers);
    model->mark = 0;
    for (uint32_t i = 0; i < model->rcpt_count; i++) {
        model->rcpts[i].rcpt = &message->rcpts[i];
    }
}

static void put_event(struct model_worker *worker, uint32_t index, uint32_t rcpt_index,
                      enum spool_outcome_kind kind)
{
    struct spool_world *world = worker->world;
    if (world->event_count == EVENTS_MAX) {
        return;
    }
    struct model_message *model = &world->messages[index];
    struct model_rcpt *rcpt = &model->rcpts[rcpt_index];
    struct rcpt *real = rcpt->rcpt;
    char memory[900];
    struct payload payload = {world->event_count, index, rcpt_index, ++rcpt->attempts};
    memset(memory, 'e', sizeof memory);
    memcpy(memory, &payload, sizeof payload);
    world->events[world->event_count++] =
        (struct model_event){.message = index, .rcpt = rcpt_index, .attempts = rcpt->attempts};
    real->attempts = rcpt->attempts;
    real->retry_index = (uint8_t)rcpt->attempts;
    real->due_wall_ms = 5000 + rcpt->attempts;
    if (kind == SPOOL_FINAL) {
        rcpt->final = true;
        rcpt->rcpt = NULL;
    }
    spool_put_outcome(
        world->spool, worker->index,
        &(struct spool_outcome){.kind = kind,
                                .rcpt = real,
                                .event = bytes_of(memory, sizeof payload + below(world, 800))});
}

static bool has_reads(const struct spool_world *world, uint32_t index)
{
    return world->messages[index].reads > 0;
}

static bool all_final(const struct model_message *model)
{
    for (uint32_t i = 0; i < model->rcpt_count; i++) {
        if (!model->rcpts[i].final) {
            return false;
        }
    }
    return true;
}

/* Some recipient of some message that this worker has. */
static void deliver_some(struct model_worker *worker)
{
    struct spool_world *world = worker->world;
    while (world->first_live < world->message_count) {
        struct model_message *first = &world->messages[world->first_live];
        bool over = first->state == REFUSED || first->state == GONE ||
                    (first->state == ACCEPTED && all_final(first));
        if (!over) {
            break;
        }
        world->first_live++;
    }
    uint32_t live = world->message_count - world->first_live;
    if (live == 0) {
        return;
    }
    uint32_t index = world->first_live + (uint32_t)below(world, live);
    if (live > LIVE_MAX || world->draining) {
        index = world->first_live + (uint32_t)below(world, live < 50 ? live : 50);
    }
    struct model_message *model = &world->messages[index];
    uint32_t i = (uint32_t)below(world, model->rcpt_count == 0 ? 1 : model->rcpt_count);
    if (model->state != ACCEPTED || model->rcpts[i].rcpt == NULL || model->owner != worker->index ||
        spool_outcomes_stalled(world->spool, worker->index)) {
        return;
    }
    bool last = below(world, live > LIVE_MAX || world->draining ? 1 : 4) == 0;
    if (last && has_reads(world, index)) {
        return; /* a message stays while it is read */
    }
    put_event(worker, index, i, last ? SPOOL_FINAL : SPOOL_DEFERRED);
    model->mark = spool_outcome_mark(world->spool, worker->index);
}

/* ---- bodies are read back ----------------------------------------------------------------- */

static void on_body(struct spool_read *read, int result)
{
    struct model_read *mine = CONTAINER_OF(read, struct model_read, read);
    struct spool_world *world = mine->world;
    struct model_message *model = &world->messages[mine->message];
    mine->busy = false;
    model->reads--;
    world->counts.read++;
    if (result != 0) {
        EXPECT(world, !world->options.calm, "%u: read: %d", mine->message, result);
        return;
    }
    for (uint32_t i = 0; i < mine->len; i++) {
        if (mine->data[i] != body_byte(model, mine->offset + i)) {
            fail(world, "%u: body differs at %u of %u", mine->message, mine->offset + i,
                 model->body_len);
            return;
        }
    }
}

static void read_some(struct model_worker *worker)
{
    struct spool_world *world = worker->world;
    struct model_read *read = &worker->reads[below(world, READS_MAX)];
    uint32_t live = world->message_count - world->first_live;
    if (read->busy || live == 0) {
        return;
    }
    uint32_t index = world->first_live + (uint32_t)below(world, live);
    struct model_message *model = &world->messages[index];
    if (model->state != ACCEPTED || model->message == NULL || all_final(model) ||
        model->body_len == 0) {
        return;
    }
    read->world = world;
    read->message = index;
    read->offset = below(world, 2) == 0 ? 0 : (uint32_t)below(world, model->body_len);
    uint32_t left = model->body_len - read->offset;
    read->len = left < SPOOL_CHUNK_MAX ? left : SPOOL_CHUNK_MAX;
    read->busy = true;
    read->read.done = on_body;
    model->reads++;
    spool_read_body(world->spool, worker->index, &read->read, model->message, read->offset,
                    read->data, read->len);
}

/* ---- named states ------------------------------------------------------------------------- */

static void set_some(struct model_worker *worker)
{
    struct spool_world *world = worker->world;
    uint32_t k = (uint32_t)below(world, KEYS);
    char key[8], value[64];
    if (worker->index != k % world->options.workers) {
        return; /* a key has one worker, else their order would not be defined */
    }
    snprintf(key, sizeof key, "key%u", k);
    uint32_t number = world->keys[k].value = ++world->keys[k].numbers;
    int len = number % 5 == 0 ? 0 : snprintf(value, sizeof value, "%u%*s", number, number % 40, "");
    spool_put_state(world->spool, worker->index, bytes_from_string(key),
                    bytes_of(value, (size_t)len));
}

static void on_durable(struct spool_barrier *barrier)
{
    struct spool_world *world = CONTAINER_OF(barrier, struct spool_world, barrier.barrier);
    world->barrier.waiting = false;
    world->counts.barriers++;
    for (uint32_t k = 0; k < KEYS; k++) {
        if (k % world->options.workers == 0 &&
            world->barrier.values[k] > world->keys[k].value_safe) {
            world->keys[k].value_safe = world->barrier.values[k];
        }
    }
    for (uint32_t i = 0; i < world->barrier.event_count; i++) {
        struct model_event *event = &world->events[i];
        struct model_rcpt *rcpt = &world->messages[event->message].rcpts[event->rcpt];
        if (world->options.workers == 1 && event->fate == EVENT_OPEN) {
            event->fate = EVENT_MUST;
            if (event->attempts > rcpt->attempts_safe) {
                rcpt->attempts_safe = event->attempts;
            }
        }
    }
}

static void wait_some(struct spool_world *world)
{
    if (world->barrier.waiting) {
        return;
    }
    world->barrier.waiting = true;
    world->barrier.event_count = world->event_count;
    for (uint32_t k = 0; k < KEYS; k++) {
        world->barrier.values[k] = world->keys[k].value;
    }
    world->barrier.barrier.durable = on_durable;
    spool_when_durable(world->spool, &world->barrier.barrier);
}

static uint32_t key_seen[KEYS];

static void on_key(void *owner, struct bytes key, struct bytes value)
{
    struct spool_world *world = owner;
    uint64_t k = 0, number = 0;
    size_t digits = 0;
    while (digits < value.len && value.data[digits] != ' ') {
        digits++;
    }
    bool good = bytes_to_u64(bytes_slice(key, 3, key.len), KEYS - 1, &k) &&
                bytes_to_u64(bytes_slice(value, 0, digits), UINT32_MAX, &number);
    EXPECT(world, good, "a state nobody set");
    key_seen[k] = (uint32_t)number;
}

static void check_keys(struct spool_world *world)
{
    memset(key_seen, 0, sizeof key_seen);
    spool_each_state(world->spool, on_key, world);
    for (uint32_t k = 0; k < KEYS; k++) {
        struct model_key *key = &world->keys[k];
        uint32_t seen = key_seen[k];
        bool good = seen >= key->value_safe && seen <= key->value && seen % 5 != 0;
        if (seen == 0) { /* deleted, or not set yet */
            good = key->value_safe == 0 || key->value / 5 * 5 >= key->value_safe;
        }
        EXPECT(world, good, "key %u is %u, wanted %u to %u", k, seen, key->value_safe, key->value);
        key->value = key->value_safe = seen;
    }
}

/* ---- the sink ----------------------------------------------------------------------------- */

static bool on_event(struct spool_follower *follower, uint64_t sequence, struct bytes bytes)
{
    struct spool_world *world = CONTAINER_OF(follower, struct spool_world, follower);
    struct payload payload;
    assert(bytes.len >= sizeof payload);
    memcpy(&payload, bytes.data, sizeof payload);
    if (below(world, 50) == 0) {
        return false; /* it has to come again */
    }
    EXPECT(world, payload.serial < world->event_count, "an event nobody put");
    struct model_event *event = &world->events[payload.serial];
    EXPECT(world, !event->seen, "event %u a second time", payload.serial);
    EXPECT(world, event->fate != EVENT_MUST_NOT, "event %u was lost, now it is there",
           payload.serial);
    EXPECT(world, event->message == payload.message && event->rcpt == payload.rcpt, "mixed up");
    event->seen = true;
    event->sequence = sequence;
    event->fate = EVENT_MUST;
    world->seen_count++;
    world->counts.events++;
    struct model_rcpt *rcpt = &world->messages[payload.message].rcpts[payload.rcpt];
    if (payload.attempts > rcpt->attempts_safe) {
        rcpt->attempts_safe = (uint16_t)payload.attempts;
    }
    return true;
}

static void on_batch_end(struct spool_follower *follower)
{
    struct spool_world *world = CONTAINER_OF(follower, struct spool_world, follower);
    uint64_t odds = world->options.hold_back && !world->draining ? 400 : 3;
    if (below(world, odds) == 0) {
        world->durable = follower->last_sequence;
        spool_follow_durable(follower, world->durable);
    }
    spool_follow_next(follower);
}

static void follow(struct spool_world *world)
{
    /* The sink has forgotten what it had not made durable. */
    for (uint32_t i = 0; i < world->event_count; i++) {
        if (world->events[i].seen && world->events[i].sequence > world->durable) {
            world->events[i].seen = false;
        }
    }
    memset(&world->follower, 0, sizeof world->follower);
    world->follower.event = on_event;
    world->follower.batch_end = on_batch_end;
    world->follower.max_lag_bytes = UINT64_MAX;
    snprintf(world->follower.name, sizeof world->follower.name, "sink");
    spool_follow(world->spool, &world->follower, world->durable);
    spool_follow_next(&world->follower);
}

/* ---- turns -------------------------------------------------------------------------------- */

static void turn(void *owner)
{
    struct model_worker *worker = owner;
    struct spool_world *world = worker->world;
    uint32_t count = mailbox_receive(world->mailboxes, worker->index, 64);
    if (!world->stopped) {
        uint32_t acts = (uint32_t)below(world, 4);
        for (uint32_t i = 0; i < acts; i++) {
            upload_some(worker);
            deliver_some(worker);
            deliver_some(worker);
            if (below(world, 3) == 0 && !world->draining) {
                read_some(worker);
            }
            if (below(world, 10) == 0 && !world->draining) {
                set_some(worker);
            }
            if (worker->index == 0 && below(world, 30) == 0) {
                wait_some(world);
            }
        }
        spool_flush(world->spool, worker->index);
    }
    bool asleep = count < 64 && mailbox_sleep(world->mailboxes, worker->index);
    uint64_t wait = below(world, 3);
    io_run(worker->io, asleep ? io_now_ms(worker->io) + wait : 0);
    mailbox_awake(world->mailboxes, worker->index);
}

/* ---- start and end of an engine ------------------------------------------------------------- */

struct finding {
    struct spool_world *world;
    uint32_t *found; /* per message: how often */
};

/* The engine's word on a recipient, and what it means for its events. */
static void found_rcpt(struct spool_world *world, uint32_t index, uint32_t rcpt_index,
                       const struct rcpt *rcpt)
{
    struct model_message *model = &world->messages[index];
    struct model_rcpt *mine = &model->rcpts[rcpt_index];
    bool final = rcpt->state == RCPT_FINAL;
    uint16_t attempts = rcpt->attempts;
    EXPECT(world, attempts <= mine->attempts, "%u/%u: %u attempts, only %u were made", index,
           rcpt_index, attempts, mine->attempts);
    EXPECT(world, !final || mine->final, "%u/%u is final, nobody said so", index, rcpt_index);
    if (!final) {
        EXPECT(world, attempts >= mine->attempts_safe, "%u/%u: %u attempts, %u were synced", index,
               rcpt_index, attempts, mine->attempts_safe);
        EXPECT(world, attempts == 0 || rcpt->due_wall_ms == 5000 + attempts, "%u/%u: due", index,
               rcpt_index);
        EXPECT(world, rcpt->retry_index == (uint8_t)attempts, "%u/%u: retry index", index,
               rcpt_index);
        mine->attempts = attempts;
        mine->final = false;
    }
}

static void on_found(void *owner, struct message *message)
{
    struct finding *finding = owner;
    struct spool_world *world = finding->world;
    uint32_t index = index_of(world, message);
    struct model_message *model = &world->messages[index];
    check_envelope(world, message);
    finding->found[index]++;
    EXPECT(world, finding->found[index] == 1, "%u is there twice", index);
    EXPECT(world, model->state == SENT || model->state == ACCEPTED, "%u is there, state %d", index,
           (int)model->state);
    model->state = ACCEPTED;
    model->message = message;
    model->owner = (uint32_t)below(world, world->options.workers);
    model->mark = 0;
    for (uint32_t i = 0; i < model->rcpt_count; i++) {
        found_rcpt(world, index, i, &message->rcpts[i]);
        model->rcpts[i].rcpt = model->rcpts[i].final ? NULL : &message->rcpts[i];
    }
}

static void not_found(struct spool_world *world, uint32_t index)
{
    struct model_message *model = &world->messages[index];
    if (model->state == ACCEPTED) {
        EXPECT(world, all_final(model), "%u was acknowledged and is lost", index);
    } else if (model->state == SENT || model->state == UNSENT) {
        model->state = REFUSED; /* never answered: it may be gone */
    }
}

/* An outcome is found with its event or not at all. */
static void judge_events(struct spool_world *world, uint32_t from)
{
    for (uint32_t i = from; i < world->event_count; i++) {
        struct model_event *event = &world->events[i];
        const struct model_rcpt *rcpt = &world->messages[event->message].rcpts[event->rcpt];
        if (event->fate == EVENT_OPEN) {
            event->fate = event->attempts <= rcpt->attempts ? EVENT_MUST : EVENT_MUST_NOT;
        }
    }
}

static void check_found(struct spool_world *world)
{
    struct finding finding = {world, calloc(MESSAGES_MAX, sizeof(uint32_t))};
    for (uint32_t i = 0; i < world->message_count; i++) {
        world->messages[i].message = NULL;
        world->messages[i].reads = 0;
        for (uint32_t r = 0; r < RCPTS_MAX; r++) {
            world->messages[i].rcpts[r].rcpt = NULL;
        }
    }
    spool_each_message(world->spool, on_found, &finding);
    for (uint32_t i = 0; i < world->message_count; i++) {
        if (finding.found[i] == 0) {
            not_found(world, i);
        }
    }
    free(finding.found);
    judge_events(world, 0);
    check_keys(world);
    world->first_live = 0;
}

static bool try_open(struct spool_world *world)
{
    struct error error = {0};
    sim_memory_enter();
    world->mailboxes = mailboxes_create(world->options.workers, 2);
    for (uint32_t i = 0; i < world->options.workers; i++) {
        struct model_worker *worker = &world->workers[i];
        memset(worker, 0, sizeof *worker);
        worker->world = world;
        worker->index = i;
        worker->io =
            io_create(&(struct io_options){.worker_index = i, .recv_buffer_bytes = 512}, &error);
        mailboxes_attach(world->mailboxes, i, worker->io);
    }
    world->spool = spool_open(world->workers[0].io,
                              &(struct spool_options){.directory = DIRECTORY,
                                                      .segment_bytes = 1024 * 1024,
                                                      .max_bytes = world->options.max_bytes,
                                                      .max_recipients = 100000,
                                                      .upload_bytes_max = 2 * 1024 * 1024,
                                                      .journal_sync_ms = 100,
                                                      .sync = !world->options.no_sync,
                                                      .workers = world->options.workers,
                                                      .mailboxes = world->mailboxes},
                              &error);
    if (world->spool != NULL) {
        for (uint32_t i = 0; i < world->options.workers; i++) {
            spool_attach(world->spool, i, world->workers[i].io);
        }
        spool_on_arrival(world->spool, on_arrived, world);
        check_found(world);
        follow(world);
    } else {
        EXPECT(world, !world->options.calm, "open: %s", error.text);
    }
    sim_memory_leave();
    return world->spool != NULL;
}

static void open_engine(struct spool_world *world)
{
    world->stopped = false;
    memset(&world->barrier, 0, sizeof world->barrier);
    while (!try_open(world)) {
        world->counts.opens_failed++;
        if (world->counts.opens_failed > 1000) {
            fail(world, "cannot be opened");
            exit(1);
        }
        sim_crash(world->sim, SIM_KILL);
    }
    for (uint32_t i = 0; i < world->options.workers; i++) {
        sim_drive(world->workers[i].io, turn, &world->workers[i]);
    }
    world->up = true;
}

static void count_status(struct spool_world *world)
{
    struct spool_status status;
    spool_status(world->spool, &status);
    world->counts.reclaimed += status.reclaimed_segments;
    world->counts.sync_failures += status.sync_failures;
    world->counts.damaged += status.damaged_records;
}

struct spool_world *spool_world_create(const struct spool_world_options *options)
{
    struct spool_world *world = calloc(1, sizeof *world);
    world->options = *options;
    world->good = true;
    rng_init(&world->rng, options->seed * 77 + 1);
    world->sim = sim_create(&(struct sim_options){.seed = options->seed, .calm = options->calm});
    open_engine(world);
    return world;
}

void spool_world_run(struct spool_world *world, uint64_t us)
{
    sim_run_for(world->sim, us);
}

void spool_world_crash(struct spool_world *world, enum sim_crash kind)
{
    count_status(world);
    world->counts.crashes++;
    sim_crash(world->sim, kind);
    open_engine(world);
}

static void on_stopped(void *owner)
{
    ((struct spool_world *)owner)->stopped = true;
}

static bool is_stopped(void *owner)
{
    return ((struct spool_world *)owner)->stopped;
}

static void close_engine(struct spool_world *world)
{
    count_status(world);
    spool_stop(world->spool, on_stopped, world);
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, is_stopped, world), "does not stop");
    const char *why;
    world->failed = spool_accepting(world->spool, &why) == SPOOL_FAILED; /* nothing is promised */
    for (uint32_t i = 0; i < world->options.workers; i++) {
        sim_undrive(world->workers[i].io);
    }
    sim_memory_enter();
    spool_unfollow(&world->follower);
    spool_close(world->spool);
    for (uint32_t i = 0; i < world->options.workers; i++) {
        io_destroy(world->workers[i].io);
    }
    mailboxes_destroy(world->mailboxes);
    sim_memory_leave();
    EXPECT(world, sim_memory_blocks() == 0, "%zu blocks leaked", sim_memory_blocks());
    world->up = false;
}

static bool uploads_are_idle(const struct spool_world *world)
{
    for (uint32_t w = 0; w < world->options.workers; w++) {
        for (uint32_t i = 0; i < UPLOADS_MAX; i++) {
            if (world->workers[w].uploads[i].busy) {
                return false;
            }
        }
        for (uint32_t i = 0; i < READS_MAX; i++) {
            if (world->workers[w].reads[i].busy) {
                return false;
            }
        }
    }
    return true;
}

static bool is_quiet(void *owner)
{
    return uploads_are_idle(owner);
}

static bool is_drained(void *owner)
{
    struct spool_world *world = owner;
    for (uint32_t i = world->first_live; i < world->message_count; i++) {
        const struct model_message *model = &world->messages[i];
        if (model->state == UNSENT || model->state == SENT ||
            (model->state == ACCEPTED && !all_final(model))) {
            return false;
        }
    }
    return uploads_are_idle(world);
}

static bool has_all_events(void *owner)
{
    struct spool_world *world = owner;
    for (uint32_t i = world->event_count; i > 0; i--) {
        const struct model_event *event = &world->events[i - 1];
        if (event->fate != EVENT_MUST_NOT && !event->seen) {
            return false;
        }
    }
    return true;
}

void spool_world_restart(struct spool_world *world)
{
    world->draining = true; /* nothing new */
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, is_quiet, world), "not quiet");
    close_engine(world);
    world->draining = false;
    for (uint32_t i = 0; i < world->message_count && !world->failed; i++) {
        for (uint32_t r = 0; r < world->messages[i].rcpt_count; r++) {
            world->messages[i].rcpts[r].attempts_safe = world->messages[i].rcpts[r].attempts;
        }
    }
    for (uint32_t k = 0; k < KEYS && !world->failed; k++) {
        world->keys[k].value_safe = world->keys[k].value;
    }
    open_engine(world);
}

void spool_world_finish(struct spool_world *world)
{
    struct spool_status status;
    world->draining = true;
    EXPECT(world, sim_run_until(world->sim, 600 * SIM_SECOND, is_drained, world), "not drained");
    sim_run_for(world->sim, SIM_SECOND); /* the last outcomes are synced */
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, has_all_events, world),
           "the sink did not see all events");
    if (!has_all_events(world)) {
        uint32_t unseen = 0, first = 0;
        for (uint32_t i = 0; i < world->event_count; i++) {
            if (world->events[i].fate != EVENT_MUST_NOT && !world->events[i].seen) { if (unseen++ == 0) first = i; }
        }
        printf("unseen %u first %u fate %d of %u at end %d wants %d walking %d last %lx durable %lx gen %x\n", unseen, first, world->events[first].fate, world->event_count, spool_follow_at_end(&world->follower), world->follower.wants, world->follower.walking, world->follower.last_sequence, world->follower.durable_sequence, world->follower.generation);
    }
    sim_run_for(world->sim, SIM_SECOND);
    spool_status(world->spool, &status);
    EXPECT(world, status.messages == 0, "%llu messages left", (unsigned long long)status.messages);
    EXPECT(world, status.recipients == 0, "recipients left");
    EXPECT(world, status.bytes_live < 10000, "%llu bytes live",
           (unsigned long long)status.bytes_live);
    for (uint32_t i = 0; i < world->message_count; i++) {
        world->counts.finished += world->messages[i].state == ACCEPTED;
    }
    close_engine(world);
}

void spool_world_destroy(struct spool_world *world)
{
    if (world->up) {
        sim_crash(world->sim, SIM_KILL);
    }
    sim_destroy(world->sim);
    free(world);
}

struct sim *spool_world_sim(struct spool_world *world)
{
    return world->sim;
}

struct spool_world_counts spool_world_counts(const struct spool_world *world)
{
    return world->counts;
}

bool spool_world_good(const struct spool_world *world)
{
    return world->good;
}
