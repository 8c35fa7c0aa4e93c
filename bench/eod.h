/* The end of a message after DATA, and its content, out of a stream.
 *
 * Only CRLF "." CRLF ends a message (RFC 5321 4.1.1.4); bare LF or CR around the dot do not, so
 * nothing can be smuggled behind it. Pure; right for any split of the stream; looks at the bytes
 * with memchr and copies none. */
#ifndef BENCH_EOD_H
#define BENCH_EOD_H

#include <stdint.h>

#include "base/bytes.h"

enum eod_event {
    EOD_MORE,    /* the input is used up */
    EOD_CONTENT, /* `content` is the next piece of the message, dots unstuffed */
    EOD_END,     /* the final dot's line has been taken; what is left of the input follows it */
};

struct eod {
    /* private: */
    uint8_t state;
};

/* The line of the DATA command counts as the CRLF before a first dot: an empty message ends at
 * once. */
void eod_init(struct eod *eod);

/* Takes bytes from the front of `in`. `content` is valid as long as the input; it is set only
 * with EOD_CONTENT and is never empty. After EOD_END call eod_init again. */
enum eod_event eod_next(struct eod *eod, struct bytes *in, struct bytes *content);

#endif
