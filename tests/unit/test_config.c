/* What loads, and what is in the tables then. */
#include "policy/config.h"

#include <time.h>

#include "config_files.h"
#include "policy/access.h"
#include "policy/directive.h"
#include "policy/domain.h"
#include "policy/rules.h"
#include "test.h"

static const char examples[] =
    "smtp-listener 0/0:25                       # every local address\n"
    "smtp-listener 10.0.1.22:25\n"
    "<smtp-user foo>\n"
    "password barbaz\n"
    "authentication-method password             # or certificate, or system\n"
    "</smtp-user>\n"
    "<source 0/0>\n"
    "require-auth true\n"
    "allow-starttls true\n"
    "require-starttls-before-auth true\n"
    "</source>\n"
    "relay-domain some.domain\n"
    "relay-address bounce@bounce.yourdomain.com\n"
    "relay-address /@foo(bar)?\\.com$/\n"
    "smtp-server-tls-certificate /etc/pmta/yourcert.pem\n"
    "<domain *>\n"
    "use-starttls true\n"
    "require-starttls true\n"
    "</domain>\n"
    "smtp-source-host 192.168.0.10 mail10.yourserver.com    # a CIDR range is allowed too\n"
    "<virtual-mta mta1>\n"
    "smtp-source-host 1.2.3.4 mta1.yourserver.com\n"
    "<domain *>\n"
    "use-starttls true\n"
    "require-starttls true\n"
    "retry-after 10m\n"
    "</domain>\n"
    "</virtual-mta>\n"
    "<virtual-mta mta2>\n"
    "smtp-source-host 2.3.4.5 mta2.yourserver.com\n"
    "<domain *>\n"
    "use-starttls false\n"
    "require-starttls false\n"
    "retry-after 45m\n"
    "</domain>\n"
    "</virtual-mta>\n";

static struct address address_of(const char *text)
{
    struct address address = {0};
    CHECK(address_parse(text_of(text), &address));
    return address;
}

TEST(the_examples_load_without_an_error)
{
    struct config *config = load_good(examples);
    CHECK(config != NULL);
    CHECK_INT(report.errors, 0);
    unload(config);
}

TEST(the_examples_mean_what_they_say)
{
    struct config *config = load_good(examples);
    size_t count;
    const struct config_listener *listeners = config_listeners(config, &count);
    CHECK_INT(count, 2);
    CHECK_INT(listeners[0].port, 25);
    CHECK_INT(listeners[0].range.prefix, 0);
    CHECK_INT(listeners[1].range.prefix, 32);
    const struct config_vmta *mta2 = config_vmta(config, text_of("MTA2"));
    CHECK(mta2 != NULL);
    CHECK_INT(mta2->settings.source_hosts.count, 1);
    CHECK_BYTES(mta2->settings.source_hosts.items[0].host_name, "mta2.yourserver.com");
    const struct domain_settings *settings = config_domain(config, mta2, text_of("a.com"));
    CHECK(!settings->require_starttls);
    CHECK_INT(settings->retry_after.interval_ms[0], 45 * 60000);
    settings = config_domain(config, config_vmta(config, text_of("mta1")), text_of("a.com"));
    CHECK(settings->require_starttls);
    const struct address peer = address_of("9.9.9.9");
    CHECK(config_source_for(config, &peer, NULL)->require_auth);
    CHECK_INT(config_global(config)->relay_addresses.count, 2);
    CHECK(config_global(config)->relay_addresses.items[1].pattern != NULL);
    CHECK_BYTES(config_user(config, text_of("foo"))->settings.password, "barbaz");
    unload(config);
}

TEST(the_default_virtual_mta_is_always_there)
{
    struct config *config = load_good("host-name mx.a.com\nsmtp-source-host 10.0.0.1 h.a.com\n");
    const struct config_vmta *vmta = config_vmta(config, text_of("{default}"));
    CHECK(vmta != NULL);
    CHECK_INT(vmta->vmta_index, 0);
    CHECK_INT(vmta->settings.source_hosts.count, 1);
    CHECK_BYTES(vmta->settings.host_name, "mx.a.com");
    CHECK(config_vmta(config, text_of("other")) == NULL);
    unload(config);
}

TEST(an_empty_file_is_a_configuration)
{
    struct config *config = load_good("");
    CHECK(config != NULL);
    CHECK_INT(config_global(config)->total_max_smtp_in, 10000);
    CHECK_INT(config_global(config)->total_max_smtp_out, 20000);
    CHECK_INT(config_global(config)->workers, 0);
    CHECK_INT(config_global(config)->shutdown_timeout_ms, 30000);
    CHECK_BYTES(config_global(config)->control_socket, "/run/posthaste/control.sock");
    CHECK_BYTES(config_global(config)->log_file, "");
    CHECK_BYTES(config_host_name(config), "");
    unload(config);
}

TEST(a_virtual_mta_without_addresses_takes_the_global_ones)
{
    struct config *config = load_good("smtp-source-host 10.0.0.1 a.com\n<virtual-mta v>\n"
                                      "</virtual-mta>\n<virtual-mta w>\n"
                                      "smtp-source-host 10.0.0.2 b.com\n"
                                      "smtp-source-host 10.1/16 c.com\n</virtual-mta>\n");
    const struct config_vmta *w = config_vmta(config, text_of("w"));
    CHECK_BYTES(config_vmta(config, text_of("v"))->settings.source_hosts.items[0].host_name,
                "a.com");
    CHECK_INT(w->settings.source_hosts.count, 2);
    CHECK_INT(w->settings.source_hosts.items[1].range.prefix, 16);
    unload(config);
}

TEST(a_pools_limits_are_each_members)
{
    struct config *config = load_good("<virtual-mta v>\n</virtual-mta>\n"
                                      "<virtual-mta w>\nmax-smtp-out 7\n</virtual-mta>\n"
                                      "<virtual-mta-pool p>\nvirtual-mta v\n"
                                      "virtual-mta w weight=3\nmax-smtp-out 5\n"
                                      "</virtual-mta-pool>\n");
    CHECK_INT(config_vmta(config, text_of("v"))->settings.max_smtp_out, 5);
    CHECK_INT(config_vmta(config, text_of("w"))->settings.max_smtp_out, 7);
    const struct config_pool *pool = config_pool(config, text_of("P"));
    CHECK_INT(pool->settings.members.count, 2);
    CHECK_INT(pool->settings.members.items[0].weight, 1);
    CHECK_INT(pool->settings.members.items[1].weight, 3);
    unload(config);
}

TEST(the_first_host_name_counts)
{
    struct config *config = load_good("host-name a.com\nhost-name b.com\n");
    CHECK_BYTES(config_host_name(config), "a.com");
    CHECK_INT(config_global(config)->host_names.count, 2);
    unload(config);
}

TEST(a_listener_line_may_name_its_source)
{
    struct config *config = load_good("<source inside>\nsmtp-service yes\n</source>\n"
                                      "smtp-listener [::1]:2525 source=inside # note\n"
                                      "<smtp-listener 127.0.0.1:25>\nsource inside\n"
                                      "host-name in.a.com\n</smtp-listener>\n");
    size_t count;
    const struct config_listener *listeners = config_listeners(config, &count);
    CHECK_INT(count, 2);
    CHECK_BYTES(listeners[0].settings.source, "inside");
    CHECK_INT(listeners[0].port, 2525);
    CHECK_INT(listeners[0].range.base.family, ADDRESS_IPV6);
    CHECK_BYTES(listeners[1].settings.host_name, "in.a.com");
    unload(config);
}

TEST(a_pipe_skips_when_it_lags_and_a_file_holds)
{
    struct config *config = load_good("<acct-file /var/log/acct.csv>\nrecords d,bounce,tq\n"
                                      "max-size 10m\n</acct-file>\n"
                                      "<acct-file \"|/usr/bin/feed --to > x\">\n</acct-file>\n"
                                      "<acct-file |/bin/cat>\non-lag hold\n</acct-file>\n");
    size_t count;
    const struct config_acct_file *files = config_acct_files(config, &count);
    CHECK_INT(count, 3);
    CHECK(!files[0].is_pipe);
    CHECK_INT(files[0].settings.records,
              RECORD_BIT(RECORD_DELIVERY) | RECORD_BIT(RECORD_BOUNCE) | RECORD_BIT(RECORD_QUEUE));
    CHECK_INT(files[0].settings.on_lag, ON_LAG_HOLD);
    CHECK_INT(files[0].settings.max_bytes, 10 << 20);
    CHECK_INT(files[0].settings.delete_after_ms, 8 * 86400000ll);
    CHECK(files[1].is_pipe);
    CHECK_BYTES(files[1].path, "/usr/bin/feed --to > x");
    CHECK_BYTES(files[1].name, "|/usr/bin/feed --to > x");
    CHECK_INT(files[1].words.count, 4);
    CHECK_BYTES(files[1].words.items[0], "/usr/bin/feed");
    CHECK_BYTES(files[1].words.items[3], "x");
    CHECK_INT(files[1].settings.on_lag, ON_LAG_SKIP);
    CHECK_INT(files[1].settings.records, RECORD_BIT(RECORD_DELIVERY) | RECORD_BIT(RECORD_BOUNCE));
    CHECK_INT(files[2].settings.on_lag, ON_LAG_HOLD);
    unload(config);
}

TEST(record_fields_keep_their_order)
{
    struct config *config = load_good("<acct-file a.csv>\nrecords d\n"
                                      "record-fields d *,!orcpt,header_Subject\n"
                                      "record-fields b,t rcpt, orig\n</acct-file>\n");
    size_t count;
    const struct record_fields_array *fields =
        &config_acct_files(config, &count)->settings.record_fields;
    CHECK_INT(fields->count, 2);
    CHECK_INT(fields->items[0].count, 3);
    CHECK_BYTES(fields->items[0].fields[0].name, "*");
    CHECK(fields->items[0].fields[1].removed);
    CHECK_BYTES(fields->items[0].fields[1].name, "orcpt");
    CHECK_BYTES(fields->items[0].fields[2].name, "header_Subject");
    CHECK_INT(fields->items[1].records, RECORD_BIT(RECORD_BOUNCE) | RECORD_BIT(RECORD_TRANSIENT));
    unload(config);
}

TEST(spools_stand_as_blocks_or_in_the_old_form)
{
    struct config *config = load_good("<spool /var/spool/a>\npriority 3\ndeliver-only yes\n"
                                      "</spool>\nspool /var/spool/b\n");
    size_t count;
    const struct config_spool *spools = config_spools(config, &count);
    CHECK_INT(count, 2);
    CHECK_BYTES(spools[0].directory, "/var/spool/a");
    CHECK_INT(spools[0].settings.priority, 3);
    CHECK(spools[0].settings.deliver_only);
    CHECK_INT(spools[1].settings.priority, 1);
    CHECK(has_message("5:1: warning: 'spool' is a deprecated spelling"));
    CHECK_INT(report.count, 1);
    unload(config);
}

TEST(includes_are_read_where_they_stand)
{
    struct memory_file files[] = {
        {"/etc/main.conf", "include conf.d/*.conf\n<domain a.com>\ninclude own.conf\n</domain>\n",
         0},
        {"/etc/conf.d/1.conf", "host-name one.com\n", 0},
        {"/etc/conf.d/2.conf", "host-name two.com\ninclude deep.inc", 0},
        {"/etc/conf.d/deep.inc", "total-max-smtp-in 7\n", 0},
        {"/etc/own.conf", "max-smtp-out 3\n", 0},
        {NULL, NULL, 0}};
    struct config *config = load_files(files);
    CHECK(config != NULL);
    CHECK_INT(config_global(config)->host_names.count, 2);
    CHECK_BYTES(config_host_name(config), "one.com");
    CHECK_INT(config_global(config)->total_max_smtp_in, 7);
    CHECK_INT(config_domain(config, NULL, text_of("a.com"))->max_smtp_out, 3);
    unload(config);
}

TEST(a_wildcard_that_matches_nothing_is_fine)
{
    struct config *config = load_good("include conf.d/*.conf\n");
    CHECK(config != NULL);
    unload(config);
}

TEST(k7_a_byte_order_mark_is_skipped)
{
    struct config *config = load_good("\xef\xbb\xbfhost-name a.com\n");
    CHECK_BYTES(config_host_name(config), "a.com");
    unload(config);
}

TEST(keywords_and_tags_know_no_case_and_crlf_is_a_line_end)
{
    struct config *config = load_good("Pickup /a /b\r\n<DOMAIN  *>\r\n\tMax-SMTP-Out   4\r\n"
                                      "</domain>\r\nHOST-NAME x.com");
    CHECK_INT(config_global(config)->pickups.count, 1);
    CHECK_INT(config_domain(config, NULL, text_of("a.com"))->max_smtp_out, 4);
    CHECK_BYTES(config_host_name(config), "x.com");
    unload(config);
}

TEST(a_macro_list_goes_on_after_a_comma_at_the_end_of_a_line)
{
    struct config *config = load_good("domain-macro m a.com , b.com, # note\n\n"
                                      "   # nothing\n  c.com,\n  d.com\n"
                                      "<domain $m>\nmax-smtp-out 2\n</domain>\n");
    CHECK_INT(config_domain(config, NULL, text_of("d.com"))->max_smtp_out, 2);
    CHECK_INT(config_domain(config, NULL, text_of("b.com"))->max_smtp_out, 2);
    unload(config);
}

TEST(a_comma_too_many_does_not_swallow_the_next_macro)
{
    struct config *config = load_good("domain-macro m a.com,\ndomain-macro n b.com,\n"
                                      "<domain $m>\nmax-smtp-out 2\n</domain>\n"
                                      "<domain $n>\nmax-smtp-out 3\n</domain>\n");
    CHECK_INT(config_domain(config, NULL, text_of("a.com"))->max_smtp_out, 2);
    CHECK_INT(config_domain(config, NULL, text_of("b.com"))->max_smtp_out, 3);
    unload(config);
}

TEST(lists_of_rules_keep_order_actions_and_nesting)
{
    struct config *config =
        load_good("<virtual-mta v>\n</virtual-mta>\n<pattern-list p>\n"
                  "header X-Camp /^a b/ virtual-mta=v\n"
                  "rcpt-to /@x\\.com$/ <pattern-list>\nmail-from /@y/ recipient-priority=70\n"
                  "* virtual-mta={default}\n</pattern-list>\n* virtual-mta=v\n</pattern-list>\n");
    const struct rule_list *list = config_rules(config, SCOPE_PATTERN_LIST, text_of("p"));
    CHECK_INT(list->count, 3);
    CHECK_INT(list->rules[0].keyword, RULE_HEADER);
    CHECK_BYTES(list->rules[0].subject, "X-Camp");
    CHECK_BYTES(list->rules[0].actions[0].value, "v");
    CHECK_INT(list->rules[1].nested->count, 2);
    CHECK_INT(list->rules[2].keyword, RULE_ALWAYS);
    unload(config);
}

TEST(bounce_categories_of_several_blocks_are_one_list)
{
    struct config *config = load_good("<bounce-category-patterns>\n/spam/ spam-related\n"
                                      "/(a|b) c/ hardbnc\n</bounce-category-patterns>\n"
                                      "<bounce-category-patterns>\n// other\n"
                                      "</bounce-category-patterns>\n");
    const struct rule_list *list = config_rules(config, SCOPE_BOUNCE_PATTERNS, text_of(""));
    CHECK_INT(list->count, 3);
    CHECK_BYTES(list->rules[1].actions[0].name, "hardbnc");
    CHECK_BYTES(list->rules[2].actions[0].name, "other");
    unload(config);
}

TEST(deprecated_spellings_mean_the_new_ones)
{
    struct config *config = load_good("<domain *>\nmax-msg-per-hour 250\n"
                                      "max-smtp-out-per-source-ip 3\n</domain>\n");
    const struct domain_settings *settings = config_domain(config, NULL, text_of("a.com"));
    CHECK_INT(settings->max_msg_rate.count, 250);
    CHECK_INT(settings->max_msg_rate.window_ms, 3600000);
    CHECK_INT(settings->source_ip_max_smtp_out.items[0].limit, 3);
    CHECK(has_message("2:1: warning: 'max-msg-per-hour' is a deprecated spelling: write "
                      "'max-msg-rate N/h'"));
    unload(config);
}

TEST(unlimited_and_zero_mean_the_hard_bound_where_there_is_one)
{
    struct config *config = load_good("<source 0/0>\nmax-message-size 0\n"
                                      "max-rcpt-per-message unlimited\n</source>\n"
                                      "total-max-smtp-in 0\n");
    const struct address peer = address_of("1.2.3.4");
    CHECK_INT(config_source_for(config, &peer, NULL)->max_message_bytes, 1 << 30);
    CHECK_INT(config_source_for(config, &peer, NULL)->max_rcpt_per_message, 100000);
    CHECK(config_global(config)->total_max_smtp_in == UNLIMITED);
    unload(config);
}

static int disk_read(void *owner, const char *path, struct bytes *out)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(65536);
    if (file == NULL || text == NULL) {
        free(text);
        return -ENOENT;
    }
    *out = bytes_of(text, fread(text, 1, 65536, file));
    fclose(file);
    return 0;
}

TEST(the_configurations_that_come_along_load_clean)
{
    static const char *const paths[] = {CONFIG_FOLDER "/minimal.conf",
                                        CONFIG_FOLDER "/posthaste.conf"};
    struct config_files how = {.read = disk_read, .glob = memory_glob};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        config_report_deinit(&report);
        struct config *config = config_load(paths[i], &how, &report);
        CHECK(config != NULL);
        CHECK_INT(report.count, 0);
        for (size_t k = 0; k < report.count; k++) {
            printf("%u: %s\n", report.messages[k].line, report.messages[k].text);
        }
        unload(config);
    }
}

/* Every row's default must be a value of its type; load_good would not show which is not. */
TEST(every_default_is_a_value_and_prints_as_one)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    struct arena *arena = arena_create(1 << 20);
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        struct value_source source = {.type = table[i].type,
                                      .accepts = table[i].accepts,
                                      .text = text_of(table[i].default_text),
                                      .arena = arena};
        union value value;
        struct error error;
        size_t offset;
        char memory[256];
        struct buffer printed;
        if (table[i].kind != KIND_DIRECTIVE || source.text.len == 0) {
            continue;
        }
        buffer_init(&printed, memory, sizeof(memory));
        if (value_parse(&source, &value, &error, &offset) < 0) {
            printf("%s: %s\n", table[i].name, error.text);
            wrong++;
        } else {
            CHECK(value_print(source.type, source.accepts, &value, &printed));
        }
    }
    CHECK_INT(wrong, 0);
    arena_destroy(arena);
}

TEST(no_name_stands_twice_in_a_scope)
{
    size_t count, twice = 0;
    const struct directive *table = directive_table(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (table[i].scope == table[k].scope && strcmp(table[i].name, table[k].name) == 0) {
                printf("twice: %s\n", table[i].name);
                twice++;
            }
        }
    }
    CHECK_INT(twice, 0);
}

/* What interfaces promise beyond the original language; NULL: no default is promised. */
static const struct {
    enum directive_scope scope;
    const char *name, *default_text;
} ours[] = {
    {SCOPE_GLOBAL, "control-socket", "/run/posthaste/control.sock"},
    {SCOPE_GLOBAL, "workers", "auto"},
    {SCOPE_GLOBAL, "shutdown-timeout", "30s"},
    {SCOPE_GLOBAL, "max-memory", NULL},
    {SCOPE_GLOBAL, "max-memory-usage-percent", NULL},
    {SCOPE_GLOBAL, "spool-max-size", NULL},
    {SCOPE_GLOBAL, "spool-sync", "yes"},
    {SCOPE_GLOBAL, "journal-sync", "100ms"},
    {SCOPE_VMTA, "max-queued-recipients", NULL},
    {SCOPE_USER, "max-queued-recipients", NULL},
    {SCOPE_SOURCE, "max-queued-recipients", NULL},
    {SCOPE_VMTA, "spool-share", NULL},
    {SCOPE_USER, "spool-share", NULL},
    {SCOPE_SOURCE, "spool-share", NULL},
    {SCOPE_DOMAIN, "prohibited-hosts", "127/8 ::1 0/8"},
    {SCOPE_DOMAIN, "auto-mx-rollup", "no"},
    {SCOPE_GLOBAL, "auto-mx-rollup", "no"},
    {SCOPE_DOMAIN, "provider", NULL},
    {SCOPE_PROVIDER, "max-smtp-out", NULL},
    {SCOPE_PROVIDER, "max-msg-rate", NULL},
    {SCOPE_PROVIDER, "mx", NULL},
    {SCOPE_DOMAIN, "domain-max-smtp-out", NULL},
    {SCOPE_DOMAIN, "domain-max-msg-rate", NULL},
    {SCOPE_POOL, "pool-max-smtp-out", NULL},
    {SCOPE_POOL, "virtual-mta", NULL},
    {SCOPE_DOMAIN, "cluster-max-smtp-out", NULL},
    {SCOPE_PROVIDER, "cluster-max-smtp-out", NULL},
    {SCOPE_DOMAIN, "cluster-max-msg-rate", NULL},
    {SCOPE_PROVIDER, "cluster-max-msg-rate", NULL},
    {SCOPE_DOMAIN, "max-msg-in-flight", "1"},
    {SCOPE_DOMAIN, "retry-recipients-after", NULL},
    {SCOPE_SOURCE, "max-line-length", "64k"},
    {SCOPE_SOURCE, "smtp-max-connections-per-ip", "500"},
    {SCOPE_USER, "password-file", NULL},
    {SCOPE_USER, "password-hash", NULL},
    {SCOPE_DOMAIN, "auth-password-file", NULL},
    {SCOPE_GLOBAL, "dns-trust-ad", "no"},
    {SCOPE_GLOBAL, "allow-no-source-address", "no"},
    {SCOPE_ACCT_FILE, "max-lag", NULL},
    {SCOPE_ACCT_FILE, "on-lag", "hold"},
    {SCOPE_REDIS, "max-lag", NULL},
    {SCOPE_REDIS, "on-lag", "hold"},
    {SCOPE_REDIS, "url", NULL},
    {SCOPE_REDIS, "password-file", NULL},
    {SCOPE_REDIS, "prefix", "posthaste"},
    {SCOPE_REDIS, "node", NULL},
    {SCOPE_REDIS, "jobs", "yes"},
    {SCOPE_REDIS, "in-flight", "5000"},
    {SCOPE_REDIS, "claim-max", "30s"},
    {SCOPE_REDIS, "events", "d,b,t,tq,r"},
    {SCOPE_REDIS, "events-max-length", "1000000"},
    {SCOPE_REDIS, "events-overflow", "hold"},
    {SCOPE_REDIS, "events-group-timeout", "7d"},
    {SCOPE_REDIS, "body-cache", "256m"},
    {SCOPE_REDIS, "share-state", "no"},
    {SCOPE_SOURCE, "max-message-size", "50m"},
    {SCOPE_SOURCE, "max-rcpt-per-message", "1000"},
    {SCOPE_GLOBAL, "total-max-smtp-in", "10000"},
    {SCOPE_GLOBAL, "total-max-smtp-out", "20000"},
};

TEST(our_own_directives_are_in_the_table)
{
    static struct directive_index index;
    directive_index_init(&index);
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        const struct directive *row = directive_find(&index, ours[i].scope, text_of(ours[i].name));
        if (row == NULL) {
            printf("missing: %s\n", ours[i].name);
        }
        CHECK(row != NULL);
        if (row != NULL && ours[i].default_text != NULL) {
            CHECK_STRING(row->default_text, ours[i].default_text);
        }
    }
}

static void add(char **text, size_t *len, size_t *capacity, const char *line)
{
    size_t line_len = strlen(line);
    if (*len + line_len + 1 > *capacity) {
        *capacity = *capacity * 2 + line_len + 1;
        *text = realloc(*text, *capacity);
    }
    memcpy(*text + *len, line, line_len + 1);
    *len += line_len;
}

static uint64_t load_time_ms(const char *text)
{
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    struct config *config = load_good(text);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    CHECK(config != NULL);
    unload(config);
    return (uint64_t)((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000);
}

#ifdef __SANITIZE_ADDRESS__
#define LOAD_MS_MAX 6000 /* checked memory is slow */
#else
#define LOAD_MS_MAX 1000
#endif

TEST(k7_a_hundred_thousand_domains_load_in_a_second)
{
    char *text = NULL, line[128];
    size_t len = 0, capacity = 0;
    for (int i = 0; i < 33334; i++) {
        snprintf(line, sizeof(line),
                 "<domain d%d.example.com>\nmax-smtp-out %d\nretry-after 1m,2m\n"
                 "max-msg-rate %d/h\n</domain>\n",
                 i, 1 + i % 50, 1 + i);
        add(&text, &len, &capacity, line);
    }
    CHECK(load_time_ms(text) < LOAD_MS_MAX);
    free(text);
}

TEST(k7_a_hundred_thousand_lines_of_one_list_load_in_a_second)
{
    char *text = NULL, line[128];
    size_t len = 0, capacity = 0;
    for (int i = 0; i < 100000; i++) {
        snprintf(line, sizeof(line), "relay-domain some-long-name-for-size-%d.example.com%*s#\n", i,
                 30, "");
        add(&text, &len, &capacity, line);
    }
    CHECK(len > (8 << 20));
    CHECK(load_time_ms(text) < LOAD_MS_MAX);
    free(text);
}

TEST(k7_a_hundred_thousand_virtual_mtas_load_in_a_second)
{
    char *text = NULL, line[128];
    size_t len = 0, capacity = 0;
    for (int i = 0; i < 49999; i++) {
        snprintf(line, sizeof(line),
                 "<virtual-mta v%d>\nsmtp-source-host 10.%d.%d.%d m%d.example.com\n"
                 "max-smtp-out 3\n</virtual-mta>\n",
                 i, i >> 16, (i >> 8) & 255, i & 255, i);
        add(&text, &len, &capacity, line);
    }
    CHECK(load_time_ms(text) < LOAD_MS_MAX);
    free(text);
}

TEST(k7_a_hundred_thousand_regexes_load_in_a_second)
{
    char *text = NULL, line[128];
    size_t len = 0, capacity = 0;
    add(&text, &len, &capacity, "<smtp-pattern-list s>\n");
    for (int i = 0; i < 100000; i++) {
        snprintf(line, sizeof(line), "reply /too many (messages|mails) %d/ mode=backoff\n", i);
        add(&text, &len, &capacity, line);
    }
    add(&text, &len, &capacity, "</smtp-pattern-list>\n");
    CHECK(load_time_ms(text) < LOAD_MS_MAX);
    free(text);
}
