#include "arrivals.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#include "io/io.h"
#include "outcome.h"
#include "policy/destination.h"
#include "schedule.h"
#include "spools.h"
#include "vmta/registry.h"

/* What goes to one worker, or comes back from it. While the letter is away `batch` is the other
 * side's. */
struct handover {
    struct letter letter;
    struct arrivals *arrivals;
    uint32_t worker;
    bool away;
    const struct config *config; /* that `batch` was routed by */
    struct list batch, waiting;  /* struct rcpt, by `ready` */
};

struct worker_handovers {
    struct handover out, back;
};

struct arrivals {
    struct io *io;
    struct spools *spools;
    struct mailboxes *mailboxes;
    struct registry *registry;
    struct scheduler **schedulers;
    const struct config *config;
    uint32_t keeper, workers;
    bool record_received;
    struct worker_handovers handovers[];
};

static void init_handover(struct arrivals *arrivals, struct handover *handover, uint32_t worker)
{
    handover->arrivals = arrivals;
    handover->worker = worker;
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
    arrivals->schedulers = options->schedulers;
    arrivals->config = options->config;
    arrivals->keeper = options->keeper;
    arrivals->workers = options->workers;
    for (uint32_t i = 0; i < options->workers; i++) {
        init_handover(arrivals, &arrivals->handovers[i].out, i);
        init_handover(arrivals, &arrivals->handovers[i].back, i);
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

/* ---- to the owners ---- */

static void send_batch(struct handover *handover);

static void on_home(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    handover->away = false;
    if (!list_empty(&handover->waiting)) {
        send_batch(handover);
    }
}

/* On the owner's worker. */
static void on_handover(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    struct arrivals *arrivals = handover->arrivals;
    struct scheduler *scheduler = arrivals->schedulers[handover->worker];
    struct list_node *node;
    while ((node = list_pop_front(&handover->batch)) != NULL) {
        struct rcpt *rcpt = CONTAINER_OF(node, struct rcpt, ready);
        const struct registry_site *site = rcpt->site;
        rcpt->queue = NULL;
        schedule_arrive(scheduler, rcpt, site->name);
    }
    if (handover->config != scheduler->config) {
        schedule_check_places(scheduler); /* it was reloaded meanwhile */
    }
    letter->deliver = on_home;
    mailbox_post(arrivals->mailboxes, handover->worker, arrivals->keeper, MAILBOX_URGENT, letter);
}

static void send_batch(struct handover *handover)
{
    struct arrivals *arrivals = handover->arrivals;
    list_splice_back(&handover->batch, &handover->waiting);
    handover->away = true;
    handover->config = arrivals->config;
    handover->letter.deliver = on_handover;
    mailbox_post(arrivals->mailboxes, arrivals->keeper, handover->worker, MAILBOX_URGENT,
                 &handover->letter);
}

/* "domain/vmta"; a domain in a queue's name is in lower case. */
static struct bytes site_name(const struct arrivals *arrivals, const struct rcpt *rcpt,
                              char memory[SITE_NAME_MAX])
{
    struct buffer name;
    buffer_init(&name, memory, SITE_NAME_MAX);
    struct destination to = destination_of(
        arrivals->config, (struct destination){.vmta = message_vmta(rcpt_message(rcpt)),
                                               .domain = rcpt_domain(rcpt)});
    for (size_t i = 0; i < to.domain.len; i++) {
        buffer_put_char(&name, (char)tolower((unsigned char)to.domain.data[i]));
    }
    buffer_put_char(&name, '/');
    buffer_put_bytes(&name, to.vmta.len == 0 ? BYTES("{default}") : to.vmta);
    return buffer_bytes(&name);
}

static void link_moving(struct list *list, struct rcpt *rcpt)
{
    rcpt->ready = (struct list_node){0};
    rcpt->state = RCPT_MOVING;
    list_push_back(list, &rcpt->ready);
}

/* `site`: where it is counted in; NULL: the keeper serves it. */
static void hand_over(struct arrivals *arrivals, struct rcpt *rcpt,
                      const struct registry_site *site, struct bytes name)
{
    rcpt->queue = NULL;
    if (site == NULL || site->owner == arrivals->keeper) {
        schedule_arrive(arrivals->schedulers[arrivals->keeper], rcpt, name);
        return;
    }
    rcpt->site = site;
    link_moving(&arrivals->handovers[site->owner].out.waiting, rcpt);
}

static void route(struct arrivals *arrivals, struct rcpt *rcpt)
{
    char memory[SITE_NAME_MAX];
    struct bytes name = site_name(arrivals, rcpt, memory);
    hand_over(arrivals, rcpt,
              arrivals->registry == NULL ? NULL : registry_arrive(arrivals->registry, name), name);
}

static void send_batches(struct arrivals *arrivals)
{
    for (uint32_t i = 0; i < arrivals->workers; i++) {
        struct handover *handover = &arrivals->handovers[i].out;
        if (!handover->away && !list_empty(&handover->waiting)) {
            send_batch(handover);
        }
    }
}

/* ---- back from the owners ---- */

static void send_back(struct handover *handover);

/* On the owner's worker. */
static void on_back_home(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    handover->away = false;
    if (!list_empty(&handover->waiting)) {
        send_back(handover);
    }
}

static void on_back(struct letter *letter)
{
    struct handover *handover = CONTAINER_OF(letter, struct handover, letter);
    struct arrivals *arrivals = handover->arrivals;
    struct list_node *node;
    while ((node = list_pop_front(&handover->batch)) != NULL) {
        struct rcpt *rcpt = CONTAINER_OF(node, struct rcpt, ready);
        if (rcpt->site == NULL) {
            route(arrivals, rcpt);
        } else {
            hand_over(arrivals, rcpt, rcpt->site, rcpt->site->name);
        }
    }
    send_batches(arrivals);
    letter->deliver = on_back_home;
    mailbox_post(arrivals->mailboxes, arrivals->keeper, handover->worker, MAILBOX_URGENT, letter);
}

static void send_back(struct handover *handover)
{
    struct arrivals *arrivals = handover->arrivals;
    list_splice_back(&handover->batch, &handover->waiting);
    handover->away = true;
    handover->letter.deliver = on_back;
    mailbox_post(arrivals->mailboxes, handover->worker, arrivals->keeper, MAILBOX_URGENT,
                 &handover->letter);
}

bool arrivals_send_on(struct arrivals *arrivals, uint32_t from, struct rcpt *rcpt,
                      struct bytes site_name)
{
    struct handover *handover = &arrivals->handovers[from].back;
    rcpt->site = NULL;
    if (site_name.len > 0 && arrivals->registry == NULL) {
        schedule_arrive(arrivals->schedulers[from], rcpt, site_name);
        return true;
    }
    if (site_name.len > 0) {
        rcpt->site = registry_arrive(arrivals->registry, site_name);
        if (rcpt->site == NULL) {
            return false;
        }
    }
    link_moving(&handover->waiting, rcpt);
    if (!handover->away) {
        send_back(handover);
    }
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
    send_batches(arrivals);
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
