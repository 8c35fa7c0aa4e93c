/* Mailboxes with real threads and the smallest ring; io is a condition variable. */
#include "io/mailbox.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "io/io.h"

#include "test.h"

/* What mailbox.c needs of io. */
struct io {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool woken;
};

void io_wake(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    io->woken = true;
    pthread_cond_signal(&io->cond);
    pthread_mutex_unlock(&io->mutex);
}

static void io_sleep(struct io *io)
{
    pthread_mutex_lock(&io->mutex);
    while (!io->woken) {
        pthread_cond_wait(&io->cond, &io->mutex);
    }
    io->woken = false;
    pthread_mutex_unlock(&io->mutex);
}

static struct io *ios_create(uint32_t count)
{
    struct io *ios = calloc(count, sizeof(*ios));
    for (uint32_t i = 0; i < count; i++) {
        pthread_mutex_init(&ios[i].mutex, NULL);
        pthread_cond_init(&ios[i].cond, NULL);
    }
    return ios;
}

struct note {
    struct letter letter;
    uint32_t number;
    struct mailboxes *boxes;
};

static uint32_t seen[64], seen_count;

static void on_note(struct letter *letter)
{
    seen[seen_count++] = CONTAINER_OF(letter, struct note, letter)->number;
}

TEST(a_letter_to_oneself_waits_for_the_next_turn)
{
    struct io *ios = ios_create(1);
    struct mailboxes *boxes = mailboxes_create(1, 2);
    mailboxes_attach(boxes, 0, ios);
    struct note note = {.letter.deliver = on_note, .number = 7};
    seen_count = 0;
    mailbox_post(boxes, 0, 0, MAILBOX_URGENT, &note.letter);
    CHECK_INT(seen_count, 0);
    CHECK(!mailbox_sleep(boxes, 0));
    CHECK_INT(mailbox_receive(boxes, 0, 10), 1);
    CHECK_INT(seen[0], 7);
    CHECK(mailbox_sleep(boxes, 0));
    mailboxes_destroy(boxes);
    free(ios);
}

static void on_again(struct letter *letter)
{
    struct note *note = CONTAINER_OF(letter, struct note, letter);
    seen_count++;
    mailbox_post(note->boxes, 0, 0, MAILBOX_BULK, letter);
}

TEST(a_letter_that_posts_itself_does_not_hold_the_loop)
{
    struct mailboxes *boxes = mailboxes_create(1, 2);
    struct note note = {.letter.deliver = on_again, .boxes = boxes};
    seen_count = 0;
    mailbox_post(boxes, 0, 0, MAILBOX_BULK, &note.letter);
    CHECK_INT(mailbox_receive(boxes, 0, 100), 1);
    CHECK_INT(mailbox_receive(boxes, 0, 100), 1);
    CHECK_INT(seen_count, 2);
    mailboxes_destroy(boxes);
}

TEST(what_does_not_fit_the_ring_keeps_its_order)
{
    struct io *ios = ios_create(2);
    struct mailboxes *boxes = mailboxes_create(2, 2);
    mailboxes_attach(boxes, 0, &ios[0]);
    mailboxes_attach(boxes, 1, &ios[1]);
    struct note notes[9] = {0};
    seen_count = 0;
    for (uint32_t i = 0; i < 9; i++) {
        notes[i] = (struct note){.letter.deliver = on_note, .number = i};
        mailbox_post(boxes, 0, 1, MAILBOX_BULK, &notes[i].letter);
    }
    CHECK_INT(mailbox_receive(boxes, 1, 100), 2);
    CHECK(mailbox_sleep(boxes, 0)); /* pushes two more */
    CHECK_INT(mailbox_receive(boxes, 1, 1), 1);
    CHECK(ios[0].woken); /* there is room: the sleeping sender was told */
    while (seen_count < 9) {
        mailbox_receive(boxes, 0, 100);
        mailbox_receive(boxes, 1, 100);
    }
    for (uint32_t i = 0; i < 9; i++) {
        CHECK_INT(seen[i], i);
    }
    mailboxes_destroy(boxes);
    free(ios);
}

TEST(urgent_letters_come_before_bulk)
{
    struct io *ios = ios_create(2);
    struct mailboxes *boxes = mailboxes_create(2, 4);
    mailboxes_attach(boxes, 1, &ios[1]);
    struct note bulk = {.letter.deliver = on_note, .number = 1};
    struct note urgent = {.letter.deliver = on_note, .number = 2};
    seen_count = 0;
    mailbox_post(boxes, 0, 1, MAILBOX_BULK, &bulk.letter);
    mailbox_post(boxes, 0, 1, MAILBOX_URGENT, &urgent.letter);
    CHECK_INT(mailbox_receive(boxes, 1, 1), 1);
    CHECK_INT(seen[0], 2);
    CHECK_INT(mailbox_receive(boxes, 1, 1), 1);
    CHECK_INT(seen[1], 1);
    mailboxes_destroy(boxes);
    free(ios);
}

TEST(a_sleeper_is_woken_by_a_letter)
{
    struct io *ios = ios_create(2);
    struct mailboxes *boxes = mailboxes_create(2, 2);
    mailboxes_attach(boxes, 1, &ios[1]);
    struct note notes[2] = {{.letter.deliver = on_note}, {.letter.deliver = on_note}};
    seen_count = 0;
    mailbox_post(boxes, 0, 1, MAILBOX_URGENT, &notes[0].letter);
    CHECK(!ios[1].woken);
    CHECK(!mailbox_sleep(boxes, 1));
    mailbox_receive(boxes, 1, 10);
    CHECK(mailbox_sleep(boxes, 1));
    mailbox_post(boxes, 0, 1, MAILBOX_URGENT, &notes[1].letter);
    CHECK(ios[1].woken);
    mailboxes_destroy(boxes);
    free(ios);
}

/* ---- threads: every worker sends letters to all others and they come back ------------------ */

#define WORKERS 4
#define LETTERS 64  /* per ordered pair */
#define ROUNDS  100 /* trips there and back per letter */

struct trip {
    struct letter letter;
    struct world *world;
    uint32_t home, away, rounds, order;
    bool outward;
};

struct world {
    struct mailboxes *boxes;
    struct io *ios;
    _Atomic uint32_t left;               /* letters not yet home for good */
    uint32_t expected[WORKERS][WORKERS]; /* receiver's: next order of a first trip */
    struct trip trips[WORKERS][WORKERS][LETTERS];
};

static void on_trip(struct letter *letter)
{
    struct trip *trip = CONTAINER_OF(letter, struct trip, letter);
    struct world *world = trip->world;
    enum mailbox_lane lane = trip->order % 2 == 0 ? MAILBOX_URGENT : MAILBOX_BULK;
    if (trip->outward) {
        if (trip->rounds == ROUNDS && lane == MAILBOX_BULK) {
            uint32_t *next = &world->expected[trip->away][trip->home];
            CHECK(trip->order > *next || *next == 0);
            *next = trip->order;
        }
        trip->outward = false;
        mailbox_post(world->boxes, trip->away, trip->home, lane, letter);
        return;
    }
    if (--trip->rounds > 0) {
        trip->outward = true;
        mailbox_post(world->boxes, trip->home, trip->away, lane, letter);
        return;
    }
    if (atomic_fetch_sub(&world->left, 1) == 1) {
        for (uint32_t i = 0; i < WORKERS; i++) {
            io_wake(&world->ios[i]);
        }
    }
}

struct worker {
    struct world *world;
    uint32_t index;
    pthread_t thread;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct world *world = worker->world;
    for (uint32_t i = 0; i < LETTERS; i++) {
        for (uint32_t to = 0; to < WORKERS; to++) {
            struct trip *trip = &world->trips[worker->index][to][i];
            *trip = (struct trip){.letter.deliver = on_trip,
                                  .world = world,
                                  .home = worker->index,
                                  .away = to,
                                  .rounds = ROUNDS,
                                  .order = i,
                                  .outward = true};
            mailbox_post(world->boxes, worker->index, to,
                         i % 2 == 0 ? MAILBOX_URGENT : MAILBOX_BULK, &trip->letter);
        }
    }
    while (atomic_load(&world->left) > 0) {
        mailbox_receive(world->boxes, worker->index, 16);
        if (mailbox_sleep(world->boxes, worker->index)) {
            io_sleep(&world->ios[worker->index]);
        }
        mailbox_awake(world->boxes, worker->index);
    }
    return NULL;
}

TEST(every_letter_arrives_once_between_four_threads_with_rings_of_two)
{
    struct world *world = calloc(1, sizeof(*world));
    world->boxes = mailboxes_create(WORKERS, 2);
    world->ios = ios_create(WORKERS);
    atomic_store(&world->left, WORKERS * WORKERS * LETTERS);
    struct worker workers[WORKERS];
    for (uint32_t i = 0; i < WORKERS; i++) {
        mailboxes_attach(world->boxes, i, &world->ios[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.world = world, .index = i};
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    CHECK_INT(atomic_load(&world->left), 0);
    mailboxes_destroy(world->boxes);
    free(world->ios);
    free(world);
}
