/* Which jobs are paused, by their ids, as they are written: no wildcards, case counts.
 *
 * A pause is a rule, as that of a queue is (vmta/pauses.h): it holds for mail that is yet to come.
 * Pure; one per worker, kept alike by the engine. */
#ifndef VMTA_PAUSED_JOBS_H
#define VMTA_PAUSED_JOBS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/map.h"

#define PAUSED_JOBS_MAX   1024
#define PAUSED_JOB_ID_MAX 400 /* bytes of one */

struct paused_jobs {
    /* private: */
    struct map map;
};

void paused_jobs_init(struct paused_jobs *jobs);
void paused_jobs_deinit(struct paused_jobs *jobs);

/* Copied; one that is there already stays. False: PAUSED_JOBS_MAX reached, empty or too long, or no
 * memory. */
bool paused_jobs_add(struct paused_jobs *jobs, struct bytes id);
/* False: it was not there. */
bool paused_jobs_remove(struct paused_jobs *jobs, struct bytes id);

bool paused_jobs_hold(const struct paused_jobs *jobs, struct bytes id);

/* Walks all, in no order: start with *cursor = 0; false at the end. */
bool paused_jobs_walk(const struct paused_jobs *jobs, size_t *cursor, struct bytes *id);

static inline bool paused_jobs_none(const struct paused_jobs *jobs)
{
    return map_count(&jobs->map) == 0;
}

#endif
