#include "arrivals.h"

#include <assert.h>
#include <stdlib.h>

#include "io/io.h"
#include "outcome.h"
#include "routing.h"
#include "schedule.h"
#include "spools.h"
#include "vmta/registry.h"

/* What goes to one worker, or comes back from it. While the letter is away `batch` is the other
 * side's. */
struct handover {
    struct letter letter;
    struct arrivals *arrivals;
    uint32_t from, to; /* workers */
    bool away;
    void (*take)(struct handover *handover); /* the batch, on `to` */
    const struct config *config;             /* that it was routed by */
    struct list batch, waiting;              /* struct rcpt, by `ready` */
};

struct worker_handovers {
    struct handover out, back;
};

struct arrivals {
    struct io *io;
    struct spools *spools;
    struct mailboxes *mailboxes;
    struct registry *registry;
    struct mx_table *mx_table;
    struct scheduler **schedulers;
    const struct config *config;
    uint32_t keeper, workers;
    bool record_received;
    struct worker_handovers handovers[];
};

static void take_at_owner(struct handover *handover);
static void take_at_keeper(struct handover *handover);

static void init_handover(struct handover *handover, struct arrivals *arrivals, uint32_t from,
                          uint32_t to, void (*take)(struct handover *handover))
{
    handover->arrivals = arrivals;
    handover->from = from;
    handover->to = to;
    handover->take = take;
    list_init(&handover->batch);
    list_init(&handover->waiting);
}

struct arrivals *arrivals_create(const struct arrivals_options *options)
{
    struct arrivals *arrivals =
        calloc(1, sizeof *arrivals + options->workers * sizeof arrivals->handovers[0]);
    if (arrivals == NULL) {
        return NULL;
    }
    arrivals->io = options->io;
    arrivals->spools = options->spools;
    arrivals->mailboxes = options->mailboxes;
    arrivals->registry = options->registry;
    arrivals->mx_table = options->mx_table;
    arrivals->schedulers = options->schedulers;
    arrivals->config = options->config;
    arrivals->keeper = options->keeper;
    arrivals->workers = options->workers;
    for (uint32_t i = 0; i < options->workers; i++) {
        init_handover(&arrivals->handovers[i].out, arrivals, options->keeper, i, take_at_owner);
        init_handover(&arrivals->handovers[i].back, arrivals, i, options->keeper, take_at_keeper);
    }
    return arrivals;
}

void arrivals_destroy(struct arrivals *arrivals)
{
    free(arrivals);
}

void arrivals_record_received(struct arrivals *arrivals, bool wanted)
{
    arrivals->record_received = wanted;
}

void arrivals_reload(struct arrivals *arrivals, const struct config *config)
{
    arrivals->config = config;
}

/* ---- there and back ---- */

static void send_waiting(struct handover *handover);

static void on_home(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    handover->away = false;
    send_waiting(handover);
}

static void on_there(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    handover->take(handover);
    letter->deliver = on_home;
    mailbox_post(handover->arrivals->mailboxes, handover->to, handover->from, MAILBOX_URGENT,
                 letter);
}

/* What waits, unless the letter is away: then it goes when that is home. */
static void send_waiting(struct handover *handover)
{
    struct arrivals *arrivals = handover->arrivals;
    if (handover->away || list_empty(&handover->waiting)) {
        return;
    }
    list_splice_back(&handover->batch, &handover->waiting);
    handover->away = true;
    if (handover->from == arrivals->keeper) { /* whose it is, and who alone routes */
        handover->config = arrivals->config;
    }
    handover->letter.deliver = on_there;
    mailbox_post(arrivals->mailboxes, handover->from, handover->to, MAILBOX_URGENT,
                 &handover->letter);
}

static struct rcpt *next_rcpt(struct handover *handover)
{
    struct list_node *node = list_pop_front(&handover->batch);
    return node == NULL ? NULL : CONTAINER_OF(node, struct rcpt, ready);
}

static void add(struct handover *handover, struct rcpt *rcpt, const struct registry_site *site)
{
    rcpt->site = site;
    rcpt->ready = (struct list_node){0};
    rcpt->state = RCPT_MOVING;
    list_push_back(&handover->waiting, &rcpt->ready);
}

/* ---- names ---- */

static struct destination destination_in(struct bytes site_name)
{
    ptrdiff_t slash = bytes_find(site_name, '/', 0);
    assert(slash >= 0);
    return (struct destination){.domain = bytes_slice(site_name, 0, (size_t)slash),
                                .vmta = bytes_slice(site_name, (size_t)slash + 1, site_name.len)};
}

/* Counted in at its owner; NULL: no memory, or there is one worker only. */
static const struct registry_site *count_in(struct arrivals *arrivals, struct destination to)
{
    char memory[SITE_NAME_MAX];
    struct buffer name;
    if (arrivals->registry == NULL) {
        return NULL;
    }
    buffer_init(&name, memory, sizeof memory);
    buffer_put_bytes(&name, to.domain);
    buffer_put_char(&name, '/');
    buffer_put_bytes(&name, to.vmta.len == 0 ? BYTES("{default}") : to.vmta);
    return registry_arrive(arrivals->registry, buffer_bytes(&name));
}

/* ---- the keeper's part ---- */

/* `site`: where it is counted in; NULL: the keeper serves it. */
static void hand_over(struct arrivals *arrivals, struct rcpt *rcpt,
                      const struct registry_site *site, struct destination to)
{
    if (site == NULL || site->owner == arrivals->keeper) {
        rcpt->queue = NULL;
        schedule_arrive(arrivals->schedulers[arrivals->keeper], rcpt, to);
    } else {
        add(&arrivals->handovers[site->owner].out, rcpt, site);
    }
}

static void route(struct arrivals *arrivals, struct rcpt *rcpt)
{
    struct routing routing = {.config = arrivals->config,
                              .mx_table = arrivals->mx_table,
                              .now_ms = io_now_ms(arrivals->io)};
    struct destination to =
        routing_of(&routing, (struct destination){.vmta = message_vmta(rcpt_message(rcpt)),
                                                  .domain = rcpt_domain(rcpt)});
    hand_over(arrivals, rcpt, count_in(arrivals, to), to);
}

static void send_all(struct arrivals *arrivals)
{
    for (uint32_t i = 0; i < arrivals->workers; i++) {
        send_waiting(&arrivals->handovers[i].out);
    }
}

static void take_at_keeper(struct handover *handover)
{
    struct arrivals *arrivals = handover->arrivals;
    struct rcpt *rcpt;
    while ((rcpt = next_rcpt(handover)) != NULL) {
        if (rcpt->site == NULL) {
            route(arrivals, rcpt);
        } else {
            hand_over(arrivals, rcpt, rcpt->site, destination_in(rcpt->site->name));
        }
    }
    send_all(arrivals);
}

/* ---- the owners' part ---- */

static void take_at_owner(struct handover *handover)
{
    struct scheduler *scheduler = handover->arrivals->schedulers[handover->to];
    struct rcpt *rcpt;
    while ((rcpt = next_rcpt(handover)) != NULL) {
        struct destination to = destination_in(rcpt->site->name);
        rcpt->queue = NULL;
        schedule_arrive(scheduler, rcpt, to);
    }
    if (handover->config != scheduler->config) {
        schedule_check_places(scheduler); /* it was reloaded meanwhile */
    }
}

bool arrivals_send_on(struct arrivals *arrivals, uint32_t from, struct rcpt *rcpt,
                      struct destination to)
{
    struct handover *handover = &arrivals->handovers[from].back;
    bool named = to.domain.len > 0;
    if (named && arrivals->registry == NULL) {
        schedule_arrive(arrivals->schedulers[from], rcpt, to);
        return true;
    }
    const struct registry_site *site = named ? count_in(arrivals, to) : NULL;
    if (named && site == NULL) {
        return false;
    }
    add(handover, rcpt, site);
    send_waiting(handover);
    return true;
}

/* ---- messages ---- */

static void route_all(struct arrivals *arrivals, struct message *message)
{
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        if (message->rcpts[i].state != RCPT_FINAL) {
            route(arrivals, &message->rcpts[i]);
        }
    }
    send_all(arrivals);
}

void arrivals_take(void *owner, struct message *message)
{
    struct arrivals *arrivals = owner;
    message->accepted_ms = (int64_t)io_now_ms(arrivals->io);
    if (arrivals->record_received) {
        outcome_received(spools_of(arrivals->spools, message), arrivals->keeper, message);
    }
    route_all(arrivals, message);
}

void arrivals_take_found(void *owner, struct message *message)
{
    struct arrivals *arrivals = owner;
    /* The one place where age is a difference of wall times: there is no other clock over a
     * restart. A message from the future is taken as new. */
    int64_t age_ms = io_wall_ms(arrivals->io) - message->accepted_wall_ms;
    message->accepted_ms = (int64_t)io_now_ms(arrivals->io) - (age_ms < 0 ? 0 : age_ms);
    route_all(arrivals, message);
}
