/* A stack of records: `include` pushes one, its end pops it and goes on in the one below;
 * `redirect` takes the place of the one that it ends. Terms are evaluated until one needs DNS; the
 * answer goes to the same term again. Errors end it all, wherever they are (RFC 7208 4.6, 5.2). */
#include "smtp/spf.h"

#include <assert.h>
#include <stdio.h>

#include "smtp/spf_record.h"

const char *spf_result_name(enum spf_result result)
{
    switch (result) {
    case SPF_NONE:
        return "none";
    case SPF_NEUTRAL:
        return "neutral";
    case SPF_PASS:
        return "pass";
    case SPF_FAIL:
        return "fail";
    case SPF_SOFTFAIL:
        return "softfail";
    case SPF_TEMPERROR:
        return "temperror";
    case SPF_PERMERROR:
        return "permerror";
    }
    return "";
}

static struct spf_frame *top(struct spf *spf)
{
    assert(spf->depth > 0);
    return &spf->frames[spf->depth - 1];
}

static struct bytes record_of(const struct spf_frame *frame)
{
    return bytes_of(frame->record, frame->record_len);
}

static void finish(struct spf *spf, enum spf_result result)
{
    spf->question = SPF_DONE;
    spf->result = result;
    spf->waiting = true;
}

static void ask(struct spf *spf, enum spf_question question, const char *name)
{
    spf->question = question;
    snprintf(spf->name, sizeof spf->name, "%s", name);
    spf->waiting = true;
}

/* ---- the end of a record ---- */

static enum spf_result result_of(char qualifier)
{
    switch (qualifier) {
    case '-':
        return SPF_FAIL;
    case '~':
        return SPF_SOFTFAIL;
    case '?':
        return SPF_NEUTRAL;
    default:
        return SPF_PASS;
    }
}

static struct spf_term current_term(struct spf *spf)
{
    const struct spf_frame *frame = top(spf);
    struct spf_term term = {.kind = SPF_OTHER};
    size_t at = frame->term_at;
    int got = spf_term_next(record_of(frame), &at, &term);
    assert(got == 1); /* it was read before */
    return term;
}

static void note_term(struct spf *spf)
{
    const struct spf_frame *frame = top(spf);
    struct bytes term = bytes_slice(record_of(frame), frame->term_at, frame->at);
    snprintf(spf->term, sizeof spf->term, "%.*s", BYTES_FMT(bytes_trim(term)));
}

/* RFC 7208 5.2: a pass of the included record is a match of the include; whatever else it says is
 * none, and having none is an error. */
static void end_record(struct spf *spf, enum spf_result result)
{
    while (spf->depth > 1) {
        spf->depth--;
        if (result == SPF_NONE) {
            finish(spf, SPF_PERMERROR);
            return;
        }
        if (result != SPF_PASS) {
            return; /* the record below goes on behind its include */
        }
        result = result_of(current_term(spf).qualifier);
    }
    finish(spf, result);
}

static void match(struct spf *spf, const struct spf_term *term)
{
    note_term(spf);
    end_record(spf, result_of(term->qualifier));
}

/* ---- terms ---- */

static bool same_network(const struct address *a, const struct address *b, unsigned prefix)
{
    if (a->family != b->family) {
        return false;
    }
    for (unsigned bit = 0; bit < prefix; bit++) {
        unsigned mask = 0x80u >> bit % 8;
        if (((a->ip[bit / 8] ^ b->ip[bit / 8]) & mask) != 0) {
            return false;
        }
    }
    return true;
}

static bool covers(const struct spf *spf, const struct spf_term *term,
                   const struct address *address)
{
    bool ipv4 = spf->ip.family == ADDRESS_IPV4;
    return same_network(&spf->ip, address, ipv4 ? term->prefix4 : term->prefix6);
}

/* False: one too many, and it is all over. */
static bool count_lookup(struct spf *spf)
{
    if (++spf->lookups > SPF_LOOKUPS_MAX) {
        finish(spf, SPF_PERMERROR);
        return false;
    }
    return true;
}

/* The name a term is about. False: it expands to none. */
static bool target(struct spf *spf, struct bytes written, char out[SPF_NAME_MAX])
{
    const struct spf_frame *frame = top(spf);
    if (written.len == 0) {
        memcpy(out, frame->domain, SPF_NAME_MAX);
        return true;
    }
    struct spf_macros macros = {
        .sender = spf->sender, .helo = spf->helo, .domain = frame->domain, .ip = &spf->ip};
    return spf_expand(written, &macros, out) && out[0] != '\0';
}

static void push(struct spf *spf, const char *domain)
{
    assert(spf->depth < sizeof spf->frames / sizeof spf->frames[0]);
    struct spf_frame *frame = &spf->frames[spf->depth++];
    frame->record_len = frame->at = frame->term_at = 0;
    frame->redirected = false;
    snprintf(frame->domain, sizeof frame->domain, "%s", domain);
    ask(spf, SPF_ASK_TEXTS, domain);
}

static void start_lookup(struct spf *spf, const struct spf_term *term)
{
    char name[SPF_NAME_MAX];
    if (!count_lookup(spf) || !target(spf, term->domain, name)) {
        return;
    }
    switch (term->kind) {
    case SPF_INCLUDE:
        push(spf, name);
        break;
    case SPF_A:
        ask(spf, SPF_ASK_ADDRESSES, name);
        break;
    case SPF_MX:
        ask(spf, SPF_ASK_MX, name);
        break;
    case SPF_PTR:
        ask(spf, SPF_ASK_NAMES, name);
        break;
    case SPF_EXISTS:
        ask(spf, SPF_ASK_ADDRESS, name);
        break;
    case SPF_ALL:
    case SPF_IP4:
    case SPF_IP6:
    case SPF_REDIRECT:
    case SPF_EXPLANATION:
    case SPF_OTHER:
        break;
    }
}

static void start_term(struct spf *spf, const struct spf_term *term)
{
    switch (term->kind) {
    case SPF_ALL:
        match(spf, term);
        break;
    case SPF_IP4:
    case SPF_IP6:
        if (covers(spf, term, &term->network)) {
            match(spf, term);
        }
        break;
    case SPF_INCLUDE:
    case SPF_A:
    case SPF_MX:
    case SPF_PTR:
    case SPF_EXISTS:
        start_lookup(spf, term);
        break;
    case SPF_REDIRECT: /* only where nothing else has matched */
    case SPF_EXPLANATION:
    case SPF_OTHER:
        break;
    }
}

/* RFC 7208 6.1: the other record takes the place of this one. */
static void redirect(struct spf *spf, const struct spf_term *term)
{
    char name[SPF_NAME_MAX];
    struct spf_frame *frame = top(spf);
    if (!count_lookup(spf)) {
        return;
    }
    if (!target(spf, term->domain, name)) {
        finish(spf, SPF_PERMERROR);
        return;
    }
    memcpy(frame->domain, name, sizeof frame->domain);
    frame->redirected = true;
    ask(spf, SPF_ASK_TEXTS, name);
}

static void at_end(struct spf *spf)
{
    struct bytes record = record_of(top(spf));
    struct spf_term term;
    size_t at = strlen("v=spf1");
    while (spf_term_next(record, &at, &term) > 0) {
        if (term.kind == SPF_REDIRECT) {
            redirect(spf, &term);
            return;
        }
    }
    spf->term[0] = '\0';
    end_record(spf, SPF_NEUTRAL); /* RFC 7208 4.7 */
}

static void run(struct spf *spf)
{
    while (!spf->waiting) {
        struct spf_frame *frame = top(spf);
        struct spf_term term;
        frame->term_at = frame->at;
        if (spf_term_next(record_of(frame), &frame->at, &term) > 0) {
            start_term(spf, &term);
        } else {
            at_end(spf);
        }
    }
}

/* ---- answers ---- */

/* RFC 7208 4.5: one record that begins like one of SPF, or none. */
static void take_texts(struct spf *spf, const struct spf_answer *answer)
{
    struct spf_frame *frame = top(spf);
    const struct bytes *record = NULL;
    for (size_t i = 0; i < answer->text_count; i++) {
        if (spf_record_is(answer->texts[i])) {
            if (record != NULL) {
                finish(spf, SPF_PERMERROR);
                return;
            }
            record = &answer->texts[i];
        }
    }
    if (record == NULL) {
        if (frame->redirected) {
            finish(spf, SPF_PERMERROR);
        } else {
            end_record(spf, SPF_NONE);
        }
        return;
    }
    if (record->len > SPF_RECORD_MAX || !spf_record_is_valid(*record)) {
        finish(spf, SPF_PERMERROR);
        return;
    }
    memcpy(frame->record, record->data, record->len);
    frame->record_len = record->len;
    frame->at = frame->term_at = strlen("v=spf1");
}

static bool any_covered(const struct spf *spf, const struct spf_term *term,
                        const struct spf_answer *answer)
{
    for (size_t i = 0; i < answer->address_count; i++) {
        if (covers(spf, term, &answer->addresses[i])) {
            return true;
        }
    }
    return false;
}

static void next_host(struct spf *spf)
{
    if (spf->host_next < spf->host_count) {
        ask(spf, SPF_ASK_ADDRESSES, spf->hosts[spf->host_next++]);
    }
}

/* RFC 7208 4.6.4: of too many MX none counts, of too many PTR names the first do. */
static void take_hosts(struct spf *spf, const struct spf_term *term,
                       const struct spf_answer *answer)
{
    if (term->kind == SPF_MX && answer->text_count > SPF_HOSTS_MAX) {
        finish(spf, SPF_PERMERROR);
        return;
    }
    spf->host_count = spf->host_next = 0;
    for (size_t i = 0; i < answer->text_count && spf->host_count < SPF_HOSTS_MAX; i++) {
        struct bytes host = answer->texts[i];
        if (host.len > 0 && host.len < SPF_NAME_MAX && bytes_find(host, '\0', 0) < 0) {
            snprintf(spf->hosts[spf->host_count++], SPF_NAME_MAX, "%.*s", BYTES_FMT(host));
        }
    }
    next_host(spf);
}

/* RFC 7208 5.5: the name is the target or below it. */
static bool is_within(const char *host, const char *domain)
{
    struct bytes name = bytes_from_string(host), above = bytes_from_string(domain);
    return bytes_equal_nocase(name, above) ||
           (name.len > above.len && name.data[name.len - above.len - 1] == '.' &&
            bytes_ends_with_nocase(name, above));
}

static bool host_matches(struct spf *spf, const struct spf_term *term,
                         const struct spf_answer *answer)
{
    char domain[SPF_NAME_MAX];
    if (!any_covered(spf, term, answer)) {
        return false;
    }
    return term->kind == SPF_MX ||
           (target(spf, term->domain, domain) && is_within(spf->hosts[spf->host_next - 1], domain));
}

static void take_host(struct spf *spf, const struct spf_term *term, const struct spf_answer *answer)
{
    if (host_matches(spf, term, answer)) {
        match(spf, term);
    } else {
        next_host(spf);
    }
}

/* To the term that has asked. False: DNS has failed where that counts. */
static bool take_answer(struct spf *spf, enum spf_question question,
                        const struct spf_answer *answer)
{
    struct spf_term term = current_term(spf);
    if (answer->status == SPF_DNS_FAILED && term.kind != SPF_PTR) {
        return false; /* RFC 7208 5.5: a ptr just does not match */
    }
    bool of_host = question == SPF_ASK_ADDRESSES && term.kind != SPF_A;
    if (answer->status == SPF_DNS_NOTHING && !of_host && ++spf->voids > SPF_VOIDS_MAX) {
        finish(spf, SPF_PERMERROR);
    } else if (of_host) {
        take_host(spf, &term, answer);
    } else if (question == SPF_ASK_MX || question == SPF_ASK_NAMES) {
        take_hosts(spf, &term, answer);
    } else if (question == SPF_ASK_ADDRESS ? answer->address_count > 0
                                           : any_covered(spf, &term, answer)) {
        match(spf, &term);
    }
    return true;
}

void spf_answer(struct spf *spf, const struct spf_answer *answer)
{
    assert(spf->question != SPF_DONE);
    enum spf_question question = spf->question;
    spf->waiting = false;
    if (question != SPF_ASK_TEXTS) {
        if (!take_answer(spf, question, answer)) {
            finish(spf, SPF_TEMPERROR);
        }
    } else if (answer->status == SPF_DNS_FAILED) {
        finish(spf, SPF_TEMPERROR);
    } else {
        take_texts(spf, answer);
    }
    run(spf);
}

/* RFC 7208 4.3: not a name that could have a record. */
static bool is_domain(const char *domain)
{
    size_t len = strlen(domain), label = 0, dots = 0;
    for (size_t i = 0; i < len; i++) {
        bool dot = domain[i] == '.';
        if (dot && label == 0) {
            return false;
        }
        dots += dot && i + 1 < len;
        label = dot ? 0 : label + 1;
        if (label > 63) {
            return false;
        }
    }
    return len > 0 && len < SPF_NAME_MAX - 2 && dots > 0 && domain[0] != '[';
}

void spf_begin(struct spf *spf, const struct address *ip, const char *domain, const char *helo,
               const char *sender)
{
    assert(ip->family != ADDRESS_NONE);
    spf->ip = *ip;
    spf->helo = helo;
    spf->sender = sender;
    spf->lookups = spf->voids = spf->depth = 0;
    spf->host_count = spf->host_next = 0;
    spf->term[0] = '\0';
    spf->result = SPF_NONE;
    if (is_domain(domain)) {
        push(spf, domain);
    } else {
        finish(spf, SPF_NONE);
    }
}
