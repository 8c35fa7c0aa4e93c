/* The shape of a configuration file: lines, comments, tags.
 *
 * Knows no directive. One directive or tag per line; `#` starts a comment unless it stands in
 * double quotes; LF or CRLF ends a line, also the last one without either. What is handed out
 * points into the text. */
#ifndef POLICY_SYNTAX_H
#define POLICY_SYNTAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

#define SYNTAX_LINE_LEN_MAX 65536 /* bytes of one line */

struct syntax {
    struct bytes text;
    size_t offset;
    uint32_t line; /* of what is read next, from 1 */
};

enum syntax_kind {
    SYNTAX_END,
    SYNTAX_DIRECTIVE, /* name value */
    SYNTAX_OPEN,      /* <name value> */
    SYNTAX_CLOSE,     /* </name> */
    SYNTAX_WRONG,     /* `problem` says what; the line is skipped */
};

struct syntax_line {
    enum syntax_kind kind;
    uint32_t line;
    struct bytes name;  /* up to the first blank */
    struct bytes value; /* what stands behind, without comment, trimmed */
    struct bytes whole; /* name and value */
    struct bytes raw;   /* the line as it is in the file, for columns */
    const char *problem;
};

/* Skips a byte order mark. -1: not text this language is written in (a NUL byte, UTF-16); the
 * error says so and *line where. The text must stay while the reader is used. */
int syntax_begin(struct syntax *syntax, struct bytes text, struct error *error, uint32_t *line);

/* The next line that holds something. */
enum syntax_kind syntax_next(struct syntax *syntax, struct syntax_line *out);

/* For lists that go on after a comma at the end of a line: the next line that holds something, as
 * a value. False: it is a tag, starts with `not_name`, or there is none; nothing is consumed. */
bool syntax_continue(struct syntax *syntax, struct bytes not_name, struct syntax_line *out);

/* Column, from 1 and in characters, of the byte at `place`, which lies in line->raw. */
uint32_t syntax_column(const struct syntax_line *line, const char *place);

#endif
