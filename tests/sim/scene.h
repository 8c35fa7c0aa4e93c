/* A calm world that a test directs: the real engine with one virtual MTA, two domains of one host
 * each, one client. Nothing goes wrong in it but what the test brings.
 *
 * One scene at a time. Failures are told through test.h's CHECK by the test itself. */
#ifndef SIM_SCENE_H
#define SIM_SCENE_H

#include "sim_client.h"
#include "sim_engine.h"
#include "sim_mx.h"
#include "sim_records.h"

#define SCENE_DOMAINS 2 /* a.example and b.example */

struct scene_options {
    uint64_t seed;      /* 0: 1 */
    uint32_t workers;   /* 0: 1 */
    const char *global; /* lines of the configuration, or NULL: outside every block */
    const char *domain; /* in <domain *> */
    const char *acct;   /* in the accounting file's block */
};

struct scene {
    struct sim *sim;
    struct sim_farm *farm;
    struct sim_mx *hosts[SCENE_DOMAINS];
    struct sim_client *client;
    struct sim_engine *engine; /* NULL: it is down */
    struct sim_engine_options options;
    char configuration[4096];
};

/* The world is there and the engine started in it. */
void scene_open(struct scene *scene, const struct scene_options *options);
/* Ends the engine if it runs, and the world. */
void scene_close(struct scene *scene);

void scene_start(struct scene *scene);
void scene_crash(struct scene *scene, enum sim_crash kind);
/* Drains and stops. False: it did not within ten minutes. */
bool scene_stop(struct scene *scene);

/* Queues a message TOKEN for user TOKEN@DOMAIN at the client; scene_send hands in what is queued,
 * and is true when the client knows the fate of each. */
struct sim_injection *scene_add(struct scene *scene, const char *token, const char *domain,
                                size_t body_len);
bool scene_send(struct scene *scene);

void scene_pass(struct scene *scene, uint64_t seconds);
/* True: `reached` held within that time. */
bool scene_await(struct scene *scene, uint64_t seconds, bool (*reached)(struct scene *scene));

/* Recipients in the spool that have no end yet. */
uint64_t scene_queued(const struct scene *scene);
bool scene_is_empty(struct scene *scene);

/* Transactions so far whose sender is of this message: answered 250 at the end, or all. */
uint32_t scene_taken(const struct scene *scene, const char *token);
uint32_t scene_tried(const struct scene *scene, const char *token);
/* The n-th transaction of it, from 0; NULL: there is none. */
const struct sim_mx_record *scene_try(const struct scene *scene, const char *token, uint32_t n);

/* Accounting records of this type for the message (NULL: for any); last: the last one, or NULL. */
uint32_t scene_records(const struct scene *scene, const char *type, const char *token,
                       struct sim_record *last);

#endif
