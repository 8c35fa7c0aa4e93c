/* One SMTP reply as a value, and the parser that makes it from bytes (RFC 5321 §4.2).
 *
 * Pure. The parser keeps at most REPLY_TEXT_MAX bytes of text and counts the rest; a reply over
 * the caps or with a wrong shape is a protocol error, after which the parser is dead. */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define REPLY_TEXT_MAX  1024        /* bytes kept of a reply's text; lines joined by one space */
#define REPLY_BYTES_MAX (64 * 1024) /* hostile.md C3: a longer reply ends the connection */
#define REPLY_LINES_MAX 512

struct reply {
    uint16_t code; /* 200–599; 0 = none */
    /* RFC 3463, taken from the first line's text where its class agrees with the code; else made
     * up from the code (C18: the code wins): class 0 = none was given */
    uint8_t enhanced_class;
    uint16_t enhanced_subject, enhanced_detail;
    uint16_t text_len;
    char text[REPLY_TEXT_MAX]; /* after the code; controls and broken UTF-8 stay: escape to show */
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

/* Fills a reply by hand, for outcomes we decide ourselves. enhanced like "4.4.1". */
void reply_make(struct reply *reply, uint16_t code, const char *enhanced, const char *text);

/* "550 5.1.1 text" on one line, at most out's room; for records and patterns. */
void reply_print(const struct reply *reply, struct buffer *out);

enum reply_result {
    REPLY_MORE,     /* all input taken, no complete reply yet */
    REPLY_COMPLETE, /* *consumed bytes were this reply; call again with the rest */
    REPLY_BROKEN,   /* not a reply, or over a cap: close */
};

struct reply_parser {
    struct reply reply; /* valid at REPLY_COMPLETE until the next feed */
    /* Each EHLO line of a multi-line reply is wanted by the client core: called per line with its
     * text when set, before REPLY_COMPLETE. */
    void (*line)(void *owner, uint16_t code, uint32_t number, struct bytes text);
    void *owner;
    /* private: */
    uint32_t bytes, lines, line_len;
    uint8_t state, separator;
    char head[4];
    char line_text[512]; /* start of the current line, for `line` */
};

void reply_parser_init(struct reply_parser *parser);
enum reply_result reply_parser_feed(struct reply_parser *parser, const void *data, size_t len,
                                    size_t *consumed);

#endif
