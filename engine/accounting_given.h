/* What of the bytes written to an accounting pipe counts as given, and how far that brings the
 * position.
 *
 * Pure. Bytes are counted from the program's start. The contract is accounting_pipe.h's: what was
 * read when the program was seen to read on has been dealt with. */
#ifndef ENGINE_ACCOUNTING_GIVEN_H
#define ENGINE_ACCOUNTING_GIVEN_H

#include <stdbool.h>
#include <stdint.h>

#include "accounting_position.h"

#define ACCOUNTING_MARKS_MAX 4096 /* records under way */

/* With the first `end` bytes this log is given up to that event. */
struct accounting_mark {
    uint64_t end, sequence;
    uint32_t log;
};

struct accounting_given {
    uint64_t read, given; /* bytes */
    uint64_t read_ms;     /* when the program was last seen to have read */
    uint64_t idle_ms;     /* … that, or had nothing to read */
    /* private: */
    uint32_t first, count;
    struct accounting_mark marks[ACCOUNTING_MARKS_MAX];
};

/* A program begins. */
void accounting_given_begin(struct accounting_given *given, uint64_t now_ms);

/* False: no more marks now; a program that reads makes room. */
bool accounting_given_has_room(const struct accounting_given *given);

/* The event `sequence` of a log is in the first `end` bytes, which is no less than before. Requires
 * room. */
void accounting_given_mark(struct accounting_given *given, struct accounting_mark mark);

/* The program has been seen to have read so many of `made` bytes. All that is read counts as given
 * if nothing more was to be read for `quiet_ms`. */
void accounting_given_read(struct accounting_given *given, uint64_t read, uint64_t made,
                           uint64_t now_ms, uint64_t quiet_ms);

/* All it has read counts as given. */
void accounting_given_all(struct accounting_given *given);

/* Moves the position over what is given. */
void accounting_given_advance(struct accounting_given *given, struct accounting_position *reached);

#endif
