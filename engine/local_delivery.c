#include "local_delivery.h"

#include <assert.h>

#include "attempt_private.h"
#include "io/io.h"
#include "local_job.h"
#include "outcome.h"
#include "queue.h"
#include "schedule.h"
#include "site.h"

void local_delivery_give_back(struct transaction *transaction, uint32_t first, uint64_t now_ms)
{
    for (uint32_t i = transaction->rcpt_count; i-- > first;) {
        queue_give_back(transaction->queue, transaction->rcpts[i], now_ms);
        transaction->rcpts[i] = NULL;
    }
}

/* NULL: nothing more may leave now; the site has been put where it waits. */
static struct transaction *take_next(struct attempt *attempt)
{
    struct attempts *attempts = attempt->attempts;
    struct transaction *transaction = schedule_next(attempts->scheduler, attempt);
    if (transaction == NULL) {
        return NULL;
    }
    uint64_t again_ms; /* not needed: an opening asks the rates itself */
    uint32_t granted =
        schedule_take_rate(attempts->scheduler, attempt, transaction->rcpt_count, &again_ms);
    local_delivery_give_back(transaction, granted, io_now_ms(attempts->io));
    if (granted == 0) {
        prepare_free(transaction);
        return NULL;
    }
    prepare_cut(transaction, granted);
    attempt->messages_sent++;
    return transaction;
}

void local_delivery_answer(struct attempt *attempt, struct transaction *transaction, uint32_t index,
                           const struct reply *reply)
{
    struct rcpt *rcpt = transaction->rcpts[index];
    transaction->rcpts[index] = NULL; /* its queue's or the spool's from here on */
    outcome_of_rcpt(attempt->attempts->outcomes, attempt, rcpt, CLIENT_STAGE_FINAL, reply, false);
}

static void discard(struct attempt *attempt, struct transaction *transaction)
{
    struct reply reply;
    if (attempt->site->settings->discard_as_bounce) {
        reply_make(&reply, 550, "5.0.0", "discarded, as this queue's type says");
    } else {
        reply_make(&reply, 250, "2.0.0", "discarded, as this queue's type says");
    }
    for (uint32_t i = 0; i < transaction->rcpt_count; i++) {
        local_delivery_answer(attempt, transaction, i, &reply);
    }
    prepare_free(transaction);
}

static bool may_take_more(const struct attempt *attempt)
{
    if (attempt->local != NULL && !local_job_fits(attempt->local)) {
        return false;
    }
    uint64_t max = attempt->site->settings->max_msg_per_connection;
    max = max == 0 || max > LOCAL_MESSAGES_MAX ? LOCAL_MESSAGES_MAX : max;
    return attempt->messages_sent < max && attempt->state != ATTEMPT_CLOSING && !attempt->quitting;
}

void local_delivery_go_on(struct attempt *attempt)
{
    struct transaction *transaction;
    while (may_take_more(attempt) && (transaction = take_next(attempt)) != NULL) {
        if (attempt->local != NULL) {
            attempt->at_local = transaction;
            local_job_deliver(attempt->local, transaction);
            return; /* it comes back here */
        }
        discard(attempt, transaction);
    }
    local_job_destroy(attempt->local);
    attempt->local = NULL;
    attempt_finish(attempt);
}

void local_delivery_run(struct attempt *attempt)
{
    assert(attempt->state == ATTEMPT_RESOLVING && attempt->resolving == NULL);
    attempt->tls_level = TLS_NEED_DANE; /* it goes over no wire: every queue's need is met */
    attempt->queue = NULL;              /* of whichever queue of the site */
    if (local_delivery_is_work(attempt->site->settings)) {
        attempt->local = local_job_create(attempt);
        if (attempt->local == NULL) {
            attempt_finish(attempt); /* no memory: the next one may have some */
            return;
        }
        schedule_opened(attempt->attempts->scheduler, attempt);
    }
    local_delivery_go_on(attempt);
}
