/* The ledger of a world: what clients were promised, what hosts took, what the engine wrote down;
 * and whether the three agree.
 *
 * Knows neither engine nor network: the world's people and the accounting files are entered by
 * their observers. An offer is one try to hand in one message, named by a token of its own. */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger;

enum ledger_promise {
    LEDGER_OPEN,    /* still being handed in */
    LEDGER_YES,     /* 250: ends in exactly one d or b per recipient */
    LEDGER_NO,      /* refused before its end was sent: nobody ever sees it */
    LEDGER_LATE_NO, /* refused after its end: as above, unless the engine's storage failed it */
    LEDGER_UNKNOWN, /* its end was sent, no reply came: one d or b, or nothing at all */
};

struct ledger *ledger_create(void);
void ledger_destroy(struct ledger *ledger); /* NULL is accepted */

/* A try to hand in; group: of its virtual MTA, an index into the harness's table. */
void ledger_offer(struct ledger *ledger, const char *token, uint32_t group, uint64_t body_digest);
void ledger_promise(struct ledger *ledger, const char *token, enum ledger_promise promise,
                    uint64_t at_us);
/* This recipient of the offer was answered 250. */
void ledger_recipient(struct ledger *ledger, const char *token, const char *rcpt);

/* A host has answered the end of the message with 250 for this recipient. */
struct ledger_take {
    const char *token, *rcpt;
    uint32_t group;     /* whose address it came from; UINT32_MAX: nobody's */
    uint32_t for_group; /* 1 + whose mail that may also carry by a rule; 0: nobody else's */
    uint64_t body_digest, at_us;
    bool reply_read; /* the engine is known to have read that reply */
    bool lied;       /* the host had said nonsense in that session: nothing is concluded */
};
void ledger_took(struct ledger *ledger, const struct ledger_take *take);

/* The engine ended at end_us, and what it learned or undid from begin_us on may not have become
 * durable: outcomes may be forgotten, refused messages may come back. */
void ledger_forget(struct ledger *ledger, uint64_t begin_us, uint64_t end_us);

/* The engine has recorded d or b for the recipient. Tokens that no offer has are ignored: reports
 * that it made itself. */
void ledger_outcome(struct ledger *ledger, const char *token, const char *rcpt, char type);

/* Everything is over. NULL: all invariants hold; else what is wrong, first thing first, valid
 * until destroy. */
const char *ledger_check(struct ledger *ledger);

/* While it lasts: recipients promised and without an outcome so far. */
uint32_t ledger_open_count(const struct ledger *ledger);

#endif
