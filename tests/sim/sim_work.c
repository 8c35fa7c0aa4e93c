/* work.h in the simulator: a job runs at some later time on the one thread, between two turns. */
#include "io/work.h"

#include <assert.h>

#include "sim_parts.h"

#define BUSY_US_MIN 50
#define BUSY_US_MAX (200 * SIM_MS)

struct work_pool {
    uint32_t threads, queue_max;
    uint32_t under_way; /* waiting or running */
};

struct work_pool *work_pool_create(uint32_t threads, uint32_t queue_max)
{
    /* The engine's memory, as the real pool is: a crash takes it. */
    sim_memory_enter();
    struct work_pool *pool = sim_engine_take(sizeof(*pool));
    sim_memory_leave();
    if (pool != NULL) {
        pool->threads = threads;
        pool->queue_max = queue_max;
    }
    return pool;
}

void work_pool_destroy(struct work_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    assert(pool->under_way == 0);
    sim_engine_give(pool);
}

static void deliver_done(struct sim_op *op)
{
    struct work *work = op->work.work;
    sim_note(op->io->sim, "work done", op->io->index, 0);
    sim_op_release(op);
    work->done(work);
}

static void on_run(struct sim_event *event)
{
    struct sim_op *op = CONTAINER_OF(event, struct sim_op, event);
    struct work *work = op->work.work;
    struct work_pool *pool = op->work.pool;
    sim_memory_enter();
    work->run(work);
    sim_memory_leave();
    pool->under_way--;
    sim_op_finish(op, 0);
}

static void begin_work(struct sim_op *op)
{
    sim_event_init(&op->event, on_run);
    sim_event_in(op->io->sim, &op->event, sim_spread(op->io->sim, BUSY_US_MIN, BUSY_US_MAX));
}

bool work_submit(struct work_pool *pool, struct io *home, struct work *work)
{
    if (pool->under_way >= pool->queue_max + pool->threads) {
        return false;
    }
    pool->under_way++;
    work->home = home;
    struct sim_op *op = sim_op_start(home, NULL, SIM_OP_WORK, -1, begin_work);
    op->deliver = deliver_done;
    op->work.work = work;
    op->work.pool = pool;
    return true;
}
