/* Offers, each with its recipients, each with what became of it; found through a map by name.
 *
 * A duplicate is allowed where the engine cannot have known that a host took the message: the
 * reply was not read, or the engine died so soon after that the outcome was not yet durable. */
#include "sim_ledger.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "sim.h"
#include "sim_memory.h"

#define NAME_MAX_LEN 320
#define OFFERS_MAX   100000
#define TAKES_MAX    64 /* of one recipient */
#define GAPS_MAX     256

struct rcpt {
    struct map_entry entry; /* by token and address */
    struct rcpt *next;      /* of the same offer */
    struct offer *offer;
    char address[NAME_MAX_LEN];
    bool promised;
    uint32_t delivered, bounced;
    uint32_t take_count;
    struct {
        uint64_t at_us;
        bool reply_read, lied;
    } takes[TAKES_MAX];
};

struct offer {
    struct map_entry entry; /* by token */
    struct offer *next;     /* in order of coming */
    char token[NAME_MAX_LEN];
    uint32_t group;
    uint64_t body_digest;
    enum ledger_promise promise;
    uint64_t promised_us;
    struct rcpt *rcpts, **rcpts_end;
};

struct ledger {
    struct map offers, rcpts;
    struct offer *first, **end;
    struct {
        uint64_t begin_us, end_us;
    } gaps[GAPS_MAX];
    uint32_t gap_count;
    char wrong[1024]; /* "": nothing yet */
};

static void wrong(struct ledger *ledger, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void wrong(struct ledger *ledger, const char *format, ...)
{
    va_list arguments;
    if (ledger->wrong[0] != '\0') {
        return; /* the first is the one to look at */
    }
    va_start(arguments, format);
    vsnprintf(ledger->wrong, sizeof(ledger->wrong), format, arguments);
    va_end(arguments);
}

/* ---- finding ---------------------------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static bool offer_equal(const struct map_entry *entry, const void *key)
{
    return strcmp(CONTAINER_OF(entry, const struct offer, entry)->token, key) == 0;
}

struct rcpt_key {
    const char *token, *address;
};

static bool rcpt_equal(const struct map_entry *entry, const void *key)
{
    const struct rcpt *rcpt = CONTAINER_OF(entry, const struct rcpt, entry);
    const struct rcpt_key *wanted = key;
    return strcmp(rcpt->address, wanted->address) == 0 &&
           strcmp(rcpt->offer->token, wanted->token) == 0;
}

static struct offer *find_offer(const struct ledger *ledger, const char *token)
{
    struct map_entry *entry = map_find(&ledger->offers, hash_text(1, token), offer_equal, token);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct offer, entry);
}

/* Of an offer that is there; made where it is new: a host may see more than was promised. */
static struct rcpt *find_rcpt(struct ledger *ledger, struct offer *offer, const char *address)
{
    struct rcpt_key key = {offer->token, address};
    uint64_t hash = hash_text(hash_text(2, offer->token), address);
    struct map_entry *entry = map_find(&ledger->rcpts, hash, rcpt_equal, &key);
    if (entry != NULL) {
        return CONTAINER_OF(entry, struct rcpt, entry);
    }
    struct rcpt *rcpt = sim_take(sizeof(*rcpt));
    rcpt->offer = offer;
    snprintf(rcpt->address, sizeof(rcpt->address), "%s", address);
    *offer->rcpts_end = rcpt;
    offer->rcpts_end = &rcpt->next;
    bool inserted = map_insert(&ledger->rcpts, hash, &rcpt->entry);
    assert(inserted);
    return rcpt;
}

/* ---- life ------------------------------------------------------------------------------- */

struct ledger *ledger_create(void)
{
    struct ledger *ledger = sim_take(sizeof(*ledger));
    map_init(&ledger->offers, OFFERS_MAX);
    map_init(&ledger->rcpts, OFFERS_MAX);
    ledger->end = &ledger->first;
    return ledger;
}

void ledger_destroy(struct ledger *ledger)
{
    if (ledger == NULL) {
        return;
    }
    while (ledger->first != NULL) {
        struct offer *offer = ledger->first;
        ledger->first = offer->next;
        while (offer->rcpts != NULL) {
            struct rcpt *rcpt = offer->rcpts;
            offer->rcpts = rcpt->next;
            sim_give(rcpt);
        }
        sim_give(offer);
    }
    map_deinit(&ledger->offers);
    map_deinit(&ledger->rcpts);
    sim_give(ledger);
}

/* ---- entering --------------------------------------------------------------------------- */

void ledger_offer(struct ledger *ledger, const char *token, uint32_t group, uint64_t body_digest)
{
    assert(find_offer(ledger, token) == NULL);
    struct offer *offer = sim_take(sizeof(*offer));
    snprintf(offer->token, sizeof(offer->token), "%s", token);
    offer->group = group;
    offer->body_digest = body_digest;
    offer->rcpts_end = &offer->rcpts;
    *ledger->end = offer;
    ledger->end = &offer->next;
    bool inserted = map_insert(&ledger->offers, hash_text(1, token), &offer->entry);
    assert(inserted);
}

void ledger_promise(struct ledger *ledger, const char *token, enum ledger_promise promise,
                    uint64_t at_us)
{
    struct offer *offer = find_offer(ledger, token);
    assert(offer != NULL);
    offer->promise = promise;
    offer->promised_us = at_us;
}

void ledger_recipient(struct ledger *ledger, const char *token, const char *rcpt)
{
    struct offer *offer = find_offer(ledger, token);
    assert(offer != NULL);
    find_rcpt(ledger, offer, rcpt)->promised = true;
}

void ledger_took(struct ledger *ledger, const struct ledger_take *take)
{
    struct offer *offer = find_offer(ledger, take->token);
    if (offer == NULL) {
        return; /* a report of the engine's own */
    }
    if (take->group != offer->group && take->for_group != offer->group + 1) {
        wrong(ledger, "%s to %s came from an address of another virtual MTA", take->token,
              take->rcpt);
    }
    if (take->body_digest != offer->body_digest && !take->lied) {
        wrong(ledger, "%s to %s arrived with another body", take->token, take->rcpt);
    }
    struct rcpt *rcpt = find_rcpt(ledger, offer, take->rcpt);
    if (rcpt->take_count == TAKES_MAX) {
        wrong(ledger, "%s to %s was delivered %u times", take->token, take->rcpt, TAKES_MAX);
        return;
    }
    uint32_t i = rcpt->take_count++;
    rcpt->takes[i].at_us = take->at_us;
    rcpt->takes[i].reply_read = take->reply_read;
    rcpt->takes[i].lied = take->lied;
}

void ledger_forget(struct ledger *ledger, uint64_t begin_us, uint64_t end_us)
{
    assert(begin_us <= end_us);
    assert(ledger->gap_count < GAPS_MAX);
    ledger->gaps[ledger->gap_count].begin_us = begin_us;
    ledger->gaps[ledger->gap_count++].end_us = end_us;
}

void ledger_outcome(struct ledger *ledger, const char *token, const char *rcpt, char type)
{
    struct offer *offer = find_offer(ledger, token);
    if (offer == NULL) {
        return;
    }
    struct rcpt *found = find_rcpt(ledger, offer, rcpt);
    found->delivered += type == 'd';
    found->bounced += type == 'b';
}

/* ---- checking --------------------------------------------------------------------------- */

static bool forgotten(const struct ledger *ledger, uint64_t at_us)
{
    for (uint32_t i = 0; i < ledger->gap_count; i++) {
        if (ledger->gaps[i].begin_us <= at_us && at_us <= ledger->gaps[i].end_us) {
            return true;
        }
    }
    return false;
}

/* It may or may not be: nobody can know. */
static bool is_open(const struct ledger *ledger, const struct offer *offer)
{
    return offer->promise == LEDGER_UNKNOWN ||
           (offer->promise == LEDGER_LATE_NO && forgotten(ledger, offer->promised_us));
}

static void check_takes(struct ledger *ledger, const struct rcpt *rcpt)
{
    uint32_t known = 0; /* takes that the engine must have known of for good */
    bool lied = false, again = false;
    for (uint32_t i = 0; i < rcpt->take_count; i++) { /* in the order in which they came */
        again = again || known > 0;
        known += rcpt->takes[i].reply_read && !forgotten(ledger, rcpt->takes[i].at_us);
        lied = lied || rcpt->takes[i].lied;
    }
    const char *token = rcpt->offer->token;
    if (again && !lied) {
        wrong(ledger, "%s to %s was delivered again after the engine knew of it", token,
              rcpt->address);
    }
    if (rcpt->delivered > 0 && rcpt->take_count == 0) {
        wrong(ledger, "%s to %s is recorded as delivered, no host took it", token, rcpt->address);
    }
    if (rcpt->bounced > 0 && known > 0 && !lied) {
        wrong(ledger, "%s to %s is recorded as bounced, a host took it", token, rcpt->address);
    }
}

static uint32_t honest_takes(const struct rcpt *rcpt)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < rcpt->take_count; i++) {
        count += !rcpt->takes[i].lied;
    }
    return count;
}

static void check_rcpt(struct ledger *ledger, const struct rcpt *rcpt)
{
    const struct offer *offer = rcpt->offer;
    uint32_t outcomes = rcpt->delivered + rcpt->bounced;
    bool promised = offer->promise == LEDGER_YES && rcpt->promised;
    bool possible = promised || (is_open(ledger, offer) && rcpt->promised);
    if (promised && outcomes != 1) {
        wrong(ledger, "%s to %s was accepted and has %u outcomes (d %u, b %u, taken %u times)",
              offer->token, rcpt->address, outcomes, rcpt->delivered, rcpt->bounced,
              rcpt->take_count);
    }
    if (outcomes > 1) {
        wrong(ledger, "%s to %s has %u outcomes", offer->token, rcpt->address, outcomes);
    }
    uint32_t takes = honest_takes(rcpt);
    if (!possible && (outcomes > 0 || takes > 0)) {
        wrong(ledger, "%s to %s was never accepted, yet d %u, b %u, taken %u times", offer->token,
              rcpt->address, rcpt->delivered, rcpt->bounced, takes);
    }
    check_takes(ledger, rcpt);
}

const char *ledger_check(struct ledger *ledger)
{
    for (const struct offer *offer = ledger->first; offer != NULL; offer = offer->next) {
        if (offer->promise == LEDGER_OPEN) {
            wrong(ledger, "%s is still being handed in", offer->token);
        }
        for (const struct rcpt *rcpt = offer->rcpts; rcpt != NULL; rcpt = rcpt->next) {
            check_rcpt(ledger, rcpt);
        }
    }
    return ledger->wrong[0] == '\0' ? NULL : ledger->wrong;
}

uint32_t ledger_open_count(const struct ledger *ledger)
{
    uint32_t count = 0;
    for (const struct offer *offer = ledger->first; offer != NULL; offer = offer->next) {
        for (const struct rcpt *rcpt = offer->rcpts; rcpt != NULL; rcpt = rcpt->next) {
            bool promised = offer->promise == LEDGER_YES && rcpt->promised;
            count += promised && rcpt->delivered + rcpt->bounced == 0;
        }
    }
    return count;
}
