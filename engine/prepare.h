/* Transactions: one message made ready for one connection.
 *
 * Reads the body (at most PREPARE_WINDOW_BYTES at a time) and stuffs it where the peer needs DATA.
 * The first window is read before MAIL is sent; the rest while it is sent. Bytes held are bounded
 * per worker; who finds no room waits in a list and is served when some come free.
 *
 * The header is changed as policy says (remove-header of <domain>, include-headers-from, a Date of
 * now). It lies in the first window, since what is accepted has at most HEADER_BYTES_MAX of it; of
 * one that does not, nothing is taken out. A message without a byte stays so. */
#ifndef ENGINE_PREPARE_H
#define ENGINE_PREPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "message.h"
#include "smtp/client.h"
#include "spool.h"
#include "volume_rates.h"

#define PREPARE_WINDOW_BYTES (256 * 1024) /* of body in memory for one transaction */
#define PREPARE_RCPTS_INLINE 4            /* transactions of more take one allocation */

struct attempt;
struct queue;
struct preparer;

struct transaction {
    struct client_transaction core;
    struct list_node node;         /* in the attempt's list of what is on the wire */
    struct list_node waiting_node; /* in the preparer's list of those that wait for room */
    struct attempt *attempt;
    struct queue *queue;
    struct message *message;
    uint64_t taken_ms; /* when its recipients left the queue; MAIL within a second or back */
    uint64_t begun_ms; /* when it was begun */
    uint32_t rcpt_count;
    uint32_t undecided; /* recipients without an outcome: rcpts[i] is NULL once it has one */
    struct reply *last_refusal; /* of the last undecided recipient, told at the end; or NULL */
    struct volume_held volume;  /* bytes held in rates while it is on the wire */
    bool ready;                 /* the window holds the next bytes to send */
    bool failed;                /* the body cannot be read: core is not to be begun */
    bool begun;                 /* client_begin was called */
    bool reading;               /* a window is on its way from the spool */
    bool abandoned;             /* its owner let go while a read was in flight */
    bool rates_taken;
    bool stuffed;         /* as the bytes in the window are */
    uint64_t body_offset; /* body bytes read so far, windows before included */
    struct bytes window;  /* next bytes for the wire */
    /* private: */
    struct preparer *preparer;
    struct spool_read read;
    char *memory;
    size_t memory_bytes, window_start;
    size_t added_len; /* bytes at the front of memory that come before the window */
    uint32_t raw_len;
    bool line_start; /* the next body byte begins a line: for stuffing */
    char *sender;    /* NULL: the message's own */
    struct rcpt **rcpts;
    uint8_t *accepted;         /* the client core's notes */
    bool *over_limit;          /* refused as one too many for this transaction */
    struct reply *limit_reply; /* how; NULL: none was */
    struct rcpt *rcpts_inline[PREPARE_RCPTS_INLINE];
    uint8_t accepted_inline[PREPARE_RCPTS_INLINE];
    bool over_limit_inline[PREPARE_RCPTS_INLINE];
};

struct preparer_options {
    struct spools *spools;
    uint32_t worker;
    size_t bytes_max; /* body bytes in memory, all transactions of this worker */
    uint32_t transactions_max;
};

struct preparer *preparer_create(const struct preparer_options *options);
void preparer_destroy(struct preparer *preparer);

/* A transaction of `count` recipients of one message; NULL: none left. The array is copied. */
struct transaction *prepare_create(struct preparer *preparer, struct attempt *attempt,
                                   struct queue *queue, struct rcpt *const *rcpts, uint32_t count);

/* Starts reading the next window: `on_prepared` of the attempt (attempt.h) is called later, never
 * inside. stuffed: dots at line starts are doubled. */
void prepare_window(struct transaction *transaction, bool stuffed);

/* The whole body is in windows handed out so far. */
static inline bool prepare_at_end(const struct transaction *transaction)
{
    return transaction->body_offset == transaction->message->body_size;
}

/* Keeps only the first `count` recipients; the others are the caller's again. */
void prepare_cut(struct transaction *transaction, uint32_t count);

/* Frees it; its recipients must have been given back, deferred or finished. A read in flight is
 * waited for in the background. */
void prepare_free(struct transaction *transaction);

size_t prepare_bytes(const struct preparer *preparer);

#endif
