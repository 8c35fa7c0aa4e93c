/* The real engine in a simulated world: started, driven, stopped and killed.
 *
 * The one file of tests/sim that knows engine.h. What it links is the engine's own code over the
 * simulated io, DNS and TLS; threads are turns that the world gives out. */
#ifndef SIM_ENGINE_H
#define SIM_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sim.h"

struct sim_engine;

struct sim_engine_options {
    const char *configuration; /* its text; must live as long as the engine */
    uint32_t workers;
    uint32_t mailbox_len;   /* 2 where letters are to be scarce */
    uint64_t segment_bytes; /* of the spool */
};

/* On the world's disk as it is. NULL with error. */
struct sim_engine *sim_engine_start(struct sim *sim, const struct sim_engine_options *options,
                                    struct error *error);

/* Asks it to drain and stop; sim_engine_stopped tells when it has. */
void sim_engine_stop(struct sim_engine *engine);
bool sim_engine_stopped(const struct sim_engine *engine);

/* The most turns in a row that any of its workers has not slept after. */
uint64_t sim_engine_turns_awake(const struct sim_engine *engine);

/* What it learns now becomes durable: neither failed nor full. */
bool sim_engine_sound(const struct sim_engine *engine);

/* Bytes it has written to its log since it started, copies included. */
uint64_t sim_engine_appended(const struct sim_engine *engine);

/* Recipients in its spool that have no end yet. */
uint64_t sim_engine_queued(const struct sim_engine *engine);

/* A limit that a site waits at while a connection rests there, and nothing is under way that
 * would change it; NULL: there is none. */
const char *sim_engine_stranded(const struct sim_engine *engine);

/* After it has stopped: destroys it. The count of blocks that it forgot to free. */
size_t sim_engine_destroy(struct sim_engine *engine);

/* At any time: the whole process dies. */
void sim_engine_crash(struct sim_engine *engine, enum sim_crash kind);

#endif
