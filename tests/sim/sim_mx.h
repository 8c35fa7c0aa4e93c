/* Receiving hosts: scripted SMTP servers whose manners are drawn from the seed, and a record of
 * all they were sent and all they answered.
 *
 * Knows nothing of the engine but what comes over the wire. A farm owns its hosts, sessions and
 * records; destroy it before the world. */
#ifndef SIM_MX_H
#define SIM_MX_H

#include "base/list.h"
#include "sim.h"
#include "sim_peer.h"

#define SIM_MX_RCPTS_MAX 64  /* in one transaction; more are answered 452 */
#define SIM_MX_TEXT_MAX  256 /* bytes of a name or address with its NUL */
#define SIM_MX_TOKEN_MAX 40

struct sim_farm;
struct sim_mx;

enum sim_mx_extension {
    SIM_MX_PIPELINING = 1 << 0,
    SIM_MX_CHUNKING = 1 << 1,
    SIM_MX_8BITMIME = 1 << 2,
    SIM_MX_SMTPUTF8 = 1 << 3,
    SIM_MX_SIZE = 1 << 4,
    SIM_MX_DSN = 1 << 5,
    SIM_MX_STARTTLS = 1 << 6,
    SIM_MX_ENHANCED = 1 << 7,
    SIM_MX_EXTENSIONS = (1 << 8) - 1,
};

struct sim_mx_manners {
#define MX_ODDS(name, per_million_max) uint32_t name;
#include "sim_mx.def"
#undef MX_ODDS
    uint32_t extensions; /* enum sim_mx_extension bits */
    uint32_t rcpt_max;   /* per transaction, then 452 4.5.3 */
    uint64_t size_max;   /* bytes, with SIM_MX_SIZE */
    uint64_t final_us;   /* the reply to the end of a message takes so long; 0: as drawn */
    bool wordy;          /* a recipient that is put off is told why at length */
    bool no_ehlo;        /* EHLO is answered 502 */
};

/* One transaction in which at least MAIL was accepted, until its end, however it came. */
struct sim_mx_record {
    struct list_node node; /* in the farm's records, in order of MAIL */
    struct sim_mx *mx;
    struct address source;
    uint64_t session, began_us, ended_us; /* ended_us 0: under way */
    char helo[SIM_MX_TEXT_MAX], sender[SIM_MX_TEXT_MAX];
    uint32_t rcpt_count;
    struct sim_mx_rcpt {
        char address[SIM_MX_TEXT_MAX];
        uint16_t code; /* of our reply to RCPT */
        uint64_t at_us;
    } rcpts[SIM_MX_RCPTS_MAX];
    /* Of the message: what follows "X-Sim: " in its header, and what follows its header. */
    char token[SIM_MX_TOKEN_MAX];
    uint64_t body_len, body_digest;
    bool body_whole;     /* its end was seen */
    uint16_t final_code; /* given to the network; 0: no reply was sent */
    bool read;           /* the client went on later, to a body or QUIT: it had read our replies */
    bool in_tls, lied;   /* lied: in this session before or during it */
};

struct sim_farm *sim_farm_create(struct sim *sim);
void sim_farm_destroy(struct sim_farm *farm);

/* A well-behaved host with every extension but STARTTLS, listening on address (its port, or 25),
 * with address records for `host` in the zones. certificate: the name on it (NULL: host). */
struct sim_mx *sim_mx_create(struct sim_farm *farm, const char *host,
                             const struct address *address);
struct sim_mx_manners *sim_mx_manners(struct sim_mx *mx);
const char *sim_mx_host(const struct sim_mx *mx);
void sim_mx_draw_manners(struct sim_mx *mx);
void sim_mx_behave(struct sim_mx *mx); /* from here on no more faults: what is left gets through */

/* Called as each reply to the end of a message is sent, and for each RCPT accepted. */
void sim_farm_watch(struct sim_farm *farm,
                    void (*final)(void *owner, const struct sim_mx_record *record),
                    void (*rcpt)(void *owner, const struct sim_mx_record *record, uint32_t index),
                    void *owner);

/* In order; NULL: the end. Start with NULL. */
const struct sim_mx_record *sim_farm_next(const struct sim_farm *farm,
                                          const struct sim_mx_record *record);

uint32_t sim_farm_sessions(const struct sim_farm *farm);    /* open now */
uint64_t sim_farm_connections(const struct sim_farm *farm); /* ever */

/* What a client did that RFC 5321 or 2920 forbids; NULL: nothing. The first such thing. */
const char *sim_farm_violation(const struct sim_farm *farm);

#endif
