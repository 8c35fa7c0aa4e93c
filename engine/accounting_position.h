/* How far an accounting file is durable, as a value and as the text of a keyed spool state.
 *
 * "2 INODE LENGTH BEGAN HEADER LOG:SEQUENCE,LOG:SEQUENCE NAME": decimal numbers, the first the
 * form's version. Version 1, "1 SEQUENCE INODE …", knew one log. Pure. */
#ifndef ENGINE_ACCOUNTING_POSITION_H
#define ENGINE_ACCOUNTING_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define ACCOUNTING_NAME_MAX     256  /* bytes of a file's name, with the NUL */
#define ACCOUNTING_LOGS_MAX     64   /* of one position */
#define ACCOUNTING_POSITION_MAX 3200 /* bytes of the text */

/* How much of one log is in the file. */
struct accounting_reached {
    uint64_t log_id;
    uint64_t sequence; /* of the last event whose effect is in the file; 0: none */
};

struct accounting_position {
    uint64_t inode;
    uint64_t length_bytes;
    uint64_t began_wall_ms;         /* when its first record was written; 0: it has none */
    uint64_t header_hash;           /* of the columns the file was begun with */
    char name[ACCOUNTING_NAME_MAX]; /* in the directory of the configured path; "" = no file yet */
    uint32_t log_count;
    struct accounting_reached logs[ACCOUNTING_LOGS_MAX];
};

/* False: no room. */
bool accounting_position_put(struct buffer *out, const struct accounting_position *position);
/* log_id: of the log it lies in, for version 1. False: not ours; *out is untouched. */
bool accounting_position_parse(struct bytes text, uint64_t log_id, struct accounting_position *out);

/* The further of what is known and what `reached` says; a log too many is left out. */
void accounting_position_reach(struct accounting_position *position,
                               const struct accounting_reached *reached);
/* Puts these logs first, in this order. Of the others, which may be attached again, as many stay
 * as there is room for. */
void accounting_position_align(struct accounting_position *position, const uint64_t *log_ids,
                               uint32_t count);

#endif
