/* A client's dialogue: it writes commands, remembers in order what each reply will be about, and
 * decides a message's fate by the replies. */
#include "sim_client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "sim_memory.h"
#include "sim_parts.h"

#define EXPECTED_MAX  (SIM_CLIENT_RCPTS_MAX + 4)
#define PAUSE_US_MAX  (20 * SIM_SECOND) /* between two connections */
#define DAWDLE_US_MAX (60 * SIM_SECOND)
#define PATIENCE_US   (900 * SIM_SECOND)
#define LINE_MAX_LEN  1024
#define TOKEN_FIELD   "X-Sim: "

enum about { GREETING, EHLO, MAIL, RCPT, DATA, BODY, QUIT };

struct sim_client {
    struct sim *sim;
    struct address from, to;
    struct sim_client_manners manners;
    struct list injections;
    struct sim_injection *current;
    struct sim_peer peer;
    struct sim_event next; /* the next connection, or the next step of this one */
    struct sim_event patience;
    bool connected, pipelining_offered, pipelined, sent_end;
    enum about expected[EXPECTED_MAX]; /* the replies to come */
    uint32_t rcpt_of[EXPECTED_MAX];
    uint32_t expected_first, expected_count;
    enum about step; /* what to send when `next` fires on an open connection */
    uint32_t step_rcpt;
    uint32_t rcpts_accepted;
    uint16_t worst; /* the reply that spoiled the transaction; 0: none yet */
    char line[LINE_MAX_LEN];
    size_t line_len;
    void (*decided)(void *owner, struct sim_injection *injection, uint32_t number);
    void *owner;
};

/* ---- messages --------------------------------------------------------------------------- */

static void text_add(struct sim_injection *injection, const char *data, size_t len)
{
    if (injection->text_len + len > injection->text_capacity) {
        size_t larger = 2 * (injection->text_len + len);
        injection->text = sim_grow(injection->text, injection->text_capacity, larger);
        injection->text_capacity = larger;
    }
    memcpy(injection->text + injection->text_len, data, len);
    injection->text_len += len;
}

static void add_body_line(struct sim *sim, struct sim_injection *injection)
{
    static const char *const odd[] = {"\r\n", ".\r\n", "..\r\n", ".x\r\n", "From here\r\n"};
    char line[120];
    if (sim_chance(sim, 200000)) {
        const char *text = odd[sim_between(sim, 0, 4)];
        text_add(injection, text, strlen(text));
        return;
    }
    size_t len = sim_between(sim, 1, 78);
    for (size_t i = 0; i < len; i++) {
        line[i] = (char)('a' + sim_between(sim, 0, 25));
    }
    memcpy(line + len, "\r\n", 2);
    text_add(injection, line, len + 2);
}

void sim_offer_token(const struct sim_injection *injection, uint32_t number,
                     char out[SIM_CLIENT_TOKEN_MAX])
{
    snprintf(out, SIM_CLIENT_TOKEN_MAX, "%.*s.t%02u", SIM_CLIENT_TOKEN_MAX - 8, injection->token,
             number % 100);
}

struct sim_injection *sim_client_add(struct sim_client *client, const char *token,
                                     const char *domain, const char *fields, size_t body_len)
{
    struct sim_injection *injection = sim_take(sizeof(*injection));
    char header[1024], name[SIM_CLIENT_TOKEN_MAX];
    assert(strlen(token) < SIM_CLIENT_TOKEN_MAX - 8);
    snprintf(injection->token, sizeof(injection->token), "%s", token);
    snprintf(injection->domain, sizeof(injection->domain), "%s", domain);
    sim_offer_token(injection, 0, name);
    int len = snprintf(header, sizeof(header),
                       TOKEN_FIELD "%s\r\nFrom: <news@%s>\r\n"
                                   "Date: Thu, 1 May 2025 12:00:00 +0000\r\n"
                                   "Message-ID: <%s@sim.example>\r\n%s\r\n",
                       name, domain, token, fields);
    assert(len > 0 && (size_t)len < sizeof(header));
    text_add(injection, header, (size_t)len);
    while (injection->text_len < (size_t)len + body_len) {
        add_body_line(client->sim, injection);
    }
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, injection->text + len, injection->text_len - (size_t)len);
    injection->body_len = injection->text_len - (size_t)len;
    injection->body_digest = crypto_digest_end(&digest);
    list_push_back(&client->injections, &injection->node);
    return injection;
}

void sim_injection_add_rcpt(struct sim_injection *injection, const char *address)
{
    assert(injection->rcpt_count < SIM_CLIENT_RCPTS_MAX);
    snprintf(injection->rcpts[injection->rcpt_count++], SIM_CLIENT_TEXT_MAX, "%s", address);
}

struct sim_injection *sim_client_next(struct sim_client *client, struct sim_injection *after)
{
    struct list_node *n = after == NULL ? &client->injections.head : &after->node;
    n = list_next(&client->injections, n);
    return n == NULL ? NULL : CONTAINER_OF(n, struct sim_injection, node);
}

static struct sim_injection *next_waiting(struct sim_client *client)
{
    for (struct sim_injection *one = sim_client_next(client, NULL); one != NULL;
         one = sim_client_next(client, one)) {
        if (one->fate == SIM_WAITING) {
            return one;
        }
    }
    return NULL;
}

bool sim_client_finished(const struct sim_client *client)
{
    for (struct list_node *n = list_first(&client->injections); n != NULL;
         n = list_next(&client->injections, n)) {
        if (CONTAINER_OF(n, struct sim_injection, node)->fate == SIM_WAITING) {
            return false;
        }
    }
    return true;
}

static struct sim_offer *current_offer(struct sim_client *client)
{
    return &client->current->offers[client->current->tries - 1];
}

/* A try has ended; `again`: there will be another. */
static void decide(struct sim_client *client, enum sim_fate fate, bool again)
{
    struct sim_injection *injection = client->current;
    struct sim_offer *offer = current_offer(client);
    offer->fate = fate;
    offer->decided_us = sim_now_us(client->sim);
    if (!again || injection->tries >= client->manners.tries_max) {
        injection->fate = fate;
    }
    sim_note(client->sim, "injected", (uint64_t)fate, injection->text_len);
    client->current = NULL;
    client->sent_end = false;
    if (client->decided != NULL) {
        client->decided(client->owner, injection, injection->tries - 1);
    }
}

/* The transaction is over without a yes. */
static void undecided(struct sim_client *client)
{
    if (client->current == NULL) {
        return;
    }
    if (client->sent_end) {
        decide(client, SIM_UNKNOWN, false);
    } else {
        decide(client, SIM_REFUSED, client->worst < 500);
    }
}

/* ---- a connection ----------------------------------------------------------------------- */

static void come_back_later(struct sim_client *client)
{
    const struct sim_injection *waiting = next_waiting(client);
    if (waiting != NULL) { /* the later the longer, as clients do */
        uint64_t most = PAUSE_US_MAX << (waiting->tries < 6 ? waiting->tries : 6);
        sim_event_in(client->sim, &client->next, sim_spread(client->sim, SIM_MS, most));
    }
}

static void leave(struct sim_client *client, bool abort)
{
    undecided(client);
    client->connected = false;
    client->expected_count = 0;
    sim_event_cancel(client->sim, &client->next);
    sim_event_cancel(client->sim, &client->patience);
    if (abort) {
        sim_peer_abort(&client->peer);
    } else {
        sim_peer_close(&client->peer);
    }
    come_back_later(client);
}

static void expect(struct sim_client *client, enum about about, uint32_t rcpt)
{
    assert(client->expected_count < EXPECTED_MAX);
    uint32_t place = (client->expected_first + client->expected_count++) % EXPECTED_MAX;
    client->expected[place] = about;
    client->rcpt_of[place] = rcpt;
    sim_event_in(client->sim, &client->patience, PATIENCE_US);
}

static void say(struct sim_client *client, enum about about, uint32_t rcpt, const char *verb,
                const char *argument, const char *end)
{
    char line[LINE_MAX_LEN];
    int len = snprintf(line, sizeof(line), "%s%s%s", verb, argument, end);
    assert(len > 0 && (size_t)len < sizeof(line));
    expect(client, about, rcpt);
    sim_peer_send(&client->peer, line, (size_t)len);
}

/* Dots stuffed (RFC 5321 4.5.2), with the end of data behind. */
static void say_message(struct sim_client *client)
{
    const struct sim_injection *injection = client->current;
    const uint8_t *from = injection->text, *end = from + injection->text_len;
    while (from < end) {
        const uint8_t *line_end = memchr(from, '\n', (size_t)(end - from));
        assert(line_end != NULL);
        if (*from == '.') {
            sim_peer_send(&client->peer, ".", 1);
        }
        sim_peer_send(&client->peer, from, (size_t)(line_end + 1 - from));
        from = line_end + 1;
    }
    client->sent_end = current_offer(client)->end_sent = true;
    expect(client, BODY, 0);
    sim_peer_send(&client->peer, ".\r\n", 3);
}

static void say_mail(struct sim_client *client)
{
    char sender[SIM_CLIENT_TOKEN_MAX + SIM_CLIENT_TEXT_MAX];
    char token[SIM_CLIENT_TOKEN_MAX];
    sim_offer_token(client->current, client->current->tries - 1, token);
    snprintf(sender, sizeof(sender), "%s@%s", token, client->current->domain);
    if (client->current->null_sender) {
        sender[0] = '\0';
    }
    say(client, MAIL, 0, "MAIL FROM:<", sender, ">\r\n");
}

/* Counts the try and writes its name into the header. */
static void mark_try(struct sim_injection *injection)
{
    char token[SIM_CLIENT_TOKEN_MAX];
    assert(injection->tries < SIM_CLIENT_TRIES_MAX);
    sim_offer_token(injection, injection->tries++, token);
    memcpy(injection->text + strlen(TOKEN_FIELD), token, strlen(token));
}

static void say_envelope(struct sim_client *client)
{
    const struct sim_injection *injection = client->current;
    say_mail(client);
    for (uint32_t i = 0; i < injection->rcpt_count; i++) {
        say(client, RCPT, i, "RCPT TO:<", injection->rcpts[i], ">\r\n");
    }
    say(client, DATA, 0, "DATA", "", "\r\n");
}

static void begin_transaction(struct sim_client *client)
{
    client->current = next_waiting(client);
    if (client->current == NULL) {
        say(client, QUIT, 0, "QUIT", "", "\r\n");
        return;
    }
    client->rcpts_accepted = 0;
    client->worst = 0;
    client->sent_end = false;
    mark_try(client->current);
    if (client->pipelined) {
        say_envelope(client);
    } else {
        say_mail(client);
    }
}

static void take_step(struct sim_client *client)
{
    switch (client->step) {
    case EHLO:
        say(client, EHLO, 0, "EHLO ", "client.sim.example", "\r\n");
        break;
    case MAIL:
        begin_transaction(client);
        break;
    case RCPT:
        say(client, RCPT, client->step_rcpt, "RCPT TO:<", client->current->rcpts[client->step_rcpt],
            ">\r\n");
        break;
    case DATA:
        say(client, DATA, 0, "DATA", "", "\r\n");
        break;
    case BODY:
        say_message(client);
        break;
    case GREETING:
    case QUIT:
        say(client, QUIT, 0, "QUIT", "", "\r\n");
        break;
    }
}

/* At once or after a while, or not at all. */
static void go_on(struct sim_client *client, enum about step, uint32_t rcpt)
{
    struct sim *sim = client->sim;
    client->step = step;
    client->step_rcpt = rcpt;
    uint64_t us = sim_between(sim, 1, 1000);
    if (sim_chance(sim, client->manners.dawdles)) {
        us = sim_spread(sim, SIM_MS, DAWDLE_US_MAX);
    }
    sim_event_in(sim, &client->next, us);
}

static bool leaves(struct sim_client *client)
{
    if (!sim_chance(client->sim, client->manners.leaves)) {
        return false;
    }
    leave(client, sim_chance(client->sim, 500000));
    return true;
}

static void connect_now(struct sim_client *client)
{
    client->connected = true;
    client->pipelining_offered = false;
    client->expected_count = 0;
    client->line_len = 0;
    client->pipelined = sim_chance(client->sim, client->manners.pipelined);
    expect(client, GREETING, 0);
    sim_peer_connect(client->sim, &client->peer, &client->from, &client->to, NULL);
}

static void on_next(struct sim_event *event)
{
    struct sim_client *client = CONTAINER_OF(event, struct sim_client, next);
    if (!client->connected) {
        connect_now(client);
    } else if (!leaves(client)) {
        take_step(client);
    }
}

static void on_patience(struct sim_event *event)
{
    leave(CONTAINER_OF(event, struct sim_client, patience), true);
}

/* ---- replies ---------------------------------------------------------------------------- */

static void keep_refusal(struct sim_client *client)
{
    if (client->current != NULL) {
        snprintf(current_offer(client)->refusal, sizeof(current_offer(client)->refusal), "%.127s",
                 client->line);
    }
}

static void transaction_failed(struct sim_client *client, uint16_t code)
{
    if (client->worst == 0) {
        client->worst = code;
        keep_refusal(client);
    }
}

static void on_rcpt_reply(struct sim_client *client, uint32_t rcpt, uint16_t code)
{
    if (code == 250) {
        current_offer(client)->accepted |= 1u << rcpt;
    }
    client->rcpts_accepted += code == 250;
    if (code != 250 && client->worst < 400) {
        client->worst = code < 500 ? code : client->worst;
    }
    if (!client->pipelined) {
        bool more = rcpt + 1 < client->current->rcpt_count;
        go_on(client, more ? RCPT : DATA, rcpt + 1);
    }
}

static void on_data_reply(struct sim_client *client, uint16_t code)
{
    if (code == 354 && client->rcpts_accepted > 0) {
        go_on(client, BODY, 0);
        return;
    }
    if (code != 354) {
        transaction_failed(client, code);
    } else {
        transaction_failed(client, 550);
    }
    leave(client, false); /* RSET would do; leaving covers more */
}

static void on_body_reply(struct sim_client *client, uint16_t code)
{
    client->sent_end = false;
    if (code == 250) {
        decide(client, SIM_ACCEPTED, false);
    } else {
        client->worst = code;
        keep_refusal(client);
        undecided(client);
    }
    go_on(client, MAIL, 0);
}

static void on_reply(struct sim_client *client, uint16_t code)
{
    uint32_t place = client->expected_first;
    bool failed = code >= 400;
    if (code == 421) { /* RFC 5321 3.8: may come unasked, and at any time */
        transaction_failed(client, code);
        leave(client, false);
        return;
    }
    assert(client->expected_count > 0); /* else the server spoke unasked */
    client->expected_first = (client->expected_first + 1) % EXPECTED_MAX;
    client->expected_count--;
    switch (client->expected[place]) {
    case GREETING:
        go_on(client, failed ? QUIT : EHLO, 0);
        break;
    case EHLO:
        client->pipelined = client->pipelined && client->pipelining_offered;
        go_on(client, failed ? QUIT : MAIL, 0);
        break;
    case MAIL:
        if (failed) {
            transaction_failed(client, code);
            leave(client, false);
        } else if (!client->pipelined) {
            go_on(client, RCPT, 0);
        }
        break;
    case RCPT:
        on_rcpt_reply(client, client->rcpt_of[place], code);
        break;
    case DATA:
        on_data_reply(client, code);
        break;
    case BODY:
        on_body_reply(client, code);
        break;
    case QUIT:
        leave(client, false);
        break;
    }
}

static void on_line(struct sim_client *client)
{
    client->line[client->line_len] = '\0';
    sim_note_bytes(client->sim, "client heard", client->line, client->line_len);
    if (strstr(client->line, "PIPELINING") != NULL) {
        client->pipelining_offered = true;
    }
    bool last = client->line_len < 4 || client->line[3] != '-';
    uint16_t code = (uint16_t)strtoul(client->line, NULL, 10);
    client->line_len = 0;
    if (last) {
        on_reply(client, code);
    }
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct sim_client *client = CONTAINER_OF(peer, struct sim_client, peer);
    for (size_t i = 0; i < len && client->connected; i++) {
        if (data[i] == '\n') {
            on_line(client);
        } else if (data[i] != '\r' && client->line_len < LINE_MAX_LEN - 1) {
            client->line[client->line_len++] = data[i];
        }
    }
}

static void on_ended(struct sim_peer *peer, int result)
{
    (void)result;
    leave(CONTAINER_OF(peer, struct sim_client, peer), false);
}

static void on_opened(struct sim_peer *peer, int result)
{
    if (result != 0) {
        leave(CONTAINER_OF(peer, struct sim_client, peer), false);
    }
}

/* ---- life ------------------------------------------------------------------------------- */

struct sim_client *sim_client_create(struct sim *sim, const struct address *from,
                                     const struct address *to)
{
    struct sim_client *client = sim_take(sizeof(*client));
    client->sim = sim;
    client->from = *from;
    client->to = *to;
    client->manners =
        (struct sim_client_manners){.pipelined = 500000, .tries_max = SIM_CLIENT_TRIES_MAX};
    client->peer = (struct sim_peer){.opened = on_opened, .data = on_data, .ended = on_ended};
    list_init(&client->injections);
    sim_event_init(&client->next, on_next);
    sim_event_init(&client->patience, on_patience);
    return client;
}

void sim_client_destroy(struct sim_client *client)
{
    if (client == NULL) {
        return;
    }
    sim_event_cancel(client->sim, &client->next);
    sim_event_cancel(client->sim, &client->patience);
    sim_peer_close(&client->peer);
    struct list_node *node = NULL;
    while ((node = list_pop_front(&client->injections)) != NULL) {
        struct sim_injection *injection = CONTAINER_OF(node, struct sim_injection, node);
        sim_give(injection->text);
        sim_give(injection);
    }
    sim_give(client);
}

struct sim_client_manners *sim_client_manners(struct sim_client *client)
{
    return &client->manners;
}

void sim_client_draw_manners(struct sim_client *client)
{
    struct sim *sim = client->sim;
    client->manners.pipelined = (uint32_t)sim_between(sim, 0, 1000000);
    client->manners.leaves = sim_chance(sim, 500000) ? (uint32_t)sim_between(sim, 0, 100000) : 0;
    client->manners.dawdles = sim_chance(sim, 500000) ? (uint32_t)sim_between(sim, 0, 100000) : 0;
}

void sim_client_start(struct sim_client *client, uint64_t delay_us)
{
    sim_event_in(client->sim, &client->next, delay_us);
}

void sim_client_watch(struct sim_client *client,
                      void (*decided)(void *owner, struct sim_injection *injection,
                                      uint32_t number),
                      void *owner)
{
    client->decided = decided;
    client->owner = owner;
}
