/* One simulated world: virtual time, an event queue, a seed, and the digest of all that happened.
 *
 * Knows nothing of mail. The network, the disk, helper threads and the workers' io stand on it
 * (sim_net.h, sim_disk.h, sim_io.c); scripted peers use sim_peer.h. Everything runs on the one
 * real thread that calls sim_step; two worlds must not be alive at once, because io_create has
 * to find the one it is in. Same seed and same code, same world: nothing here depends on an
 * address, on real time or on the environment. */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/address.h"
#include "base/heap.h"
#include "base/rng.h"

struct io;
struct sim;

#define SIM_MS     UINT64_C(1000) /* microseconds */
#define SIM_SECOND (1000 * SIM_MS)
#define SIM_HOUR   (3600 * SIM_SECOND)

/* ---- life ------------------------------------------------------------------------------- */

struct sim_odds {
#define ODDS(name, per_million_max) uint32_t name;
#include "sim_odds.def"
#undef ODDS
};

struct sim_options {
    uint64_t seed;
    bool calm;                       /* no faults at all: every chance is zero */
    uint32_t fd_max;                 /* 0: 4,096 */
    uint32_t ports_per_destination;  /* 0: 28,232, as Linux's default range */
    uint64_t disk_bytes;             /* 0: no limit */
    const struct address *addresses; /* of the engine's host; copied */
    size_t address_count;
};

/* Aborts without memory: the simulator is a test. Becomes the current world. */
struct sim *sim_create(const struct sim_options *options);

/* Every io must be destroyed or crashed; peers' memory stays the scripts'. NULL is accepted. */
void sim_destroy(struct sim *sim);

/* The world that is alive, or NULL. */
struct sim *sim_current(void);

/* The world's chances, drawn from its seed; may be changed at any time. */
struct sim_odds *sim_odds(struct sim *sim);

/* ---- chance ----------------------------------------------------------------------------- */

/* The world's own generator; drawing from it is part of what happens. */
struct rng *sim_rng(struct sim *sim);
bool sim_chance(struct sim *sim, uint32_t per_million);

/* Uniform in [low, high]. */
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high);

/* Spread evenly over the orders of magnitude in [low, high], low > 0: mostly short, rarely long. */
uint64_t sim_spread(struct sim *sim, uint64_t low, uint64_t high);

/* ---- time and events -------------------------------------------------------------------- */

uint64_t sim_now_us(const struct sim *sim);      /* monotonic, suspend included */
int64_t sim_wall_ms(const struct sim *sim);      /* since 1970 */
void sim_wall_step(struct sim *sim, int64_t ms); /* the administrator sets the clock */
void sim_suspend(struct sim *sim, uint64_t us);  /* time passes, nothing happens meanwhile */

/* Begins the clock faults of odds.wall_step and odds.suspend. */
void sim_clock_faults_start(struct sim *sim);

struct sim_event {
    /* Runs at its time, the event already off the queue: it may be queued again or freed. */
    void (*fire)(struct sim_event *event);
    /* private: */
    struct heap_node node;
    bool queued;
};

static inline void sim_event_init(struct sim_event *event, void (*fire)(struct sim_event *))
{
    *event = (struct sim_event){.fire = fire};
}

/* (Re)queues. Equal times are ordered by the seed. The past means now. */
void sim_event_at(struct sim *sim, struct sim_event *event, uint64_t due_us);
void sim_event_in(struct sim *sim, struct sim_event *event, uint64_t delay_us);
void sim_event_cancel(struct sim *sim, struct sim_event *event); /* one not queued stays so */

/* Moves the clock to the next event and lets it happen. False: nothing is left to happen. */
bool sim_step(struct sim *sim);

/* Steps until the clock has moved on by `us`. */
void sim_run_for(struct sim *sim, uint64_t us);

/* Steps until `reached(owner)` holds, at most `us`. True: it holds. */
bool sim_run_until(struct sim *sim, uint64_t us, bool (*reached)(void *owner), void *owner);

/* Steps taken so far: a world that does not end is found by it. */
uint64_t sim_steps(const struct sim *sim);

/* ---- the digest ------------------------------------------------------------------------- */

/* Puts a fact into the digest; with tracing on, also on standard output. `what` is a literal. */
void sim_note(struct sim *sim, const char *what, uint64_t a, uint64_t b);
void sim_note_bytes(struct sim *sim, const char *what, const void *data, size_t len);
/* Told of each fact as it is noted, inside the step that it happens in. NULL: nobody. */
void sim_watch(struct sim *sim, void (*noted)(void *owner, const char *what), void *owner);
uint64_t sim_digest(const struct sim *sim);
void sim_trace(struct sim *sim, bool on);

/* ---- workers ---------------------------------------------------------------------------- */

/* From now on the world runs this io's worker: `turn` is one turn of its loop, which calls
 * io_run once; it comes when a completion, a wake-up, a timer or the worker's own `until` is due.
 * io_run then never waits. An io that is not driven may be run by hand: io_run then moves the
 * world on until something is ready, as the kernel would. */
void sim_drive(struct io *io, void (*turn)(void *owner), void *owner);
void sim_undrive(struct io *io);

/* Turns in a row that this worker has not slept after: a busy loop shows here. */
uint64_t sim_turns_awake(const struct io *io);

enum sim_crash {
    SIM_KILL,  /* kill -9: what was written stays, operations under way may be half done */
    SIM_POWER, /* power loss: what was not synced is kept, lost or torn */
};

/* Every io dies where it stands: no callback runs any more, its connections are reset, its
 * descriptors closed. The engine's memory is forgotten (sim_memory.h). Not inside a turn. */
void sim_crash(struct sim *sim, enum sim_crash kind);

#endif
