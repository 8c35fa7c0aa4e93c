/* The built-in sink: a listener that accepts any mail by SMTP and throws it away.
 *
 * For trying out an installation: `dummy-smtp-port`, off where that is 0. It has its own sessions
 * and touches neither the spool nor <source>, callers or accounting: mail that comes here was never
 * the engine's. One per worker, used on its thread; its connections are counted over all workers,
 * `total-max-smtp-in` of them at most. What is refused is only what no SMTP server can take: a
 * malformed dialogue, or a body with bare CR, bare LF or NUL. */
#ifndef ENGINE_DUMMY_SMTP_H
#define ENGINE_DUMMY_SMTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define DUMMY_SMTP_LISTENERS_MAX 16
#define DUMMY_SMTP_WAITING_MAX   1000        /* connections of one worker that have no place */
#define DUMMY_SMTP_IDLE_MS       (5 * 60000) /* RFC 5321 4.5.3.2.7 */

struct config;
struct dummy_smtp;
struct io;

/* All of it is borrowed and outlives the sink, but for config: until dummy_smtp_reload. */
struct dummy_smtp_options {
    struct io *io;
    uint32_t worker; /* the first one logs where the sink listens */
    const struct config *config;
    atomic_uint *connections; /* with a place, all workers */
    uint32_t receive_buffer_bytes;
    const char *host_name;
};

/* Nothing listens yet. NULL: no memory. */
struct dummy_smtp *dummy_smtp_create(const struct dummy_smtp_options *options);

/* Listens, where the configuration says so. -1: error names the address. */
int dummy_smtp_open(struct dummy_smtp *dummy, struct error *error);

/* The new configuration holds from here on, for connections that are open from their next command.
 * What cannot be listened on is logged. */
void dummy_smtp_reload(struct dummy_smtp *dummy, const struct config *config);

/* Closes listeners and connections; dummy_smtp_gone tells when the last is home. */
void dummy_smtp_stop(struct dummy_smtp *dummy);
bool dummy_smtp_gone(const struct dummy_smtp *dummy);

/* NULL is accepted; else it must be gone. */
void dummy_smtp_destroy(struct dummy_smtp *dummy);

/* Since creation, while `dummy-smtp-update-stats` was on. */
struct dummy_smtp_status {
    uint64_t connections, messages, recipients, bytes;
};
void dummy_smtp_status(const struct dummy_smtp *dummy, struct dummy_smtp_status *out);

#endif
