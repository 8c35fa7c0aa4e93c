/* What an <acct-file> tells of people: `privacy-policy`, which hides local parts of addresses.
 *
 * A local part gives way to one word: the same for the same local part, whatever its case, so that
 * records can be counted by it. Pure; any thread. */
#ifndef POLICY_ACCT_PRIVACY_H
#define POLICY_ACCT_PRIVACY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "policy/value.h"

#define ACCT_PRIVACY_KEY_MAX  64
#define ACCT_PRIVACY_WORD_MAX 64

enum acct_privacy_kind { PRIVACY_RETAIN, PRIVACY_REDACT, PRIVACY_SIPHASH, PRIVACY_HMAC };

struct acct_privacy {
    enum acct_privacy_kind kind;
    uint32_t len; /* of key, or of the word of PRIVACY_REDACT */
    uint8_t key[ACCT_PRIVACY_KEY_MAX];
};

/* No words: retain. 0, or -1 with error, which repeats no key. */
int acct_privacy_parse(const struct string_array *words, struct acct_privacy *out,
                       struct error *error);

/* Where a text is about a recipient: what is hidden in it. */
enum acct_privacy_where {
    PRIVACY_VERP,      /* the recipient's local part with its domain behind @ or =: a sender */
    PRIVACY_ADDRESSES, /* that, and whatever else stands in front of an @ */
    PRIVACY_WORDS,     /* that, and the recipient's local part as a word: what a peer says */
};

/* Appends text with local parts hidden; rcpt is an address, or empty. Past the room of `out`, where
 * words are longer than what they hide, the rest of the text is left out. Not for PRIVACY_RETAIN.
 */
void acct_privacy_hide(const struct acct_privacy *privacy, struct bytes text, struct bytes rcpt,
                       enum acct_privacy_where where, struct buffer *out);

#endif
