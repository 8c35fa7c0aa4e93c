/* TLS for the bench programs, as bytes in and bytes out.
 *
 * Knows no socket. A context is made once and outlives its connections; a connection belongs to
 * one thread. Certificates of peers are not verified: what is measured is the cost. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct tls_context;
struct tls;

/* With NULL for both files the certificate is made on the spot (ECDSA P-256, self-signed, for
 * `name`); write_file, if not NULL, is where it is then left in PEM for those who would trust it.
 * Ends the program with a message if a file is not as it should be. */
struct tls_context *tls_server_context(const char *cert_file, const char *key_file,
                                       const char *name, const char *write_file);
struct tls_context *tls_client_context(void);
void tls_context_destroy(struct tls_context *context); /* NULL is accepted */

struct tls *tls_create(struct tls_context *context); /* NULL: no memory */
void tls_destroy(struct tls *tls);                   /* NULL is accepted */

/* Takes all that came from the peer; a client is started with an empty one. False: the handshake
 * failed. What is to be sent in answer lies in tls_outgoing, in either case. */
bool tls_receive(struct tls *tls, struct bytes encrypted);

/* Decrypted bytes; 0: no more for now, or the handshake goes on; -1: the end of this stream. */
int tls_read(struct tls *tls, char *out, size_t capacity);

bool tls_ready(const struct tls *tls); /* the handshake is done */

/* Requires tls_ready. False: failed. */
bool tls_write(struct tls *tls, struct bytes plain);

/* Encrypted bytes to be sent; valid until the next call for this connection. */
struct bytes tls_outgoing(struct tls *tls);
void tls_outgoing_drop(struct tls *tls);

#endif
