/* Calendar times of accounting records and file names: UTC from wall milliseconds. Pure. */
#ifndef ENGINE_ACCOUNTING_TIME_H
#define ENGINE_ACCOUNTING_TIME_H

#include <stdint.h>

#include "base/bytes.h"

/* "2019-02-08 21:54:05+0000"; 24 bytes. Years after 9999 are written as 9999. */
void accounting_put_time(struct buffer *out, uint64_t wall_ms);

/* "2019-02-08"; 10 bytes. */
void accounting_put_date(struct buffer *out, uint64_t wall_ms);

/* The first millisecond of a date as written above; false: it is none. */
bool accounting_parse_date(struct bytes text, uint64_t *wall_ms_out);

#endif
