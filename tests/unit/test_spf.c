/* SPF against a zone in a table. The cases follow RFC 7208 section by section. */
#include "smtp/spf.h"

#include "test.h"

#define QUESTIONS_MAX 250 /* more than any evaluation may ask */

static const struct record {
    const char *name, *type, *value; /* type "fail": the server fails for this name */
} zone[] = {
    /* mechanisms */
    {"all.test", "TXT", "v=spf1 all"},
    {"fail.test", "TXT", "v=spf1 -all"},
    {"soft.test", "TXT", "v=spf1 ~all"},
    {"neutral.test", "TXT", "v=spf1 ?all"},
    {"silent.test", "TXT", "v=spf1 ip4:203.0.113.1"},
    {"bare.test", "TXT", "v=spf1"},
    {"case.test", "TXT", "V=SpF1 IP4:192.0.2.0/24 -ALL"},
    {"ip4.test", "TXT", "v=spf1 ip4:192.0.2.1 ip4:198.51.100.0/24 -all"},
    {"ip4net.test", "TXT", "v=spf1 ip4:192.0.2.130/25 -all"},
    {"ip4zero.test", "TXT", "v=spf1 ip4:0.0.0.0/0 -all"},
    {"ip6.test", "TXT", "v=spf1 ip6:2001:db8::/32 -all"},
    {"ip6one.test", "TXT", "v=spf1 ip6:2001:db8::1 -all"},
    {"a.test", "TXT", "v=spf1 a -all"},
    {"a.test", "A", "192.0.2.1"},
    {"a.test", "A", "192.0.2.9"},
    {"a.test", "AAAA", "2001:db8::1"},
    {"anet.test", "TXT", "v=spf1 a:a.test/24//64 -all"},
    {"anet6.test", "TXT", "v=spf1 a:a.test//64 -all"},
    {"anet4.test", "TXT", "v=spf1 a/24 -all"},
    {"anet4.test", "A", "192.0.2.77"},
    {"mx.test", "TXT", "v=spf1 mx -all"},
    {"mx.test", "MX", "mx1.test"},
    {"mx.test", "MX", "mx2.test"},
    {"mx1.test", "A", "203.0.113.1"},
    {"mx2.test", "A", "192.0.2.1"},
    {"mxnet.test", "TXT", "v=spf1 mx:mx.test/24 -all"},
    {"ptr.test", "TXT", "v=spf1 ptr -all"},
    {"ptrother.test", "TXT", "v=spf1 ptr:other.test -all"},
    {"ip 192.0.2.1", "PTR", "liar.test"},
    {"ip 192.0.2.1", "PTR", "host.ptr.test"},
    {"liar.test", "A", "203.0.113.1"},
    {"host.ptr.test", "A", "192.0.2.1"},
    {"exists.test", "TXT", "v=spf1 exists:%{ir}.list.test -all"},
    {"1.2.0.192.list.test", "A", "127.0.0.2"},
    {"exists6.test", "TXT", "v=spf1 exists:%{i}.list.test -all"},
    {"2.0.0.1.0.d.b.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.list.test", "A", "127.0.0.2"},
    /* include and redirect */
    {"in.test", "TXT", "v=spf1 include:ip4.test ~all"},
    {"insoft.test", "TXT", "v=spf1 ?include:soft.test -include:all.test"},
    {"innone.test", "TXT", "v=spf1 include:none.test all"},
    {"inbroken.test", "TXT", "v=spf1 include:broken.test all"},
    {"intemp.test", "TXT", "v=spf1 include:down.test all"},
    {"indeep.test", "TXT", "v=spf1 include:in.test -all"},
    {"red.test", "TXT", "v=spf1 redirect=ip4.test"},
    {"redlate.test", "TXT", "v=spf1 redirect=fail.test ip4:192.0.2.1"},
    {"rednone.test", "TXT", "v=spf1 redirect=none.test"},
    {"redin.test", "TXT", "v=spf1 include:red.test ?all"},
    {"redown.test", "TXT", "v=spf1 redirect=%{d}.own.test"},
    {"redown.test.own.test", "TXT", "v=spf1 a:%{d} -all"},
    {"redown.test.own.test", "A", "192.0.2.1"},
    /* records */
    {"none.test", "TXT", "something else"},
    {"other.none.test", "TXT", "v=spf10 all"},
    {"two.test", "TXT", "v=spf1 all"},
    {"two.test", "TXT", "v=spf1 -all"},
    {"beside.test", "TXT", "v=spf2.0/pra -all"},
    {"beside.test", "TXT", "v=spf1 ip4:192.0.2.1 -all"},
    {"broken.test", "TXT", "v=spf1 ip4:192.0.2.1 ipv4:203.0.113.1 -all"},
    {"down.test", "fail", ""},
    {"adown.test", "TXT", "v=spf1 a:down.test -all"},
    {"mxdown.test", "TXT", "v=spf1 mx -all"},
    {"mxdown.test", "MX", "down.test"},
    {"ptrdown.test", "TXT", "v=spf1 ptr ip4:198.51.100.9 -all"},
    {"ip 198.51.100.9", "fail", ""},
    /* limits */
    {"loop.test", "TXT", "v=spf1 include:loop.test all"},
    {"redloop.test", "TXT", "v=spf1 redirect=redloop.test"},
    {"ten.test", "TXT",
     "v=spf1 a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test "
     "a:a.test ip4:203.0.113.9 -all"},
    {"eleven.test", "TXT",
     "v=spf1 a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test a:a.test "
     "a:a.test a:a.test ip4:203.0.113.9 -all"},
    {"voids.test", "TXT", "v=spf1 a:no1.test a:no2.test ip4:192.0.2.1 -all"},
    {"voids3.test", "TXT", "v=spf1 a:no1.test a:no2.test exists:no3.test ip4:192.0.2.1 -all"},
    {"mxten.test", "TXT", "v=spf1 mx -all"},
    {"mxten.test", "MX", "many"},
    {"mxeleven.test", "TXT", "v=spf1 mx:mxeleven.test -all"},
    {"mxeleven.test", "MX", "too many"},
    {"m.test", "A", "192.0.2.1"},
    /* macros: exists names that only the right expansion finds */
    {"m1.test", "TXT", "v=spf1 exists:%{l}.%{o}.%{d}.%{h}.%{v}.m.test -all"},
    {"joe.from.test.m1.test.helo.test.in-addr.m.test", "A", "127.0.0.2"},
    {"m2.test", "TXT", "v=spf1 exists:%{d1r}-%{d2}.%{p}.m.test -all"},
    {"m2-m2.test.unknown.m.test", "A", "127.0.0.2"},
    {"m3.test", "TXT", "v=spf1 exists:%{l1r-}.%{L}.%%%_%-.m.test -all"},
    {"strong.strong-bad%2Bx.% %20.m.test", "A", "127.0.0.2"},
    {"m4.test", "TXT", "v=spf1 exists:%{s}.m.test -all"},
    {"joe@from.test.m.test", "A", "127.0.0.2"},
};

static bool is_family(const struct record *record, const struct address *ip)
{
    return strcmp(record->type, ip->family == ADDRESS_IPV4 ? "A" : "AAAA") == 0;
}

static bool is_wanted(const struct record *record, const struct spf *spf, const struct address *ip)
{
    switch (spf->question) {
    case SPF_ASK_TEXTS:
        return strcmp(record->type, "TXT") == 0;
    case SPF_ASK_ADDRESSES:
        return is_family(record, ip);
    case SPF_ASK_ADDRESS:
        return strcmp(record->type, "A") == 0;
    case SPF_ASK_MX:
        return strcmp(record->type, "MX") == 0;
    case SPF_ASK_NAMES:
        return strcmp(record->type, "PTR") == 0;
    case SPF_DONE:
        break;
    }
    return false;
}

struct answer {
    struct spf_answer answer;
    struct bytes texts[16];
    struct address addresses[16];
};

static void add(struct answer *to, const struct record *record)
{
    struct spf_answer *answer = &to->answer;
    bool many = strcmp(record->value, "many") == 0 || strcmp(record->value, "too many") == 0;
    for (int i = 0; i < (many ? (*record->value == 't' ? 11 : 10) : 1); i++) {
        struct address address;
        answer->status = SPF_DNS_FOUND;
        if (address_parse(bytes_from_string(record->value), &address)) {
            to->addresses[answer->address_count++] = address;
        } else {
            to->texts[answer->text_count++] = bytes_from_string(many ? "m.test" : record->value);
        }
    }
}

static void look_up(const struct spf *spf, const struct address *ip, struct answer *out)
{
    char reverse[ADDRESS_TEXT_MAX + 4], text[ADDRESS_TEXT_MAX];
    snprintf(reverse, sizeof reverse, "ip %s", address_text(ip, text));
    const char *name = spf->question == SPF_ASK_NAMES ? reverse : spf->name;
    *out = (struct answer){.answer.status = SPF_DNS_NOTHING};
    out->answer.texts = out->texts;
    out->answer.addresses = out->addresses;
    for (size_t i = 0; i < sizeof zone / sizeof zone[0]; i++) {
        if (!bytes_equal_nocase(bytes_from_string(zone[i].name), bytes_from_string(name))) {
            continue;
        }
        if (strcmp(zone[i].type, "fail") == 0) {
            out->answer.status = SPF_DNS_FAILED;
        } else if (is_wanted(&zone[i], spf, ip)) {
            add(out, &zone[i]);
        }
    }
}

static struct spf spf;

static const char *evaluate(const char *ip_text, const char *domain, const char *sender)
{
    struct address ip;
    struct answer answer;
    CHECK(address_parse(bytes_from_string(ip_text), &ip));
    spf_begin(&spf, &ip, domain, "helo.test", sender);
    for (int count = 0; spf.question != SPF_DONE; count++) {
        CHECK(count < QUESTIONS_MAX);
        look_up(&spf, &ip, &answer);
        spf_answer(&spf, &answer.answer);
    }
    return spf_result_name(spf.result);
}

struct example {
    const char *ip, *domain, *result;
};

static void check_all(const struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *result = evaluate(examples[i].ip, examples[i].domain, "joe@from.test");
        if (strcmp(result, examples[i].result) != 0) {
            printf("%s from %s:\n", examples[i].domain, examples[i].ip);
        }
        CHECK_STRING(result, examples[i].result);
    }
}

#define CHECK_EXAMPLES(examples) check_all(examples, sizeof(examples) / sizeof(examples)[0])

TEST(each_mechanism_matches_what_it_names)
{
    static const struct example examples[] = {
        {"192.0.2.1", "all.test", "pass"},       {"192.0.2.1", "fail.test", "fail"},
        {"192.0.2.1", "soft.test", "softfail"},  {"192.0.2.1", "neutral.test", "neutral"},
        {"192.0.2.1", "silent.test", "neutral"}, {"192.0.2.1", "bare.test", "neutral"},
        {"192.0.2.1", "case.test", "pass"},      {"192.0.2.1", "ip4.test", "pass"},
        {"198.51.100.77", "ip4.test", "pass"},   {"192.0.2.2", "ip4.test", "fail"},
        {"2001:db8::1", "ip4.test", "fail"},     {"192.0.2.129", "ip4net.test", "pass"},
        {"192.0.2.127", "ip4net.test", "fail"},  {"2001:db8::1", "ip4zero.test", "fail"},
        {"203.0.113.9", "ip4zero.test", "pass"}, {"2001:db8:9::1", "ip6.test", "pass"},
        {"2001:db9::1", "ip6.test", "fail"},     {"192.0.2.1", "ip6.test", "fail"},
        {"2001:db8::1", "ip6one.test", "pass"},  {"2001:db8::2", "ip6one.test", "fail"},
        {"192.0.2.9", "a.test", "pass"},         {"192.0.2.2", "a.test", "fail"},
        {"2001:db8::1", "a.test", "pass"},       {"192.0.2.2", "anet.test", "pass"},
        {"2001:db8::9", "anet.test", "pass"},    {"2001:db8:1::9", "anet.test", "fail"},
        {"192.0.2.2", "anet6.test", "fail"},     {"2001:db8::9", "anet6.test", "pass"},
        {"192.0.2.2", "anet4.test", "pass"},     {"192.0.2.1", "mx.test", "pass"},
        {"192.0.2.2", "mx.test", "fail"},        {"192.0.2.2", "mxnet.test", "pass"},
        {"192.0.2.1", "ptr.test", "pass"},       {"203.0.113.1", "ptr.test", "fail"},
        {"192.0.2.1", "ptrother.test", "fail"},  {"192.0.2.1", "exists.test", "pass"},
        {"192.0.2.2", "exists.test", "fail"},    {"2001:db8::1", "exists6.test", "pass"},
    };
    CHECK_EXAMPLES(examples);
}

TEST(the_term_that_decides_is_told)
{
    evaluate("198.51.100.7", "in.test", "");
    CHECK_STRING(spf.term, "ip4:198.51.100.0/24");
    evaluate("192.0.2.7", "in.test", "");
    CHECK_STRING(spf.term, "~all");
    evaluate("192.0.2.7", "silent.test", "");
    CHECK_STRING(spf.term, "");
}

TEST(includes_and_redirects_lead_to_other_records) /* RFC 7208 5.2, 6.1 */
{
    static const struct example examples[] = {
        {"192.0.2.1", "in.test", "pass"},
        {"192.0.2.2", "in.test", "softfail"},
        {"192.0.2.1", "insoft.test", "fail"},
        {"192.0.2.1", "innone.test", "permerror"},
        {"192.0.2.1", "inbroken.test", "permerror"},
        {"192.0.2.1", "intemp.test", "temperror"},
        {"192.0.2.1", "indeep.test", "pass"},
        {"192.0.2.2", "indeep.test", "fail"},
        {"192.0.2.1", "red.test", "pass"},
        {"192.0.2.2", "red.test", "fail"},
        {"192.0.2.1", "redlate.test", "pass"},
        {"192.0.2.2", "redlate.test", "fail"},
        {"192.0.2.1", "rednone.test", "permerror"},
        {"192.0.2.1", "redin.test", "pass"},
        {"192.0.2.2", "redin.test", "neutral"},
        {"192.0.2.1", "redown.test", "pass"},
        {"192.0.2.2", "redown.test", "fail"},
    };
    CHECK_EXAMPLES(examples);
}

TEST(one_record_counts_and_dns_may_fail) /* RFC 7208 4.3 to 4.5, 5 */
{
    static const struct example examples[] = {
        {"192.0.2.1", "none.test", "none"},        {"192.0.2.1", "other.none.test", "none"},
        {"192.0.2.1", "nowhere.test", "none"},     {"192.0.2.1", "two.test", "permerror"},
        {"192.0.2.1", "beside.test", "pass"},      {"192.0.2.1", "broken.test", "permerror"},
        {"192.0.2.1", "down.test", "temperror"},   {"192.0.2.1", "adown.test", "temperror"},
        {"192.0.2.1", "mxdown.test", "temperror"}, {"198.51.100.9", "ptrdown.test", "pass"},
        {"192.0.2.1", "localhost", "none"},        {"192.0.2.1", "", "none"},
        {"192.0.2.1", "a..test", "none"},          {"192.0.2.1", "[192.0.2.1]", "none"},
    };
    CHECK_EXAMPLES(examples);
}

TEST(no_record_makes_more_lookups_than_allowed) /* RFC 7208 4.6.4 */
{
    static const struct example examples[] = {
        {"203.0.113.9", "loop.test", "permerror"}, {"203.0.113.9", "redloop.test", "permerror"},
        {"203.0.113.9", "ten.test", "pass"},       {"203.0.113.9", "eleven.test", "permerror"},
        {"192.0.2.1", "voids.test", "pass"},       {"192.0.2.1", "voids3.test", "permerror"},
        {"192.0.2.1", "mxten.test", "pass"},       {"192.0.2.1", "mxeleven.test", "permerror"},
    };
    CHECK_EXAMPLES(examples);
}

TEST(macros_stand_for_what_is_known_of_the_mail) /* RFC 7208 7 */
{
    CHECK_STRING(evaluate("192.0.2.1", "m1.test", "joe@from.test"), "pass");
    CHECK_STRING(evaluate("192.0.2.1", "m2.test", "joe@from.test"), "pass");
    CHECK_STRING(evaluate("192.0.2.1", "m3.test", "strong-bad+x@from.test"), "pass");
    CHECK_STRING(evaluate("192.0.2.1", "m4.test", "joe@from.test"), "pass");
    CHECK_STRING(evaluate("192.0.2.1", "m4.test", "jim@from.test"), "fail");
}

/* The record of syntax.test, by a zone of its own. */
static const char *syntax(const char *record)
{
    struct address ip = {.family = ADDRESS_IPV4, .ip = {192, 0, 2, 1}};
    struct bytes text = bytes_from_string(record);
    spf_begin(&spf, &ip, "syntax.test", "helo.test", "joe@from.test");
    spf_answer(&spf,
               &(struct spf_answer){.status = SPF_DNS_FOUND, .texts = &text, .text_count = 1});
    while (spf.question != SPF_DONE) {
        spf_answer(&spf, &(struct spf_answer){.status = SPF_DNS_NOTHING});
    }
    return spf_result_name(spf.result);
}

static const char *const good[] = {
    "v=spf1 all",
    "v=spf1  all ",
    "v=spf1 +all",
    "v=spf1 all exp=x.test",
    "v=spf1 all a/24",
    "v=spf1 all a//64",
    "v=spf1 all a/24//64",
    "v=spf1 all a:x.test/0//0",
    "v=spf1 all mx",
    "v=spf1 all a:%{d}",
    "v=spf1 all a:%{d}/24",
    "v=spf1 all a:%{d/}.x.test",
    "v=spf1 all ptr",
    "v=spf1 all a:x.test.",
    "v=spf1 all unknown=%{s}/x",
    "v=spf1 all un-kn.o_wn=",
    "v=spf1 all ip4:192.0.2.0/32",
    "v=spf1 all ip6:::/0",
    "v=spf1 all a:_spf.x-y.test",
    "v=spf1 all redirect=x.test exp=x.test",
    "v=spf1 all a:x.2b",
};

static const char *const bad[] = {
    "v=spf1 all al",
    "v=spf1 all all:x.test",
    "v=spf1 all all/8",
    "v=spf1 all include",
    "v=spf1 all include:",
    "v=spf1 all include:x.test/24",
    "v=spf1 all ip4",
    "v=spf1 all ip4:",
    "v=spf1 all ip4:192.0.2",
    "v=spf1 all ip4:10/8",
    "v=spf1 all ip4:192.0.2.0/33",
    "v=spf1 all ip4:192.0.2.0/08",
    "v=spf1 all ip4:192.0.2.0/",
    "v=spf1 all ip4:2001:db8::1",
    "v=spf1 all ip4:[192.0.2.1]",
    "v=spf1 all ip6:192.0.2.1",
    "v=spf1 all ip6:2001:db8::/129",
    "v=spf1 all a:",
    "v=spf1 all a/33",
    "v=spf1 all a//129",
    "v=spf1 all a/",
    "v=spf1 all a//",
    "v=spf1 all a/24/64",
    "v=spf1 all a:x.test:25",
    "v=spf1 all a:toplevel",
    "v=spf1 all a:x.1",
    "v=spf1 all a:x.-y",
    "v=spf1 all a:x.y-",
    "v=spf1 all exists",
    "v=spf1 all a:%{x}.test",
    "v=spf1 all a:%{d",
    "v=spf1 all a:%d.test",
    "v=spf1 all a:%{d0}",
    "v=spf1 all a:%",
    "v=spf1 all a:x.test%",
    "v=spf1 all a:%{dr!}.test",
    "v=spf1 all ++a",
    "v=spf1 all -",
    "v=spf1 all redirect=",
    "v=spf1 all redirect=x.test redirect=y.test",
    "v=spf1 all exp=x.test exp=y.test",
    "v=spf1 all exp=",
    "v=spf1 all =x",
    "v=spf1 all 1x=y",
    "v=spf1 all x=%",
    "v=spf1 all a\t",
    "v=spf1 all a:m\xc3\xbcller.test",
};

static void check_syntax(const char *const *records, size_t count, const char *wanted)
{
    for (size_t i = 0; i < count; i++) {
        const char *result = syntax(records[i]);
        if (strcmp(result, wanted) != 0) {
            printf("'%s':\n", records[i]);
        }
        CHECK_STRING(result, wanted);
    }
}

TEST(a_syntax_error_anywhere_is_permanent) /* RFC 7208 4.6 */
{
    check_syntax(good, sizeof good / sizeof good[0], "pass");
    check_syntax(bad, sizeof bad / sizeof bad[0], "permerror");
}

TEST(a_record_of_any_length_is_kept_or_refused)
{
    static char record[SPF_RECORD_MAX + 64];
    snprintf(record, sizeof record, "v=spf1");
    while (strlen(record) + 20 < sizeof record) {
        CHECK_STRING(syntax(record), strlen(record) <= SPF_RECORD_MAX ? "neutral" : "permerror");
        strcat(record, " ip4:203.0.113.1");
    }
    struct address ip = {.family = ADDRESS_IPV4, .ip = {192, 0, 2, 1}};
    struct bytes text = BYTES("v=spf1 a\0 -all"); /* a NUL is no letter */
    spf_begin(&spf, &ip, "syntax.test", "helo.test", "");
    spf_answer(&spf,
               &(struct spf_answer){.status = SPF_DNS_FOUND, .texts = &text, .text_count = 1});
    CHECK_STRING(spf_result_name(spf.result), "permerror");
}

TEST(a_name_that_grows_too_long_loses_labels_from_the_left) /* RFC 7208 7.3 */
{
    char local[200];
    memset(local, 'x', sizeof local);
    for (size_t i = 50; i < sizeof local; i += 50) {
        local[i] = '.';
    }
    memcpy(local + sizeof local - 11, "@from.test", 11);
    struct address ip = {.family = ADDRESS_IPV4, .ip = {192, 0, 2, 1}};
    struct bytes text = BYTES("v=spf1 exists:%{l}.%{l}.end.test -all");
    spf_begin(&spf, &ip, "long.test", "helo.test", local);
    spf_answer(&spf,
               &(struct spf_answer){.status = SPF_DNS_FOUND, .texts = &text, .text_count = 1});
    CHECK_INT(spf.question, SPF_ASK_ADDRESS);
    CHECK(strlen(spf.name) <= 253 && strlen(spf.name) > 200);
    CHECK(bytes_ends_with_nocase(bytes_from_string(spf.name), BYTES(".end.test")));
    CHECK(spf.name[0] == 'x');
}
