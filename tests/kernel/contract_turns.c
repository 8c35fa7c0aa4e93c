/* The facts about a turn of the loop: time, timers, wake-ups, jobs. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "contract_parts.h"

/* How late a busy machine may be. */
#define LATE_MS 5000

void contract_a_run_ends_at_its_deadline(struct contract *contract)
{
    uint64_t start_ms = io_now_ms(contract->io);
    WANT(start_ms > 0);
    int turns = 0;
    while (io_now_ms(contract->io) < start_ms + 20 && turns < 1000) {
        WANT_INT(io_run(contract->io, start_ms + 20), 0);
        turns++;
    }
    WANT(turns < 10); /* it slept */
    WANT(io_now_ms(contract->io) >= start_ms + 20);
    WANT(io_now_ms(contract->io) < start_ms + 20 + LATE_MS);
}

void contract_a_run_until_the_past_does_not_wait(struct contract *contract)
{
    uint64_t start_ms = io_now_ms(contract->io);
    for (int i = 0; i < 10; i++) {
        WANT_INT(io_run(contract->io, 0), 0);
        WANT_INT(io_run(contract->io, io_now_ms(contract->io)), 0);
    }
    WANT(io_now_ms(contract->io) < start_ms + LATE_MS);
}

struct alarm {
    struct timer timer;
    struct io *io;
    uint64_t fired_ms;
    int *order, place;
};

static void on_alarm(struct timer *timer)
{
    struct alarm *alarm = CONTAINER_OF(timer, struct alarm, timer);
    alarm->fired_ms = io_now_ms(alarm->io);
    alarm->place = ++*alarm->order;
}

static void alarm_start(struct contract *contract, struct alarm *alarm, int *order, uint64_t due_ms)
{
    *alarm = (struct alarm){.io = contract->io, .order = order};
    timer_init(&alarm->timer, on_alarm);
    timer_start(io_timers(contract->io), &alarm->timer, due_ms);
}

void contract_timers_fire_in_order_and_not_early(struct contract *contract)
{
    struct alarm late, early, never;
    int order = 0;
    uint64_t start_ms = io_now_ms(contract->io);
    alarm_start(contract, &late, &order, start_ms + 30);
    alarm_start(contract, &early, &order, start_ms + 10);
    alarm_start(contract, &never, &order, start_ms + 20);
    timer_stop(io_timers(contract->io), &never.timer);
    RUN_UNTIL(order == 2);
    WANT_INT(early.place, 1);
    WANT_INT(late.place, 2);
    WANT_INT(never.place, 0);
    WANT(early.fired_ms >= start_ms + 10);
    WANT(late.fired_ms >= start_ms + 30);
    WANT(late.fired_ms < start_ms + 30 + LATE_MS);
}

/* A done that takes its place among alarms. */
struct placed {
    struct io_op op;
    struct io *io;
    int *order, place;
    uint64_t first_ms, last_ms;
};

static void on_placed(struct io_op *op, int result)
{
    struct placed *placed = CONTAINER_OF(op, struct placed, op);
    placed->place = ++*placed->order;
    placed->first_ms = io_now_ms(placed->io);
    uint64_t start_us = io_now_us(placed->io);
    for (int i = 0; i < 1000000 && io_now_us(placed->io) < start_us + 3000; i++) {
    }
    placed->last_ms = io_now_ms(placed->io);
}

static void place(struct contract *contract, struct placed *placed, int *order, int fd)
{
    *placed = (struct placed){.io = contract->io, .order = order};
    io_op_init(&placed->op, on_placed);
    io_send(contract->io, &placed->op, fd, NULL, 0);
}

void contract_completions_come_before_timers_of_the_same_turn(struct contract *contract)
{
    struct pair pair;
    struct alarm alarm;
    struct placed placed;
    int order = 0;
    pairs_open(contract, &pair, 1, "127.0.0.1");
    alarm_start(contract, &alarm, &order, io_now_ms(contract->io));
    place(contract, &placed, &order, pair.near);
    RUN_UNTIL(order == 2);
    WANT_INT(placed.place, 1);
    WANT_INT(alarm.place, 2);
    pairs_close(contract, &pair, 1);
}

void contract_the_clock_stands_still_within_a_turn(struct contract *contract)
{
    struct pair pair;
    struct placed placed;
    int order = 0;
    int64_t wall_ms = io_wall_ms(contract->io);
    pairs_open(contract, &pair, 1, "127.0.0.1");
    place(contract, &placed, &order, pair.near);
    RUN_UNTIL(order == 1);
    WANT_INT(placed.first_ms, placed.last_ms);
    WANT(wall_ms > 0);
    pairs_close(contract, &pair, 1);
}

void contract_a_wake_up_ends_the_coming_run(struct contract *contract)
{
    uint64_t start_ms = io_now_ms(contract->io);
    for (int i = 0; i < 100; i++) {
        io_wake(contract->io);
    }
    WANT_INT(io_run(contract->io, start_ms + PATIENCE_MS), 0);
    WANT(io_now_ms(contract->io) < start_ms + LATE_MS);
    contract_a_run_ends_at_its_deadline(contract); /* none is left over */
}

static void *wake_later(void *argument)
{
    struct contract *contract = argument;
    usleep(20000);
    io_wake(contract->io);
    return NULL;
}

void contract_a_wake_up_from_another_thread_ends_a_sleep(struct contract *contract)
{
    for (int i = 0; i < 3 && contract->threads; i++) {
        pthread_t thread;
        uint64_t start_ms = io_now_ms(contract->io);
        WANT_INT(pthread_create(&thread, NULL, wake_later, contract), 0);
        WANT_INT(io_run(contract->io, start_ms + PATIENCE_MS), 0);
        WANT(io_now_ms(contract->io) < start_ms + LATE_MS);
        pthread_join(thread, NULL);
    }
}

void contract_random_numbers_differ(struct contract *contract)
{
    uint64_t before = io_random(contract->io);
    for (int i = 0; i < 100; i++) {
        uint64_t number = io_random(contract->io);
        WANT(number != before);
        before = number;
    }
}

/* ---- jobs --------------------------------------------------------------------------------- */

struct job {
    struct work work;
    pthread_t ran_on, done_on;
    int ran, done, slow_us;
};

static void on_run(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->ran_on = pthread_self();
    job->ran++;
    if (job->slow_us > 0) {
        usleep((useconds_t)job->slow_us);
    }
}

static void on_job_done(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->done_on = pthread_self();
    job->done++;
}

static bool job_submit(struct contract *contract, struct job *job)
{
    *job = (struct job){.work = {.run = on_run, .done = on_job_done}};
    job->slow_us = contract->threads ? 2000 : 0;
    return work_submit(contract->pool, contract->io, &job->work);
}

void contract_a_job_runs_and_comes_home(struct contract *contract)
{
    struct job job;
    for (int i = 0; i < 20; i++) {
        WANT(job_submit(contract, &job));
        WANT_INT(job.done, 0);
        RUN_UNTIL(job.done > 0);
        WANT_INT(job.ran, 1);
        WANT_INT(job.done, 1);
        WANT(pthread_equal(job.done_on, pthread_self()));
        WANT(!contract->threads || !pthread_equal(job.ran_on, pthread_self()));
    }
}

void contract_a_full_job_queue_is_refused(struct contract *contract)
{
    struct job jobs[CONTRACT_WORK_QUEUE + 2], later; /* one may run while the others wait */
    int taken = 0;
    while (taken < CONTRACT_WORK_QUEUE + 2 && job_submit(contract, &jobs[taken])) {
        taken++;
    }
    WANT(taken == CONTRACT_WORK_QUEUE || taken == CONTRACT_WORK_QUEUE + 1);
    for (int i = 0; i < taken; i++) {
        RUN_UNTIL(jobs[i].done > 0);
        WANT_INT(jobs[i].done, 1);
    }
    WANT(job_submit(contract, &later));
    RUN_UNTIL(later.done > 0);
}
