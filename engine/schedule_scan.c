/* Sites are walked in order of making, up to the one that was the last when the scan began: so it
 * ends, however many are made meanwhile. Of one site each queue's waiting recipients are shown
 * first; whoever was taken meanwhile and came back is among them still (queue.h), so when none is
 * left the rest is with the site's connections, and is shown in one go. */
#include "schedule_scan.h"

#include <assert.h>
#include <fnmatch.h>
#include <string.h>

#include "attempt.h"
#include "io/io.h"
#include "queue.h"
#include "schedule.h"

/* ---- matching ---- */

static bool matches_text(struct scan *scan, const char *pattern, struct bytes value, int flags)
{
    if (pattern == NULL) {
        return true;
    }
    memcpy(scan->text, value.data, value.len); /* a field has 64 KiB at most: message.h */
    scan->text[value.len] = '\0';
    return fnmatch(pattern, scan->text, flags) == 0;
}

static bool matches(struct scan *scan, const struct rcpt *rcpt)
{
    const struct scan_selector *selector = &scan->selector;
    const struct message *message = rcpt_message(rcpt);
    struct bytes orig = message_sender(message);
    int64_t age_ms = (int64_t)io_now_ms(scan->scheduler->io) - message->accepted_ms;
    return (selector->older_than_ms == 0 || age_ms >= (int64_t)selector->older_than_ms) &&
           matches_text(scan, selector->rcpt, rcpt_address(rcpt), FNM_CASEFOLD) &&
           matches_text(scan, selector->orig, orig.len == 0 ? BYTES("<>") : orig, FNM_CASEFOLD) &&
           matches_text(scan, selector->job, message_job(message), 0) &&
           matches_text(scan, selector->envid, message_envid(message), 0);
}

static void look_at(struct scan *scan, struct queue *queue, struct rcpt *rcpt)
{
    scan->left -= scan->left > 0 ? 1 : 0;
    if (!scan->stopped && matches(scan, rcpt)) {
        scan->found(scan, queue, rcpt);
    }
}

/* ---- a site ---- */

static void begin_site(struct scan *scan, struct site *site)
{
    scan->site = site;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        queue_walk_begin(CONTAINER_OF(node, struct queue, site_node));
    }
}

/* True: all that wait were shown. */
static bool show_waiting(struct scan *scan, struct queue *queue)
{
    while (scan->left > 0 && !scan->held) {
        struct rcpt *rcpt = queue_walk_next(queue);
        if (rcpt == NULL) {
            /* Those aside come back a thousand a turn. */
            scan->left = queue->aside == NULL ? scan->left : 0;
            return queue->aside == NULL;
        }
        look_at(scan, queue, rcpt);
    }
    return false;
}

static void show_transaction(struct scan *scan, const struct transaction *transaction)
{
    for (uint32_t i = 0; i < transaction->rcpt_count && !scan->held; i++) {
        struct rcpt *rcpt = transaction->rcpts[i];
        if (rcpt != NULL && queue_walk_taken(transaction->queue, rcpt)) {
            look_at(scan, transaction->queue, rcpt);
        }
    }
}

static void show_taken(struct scan *scan, const struct site *site)
{
    for (struct list_node *a = list_first(&site->attempts); a != NULL;
         a = list_next(&site->attempts, a)) {
        const struct attempt *attempt = CONTAINER_OF(a, struct attempt, site_node);
        for (struct list_node *node = list_first(&attempt->on_wire); node != NULL;
             node = list_next(&attempt->on_wire, node)) {
            show_transaction(scan, CONTAINER_OF(node, struct transaction, node));
        }
        if (attempt->next != NULL) {
            show_transaction(scan, attempt->next);
        }
        if (attempt->at_local != NULL) {
            show_transaction(scan, attempt->at_local);
        }
    }
}

static void show_site(struct scan *scan)
{
    struct site *site = scan->site;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        if (!show_waiting(scan, CONTAINER_OF(node, struct queue, site_node))) {
            return;
        }
    }
    show_taken(scan, site);
    if (!scan->held) {
        scan->site = NULL;
    }
}

/* ---- all sites ---- */

static void step(struct scheduler *scheduler, struct scan *scan)
{
    scan->next = scan->next == scan->last ? NULL : list_next(&scheduler->all_sites, scan->next);
}

/* False: there is none. */
static bool next_site(struct scheduler *scheduler, struct scan *scan)
{
    while (scan->next != NULL && !scan->stopped && scan->left > 0) {
        struct site *site = CONTAINER_OF(scan->next, struct site, all_node);
        const char *pattern = scan->selector.queue;
        step(scheduler, scan);
        scan->left--;
        if (pattern == NULL || fnmatch(pattern, site->name, FNM_CASEFOLD) == 0) {
            begin_site(scan, site);
            return true;
        }
    }
    return scan->next != NULL && !scan->stopped;
}

void schedule_scan_forget(struct scheduler *scheduler, const struct site *site)
{
    struct scan *scan = scheduler->scan;
    if (scan == NULL) {
        return;
    }
    scan->site = scan->site == site ? NULL : scan->site;
    if (scan->next == &site->all_node) {
        step(scheduler, scan);
    } else if (scan->last == &site->all_node) {
        scan->last = site->all_node.prev; /* not before `next` */
    }
}

bool schedule_scan_begin(struct scheduler *scheduler, struct scan *scan)
{
    if (scheduler->scan != NULL) {
        return false;
    }
    assert(scan->found != NULL && scan->done != NULL);
    scan->scheduler = scheduler;
    scan->site = NULL;
    scan->held = scan->stopped = false;
    scan->next = list_first(&scheduler->all_sites);
    scan->last = scan->next == NULL ? NULL : scheduler->all_sites.head.prev;
    scheduler->scan = scan;
    return true;
}

void schedule_scan_go_on(struct scan *scan)
{
    scan->held = false;
}

bool schedule_scan_run(struct scheduler *scheduler)
{
    struct scan *scan = scheduler->scan;
    if (scan == NULL || scan->held) {
        return false;
    }
    scan->stopped = scan->stopped || scheduler->draining;
    for (scan->left = SCAN_PER_TURN; scan->left > 0 && !scan->held;) {
        if (scan->site == NULL && !next_site(scheduler, scan)) {
            scheduler->scan = NULL;
            scan->done(scan);
            return false;
        }
        if (scan->site != NULL) {
            show_site(scan);
        }
    }
    return !scan->held;
}
