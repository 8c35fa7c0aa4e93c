/* From text to value and back. */
#include "policy/value.h"

#include "base/rng.h"
#include "policy/directive.h"
#include "policy/pattern.h"
#include "policy/retry.h"
#include "test.h"

static struct arena *arena;
static struct pattern_set patterns;
static union value value;

static bool parse(enum value_type type, const char *accepts, const char *text)
{
    struct error error;
    size_t offset;
    if (arena == NULL) {
        arena = arena_create(64u << 20);
    }
    struct value_source source = {.type = type,
                                  .accepts = accepts,
                                  .text = bytes_from_string(text),
                                  .arena = arena,
                                  .patterns = &patterns};
    return value_parse(&source, &value, &error, &offset) == 0;
}

static const char *print(enum value_type type, const char *accepts)
{
    static char memory[4096];
    struct buffer buffer;
    buffer_init(&buffer, memory, sizeof(memory) - 1);
    if (!value_print(type, accepts, &value, &buffer)) {
        return "(does not fit)";
    }
    memory[buffer.len] = '\0';
    return memory;
}

static void done(void)
{
    arena_destroy(arena);
    arena = NULL;
    pattern_set_deinit(&patterns);
}

TEST(booleans_have_four_words)
{
    CHECK(parse(VALUE_BOOL, "", "yes") && value.BOOL);
    CHECK(parse(VALUE_BOOL, "", "True") && value.BOOL);
    CHECK(parse(VALUE_BOOL, "", "no") && !value.BOOL);
    CHECK(parse(VALUE_BOOL, "", "false") && !value.BOOL);
    CHECK(!parse(VALUE_BOOL, "", "1"));
    done();
}

TEST(times_add_up_and_bare_numbers_are_seconds)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } times[] = {{"300s", 300000},     {"600", 600000}, {"1w2d12h", 820800000},
                 {"4d12h", 388800000}, {"100ms", 100},  {"1m30s", 90000},
                 {"1H", 3600000},      {"0", 0},        {"1m1ms", 60001}};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        CHECK(parse(VALUE_INTERVAL, "", times[i].text));
        CHECK_INT(value.INTERVAL, times[i].ms);
    }
    CHECK(parse(VALUE_INTERVAL, "never", "never") && value.INTERVAL == NEVER);
    CHECK(!parse(VALUE_INTERVAL, "", "never"));
    done();
}

TEST(lists_of_times_repeat_their_last)
{
    CHECK(parse(VALUE_INTERVALS, "", "10m,10m,1h,4h"));
    CHECK_INT(retry_interval_ms(&value.INTERVALS, 0), 600000);
    CHECK_INT(retry_interval_ms(&value.INTERVALS, 2), 3600000);
    CHECK_INT(retry_interval_ms(&value.INTERVALS, 3), 14400000);
    CHECK_INT(retry_interval_ms(&value.INTERVALS, UINT32_MAX), 14400000);
    done();
}

TEST(sizes_have_binary_units)
{
    CHECK(parse(VALUE_SIZE, "", "250M") && value.SIZE == 250u << 20);
    CHECK(parse(VALUE_SIZE, "", "10") && value.SIZE == 10);
    CHECK(parse(VALUE_SIZE, "", "10b") && value.SIZE == 10);
    CHECK(parse(VALUE_SIZE, "", "1t") && value.SIZE == 1ull << 40);
    CHECK(parse(VALUE_SIZE, "", "0") && value.SIZE == UNLIMITED);
    CHECK(parse(VALUE_SIZE, "", "unlimited") && value.SIZE == UNLIMITED);
    CHECK(parse(VALUE_BYTES, "", "0") && value.BYTES == 0);
    done();
}

TEST(rates_have_a_multiplier)
{
    static const struct {
        const char *text;
        uint64_t count, window_ms;
    } rates[] = {{"100/h", 100, 3600000}, {"100/15m", 100, 900000},    {"83/5s", 83, 5000},
                 {"1/day", 1, 86400000},  {"5/min", 5, 60000},         {"5/2hr", 5, 7200000},
                 {"7/SEC", 7, 1000},      {"unlimited", UNLIMITED, 0}, {"0", UNLIMITED, 0}};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        CHECK(parse(VALUE_RATE, "", rates[i].text));
        CHECK(value.RATE.count == rates[i].count);
        CHECK_INT(value.RATE.window_ms, rates[i].window_ms);
    }
    CHECK(parse(VALUE_DATA_RATE, "", "10M/2h"));
    CHECK_INT(value.DATA_RATE.count, 10 << 20);
    CHECK(parse(VALUE_DATA_RATE, "", "1048576/1h"));
    CHECK_INT(value.DATA_RATE.count, 1048576);
    CHECK(parse(VALUE_RATES, "", "1/day,2/day, 0/d"));
    CHECK_INT(value.RATES.count, 3);
    CHECK_INT(value.RATES.items[2].count, 0);
    done();
}

TEST(hosts_have_preferences_ports_and_literals)
{
    CHECK(
        parse(VALUE_HOSTS, "", "a.com:2525, b.com;[10.0.0.1]:26,[IPv6:2001::1]; lookup-mx:c.com"));
    CHECK_INT(value.HOSTS.count, 5);
    const struct smtp_host *hosts = value.HOSTS.items;
    CHECK_BYTES(hosts[0].name, "a.com");
    CHECK_INT(hosts[0].port, 2525);
    CHECK_INT(hosts[1].preference, 0);
    CHECK_INT(hosts[1].port, 0);
    CHECK_INT(hosts[2].preference, 1);
    CHECK_INT(hosts[2].port, 26);
    CHECK_INT(hosts[2].address.family, ADDRESS_IPV4);
    CHECK_INT(hosts[3].address.family, ADDRESS_IPV6);
    CHECK_INT(hosts[3].preference, 1);
    CHECK(hosts[4].lookup_mx);
    CHECK_BYTES(hosts[4].name, "c.com");
    CHECK_INT(hosts[4].preference, 2);
    CHECK(parse(VALUE_HOSTS, "", "127.0.0.1:2525"));
    CHECK_INT(value.HOSTS.items[0].address.family, ADDRESS_IPV4);
    CHECK_INT(value.HOSTS.items[0].port, 2525);
    CHECK(parse(VALUE_HOSTS, "", "\"\"") && value.HOSTS.count == 0);
    CHECK(!parse(VALUE_HOSTS, "", "a.com,,b.com"));
    CHECK(!parse(VALUE_HOSTS, "", "a.com:0"));
    CHECK(!parse(VALUE_HOSTS, "", "a b"));
    done();
}

TEST(domain_patterns_have_six_kinds)
{
    static const struct {
        const char *text;
        enum domain_kind kind;
    } domains[] = {{"*", DOMAIN_ANY},           {"a.com", DOMAIN_EXACT},
                   {"*.a.com", DOMAIN_SUBS},    {"[*.]a.com", DOMAIN_WITH_SUBS},
                   {"[10/8]", DOMAIN_RANGE},    {"[IPv6:2001:db8::/32]", DOMAIN_RANGE},
                   {"local", DOMAIN_LOCAL},     {"{default}", DOMAIN_EXACT},
                   {"bücher.de", DOMAIN_EXACT}, {"a.com.", DOMAIN_EXACT}};
    struct domain_pattern domain;
    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        CHECK(value_parse_domain(bytes_from_string(domains[i].text), &domain));
        CHECK_INT(domain.kind, domains[i].kind);
    }
    static const char *const wrong[] = {"",     ".",  "a..b", ".a", "a b", "*a.com", "a.*.com",
                                        "[*.]", "*.", "[x]",  "{",  "{}",  "{a b}",  "**"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        CHECK(!value_parse_domain(bytes_from_string(wrong[i]), &domain));
    }
}

TEST(a_regex_stands_between_slashes_unless_quoted)
{
    CHECK(parse(VALUE_PATTERN, "", "/a b/") && value.PATTERN.pattern != NULL);
    CHECK_STRING(print(VALUE_PATTERN, ""), "/a b/");
    CHECK(parse(VALUE_PATTERN, "", "\"/a/\"") && value.PATTERN.pattern == NULL);
    CHECK_STRING(print(VALUE_PATTERN, ""), "\"/a/\"");
    done();
}

TEST(a_failed_value_leaves_the_output_alone)
{
    CHECK(parse(VALUE_NUMBER, "", "42"));
    CHECK(!parse(VALUE_NUMBER, "", "x"));
    CHECK_INT(value.NUMBER, 42);
    done();
}

TEST(texts_print_in_the_shortest_usual_form)
{
    static const struct {
        enum value_type type;
        const char *accepts, *text, *printed;
    } rows[] = {
        {VALUE_INTERVAL, "never", "never", "never"},
        {VALUE_INTERVAL, "", "90", "1m30s"},
        {VALUE_INTERVAL, "", "1w", "7d"},
        {VALUE_INTERVAL, "", "0", "0s"},
        {VALUE_SIZE, "", "262144000", "250m"},
        {VALUE_SIZE, "", "1000", "1000"},
        {VALUE_RATE, "", "100/60m", "100/h"},
        {VALUE_RATE, "", "100/15min", "100/15m"},
        {VALUE_RATE_SHARE, "", "100/60m", "100/h"},
        {VALUE_RATE_SHARE, "", "50%", "50%"},
        {VALUE_RATE_SHARE, "", "0", "unlimited"},
        {VALUE_NO_MX, "", "true", "yes"},
        {VALUE_NO_MX, "", "no", "no"},
        {VALUE_NO_MX, "", "60m", "1h"},
        {VALUE_NUMBER_OR, "auto 1..64", "AUTO", "auto"},
        {VALUE_WORD, "|hold|skip", "SKIP", "skip"},
        {VALUE_WORD, "|no|yes|maybe", "true", "yes"},
        {VALUE_RECORDS, "", "feedback-loop,delivery", "d,f"},
        {VALUE_RANGES, "", "127/8,::1", "127.0.0.0/8 ::1"},
        {VALUE_RANGES, "", "none", "none"},
        {VALUE_SOURCE_HOST, "", "10.0.0.1   a.com", "10.0.0.1 a.com"},
        {VALUE_SOURCE_HOST, "", "10.0.0.0/24", "10.0.0.0/24"},
        {VALUE_STRING, "", "\"a b\"", "\"a b\""},
        {VALUE_STRING, "", "\"\"", "\"\""},
        {VALUE_STRINGS, "", "a , b", "a,b"},
        {VALUE_STRINGS, "", "\"a b,c\"", "\"a b,c\""},
        {VALUE_TEXT, "", "a \"b\" c", "\"a \\\"b\\\" c\""},
        {VALUE_MEMBER, "", "v weight=3", "v weight=3"},
        {VALUE_PERCENT, "", "90%", "90"},
        {VALUE_LIMIT, "..100", "unlimited", "100"},
        {VALUE_LIMIT, "", "0", "unlimited"},
        {VALUE_DOMAIN, "", "[*.]A.com", "[*.]A.com"},
        {VALUE_HOSTS, "", "a.com, b.com:26;[::1]", "a.com,b.com:26;[::1]"},
        {VALUE_FIELDS, "", "delivery,b *, !orcpt", "d,b *,!orcpt"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK(parse(rows[i].type, rows[i].accepts, rows[i].text));
        CHECK_STRING(print(rows[i].type, rows[i].accepts), rows[i].printed);
    }
    done();
}

/* Whatever is accepted, what is printed of it is accepted and prints the same. */
TEST(print_of_parse_is_stable)
{
    static const char *const bits[] = {
        "10",         "h",     "/", ",",  ";",  " ",     "m",        "a.com",    "::1",
        "[",          "]",     ":", "25", "*.", "\"",    "\\",       "d",        "yes",
        "10/8",       "!x",    "=", "0",  "{",  "never", "100",      "weight=2", "unlimited",
        "lookup-mx:", "/a|b/", "ü", "#",  "@",  "$",     "127.0.0.1"};
    size_t count, accepted = 0, unstable = 0;
    const struct directive *table = directive_table(&count);
    struct rng rng;
    rng_init(&rng, 7);
    for (int round = 0; round < 300000; round++) {
        const struct directive *row = &table[rng_below(&rng, count)];
        char text[128], once[4096];
        size_t len = 0, pieces = 1 + rng_below(&rng, 5);
        if (row->kind != KIND_DIRECTIVE && row->kind != KIND_REPEATED) {
            continue;
        }
        for (size_t i = 0; i < pieces; i++) {
            const char *bit = bits[rng_below(&rng, sizeof(bits) / sizeof(bits[0]))];
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", bit);
        }
        if (!parse(row->type, row->accepts, text)) {
            continue;
        }
        accepted++;
        snprintf(once, sizeof(once), "%s", print(row->type, row->accepts));
        if (!parse(row->type, row->accepts, once) ||
            strcmp(print(row->type, row->accepts), once) != 0) {
            printf("%s: '%s' prints as '%s', and that as '%s'\n", row->name, text, once,
                   print(row->type, row->accepts));
            unstable++;
        }
        if (accepted % 1000 == 0) {
            done();
        }
    }
    CHECK_INT(unstable, 0);
    CHECK(accepted > 10000);
    done();
}

TEST(distance_counts_swapped_letters_as_one)
{
    CHECK_INT(directive_distance(BYTES("smtp-hosts"), BYTES("smtp-hsots"), 3), 1);
    CHECK_INT(directive_distance(BYTES("abc"), BYTES("ABC"), 3), 0);
    CHECK_INT(directive_distance(BYTES("abc"), BYTES("abd"), 3), 1);
    CHECK_INT(directive_distance(BYTES(""), BYTES("ab"), 3), 2);
    CHECK_INT(directive_distance(BYTES("abcdef"), BYTES("xyz"), 3), 4);
}
