/* The text of a pickup file: the lines of its envelope, and its message on the way to DATA.
 *
 * The envelope comes first: "x-sender: ADDRESS", then "x-receiver: ADDRESS" for each recipient;
 * "x-sender-override: ADDRESS" anywhere among them counts more than x-sender. The first line that
 * is none of these begins the message; "x-envelope-end: …" ends the envelope and is dropped. Names
 * in any case, addresses with or without angle brackets. Pure. */
#ifndef SMTP_PICKUP_TEXT_H
#define SMTP_PICKUP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

#define PICKUP_LINE_MAX  1000 /* bytes of a line of the envelope, its end included */
#define PICKUP_BODY_HELD 8    /* bytes that may be held back between two pieces */

enum pickup_line {
    PICKUP_SENDER,
    PICKUP_RECEIVER,
    PICKUP_OVERRIDE,
    PICKUP_END,   /* of the envelope; belongs to it */
    PICKUP_OTHER, /* of the message */
    PICKUP_WRONG, /* of the envelope, but its address is none */
};

/* A line, with or without its end. *address points into it, without brackets; it has no blanks
 * around it, no brackets and no control characters, and may be empty where it is a sender's. */
enum pickup_line pickup_read_line(struct bytes line, struct bytes *address);

/* LF or CR LF become CR LF; dots at line starts are doubled. remove_dot: they are already, and a
 * last line that is one dot is the end of the message, not of it. */
struct pickup_body {
    bool remove_dot;
    /* private: */
    bool after_cr, line_start, held_dot, held_line;
};

void pickup_body_init(struct pickup_body *body, bool remove_dot);

/* Appends to out, which has room for 2 * piece.len + PICKUP_BODY_HELD. */
void pickup_body_feed(struct pickup_body *body, struct bytes piece, struct buffer *out);

/* What was held, the end of the last line, and the end of data. */
void pickup_body_end(struct pickup_body *body, struct buffer *out);

#endif
