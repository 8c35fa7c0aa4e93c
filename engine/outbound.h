/* What policy means for a connection out: from which addresses, by what name, in which TLS.
 *
 * The one place where the connections that carry mail (attempt.c) and the doctor's (probe.c) take
 * it from, so that a verdict of the doctor is about what the engine does. Knows no queue, no
 * scheduler and no connection; what is on the wire is smtp/client.h's. */
#ifndef ENGINE_OUTBOUND_H
#define ENGINE_OUTBOUND_H

#include <stdbool.h>

#include "base/address.h"
#include "base/error.h"
#include "base/map.h"
#include "message.h"
#include "smtp/client.h"

struct config_vmta;
struct domain_settings;
struct io;
struct tls_session;
struct tls_worker;
struct vmta;

/* Adds every address that a virtual MTA leaves from, each with its EHLO name (host_name where none
 * is configured). A range stands for this host's addresses inside it. Without any configured, one
 * source whose family is ADDRESS_NONE: the system picks. */
void outbound_add_sources(struct io *io, const struct config_vmta *settings, const char *host_name,
                          struct vmta *vmta);

/* How strict TLS must be under these settings for who needs that much: the stricter of both. Where
 * TLS is required and authorities are named, the host's certificate must be one of theirs and bear
 * its name. */
enum tls_need outbound_tls_level(const struct domain_settings *settings, enum tls_need need);

/* For the client core; helo_name is borrowed, and what `auth` points to is the settings'. */
struct client_settings outbound_client_settings(const struct domain_settings *settings,
                                                enum tls_need level, const char *helo_name);

/* Who we are at the other end, as the settings say. */
struct sasl_credentials outbound_credentials(const struct domain_settings *settings);

/* TLS profiles by settings, made when first asked for. One worker's. */
struct outbound_tls {
    /* private: */
    struct tls_worker *worker;
    struct map profiles;
};

void outbound_tls_init(struct outbound_tls *tls, struct tls_worker *worker);
void outbound_tls_forget(struct outbound_tls *tls); /* after a reload */
void outbound_tls_deinit(struct outbound_tls *tls); /* of zeroes, too */

/* The other end of a session. */
struct outbound_peer {
    const char *host_name; /* SNI, and the certificate's name from TLS_NEED_VERIFY on */
    const struct address *address;
    const char *vmta_name; /* sessions are resumed within one virtual MTA */
    enum tls_need level;
};

/* NULL with error: TLS cannot be set up (files, memory). */
struct tls_session *outbound_tls_session(struct outbound_tls *tls,
                                         const struct domain_settings *settings,
                                         const struct outbound_peer *peer, struct error *error);

#endif
