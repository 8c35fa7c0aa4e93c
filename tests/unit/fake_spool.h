/* A spool that is only a journal and a few states, in place of the real one for those who follow.
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
    uint64_t let_go; /* what its follower said to be durable */
};

struct spool {
    uint64_t last;          /* events are numbered from 1; those up to here are synced */
    uint64_t batch_max;     /* events of one batch */
    uint32_t barrier_turns; /* turns that a sync takes */
    /* The event of a sequence. */
    void (*event)(uint64_t sequence, struct event *event);
    void (*step)(void); /* called at each call, if set */
    struct fake_state states[FAKE_STATES_MAX];
    struct list followers, barriers;
};

static struct spool fake;

static void fake_note(void)
{
    if (fake.step != NULL) {
        fake.step();
    }
}

static void fake_reset(void (*event)(uint64_t, struct event *))
{
    fake = (struct spool){.batch_max = 50, .barrier_turns = 2, .event = event};
    list_init(&fake.followers);
    list_init(&fake.barriers);
}

/* Those who used it are dead. A state that was put and not yet durable is kept or lost. */
static void fake_crash(bool keep_pending)
{
    list_init(&fake.followers);
    list_init(&fake.barriers);
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

static void fake_deliver(struct spool_follower *follower)
{
    uint64_t given = 0;
    bool taken = true;
    while (taken && given < fake.batch_max && follower->last_sequence < fake.last) {
        char memory[EVENT_BYTES_MAX];
        struct buffer out;
        struct event event = {0};
        fake.event(follower->last_sequence + 1, &event);
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
    for (struct list_node *node = list_first(&fake.followers); node != NULL; node = next) {
        struct spool_follower *follower = CONTAINER_OF(node, struct spool_follower, node);
        next = list_next(&fake.followers, node);
        if (follower->wants) {
            fake_deliver(follower);
        }
    }
    fake_note();
}

uint64_t spool_log_id(const struct spool *spool)
{
    return 0x1234;
}

void spool_put_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value)
{
    struct fake_state *state = fake_state(key);
    fake_note();
    snprintf(state->pending, sizeof state->pending, "%.*s", BYTES_FMT(value));
    state->is_pending = true;
    fake_note();
}

void spool_each_state(struct spool *spool,
                      void (*found)(void *owner, struct bytes key, struct bytes value), void *owner)
{
    for (size_t i = 0; i < FAKE_STATES_MAX; i++) {
        struct fake_state *state = &fake.states[i];
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
    CHECK(from_sequence >= fake_state_of(follower)->let_go); /* else events are gone */
    follower->last_sequence = from_sequence;
    follower->wants = false;
    list_push_back(&fake.followers, &follower->node);
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
    CHECK(accounting_position_parse(bytes_from_string(state->durable), &position));
    CHECK(position.sequence >= sequence); /* let go only when the position says so after a crash */
    fake_note();
    state->let_go = sequence;
    fake_note();
}

bool spool_follow_at_end(const struct spool_follower *follower)
{
    return follower->last_sequence >= fake.last;
}

void spool_unfollow(struct spool_follower *follower)
{
    list_remove(&follower->node);
}

#endif
