/* How far an accounting file is durable, as a value and as the text of a keyed spool state.
 *
 * "1 SEQUENCE INODE LENGTH BEGAN HEADER NAME": decimal numbers, the first the form's version. Pure.
 */
#ifndef ENGINE_ACCOUNTING_POSITION_H
#define ENGINE_ACCOUNTING_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define ACCOUNTING_NAME_MAX     256 /* bytes of a file's name, with the NUL */
#define ACCOUNTING_POSITION_MAX 512 /* bytes of the text */

struct accounting_position {
    uint64_t sequence; /* of the last event whose effect is in the file; 0: none */
    uint64_t inode;
    uint64_t length_bytes;
    uint64_t began_wall_ms;         /* when its first record was written; 0: it has none */
    uint64_t header_hash;           /* of the columns the file was begun with */
    char name[ACCOUNTING_NAME_MAX]; /* in the directory of the configured path; "" = no file yet */
};

/* False: no room. */
bool accounting_position_put(struct buffer *out, const struct accounting_position *position);
/* False: not ours; *out is untouched. */
bool accounting_position_parse(struct bytes text, struct accounting_position *out);

#endif
