/* Are the source addresses of the virtual MTAs on this host?
 *
 * What only the host can tell about a configuration; the rest is policy's. With
 * allow-no-source-address nothing is asked. Ranges (CIDR) stand for what is there and are never
 * wrong. */
#ifndef ENGINE_SOURCE_CHECK_H
#define ENGINE_SOURCE_CHECK_H

#include <stddef.h>
#include <stdint.h>

struct config;
struct io;

struct source_problem {
    const char *file; /* of the virtual MTA */
    uint32_t line;
    const char *text; /* valid until the callback returns */
};

/* Calls `found` for each address that is missing; the count. io may be NULL: no worker runs. */
size_t source_check(struct io *io, const struct config *config,
                    void (*found)(void *owner, const struct source_problem *problem), void *owner);

#endif
