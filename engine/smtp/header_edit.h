/* Fields taken out of a header block that is in memory, on its way out.
 *
 * Pure. Expects what header_filter leaves behind: lines that end with CRLF, and an empty one behind
 * the header. Where that is not within the text given, nothing is taken out: a field might go on
 * behind it, and half of one would be left. */
#ifndef SMTP_HEADER_EDIT_H
#define SMTP_HEADER_EDIT_H

#include <stddef.h>

#include "base/bytes.h"

/* Takes out every field of these names (compared without case), continuation lines with it. What
 * stays is moved up against the body: the message begins at text + the count returned, and ends
 * where it did. */
size_t header_edit_remove(char *text, size_t len, const struct bytes *names, size_t count);

#endif
