/* struct io in the simulator: a worker's operations, its ready list, and io_run.
 *
 * An operation begins a little after it was submitted, as one that waits in a submission queue
 * does; what it waits for is its socket's or file's matter; then it is ready, and the next io_run
 * of its worker brings it home. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "io/io.h"
#include "sim_parts.h"

#define BEGIN_US_MAX  20 /* from submit to the kernel's attempt */
#define CANCEL_US_MAX 50

/* ---- operations ------------------------------------------------------------------------- */

bool io_busy(const struct io_op *op)
{
    return op->state != SIM_OP_HOME;
}

static void on_begin(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    if (op->cancelled) {
        sim_op_finish(op, -ECANCELED);
        return;
    }
    op->state = SIM_OP_WAITING;
    op->begin(op);
}

static void on_cancel(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, cancel);
    if (op->state != SIM_OP_WAITING) {
        return; /* it was quicker */
    }
    op->unhook(op);
    sim_op_finish(op, -ECANCELED);
}

struct sim_op *sim_op_start(struct io *io, struct io_op *op, enum sim_op_kind kind, int fd,
                            void (*begin)(struct sim_op *op))
{
    struct sim_op *started = sim_take(sizeof(*started));
    *started = (struct sim_op){.io = io, .op = op, .kind = kind, .fd = fd, .begin = begin};
    started->state = SIM_OP_STARTING;
    started->deliver = sim_op_come_home;
    if (op != NULL) {
        assert(!io_busy(op));
        op->state = SIM_OP_STARTING;
        op->kind = (uint8_t)kind;
        op->fd = fd;
        op->detail[0] = (uintptr_t)started;
    }
    if (fd >= 0) {
        io->sim->fds[fd].in_flight++;
    }
    io->activity++;
    list_push_back(&io->in_flight, &started->node);
    sim_event_init(&started->event, on_begin);
    sim_event_init(&started->cancel, on_cancel);
    sim_event_in(io->sim, &started->event, sim_between(io->sim, 1, BEGIN_US_MAX));
    return started;
}

void sim_op_finish(struct sim_op *op, int result)
{
    struct sim *sim = op->io->sim;
    assert(op->state != SIM_OP_READY);
    sim_event_cancel(sim, &op->event);
    sim_event_cancel(sim, &op->cancel);
    op->state = SIM_OP_READY;
    op->result = result;
    list_push_back(&op->io->ready, &op->ready);
    sim_io_kick(op->io);
}

struct io_op *sim_op_release(struct sim_op *op)
{
    struct io_op *home = op->op;
    struct sim *sim = op->io->sim;
    list_remove(&op->ready);
    list_remove(&op->node);
    if (op->fd >= 0) {
        assert(sim->fds[op->fd].in_flight > 0);
        sim->fds[op->fd].in_flight--;
    }
    if (home != NULL) {
        home->state = SIM_OP_HOME;
        home->detail[0] = 0;
    }
    sim_event_cancel(sim, &op->event);
    sim_event_cancel(sim, &op->cancel);
    sim_give(op);
    return home;
}

void sim_op_come_home(struct sim_op *op)
{
    static const char *const names[] = {
        [SIM_OP_ACCEPT] = "accept", [SIM_OP_CONNECT] = "connected", [SIM_OP_RECV] = "received",
        [SIM_OP_SEND] = "sent",     [SIM_OP_POLL] = "polled",       [SIM_OP_READ] = "read",
        [SIM_OP_WRITE] = "written", [SIM_OP_SYNC] = "synced",       [SIM_OP_WORK] = "worked",
        [SIM_OP_DNS] = "resolved",
    };
    int result = op->result;
    sim_note(op->io->sim, names[op->kind], op->io->index, (uint64_t)(int64_t)result);
    struct io_op *home = sim_op_release(op);
    home->done(home, result);
}

void sim_op_request_cancel(struct sim_op *op)
{
    struct sim *sim = op->io->sim;
    op->cancelled = true;
    op->io->activity++;
    switch (op->state) {
    case SIM_OP_WAITING:
        if (op->unhook != NULL && !op->cancel.queued) {
            sim_event_in(sim, &op->cancel, sim_between(sim, 1, CANCEL_US_MAX));
        }
        break;
    case SIM_OP_READY:
        /* A receive takes its bytes only when delivered, so nothing is lost by this. */
        if ((op->kind == SIM_OP_RECV || op->kind == SIM_OP_POLL) &&
            sim_chance(sim, sim->odds.cancel_loses)) {
            op->result = -ECANCELED;
        }
        break;
    case SIM_OP_STARTING: /* on_begin sees it */
    case SIM_OP_HOME:
        break;
    }
}

void io_cancel(struct io *io, struct io_op *op)
{
    (void)io;
    if (io_busy(op)) {
        struct sim_op *under_way = (struct sim_op *)(uintptr_t)op->detail[0];
        sim_op_request_cancel(under_way);
    }
}

/* ---- life ------------------------------------------------------------------------------- */

static void read_clocks(struct io *io)
{
    io->now_ms = io->sim->now_us / 1000;
    io->wall_ms = sim_wall_ms(io->sim);
}

struct io *io_create(const struct io_options *options, struct error *error)
{
    struct sim *sim = sim_current();
    if (sim == NULL) {
        error_set(error, ENOSYS, "no simulated world to run in");
        return NULL;
    }
    struct io *io = sim_take(sizeof(*io));
    io->sim = sim;
    io->index = options->worker_index;
    io->recv_buffer_bytes = options->recv_buffer_bytes;
    assert(io->recv_buffer_bytes > 0);
    list_init(&io->in_flight);
    list_init(&io->ready);
    list_push_back(&sim->ios, &io->node);
    read_clocks(io);
    timers_init(&io->timers, io->now_ms);
    return io;
}

void io_destroy(struct io *io)
{
    if (io == NULL) {
        return;
    }
    assert(list_empty(&io->in_flight));
    assert(list_empty(&io->ready));
    sim_undrive(io);
    if (io->sim->running == io) {
        io->sim->running = NULL;
    }
    list_remove(&io->node);
    sim_give(io);
}

const char *io_features(const struct io *io)
{
    (void)io;
    return "simulated";
}

/* ---- the loop --------------------------------------------------------------------------- */

static struct sim_op *take_ready(struct list *batch, struct sim *sim)
{
    struct list_node *last = batch->head.prev;
    if (last != list_first(batch) && sim_chance(sim, sim->odds.shuffle)) {
        list_remove(last);
        return CONTAINER_OF(last, struct sim_op, ready);
    }
    return CONTAINER_OF(list_pop_front(batch), struct sim_op, ready);
}

static void deliver_ready(struct io *io)
{
    struct list batch;
    list_init(&batch);
    list_splice_back(&batch, &io->ready);
    while (!list_empty(&batch)) {
        struct sim_op *op = take_ready(&batch, io->sim);
        io->delivered = true;
        op->deliver(op);
    }
}

/* For an io that nobody drives: what the kernel would do meanwhile. */
static void wait_by_hand(struct io *io, uint64_t until_ms)
{
    struct sim *sim = io->sim;
    assert(sim->running == NULL);
    sim_run_for(sim, BEGIN_US_MAX + 1); /* what can be done at once is done as it is submitted */
    while (list_empty(&io->ready) && !io->woken) {
        uint64_t timer_ms = timers_next_ms(&io->timers);
        uint64_t end_ms = until_ms < timer_ms ? until_ms : timer_ms;
        uint64_t end_us = end_ms >= UINT64_MAX / 2000 ? UINT64_MAX : end_ms * 1000;
        if (end_us <= sim->now_us) {
            return;
        }
        if (sim_next_us(sim) > end_us) {
            sim->now_us = end_us;
            return;
        }
        bool moved = sim_step(sim);
        assert(moved); /* else this io would wait for ever */
    }
}

int io_run(struct io *io, uint64_t until_ms)
{
    if (io->turn == NULL) {
        wait_by_hand(io, until_ms);
    } else {
        assert(io->sim->running == io);
    }
    io->until_ms = until_ms;
    io->delivered = io->woken;
    io->woken = false;
    read_clocks(io);
    deliver_ready(io);
    io->delivered = io->delivered || timers_next_ms(&io->timers) <= io->now_ms;
    timers_run(&io->timers, io->now_ms);
    io->activity_seen = io->activity;
    return 0;
}

void io_wake(struct io *io)
{
    io->woken = true;
    sim_io_kick(io);
}

struct timers *io_timers(struct io *io)
{
    return &io->timers;
}

/* ---- time ------------------------------------------------------------------------------- */

uint64_t io_now_ms(const struct io *io)
{
    return io->now_ms;
}

int64_t io_wall_ms(const struct io *io)
{
    return io->wall_ms;
}

uint64_t io_now_us(struct io *io)
{
    return io->sim->now_us;
}

uint64_t io_random(struct io *io)
{
    return rng_next(&io->sim->engine_rng);
}
