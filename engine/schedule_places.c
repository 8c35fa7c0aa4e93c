/* Recipients that wait in the wrong site, since the rules that say where they belong have changed
 * (policy/destination.h): they go back to the keeper, which knows where to.
 *
 * After a reload a site that may hold such puts all that waits aside, at once, and looks at so
 * many each turn; those that belong here join their queue again. What is on the wire ends here,
 * and goes when it is put off; its site then stays astray. */
#include <string.h>

#include "attempt.h"
#include "io/io.h"
#include "policy/config.h"
#include "policy/destination.h"
#include "schedule.h"
#include "schedule_private.h"

#define STRAYS_PER_TURN 1024

static struct bytes site_vmta(const struct site *site)
{
    return bytes_from_string(site->name + site->domain_len + 1);
}

static bool belongs(const struct site *site, struct destination from)
{
    struct destination to = destination_of(site->scheduler->config, from);
    struct bytes vmta = to.vmta.len == 0 ? BYTES("{default}") : to.vmta;
    return bytes_equal_nocase(to.domain, site_domain(site)) &&
           bytes_equal_nocase(vmta, site_vmta(site));
}

static struct destination home_of(const struct rcpt *rcpt)
{
    return (struct destination){.vmta = message_vmta(rcpt_message(rcpt)),
                                .domain = rcpt_domain(rcpt)};
}

bool schedule_is_home(const struct site *site, const struct rcpt *rcpt)
{
    struct destination home = home_of(rcpt);
    struct bytes vmta = home.vmta.len == 0 ? BYTES("{default}") : home.vmta;
    return bytes_equal_nocase(home.domain, site_domain(site)) &&
           bytes_equal_nocase(vmta, site_vmta(site));
}

/* ---- setting aside ---- */

static void put_aside(struct site *site)
{
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        struct list_node *next;
        for (struct list_node *a = list_first(&site->attempts); a != NULL; a = next) {
            next = list_next(&site->attempts, a);
            attempt_recall(CONTAINER_OF(a, struct attempt, site_node), queue);
        }
        queue_put_aside(queue);
    }
    schedule_mark(site->scheduler, site);
}

static void check_place(void *owner, struct site *site)
{
    struct destination own = {.vmta = site_vmta(site), .domain = site_domain(site)};
    site->astray = !belongs(site, own);
    if (site->astray || site->has_guests) {
        put_aside(site);
    }
}

void schedule_check_places(struct scheduler *scheduler)
{
    schedule_each_site(scheduler, "*", check_place, NULL);
}

/* ---- looking at those put aside ---- */

static void give_back(struct site *site, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms)
{
    struct scheduler *scheduler = site->scheduler;
    if (due_ms > now_ms) {
        rcpt->due_wall_ms = io_wall_ms(scheduler->io) + (int64_t)(due_ms - now_ms);
    }
    schedule_rcpt_gone(scheduler, site, rcpt);
    scheduler->returned(scheduler->owner, rcpt);
}

static uint32_t return_strays(struct site *site, struct queue *queue, uint32_t most)
{
    uint64_t now_ms = io_now_ms(site->scheduler->io), due_ms;
    struct rcpt *rcpt;
    uint32_t count = 0;
    while (count < most && (rcpt = queue_take_aside(queue, &due_ms)) != NULL) {
        count++;
        if (belongs(site, home_of(rcpt))) {
            queue_put(queue, rcpt, due_ms, now_ms);
        } else {
            give_back(site, rcpt, due_ms, now_ms);
        }
    }
    return count;
}

static bool waits(const struct queue *queue)
{
    return queue->ready_count + queue->deferred_count > 0;
}

void schedule_return_strays(struct site *site)
{
    uint32_t left = STRAYS_PER_TURN;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        if (site->astray && queue->aside == NULL && waits(queue)) {
            queue_put_aside(queue); /* given back by a connection, or put off */
        }
        left -= return_strays(site, queue, left);
        if (queue->aside != NULL) {
            schedule_mark(site->scheduler, site); /* the rest in the next turn */
        }
    }
}
