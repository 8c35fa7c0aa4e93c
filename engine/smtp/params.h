/* The parameters of MAIL and RCPT (RFC 5321 §4.1.2, 1870, 6152, 6531, 3461) and xtext.
 *
 * Pure. A parsed struct holds its decoded texts itself; it is a value without pointers. */
#ifndef SMTP_PARAMS_H
#define SMTP_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define PARAMS_MAX       16  /* of one command; RFC and clients use fewer than 6 */
#define PARAMS_ENVID_MAX 100 /* bytes as sent: RFC 3461 5.4 */
#define PARAMS_ORCPT_MAX 500 /* bytes as sent: RFC 3461 5.4 */

enum params_result {
    PARAMS_OK,
    PARAMS_SYNTAX,    /* 501 5.5.4: malformed, given twice, a value out of range */
    PARAMS_UNKNOWN,   /* 555 5.5.4: not offered */
    PARAMS_TOO_LARGE, /* 552 5.3.4: SIZE over what 64 bits hold */
};

struct mail_params {
    uint64_t size; /* 0: not given */
    bool smtputf8, eight_bit, verp;
    uint8_t ret; /* message.h enum ret: 0 unset, 1 FULL, 2 HDRS */
    uint16_t envid_len;
    char envid[PARAMS_ENVID_MAX]; /* decoded, printable ASCII */
};

struct rcpt_params {
    uint8_t notify; /* message.h enum notify bits; 0: not given */
    uint16_t orcpt_len;
    char orcpt[PARAMS_ORCPT_MAX]; /* "type;address" decoded, printable ASCII or valid UTF-8 */
};

/* Which of the extensions are offered here; what is not is unknown. */
struct params_offered {
    bool smtputf8, dsn, verp;
};

/* text is what stands behind the path, its leading space included; empty: none. */
enum params_result mail_params_parse(struct bytes text, const struct params_offered *offered,
                                     struct mail_params *out);

/* smtputf8: the transaction asked for it, so ORCPT may hold UTF-8 (RFC 6533). */
enum params_result rcpt_params_parse(struct bytes text, const struct params_offered *offered,
                                     bool smtputf8, struct rcpt_params *out);

/* RFC 3461 4. Both append whole or not at all; decode is false on a bad escape or a byte that
 * xtext cannot hold. */
bool xtext_decode(struct bytes text, struct buffer *out);
bool xtext_encode(struct bytes text, struct buffer *out);

#endif
