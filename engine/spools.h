/* The logs of this engine: a spool for each <spool> of the configuration.
 *
 * New mail goes to the highest priority that takes it, in turn among equals. A message, its
 * outcomes and the states of its recipients stay in the log that took it. The home log alone
 * holds the small named states (pauses, positions of sinks, rates); it is the one that has them,
 * or, at the first start, the first that is not deliver-only. All logs have the same keeper, so
 * everything that is the keeper's happens on one thread. Owns the spools. */
#ifndef ENGINE_SPOOLS_H
#define ENGINE_SPOOLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "message.h"
#include "spool.h"

struct config;
struct io;
struct message;
struct spools;

#define SPOOLS_MAX MESSAGE_LOGS_MAX /* the configuration's limit, too */

/* Opens all of them, as spool_open does one. `common` is what they share: what is a <spool>'s own
 * comes from the configuration, where the larger min_free_bytes holds; upload_bytes_max is divided.
 * NULL with error: one cannot be opened, none takes new mail, two are the same log or each is some
 * engine's home. */
struct spools *spools_open(struct io *io, const struct config *config,
                           const struct spool_options *common, struct error *error);

/* Each worker's io, before it uses a spool. */
void spools_attach(struct spools *spools, uint32_t worker, struct io *io);

/* All of them, the home log first; message_log_index counts in this order. */
struct spool *const *spools_all(const struct spools *spools, uint32_t *count);
struct spool *spools_home(const struct spools *spools);
struct spool *spools_of(const struct spools *spools, const struct message *message);

/* For an event that is no recipient's: the home log, or another while that one is held. */
struct spool *spools_for_event(const struct spools *spools);

/* True: nothing had ever been kept in any of them before this start. A home log that is new beside
 * an older one has taken over from it: what that one started counts, though its states do not. */
bool spools_are_fresh(const struct spools *spools);

/* Marks the home log as such where there are several; on the keeper, after spools_attach. */
void spools_mark_home(struct spools *spools, uint32_t worker);

/* MAIL's question: where a new message goes. SPOOL_OK with *chosen; else none takes it, *why as
 * spool_accepting says. */
enum spool_answer spools_choose(struct spools *spools, uint32_t worker, struct spool **chosen,
                                const char **why);
void spools_refuse(struct spools *spools, const char *why); /* spool_refuse, in all */

/* True: no attempt may start, whatever it would send. */
bool spools_held(const struct spools *spools);
/* True: while others may start, no attempt of this message may. */
bool spools_holds(const struct spools *spools, const struct message *message);
/* True: outcomes of this worker wait too long for a log that is in order: start none. */
bool spools_stalled(const struct spools *spools, uint32_t worker);

void spools_flush(struct spools *spools, uint32_t worker);

/* The sum; hold_reason only where none takes new mail. */
void spools_status(const struct spools *spools, struct spool_status *out);

struct spools_log {
    const char *directory;
    uint64_t log_id;
    uint32_t priority;
    bool home, deliver_only;
    struct spool_status status;
};
/* The index-th of spools_all; valid as long as the spools are. */
void spools_log_status(const struct spools *spools, uint32_t index, struct spools_log *out);

/* As spool_stop and spool_close, for all. */
void spools_stop(struct spools *spools, void (*stopped)(void *owner), void *owner);
void spools_close(struct spools *spools);

#endif
