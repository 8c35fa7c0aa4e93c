/* What questions about every source address have in common: io and resolver without an engine, the
 * addresses of the virtual MTAs, and jobs that run side by side and are told in order.
 *
 * A job is about one round (of the asker's: a domain), one virtual MTA and one of its addresses.
 * Knows nothing of what is asked. One thread's. */
#ifndef ENGINE_DOCTOR_H
#define ENGINE_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/timers.h"

#define DOCTOR_PARALLEL 64 /* jobs at once */

struct config;
struct config_vmta;
struct dns;
struct io;
struct vmta;
struct vmta_source;

struct doctor_job {
    uint32_t slot; /* below DOCTOR_PARALLEL: where the asker keeps what it knows of this job */
    size_t round;
    const struct config_vmta *settings;
    const struct vmta *vmta;
    const struct vmta_source *source; /* NULL: its range holds no address of this host */
};

struct doctor_options {
    const struct config *config;
    const struct config_vmta *vmta; /* NULL: every one */
    const char *host_name;          /* ours, where none is configured */
    size_t rounds;                  /* the outermost loop; virtual MTAs, then addresses in it */
    uint64_t timeout_ms;            /* for all jobs together */
    void *owner;
    /* True: it is done already. Else doctor_done follows, never inside this call. */
    bool (*start)(void *owner, const struct doctor_job *job);
    void (*abort)(void *owner, uint32_t slot); /* no time is left: doctor_done follows soon */
    void (*tell)(void *owner, uint32_t slot);  /* done, and so are all jobs before it */
};

struct doctor {
    struct io *io;
    struct dns *dns;
    char own_name[256]; /* ours among mail servers */
    bool out_of_time;   /* what begins now must not take long */
    /* private: */
    struct doctor_options options;
    const struct config_vmta *settings; /* of vmtas[0]; those of the others follow */
    struct vmta *vmtas;
    size_t vmta_count;
    size_t next_round, next_vmta;
    uint32_t next_source;
    uint64_t begun, told;
    bool done[DOCTOR_PARALLEL];
    struct timer deadline;
};

/* NULL with error. Nothing is asked yet. */
struct doctor *doctor_create(const struct doctor_options *options, struct error *error);
void doctor_destroy(struct doctor *doctor); /* NULL is accepted */

/* Returns when every job is told. */
void doctor_run(struct doctor *doctor);

/* The job in this slot is over. */
void doctor_done(struct doctor *doctor, uint32_t slot);

#endif
