/* Values of header fields that somebody wants to look at once the header is over.
 *
 * Pure; fed piece by piece. Values are unfolded (RFC 5322 2.2.3) and without white space around
 * them. Bounded: of a value the first HEADER_NOTE_VALUE_MAX bytes are kept, and of all of them
 * HEADER_NOTES_BYTES; what comes beyond is left out. */
#ifndef SMTP_HEADER_NOTES_H
#define SMTP_HEADER_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define HEADER_NOTES_BYTES    4096
#define HEADER_NOTE_VALUE_MAX 768

/* Zeroed: empty. */
struct header_notes {
    /* private: */
    uint16_t used; /* of bytes: whole notes */
    uint16_t name_len, value_len;
    bool open;
    char bytes[HEADER_NOTES_BYTES];
};

/* A field begins, its value follows by header_notes_add. */
void header_notes_begin(struct header_notes *notes, struct bytes name);
void header_notes_add(struct header_notes *notes, const char *data, size_t len);
void header_notes_end(struct header_notes *notes);

/* One after the other, in the order of the message; *cursor begins at 0. False: no more. */
bool header_notes_next(const struct header_notes *notes, size_t *cursor, struct bytes *name,
                       struct bytes *value);

#endif
