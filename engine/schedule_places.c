/* Recipients that wait in the wrong site, since the rules that say where they belong have changed,
 * or what is known of MX hosts (routing.h): they go back to the keeper, which knows where to. And
 * those of a site in backoff mode with backoff-reroute-to-virtual-mta: they go on to that virtual
 * MTA, and stay there when the mode ends.
 *
 * After a reload a site that may hold such puts all that waits aside, at once, and looks at so
 * many each turn; those that belong here join their queue again. What is on the wire ends here,
 * and goes when it is put off; its site then stays astray. */
#include <stdio.h>
#include <string.h>

#include "attempt.h"
#include "io/io.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "routing.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site_mode.h"

#define STRAYS_PER_TURN   1024
#define NO_MEMORY_WAIT_MS 1000

static struct bytes site_vmta(const struct site *site)
{
    return bytes_from_string(site->name + site->domain_len + 1);
}

static bool is_named(const struct site *site, struct destination name)
{
    struct bytes vmta = name.vmta.len == 0 ? BYTES("{default}") : name.vmta;
    return bytes_equal_nocase(name.domain, site_domain(site)) &&
           bytes_equal_nocase(vmta, site_vmta(site));
}

static struct routing routing_now(const struct scheduler *scheduler)
{
    return (struct routing){.config = scheduler->config,
                            .mx_table = scheduler->mx_table,
                            .now_ms = io_now_ms(scheduler->io)};
}

static bool belongs(const struct site *site, struct destination from)
{
    struct routing routing = routing_now(site->scheduler);
    return is_named(site, routing_of(&routing, from));
}

static struct destination home_of(const struct rcpt *rcpt)
{
    return (struct destination){.vmta = message_vmta(rcpt_message(rcpt)),
                                .domain = rcpt_domain(rcpt)};
}

/* By the hosts of its domain, whatever virtual MTA carries it: it may have been sent here by rules
 * that the message's own names do not tell (stand-ins, pools). */
static bool hosts_lead_here(const struct site *site, const struct rcpt *rcpt)
{
    struct routing routing = routing_now(site->scheduler);
    return bytes_equal_nocase(routing_of(&routing, home_of(rcpt)).domain, site_domain(site));
}

bool schedule_is_home(const struct site *site, const struct rcpt *rcpt)
{
    return is_named(site, home_of(rcpt));
}

/* Empty: nobody takes over. */
static struct bytes stand_in(const struct site *site)
{
    struct bytes to = site->settings->backoff_reroute_to_vmta;
    bool rerouted = site_in_backoff(site) && !bytes_equal_nocase(to, site_vmta(site));
    return rerouted ? to : BYTES("");
}

/* ---- setting aside ---- */

static void put_queue_aside(struct queue *queue)
{
    struct site *site = queue->site;
    site->recheck = !queue_put_aside(queue) || site->recheck;
    site->sifting = true;
}

void schedule_put_aside(struct site *site)
{
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        struct list_node *next;
        for (struct list_node *a = list_first(&site->attempts); a != NULL; a = next) {
            next = list_next(&site->attempts, a);
            attempt_recall(CONTAINER_OF(a, struct attempt, site_node), queue);
        }
        put_queue_aside(queue);
    }
    schedule_mark(site->scheduler, site);
}

static bool is_astray(const struct site *site)
{
    struct destination own = {.vmta = site_vmta(site), .domain = site_domain(site)};
    return !belongs(site, own) || stand_in(site).len > 0;
}

static void check_place(void *owner, struct site *site)
{
    (void)owner;
    site->astray = is_astray(site);
    if (site->astray || site->has_guests) {
        schedule_put_aside(site);
    }
}

void schedule_check_stand_in(struct site *site)
{
    if (site->settings->backoff_reroute_to_vmta.len == 0) {
        return;
    }
    site->astray = is_astray(site);
    if (site->astray) {
        schedule_put_aside(site);
    }
}

void schedule_check_places(struct scheduler *scheduler)
{
    schedule_each_site(scheduler, "*", check_place, NULL);
}

/* ---- looking at those put aside ---- */

/* True: it is another site's now. */
static bool send_on(struct site *site, struct rcpt *rcpt, uint64_t due_ms, uint64_t now_ms)
{
    struct scheduler *scheduler = site->scheduler;
    struct destination to = {.vmta = stand_in(site)};
    if (to.vmta.len == 0 && schedule_in_stalled_pool(site, rcpt, &to.vmta) && to.vmta.len == 0) {
        return false;
    }
    if (to.vmta.len > 0) {
        due_ms = 0; /* the waiting was for this virtual MTA's sake */
        to.domain = site_domain(site);
    } else if (belongs(site, home_of(rcpt))) {
        return false;
    }
    rcpt->due_wall_ms =
        due_ms > now_ms ? io_wall_ms(scheduler->io) + (int64_t)(due_ms - now_ms) : 0;
    if (!scheduler->send_on(scheduler->owner, rcpt, to)) {
        site->astray = false; /* no memory: not again before the next change */
        return false;
    }
    return true;
}

static uint32_t return_strays(struct site *site, struct queue *queue, uint32_t most)
{
    struct scheduler *scheduler = site->scheduler;
    uint64_t now_ms = io_now_ms(scheduler->io), due_ms;
    struct rcpt *rcpt;
    uint32_t count = 0;
    while (count < most && (rcpt = queue_take_aside(queue, &due_ms)) != NULL) {
        count++;
        if (send_on(site, rcpt, due_ms, now_ms)) {
            schedule_rcpt_gone(scheduler, site, rcpt);
        } else {
            queue_put_back(queue, rcpt, due_ms, now_ms);
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
    site->astray = site->astray && is_astray(site); /* what is known of hosts ends by itself */
    bool all = site->astray || site->recheck; /* astray: given back by a connection, or put off */
    site->recheck = site->sifting = false;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        if (all && waits(queue)) {
            put_queue_aside(queue);
        }
        left -= return_strays(site, queue, left);
        if (queue->aside != NULL) {
            site->sifting = true; /* the rest in the next turn */
            schedule_mark(site->scheduler, site);
        }
    }
    site->sifting = site->sifting || site->recheck;
}

/* ---- roll-ups ---- */

/* Whose MX hosts decide where it goes. */
static struct bytes domain_by_rules(const struct site *site, const struct rcpt *rcpt)
{
    const struct routing routing = routing_now(site->scheduler);
    return routing_by_rules(&routing, home_of(rcpt)).domain;
}

static bool is_looked_up_by_rcpt(const struct site *site)
{
    return site->is_rollup && site->settings->smtp_hosts.count == 0;
}

bool schedule_domain_to_resolve(const struct site *site, const struct queue *queue,
                                char out[DNS_NAME_MAX])
{
    struct bytes domain = site_domain(site);
    if (is_looked_up_by_rcpt(site)) {
        const struct rcpt *rcpt = queue_first_ready(queue);
        if (rcpt == NULL) {
            return false;
        }
        domain = domain_by_rules(site, rcpt);
    }
    snprintf(out, DNS_NAME_MAX, "%.*s", BYTES_FMT(domain));
    return true;
}

/* The hosts of `domain` are these: may mail of this queue go to them? Mail of another virtual MTA,
 * which this one's rules for the domain do not know, says it itself while it is the first. */
static bool hosts_serve(const struct site *site, const struct queue *queue, struct bytes domain)
{
    struct routing routing = routing_now(site->scheduler);
    struct destination of = {.vmta = site_vmta(site), .domain = domain};
    if (is_named(site, routing_by_hosts(&routing, of))) {
        return true;
    }
    const struct rcpt *rcpt = is_looked_up_by_rcpt(site) ? queue_first_ready(queue) : NULL;
    return rcpt != NULL && bytes_equal(domain_by_rules(site, rcpt), domain) &&
           hosts_lead_here(site, rcpt);
}

bool schedule_hosts_known(struct site *site, const struct queue *queue, const char *domain,
                          const struct mx_hosts *mx, uint64_t until_ms)
{
    struct scheduler *scheduler = site->scheduler;
    uint64_t now_ms = io_now_ms(scheduler->io);
    if (scheduler->mx_table == NULL || !config_has_rollups(scheduler->config) ||
        mx->best.len == 0) {
        return true;
    }
    mx_table_learn(scheduler->mx_table, bytes_from_string(domain), mx, now_ms, until_ms);
    if (hosts_serve(site, queue, bytes_from_string(domain))) {
        return true;
    }
    site->astray = is_astray(site);
    site->hold_opening_ms = now_ms + NO_MEMORY_WAIT_MS; /* should they have to stay after all */
    schedule_put_aside(site);
    return false;
}

uint32_t schedule_keep_fitting(struct site *site, struct queue *queue, struct rcpt **rcpts,
                               uint32_t count)
{
    uint64_t now_ms = io_now_ms(site->scheduler->io);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt *rcpt = rcpts[i];
        if (hosts_lead_here(site, rcpt)) {
            rcpts[kept++] = rcpt;
            continue;
        }
        queue_done(queue, rcpt);
        if (send_on(site, rcpt, 0, now_ms)) {
            schedule_rcpt_gone(site->scheduler, site, rcpt);
        } else {
            queue_put(queue, rcpt, now_ms + NO_MEMORY_WAIT_MS, now_ms);
        }
    }
    return kept;
}
