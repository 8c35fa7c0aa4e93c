/* Injecting clients: scripted SMTP clients that hand messages to the engine, or to any server,
 * and record what they were promised.
 *
 * A client sends its messages one after the other, on as many connections as it takes: pipelined
 * or not, leaving at any stage, coming back for what was deferred. A message whose end was sent
 * and never answered is not sent again: whether it was taken is unknown. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "base/list.h"
#include "sim.h"
#include "sim_peer.h"

#define SIM_CLIENT_RCPTS_MAX 32
#define SIM_CLIENT_TEXT_MAX  256 /* bytes of an address with its NUL */
#define SIM_CLIENT_TOKEN_MAX 40
#define SIM_CLIENT_TRIES_MAX 20

struct sim_client;

enum sim_fate {
    SIM_WAITING,  /* not handed in yet */
    SIM_ACCEPTED, /* 250 after the end of the message */
    SIM_REFUSED,  /* a final no: 5xx, or the tries are used up; it must never be delivered */
    SIM_UNKNOWN,  /* its end was sent, no reply came */
};

/* One try to hand a message in. Its token stands in the header ("X-Sim: TOKEN") and is the local
 * part of the envelope sender, so whatever becomes of it can be told apart from the other tries. */
struct sim_offer {
    enum sim_fate fate; /* SIM_REFUSED: also when the end was never sent */
    uint32_t accepted;  /* bit per recipient: RCPT was answered 250 */
    bool end_sent;      /* the whole message was */
    char refusal[128];  /* the first line that spoiled it, cut; "": none did */
    uint64_t decided_us;
};

struct sim_injection {
    struct list_node node;            /* in its client's list */
    char token[SIM_CLIENT_TOKEN_MAX]; /* of the message; of a try: sim_offer_token */
    char domain[SIM_CLIENT_TEXT_MAX]; /* of the sender */
    bool null_sender;                 /* MAIL FROM:<>, whatever the domain */
    uint32_t rcpt_count;
    char rcpts[SIM_CLIENT_RCPTS_MAX][SIM_CLIENT_TEXT_MAX];
    uint8_t *text; /* header and body, CRLF lines, unstuffed */
    size_t text_len, text_capacity;
    uint64_t body_len, body_digest; /* of what follows the header */
    enum sim_fate fate;             /* of the last try, when there will be no other */
    uint32_t tries;
    struct sim_offer offers[SIM_CLIENT_TRIES_MAX];
    void *owner; /* the harness's */
};

/* "TOKEN.tNN", the name of try NN (from 0). */
void sim_offer_token(const struct sim_injection *injection, uint32_t number,
                     char out[SIM_CLIENT_TOKEN_MAX]);

struct sim_client_manners {
    uint32_t pipelined; /* per million of connections, where it is offered */
    uint32_t leaves;    /* per million of steps: closes or resets instead of going on */
    uint32_t dawdles;   /* per million of steps: up to a minute */
    uint32_t tries_max; /* of one message, at most SIM_CLIENT_TRIES_MAX; then it is refused */
};

struct sim_client *sim_client_create(struct sim *sim, const struct address *from,
                                     const struct address *to);
void sim_client_destroy(struct sim_client *client); /* NULL is accepted */
struct sim_client_manners *sim_client_manners(struct sim_client *client);
void sim_client_draw_manners(struct sim_client *client);

/* Queues a message of its own making from TOKEN.tNN@domain: body_len bytes or a little more, dot
 * lines and all. Fields for the header ("Name: value\r\n") or "". Valid until the client is
 * destroyed. */
struct sim_injection *sim_client_add(struct sim_client *client, const char *token,
                                     const char *domain, const char *fields, size_t body_len);
void sim_injection_add_rcpt(struct sim_injection *injection, const char *address);

/* Begins after `delay_us`; goes on by itself until all fates are known. */
void sim_client_start(struct sim_client *client, uint64_t delay_us);
bool sim_client_finished(const struct sim_client *client);

/* In order of adding; NULL: the end. Start with NULL. */
struct sim_injection *sim_client_next(struct sim_client *client, struct sim_injection *after);

/* Called when a try has ended; number: which. NULL: nobody. */
void sim_client_watch(struct sim_client *client,
                      void (*decided)(void *owner, struct sim_injection *injection,
                                      uint32_t number),
                      void *owner);

#endif
