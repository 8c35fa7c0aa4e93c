/* SMTP replies out of a stream, for the bench programs that send.
 *
 * Pure; keeps only the code and the first bytes of text, however the stream is split. */
#ifndef BENCH_REPLY_H
#define BENCH_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define REPLY_TEXT_MAX 64 /* bytes of the last line's text that are kept */

struct reply {
    uint16_t code; /* 0: not a reply, the stream is of no more use */
    uint8_t text_len;
    char text[REPLY_TEXT_MAX]; /* of the last line, behind the code; cut, without CRLF */
    /* private: */
    uint8_t column; /* bytes of the line seen, up to 4 */
    bool last_line;
};

/* Takes bytes from the front of `in`. True: a whole reply (all of its lines) has been taken and
 * lies in `reply`; the next call begins the next one. False: `in` is used up. */
bool reply_next(struct reply *reply, struct bytes *in);

#endif
