/* From a domain to the hosts and addresses to try, in order: RFC 5321 §5.1.
 *
 * Stands on net/dns.h and policy. Applies smtp-hosts, lookup-mx:, null MX, the implicit MX,
 * prohibited-hosts, loop and self checks, the families a virtual MTA can bind, and caps (hosts,
 * addresses, lookups). Equal preferences are shuffled. One per worker; a request is its caller's
 * memory until `done`. */
#ifndef ENGINE_RESOLVE_H
#define ENGINE_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "base/rng.h"
#include "net/dns.h"
#include "policy/rollup.h"
#include "smtp/reply.h"

struct domain_settings;

#define ROUTE_HOSTS_MAX     16
#define ROUTE_ADDRESSES_MAX 32 /* all hosts together */

struct route_host {
    char name[DNS_NAME_MAX]; /* as in the MX record or smtp-hosts; shown in dsnMta */
    uint32_t preference;     /* of the MX; with smtp-hosts 65,536 times the place there, and that */
    uint16_t first_address, address_count;
};

/* A snapshot: immutable, reference counted on one worker. */
struct route {
    uint32_t refs;
    uint64_t expires_ms; /* monotonic: ask again after this */
    uint32_t host_count, address_count;
    struct route_host *hosts;  /* in order of trying */
    struct address *addresses; /* with port */
};

struct resolver;

struct resolver_options {
    struct io *io;
    struct dns *dns;
    uint64_t seed;
    const char *own_name; /* our host-name: an MX that is us */
    bool (*is_own_listener)(void *owner, const struct address *address);
    void *owner;
};

struct resolver *resolver_create(const struct resolver_options *options);
void resolver_destroy(struct resolver *resolver);

struct resolve_request {
    /* Exactly once, never inside the asking call. route NULL: `failure` holds the reply that the
     * outcome is made from (4.4.3, 5.1.2, 5.1.10 null MX, 5.4.6 loop, 4.4.4 no address in a family
     * we can bind …), permanent or transient by its code. The route is referenced for the callee.
     */
    void (*done)(struct resolve_request *request, struct route *route);
    struct reply failure;
    /* With a transient failure: the domain has no MX and bounce-upon-no-mx names an age. Mail that
     * is older should bounce (550 5.1.2) instead. */
    bool no_mx;
    /* With a route: the domain's own MX hosts, also those that are not used; none with smtp-hosts.
     * Points into the request. */
    struct mx_hosts mx;
    /* private: */
    char mx_best[MX_HOSTS_LEN_MAX];
    struct list_node node;
    struct timer turn;
    struct resolver *resolver;
    const struct domain_settings *settings;
    struct resolve_work *work;
    char domain[DNS_NAME_MAX];
    bool ipv4, ipv6, cancelled;
};

/* settings must outlive the request, or be replaced by resolve_change_settings. ipv4/ipv6: the
 * families the virtual MTA can bind. */
void resolve_domain(struct resolver *resolver, struct resolve_request *request, const char *domain,
                    const struct domain_settings *settings, bool ipv4, bool ipv6);
/* Other settings are in force: the former ones are not looked at any more. */
void resolve_change_settings(struct resolve_request *request,
                             const struct domain_settings *settings);
/* `done` still comes, with route NULL. */
void resolve_cancel(struct resolve_request *request);
void route_unref(struct route *route); /* NULL is accepted */

/* Before anybody else has it: leaves out the hosts that are not kept. */
void route_keep(struct route *route, bool (*keep)(const void *owner, const char *host),
                const void *owner);

#endif
