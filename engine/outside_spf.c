#include "outside_spf.h"

#include <stdio.h>

#include "io/io.h"

static void ask(struct outside_spf *check);

/* Hosts of an MX are given as names; nothing of an answer is kept. */
static void on_answer(struct dns_query *query)
{
    struct outside_spf *check = CONTAINER_OF(query, struct outside_spf, query);
    struct bytes hosts[DNS_MX_MAX];
    struct spf_answer answer = {
        .status = query->status == DNS_OK       ? SPF_DNS_FOUND
                  : query->status == DNS_FAILED ? SPF_DNS_FAILED
                                                : SPF_DNS_NOTHING,
        .texts = query->texts,
        .text_count = query->text_count,
        .addresses = query->addresses,
        .address_count = query->address_count,
    };
    if (query->mx_count > 0) {
        for (uint32_t i = 0; i < query->mx_count; i++) {
            hosts[i] = bytes_from_string(query->mx[i].host);
        }
        answer.texts = hosts;
        answer.text_count = query->mx_count;
    }
    spf_answer(&check->spf, &answer);
    dns_query_deinit(query);
    if (check->spf.question == SPF_DONE) {
        check->done(check);
    } else {
        ask(check);
    }
}

static void ask(struct outside_spf *check)
{
    struct dns_query *query = &check->query;
    const char *name = check->spf.name;
    bool ipv4 = check->spf.ip.family == ADDRESS_IPV4;
    query->done = on_answer;
    switch (check->spf.question) {
    case SPF_ASK_TEXTS:
        dns_lookup_texts(check->dns, query, name);
        break;
    case SPF_ASK_ADDRESSES:
        dns_lookup_addresses(check->dns, query, name, ipv4, !ipv4);
        break;
    case SPF_ASK_ADDRESS:
        dns_lookup_addresses(check->dns, query, name, true, false);
        break;
    case SPF_ASK_MX:
        dns_lookup_mx(check->dns, query, name);
        break;
    case SPF_ASK_NAMES:
        dns_lookup_names(check->dns, query, &check->spf.ip);
        break;
    case SPF_DONE:
        break;
    }
}

/* A domain that cannot have a record is done at once. */
static void on_turn(struct timer *timer)
{
    struct outside_spf *check = CONTAINER_OF(timer, struct outside_spf, turn);
    check->done(check);
}

void outside_spf_start(struct outside_spf *check, struct io *io, struct dns *dns,
                       const struct address *ip, const char *domain, const char *helo)
{
    check->dns = dns;
    snprintf(check->sender, sizeof check->sender, "postmaster@%s", domain);
    spf_begin(&check->spf, ip, domain, helo, check->sender);
    if (check->spf.question == SPF_DONE) {
        timer_init(&check->turn, on_turn);
        timer_start(io_timers(io), &check->turn, 0);
    } else {
        ask(check);
    }
}
