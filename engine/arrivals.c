#include "arrivals.h"

#include <assert.h>
#include <stdlib.h>

#include "io/io.h"
#include "outcome.h"
#include "schedule.h"
#include "spools.h"
#include "vmta/registry.h"

/* What goes to one worker. While the letter is away `batch` is the other worker's. */
struct handover {
    struct letter letter;
    struct arrivals *arrivals;
    uint32_t to;
    bool away;
    struct list batch, waiting; /* struct rcpt, by `ready` */
};

struct arrivals {
    struct io *io;
    struct spools *spools;
    struct mailboxes *mailboxes;
    struct registry *registry;
    struct scheduler **schedulers;
    uint32_t keeper, workers;
    bool record_received;
    struct handover handovers[];
};

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
    arrivals->keeper = options->keeper;
    arrivals->workers = options->workers;
    for (uint32_t i = 0; i < options->workers; i++) {
        struct handover *handover = &arrivals->handovers[i];
        handover->arrivals = arrivals;
        handover->to = i;
        list_init(&handover->batch);
        list_init(&handover->waiting);
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
    struct scheduler *scheduler = arrivals->schedulers[handover->to];
    struct list_node *node;
    while ((node = list_pop_front(&handover->batch)) != NULL) {
        schedule_arrive(scheduler, CONTAINER_OF(node, struct rcpt, ready));
    }
    letter->deliver = on_home;
    mailbox_post(arrivals->mailboxes, handover->to, arrivals->keeper, MAILBOX_URGENT, letter);
}

static void send_batch(struct handover *handover)
{
    struct arrivals *arrivals = handover->arrivals;
    list_splice_back(&handover->batch, &handover->waiting);
    handover->away = true;
    handover->letter.deliver = on_handover;
    mailbox_post(arrivals->mailboxes, arrivals->keeper, handover->to, MAILBOX_URGENT,
                 &handover->letter);
}

static uint32_t owner_of(const struct arrivals *arrivals, const struct rcpt *rcpt)
{
    if (arrivals->registry == NULL) {
        return arrivals->keeper;
    }
    char memory[SITE_NAME_MAX];
    struct buffer name;
    buffer_init(&name, memory, sizeof memory);
    struct bytes vmta = message_vmta(rcpt_message(rcpt));
    buffer_put_bytes(&name, rcpt_domain(rcpt));
    buffer_put_char(&name, '/');
    buffer_put_bytes(&name, vmta.len == 0 ? BYTES("{default}") : vmta);
    return registry_arrive(arrivals->registry, buffer_bytes(&name));
}

static void route(struct arrivals *arrivals, struct rcpt *rcpt)
{
    uint32_t owner = owner_of(arrivals, rcpt);
    if (owner == arrivals->keeper) {
        schedule_arrive(arrivals->schedulers[owner], rcpt);
        return;
    }
    struct handover *handover = &arrivals->handovers[owner];
    rcpt->ready = (struct list_node){0};
    rcpt->state = RCPT_MOVING;
    list_push_back(&handover->waiting, &rcpt->ready);
}

static void route_all(struct arrivals *arrivals, struct message *message)
{
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        if (message->rcpts[i].state != RCPT_FINAL) {
            route(arrivals, &message->rcpts[i]);
        }
    }
    for (uint32_t i = 0; i < arrivals->workers; i++) {
        struct handover *handover = &arrivals->handovers[i];
        if (!handover->away && !list_empty(&handover->waiting)) {
            send_batch(handover);
        }
    }
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
