/* All listeners of one worker: what the `smtp-listener` lines ask for, now and after a reload.
 *
 * A range of addresses stands for this host's addresses in it; one that holds everything for the
 * wildcard address of IPv4 and, where the host has it, of IPv6. */
#ifndef ENGINE_LISTENING_H
#define ENGINE_LISTENING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/error.h"

#define LISTENING_MAX 256 /* addresses */

struct config;
struct io;
struct listener;
struct sessions;

struct listening {
    /* private: */
    struct io *io;
    struct sessions *sessions; /* of the same worker */
    struct listener *listeners[LISTENING_MAX];
    uint32_t count;
};

/* One address of a range. */
struct listening_address {
    struct address address; /* with port */
    bool optional;          /* IPv6, where the range means every address: a host may be without */
};

/* What a range stands for on this host. The count; -1 with error: more than max. */
int listening_expand(struct io *io, const struct address_range *range, uint16_t port,
                     struct listening_address *out, uint32_t max, struct error *error);

/* Opens all of them. -1: error names the first that cannot be; those before it are open. */
int listening_open(struct listening *listening, struct io *io, struct sessions *sessions,
                   const struct config *config, struct error *error);

/* Afterwards as the configuration says: what it still asks for goes on without a gap, also under
 * another source or host name; what is new opens; the rest closes, its sessions stay. What cannot
 * be opened is logged, and hinders none of the others. */
void listening_reload(struct listening *listening, const struct config *config);

/* Stops accepting everywhere. `closed` (or NULL) is called once for each, never inside this one;
 * the return value says how many that are. */
uint32_t listening_close(struct listening *listening, void (*closed)(void *owner), void *owner);

/* Does a line of the configuration ask for this address and port on this host? Whether it is open
 * does not matter: mail sent there would come back to us. */
bool listening_is_ours(struct io *io, const struct config *config, const struct address *address);

#endif
