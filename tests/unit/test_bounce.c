/* The category and class of a reply. */
#include "policy/bounce.h"

#include "config_files.h"
#include "hostile_text.h"
#include "policy/pattern.h"
#include "policy/rules.h"
#include "smtp/reply.h"
#include "test.h"

struct verdict_case {
    uint16_t code;
    const char *enhanced; /* NULL: none */
    const char *category, *class;
};

static void check_about(enum bounce_about about, const struct verdict_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct reply reply = {.code = cases[i].code};
        if (cases[i].enhanced != NULL) {
            reply_make(&reply, cases[i].code, cases[i].enhanced, "text");
        }
        struct bounce_verdict verdict = bounce_by_codes(&reply, about);
        if (!bytes_equal(verdict.category, bytes_from_string(cases[i].category)) ||
            strcmp(verdict.class, cases[i].class) != 0) {
            printf("%u %s\n", cases[i].code, cases[i].enhanced == NULL ? "" : cases[i].enhanced);
        }
        CHECK_BYTES(verdict.category, cases[i].category);
        CHECK_STRING(verdict.class, cases[i].class);
    }
}

static void check(const struct verdict_case *cases, size_t count)
{
    check_about(BOUNCE_ABOUT_RECIPIENT, cases, count);
}

TEST(an_enhanced_code_decides)
{
    static const struct verdict_case cases[] = {
        {550, "5.1.1", "bad-mailbox", "hard"},
        {550, "5.1.6", "bad-mailbox", "hard"},
        {550, "5.1.2", "bad-domain", "hard"},
        {550, "5.1.7", "invalid-sender", "technical"},
        {550, "5.1.8", "invalid-sender", "technical"},
        {556, "5.1.10", "bad-domain", "hard"},
        {550, "5.2.0", "bad-mailbox", "hard"},
        {550, "5.2.1", "inactive-mailbox", "hard"},
        {552, "5.2.2", "quota-issues", "soft"},
        {552, "5.2.3", "content-related", "soft"},
        {550, "5.3.3", "content-related", "technical"},
        {552, "5.3.4", "content-related", "soft"},
        {550, "5.3.5", "bad-configuration", "technical"},
        {550, "5.4.1", "no-answer-from-host", "soft"},
        {550, "5.4.2", "bad-connection", "soft"},
        {550, "5.4.3", "routing-errors", "soft"},
        {550, "5.4.4", "routing-errors", "soft"},
        {554, "5.4.6", "routing-errors", "technical"},
        {550, "5.4.7", "message-expired", "expired"},
        {550, "5.5.3", "policy-related", "block"},
        {500, "5.5.1", "protocol-errors", "technical"},
        {554, "5.6.7", "content-related", "technical"},
        {550, "5.7.1", "policy-related", "block"},
        {550, "5.7.26", "policy-related", "block"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(a_transient_reply_has_the_category_of_its_subject)
{
    static const struct verdict_case cases[] = {
        {452, "4.2.2", "quota-issues", "soft"},
        {421, "4.4.2", "bad-connection", "soft"},
        {450, "4.1.2", "bad-domain", "hard"},
        {450, "4.7.1", "policy-related", "block"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(the_enhanced_code_beats_the_plain_one)
{
    static const struct verdict_case cases[] = {
        {550, "5.7.1", "policy-related", "block"},
        {552, "5.1.1", "bad-mailbox", "hard"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(without_an_enhanced_code_the_plain_one_decides)
{
    static const struct verdict_case cases[] = {
        {550, NULL, "bad-mailbox", "hard"},
        {551, NULL, "bad-mailbox", "hard"},
        {553, NULL, "bad-mailbox", "hard"},
        {552, NULL, "quota-issues", "soft"},
        {452, NULL, "quota-issues", "soft"},
        {500, NULL, "protocol-errors", "technical"},
        {503, NULL, "protocol-errors", "technical"},
        {504, NULL, "protocol-errors", "technical"},
        {554, NULL, "other", "soft"},
        {421, NULL, "other", "soft"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

TEST(a_plain_code_to_the_session_is_not_about_the_mailbox)
{
    static const struct verdict_case cases[] = {
        {550, NULL, "policy-related", "block"}, {550, "5.0.0", "policy-related", "block"},
        {551, NULL, "other", "soft"},           {553, NULL, "other", "soft"},
        {552, NULL, "quota-issues", "soft"},    {550, "5.1.1", "bad-mailbox", "hard"},
    };
    check_about(BOUNCE_ABOUT_SESSION, cases, sizeof cases / sizeof cases[0]);
}

TEST(an_enhanced_code_that_says_nothing_leaves_it_to_the_plain_one)
{
    static const struct verdict_case cases[] = {
        {550, "5.0.0", "bad-mailbox", "hard"},
        {554, "5.0.0", "other", "soft"},
        {550, "5.9.9", "bad-mailbox", "hard"},
        {552, "5.3.0", "quota-issues", "soft"},
    };
    check(cases, sizeof cases / sizeof cases[0]);
}

/* ---- by rules ---- */

static struct config *config;
static struct pattern_matcher *matcher;
static const struct rule_list *rules;

static void begin(struct config *loaded)
{
    config = loaded;
    CHECK(config != NULL);
    matcher = pattern_matcher_create();
    rules = config_rules(config, SCOPE_BOUNCE_PATTERNS, text_of(""));
}

static void done(void)
{
    pattern_matcher_destroy(matcher);
    unload(config);
}

/* As a mail host sends it, but for the end of its last line. */
static const struct reply *read_reply(const char *text)
{
    static struct reply_parser parser;
    size_t consumed;
    reply_parser_init(&parser);
    reply_parser_feed(&parser, text, strlen(text), &consumed);
    CHECK(reply_parser_feed(&parser, "\r\n", 2, &consumed) == REPLY_COMPLETE);
    return &parser.reply;
}

static struct bounce_verdict classify(const char *text)
{
    return bounce_classify(rules, matcher, read_reply(text), BOUNCE_ABOUT_RECIPIENT);
}

TEST(the_first_rule_that_matches_decides)
{
    begin(load_good("<bounce-category-patterns>\n/spam/ spam-related\n/full/ hardbnc\n"
                    "/sp/ other\n</bounce-category-patterns>\n"));
    struct bounce_verdict verdict = classify("550 5.1.1 SPAM");
    CHECK_BYTES(verdict.category, "spam-related");
    CHECK_STRING(verdict.class, "block");
    CHECK_INT(verdict.rule->origin.line, 2);
    CHECK(!verdict.too_costly);
    done();
}

TEST(a_category_of_the_operators_own_has_the_class_of_the_codes)
{
    begin(load_good("<bounce-category-patterns>\n// hardbnc\n</bounce-category-patterns>\n"));
    CHECK_BYTES(classify("550 5.1.1 x").category, "hardbnc");
    CHECK_STRING(classify("550 5.1.1 x").class, "hard");
    CHECK_STRING(classify("452 4.2.2 x").class, "soft");
    done();
}

TEST(what_no_rule_knows_goes_by_its_codes)
{
    begin(load_good("<bounce-category-patterns>\n/spam/ spam-related\n"
                    "</bounce-category-patterns>\n"));
    struct bounce_verdict verdict = classify("550 5.2.1 x");
    CHECK_BYTES(verdict.category, "inactive-mailbox");
    CHECK(verdict.rule == NULL);
    done();
    begin(load_good(""));
    CHECK(rules == NULL);
    CHECK_BYTES(classify("550 5.2.1 x").category, "inactive-mailbox");
    done();
}

TEST(a_rule_sees_status_and_reply_as_one_line)
{
    static const struct {
        const char *reply, *subject;
    } cases[] = {
        {"550 5.1.1 no such user", "5.1.1;smtp;550 5.1.1 no such user"},
        {"550 no such user", "5.0.0;smtp;550 no such user"},
        {"450-4.2.0 one\r\n450 4.2.0 two", "4.2.0;smtp;450 4.2.0 one two"},
        {"421 5.7.32 the code wins", "4.7.32;smtp;421 5.7.32 the code wins"},
        {"554", "5.0.0;smtp;554"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char memory[256];
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        bounce_subject(read_reply(cases[i].reply), &out);
        CHECK_BYTES(buffer_bytes(&out), cases[i].subject);
    }
}

TEST(an_operators_rules_come_before_the_programs)
{
    begin(load_with_defaults("<bounce-category-patterns>\n/list/ mine\n"
                             "</bounce-category-patterns>\n"));
    CHECK_BYTES(classify("554 5.7.1 on a block list").category, "mine");
    CHECK_STRING(classify("554 5.7.1 on a block list").rule->origin.file, "/etc/main.conf");
    CHECK_BYTES(classify("554 5.7.1 reputation").category, "spam-related");
    CHECK_STRING(classify("554 5.7.1 reputation").rule->origin.file, CONFIG_DEFAULTS_NAME);
    done();
    begin(load_with_defaults("<bounce-category-patterns>\n// other\n"
                             "</bounce-category-patterns>\n"));
    CHECK_BYTES(classify("554 5.7.1 reputation").category, "other");
    done();
}

TEST(the_programs_rules_load_without_a_word_and_name_known_categories)
{
    begin(load_with_defaults(""));
    CHECK_INT(report.errors + report.warnings, 0);
    CHECK(rules->count > 40);
    for (size_t i = 0; i < rules->count; i++) {
        struct bytes category = rules->rules[i].actions[0].name;
        bool known = false;
#define IS_CATEGORY(name, class) known |= bytes_equal(category, BYTES(name));
        BOUNCE_CATEGORIES(IS_CATEGORY)
#undef IS_CATEGORY
        CHECK(known);
    }
    done();
}

TEST(a_mistake_in_the_configuration_is_told_once_and_in_its_own_file)
{
    struct config *loaded = load_with_defaults("<bounce-category-patterns>\n");
    CHECK(loaded == NULL);
    CHECK(has_message("1:1: error: <bounce-category-patterns> is not closed"));
    CHECK_INT(report.errors, 1);
    unload(loaded);
}

TEST(a_category_that_is_nearly_a_known_one_is_warned_about)
{
    CHECK(warns_with("<bounce-category-patterns>\n/x/ bad-mailbx\n</bounce-category-patterns>\n",
                     "2:5: warning: 'bad-mailbx' becomes a category of its own: 'bad-mailbox' is"));
    struct config *fine = load_good("<bounce-category-patterns>\n/x/ hardbnc\n/y/ Other\n"
                                    "</bounce-category-patterns>\n");
    CHECK_INT(report.warnings, 0);
    unload(fine);
}

/* What mail hosts say, as their documents and their senders report it, in our words. */
static const struct {
    const char *reply, *category, *class;
} replies[] = {
    /* Gmail */
    {"550-5.1.1 The account you wrote to does not exist. Check the address for typing\r\n550 5.1.1 "
     "errors or blanks: https://support.mail.example/?p=NoSuchUser a1b2 - gsmtp",
     "bad-mailbox", "hard"},
    {"550 5.2.1 The account you wrote to is disabled. - gsmtp", "inactive-mailbox", "hard"},
    {"450 4.2.1 This user gets mail at a rate that keeps more from being delivered. - gsmtp",
     "quota-issues", "soft"},
    {"450 4.2.1 This user gets mail too quickly. Send it again later. - gsmtp", "quota-issues",
     "soft"},
    {"452 4.2.2 The inbox of the recipient is out of storage space. - gsmtp", "quota-issues",
     "soft"},
    {"552 5.2.3 Your message is larger than the limit. - gsmtp", "content-related", "soft"},
    {"421 4.7.0 [192.0.2.1 15] An unusual rate of unsolicited mail comes from your address. - "
     "gsmtp",
     "spam-related", "block"},
    {"421 4.7.28 An unusual rate of mail comes from your SPF domain; it is rate limited. - gsmtp",
     "policy-related", "block"},
    {"550 5.7.1 [192.0.2.1 12] This message is likely unsolicited mail and was blocked. - gsmtp",
     "spam-related", "block"},
    {"550 5.7.1 [192.0.2.1] This message is likely suspicious due to the very low reputation of "
     "the domain",
     "spam-related", "block"},
    {"550-5.7.26 Unauthenticated mail from sender.example is not taken due to its domain's "
     "DMARC\r\n550 5.7.26 policy. - gsmtp",
     "policy-related", "block"},
    {"550 5.7.25 [192.0.2.1] The sending address has no PTR record. - gsmtp", "policy-related",
     "block"},
    {"552 5.7.0 This message was blocked since its content is a security issue: attachment. - "
     "gsmtp",
     "content-related", "technical"},
    {"550 5.4.5 Daily sending quota exceeded. - gsmtp", "quota-issues", "soft"},
    /* Yahoo and AOL */
    {"554 delivery error: dd This user does not have a yahoo.example account (jane@yahoo.example) "
     "[0]",
     "bad-mailbox", "hard"},
    {"554 delivery error: dd This user doesn't have a yahoo.example account (jane@yahoo.example) "
     "[-9]",
     "bad-mailbox", "hard"},
    {"552 1 Requested mail action not done, mailbox not found", "bad-mailbox", "hard"},
    {"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or "
     "user complaints - 4.16.55.1",
     "spam-related", "block"},
    {"553 5.7.1 [BL21] Connections are not accepted from 192.0.2.1, which is on a list of Spamhaus",
     "spam-related", "block"},
    {"554 5.7.9 Message not accepted for policy reasons.", "policy-related", "block"},
    {"554 30 Sorry, your message to jane@aol.example cannot be delivered. This mailbox is disabled "
     "(554.30).",
     "inactive-mailbox", "hard"},
    /* Microsoft */
    {"550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). "
     "[AM1.namprd.example]",
     "bad-mailbox", "hard"},
    {"550 5.7.1 Unfortunately, messages from [192.0.2.1] were not sent: part of your network is on "
     "our block list (S3140).",
     "spam-related", "block"},
    {"421 RP-001 (SNT1) Unfortunately, some messages from 192.0.2.1 were not sent: it exceeded the "
     "rate limit",
     "policy-related", "block"},
    {"550 5.4.1 Recipient address rejected: Access denied. [AM1.prod.example "
     "2024-01-01T10:00:00.000Z 08DC]",
     "bad-mailbox", "hard"},
    {"550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
     "bad-mailbox", "hard"},
    {"550 5.1.1 RESOLVER.ADR.ExRecipNotFound; not found", "bad-mailbox", "hard"},
    {"550 5.7.1 RESOLVER.RST.NotAuthorized; not authorized", "policy-related", "block"},
    {"550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To be taken off this list, visit a "
     "page",
     "spam-related", "block"},
    {"550 5.7.515 Access denied, sending domain sender.example does not meet the required "
     "authentication level",
     "policy-related", "block"},
    {"550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.",
     "policy-related", "block"},
    {"451 4.7.650 The mail server [192.0.2.1] is temporarily rate limited due to IP reputation.",
     "spam-related", "block"},
    {"451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77719)", "policy-related",
     "block"},
    {"552 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", "quota-issues",
     "soft"},
    {"550 5.7.1 Service unavailable, Client host [192.0.2.1] blocked using Spamhaus.",
     "spam-related", "block"},
    {"550 5.7.64 TenantAttribution; Relay Access Denied", "relaying-issues", "technical"},
    {"554 5.4.14 Hop count exceeded - possible mail loop ATTR34", "routing-errors", "soft"},
    {"550 5.1.8 Access denied, bad outbound sender", "invalid-sender", "technical"},
    {"452 4.5.3 Too many recipients", "policy-related", "block"},
    /* Apple */
    {"550 5.1.1 <jane@icloud.example>: user does not exist", "bad-mailbox", "hard"},
    {"550 5.7.1 [HM08] Message rejected due to local policy. Please visit a page", "policy-related",
     "block"},
    {"552 5.2.2 <jane@icloud.example>: user is over quota", "quota-issues", "soft"},
    /* GMX, web.de, T-Online */
    {"550 Requested action not taken: mailbox unavailable", "bad-mailbox", "hard"},
    {"554-Transaction failed\r\n554-Reject due to policy restrictions.\r\n554 See "
     "https://postmaster.example/",
     "policy-related", "block"},
    {"421 4.7.0 IP=192.0.2.1 - too many connections", "policy-related", "block"},
    {"554 IP=192.0.2.1 - A problem occurred. Ask your postmaster for help", "other", "soft"},
    {"552 5.2.2 Postfach ist voll", "quota-issues", "soft"},
    {"550 Empfänger unbekannt", "bad-mailbox", "hard"},
    /* Orange, Laposte */
    {"550 5.2.0 Mail rejete. Mail rejected. OFR_506 [506]", "policy-related", "block"},
    {"550 5.1.1 Adresse d au moins un destinataire invalide. OFR204_418 [418]", "bad-mailbox",
     "hard"},
    {"550 Destinataire inconnu", "bad-mailbox", "hard"},
    {"421 Service refuse. Veuillez essayer plus tard. service refused, please try later. "
     "OFR004_104 [104]",
     "policy-related", "block"},
    {"452 La boîte aux lettres est pleine", "quota-issues", "soft"},
    /* Comcast, AT&T */
    {"550 5.1.1 Not our Customer", "bad-mailbox", "hard"},
    {"421 4.1.0 192.0.2.1 Throttled - try again later. RL000001", "policy-related", "block"},
    {"554 resimta PTR record missing for 192.0.2.1: fix reverse DNS", "policy-related", "block"},
    {"553 5.3.0 flpd DNSBL:RBL 521< 192.0.2.1 >_is_blocked. For assistance mail abuse_rbl",
     "spam-related", "block"},
    {"421 4.7.1 - Connection refused - 192.0.2.1 - too many sessions opened", "policy-related",
     "block"},
    /* Postfix, Exim, qmail, Sendmail, and what stands before them */
    {"550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual mailbox "
     "table",
     "bad-mailbox", "hard"},
    {"450 4.1.1 <jane@example.com>: Recipient address rejected: unverified address", "bad-mailbox",
     "hard"},
    {"554 5.7.1 <jane@example.com>: Recipient address rejected: Access denied", "policy-related",
     "block"},
    {"554 5.7.1 <jane@example.com>: Relay access denied", "relaying-issues", "technical"},
    {"550 5.7.1 Unable to relay for jane@example.com", "relaying-issues", "technical"},
    {"553 sorry, that domain is not in my list of allowed rcpthosts (#5.7.1)", "relaying-issues",
     "technical"},
    {"554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.example",
     "spam-related", "block"},
    {"450 4.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]",
     "policy-related", "block"},
    {"504 5.5.2 <mail>: Helo command rejected: need fully-qualified hostname", "policy-related",
     "block"},
    {"450 4.2.0 <jane@example.com>: Recipient address rejected: Greylisted, come back in 5 minutes",
     "policy-related", "block"},
    {"451 4.7.1 Greylisting in action, please come back in 00:04:59", "policy-related", "block"},
    {"550 5.1.8 <news@sender.example>: Sender address rejected: Domain not found", "invalid-sender",
     "technical"},
    {"550 <news@sender.example>: Sender address rejected: user unknown", "invalid-sender",
     "technical"},
    {"550 Verification failed for <news@sender.example>: unable to verify sender", "invalid-sender",
     "technical"},
    {"553 5.1.8 Domain of sender address news@sender.example does not resolve", "invalid-sender",
     "technical"},
    {"550 Unrouteable address", "bad-mailbox", "hard"},
    {"550 No such user here", "bad-mailbox", "hard"},
    {"550 sorry, no mailbox here by that name (#5.1.1)", "bad-mailbox", "hard"},
    {"550 <jane@example.com> User unknown", "bad-mailbox", "hard"},
    {"550 Account jane@example.com not found", "bad-mailbox", "hard"},
    {"550 Invalid recipient <jane@example.com> (#5.1.1)", "bad-mailbox", "hard"},
    {"554 This address no longer accepts mail.", "bad-mailbox", "hard"},
    {"554 user jane@example.com does not exist", "bad-mailbox", "hard"},
    {"550 Mailbox is full", "quota-issues", "soft"},
    {"452 4.3.1 Insufficient system storage", "quota-issues", "soft"},
    {"554 Mailbox over quota", "quota-issues", "soft"},
    {"550 The account has been suspended", "inactive-mailbox", "hard"},
    {"550 mailbox temporarily disabled", "inactive-mailbox", "hard"},
    {"550 Usuário inativo", "inactive-mailbox", "hard"},
    {"554 El usuario no existe", "bad-mailbox", "hard"},
    {"550 Host unknown", "bad-domain", "hard"},
    {"550 domain example.com is no longer hosted here", "bad-domain", "hard"},
    {"550 Message contains a virus (Eicar-Test)", "virus-related", "block"},
    {"554 5.7.1 Rejected: malware found in attachment", "virus-related", "block"},
    {"554 5.7.1 This message scored 15.2 points as spam", "spam-related", "block"},
    {"550 5.7.1 Message blocked by a filter", "policy-related", "block"},
    {"550 5.7.1 Content rejected", "content-related", "technical"},
    {"552 5.3.4 Message size exceeds fixed limit", "content-related", "soft"},
    {"554 Message too large", "content-related", "technical"},
    {"550 5.6.0 Lone CR or LF in body", "content-related", "technical"},
    {"550 5.7.1 Missing From header: see RFC 5322", "content-related", "technical"},
    {"501 5.5.4 Syntax error in parameters", "protocol-errors", "technical"},
    {"503 5.5.1 Bad sequence of commands", "protocol-errors", "technical"},
    {"502 5.5.2 Command not implemented", "protocol-errors", "technical"},
    {"451 4.3.0 Local configuration error", "bad-configuration", "technical"},
    {"451 4.3.0 Temporary lookup failure", "bad-configuration", "technical"},
    {"550 5.7.1 Denied by policy", "policy-related", "block"},
    {"421 4.3.2 Service not available, closing transmission channel", "other", "soft"},
    {"554 Transaction failed", "other", "soft"},
    /* What this program says itself */
    {"556 5.1.10 domain accepts no mail (null MX)", "bad-domain", "hard"},
    {"550 5.1.2 domain does not exist", "bad-domain", "hard"},
    {"554 5.4.6 mail loops back to this host", "routing-errors", "technical"},
    {"421 4.4.1 cannot connect to 192.0.2.1:25: Connection refused", "no-answer-from-host", "soft"},
    {"421 4.4.2 connection lost to 192.0.2.1:25", "bad-connection", "soft"},
    {"451 4.4.3 DNS lookup failed", "routing-errors", "soft"},
    {"450 4.4.7 delivery time expired (last error: smtp;421 4.7.0 blocked as spam)",
     "message-expired", "expired"},
    {"454 4.7.4 TLS is required and was not offered", "policy-related", "block"},
    {"552 5.3.4 the message is larger than the SIZE the host offers", "content-related", "soft"},
    /* A mailbox code beats a word in the text */
    {"550 5.1.1 <jane@example.com>: rejected, see our list of spam domains", "bad-mailbox", "hard"},
    {"550 5.2.1 mailbox blocked for abuse", "inactive-mailbox", "hard"},
    {"452 4.2.2 rejected by policy: mailbox full", "quota-issues", "soft"},
    {"550 5.1.2 relaying denied", "bad-domain", "hard"},
};

TEST(what_mail_hosts_say_is_sorted)
{
    begin(load_with_defaults(""));
    for (size_t i = 0; i < sizeof replies / sizeof replies[0]; i++) {
        struct bounce_verdict verdict = classify(replies[i].reply);
        if (!bytes_equal(verdict.category, text_of(replies[i].category)) ||
            strcmp(verdict.class, replies[i].class) != 0 || verdict.too_costly) {
            printf("%s\n  by line %u\n", replies[i].reply,
                   verdict.rule == NULL ? 0 : verdict.rule->origin.line);
        }
        CHECK_BYTES(verdict.category, replies[i].category);
        CHECK_STRING(verdict.class, replies[i].class);
        CHECK(!verdict.too_costly);
    }
    done();
}

/* The least of three: somebody else's moment on this core is not the rules' cost. */
static int64_t cost_us(const struct reply *reply)
{
    int64_t least = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t from = cpu_us();
        bounce_classify(rules, matcher, reply, BOUNCE_ABOUT_RECIPIENT);
        int64_t took = cpu_us() - from;
        least = took < least ? took : least;
    }
    return least;
}

static void check_hostile(const char *configuration)
{
    begin(load_with_defaults(configuration));
    for (size_t i = 0; i < HOSTILE_UNITS * 4; i++) {
        static struct reply reply;
        size_t len = i % 2 == 0 ? REPLY_TEXT_MAX : 300;
        reply = (struct reply){.code = 550, .text_len = (uint16_t)len};
        hostile_fill(reply.text, hostile_units[i / 4], len, PATTERN_SUBJECT_MAX - 16,
                     i / 2 % 2 == 0);
        int64_t us = cost_us(&reply);
        if (us >= 5000) {
            printf("%s took %lld us\n", hostile_units[i / 4], (long long)us);
        }
        CHECK(us < 5000);
    }
    done();
}

TEST(c38_hostile_replies_are_over_soon_with_the_programs_rules)
{
    check_hostile("");
}

/* Of the kind that operators have had for years. */
TEST(c38_hostile_replies_are_over_soon_with_rules_that_go_back_and_forth)
{
    check_hostile(
        "<bounce-category-patterns>\n"
        "/(user|mailbox|address) +(\\S+@\\S+ +)?(not (a +)?valid|not known|unknown)/ bad-mailbox\n"
        "/\\S+@\\S+ +(is +)?(not (a +)?valid|not known|unknown|unavailable)/ bad-mailbox\n"
        "/domain (\\S+ +)?(is +)?obsolete/ bad-domain\n"
        "/have a \\S+ account/ bad-mailbox\n"
        "/.*spam.*list.*/ spam-related\n"
        "/\\bmessage\\b.*\\bcontent\\b.*\\brejected\\b/ content-related\n"
        "</bounce-category-patterns>\n");
}

TEST(c38_a_reply_that_is_too_costly_is_other_and_says_by_which_rule)
{
    static struct reply reply;
    begin(load_with_defaults("<bounce-category-patterns>\n/nothing/ mine\n/(a+)+$9|(a+)+b/ mine\n"
                             "</bounce-category-patterns>\n"));
    reply_make(&reply, 550, "5.1.1", "");
    hostile_fill(reply.text, "a", REPLY_TEXT_MAX, REPLY_TEXT_MAX, false);
    memcpy(reply.text + 600, "-b-", 3);
    reply.text_len = REPLY_TEXT_MAX;
    struct bounce_verdict verdict = bounce_classify(rules, matcher, &reply, BOUNCE_ABOUT_RECIPIENT);
    CHECK(verdict.too_costly);
    CHECK_BYTES(verdict.category, "other");
    CHECK_STRING(verdict.class, "soft");
    CHECK_INT(verdict.rule->origin.line, 3);
    done();
}
