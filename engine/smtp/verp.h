/* VERP: the sender's address names the recipient, so that a bounce says whom it is about.
 *
 * Pure. */
#ifndef SMTP_VERP_H
#define SMTP_VERP_H

#include <stdbool.h>

#include "base/bytes.h"

/* Appends local-rcptlocal=rcptdomain@domain, of two canonical addresses with domains (smtp/path.h).
 * Where one of the local parts is a quoted string, so is the new one. False: it has no room. */
bool verp_put(struct bytes sender, struct bytes rcpt, struct buffer *out);

#endif
