/* A spool under a random workload in a simulated world, and a model of what it promised.
 *
 * Workers hand in messages, read bodies back, defer and finish recipients and set named states;
 * a sink follows the journal. At any moment the engine may be killed or lose its power; what is
 * found after is held against the model: everything answered is there once and whole, nothing
 * refused is, outcomes and states are found together, and the sink sees each event once. */
#ifndef TESTS_SIM_SPOOL_WORLD_H
#define TESTS_SIM_SPOOL_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "sim.h"

struct spool_world;

struct spool_world_options {
    uint64_t seed;
    bool calm; /* the disk does not fail; crashes are the caller's */
    uint32_t workers;
    uint64_t max_bytes;
    uint64_t disk_bytes;     /* of the whole volume; 0 = no limit */
    uint64_t min_free_bytes; /* of it */
    uint32_t large_per_cent; /* messages of several chunks */
    bool hold_back;          /* the sink makes nothing durable for long */
    bool dying;              /* the disk fails far more often than a seed would draw */
    bool no_sync;
    bool delete_spare; /* segments, at each start */
};

struct spool_world *spool_world_create(const struct spool_world_options *options);
void spool_world_destroy(struct spool_world *world);
struct sim *spool_world_sim(struct spool_world *world);

/* Lets the workload run for `us` of the world's time. */
void spool_world_run(struct spool_world *world, uint64_t us);

/* Ends the engine where it stands and starts another, which is checked against the model. */
void spool_world_crash(struct spool_world *world, enum sim_crash kind);

/* Orderly: no new work, all recipients finished, the sink has everything; then stop and close.
 * Checks that nothing was forgotten. */
void spool_world_finish(struct spool_world *world);
/* Stop and close, and open again; in between the disk may have damaged footers. */
enum spool_spoil { SPOIL_NOTHING, SPOIL_TRAILERS, SPOIL_FOOTERS };
void spool_world_restart(struct spool_world *world, enum spool_spoil spoil);

struct spool_world_counts {
    uint64_t accepted, refused, events, finished, crashes, opens_failed, reclaimed, sync_failures,
        damaged, read, barriers, stable_states;
    uint64_t spare; /* segments that hold nothing, but for the next; over all starts */
    uint64_t in_doubt, came_back; /* came_back: of those in doubt */
};
struct spool_world_counts spool_world_counts(const struct spool_world *world);

/* Whether all that was checked held. */
bool spool_world_good(const struct spool_world *world);

#endif
