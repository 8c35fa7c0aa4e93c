/* AUTH as a client: which mechanism of those offered, and what is said in it (RFC 4954).
 *
 * PLAIN (RFC 4616), LOGIN and CRAM-MD5 (RFC 2195). Pure: what is said goes into the caller's
 * buffer, and nowhere else; the credentials are borrowed. */
#ifndef SMTP_SASL_H
#define SMTP_SASL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define SASL_CREDENTIAL_MAX 255  /* bytes of a user name or password */
#define SASL_LINE_MAX       1024 /* bytes of the longest line we say, without its end */

enum sasl_mechanism { SASL_NONE = 0, SASL_PLAIN = 1, SASL_LOGIN = 2, SASL_CRAM_MD5 = 4 };

struct sasl_credentials {
    struct bytes username; /* empty: no AUTH is wanted */
    struct bytes password;
    bool in_clear; /* PLAIN and LOGIN also without TLS */
};

/* Adds to `offered` the mechanism that an EHLO line names; those that are not ours are left out. */
uint32_t sasl_note_offered(uint32_t offered, struct bytes name);

/* PLAIN, LOGIN, CRAM-MD5 where the channel is secure; else CRAM-MD5 first, which does not show the
 * password, and the others only where that was allowed. */
enum sasl_mechanism sasl_choose(uint32_t offered, bool secured, bool in_clear);

/* Writes AUTH with the initial response, where there is one and the line has at most 512 bytes with
 * its end (RFC 4954 4). *answers: how many challenges are answered so far. */
void sasl_put_command(enum sasl_mechanism mechanism, const struct sasl_credentials *credentials,
                      uint32_t *answers, struct buffer *out);

/* Writes the answer to a challenge (the text behind 334); false: there is none, and "*" was written
 * (RFC 4954 4: this cancels). */
bool sasl_put_answer(enum sasl_mechanism mechanism, const struct sasl_credentials *credentials,
                     uint32_t *answers, struct bytes challenge, struct buffer *out);

#endif
