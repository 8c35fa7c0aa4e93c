/* What holds for a queue: patterns, scopes, macros. */
#include "policy/domain.h"

#include "config_files.h"
#include "pem_files.h"
#include "policy/explain.h"
#include "test.h"

static const struct domain_settings *domain_of(const struct config *config, const char *vmta,
                                               const char *domain)
{
    const struct config_vmta *found = vmta == NULL ? NULL : config_vmta(config, text_of(vmta));
    return config_domain(config, found, text_of(domain));
}

/* max-smtp-out of one domain under one configuration. */
static uint64_t max_out(const char *text, const char *vmta, const char *domain)
{
    struct config *config = load_good(text);
    uint64_t found = config == NULL ? 0 : domain_of(config, vmta, domain)->max_smtp_out;
    unload(config);
    return found;
}

TEST(defaults_hold_where_no_block_matches)
{
    struct config *config = load_good("<domain a.com>\nmax-smtp-out 3\n</domain>\n");
    const struct domain_settings *settings = domain_of(config, NULL, "b.com");
    CHECK_INT(settings->max_smtp_out, 20);
    CHECK_INT(settings->bounce_after_ms, 388800000);
    CHECK_INT(settings->retry_after.count, 1);
    CHECK_INT(settings->retry_after.interval_ms[0], 600000);
    CHECK(settings->use_starttls);
    CHECK_INT(settings->max_msg_rate.count, UNLIMITED);
    CHECK_INT(settings->prohibited_hosts.count, 3);
    CHECK_INT(settings->default_smtp_port, 25);
    unload(config);
}

TEST(an_exact_name_beats_every_pattern)
{
    const char *text = "<domain yahoo.com>\nmax-smtp-out 5\n</domain>\n"
                       "<domain *>\nmax-smtp-out 1\n</domain>\n"
                       "<domain *.yahoo.com>\nmax-smtp-out 3\n</domain>\n"
                       "<domain [*.]yahoo.com>\nmax-smtp-out 4\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "yahoo.com"), 5);
    CHECK_INT(max_out(text, NULL, "YAHOO.COM."), 5);
}

TEST(a_star_and_dot_means_what_is_below_only)
{
    const char *text = "<domain *.yahoo.com>\nmax-smtp-out 3\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "yahoo.com"), 20);
    CHECK_INT(max_out(text, NULL, "a.b.yahoo.com"), 3);
    CHECK_INT(max_out(text, NULL, "notyahoo.com"), 20);
}

TEST(star_and_dot_beats_bracketed_star_whatever_the_order)
{
    const char *text = "<domain *.x.com>\nmax-smtp-out 3\n</domain>\n"
                       "<domain [*.]x.com>\nmax-smtp-out 4\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "a.x.com"), 3);
    CHECK_INT(max_out(text, NULL, "x.com"), 4);
}

TEST(a_longer_suffix_beats_a_shorter_one)
{
    const char *text = "<domain [*.]b.x.com>\nmax-smtp-out 7\n</domain>\n"
                       "<domain *.x.com>\nmax-smtp-out 3\n</domain>\n"
                       "<domain *.com>\nmax-smtp-out 2\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "a.b.x.com"), 7);
    CHECK_INT(max_out(text, NULL, "c.x.com"), 3);
    CHECK_INT(max_out(text, NULL, "y.com"), 2);
}

TEST(general_blocks_fill_what_specific_ones_leave_out)
{
    struct config *config = load_good("<domain *>\nmax-msg-rate 100/h\nretry-after 5m\n</domain>\n"
                                      "<domain a.com>\nretry-after 1m,2m\n</domain>\n");
    const struct domain_settings *settings = domain_of(config, NULL, "a.com");
    CHECK_INT(settings->max_msg_rate.count, 100);
    CHECK_INT(settings->max_msg_rate.window_ms, 3600000);
    CHECK_INT(settings->retry_after.count, 2);
    unload(config);
}

TEST(blocks_of_one_pattern_add_up_and_the_last_wins)
{
    const char *text = "<domain a.com>\nmax-smtp-out 3\n</domain>\n"
                       "<domain A.com>\nmax-smtp-out 4\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "a.com"), 4);
}

TEST(the_virtual_mtas_star_beats_a_global_exact_name)
{
    const char *text = "<domain yahoo.com>\nmax-smtp-out 5\n</domain>\n"
                       "<virtual-mta v>\n<domain *>\nmax-smtp-out 2\n</domain>\n</virtual-mta>\n";
    CHECK_INT(max_out(text, "v", "yahoo.com"), 2);
    CHECK_INT(max_out(text, NULL, "yahoo.com"), 5);
    CHECK_INT(max_out(text, "{default}", "yahoo.com"), 5);
}

TEST(a_virtual_mta_inherits_its_pool_before_the_global_blocks)
{
    const char *text =
        "<domain *>\nmax-smtp-out 1\n</domain>\n"
        "<virtual-mta v>\n<domain b.com>\nmax-smtp-out 3\n</domain>\n</virtual-mta>\n"
        "<virtual-mta-pool p>\nvirtual-mta v\n"
        "<domain *>\nmax-smtp-out 2\n</domain>\n</virtual-mta-pool>\n";
    CHECK_INT(max_out(text, "v", "a.com"), 2);
    CHECK_INT(max_out(text, "v", "b.com"), 3);
}

TEST(a_name_written_out_beats_one_made_by_a_macro)
{
    const char *text = "domain-macro big yahoo.com,gmail.com\n"
                       "<domain yahoo.com>\nmax-smtp-out 5\n</domain>\n"
                       "<domain $big>\nmax-smtp-out 6\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "yahoo.com"), 5);
    CHECK_INT(max_out(text, NULL, "gmail.com"), 6);
}

TEST(macros_multiply_and_nest)
{
    const char *text = "domain-macro tld com, $cc\n"
                       "domain-macro name yahoo,hotmail\n"
                       "domain-macro cc de , co.uk\n"
                       "<domain  $name.$tld>\nmax-smtp-out 6\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "yahoo.com"), 6);
    CHECK_INT(max_out(text, NULL, "hotmail.co.uk"), 6);
    CHECK_INT(max_out(text, NULL, "yahoo.fr"), 20);
    CHECK_INT(max_out(text, NULL, "yahoo.de"), 6);
}

TEST(a_macro_may_stand_behind_a_star)
{
    const char *text = "domain-macro tld com,net\n<domain *.a.$tld>\nmax-smtp-out 6\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "x.a.net"), 6);
    CHECK_INT(max_out(text, NULL, "a.net"), 20);
}

TEST(address_literals_match_ranges_most_specific_last)
{
    const char *text = "<domain [10/8]>\nmax-smtp-out 3\n</domain>\n"
                       "<domain [10.1.2.3]>\nmax-smtp-out 4\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "[10.1.2.3]"), 4);
    CHECK_INT(max_out(text, NULL, "[10.9.9.9]"), 3);
    CHECK_INT(max_out(text, NULL, "[11.9.9.9]"), 20);
    CHECK_INT(max_out(text, NULL, "10.1.2.3"), 20);
}

TEST(local_means_the_host_names)
{
    const char *text = "host-name mail.a.com\nhost-name b.com\n"
                       "<domain local>\nmax-smtp-out 3\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "mail.a.com"), 3);
    CHECK_INT(max_out(text, NULL, "b.com"), 3);
    CHECK_INT(max_out(text, NULL, "a.com"), 20);
}

TEST(reserved_names_are_exact)
{
    const char *text = "<domain {bounceProcessor}>\nmax-smtp-out 3\n</domain>\n";
    CHECK_INT(max_out(text, NULL, "{bounceProcessor}"), 3);
}

TEST(idn_domains_match_in_either_form)
{
    CHECK_INT(
        max_out("<domain *.bücher.de>\nmax-smtp-out 3\n</domain>\n", NULL, "a.xn--bcher-kva.de"),
        3);
    CHECK_INT(max_out("<domain xn--bcher-kva.de>\nmax-smtp-out 3\n</domain>\n", NULL, "BÜCHER.de."),
              3);
    CHECK_INT(max_out("<domain bücher.de>\nmax-smtp-out 3\n</domain>\n", NULL, "bücher.de"), 3);
}

TEST(equal_sets_of_blocks_share_one_answer)
{
    struct config *config =
        load_good("<domain *>\nmax-smtp-out 1\n</domain>\n"
                  "<domain a.com>\nmax-smtp-out 2\n</domain>\n"
                  "<virtual-mta v>\n</virtual-mta>\n<virtual-mta w>\n"
                  "<domain a.com>\nmax-smtp-out 3\n</domain>\n</virtual-mta>\n");
    CHECK(domain_of(config, "v", "x.com") == domain_of(config, NULL, "y.com"));
    CHECK(domain_of(config, "w", "x.com") == domain_of(config, NULL, "y.com"));
    CHECK(domain_of(config, "v", "a.com") != domain_of(config, NULL, "y.com"));
    CHECK(domain_of(config, "v", "a.com") == domain_of(config, NULL, "A.COM"));
    CHECK(domain_of(config, "w", "a.com") != domain_of(config, "v", "a.com"));
    unload(config);
}

TEST(recipients_wait_as_the_queue_does_unless_told_otherwise)
{
    struct config *config = load_good("<domain *>\nretry-after 1m,2m,3m\n</domain>\n"
                                      "<domain b.com>\nretry-recipients-after 9m\n</domain>\n");
    CHECK_INT(domain_of(config, NULL, "a.com")->retry_recipients_after.count, 3);
    CHECK_INT(domain_of(config, NULL, "b.com")->retry_recipients_after.interval_ms[0], 540000);
    unload(config);
}

TEST(backoff_rates_are_the_normal_ones_unless_given)
{
    struct config *config = load_good("<domain *>\nmax-msg-rate 9/h\n</domain>\n");
    CHECK_INT(domain_of(config, NULL, "a.com")->backoff_max_msg_rate.rate.count, 9);
    unload(config);
}

TEST(an_empty_text_clears_what_was_inherited)
{
    struct config *config = load_good("<domain *>\nsmtp-hosts relay.x.com:2525\n</domain>\n"
                                      "<domain a.com>\nsmtp-hosts \"\"\n</domain>\n");
    CHECK_INT(domain_of(config, NULL, "b.com")->smtp_hosts.count, 1);
    CHECK_INT(domain_of(config, NULL, "a.com")->smtp_hosts.count, 0);
    unload(config);
}

TEST(a_more_specific_list_replaces_a_more_general_one)
{
    struct config *config =
        load_good("<domain *>\nsource-ip-max-smtp-out 10/8 3\nsource-ip-max-smtp-out 11/8 4\n"
                  "</domain>\n<domain a.com>\nsource-ip-max-smtp-out 0/0 5\n</domain>\n");
    CHECK_INT(domain_of(config, NULL, "b.com")->source_ip_max_smtp_out.count, 2);
    CHECK_INT(domain_of(config, NULL, "b.com")->source_ip_max_smtp_out.items[1].limit, 4);
    CHECK_INT(domain_of(config, NULL, "a.com")->source_ip_max_smtp_out.count, 1);
    unload(config);
}

struct seen {
    const char *wanted;
    char value[256];
    char file[64];
    uint32_t line;
    size_t count;
};

static void on_line(void *to, const struct explain_line *line)
{
    struct seen *seen = to;
    seen->count++;
    if (strcmp(line->name, seen->wanted) == 0) {
        snprintf(seen->value, sizeof(seen->value), "%.*s", BYTES_FMT(line->value));
        snprintf(seen->file, sizeof(seen->file), "%s", line->file == NULL ? "-" : line->file);
        seen->line = line->line;
    }
}

TEST(explain_says_which_line_won)
{
    struct config *config =
        load_good("<domain *>\nmax-smtp-out 1\nretry-after 1m,2h\n</domain>\n"
                  "<domain a.com>\nmax-smtp-out 2\nauth-password x\n</domain>\n");
    struct seen seen = {.wanted = "max-smtp-out"};
    struct explain_sink sink = {on_line, &seen};
    explain_domain(config, NULL, text_of("a.com"), &sink);
    CHECK_STRING(seen.value, "2");
    CHECK_STRING(seen.file, "/etc/main.conf");
    CHECK_INT(seen.line, 6);
    seen.wanted = "retry-after";
    explain_domain(config, NULL, text_of("a.com"), &sink);
    CHECK_STRING(seen.value, "1m,2h");
    CHECK_INT(seen.line, 3);
    seen.wanted = "bounce-after";
    explain_domain(config, NULL, text_of("a.com"), &sink);
    CHECK_STRING(seen.value, "4d12h");
    CHECK_STRING(seen.file, "-");
    unload(config);
}

static void on_overridden(void *to, const struct explain_line *line)
{
    struct buffer *out = to;
    if (strcmp(line->name, "max-smtp-out") == 0 || strcmp(line->name, "retry-after") == 0) {
        buffer_printf(out, "%s %.*s:%u", line->name, BYTES_FMT(line->value), line->line);
        for (size_t i = 0; i < line->overridden_count; i++) {
            buffer_printf(out, " %.*s:%u", BYTES_FMT(line->overridden[i].value),
                          line->overridden[i].line);
        }
        buffer_put_string(out, "\n");
    }
}

TEST(explain_tells_what_was_overridden_most_general_first)
{
    struct config *config = load_good("<domain a.com>\nmax-smtp-out 5\nmax-smtp-out 6\n</domain>\n"
                                      "<domain *>\nmax-smtp-out 2\nretry-after 1m\n</domain>\n"
                                      "<domain [*.]com>\nmax-smtp-out 3\n</domain>\n");
    char memory[400];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    explain_domain(config, NULL, text_of("a.com"), &(struct explain_sink){on_overridden, &out});
    CHECK_BYTES(buffer_bytes(&out), "max-smtp-out 6:3 2:6 3:10 5:2\nretry-after 1m:7\n");
    unload(config);
}

TEST(explain_hides_the_password_of_a_key)
{
    static const struct memory_file files[] = {
        {"/etc/main.conf", "<domain *>\nsmtp-client-certificate /a.pem hush\n</domain>\n", 0},
        {"/a.pem", PEM_CERTIFICATE PEM_KEY_HUSH, 0},
        {NULL, NULL, 0}};
    struct config *config = load_files(files);
    struct seen seen = {.wanted = "smtp-client-certificate"};
    struct explain_sink sink = {on_line, &seen};
    explain_domain(config, NULL, text_of("a.com"), &sink);
    CHECK_STRING(seen.value, "/a.pem ***");
    unload(config);
}

TEST(explain_hides_secrets)
{
    struct config *config = load_good("<domain *>\nauth-password hush\n</domain>\n");
    struct seen seen = {.wanted = "auth-password"};
    struct explain_sink sink = {on_line, &seen};
    explain_domain(config, NULL, text_of("a.com"), &sink);
    CHECK_STRING(seen.value, "***");
    unload(config);
}
