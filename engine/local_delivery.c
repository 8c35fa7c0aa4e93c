#include "local_delivery.h"

#include <assert.h>

#include "attempt_private.h"
#include "io/io.h"
#include "outcome.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"

static void give_back_from(struct transaction *transaction, uint32_t first, uint64_t now_ms)
{
    for (uint32_t i = transaction->rcpt_count; i-- > first;) {
        queue_give_back(transaction->queue, transaction->rcpts[i], now_ms);
        transaction->rcpts[i] = NULL;
    }
}

static void discard(struct attempt *attempt, struct transaction *transaction, uint32_t count)
{
    struct reply reply;
    if (attempt->site->settings->discard_as_bounce) {
        reply_make(&reply, 550, "5.0.0", "discarded, as this queue's type says");
    } else {
        reply_make(&reply, 250, "2.0.0", "discarded, as this queue's type says");
    }
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt *rcpt = transaction->rcpts[i];
        transaction->rcpts[i] = NULL; /* its queue's or the spool's from here on */
        outcome_of_rcpt(attempt->attempts->outcomes, attempt, rcpt, CLIENT_STAGE_FINAL, &reply,
                        false);
    }
}

/* False: nothing more may leave now; the site has been put where it waits. */
static bool deliver_next(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    struct transaction *transaction = schedule_next(attempts->scheduler, attempt);
    if (transaction == NULL) {
        return false;
    }
    uint64_t again_ms; /* not needed: an opening asks the rates itself */
    uint32_t granted =
        schedule_take_rate(attempts->scheduler, attempt, transaction->rcpt_count, &again_ms);
    give_back_from(transaction, granted, io_now_ms(attempts->io));
    if (granted > 0) {
        attempt->messages_sent++;
        discard(attempt, transaction, granted);
    }
    prepare_free(transaction);
    return granted > 0;
}

static uint64_t messages_max(const struct attempt *attempt)
{
    uint64_t max = attempt->site->settings->max_msg_per_connection;
    return max == 0 || max > LOCAL_MESSAGES_MAX ? LOCAL_MESSAGES_MAX : max;
}

void local_delivery_run(struct attempt *attempt)
{
    assert(attempt->state == ATTEMPT_RESOLVING && attempt->resolving == NULL);
    attempt->tls_level = TLS_NEED_DANE; /* it goes over no wire: every queue's need is met */
    attempt->queue = NULL;              /* of whichever queue of the site */
    uint64_t max = messages_max(attempt);
    while (attempt->messages_sent < max && deliver_next(attempt)) {
    }
}
