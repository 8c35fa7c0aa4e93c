/* `type pipe`: the command that a recipient's message is given to, and what its end means.
 *
 * Made on the worker, run by a helper (local_command_run), judged on the worker again. */
#ifndef ENGINE_LOCAL_COMMAND_H
#define ENGINE_LOCAL_COMMAND_H

#include <stdbool.h>

#include "io/errand.h"
#include "smtp/reply.h"

struct arena;
struct deposit;
struct rcpt;
struct site;

struct local_command {
    struct errand errand;
    struct arena *arena; /* of its words */
};

/* Zeroed memory is none. For this recipient, by the site's settings. False: it cannot be run, and
 * *reply says why. */
bool local_command_prepare(struct local_command *command, const struct site *site,
                           const struct rcpt *rcpt, struct reply *reply);
void local_command_release(struct local_command *command);

/* Its standard input is what has been written there. Blocking. */
void local_command_run(struct local_command *command, const struct deposit *message);

/* 0 is delivered; EX_DATAERR, EX_NOUSER, EX_NOHOST, EX_UNAVAILABLE and EX_NOPERM of sysexits.h
 * are for good; all else, a signal and our time limit too, is for now. */
void local_command_reply(const struct local_command *command, struct reply *reply);

#endif
