/* Mail hosts want of an address that it has a name (PTR), that this name leads back to it, that the
 * EHLO name does, too, and that SPF covers it. For each address the two lookups run side by side,
 * those of the PTR's names after them; then SPF, domain by domain. */
#include "outside_check.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"
#include "net/dns.h"
#include "outside_spf.h"
#include "policy/config.h"
#include "policy/report.h"
#include "source_check.h"
#include "vmta/vmta.h"

#define NAMES_MAX    4                      /* PTR names of one address that are looked at */
#define FINDINGS_MAX (256 * ERROR_TEXT_MAX) /* bytes, of one address; the rest is not kept */

/* Does one of the names lead back? */
struct back {
    struct dns_query query;
    struct question *question;
};

/* One address of one virtual MTA. */
struct question {
    struct outside *outside;
    struct doctor_job job;
    struct dns_query names, forward;
    struct back back[NAMES_MAX];
    bool asks_forward;
    uint32_t back_count, pending;
    struct outside_spf spf;
    size_t next_domain; /* whose SPF record comes next */
    char domain[SPF_NAME_MAX];
    struct buffer findings; /* texts, each with its NUL */
    char memory[FINDINGS_MAX];
};

struct outside {
    const struct config *config;
    struct config_report *report;
    struct doctor *doctor;
    struct question questions[DOCTOR_PARALLEL];
};

/* ---- findings ---- */

static void find(struct question *question, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void find(struct question *question, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    int len = snprintf(text, sizeof text, "virtual MTA %s: ", question->job.vmta->name);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + len, sizeof text - (size_t)len, format, arguments);
    va_end(arguments);
    buffer_put(&question->findings, text, strlen(text) + 1);
}

static const struct address *address_of(const struct question *question)
{
    return &question->job.source->address;
}

static bool leads_to(const struct dns_query *query, const struct address *address)
{
    for (uint32_t i = 0; i < query->address_count; i++) {
        if (address_equal_ip(&query->addresses[i], address)) {
            return true;
        }
    }
    return false;
}

static void judge_forward(struct question *question)
{
    const struct dns_query *query = &question->forward;
    const char *name = question->job.source->helo_name;
    char ours[ADDRESS_TEXT_MAX], theirs[ADDRESS_TEXT_MAX];
    address_text(address_of(question), ours);
    if (query->status == DNS_FAILED) {
        find(question, "the EHLO name %s cannot be looked up: %s", name, query->failure);
    } else if (query->address_count == 0) {
        find(question, "the EHLO name %s has no %s address in DNS: it should lead to %s", name,
             address_of(question)->family == ADDRESS_IPV4 ? "IPv4" : "IPv6", ours);
    } else if (!leads_to(query, address_of(question))) {
        find(question, "the EHLO name %s leads to %s, not to %s", name,
             address_text(&query->addresses[0], theirs), ours);
    }
}

/* The first PTR name that leads back; NULL: none does. */
static const char *confirmed_name(const struct question *question)
{
    for (uint32_t i = 0; i < question->back_count; i++) {
        if (leads_to(&question->back[i].query, address_of(question))) {
            return question->names.texts[i].data;
        }
    }
    return NULL;
}

static bool back_failed(const struct question *question)
{
    for (uint32_t i = 0; i < question->back_count; i++) {
        if (question->back[i].query.status == DNS_FAILED) {
            return true;
        }
    }
    return false;
}

static bool names_hold(const struct question *question, const char *name)
{
    for (uint32_t i = 0; i < question->names.text_count; i++) {
        if (bytes_equal_nocase(question->names.texts[i], bytes_from_string(name))) {
            return true;
        }
    }
    return false;
}

static void judge_names(struct question *question)
{
    const struct dns_query *query = &question->names;
    const char *helo = question->job.source->helo_name;
    char ours[ADDRESS_TEXT_MAX];
    address_text(address_of(question), ours);
    if (query->status == DNS_FAILED) {
        find(question, "the PTR record of %s cannot be looked up: %s", ours, query->failure);
        return;
    }
    if (query->text_count == 0) {
        find(question, "%s has no PTR record: many mail hosts refuse such an address", ours);
        return;
    }
    const char *first = query->texts[0].data;
    if (confirmed_name(question) == NULL) {
        find(question, "the PTR record of %s names %s, which %s", ours, first,
             back_failed(question) ? "cannot be looked up" : "does not lead back to it");
    } else if (!names_hold(question, helo)) {
        find(question, "the PTR record of %s names %s, not the EHLO name %s", ours, first, helo);
    }
}

/* ---- SPF ---- */

/* The domain of "SELECTOR,DOMAIN,FILE", however it is split into words; not of "*". */
static bool key_domain(const struct string_array *words, char out[SPF_NAME_MAX])
{
    size_t part = 0;
    for (size_t i = 0; i < words->count; i++) {
        struct bytes rest = words->items[i];
        while (rest.len > 0) {
            ptrdiff_t comma = bytes_find(rest, ',', 0);
            struct bytes text = bytes_slice(rest, 0, comma < 0 ? rest.len : (size_t)comma);
            rest = bytes_slice(rest, comma < 0 ? rest.len : (size_t)comma + 1, rest.len);
            if (text.len > 0 && part++ == 1) {
                snprintf(out, SPF_NAME_MAX, "%.*s", BYTES_FMT(text));
                return text.len < SPF_NAME_MAX && strchr(out, '.') != NULL;
            }
        }
    }
    return false;
}

/* The domains whose mail leaves here, as far as the configuration names them: those it signs for,
 * by the keys of the virtual MTA, of its pool, of all. words: of the key in this place; false:
 * there is none. */
static bool key_at(const struct outside *outside, const struct config_vmta *settings, size_t place,
                   const struct string_array **words)
{
    const struct strings_array *lists[] = {
        &settings->settings.domain_keys,
        settings->pool == NULL ? NULL : &settings->pool->settings.domain_keys,
        &config_global(outside->config)->domain_keys,
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        size_t count = lists[i] == NULL ? 0 : lists[i]->count;
        if (place < count) {
            *words = &lists[i]->items[place];
            return true;
        }
        place -= count;
    }
    return false;
}

/* RFC 7208 2.3: the EHLO name may have a record of its own; what is sent with a null sender is
 * judged by it. Domains of mail must have one. */
static void judge_spf(struct question *question, bool must_have)
{
    const struct spf *spf = &question->spf.spf;
    const char *domain = question->domain;
    char ours[ADDRESS_TEXT_MAX];
    address_text(address_of(question), ours);
    switch (spf->result) {
    case SPF_PASS:
        break;
    case SPF_NONE:
        if (must_have) {
            find(question, "%s has no SPF record: it should cover %s", domain, ours);
        }
        break;
    case SPF_NEUTRAL:
    case SPF_FAIL:
    case SPF_SOFTFAIL:
        find(question, "the SPF record of %s does not cover %s: %s%s%s", domain, ours,
             spf_result_name(spf->result), spf->term[0] == '\0' ? "" : " by ", spf->term);
        break;
    case SPF_TEMPERROR:
        find(question, "the SPF record of %s cannot be looked up for %s", domain, ours);
        break;
    case SPF_PERMERROR:
        find(question, "the SPF record of %s is broken, or needs more lookups than allowed",
             domain);
        break;
    }
}

/* The next domain to look at; false: there is none. Domain 0 is the EHLO name. */
static bool next_domain(struct question *question)
{
    const struct string_array *words;
    if (question->next_domain == 0) {
        question->next_domain = 1;
        if (question->asks_forward) {
            snprintf(question->domain, sizeof question->domain, "%s",
                     question->job.source->helo_name);
            return true;
        }
    }
    while (key_at(question->outside, question->job.settings, question->next_domain - 1, &words)) {
        question->next_domain++;
        if (key_domain(words, question->domain)) {
            return true;
        }
    }
    return false;
}

static void go_on_with_spf(struct question *question)
{
    struct outside *outside = question->outside;
    struct doctor *doctor = outside->doctor;
    if (!doctor->out_of_time && next_domain(question)) {
        outside_spf_start(&question->spf, doctor->io, doctor->dns, address_of(question),
                          question->domain, question->job.source->helo_name);
        return;
    }
    if (doctor->out_of_time) {
        find(question, "no time left to look at every SPF record");
    }
    doctor_done(doctor, question->job.slot);
}

static void on_spf(struct outside_spf *spf)
{
    struct question *question = CONTAINER_OF(spf, struct question, spf);
    bool is_helo = question->next_domain == 1 && question->asks_forward;
    judge_spf(question, !is_helo);
    go_on_with_spf(question);
}

/* ---- lookups ---- */

static void answered(struct question *question)
{
    assert(question->pending > 0);
    if (--question->pending > 0) {
        return;
    }
    if (question->asks_forward) {
        judge_forward(question);
    }
    judge_names(question);
    dns_query_deinit(&question->forward);
    dns_query_deinit(&question->names);
    for (uint32_t i = 0; i < question->back_count; i++) {
        dns_query_deinit(&question->back[i].query);
    }
    go_on_with_spf(question);
}

static void on_forward(struct dns_query *query)
{
    answered(CONTAINER_OF(query, struct question, forward));
}

static void on_back(struct dns_query *query)
{
    answered(CONTAINER_OF(query, struct back, query)->question);
}

static void on_names(struct dns_query *query)
{
    struct question *question = CONTAINER_OF(query, struct question, names);
    bool ipv4 = address_of(question)->family == ADDRESS_IPV4;
    for (uint32_t i = 0; i < query->text_count && i < NAMES_MAX; i++) {
        struct back *back = &question->back[question->back_count++];
        *back = (struct back){.query.done = on_back, .question = question};
        question->pending++;
        dns_lookup_addresses(question->outside->doctor->dns, &back->query, query->texts[i].data,
                             ipv4, !ipv4);
    }
    answered(question);
}

static void ask(struct question *question)
{
    struct dns *dns = question->outside->doctor->dns;
    const struct vmta_source *source = question->job.source;
    bool ipv4 = source->address.family == ADDRESS_IPV4;
    question->names.done = on_names;
    question->pending = 1;
    dns_lookup_names(dns, &question->names, &source->address);
    if (question->asks_forward) {
        question->forward.done = on_forward;
        question->pending++;
        dns_lookup_addresses(dns, &question->forward, source->helo_name, ipv4, !ipv4);
    }
}

/* ---- the jobs ---- */

/* Addresses that the outside never sees: behind them another one stands (RFC 1918, 6598, 4193). */
static bool is_private(const struct address *address)
{
    static const char *const ranges[] = {"10/8",      "172.16/12",  "192.168/16",
                                         "100.64/10", "169.254/16", "127/8",
                                         "::1",       "fc00::/7",   "fe80::/10"};
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        struct address_range range = {0};
        bool parsed = address_range_parse(bytes_from_string(ranges[i]), &range);
        assert(parsed);
        if (address_range_holds(&range, address)) {
            return true;
        }
    }
    return false;
}

/* What can be said without asking anybody. True: and nothing is left to ask. */
static bool judge_alone(struct question *question)
{
    const struct vmta_source *source = question->job.source;
    char text[ADDRESS_TEXT_MAX];
    if (source == NULL) {
        find(question, "no address of this host is in the range of its smtp-source-host");
        return true;
    }
    if (source->address.family == ADDRESS_NONE) {
        return true; /* the system picks: there is nothing to look at */
    }
    address_text(&source->address, text);
    if (question->outside->doctor->out_of_time) {
        find(question, "%s: no time left to look at it", text);
        return true;
    }
    if (is_private(&source->address)) {
        find(question,
             "%s is a private address: the outside sees another one, which is not checked", text);
        return true;
    }
    /* RFC 5321 4.1.1.1: where there is no name, an address literal. */
    question->asks_forward = source->helo_name[0] != '[' && strchr(source->helo_name, '.') != NULL;
    if (source->helo_name[0] != '[' && !question->asks_forward) {
        find(question, "the EHLO name %s of %s is no fully qualified domain name",
             source->helo_name, text);
    }
    return false;
}

static bool on_start(void *owner, const struct doctor_job *job)
{
    struct outside *outside = owner;
    struct question *question = &outside->questions[job->slot];
    question->outside = outside;
    question->job = *job;
    question->asks_forward = false;
    question->back_count = question->pending = 0;
    question->next_domain = 0;
    question->spf.done = on_spf;
    buffer_init(&question->findings, question->memory, sizeof question->memory);
    question->forward = question->names = (struct dns_query){0};
    if (judge_alone(question)) {
        return true;
    }
    ask(question);
    return false;
}

/* Lookups end by themselves, soon. */
static void on_abort(void *owner, uint32_t slot)
{
    (void)owner, (void)slot;
}

static void on_tell(void *owner, uint32_t slot)
{
    const struct outside *outside = owner;
    const struct question *question = &outside->questions[slot];
    const struct config_vmta *settings = question->job.settings;
    const struct setting_origin *origin = settings->origins.source_hosts.file != NULL
                                              ? &settings->origins.source_hosts
                                              : &settings->origin;
    struct place place = {.file = origin->file == NULL ? "" : origin->file, .line = origin->line};
    const char *text = question->findings.data;
    for (; text < question->findings.data + question->findings.len; text += strlen(text) + 1) {
        report_warning(outside->report, &place, "%s", text);
    }
}

/* ---- life ---- */

static void on_missing_source(void *owner, const struct source_problem *problem)
{
    report_error(owner, &(struct place){.file = problem->file, .line = problem->line}, "%s",
                 problem->text);
}

int outside_check(const struct outside_options *options, struct config_report *report,
                  struct error *error)
{
    struct outside *outside = calloc(1, sizeof *outside);
    if (outside == NULL) {
        return error_set(error, 71, "out of memory");
    }
    outside->config = options->config;
    outside->report = report;
    outside->doctor = doctor_create(&(struct doctor_options){.config = options->config,
                                                             .host_name = options->host_name,
                                                             .rounds = 1,
                                                             .timeout_ms = options->timeout_ms,
                                                             .owner = outside,
                                                             .start = on_start,
                                                             .abort = on_abort,
                                                             .tell = on_tell},
                                    error);
    int result = outside->doctor == NULL ? -1 : 0;
    if (result == 0) {
        /* What keeps the engine from starting comes first. */
        (void)source_check(outside->doctor->io, options->config, on_missing_source, report);
        doctor_run(outside->doctor);
    }
    doctor_destroy(outside->doctor);
    free(outside);
    return result;
}
