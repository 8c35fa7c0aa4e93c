#include "outcome.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attempt.h"
#include "base/logger.h"
#include "io/io.h"
#include "journal.h"
#include "local_delivery.h"
#include "outcome_rules.h"
#include "policy/bounce.h"
#include "policy/domain.h"
#include "policy/pattern.h"
#include "policy/retry.h"
#include "policy/rules.h"
#include "queue.h"
#include "rcpt_sender.h"
#include "schedule.h"
#include "site.h"
#include "site_mode.h"
#include "smtp/status.h"
#include "spools.h"

#define DIAG_MAX (REPLY_TEXT_MAX + 32)

struct outcomes {
    struct io *io;
    struct spools *spools;
    struct scheduler *scheduler;
    uint32_t worker;
    const struct rule_list *bounce_rules;
    struct pattern_matcher *matcher;
    /* The reply sorted last: that of a final dot or a greeting is many recipients'. */
    char sorted_diag[DIAG_MAX];
    size_t sorted_len; /* 0: none */
    enum bounce_about sorted_about;
    struct bounce_verdict sorted;
    bool costly_logged; /* since the configuration was loaded */
    struct outcome_rules rules;
    char encoded[EVENT_BYTES_MAX];
};

/* Texts an event points to while it is encoded. */
struct event_texts {
    char status[160], diag[DIAG_MAX], message_id[21], orig[RCPT_SENDER_MAX];
};

struct outcomes *outcomes_create(const struct outcomes_options *options)
{
    struct outcomes *outcomes = calloc(1, sizeof *outcomes);
    struct pattern_matcher *matcher = pattern_matcher_create();
    if (outcomes == NULL || matcher == NULL) {
        free(outcomes);
        pattern_matcher_destroy(matcher);
        return NULL;
    }
    outcomes->io = options->io;
    outcomes->spools = options->spools;
    outcomes->scheduler = options->scheduler;
    outcomes->worker = options->worker;
    outcomes->matcher = matcher;
    outcomes_reload(outcomes, options->config);
    return outcomes;
}

void outcomes_destroy(struct outcomes *outcomes)
{
    if (outcomes != NULL) {
        pattern_matcher_destroy(outcomes->matcher);
    }
    free(outcomes);
}

void outcomes_reload(struct outcomes *outcomes, const struct config *config)
{
    outcomes->bounce_rules = config_rules(config, SCOPE_BOUNCE_PATTERNS, BYTES(""));
    outcomes->sorted_len = 0;
    outcomes->costly_logged = false;
    outcome_rules_reset(&outcomes->rules, outcomes->matcher);
}

/* ---- building the event ---- */

static void add_message(struct event *event, struct event_texts *texts, const struct spool *spool,
                        const struct message *message)
{
    event->queued_wall_ms = (uint64_t)message->accepted_wall_ms;
    event->orig = message_sender(message);
    event->job = message_job(message);
    event->envid = message_envid(message);
    event->vmta = message_vmta(message);
    event->user = message_user(message);
    event->vmta_pool = message_pool(message);
    event->headers = message_headers(message);
    bool picked_up = (message->flags & MESSAGE_PICKED_UP) != 0;
    event->source_type = picked_up ? BYTES("pickup") : BYTES("smtp");
    if ((message->flags & MESSAGE_SOURCE_HIDDEN) == 0) {
        event->source_host = message_helo(message);
        event->source_ip = message_source_ip(message);
    }
    message_id_text(spool_log_id(spool), message_id(message), texts->message_id);
    event->message_id = bytes_from_string(texts->message_id);
}

static void add_rcpt(struct event *event, const struct rcpt *rcpt)
{
    event->rcpt = rcpt_address(rcpt);
    event->orcpt = rcpt_orcpt(rcpt);
    event->attempt = rcpt->attempts;
}

static void add_attempt(struct event *event, const struct site *site, const struct attempt *attempt)
{
    event->delivery_type = local_delivery_name(site->settings);
    if (attempt == NULL) {
        return;
    }
    event->mx_host = bytes_from_string(attempt->host_name);
    event->delivery_source_ip = bytes_from_string(attempt->source_text);
    event->delivery_destination_ip = bytes_from_string(attempt->peer_text);
    event->esmtp_available = bytes_from_string(attempt->client.peer.names);
}

static void add_tls(struct event *event, const struct attempt *attempt, struct tls_info *info)
{
    if (attempt == NULL || attempt->connection.tls == NULL || !attempt->client.secured) {
        event->tls = BYTES("none");
        return;
    }
    tls_info(attempt->connection.tls, info);
    event->tls = info->verified ? BYTES("pkix") : BYTES("opportunistic");
    event->tls_protocol = bytes_from_string(info->protocol);
    event->tls_cipher = bytes_from_string(info->cipher);
}

static void add_reply(struct event *event, struct event_texts *texts, const struct reply *reply)
{
    struct buffer out;
    buffer_init(&out, texts->status, sizeof texts->status);
    status_print(reply, &out);
    event->dsn_status = buffer_bytes(&out);
    buffer_init(&out, texts->diag, sizeof texts->diag);
    buffer_put_string(&out,
                      bytes_equal(event->delivery_type, BYTES("smtp")) ? "smtp;" : "x-posthaste;");
    reply_print(reply, &out);
    event->dsn_diag = buffer_bytes(&out);
    event->smtp_code = reply->code;
}

static void note_costly(struct outcomes *outcomes, const struct event *event)
{
    const struct rule *rule = outcomes->sorted.rule;
    outcomes->scheduler->costly_replies++;
    if (!outcomes->costly_logged) {
        outcomes->costly_logged = true;
        LOG_WARNING("queue %.*s: sorting a reply of %zu bytes: the rule at %s:%u takes too long "
                    "for it: the category is other (said once, counted in show status)",
                    BYTES_FMT(event->queue), event->dsn_diag.len, rule->origin.file,
                    rule->origin.line);
    }
}

static enum bounce_about about_of(const struct queue *queue, const struct event *event,
                                  const struct reply *reply)
{
    bool rcpt = bytes_equal(event->stage, BYTES("rcpt")) ||
                bytes_equal(event->stage, BYTES("body")) ||
                bytes_equal(event->stage, BYTES("final"));
    bool no_mailbox = reply->code == 553 && !queue->site->settings->smtp_553_means_invalid_mailbox;
    return rcpt && !no_mailbox ? BOUNCE_ABOUT_RECIPIENT : BOUNCE_ABOUT_SESSION;
}

/* The diagnosis says all that the rules see of a reply. */
static void add_category(struct outcomes *outcomes, const struct queue *queue, struct event *event,
                         const struct reply *reply)
{
    enum bounce_about about = about_of(queue, event, reply);
    struct bytes diag = event->dsn_diag;
    assert(diag.len > 0 && diag.len <= DIAG_MAX);
    if (about != outcomes->sorted_about ||
        !bytes_equal(diag, bytes_of(outcomes->sorted_diag, outcomes->sorted_len))) {
        outcomes->sorted = bounce_classify(outcomes->bounce_rules, outcomes->matcher, reply, about);
        outcomes->sorted_about = about;
        memcpy(outcomes->sorted_diag, diag.data, diag.len);
        outcomes->sorted_len = diag.len;
        if (outcomes->sorted.too_costly) {
            note_costly(outcomes, event);
        }
    }
    event->bounce_category = outcomes->sorted.category;
    event->bounce_class = bytes_from_string(outcomes->sorted.class);
}

/* What rules and `show` say goes by the peer's own words; this is for the records alone. */
static void replace_421(const struct queue *queue, struct event *event, const struct reply *reply)
{
    if (reply->code == 421 && queue->site->settings->replace_smtp_421_response) {
        /* RFC 5321 4.2.3 */
        event->dsn_diag = BYTES("smtp;421 Service not available, closing transmission channel");
    }
}

static struct bytes encode(struct outcomes *outcomes, const struct event *event)
{
    struct buffer out;
    buffer_init(&out, outcomes->encoded, sizeof outcomes->encoded);
    bool fits = journal_encode(&out, event);
    assert(fits);
    return buffer_bytes(&out);
}

/* The record is written all the same, for the sinks that are no accounting files. */
static bool is_disabled(const struct domain_settings *settings, enum event_type type)
{
    switch (type) {
    case EVENT_DELIVERED:
        return (settings->disable_acct_records & RECORD_BIT(RECORD_DELIVERY)) != 0;
    case EVENT_BOUNCED:
        return (settings->disable_acct_records & RECORD_BIT(RECORD_BOUNCE)) != 0;
    case EVENT_TRANSIENT:
        return (settings->disable_acct_records & RECORD_BIT(RECORD_TRANSIENT)) != 0;
    case EVENT_TRANSIENT_QUEUE:
        return (settings->disable_acct_records & RECORD_BIT(RECORD_QUEUE)) != 0;
    case EVENT_RECEIVED:
        break;
    }
    return false;
}

static void put(struct outcomes *outcomes, enum spool_outcome_kind kind, const struct site *site,
                struct rcpt *rcpt, struct event *event)
{
    event->unaccounted = is_disabled(site->settings, event->type);
    struct spool *spool = rcpt == NULL ? spools_for_event(outcomes->spools)
                                       : spools_of(outcomes->spools, rcpt_message(rcpt));
    spool_put_outcome(
        spool, outcomes->worker,
        &(struct spool_outcome){.kind = kind, .rcpt = rcpt, .event = encode(outcomes, event)});
}

/* ---- a recipient's answer ---- */

/* What every record about a recipient has in common. */
static void fill_rcpt_event(struct outcomes *outcomes, struct event *event,
                            struct event_texts *texts, struct tls_info *tls,
                            const struct attempt *attempt, const struct queue *queue,
                            const struct rcpt *rcpt, const struct reply *reply)
{
    event->logged_wall_ms = (uint64_t)io_wall_ms(outcomes->io);
    event->queue = bytes_from_string(queue->site->name);
    const struct message *message = rcpt_message(rcpt);
    add_message(event, texts, spools_of(outcomes->spools, message), message);
    event->orig = rcpt_sender(rcpt, texts->orig);
    event->vmta = bytes_from_string(queue->site->lane->vmta.name); /* it may have been rerouted */
    add_rcpt(event, rcpt);
    add_attempt(event, queue->site, attempt);
    add_tls(event, attempt, tls);
    add_reply(event, texts, reply);
    event->delivery_size = message->body_size;
}

static void deliver(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt,
                    struct event *event)
{
    event->type = EVENT_DELIVERED;
    if (queue->retry_index != 0) {
        queue->retry_index = 0;
        schedule_clock_moved(outcomes->scheduler, queue);
    }
    if (site_in_backoff(queue->site) && queue->site->settings->backoff_to_normal_after_delivery) {
        schedule_leave_backoff(queue->site, "a message was delivered");
    }
    queue->site->delivered++;
    outcomes->scheduler->delivered_rcpts++;
    queue_done(queue, rcpt);
    schedule_rcpt_final(outcomes->scheduler, queue, rcpt);
    put(outcomes, SPOOL_FINAL, queue->site, rcpt, event);
}

static void bounce(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt,
                   struct event *event, const struct reply *reply)
{
    event->type = EVENT_BOUNCED;
    add_category(outcomes, queue, event, reply);
    queue->site->bounced++;
    outcomes->scheduler->bounced_rcpts++;
    schedule_rcpt_final(outcomes->scheduler, queue, rcpt);
    put(outcomes, SPOOL_FINAL, queue->site, rcpt, event);
}

/* In backoff mode not before the queue itself would be retried; told_ms: the peer has said when. */
static uint64_t rcpt_wait_ms(const struct site *site, const struct rcpt *rcpt, uint64_t told_ms)
{
    if (told_ms > 0) {
        return told_ms;
    }
    uint64_t wait_ms =
        retry_interval_ms(&site->settings->retry_recipients_after, rcpt->retry_index);
    if (site_in_backoff(site)) {
        uint64_t backoff_ms = retry_interval_ms(site_retry_after(site), rcpt->retry_index);
        wait_ms = backoff_ms > wait_ms ? backoff_ms : wait_ms;
    }
    return wait_ms;
}

static void defer(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt,
                  struct event *event, const struct reply *reply, uint64_t told_ms)
{
    uint64_t now_ms = io_now_ms(outcomes->io);
    uint64_t wait_ms = rcpt_wait_ms(queue->site, rcpt, told_ms);
    if (rcpt->retry_index < UINT8_MAX) {
        rcpt->retry_index++;
    }
    rcpt->due_wall_ms = io_wall_ms(outcomes->io) + (int64_t)wait_ms;
    event->type = EVENT_TRANSIENT;
    event->next_attempt_wall_ms = (uint64_t)rcpt->due_wall_ms;
    add_category(outcomes, queue, event, reply);
    queue->site->deferred++;
    outcomes->scheduler->deferred_rcpts++;
    queue_note_error(queue, io_wall_ms(outcomes->io), event->dsn_diag);
    replace_421(queue, event, reply);
    put(outcomes, SPOOL_DEFERRED, queue->site, rcpt, event);
    queue_defer(queue, rcpt, now_ms + wait_ms, now_ms);
}

static void bounce_waiting(struct outcomes *outcomes, const struct attempt *attempt,
                           struct queue *queue, struct rcpt *rcpt, const char *stage_name,
                           const struct reply *reply)
{
    struct event event = {.type = EVENT_BOUNCED};
    struct event_texts texts;
    struct tls_info tls;
    fill_rcpt_event(outcomes, &event, &texts, &tls, attempt, queue, rcpt, reply);
    event.stage = bytes_from_string(stage_name);
    bounce(outcomes, queue, rcpt, &event, reply);
}

/* On the wire when its time was over: its 4xx is its bounce (attempt), or it was waiting (NULL). */
static void bounce_expired(struct outcomes *outcomes, const struct attempt *attempt,
                           struct queue *queue, struct rcpt *rcpt)
{
    if (rcpt->condemned) {
        struct reply deleted;
        reply_make(&deleted, 554, "5.3.0", "deleted by the operator");
        bounce_waiting(outcomes, attempt, queue, rcpt, "deleted", &deleted);
        return;
    }
    char text[QUEUE_ERROR_MAX + 64];
    snprintf(text, sizeof text, "delivery time expired (last error: %s)",
             queue->last_error != NULL ? queue->last_error->text : "none");
    struct reply reply;
    reply_make(&reply, 450, "4.4.7", text);
    bounce_waiting(outcomes, attempt, queue, rcpt, "expired", &reply);
}

void outcome_of_rcpt(struct outcomes *outcomes, const struct attempt *attempt, struct rcpt *rcpt,
                     enum client_stage stage, const struct reply *reply, bool after_dot_lost)
{
    assert(rcpt->state == RCPT_TAKEN);
    struct queue *queue = rcpt->queue;
    struct event event = {.type = EVENT_TRANSIENT};
    struct event_texts texts;
    struct tls_info tls;
    if (rcpt->attempts < UINT16_MAX) {
        rcpt->attempts++;
    }
    fill_rcpt_event(outcomes, &event, &texts, &tls, attempt, queue, rcpt, reply);
    event.stage = bytes_from_string(client_stage_name(stage));
    event.after_dot_lost = after_dot_lost;
    struct reaction reaction = {0};
    if (!reply_is_positive(reply)) {
        reaction = outcome_react(&outcomes->rules, attempt, queue->site, stage, reply);
    }
    if (reply_is_positive(reply)) {
        deliver(outcomes, queue, rcpt, &event);
    } else if (reply_is_permanent(reply) || reaction.bounce_rcpt) {
        queue_done(queue, rcpt);
        queue_note_error(queue, io_wall_ms(outcomes->io), event.dsn_diag);
        bounce(outcomes, queue, rcpt, &event, reply);
    } else if (queue_expired(queue, rcpt, io_now_ms(outcomes->io))) {
        queue_done(queue, rcpt);
        queue_note_error(queue, io_wall_ms(outcomes->io), event.dsn_diag);
        bounce_expired(outcomes, attempt, queue, rcpt);
    } else {
        defer(outcomes, queue, rcpt, &event, reply, reaction.wait_ms);
    }
    schedule_mark(outcomes->scheduler, queue->site);
}

/* ---- a queue's failure ---- */

/* How long the queue waits now. Several connections may have been opening when the host became
 * unreachable: the first that fails moves the clock, the others belong to the same round. */
static uint64_t move_retry_clock(struct queue *queue, bool dns_failed, uint64_t now_ms)
{
    if (queue->not_before_ms > now_ms) {
        return queue->not_before_ms - now_ms;
    }
    if (dns_failed) {
        /* It says nothing about the host: the list of retry-after stays where it is. */
        uint64_t soon_ms = queue->site->settings->retry_after_dns_error_ms;
        queue_hold_until(queue, now_ms + soon_ms, now_ms);
        schedule_clock_moved(queue->site->scheduler, queue);
        return soon_ms;
    }
    uint64_t wait_ms = retry_interval_ms(site_retry_after(queue->site), queue->retry_index);
    if (queue->retry_index < UINT8_MAX) {
        queue->retry_index++;
    }
    queue_hold_until(queue, now_ms + wait_ms, now_ms);
    schedule_clock_moved(queue->site->scheduler, queue);
    return wait_ms;
}

void outcome_of_queue(struct outcomes *outcomes, const struct attempt *attempt, struct queue *queue,
                      enum client_stage stage, const char *stage_name, const struct reply *reply,
                      bool hold_queue)
{
    uint64_t now_ms = io_now_ms(outcomes->io);
    outcome_react(&outcomes->rules, attempt, queue->site, stage, reply);
    struct event event = {.type = EVENT_TRANSIENT_QUEUE,
                          .logged_wall_ms = (uint64_t)io_wall_ms(outcomes->io),
                          .queue = bytes_from_string(queue->site->name),
                          .vmta = bytes_from_string(queue->site->lane->vmta.name),
                          .stage = bytes_from_string(stage_name)};
    struct event_texts texts;
    add_attempt(&event, queue->site, attempt);
    add_reply(&event, &texts, reply);
    if (hold_queue) {
        bool dns_failed = strcmp(stage_name, "dns") == 0;
        uint64_t wait_ms = move_retry_clock(queue, dns_failed, now_ms);
        event.next_attempt_wall_ms = (uint64_t)io_wall_ms(outcomes->io) + wait_ms;
    }
    queue_note_error(queue, io_wall_ms(outcomes->io), event.dsn_diag);
    if (attempt != NULL && attempt->failure_said) {
        replace_421(queue, &event, reply);
    }
    put(outcomes, SPOOL_EVENT, queue->site, NULL, &event);
}

bool outcome_bounce_ready(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, const struct reply *reply)
{
    for (uint32_t i = 0; i < OUTCOME_BOUNCE_MAX; i++) {
        struct rcpt *rcpt = queue_first_ready(queue);
        if (rcpt == NULL) {
            return false;
        }
        bool removed = queue_remove(queue, rcpt);
        assert(removed);
        bounce_waiting(outcomes, attempt, queue, rcpt, stage_name, reply);
    }
    schedule_mark(outcomes->scheduler, queue->site);
    return queue_first_ready(queue) != NULL;
}

static bool is_older(const struct rcpt *rcpt, uint64_t age_ms, uint64_t now_ms)
{
    int64_t age = (int64_t)now_ms - rcpt_message(rcpt)->accepted_ms;
    return age >= 0 && (uint64_t)age >= age_ms;
}

void outcome_bounce_older(struct outcomes *outcomes, const struct attempt *attempt,
                          struct queue *queue, const char *stage_name, uint64_t age_ms)
{
    uint64_t now_ms = io_now_ms(outcomes->io);
    struct reply reply;
    reply_make(&reply, 550, "5.1.2", "domain has no MX");
    uint32_t left = OUTCOME_BOUNCE_MAX;
    struct rcpt *next;
    for (struct rcpt *rcpt = queue_first_ready(queue); rcpt != NULL && left > 0; rcpt = next) {
        next = queue_next_ready(queue, rcpt);
        if (is_older(rcpt, age_ms, now_ms)) {
            bool removed = queue_remove(queue, rcpt);
            assert(removed);
            bounce_waiting(outcomes, attempt, queue, rcpt, stage_name, &reply);
            left--;
        }
    }
    schedule_mark(outcomes->scheduler, queue->site);
}

void outcome_expired(struct outcomes *outcomes, struct queue *queue, struct rcpt *rcpt)
{
    bounce_expired(outcomes, NULL, queue, rcpt);
    schedule_mark(outcomes->scheduler, queue->site);
}

void outcome_received(struct spool *spool, uint32_t worker, const struct message *message)
{
    char memory[EVENT_BYTES_MAX];
    struct event_texts texts;
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        struct event event = {.type = EVENT_RECEIVED,
                              .logged_wall_ms = (uint64_t)message->accepted_wall_ms};
        add_message(&event, &texts, spool, message);
        if (event.vmta_pool.len > 0) {
            event.vmta = event.vmta_pool; /* what the feeder asked for */
        }
        add_rcpt(&event, &message->rcpts[i]);
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        bool fits = journal_encode(&out, &event);
        assert(fits);
        spool_put_outcome(
            spool, worker,
            &(struct spool_outcome){.kind = SPOOL_EVENT, .event = buffer_bytes(&out)});
    }
}
