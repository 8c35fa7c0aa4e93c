/* Messages that other programs put into directories as files: `pickup`.
 *
 * Once a second a helper thread looks into each directory. Where there is a file it gets a stream
 * to a session of this worker, which has no address and stands under <source {pickup}>, and tells
 * it the files as SMTP (pickup_file.h): so they are taken, limited and refused as a client's
 * messages are. A file is removed when its message is durable, and moved to the other directory
 * when it never can be; a log line says why. Between the two a crash leaves a file whose message is
 * there: it is taken again. On one worker, the keeper; one helper at a time. */
#ifndef ENGINE_PICKUP_H
#define ENGINE_PICKUP_H

#include <stdbool.h>

#include "base/error.h"

struct config;
struct io;
struct pickup;
struct sessions;
struct work_pool;

#define PICKUP_SOURCE   "{pickup}"
#define PICKUP_TURN_MAX 200 /* files told in one go: then others have the session's time */
#define PICKUP_EVERY_MS 1000
#define PICKUP_LATER_MS 10000 /* for a file that was refused for now */

struct pickup_options {
    struct io *io;
    struct sessions *sessions;
    struct work_pool *helpers;
    const struct config *config; /* in force; borrowed until pickup_reload */
};

/* NULL: no memory. Nothing happens inside. */
struct pickup *pickup_create(const struct pickup_options *options);

void pickup_reload(struct pickup *pickup, const struct config *config);

/* Begins nothing more. What a helper is at ends with its file, or when the sessions stop. */
void pickup_stop(struct pickup *pickup); /* NULL is accepted */

/* No helper is at work: true at last after pickup_stop. NULL is accepted. */
bool pickup_is_idle(const struct pickup *pickup);

void pickup_destroy(struct pickup *pickup); /* idle; NULL is accepted */

#endif
