/* Enhanced status codes in words (RFC 3463, the IANA registry). Pure. */
#ifndef SMTP_STATUS_H
#define SMTP_STATUS_H

#include <stdint.h>

#include "base/bytes.h"

struct reply;

/* What X.subject.detail means, in lower case; "undefined status" where nobody has said. */
const char *status_words(uint8_t class, uint16_t subject, uint16_t detail);

/* "5.1.1 (bad destination mailbox address)" for a reply; one without an enhanced code gets
 * class.0.0 from its code. */
void status_print(const struct reply *reply, struct buffer *out);

#endif
