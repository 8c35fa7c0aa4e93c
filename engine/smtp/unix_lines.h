/* From the lines of mail to those of files: CR LF becomes LF, and with mboxrd quoting a line that
 * begins with "From ", whatever '>' stand before it, gets one '>' more, so that a reader of the
 * mailbox can take exactly that one away.
 *
 * Pure; fed in pieces cut anywhere. A CR without LF stays. */
#ifndef SMTP_UNIX_LINES_H
#define SMTP_UNIX_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define UNIX_LINES_HELD 8 /* bytes that may be held back between two pieces */

struct unix_lines {
    bool quote_from;
    /* private: */
    bool after_cr, line_start, ended; /* line_start: only '>' so far; ended: by a LF */
    uint8_t matched;                  /* of "From " */
};

void unix_lines_init(struct unix_lines *lines, bool quote_from);

/* Appends to out, which has room for 2 * piece.len + UNIX_LINES_HELD. */
void unix_lines_feed(struct unix_lines *lines, struct bytes piece, struct buffer *out);

/* After the last piece: what was held, and a LF where the text does not end with one; an empty
 * text stays empty. Needs room for UNIX_LINES_HELD. */
void unix_lines_end(struct unix_lines *lines, struct buffer *out);

#endif
