/* Text for people: safe on a terminal, numbers and times as one reads them, columns.
 *
 * Pure but for text_print, which writes to a stream. Knows no command. Bytes from outside (replies
 * of mail hosts, names of queues) come out as printable UTF-8: controls, escape sequences and
 * marks that turn the direction of writing as \xNN or \uNNNN. */
#ifndef ENGINE_COMMANDS_TEXT_H
#define ENGINE_COMMANDS_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"

#define TEXT_CELL_MAX  4096 /* bytes of one cell; longer text is cut */
#define TEXT_WIDTH_MAX 48   /* characters a column grows to; longer cells shift their line */

void text_put_safe(struct buffer *out, struct bytes text); /* as much as fits, whole characters */
void text_put_count(struct buffer *out, uint64_t count);   /* 1,234,567 */
void text_put_size(struct buffer *out, uint64_t bytes);    /* 512 B, 1.5 MB (of 1024) */
void text_put_age(struct buffer *out, uint64_t ms);        /* 45s, 2h 5m, 3d 4h */

/* A domain as the daemon keeps it: lower case, A-labels. Wildcards stay as they are. */
void text_put_domain(struct buffer *out, struct bytes domain);

/* Characters of text that text_put_safe wrote. */
size_t text_width(struct bytes text);

/* The first `width` characters. */
struct bytes text_cut(struct bytes text, size_t width);

/* text_put_safe, on a stream. */
void text_print(FILE *out, struct bytes text);

/* A table's column: how wide, and on which side its cells stand. */
struct text_column {
    const char *header;
    bool right;
    size_t width; /* grows by text_column_fit; 0 before */
};

void text_column_fit(struct text_column *column, struct bytes cell);

/* One cell and the gap to the next, or nothing behind it if it is the last; the characters. */
size_t text_column_print(FILE *out, const struct text_column *column, struct bytes cell, bool last);

/* Characters of a line where `out` is a terminal; 0 where it is none. */
size_t text_terminal_width(FILE *out);

#endif
