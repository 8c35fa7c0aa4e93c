/* The farm: hosts, what they remember of senders, and the records that invariants are checked
 * against. */
#include "sim_mx.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim_dns.h"
#include "sim_memory.h"
#include "sim_mx_session.h"
#include "sim_parts.h"

#define SMTP_PORT       25
#define RCPT_MAX        50
#define SIZE_MAX_BYTES  (10u << 20)
#define GREYLIST_US_MIN (60 * SIM_SECOND)
#define GREYLIST_US_MAX (20 * 60 * SIM_SECOND)

/* What a greylist remembers of one (source, sender, recipient). */
struct triple {
    struct list_node node;
    const struct sim_mx *mx;
    struct address source;
    char sender[SIM_MX_TEXT_MAX], rcpt[SIM_MX_TEXT_MAX];
    uint64_t passes_us;
};

struct sim_farm *sim_farm_create(struct sim *sim)
{
    struct sim_farm *farm = sim_take(sizeof(*farm));
    farm->sim = sim;
    list_init(&farm->hosts);
    list_init(&farm->sessions);
    list_init(&farm->records);
    list_init(&farm->greylist);
    farm->tls = tls_worker_create(1, NULL);
    return farm;
}

void sim_farm_destroy(struct sim_farm *farm)
{
    if (farm == NULL) {
        return;
    }
    while (!list_empty(&farm->sessions)) {
        mx_session_free(CONTAINER_OF(list_first(&farm->sessions), struct mx_session, node));
    }
    struct list_node *node = NULL;
    while ((node = list_pop_front(&farm->hosts)) != NULL) {
        struct sim_mx *mx = CONTAINER_OF(node, struct sim_mx, node);
        sim_peer_unlisten(&mx->listener);
        tls_profile_destroy(mx->profile);
        sim_give(mx);
    }
    while ((node = list_pop_front(&farm->records)) != NULL) {
        sim_give(CONTAINER_OF(node, struct sim_mx_record, node));
    }
    while ((node = list_pop_front(&farm->greylist)) != NULL) {
        sim_give(CONTAINER_OF(node, struct triple, node));
    }
    tls_worker_destroy(farm->tls);
    sim_give(farm);
}

void sim_farm_watch(struct sim_farm *farm,
                    void (*final)(void *owner, const struct sim_mx_record *record),
                    void (*rcpt)(void *owner, const struct sim_mx_record *record, uint32_t index),
                    void *owner)
{
    farm->final = final;
    farm->rcpt = rcpt;
    farm->owner = owner;
}

const struct sim_mx_record *sim_farm_next(const struct sim_farm *farm,
                                          const struct sim_mx_record *record)
{
    const struct list_node *after = record == NULL ? &farm->records.head : &record->node;
    const struct list_node *next = list_next(&farm->records, after);
    return next == NULL ? NULL : CONTAINER_OF(next, const struct sim_mx_record, node);
}

uint32_t sim_farm_sessions(const struct sim_farm *farm)
{
    return farm->session_count;
}

uint64_t sim_farm_connections(const struct sim_farm *farm)
{
    return farm->connections;
}

const char *sim_farm_violation(const struct sim_farm *farm)
{
    return farm->violation[0] == '\0' ? NULL : farm->violation;
}

void mx_violation(struct mx_session *session, const char *what)
{
    struct sim_farm *farm = session->farm;
    sim_note_bytes(farm->sim, "violation", what, strlen(what));
    if (farm->violation[0] == '\0' && !session->lied) { /* a liar may have confused it */
        snprintf(farm->violation, sizeof(farm->violation), "%s: %s", session->mx->host, what);
    }
}

/* ---- hosts ------------------------------------------------------------------------------ */

static struct sim_peer *on_incoming(struct sim_peer_listener *listener, const struct address *from,
                                    const struct address *to)
{
    (void)from;
    (void)to;
    return mx_session_open(CONTAINER_OF(listener, struct sim_mx, listener));
}

void sim_mx_behave(struct sim_mx *mx)
{
    struct sim_mx_manners before = mx->manners;
    mx->manners = (struct sim_mx_manners){
        .extensions = before.extensions,
        .rcpt_max = before.rcpt_max,
        .size_max = before.size_max,
        .no_ehlo = before.no_ehlo,
    };
}

struct sim_mx *sim_mx_create(struct sim_farm *farm, const char *host, const struct address *address)
{
    struct sim_mx *mx = sim_take(sizeof(*mx));
    struct address at = *address;
    at.port = at.port == 0 ? SMTP_PORT : at.port;
    mx->farm = farm;
    assert(strlen(host) < sizeof(mx->host));
    memcpy(mx->host, host, strlen(host) + 1);
    mx->manners.extensions = SIM_MX_EXTENSIONS & ~SIM_MX_STARTTLS;
    mx->manners.rcpt_max = RCPT_MAX;
    mx->manners.size_max = SIZE_MAX_BYTES;
    mx->salt = rng_next(sim_rng(farm->sim));
    mx->profile = tls_profile_create(
        farm->tls, &(struct tls_profile_settings){.server = true, .certificate_file = mx->host},
        NULL);
    mx->listener.incoming = on_incoming;
    sim_peer_listen(farm->sim, &mx->listener, &at);
    at.port = 0;
    sim_dns_add_address(farm->sim, host, &at);
    list_push_back(&farm->hosts, &mx->node);
    return mx;
}

struct sim_mx_manners *sim_mx_manners(struct sim_mx *mx)
{
    return &mx->manners;
}

const char *sim_mx_host(const struct sim_mx *mx)
{
    return mx->host;
}

void sim_mx_draw_manners(struct sim_mx *mx)
{
    struct sim *sim = mx->farm->sim;
    struct sim_mx_manners *manners = &mx->manners;
#define MX_ODDS(name, per_million_max)                                                             \
    manners->name = sim_chance(sim, 333333) ? (uint32_t)sim_between(sim, 0, per_million_max) : 0;
#include "sim_mx.def"
#undef MX_ODDS
    manners->extensions = (uint32_t)sim_between(sim, 0, SIM_MX_EXTENSIONS);
    manners->rcpt_max = (uint32_t)sim_spread(sim, 1, SIM_MX_RCPTS_MAX);
    manners->size_max = sim_spread(sim, 100000, SIZE_MAX_BYTES);
    manners->no_ehlo = sim_chance(sim, 50000);
}

/* ---- memory of senders ------------------------------------------------------------------ */

static uint64_t text_hash(uint64_t hash, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    }
    return hash;
}

bool mx_greylist_passed(struct mx_session *session, const char *rcpt)
{
    struct sim_farm *farm = session->farm;
    const struct sim_mx *mx = session->mx;
    /* By domain, as those do that have met variable sender addresses. */
    const char *sender = strrchr(session->record->sender, '@');
    sender = sender == NULL ? "" : sender;
    if (text_hash(mx->salt ^ 1, rcpt) % 1000000 >= mx->manners.greylist) {
        return true; /* this recipient is not greylisted here */
    }
    for (struct list_node *n = list_first(&farm->greylist); n != NULL;
         n = list_next(&farm->greylist, n)) {
        const struct triple *triple = CONTAINER_OF(n, struct triple, node);
        if (triple->mx == mx && address_equal_ip(&triple->source, &session->peer.remote) &&
            strcmp(triple->sender, sender) == 0 && strcmp(triple->rcpt, rcpt) == 0) {
            return sim_now_us(farm->sim) >= triple->passes_us;
        }
    }
    struct triple *triple = sim_take(sizeof(*triple));
    triple->mx = mx;
    triple->source = session->peer.remote;
    memcpy(triple->sender, sender, strlen(sender) + 1);
    memcpy(triple->rcpt, rcpt, strlen(rcpt) + 1);
    triple->passes_us =
        sim_now_us(farm->sim) + sim_spread(farm->sim, GREYLIST_US_MIN, GREYLIST_US_MAX);
    list_push_back(&farm->greylist, &triple->node);
    return false;
}

/* ---- records ---------------------------------------------------------------------------- */

struct sim_mx_record *mx_record_open(struct mx_session *session, const char *sender)
{
    struct sim_mx_record *record = sim_take(sizeof(*record));
    assert(session->record == NULL);
    record->mx = session->mx;
    record->source = session->peer.remote;
    record->session = session->id;
    record->began_us = sim_now_us(session->farm->sim);
    record->in_tls = session->tls_open;
    record->lied = session->lied;
    memcpy(record->helo, session->helo, sizeof(record->helo));
    assert(strlen(sender) < sizeof(record->sender));
    memcpy(record->sender, sender, strlen(sender) + 1);
    list_push_back(&session->farm->records, &record->node);
    session->record = record;
    session->body_len = 0;
    session->declared_8bit = session->saw_8bit = false;
    return record;
}

void mx_record_close(struct mx_session *session)
{
    if (session->record != NULL) {
        session->record->ended_us = sim_now_us(session->farm->sim);
        session->record->lied = session->record->lied || session->lied;
        session->record = NULL;
    }
}

void mx_records_read(struct mx_session *session)
{
    struct sim_farm *farm = session->farm;
    for (struct list_node *n = farm->records.head.prev; n != &farm->records.head; n = n->prev) {
        struct sim_mx_record *record = CONTAINER_OF(n, struct sim_mx_record, node);
        if (record->began_us < session->opened_us) {
            break; /* all that stand before it are of other sessions */
        }
        record->read =
            record->read || (record->session == session->id && record != session->record);
    }
}
