/* Internationalised domain names: from what people write to A-labels (IDNA2008, UTS 46).
 *
 * Pure; the one place that knows libidn2. Says nothing about whether a domain exists. */
#ifndef BASE_IDNA_H
#define BASE_IDNA_H

#include <stdbool.h>

#include "base/bytes.h"

#define IDNA_DOMAIN_MAX 255 /* bytes, in either form: RFC 5321 4.5.3.1.2 */

/* Appends the lower-case A-label form of a domain in UTF-8. False, with `out` as it was: not
 * valid UTF-8, no such name under IDNA2008, too long in either form, or no room. */
bool idna_to_ascii(struct bytes domain, struct buffer *out);

#endif
