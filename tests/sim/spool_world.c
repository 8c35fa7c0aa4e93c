#include "spool_world.h"

#include "disk/log_format.h"

#include "spool_world_model.h"

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
    EXPECT(world, message->flags == (MESSAGE_EIGHT_BIT | LOG_INDEX << MESSAGE_LOG_SHIFT),
           "%u: flags", index);
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
        bool over = first->state == REFUSED || first->state == IN_DOUBT || first->state == GONE ||
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

static void on_stable(struct spool_write *write)
{
    struct model_key *key = CONTAINER_OF(write, struct model_key, write);
    struct spool_world *world = key->world;
    EXPECT(world, key->writing != 0, "stable though nothing is written");
    key->value_safe = key->writing > key->value_safe ? key->writing : key->value_safe;
    key->writing = 0;
    world->counts.stable_states++;
}

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
    struct bytes bytes = bytes_of(value, (size_t)len);
    struct model_key *model = &world->keys[k];
    if (model->writing != 0 || below(world, 2) == 0) {
        spool_put_state(world->spool, worker->index, bytes_from_string(key), bytes);
        return;
    }
    model->world = world;
    model->writing = number;
    model->write.stable = on_stable;
    spool_write_state(world->spool, worker->index, bytes_from_string(key), bytes, &model->write);
    EXPECT(world, model->writing == number, "stable inside the call");
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
        key->writing = 0;
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
    bool may = model->state == SENT || model->state == ACCEPTED || model->state == IN_DOUBT;
    EXPECT(world, may, "%u is there, state %d", index, (int)model->state);
    world->counts.came_back += model->state == IN_DOUBT;
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
    } else if (model->state == SENT || model->state == UNSENT || model->state == IN_DOUBT) {
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
    world->spool =
        spool_open(world->workers[0].io,
                   &(struct spool_options){.directory = DIRECTORY,
                                           .segment_bytes = SEGMENT_BYTES,
                                           .max_bytes = world->options.max_bytes,
                                           .min_free_bytes = world->options.min_free_bytes,
                                           .delete_spare = world->options.delete_spare,
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
        spool_set_index(world->spool, LOG_INDEX);
        spool_on_arrival(world->spool, on_arrived, world);
        check_spare(world);
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
        sim_crash(world->sim, below(world, 2) == 0 ? SIM_KILL : SIM_POWER);
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
    world->sim = sim_create(&(struct sim_options){
        .seed = options->seed, .calm = options->calm, .disk_bytes = options->disk_bytes});
    if (options->dying) {
        sim_odds(world->sim)->sync_fails = 40000;
        sim_odds(world->sim)->write_fails = 10000;
        sim_odds(world->sim)->write_back = 300000;
    }
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
    struct spool_world *world = owner;
    world->stopped = world->settled = true;
}

static bool is_stopped(void *owner)
{
    return ((struct spool_world *)owner)->settled;
}

static void stop_spool(struct spool_world *world)
{
    world->settled = false;
    spool_stop(world->spool, on_stopped, world);
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, is_stopped, world), "does not stop");
}

static void close_engine(struct spool_world *world)
{
    count_status(world);
    stop_spool(world);
    const char *why;
    world->failed = spool_accepting(world->spool, &why) == SPOOL_FAILED; /* nothing is promised */
    sim_memory_enter();
    spool_unfollow(&world->follower);
    sim_memory_leave();
    stop_spool(world); /* what the sink was reading comes home */
    for (uint32_t i = 0; i < world->options.workers; i++) {
        sim_undrive(world->workers[i].io);
    }
    sim_memory_enter();
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

static uint32_t first_unseen(const struct spool_world *world)
{
    for (uint32_t i = 0; i < world->event_count; i++) {
        const struct model_event *event = &world->events[i];
        if (event->fate != EVENT_MUST_NOT && !event->seen) {
            return i;
        }
    }
    return UINT32_MAX;
}

static bool has_all_events(void *owner)
{
    return first_unseen(owner) == UINT32_MAX;
}

/* Trailers of all segments, or some bytes in the footers of every other. */
static void spoil_segment(struct io *io, int fd, enum spool_spoil spoil, uint32_t number)
{
    struct io_file_info info;
    struct log_header header;
    struct log_trailer trailer;
    char head[LOG_HEADER_BYTES], bytes[LOG_TRAILER_BYTES];
    io_file_info(io, fd, &info);
    io_file_read_at(io, fd, head, sizeof head, 0);
    io_file_read_at(io, fd, bytes, sizeof bytes, info.size - sizeof bytes);
    if (log_header_decode(head, &header) != LOG_HEADER_GOOD ||
        !log_trailer_decode(bytes, log_seed(header.log_id, header.generation), info.size,
                            &trailer)) {
        return; /* still open; or a trailer of its earlier life */
    }
    if (spoil == SPOIL_TRAILERS) {
        io_file_write_at(io, fd, "spoilt", 6, info.size - sizeof bytes);
    } else if (number % 2 == 0) {
        io_file_write_at(io, fd, "spoilt", 6, trailer.footer_offset + 20);
    }
}

static int spoil_name(void *owner, const char *name)
{
    struct spool_world *world = owner;
    char path[64];
    uint64_t number;
    struct bytes rest = bytes_from_string(name);
    if (bytes_starts_with(rest, BYTES("segment-")) &&
        bytes_to_u64(bytes_slice(rest, 8, rest.len), 100000, &number)) {
        struct io *io = world->spoil_io;
        snprintf(path, sizeof path, "%s/%s", DIRECTORY, name);
        int fd = io_file_open(io, path, IO_OPEN_READ | IO_OPEN_WRITE);
        spoil_segment(io, fd, world->spoil, (uint32_t)number);
        io_file_close(io, fd);
    }
    return 0;
}

static void spoil_segments(struct spool_world *world, enum spool_spoil spoil)
{
    struct error error;
    sim_memory_enter();
    world->spoil_io = io_create(&(struct io_options){.recv_buffer_bytes = 512}, &error);
    world->spoil = spoil;
    io_directory_walk(world->spoil_io, DIRECTORY, spoil_name, world);
    io_destroy(world->spoil_io);
    sim_memory_leave();
}

void spool_world_restart(struct spool_world *world, enum spool_spoil spoil)
{
    world->draining = true; /* nothing new */
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, is_quiet, world), "not quiet");
    close_engine(world);
    world->draining = false;
    if (spoil != SPOIL_NOTHING) {
        spoil_segments(world, spoil);
    }
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
    const char *why;
    /* From here on the disk is well; but a log that has failed for good needs another start. */
    memset(sim_odds(world->sim), 0, sizeof *sim_odds(world->sim));
    sim_run_for(world->sim, 10 * SIM_SECOND);
    if (spool_accepting(world->spool, &why) == SPOOL_FAILED) {
        spool_world_crash(world, SIM_KILL);
    }
    world->draining = true;
    EXPECT(world, sim_run_until(world->sim, 600 * SIM_SECOND, is_drained, world), "not drained");
    sim_run_for(world->sim, SIM_SECOND); /* the last outcomes are synced */
    EXPECT(world, sim_run_until(world->sim, 60 * SIM_SECOND, has_all_events, world),
           "the sink did not see event %u", first_unseen(world));
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
