/* Which queue a domain joins because of its MX hosts, and what is remembered of those. */
#include "policy/rollup.h"

#include "test.h"

#include "config_files.h"
#include "policy/domain.h"
#include "vmta/mx_table.h"

static char name_memory[ROLLUP_NAME_LEN_MAX];

/* "" where it keeps its own queue. */
static struct bytes rollup_with(const struct config *config, const char *domain,
                                const struct mx_hosts *mx)
{
    struct buffer name;
    buffer_init(&name, name_memory, sizeof name_memory);
    bool joins = config_rollup(config, config_vmta(config, BYTES("{default}")),
                               bytes_from_string(domain), mx, &name);
    return joins ? buffer_bytes(&name) : BYTES("");
}

static struct bytes rollup_of(const struct config *config, const char *domain, const char *best)
{
    return rollup_with(
        config, domain,
        &(struct mx_hosts){.best = bytes_from_string(best), .plan_hash = 0x12345678});
}

#define LIST "<mx-rollup-list>\nmx A.example One.rollup\nmx b.example one.rollup\n"

TEST(all_that_is_listed_must_be_among_the_best)
{
    struct config *config = load_good(LIST "mx b.example two.rollup\n</mx-rollup-list>\n");
    CHECK(config_has_rollups(config));
    CHECK_BYTES(rollup_of(config, "d.example", "a.example b.example"), "one.rollup");
    CHECK_BYTES(rollup_of(config, "d.example", "a.example b.example c.example"), "one.rollup");
    CHECK_BYTES(rollup_of(config, "d.example", "b.example c.example"), "two.rollup");
    CHECK_BYTES(rollup_of(config, "d.example", "a.example"), "");
    CHECK_BYTES(rollup_of(config, "d.example", "a.example xb.example"), "");
    CHECK_BYTES(rollup_of(config, "d.example", ""), "");
    CHECK(config_rollup_serves(config, BYTES("one.rollup"), BYTES("A.EXAMPLE")));
    CHECK(!config_rollup_serves(config, BYTES("one.rollup"), BYTES("c.example")));
    CHECK(config_rollup_serves(config, BYTES("other.rollup"), BYTES("c.example")));
    unload(config);
}

TEST(a_pattern_must_fit_every_host_and_needs_to_lead_somewhere)
{
    struct config *config =
        load_good("<mx-rollup-list>\nmx *.a.example nowhere.rollup\nmx *.example a.rollup\n"
                  "mx *.ip.test ip.rollup rollup-by-ip\n</mx-rollup-list>\n"
                  "<domain a.rollup>\nsmtp-hosts h.example\n</domain>\n");
    CHECK(has_message("2:0: warning: nowhere.rollup has patterns and no hosts"));
    CHECK_INT(report.warnings, 1);
    CHECK_BYTES(rollup_of(config, "d.test", "x.a.example y.a.example"), "a.rollup");
    CHECK_BYTES(rollup_of(config, "d.test", "x.example y.other"), "");
    CHECK_BYTES(rollup_of(config, "d.test", "example"), "");
    struct mx_hosts mx = {.best = BYTES("x.ip.test"), .address_hash = 0xabcdef01};
    CHECK_BYTES(rollup_with(config, "d.test", &mx), "abcdef01.ip.rollup");
    unload(config);
}

TEST(domains_that_say_no_or_have_hosts_are_left_alone)
{
    struct config *config = load_good(LIST "</mx-rollup-list>\n"
                                           "<domain no.test>\ndisable-mx-rollup yes\n</domain>\n"
                                           "<domain own.test>\nsmtp-hosts h.example\n</domain>\n");
    CHECK_BYTES(rollup_of(config, "no.test", "a.example b.example"), "");
    CHECK_BYTES(rollup_of(config, "own.test", "a.example b.example"), "");
    CHECK_BYTES(rollup_of(config, "x.rollup", "a.example b.example"), "");
    unload(config);
}

TEST(an_automatic_one_takes_whom_no_block_names)
{
    struct config *config =
        load_good("auto-mx-rollup yes\n<domain named.test>\nmax-smtp-out 3\n</domain>\n"
                  "<domain asks.test>\nauto-mx-rollup yes\n</domain>\n"
                  "<domain no.test>\nauto-mx-rollup no\n</domain>\n"
                  "<domain b.example.rollup>\nmax-smtp-out 7\n</domain>\n");
    CHECK_BYTES(rollup_of(config, "d.test", "b.example c.example"), "12345678.b.example.rollup");
    CHECK_BYTES(rollup_of(config, "asks.test", "b.example"), "12345678.b.example.rollup");
    CHECK_BYTES(rollup_of(config, "named.test", "b.example"), "");
    CHECK_BYTES(rollup_of(config, "no.test", "b.example"), "");
    CHECK_INT(config_domain(config, NULL, BYTES("12345678.b.example.rollup"))->max_smtp_out, 7);
    unload(config);
    config = load_good("<domain asks.test>\nauto-mx-rollup yes\n</domain>\n");
    CHECK_BYTES(rollup_of(config, "asks.test", "b.example"), "12345678.b.example.rollup");
    CHECK_BYTES(rollup_of(config, "d.test", "b.example"), "");
    unload(config);
}

TEST(without_any_of_it_nothing_is_looked_at)
{
    struct config *config = load_good("host-name a.example\n");
    CHECK(!config_has_rollups(config));
    unload(config);
}

TEST(digits_are_no_part_of_a_policys_name)
{
    CHECK_BYTES(rollup_policy_name(BYTES("0123abCD.mx.rollup")), "mx.rollup");
    CHECK_BYTES(rollup_policy_name(BYTES("0123abcg.mx.rollup")), "0123abcg.mx.rollup");
    CHECK_BYTES(rollup_policy_name(BYTES("0123abcd.rollup")), "0123abcd.rollup");
    CHECK_BYTES(rollup_policy_name(BYTES("0123abcd.mx.example")), "0123abcd.mx.example");
}

/* ---- the table ---- */

static const struct mx_hosts first = {.best = BYTES_INIT("a.example b.example"), .plan_hash = 1};
static const struct mx_hosts second = {.best = BYTES_INIT("z.example"), .plan_hash = 2};

TEST(what_is_learnt_holds_for_its_time)
{
    char memory[MX_HOSTS_LEN_MAX];
    struct mx_hosts seen;
    struct mx_table *table = mx_table_create(10);
    mx_table_learn(table, BYTES("D.test"), &first, 0, 100);
    CHECK(mx_table_find(table, BYTES("d.TEST"), 99, &seen, memory));
    CHECK_BYTES(seen.best, "a.example b.example");
    CHECK_INT(seen.plan_hash, 1);
    CHECK(!mx_table_find(table, BYTES("d.test"), 100, &seen, memory));
    CHECK(!mx_table_find(table, BYTES("e.test"), 0, &seen, memory));
    mx_table_learn(table, BYTES("d.test"), &second, 100, 200);
    CHECK(mx_table_find(table, BYTES("d.test"), 199, &seen, memory));
    CHECK_BYTES(seen.best, "z.example");
    mx_table_destroy(table);
}

TEST(a_full_table_learns_again_when_what_it_knows_is_over)
{
    char memory[MX_HOSTS_LEN_MAX];
    struct mx_hosts seen;
    struct mx_table *table = mx_table_create(2);
    mx_table_learn(table, BYTES("a.test"), &first, 0, 100);
    mx_table_learn(table, BYTES("b.test"), &first, 0, 100);
    mx_table_learn(table, BYTES("c.test"), &first, 50, 150);
    CHECK(!mx_table_find(table, BYTES("c.test"), 50, &seen, memory));
    CHECK(mx_table_find(table, BYTES("a.test"), 50, &seen, memory));
    mx_table_learn(table, BYTES("c.test"), &first, 100, 200);
    CHECK(mx_table_find(table, BYTES("c.test"), 100, &seen, memory));
    mx_table_destroy(table);
}
