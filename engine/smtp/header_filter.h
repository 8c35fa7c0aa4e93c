/* The header block of a message on its way in: control headers taken out, the rest passed on.
 *
 * Pure, streaming: fed at any split it gives the same bytes and the same findings. Holds at most
 * one field name and the values it was asked for. Lines that stay are passed on as slices of the
 * input. Always leaves a blank line between header and body, also where the client sent none:
 * what is behind the header may rely on it. Knows no policy: what a value means, and whether it
 * may be used, is the owner's matter. */
#ifndef SMTP_HEADER_FILTER_H
#define SMTP_HEADER_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

#define HEADER_BYTES_MAX (100 * 1024) /* of one header block */
#define HEADER_LINES_MAX 1000
#define HEADER_NAME_MAX  256 /* a longer word before a colon is no field name: the body begins */
#define HEADER_VALUE_MAX 128

/* What becomes of a field. */
enum header_fate {
    HEADER_KEEP,
    HEADER_REMOVE,
    HEADER_REMOVE_TAKE, /* removed, its value kept in `values` */
    HEADER_KEEP_TAKE,   /* passed on, its value kept in `values` */
};

/* Fields with a name to us: id, name, fate, longest value. X-DKIM-Key would carry a private key
 * to the recipient if it were not removed. */
#define HEADER_NAMES(H)                                                                            \
    H(HEADER_X_VIRTUAL_MTA, "X-Virtual-MTA", HEADER_REMOVE_TAKE, 64)                               \
    H(HEADER_X_JOB, "X-Job", HEADER_REMOVE_TAKE, 128)                                              \
    H(HEADER_X_ENVID, "X-Envid", HEADER_REMOVE_TAKE, 100)                                          \
    H(HEADER_X_SCHEDULE, "X-Schedule", HEADER_REMOVE, 0)                                           \
    H(HEADER_X_DKIM_OPTIONS, "X-DKIM-Options", HEADER_REMOVE, 0)                                   \
    H(HEADER_X_DKIM_KEY, "X-DKIM-Key", HEADER_REMOVE, 0)                                           \
    H(HEADER_RECEIVED, "Received", HEADER_KEEP, 0)                                                 \
    H(HEADER_DATE, "Date", HEADER_KEEP, 0)                                                         \
    H(HEADER_MESSAGE_ID, "Message-ID", HEADER_KEEP, 0)

enum header_name {
#define HEADER_ENUM(id, name, fate, value_max) id,
    HEADER_NAMES(HEADER_ENUM)
#undef HEADER_ENUM
        HEADER_JOB_ALIAS, /* the owner's own name for X-Job; never removed */
    HEADER_OTHER,
    HEADER_NAME_COUNT,
};
#define HEADER_TAKEN_COUNT 4

struct header_value {
    uint8_t len;
    bool malformed; /* folded, too long, or with bytes that are not printable ASCII */
    char text[HEADER_VALUE_MAX];
};

struct header_filter_events {
    /* Bytes of the message, valid until return; all are taken. */
    void (*pass)(void *owner, const char *data, size_t len);
    /* The last field is over, the blank line not yet passed on: the place to add fields. */
    void (*header_end)(void *owner);
    /* A field that HEADER_NAMES would keep, or does not know: HEADER_KEEP, HEADER_REMOVE, or
     * HEADER_KEEP_TAKE for HEADER_JOB_ALIAS. NULL: all are kept. */
    enum header_fate (*fate)(void *owner, struct bytes name);
    /* Is the value of this field, whatever becomes of it, to be shown? NULL: of none. */
    bool (*wants)(void *owner, struct bytes name);
    /* The next bytes of such a value, line ends and folding with them; `last`: it is over (and
     * len is 0). Not called where `wants` never says yes. */
    void (*value)(void *owner, const char *data, size_t len, bool last);
};

struct header_filter {
    /* The owner's, before the first feed: fields that HEADER_NAMES would remove and that stay, as
     * 1 << enum header_name. Their values are kept as those of the others. */
    uint32_t retained;
    /* Findings: final once `done`. */
    bool done;      /* the body has begun */
    bool too_large; /* over HEADER_BYTES_MAX or HEADER_LINES_MAX */
    bool non_ascii; /* some field holds bytes over 127 */
    bool not_utf8;  /* … that are no UTF-8: SMTPUTF8 would not help them (RFC 6532 3.2) */
    uint32_t counts[HEADER_NAME_COUNT];
    size_t body_len; /* of what the feed that found the end was given: bytes of the body */
    struct header_value values[HEADER_TAKEN_COUNT]; /* by header_filter_value */
    /* private: */
    const struct header_filter_events *events;
    void *owner;
    uint32_t bytes, lines;
    uint16_t hold_len, name_len;
    uint8_t state, fate, field;
    uint8_t utf8_left, utf8_low, utf8_high; /* of a character: bytes to come, range of the next */
    bool any_field, shown;
    char hold[HEADER_NAME_MAX]; /* the name being read */
};

/* events and owner outlive the filter. */
void header_filter_init(struct header_filter *filter, const struct header_filter_events *events,
                        void *owner);

/* Takes all bytes: header lines first, and after `done` the body, which is passed on as it is. */
void header_filter_feed(struct header_filter *filter, const char *data, size_t len);

/* The message is over, its last line ended: a header without a body gets its blank line. */
void header_filter_finish(struct header_filter *filter);

/* The value of one of the fields that are taken: the last one's if there were several. */
const struct header_value *header_filter_value(const struct header_filter *filter,
                                               enum header_name name);

#endif
