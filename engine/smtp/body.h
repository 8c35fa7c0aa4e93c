/* A message body as it comes over SMTP: where it ends, what it is made of, what is wrong with it.
 *
 * Pure, streaming, at any split. DATA: finds CRLF.CRLF and nothing else as the end (RFC 5321
 * §4.1.1.4; other systems' leniency is SMTP smuggling) and takes one dot away from lines that
 * begin with one. BDAT: takes octets as they are. Both check the same things and pass the message
 * through a header filter to the owner: CRLF lines, unstuffed, a blank line behind the header.
 * From the first fault on nothing more is passed on; the message is read to its end, which
 * body_refusal then answers. */
#ifndef SMTP_BODY_H
#define SMTP_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "smtp/header_filter.h"

/* What is wrong, in the order in which it is told if there is more than one. */
#define BODY_FAULTS(F)                                                                             \
    F(BODY_BARE, "550 5.5.2 Bare CR or LF in the message: lines end with CRLF")                    \
    F(BODY_NUL, "550 5.6.0 NUL in the message")                                                    \
    F(BODY_LONG_LINE, "554 5.6.0 A line of the message is too long")                               \
    F(BODY_LONG_HEADER, "552 5.3.4 The message's header is too long")                              \
    F(BODY_LOOP, "554 5.4.6 Too many Received fields: this looks like a mail loop")                \
    F(BODY_TOO_LARGE, "552 5.3.4 The message is larger than is accepted here")

enum body_fault {
#define BODY_ENUM(id, reply) id,
    BODY_FAULTS(BODY_ENUM)
#undef BODY_ENUM
        BODY_FAULT_COUNT,
};

struct body_limits {
    uint64_t size_max;     /* bytes as passed on */
    uint32_t line_max;     /* bytes without CRLF; at least 64 */
    uint32_t received_max; /* Received fields */
};

struct body {
    struct header_filter header;
    uint64_t size;     /* bytes passed on, or that would have been; without what header_end adds */
    uint32_t faults;   /* 1 << enum body_fault */
    bool eight_bit;    /* bytes over 127 behind the header (header.non_ascii tells of it) */
    bool dot_lines;    /* some line begins with a dot: stuffing is needed to send it by DATA */
    uint32_t line_len; /* bytes of the line being read; stops growing far above any limit */
    /* private: */
    struct body_limits limits;
    const struct header_filter_events *events;
    void *owner;
    uint8_t state;
    bool after_cr, at_line_start;
};

/* events and owner outlive the body; header_end and pass are not called any more once there is a
 * fault. */
void body_init(struct body *body, const struct body_limits *limits,
               const struct header_filter_events *events, void *owner);

/* DATA: takes bytes up to and with the end of data; the count taken. *ended: the end was there,
 * the body is finished. */
size_t body_feed_data(struct body *body, const void *data, size_t len, bool *ended);

/* BDAT: takes all; then body_finish at the end of the last chunk. A last line without CRLF gets
 * one: the spool holds lines. */
void body_feed_octets(struct body *body, const void *data, size_t len);
void body_finish(struct body *body);

/* The reply that refuses the message, without CRLF; NULL: nothing is wrong with it. */
const char *body_refusal(const struct body *body);

#endif
