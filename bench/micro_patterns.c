/* What it costs to sort a reply: by the program's rules, and by 200 of the kind that operators have
 * had for years; what rules cost to compile; and the worst that hostile replies do.
 *
 *     ninja -C build bench/micro_patterns && build/bench/micro_patterns
 *
 * The worst is looked for: replies made of what the rules themselves look for, whole or without its
 * last letters, so that as much as can be matches nearly. */
#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"
#include "micro.h"
#include "policy/bounce.h"
#include "policy/pattern.h"
#include "policy/rules.h"
#include "smtp/reply.h"
#include "tests/unit/config_files.h"

#define RULES         200
#define TEXT_BYTES    (64 * 1024)
#define ITEMS         20000
#define HOSTILE_COUNT 20000
#define WORDS_MAX     2000

#define WHO                                                                                        \
    "(user|mailbox|recipient|rcpt|local part|address|account|mail drop|"                           \
    "ad(d?)ressee)"
#define HOW                                                                                        \
    "(not (a +)?valid|not known|not here|not found|does not exist|bad|invalid|unknown|illegal|"    \
    "unavailable)"

/* Words, phrases and codes in the order that such lists have. */
static const char *const stock[] = {
    "spam",
    "junk mail",
    "blacklist",
    "blocked",
    "\\bU\\.?C\\.?E\\.?\\b",
    "\\bAdv(ertisements?)?\\b",
    "unsolicited",
    "\\b(open)?RBL\\b",
    "\\bvirus\\b",
    "message +content",
    "content +rejected",
    "quota",
    "limit exceeded",
    "mailbox +(is +)?full",
    "\\bstorage\\b",
    "sender ((verify|verification) failed|could not be verified|address rejected)",
    "unable to verify sender",
    "No MX for envelope sender domain",
    WHO " (has|has been|is)? *(currently|temporarily +)?(disabled|expired|inactive|not activated)",
    "(conta|usu.rio) inativ(a|o)",
    "Too many (bad|invalid|unknown|illegal|unavailable) " WHO,
    "(No such|bad|invalid|unknown|illegal|unavailable) (local +)?" WHO,
    WHO " +(\\S+@\\S+ +)?" HOW,
    "\\S+@\\S+ +(is +)?" HOW,
    "not our customer",
    "no longer (valid|available)",
    "have a \\S+ account",
    "\\brelay(ing)?",
    "domain (retired|bad|invalid|unknown|illegal|unavailable)",
    "domain (\\S+ +)?(is +)?obsolete",
    "denied",
    "prohibit",
    "rejected",
    "refused",
    "allowed",
    "banned",
    "policy",
    "suspicious activity",
    "bad sequence",
    "syntax error",
    "\\broute\\b",
    "^[45]\\.1\\.[1346];",
    "^[45]\\.2\\.1;",
    "^[45]\\.7\\.\\d+;",
};

static const char *const things[] = {
    "throttl",     "greylist",  "reputation", "unusual",  "suspend",   "dnsbl",     "barracuda",
    "symantec",    "cloudmark", "ironport",   "deferred", "resources", "complaint", "helo",
    "certificate", "volume",    "lookup",     "hourly",   "daily",     "user.rate", "mail.rate",
};

/* Before and behind a thing; a number at the end keeps it from fitting any reply below. */
static const struct {
    const char *before, *behind;
} forms[] = {
    {"", ""},          {"", " .*code "},     {"\\b", "\\b.*(from|to) your (ip|host|server) "},
    {"^[45].*;", " "}, {"\\([a-z]*", "\\)"}, {"", " +(has|is|was) +"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const replies[] = {
    "550-5.1.1 The account you wrote to does not exist. Check the address for typing\r\n"
    "550 5.1.1 errors or blanks: https://support.mail.example/?p=NoSuchUser a1b2c3 - gsmtp",
    "421-4.7.28 An unusual rate of unsolicited mail comes from your address. To keep it from\r\n"
    "421-4.7.28 our users, mail from there is rate limited for now. For more go to\r\n"
    "421 4.7.28 https://support.mail.example/?p=RateLimit and read the guidelines. d4e5f6 - gsmtp",
    "452 4.2.2 The inbox of the recipient is out of storage space. a1b2c3d4e5f6 - gsmtp",
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] were not sent: part of your network is on "
    "our block list (S3140). You may look at https://postmaster.example/ [AM1.prod.example]",
    "554 5.7.1 <jane.doe@recipients.example>: Relay access denied",
    "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or "
    "user complaints - 4.16.55.1; see https://postmaster.example/error-codes",
    "550 Requested action not taken: mailbox unavailable",
};
static const char unknown_reply[] =
    "554 5.9.9 <jane.doe@recipients.example>: zzz, [192.0.2.1] zzzz zzz zz: at "
    "https://postmaster.example/zzzz/zzzzzz?zz=4711 [AM0EPF.prod.example 2024-01-01T10:00Z 08DC]";

static char text[TEXT_BYTES];
static struct config *config;
static const struct rule_list *rules;
static struct pattern_matcher *matcher;
static struct reply usual[COUNT(replies)], unknown;
static uint64_t seen;

static void must(bool so, const char *what)
{
    if (!so) {
        fprintf(stderr, "%s: not as expected\n", what);
        exit(1);
    }
}

static void read_reply(const char *from, struct reply *out)
{
    static struct reply_parser parser;
    size_t consumed;
    reply_parser_init(&parser);
    reply_parser_feed(&parser, from, strlen(from), &consumed);
    must(reply_parser_feed(&parser, "\r\n", 2, &consumed) == REPLY_COMPLETE, "reply");
    *out = parser.reply;
}

static void put_rule(struct buffer *out, uint32_t number)
{
    buffer_put_char(out, '/');
    if (number < COUNT(stock)) {
        buffer_put_string(out, stock[number]);
    } else {
        buffer_put_string(out, forms[number % COUNT(forms)].before);
        buffer_put_string(out, things[number % COUNT(things)]);
        buffer_printf(out, "%s%u", forms[number % COUNT(forms)].behind, number);
    }
    buffer_put_string(out, "/ other\n");
}

static void make_text(void)
{
    struct buffer out;
    buffer_init(&out, text, sizeof text - 1);
    buffer_put_string(&out, "<bounce-category-patterns>\n");
    for (uint32_t i = 0; i < RULES; i++) {
        put_rule(&out, i);
    }
    buffer_put_string(&out, "</bounce-category-patterns>\n");
    text[out.len] = '\0';
}

static void load_rules(bool of_program)
{
    config_free(config);
    config = of_program ? load_with_defaults("") : load(text);
    must(config != NULL, "rules");
    rules = config_rules(config, SCOPE_BOUNCE_PATTERNS, BYTES(""));
}

/* ---- usual replies ---------------------------------------------------------------------- */

static void sort_usual(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        seen += bounce_classify(rules, matcher, &usual[i % COUNT(usual)], BOUNCE_ABOUT_RECIPIENT)
                    .category.len;
    }
}

static void sort_unknown(uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct bounce_verdict verdict =
            bounce_classify(rules, matcher, &unknown, BOUNCE_ABOUT_RECIPIENT);
        must(verdict.rule == NULL, "no rule fits");
        seen += verdict.category.len;
    }
}

static void load_each(uint32_t count)
{
    for (uint32_t i = 0; i < count; i += RULES) {
        load_rules(false);
    }
}

/* ---- hostile ones ----------------------------------------------------------------------- */

static struct bytes words[WORDS_MAX];
static uint32_t word_count;

/* What the rules' expressions look for, letter by letter. */
static void find_words(void)
{
    word_count = 0;
    for (size_t i = 0; i < rules->count; i++) {
        struct bytes expression = pattern_text(rules->rules[i].pattern);
        size_t from = 0;
        for (size_t at = 0; at <= expression.len; at++) {
            bool inside =
                at < expression.len && strchr("()|?+*\\[]{}^$.;", expression.data[at]) == NULL;
            if (!inside) {
                if (at > from + 1 && word_count < WORDS_MAX) {
                    words[word_count++] = bytes_slice(expression, from, at);
                }
                from = at + 1;
            }
        }
    }
    must(word_count > 0, "words");
}

static struct bytes pick(struct rng *rng)
{
    static const struct bytes others[] = {BYTES_INIT(" "), BYTES_INIT("@"), BYTES_INIT("a"),
                                          BYTES_INIT("aaaaaaaaaaaaaaaaaaaaaaa"), BYTES_INIT("1.")};
    if (rng_below(rng, 3) == 0) {
        return others[rng_below(rng, COUNT(others))];
    }
    struct bytes word = words[rng_below(rng, word_count)];
    return bytes_slice(word, 0, word.len - rng_below(rng, 2));
}

static void make_hostile(struct rng *rng, struct reply *out)
{
    struct buffer reply;
    struct bytes parts[4];
    uint64_t part_count = 1 + rng_below(rng, COUNT(parts)), blanks = rng_below(rng, 3);
    *out = (struct reply){.code = 554, .enhanced_class = 5, .enhanced_subject = 9};
    buffer_init(&reply, out->text, sizeof out->text);
    for (uint64_t i = 0; i < part_count; i++) {
        parts[i] = pick(rng);
    }
    for (uint64_t i = 0; !reply.overflowed && buffer_room(&reply) > 32; i++) {
        buffer_put_bytes(&reply, parts[i % part_count]);
        if (rng_below(rng, 3) < blanks || parts[i % part_count].len == 0) {
            buffer_put_char(&reply, ' ');
        }
    }
    out->text_len = (uint16_t)reply.len;
}

static double cost_of(const struct reply *reply)
{
    double from = micro_cpu_ns();
    seen += bounce_classify(rules, matcher, reply, BOUNCE_ABOUT_RECIPIENT).category.len;
    return micro_cpu_ns() - from;
}

/* Anything that looks worse than the worst so far is looked at twice more: a moment of somebody
 * else's on this core is not the reply's doing. */
static double find_worst(void)
{
    static struct reply reply;
    struct rng rng;
    double worst = 0;
    rng_init(&rng, 38);
    find_words();
    for (uint32_t i = 0; i < HOSTILE_COUNT; i++) {
        make_hostile(&rng, &reply);
        double cost = cost_of(&reply);
        for (int again = 0; again < 2 && cost > worst; again++) {
            double next = cost_of(&reply);
            cost = next < cost ? next : cost;
        }
        worst = cost > worst ? cost : worst;
    }
    return worst / 1000;
}

int main(void)
{
    matcher = pattern_matcher_create();
    for (size_t i = 0; i < COUNT(replies); i++) {
        read_reply(replies[i], &usual[i]);
    }
    read_reply(unknown_reply, &unknown);
    make_text();
    micro_measure("rules loaded, 200 at a time, each", load_each, 20 * RULES, 0);
    load_rules(false);
    micro_measure("reply sorted by 200 rules", sort_usual, ITEMS, 0);
    micro_measure("reply sorted by 200 rules, none fits", sort_unknown, ITEMS, 0);
    micro_row("the worst of 20,000 hostile replies, 200 rules", find_worst(), "us");
    load_rules(true);
    micro_measure("reply sorted by the program's rules", sort_usual, ITEMS, 0);
    micro_measure("reply sorted by the program's rules, none fits", sort_unknown, ITEMS, 0);
    micro_row("the worst of 20,000 hostile replies, the program's rules", find_worst(), "us");
    config_free(config);
    pattern_matcher_destroy(matcher);
    return seen == 0;
}
