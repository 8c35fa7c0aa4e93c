/* Helper threads for what blocks: file moves, libraries that wait.
 *
 * A job runs on one of a few threads and comes home to the worker that submitted it. At most
 * `queue_max` jobs wait; a full queue is refused, never parked. In the simulator a job runs on
 * the simulated thread, later. */
#ifndef IO_WORK_H
#define IO_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "io/io.h"

struct work_pool; /* shared by all workers of a process */

struct work {
    void (*run)(struct work *work);  /* on a helper thread; touches only the job's own memory */
    void (*done)(struct work *work); /* on the submitting worker, exactly once */
    /* private: */
    struct list_node node;
    struct io *home;
};

/* threads: 1 to 64. NULL: no memory or no threads. */
struct work_pool *work_pool_create(uint32_t threads, uint32_t queue_max);

/* Runs what it has taken and ends its threads. The homes must still be there: a turn of each after
 * this brings the last jobs' `done`. NULL is accepted. */
void work_pool_destroy(struct work_pool *pool);

/* False: the queue is full; nothing was taken. */
bool work_submit(struct work_pool *pool, struct io *home, struct work *work);

#endif
