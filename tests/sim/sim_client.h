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

struct sim_client;

enum sim_fate {
    SIM_WAITING,  /* not handed in yet */
    SIM_ACCEPTED, /* 250 after the end of the message */
    SIM_REFUSED,  /* a final no: 5xx, or the tries are used up; it must never be delivered */
    SIM_UNKNOWN,  /* its end was sent, no reply came */
};

struct sim_injection {
    struct list_node node;            /* in its client's list */
    char token[SIM_CLIENT_TOKEN_MAX]; /* in the header as "X-Sim: token" */
    char sender[SIM_CLIENT_TEXT_MAX];
    uint32_t rcpt_count;
    struct sim_injected_rcpt {
        char address[SIM_CLIENT_TEXT_MAX];
        bool accepted; /* RCPT was answered 250 in the transaction that decided the fate */
        uint64_t tag;  /* the harness's */
    } rcpts[SIM_CLIENT_RCPTS_MAX];
    uint8_t *text; /* header and body, CRLF lines, unstuffed */
    size_t text_len;
    uint64_t body_len, body_digest; /* of what follows the header */
    enum sim_fate fate;
    uint64_t accepted_us;
    char reply[SIM_CLIENT_TEXT_MAX]; /* the last that decided */
    uint32_t tries;
};

struct sim_client_manners {
    uint32_t pipelined; /* per million of connections, where it is offered */
    uint32_t leaves;    /* per million of steps: closes or resets instead of going on */
    uint32_t dawdles;   /* per million of steps: up to a minute */
    uint32_t tries_max; /* of one message; then it counts as refused */
};

struct sim_client *sim_client_create(struct sim *sim, const struct address *from,
                                     const struct address *to);
void sim_client_destroy(struct sim_client *client); /* NULL is accepted */
struct sim_client_manners *sim_client_manners(struct sim_client *client);
void sim_client_draw_manners(struct sim_client *client);

/* Queues a message of its own making: body_len bytes or a little more, dot lines and all. Fields
 * for the header ("Name: value\r\n") or "". Valid until the client is destroyed. */
struct sim_injection *sim_client_add(struct sim_client *client, const char *token,
                                     const char *sender, const char *fields, size_t body_len);
void sim_injection_add_rcpt(struct sim_injection *injection, const char *address);

/* Begins after `delay_us`; goes on by itself until all fates are known. */
void sim_client_start(struct sim_client *client, uint64_t delay_us);
bool sim_client_finished(const struct sim_client *client);

/* In order of adding; NULL: the end. Start with NULL. */
struct sim_injection *sim_client_next(struct sim_client *client, struct sim_injection *after);

/* Called when a fate is known. NULL: nobody. */
void sim_client_watch(struct sim_client *client,
                      void (*decided)(void *owner, struct sim_injection *injection), void *owner);

#endif
