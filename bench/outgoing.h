/* What a connection of the sink still has to send, in two parts: replies that may leave, and
 * behind them replies held back for a while (a far-away peer, played by timers).
 *
 * Knows no socket and no clock. Grows up to OUTGOING_MAX, which only a client that sends
 * commands and reads no replies can reach. Owned by its connection. */
#ifndef BENCH_OUTGOING_H
#define BENCH_OUTGOING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define OUTGOING_MAX   (256u << 10) /* bytes */
#define OUTGOING_MARKS 8            /* flights held back at once; more share the last one's time */

struct outgoing {
    bool overflowed; /* sticky: a reply did not fit; the connection is of no more use */
    /* private: */
    char *data;
    uint32_t len, capacity, free_len; /* free_len: bytes that may leave */
    uint32_t mark_count;
    struct {
        uint64_t due_ms;
        uint32_t end;
    } marks[OUTGOING_MARKS];
};

void outgoing_init(struct outgoing *outgoing);
void outgoing_deinit(struct outgoing *outgoing);

/* Whole or not at all (then overflowed). */
void outgoing_put(struct outgoing *outgoing, const char *data, size_t len);
void outgoing_printf(struct outgoing *outgoing, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* All that was put so far may leave at due_ms (which never goes back), or at once with 0. */
void outgoing_release_at(struct outgoing *outgoing, uint64_t due_ms);

/* Frees what is due; returns when the next flight is, or 0. */
uint64_t outgoing_due(struct outgoing *outgoing, uint64_t now_ms);

/* What may leave now; valid until the next call. */
static inline struct bytes outgoing_free(const struct outgoing *outgoing)
{
    return bytes_of(outgoing->data, outgoing->free_len);
}

/* Drops what outgoing_free gave. */
void outgoing_drop_free(struct outgoing *outgoing);

static inline bool outgoing_empty(const struct outgoing *outgoing)
{
    return outgoing->len == 0;
}

#endif
