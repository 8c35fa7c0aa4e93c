/* One SMTP reply as a value, and the parser that makes it from bytes (RFC 5321 §4.2).
 *
 * Pure. The parser keeps at most REPLY_TEXT_MAX bytes of text and counts the rest; a reply over
 * the caps or with a wrong shape is a protocol error, after which the parser is dead. */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define REPLY_TEXT_MAX 1024 /* bytes kept of a reply's text; lines joined by one space */
/* An endless reply ends the connection; 64 KiB of text and its frame still fit, since a queue id
 * of that size has been seen behind the 250 of a delivered message. */
#define REPLY_BYTES_MAX (66 * 1024)
#define REPLY_LINES_MAX 512

struct reply {
    uint16_t code; /* 200–599; 0 = none */
    /* RFC 3463, from the start of the first line's text. The class is always the code's: where
     * the text says otherwise ("421 5.7.32") the code wins. Class 0 = none was given. */
    uint8_t enhanced_class;
    uint16_t enhanced_subject, enhanced_detail;
    uint16_t text_len;
    /* All behind the code, an enhanced code included, but not where a further line repeats it;
     * controls and broken UTF-8 stay: escape to show. */
    char text[REPLY_TEXT_MAX];
};

static inline bool reply_is_positive(const struct reply *reply)
{
    return reply->code >= 200 && reply->code < 300;
}
static inline bool reply_is_intermediate(const struct reply *reply)
{
    return reply->code >= 300 && reply->code < 400;
}
static inline bool reply_is_transient(const struct reply *reply)
{
    return reply->code >= 400 && reply->code < 500;
}
static inline bool reply_is_permanent(const struct reply *reply)
{
    return reply->code >= 500;
}
static inline struct bytes reply_text(const struct reply *reply)
{
    return (struct bytes){reply->text, reply->text_len};
}

/* Fills a reply by hand, for outcomes we decide ourselves. enhanced like "4.4.1"; text that does
 * not fit is cut. */
void reply_make(struct reply *reply, uint16_t code, const char *enhanced, const char *text);

/* "550 5.1.1 text" on one line, cut to out's room; for records and patterns. */
void reply_print(const struct reply *reply, struct buffer *out);

enum reply_result {
    REPLY_MORE,     /* all input taken, no complete reply yet */
    REPLY_COMPLETE, /* *consumed bytes were this reply; call again with the rest */
    REPLY_BROKEN,   /* not a reply, or over a cap: close */
};

#define REPLY_LINE_MAX 512 /* bytes of one line handed to `line`; RFC 5321 4.5.3.1.5 */

struct reply_parser {
    struct reply reply; /* valid at REPLY_COMPLETE until the next feed */
    /* NULL, or called for each line (number from 0) with the start of its text, before
     * REPLY_COMPLETE: EHLO's lines are wanted one by one. May be set between two replies. */
    void (*line)(void *owner, uint16_t code, uint32_t number, struct bytes text);
    void *owner;
    uint16_t first_len; /* so many bytes of the reply's text are its first line's */
    /* private: */
    uint32_t bytes, lines;
    uint16_t line_len, line_code, line_at, enhanced_len;
    uint8_t state, digits;
    bool final_line, cr_pending, text_begun;
    char line_text[REPLY_LINE_MAX];
};

void reply_parser_init(struct reply_parser *parser);

/* *consumed <= len is set in every case. */
enum reply_result reply_parser_feed(struct reply_parser *parser, const void *data, size_t len,
                                    size_t *consumed);

/* Between two replies: no byte of a further one has come. */
bool reply_parser_at_start(const struct reply_parser *parser);

#endif
