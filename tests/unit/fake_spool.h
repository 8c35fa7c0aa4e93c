/* Spools that are only a journal and a few states, in place of the real ones for those who follow:
 * the home log `fake`, and `fake_other` where fake_log_count says so.
 *
 * All of it is static memory: it survives the crash of those who use it, with what was durable.
 * Include once per binary, after test.h. Breaking a promise of spool.h fails the test. */
#ifndef TESTS_UNIT_FAKE_SPOOL_H
#define TESTS_UNIT_FAKE_SPOOL_H

#include <stdlib.h>

#include "accounting_position.h"
#include "journal.h"
#include "spool.h"

#define FAKE_STATES_MAX 8
#define FAKE_VALUE_MAX  1024

struct fake_state {
    char key[512], durable[FAKE_VALUE_MAX], pending[FAKE_VALUE_MAX]; /* "" = none */
    bool is_pending;
    uint64_t let_go, other_let_go; /* what its followers said to be durable */
};

struct spool {
    uint64_t id;
    uint64_t last;          /* events are numbered from 1; those up to here are synced */
    uint64_t batch_max;     /* events of one batch */
    uint32_t barrier_turns; /* turns that a sync takes */
    /* The event of a sequence. */
    void (*event)(uint64_t sequence, struct event *event);
    void (*step)(void); /* called at each call, if set */
    struct fake_state states[FAKE_STATES_MAX];
    struct list followers, barriers;
};

static struct spool fake, fake_other;
static struct spool *const fake_logs[] = {&fake, &fake_other};
static uint32_t fake_log_count;

static void fake_note(void)
{
    if (fake.step != NULL) {
        fake.step();
    }
}

static void fake_reset(void (*event)(uint64_t, struct event *))
{
    fake_log_count = 1;
    for (size_t i = 0; i < 2; i++) {
        *fake_logs[i] = (struct spool){
            .id = i == 0 ? 0x1234 : 0x5678, .batch_max = 50, .barrier_turns = 2, .event = event};
        list_init(&fake_logs[i]->followers);
        list_init(&fake_logs[i]->barriers);
    }
}

/* Those who used it are dead. A state that was put and not yet durable is kept or lost. */
static inline void fake_crash(bool keep_pending)
{
    list_init(&fake.followers);
    list_init(&fake.barriers);
    list_init(&fake_other.followers);
    for (size_t i = 0; i < FAKE_STATES_MAX; i++) {
        struct fake_state *state = &fake.states[i];
        if (state->is_pending && keep_pending) {
            memcpy(state->durable, state->pending, sizeof state->durable);
        }
        state->is_pending = false;
    }
}

static void fake_sync(void)
{
    for (size_t i = 0; i < FAKE_STATES_MAX; i++) {
        struct fake_state *state = &fake.states[i];
        if (state->is_pending) {
            memcpy(state->durable, state->pending, sizeof state->durable);
            state->is_pending = false;
        }
    }
}

static struct fake_state *fake_state(struct bytes key)
{
    for (size_t i = 0; i < FAKE_STATES_MAX; i++) {
        struct fake_state *state = &fake.states[i];
        if (state->key[0] == '\0') {
            snprintf(state->key, sizeof state->key, "%.*s", BYTES_FMT(key));
        }
        if (bytes_equal(bytes_from_string(state->key), key)) {
            return state;
        }
    }
    abort();
}

static struct fake_state *fake_state_of(const struct spool_follower *follower)
{
    char key[160];
    snprintf(key, sizeof key, "acct:%s", follower->name);
    return fake_state(bytes_from_string(key));
}

static uint64_t *fake_let_go(const struct spool_follower *follower)
{
    struct fake_state *state = fake_state_of(follower);
    return follower->spool == &fake ? &state->let_go : &state->other_let_go;
}

static void fake_deliver(struct spool_follower *follower)
{
    uint64_t given = 0;
    bool taken = true;
    const struct spool *spool = follower->spool;
    while (taken && given < spool->batch_max && follower->last_sequence < spool->last) {
        char memory[EVENT_BYTES_MAX];
        struct buffer out;
        struct event event = {0};
        spool->event(follower->last_sequence + 1, &event);
        buffer_init(&out, memory, sizeof memory);
        CHECK(journal_encode(&out, &event));
        taken = follower->event(follower, follower->last_sequence + 1, buffer_bytes(&out));
        follower->last_sequence += taken ? 1 : 0;
        given++;
        fake_note();
    }
    if (given > 0) {
        follower->wants = false;
        follower->batch_end(follower);
    }
}

/* One turn of the keeper. */
static void fake_turn(void)
{
    struct list_node *next;
    for (struct list_node *node = list_first(&fake.barriers); node != NULL; node = next) {
        struct spool_barrier *barrier = CONTAINER_OF(node, struct spool_barrier, node);
        next = list_next(&fake.barriers, node);
        if (barrier->position-- == 0) {
            fake_note();
            fake_sync();
            fake_note();
            list_remove(node);
            barrier->durable(barrier);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        const struct list *followers = &fake_logs[i]->followers;
        for (struct list_node *node = list_first(followers); node != NULL; node = next) {
            struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
            next = list_next(followers, node);
            if (follower->wants) {
                fake_deliver(follower);
            }
        }
    }
    fake_note();
}

uint64_t spool_log_id(const struct spool *spool)
{
    return spool->id;
}

void spool_put_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value)
{
    struct fake_state *state = fake_state(key);
    CHECK(spool == &fake); /* no other log gets states */
    fake_note();
    snprintf(state->pending, sizeof state->pending, "%.*s", BYTES_FMT(value));
    state->is_pending = true;
    fake_note();
}

void spool_each_state(struct spool *spool,
                      void (*found)(void *owner, struct bytes key, struct bytes value), void *owner)
{
    for (size_t i = 0; i < FAKE_STATES_MAX; i++) {
        struct fake_state *state = &spool->states[i];
        if (state->durable[0] != '\0') {
            found(owner, bytes_from_string(state->key), bytes_from_string(state->durable));
        }
    }
}

void spool_when_durable(struct spool *spool, struct spool_barrier *barrier)
{
    CHECK(!list_linked(&barrier->node));
    barrier->position = fake.barrier_turns;
    list_push_back(&fake.barriers, &barrier->node);
}

void spool_barrier_cancel(struct spool_barrier *barrier)
{
    list_remove(&barrier->node);
}

void spool_follow(struct spool *spool, struct spool_follower *follower, uint64_t from_sequence)
{
    follower->spool = spool;
    CHECK(from_sequence >= *fake_let_go(follower)); /* else events are gone */
    follower->last_sequence = from_sequence;
    follower->wants = false;
    list_push_back(&spool->followers, &follower->node);
}

void spool_follow_next(struct spool_follower *follower)
{
    fake_note();
    CHECK(list_linked(&follower->node));
    CHECK(!follower->wants);
    follower->wants = true;
}

void spool_follow_durable(struct spool_follower *follower, uint64_t sequence)
{
    struct fake_state *state = fake_state_of(follower);
    struct accounting_position position = {0};
    struct accounting_reached reached = {.log_id = follower->spool->id, .sequence = sequence};
    CHECK(accounting_position_parse(bytes_from_string(state->durable), fake.id, &position));
    /* Let go only when the position says so after a crash. */
    struct accounting_position at_least = position;
    accounting_position_reach(&at_least, &reached);
    CHECK(memcmp(&at_least, &position, sizeof position) == 0);
    fake_note();
    *fake_let_go(follower) = sequence;
    fake_note();
}

bool spool_follow_at_end(const struct spool_follower *follower)
{
    return follower->last_sequence >= follower->spool->last;
}

void spool_unfollow(struct spool_follower *follower)
{
    list_remove(&follower->node);
}

#endif
