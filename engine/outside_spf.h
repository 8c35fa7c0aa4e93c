/* One address against the SPF records of one domain, with the lookups: smtp/spf.h over net/dns.h.
 *
 * One thread's; the struct is its owner's memory until `done`. */
#ifndef ENGINE_OUTSIDE_SPF_H
#define ENGINE_OUTSIDE_SPF_H

#include "net/dns.h"
#include "smtp/spf.h"

struct outside_spf {
    /* The last callback, never inside outside_spf_start: spf.result and spf.term stand. */
    void (*done)(struct outside_spf *spf);
    struct spf spf;
    /* private: */
    struct dns *dns;
    struct dns_query query;
    struct timer turn;
    char sender[SPF_NAME_MAX + sizeof "postmaster@"];
};

/* `done` is set by the owner before. As a host that greets with this name asks about it (RFC 7208
 * 2.3): the sender is its postmaster. helo stays valid until `done`. */
void outside_spf_start(struct outside_spf *spf, struct io *io, struct dns *dns,
                       const struct address *ip, const char *domain, const char *helo);

#endif
