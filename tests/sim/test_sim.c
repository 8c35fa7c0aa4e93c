/* The world itself: events, time, chance, digest, memory, and workers that are driven. */
#include "../unit/test.h"

#include <stdlib.h>

#include "io/io.h"
#include "io/mailbox.h"
#include "io/work.h"
#include "sim.h"
#include "sim_memory.h"

static struct sim *world(uint64_t seed, bool calm)
{
    return sim_create(&(struct sim_options){.seed = seed, .calm = calm});
}

struct bell {
    struct sim_event event;
    struct sim *sim;
    uint64_t rung_us;
    int *order, place;
};

static void on_bell(struct sim_event *event)
{
    struct bell *bell = CONTAINER_OF(event, struct bell, event);
    bell->rung_us = sim_now_us(bell->sim);
    bell->place = ++*bell->order;
}

static void bell_in(struct sim *sim, struct bell *bell, int *order, uint64_t us)
{
    *bell = (struct bell){.sim = sim, .order = order};
    sim_event_init(&bell->event, on_bell);
    sim_event_in(sim, &bell->event, us);
}

TEST(events_happen_in_the_order_of_their_time)
{
    struct sim *sim = world(1, true);
    struct bell late, early;
    int order = 0;
    uint64_t start_us = sim_now_us(sim);
    bell_in(sim, &late, &order, 4 * SIM_HOUR);
    bell_in(sim, &early, &order, 5);
    while (sim_step(sim)) {
    }
    CHECK_INT(early.place, 1);
    CHECK_INT(late.place, 2);
    CHECK_INT(late.rung_us, start_us + 4 * SIM_HOUR);
    CHECK_INT(sim_steps(sim), 2);
    sim_destroy(sim);
}

TEST(a_cancelled_event_does_not_happen)
{
    struct sim *sim = world(1, true);
    struct bell bell;
    int order = 0;
    bell_in(sim, &bell, &order, 5);
    sim_event_cancel(sim, &bell.event);
    CHECK(!sim_step(sim));
    CHECK_INT(order, 0);
    sim_destroy(sim);
}

TEST(the_seed_decides_the_order_of_equal_times)
{
    int first_first = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sim *sim = world(seed, true);
        struct bell one, two;
        int order = 0;
        bell_in(sim, &one, &order, 5);
        bell_in(sim, &two, &order, 5);
        while (sim_step(sim)) {
        }
        first_first += one.place == 1;
        sim_destroy(sim);
    }
    CHECK(first_first > 25);
    CHECK(first_first < 75);
}

TEST(every_chance_is_drawn_and_calm_worlds_have_none)
{
    int with = 0, without = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct sim *sim = world(seed, false);
        with += sim_odds(sim)->net_reset > 0;
        without += sim_odds(sim)->net_reset == 0;
        CHECK(sim_odds(sim)->net_reset <= 3000);
        sim_destroy(sim);
        sim = world(seed, true);
        CHECK_INT(sim_odds(sim)->net_reset, 0);
        sim_destroy(sim);
    }
    CHECK(with > 8);
    CHECK(without > 8);
}

TEST(a_wall_step_leaves_the_monotonic_clock_alone)
{
    struct sim *sim = world(1, true);
    uint64_t us = sim_now_us(sim);
    int64_t wall_ms = sim_wall_ms(sim);
    sim_wall_step(sim, -7200000);
    CHECK_INT(sim_now_us(sim), us);
    CHECK_INT(sim_wall_ms(sim), wall_ms - 7200000);
    sim_destroy(sim);
}

TEST(a_suspend_makes_everything_late_and_loses_nothing)
{
    struct sim *sim = world(1, true);
    struct bell bell;
    int order = 0;
    uint64_t us = sim_now_us(sim);
    int64_t wall_ms = sim_wall_ms(sim);
    bell_in(sim, &bell, &order, SIM_SECOND);
    sim_suspend(sim, SIM_HOUR);
    sim_run_for(sim, 1);
    CHECK_INT(order, 1);
    CHECK_INT(bell.rung_us, us + SIM_HOUR);
    CHECK_INT(sim_wall_ms(sim), wall_ms + 3600000);
    sim_destroy(sim);
}

/* ---- workers ---------------------------------------------------------------------------- */

struct worker {
    struct io *io;
    struct timer timer;
    uint64_t until_ms, turns, fired_ms;
    int undone; /* things its next turn has to do */
};

static void on_timer(struct timer *timer)
{
    struct worker *worker = CONTAINER_OF(timer, struct worker, timer);
    worker->fired_ms = io_now_ms(worker->io);
}

static void worker_turn(void *owner)
{
    struct worker *worker = owner;
    worker->turns++;
    CHECK_INT(io_run(worker->io, worker->undone > 0 ? 0 : worker->until_ms), 0);
    if (worker->undone > 0) {
        worker->undone--;
    }
}

static void worker_start(struct worker *worker, uint64_t until_ms)
{
    struct error error;
    struct io_options options = {.recv_buffer_bytes = 512};
    *worker = (struct worker){.until_ms = until_ms};
    worker->io = io_create(&options, &error);
    timer_init(&worker->timer, on_timer);
    sim_drive(worker->io, worker_turn, worker);
}

TEST(a_worker_with_nothing_to_do_sleeps)
{
    struct sim *sim = world(2, true);
    struct worker worker;
    worker_start(&worker, UINT64_MAX);
    sim_run_for(sim, 24 * SIM_HOUR);
    CHECK_INT(worker.turns, 1);
    io_destroy(worker.io);
    sim_destroy(sim);
}

TEST(a_worker_wakes_for_its_timer_on_time)
{
    struct sim *sim = world(3, true);
    struct worker worker;
    worker_start(&worker, UINT64_MAX);
    uint64_t due_ms = io_now_ms(worker.io) + 4 * 3600 * 1000;
    timer_start(io_timers(worker.io), &worker.timer, due_ms);
    sim_run_for(sim, 5 * SIM_HOUR);
    CHECK_INT(worker.fired_ms, due_ms);
    CHECK(worker.turns < 40); /* the wheel asks to be looked at when a level turns */
    io_destroy(worker.io);
    sim_destroy(sim);
}

TEST(a_worker_wakes_for_another_ones_call)
{
    struct sim *sim = world(4, true);
    struct worker worker;
    worker_start(&worker, UINT64_MAX);
    sim_run_for(sim, SIM_SECOND);
    uint64_t turns = worker.turns;
    io_wake(worker.io);
    sim_run_for(sim, SIM_MS);
    CHECK(worker.turns > turns);
    io_destroy(worker.io);
    sim_destroy(sim);
}

TEST(work_left_over_by_a_turn_is_done_without_sleeping)
{
    struct sim *sim = world(5, true);
    struct worker worker;
    worker_start(&worker, UINT64_MAX);
    worker.undone = 100;
    sim_run_for(sim, 100 * SIM_MS);
    CHECK_INT(worker.undone, 0);
    CHECK(worker.turns < 110);
    CHECK_INT(sim_turns_awake(worker.io), 0);
    io_destroy(worker.io);
    sim_destroy(sim);
}

/* Two workers whose loop is the engine's: letters, then sleep unless more has come. */
#define LETTERS 20

struct correspondent {
    struct io *io;
    struct mailboxes *mailboxes;
    uint32_t index;
    uint64_t turns;
};

static int letters_seen;

static void on_letter(struct letter *letter)
{
    letters_seen++;
}

static void correspondent_turn(void *owner)
{
    struct correspondent *one = owner;
    one->turns++;
    mailbox_receive(one->mailboxes, one->index, 1);
    bool asleep = mailbox_sleep(one->mailboxes, one->index);
    CHECK_INT(io_run(one->io, asleep ? UINT64_MAX : 0), 0);
    mailbox_awake(one->mailboxes, one->index);
}

TEST(letters_wake_a_sleeping_worker_though_rings_are_short)
{
    struct sim *sim = world(8, true);
    struct mailboxes *mailboxes = mailboxes_create(2, 2);
    struct correspondent both[2];
    struct letter letters[LETTERS];
    struct io_options options = {.recv_buffer_bytes = 512};
    for (uint32_t i = 0; i < 2; i++) {
        both[i] = (struct correspondent){.mailboxes = mailboxes, .index = i};
        both[i].io = io_create(&options, NULL);
        mailboxes_attach(mailboxes, i, both[i].io);
        sim_drive(both[i].io, correspondent_turn, &both[i]);
    }
    sim_run_for(sim, SIM_HOUR);
    letters_seen = 0;
    for (int i = 0; i < LETTERS; i++) {
        letters[i] = (struct letter){.deliver = on_letter};
        mailbox_post(mailboxes, 0, 1, MAILBOX_URGENT, &letters[i]);
    }
    sim_run_for(sim, SIM_SECOND);
    CHECK_INT(letters_seen, LETTERS);
    CHECK(both[0].turns + both[1].turns < 6 * LETTERS);
    uint64_t turns = both[0].turns + both[1].turns;
    sim_run_for(sim, SIM_HOUR);
    CHECK_INT(both[0].turns + both[1].turns, turns);
    io_destroy(both[0].io);
    io_destroy(both[1].io);
    mailboxes_destroy(mailboxes);
    sim_destroy(sim);
}

/* ---- crashes and memory ----------------------------------------------------------------- */

/* Through volatile, or the compiler sees that a block is not used and takes none. */
static void *volatile blocks[4];

TEST(a_crash_forgets_the_engines_memory_and_no_other)
{
    struct sim *sim = world(6, true);
    blocks[0] = malloc(10);
    sim_memory_enter();
    blocks[1] = malloc(10);
    blocks[2] = malloc(1);
    blocks[2] = realloc(blocks[2], 100);
    blocks[3] = strdup("x");
    sim_memory_leave();
    free(blocks[3]);
    CHECK_INT(sim_memory_blocks(), 2);
    sim_crash(sim, SIM_KILL);
    CHECK_INT(sim_memory_blocks(), 0);
    free(blocks[0]);
    sim_destroy(sim);
}

TEST(the_nth_allocation_of_the_engine_can_fail)
{
    sim_memory_fail(2);
    blocks[0] = malloc(1);
    sim_memory_enter();
    for (int i = 1; i < 4; i++) {
        blocks[i] = calloc(1, 1);
    }
    sim_memory_leave();
    for (int i = 0; i < 4; i++) {
        CHECK((blocks[i] == NULL) == (i == 2));
        free(blocks[i]);
    }
    CHECK_INT(sim_memory_blocks(), 0);
}

struct job {
    struct work work;
    int ran, done;
};

static void on_run(struct work *work)
{
    CONTAINER_OF(work, struct job, work)->ran++;
}

static void on_done(struct work *work)
{
    CONTAINER_OF(work, struct job, work)->done++;
}

TEST(a_crash_takes_jobs_and_operations_along)
{
    struct sim *sim = world(7, true);
    struct worker worker;
    struct job job = {.work = {.run = on_run, .done = on_done}};
    worker_start(&worker, UINT64_MAX);
    sim_memory_enter();
    struct work_pool *pool = work_pool_create(1, 4);
    CHECK(work_submit(pool, worker.io, &job.work));
    sim_memory_leave();
    sim_crash(sim, SIM_POWER);
    sim_run_for(sim, SIM_HOUR);
    CHECK_INT(job.ran, 0);
    CHECK_INT(job.done, 0);
    sim_destroy(sim);
}
