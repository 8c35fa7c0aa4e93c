/* What does not load, or loads with a warning, and what is said about it. */
#include "policy/config.h"

#include "config_files.h"
#include "test.h"

TEST(k1_a_misspelt_directive_is_named_with_its_place_and_the_nearest_name)
{
    CHECK(fails_with("host-name a.com\n  smtp-sorce-host 10.0.0.1 a.com\n",
                     "2:3: error: unknown directive 'smtp-sorce-host' (did you mean "
                     "'smtp-source-host'?)"));
}

TEST(k1_the_nearest_name_is_looked_for_in_the_block_first)
{
    CHECK(fails_with("<domain *>\nmax-smtp-aut 3\n</domain>\n", "(did you mean 'max-smtp-out'?)"));
    CHECK(fails_with("<acct-file a>\nrecrods d\n</acct-file>\n", "(did you mean 'records'?)"));
}

TEST(k1_nothing_is_suggested_where_nothing_is_near)
{
    struct config *config = load("zzzzzzzz 1\n");
    CHECK(config == NULL);
    CHECK(has_message("1:1: error: unknown directive 'zzzzzzzz'"));
    CHECK(strstr(report.messages[0].text, "mean") == NULL);
    unload(config);
}

TEST(k1_all_mistakes_are_reported_not_only_the_first)
{
    struct config *config = load("foo-bar-baz 1\nworkers many\n<domein *>\nx\n</domein>\n");
    CHECK_INT(report.errors, 3);
    CHECK(has_message("1:1: error: unknown directive 'foo-bar-baz'"));
    CHECK(has_message("2:9: error: workers: 'many' is not accepted: write a whole number from 1 to "
                      "64, or 'auto'"));
    CHECK(has_message("3:2: error: unknown block '<domein>' (did you mean '<domain>'?)"));
    unload(config);
}

TEST(k1_columns_count_characters_not_bytes)
{
    CHECK(fails_with("<domain bücher.de>\n  über 1\n</domain>\n", "2:3: error"));
    CHECK(fails_with("dsn-failed-subject-template \"üü\" x y\n<domain ü*>\n</domain>\n",
                     "2:1: error: <domain ü*>"));
}

TEST(a_directive_in_the_wrong_block_says_where_it_belongs)
{
    CHECK(fails_with("max-msg-rate 10/h\n",
                     "1:1: error: 'max-msg-rate' is not allowed in the top level: it belongs in "
                     "<domain> or <provider>"));
    CHECK(fails_with("<domain *>\nsmtp-service yes\n</domain>\n",
                     "'smtp-service' is not allowed in <domain>: it belongs in <source>"));
}

TEST(a_block_in_the_wrong_block_is_an_error)
{
    CHECK(fails_with("<domain *>\n<source 0/0>\n</source>\n</domain>\n",
                     "2:2: error: '<source>' is not allowed in <domain>"));
    CHECK(fails_with("<source 0/0>\n<domain *>\nx\n</domain>\n</source>\n",
                     "2:2: error: '<domain>' is not allowed in <source>"));
}

TEST(blocks_close_in_order)
{
    CHECK(fails_with("<domain *>\n", "1:1: error: <domain> is not closed: </domain> is missing"));
    CHECK(fails_with("</domain>\n", "1:3: error: </domain> closes nothing that this file opened"));
    CHECK(fails_with("<virtual-mta v>\n<domain *>\n</virtual-mta>\n",
                     "2:1: error: <domain> is not closed"));
    CHECK(fails_with("<domain *>\n</source>\n</domain>\n", "2:3: error: </source> closes nothing"));
}

TEST(a_block_is_closed_by_the_file_that_opened_it)
{
    struct memory_file files[] = {{"/etc/main.conf", "<domain *>\ninclude a.conf\n</domain>\n", 0},
                                  {"/etc/a.conf", "max-smtp-out 3\n</domain>\n", 0},
                                  {NULL, NULL, 0}};
    CHECK(load_files(files) == NULL);
    CHECK(has_message("2:3: error: </domain> closes nothing that this file opened"));
    CHECK_STRING(report.messages[0].file, "/etc/a.conf");
    unload(NULL);
}

TEST(tags_have_a_strict_form)
{
    CHECK(fails_with("<domain *\n", "1:1: error: a tag has no closing '>'"));
    CHECK(fails_with("<domain *> x\n</domain>\n", "text behind a tag"));
    CHECK(fails_with("<domain>\n</domain>\n", "it needs a name or value behind the tag"));
    CHECK(fails_with("<domain a b>\n</domain>\n", "one name or value only"));
    CHECK(fails_with("<dns x>\n</dns>\n", "nothing may stand behind the tag"));
    CHECK(fails_with("<domain \"a>\n</domain>\n", "a double quote is not closed"));
}

TEST(a_tag_may_have_a_comment_behind_it)
{
    struct config *config =
        load_good("<domain *>   # everyone\nmax-smtp-out 1#x\n</domain> # end\n");
    CHECK(config != NULL);
    unload(config);
}

TEST(k2_two_virtual_mtas_of_one_name)
{
    CHECK(fails_with("<virtual-mta v>\n</virtual-mta>\n<virtual-mta V>\n</virtual-mta>\n",
                     "3:1: error: <virtual-mta V> is defined twice: first at /etc/main.conf:1"));
    CHECK(fails_with("<virtual-mta {default}>\n</virtual-mta>\n", "is defined twice"));
}

TEST(k2_a_pool_of_an_unknown_virtual_mta)
{
    CHECK(fails_with("<virtual-mta-pool p>\nvirtual-mta v\n</virtual-mta-pool>\n",
                     "2:13: error: virtual-mta: there is no <virtual-mta> named 'v'"));
}

TEST(a_pool_without_a_virtual_mta)
{
    CHECK(fails_with("<virtual-mta-pool p>\nmax-smtp-out 3\n</virtual-mta-pool>\n",
                     "1:1: error: pool 'p' has no virtual MTA"));
}

TEST(k2_one_address_with_two_names)
{
    CHECK(warns_with("<virtual-mta v>\nsmtp-source-host 10.0.0.1 a.com\n</virtual-mta>\n"
                     "<virtual-mta w>\nsmtp-source-host 10.0.0.1 b.com\n</virtual-mta>\n",
                     "5:0: warning: 10.0.0.1 greets as 'b.com' here and as 'a.com' at "
                     "/etc/main.conf:2"));
}

TEST(k2_one_address_with_one_name_is_fine)
{
    struct config *config =
        load_good("<virtual-mta v>\nsmtp-source-host 10.0.0.1 a.com\n</virtual-mta>\n"
                  "<virtual-mta w>\nsmtp-source-host 10.0.0.1 A.com\n</virtual-mta>\n");
    CHECK_INT(report.count, 0);
    unload(config);
}

TEST(a_pool_and_a_virtual_mta_have_different_names)
{
    CHECK(fails_with("<virtual-mta v>\n</virtual-mta>\n<virtual-mta-pool v>\nvirtual-mta v\n"
                     "</virtual-mta-pool>\n",
                     "3:1: error: 'v' is the name of a virtual MTA too"));
}

TEST(a_virtual_mta_in_two_pools_that_both_have_domains)
{
    static const char pools[] =
        "<virtual-mta v>\n</virtual-mta>\n"
        "<virtual-mta-pool p>\nvirtual-mta v\n<domain *>\nmax-smtp-out 1\n</domain>\n"
        "</virtual-mta-pool>\n<virtual-mta-pool q>\nvirtual-mta v\n%s</virtual-mta-pool>\n";
    char text[512];
    snprintf(text, sizeof(text), pools, "<domain a.com>\n</domain>\n");
    CHECK(
        fails_with(text, "virtual MTA 'v' is in the pools 'p' and 'q', which both have <domain>"));
    snprintf(text, sizeof(text), pools, "");
    struct config *config = load_good(text);
    CHECK(config != NULL);
    unload(config);
}

TEST(names_that_are_nowhere)
{
    CHECK(fails_with("<source 0/0>\ndefault-virtual-mta v\n</source>\n",
                     "2:21: error: default-virtual-mta: there is no <virtual-mta> or "
                     "<virtual-mta-pool> named 'v'"));
    CHECK(
        fails_with("smtp-listener 0/0:25 source=inside\n", "there is no <source> named 'inside'"));
    CHECK(fails_with("<domain *>\nsmtp-pattern-list s\n</domain>\n", "named 's'"));
    CHECK(fails_with("<pattern-list p>\n* virtual-mta=v\n</pattern-list>\n",
                     "there is no virtual MTA or pool named 'v'"));
}

TEST(reserved_names_need_no_definition)
{
    struct config *config =
        load_good("<source 0/0>\ndefault-virtual-mta by-smtp-source-ip\n</source>\n"
                  "<source {auth}>\ndefault-virtual-mta {default}\n</source>\n"
                  "<smtp-user u>\nsource {auth}\n</smtp-user>\n");
    CHECK(config != NULL);
    unload(config);
}

TEST(a_pattern_list_is_defined_before_the_source_that_names_it)
{
    CHECK(fails_with("<source 0/0>\npattern-list p\n</source>\n"
                     "<pattern-list p>\n* virtual-mta={default}\n</pattern-list>\n",
                     "2:14: error: pattern-list 'p' is defined below, at /etc/main.conf:4"));
}

TEST(two_listeners_on_one_place)
{
    CHECK(fails_with("smtp-listener 10.0.0.1:25\nsmtp-listener 10.0.0.1:25\n",
                     "2:0: error: 10.0.0.1 port 25 is listened on already, at /etc/main.conf:1"));
    CHECK(fails_with("smtp-listener ::1:25\n", "1:15: error: smtp-listener: '::1:25'"));
    CHECK(fails_with("smtp-listener 0/0\n", "write ADDRESS:PORT"));
    CHECK(fails_with("smtp-listener 0/0:70000\n", "write ADDRESS:PORT"));
    CHECK(fails_with("smtp-listener 0/0:25 color=red\n", "write source=NAME or tls=yes"));
}

TEST(k3_a_regex_that_is_wrong_is_shown_with_the_offset)
{
    CHECK(fails_with("relay-address /foo(bar/\n",
                     "1:15: error: relay-address: regular expression /foo(bar/ is wrong at offset "
                     "7: missing closing parenthesis"));
    CHECK(fails_with("<smtp-pattern-list s>\nreply /a[b/ mode=backoff\n</smtp-pattern-list>\n",
                     "2:7: error: regular expression /a[b/ is wrong at offset 3"));
}

TEST(k3_a_regex_ends_on_its_line)
{
    CHECK(fails_with("<bounce-category-patterns>\n/foo bar\nbaz/ x\n</bounce-category-patterns>\n",
                     "2:1: error: '/foo bar': a regular expression has no closing '/'"));
    CHECK(fails_with("<bounce-category-patterns>\n/a/b/ x\n</bounce-category-patterns>\n",
                     "text right behind a closing quote or slash"));
}

TEST(k3_a_catastrophic_regex_is_accepted)
{
    struct config *config = load_good("<smtp-pattern-list s>\nreply /(a+)+$/ mode=backoff\n"
                                      "</smtp-pattern-list>\n");
    CHECK(config != NULL);
    unload(config);
}

TEST(actions_that_exclude_each_other)
{
    CHECK(fails_with("<smtp-pattern-list s>\nreply /x/ mode=backoff mode=normal\n"
                     "</smtp-pattern-list>\n",
                     "exclude each other"));
    CHECK(
        fails_with("<smtp-pattern-list s>\nreply /x/ skip-mx,bounce-queue\n</smtp-pattern-list>\n",
                   "exclude each other"));
    CHECK(fails_with("<smtp-pattern-list s>\nreply /x/ reenable-after=1h\n</smtp-pattern-list>\n",
                     "reenable-after needs disable-source-ip"));
    CHECK(fails_with("<smtp-pattern-list s>\nreply /x/ mode=sleepy\n</smtp-pattern-list>\n",
                     "2:11: error: 'mode=sleepy': write mode=backoff or mode=normal"));
    CHECK(fails_with("<smtp-pattern-list s>\nreply /x/ explode\n</smtp-pattern-list>\n",
                     "2:11: error: 'explode': unknown action"));
    CHECK(fails_with("<mx-rollup-list>\nmx a.com b\n</mx-rollup-list>\n", "ends in .rollup"));
}

TEST(k6_rates_that_are_none_name_the_accepted_forms)
{
    static const char *const rates[] = {"10/fortnight",
                                        "-1/h",
                                        "1e99",
                                        "0x",
                                        "10",
                                        "10/",
                                        "/h",
                                        "1/0h",
                                        "0/h",
                                        "1.5/h",
                                        "1/hh",
                                        "1//h",
                                        "99999999999999999999/h",
                                        "1/99999999999999d"};
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        char text[128], wanted[128];
        snprintf(text, sizeof(text), "<domain *>\nmax-msg-rate %s\n</domain>\n", rates[i]);
        snprintf(wanted, sizeof(wanted),
                 "2:14: error: max-msg-rate: '%s' is not accepted: write a rate such as 100/h",
                 rates[i]);
        CHECK(fails_with(text, wanted));
    }
}

TEST(k6_times_that_are_none_name_the_accepted_forms)
{
    static const char *const times[] = {
        "-1", "1e99", "0x", "10x", "h", "1h30", "1.5h", "99999999999999999w", "101000w", "never"};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[128], wanted[128];
        snprintf(text, sizeof(text), "<domain *>\nconnect-timeout %s\n</domain>\n", times[i]);
        snprintf(wanted, sizeof(wanted), "'%s' is not accepted: write a time such as 90s",
                 times[i]);
        CHECK(fails_with(text, wanted));
    }
    CHECK(fails_with("<domain *>\nconnection-idle-timeout 11m\n</domain>\n", "at most 10m"));
    CHECK(fails_with("<domain *>\nretry-after 1m, 2m\n</domain>\n", "without spaces"));
    CHECK(fails_with("<domain *>\nretry-after 1m,,2m\n</domain>\n", "separated by commas"));
}

TEST(k6_sizes_that_are_none_name_the_accepted_forms)
{
    static const char *const sizes[] = {
        "-1", "1e99", "0x10", "10q", "10mm", "k", "18446744073709551615", "99999999999t", "1.5m"};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char text[128], wanted[128];
        snprintf(text, sizeof(text), "max-memory %s\n", sizes[i]);
        snprintf(wanted, sizeof(wanted),
                 "1:12: error: max-memory: '%s' is not accepted: write a size", sizes[i]);
        CHECK(fails_with(text, wanted));
    }
    CHECK(fails_with("<acct-file a>\nmax-size 100k\n</acct-file>\n", "at least 1m"));
    CHECK(fails_with("<source 0/0>\nmax-message-size 2g\n</source>\n", "at most 1g"));
}

TEST(k6_other_values_name_their_accepted_forms_too)
{
    CHECK(fails_with("spool-sync maybe\n", "write yes, no, true or false"));
    CHECK(fails_with("workers 65\n", "from 1 to 64, or 'auto'"));
    CHECK(fails_with("workers\n", "1:8: error: workers: a value is missing"));
    CHECK(fails_with("spool-sync yes no\n", "'no' behind the value is too much"));
    CHECK(fails_with("name-server 1.2.3\n", "write an IP address"));
    CHECK(fails_with("host-name a_b!.com\n", "write a host name"));
    CHECK(fails_with("<acct-file a>\non-lag wait\n</acct-file>\n", "write hold or skip"));
    CHECK(fails_with("<acct-file a>\nrecords d,x\n</acct-file>\n", "d, b, t, tq"));
    CHECK(
        fails_with("<domain *>\nsmtp-hosts a.com:99999\n</domain>\n", "write hosts separated by"));
    CHECK(fails_with("<domain *>\nprohibited-hosts 127/8,x\n</domain>\n", "or 'none'"));
    CHECK(fails_with("<virtual-mta v>\nspool-share 101\n</virtual-mta>\n", "from 0 to 100"));
    CHECK(
        fails_with("<source 10.0.0.0/33>\n</source>\n", "<source 10.0.0.0/33>: write an address"));
    CHECK(fails_with("<domain a..b>\n</domain>\n", "<domain a..b>: write a domain"));
}

TEST(k7_bytes_that_are_no_text)
{
    struct memory_file nul[] = {{"/etc/main.conf", "host-name a.com\nx\0y\n", 20}, {NULL, NULL, 0}};
    struct memory_file utf16[] = {{"/etc/main.conf", "\xff\xfeh\0o\0", 6}, {NULL, NULL, 0}};
    struct memory_file plain16[] = {{"/etc/main.conf", "h\0o\0s\0", 6}, {NULL, NULL, 0}};
    CHECK(load_files(nul) == NULL);
    CHECK(has_message("2:1: error: the file holds a NUL byte"));
    CHECK(load_files(utf16) == NULL);
    CHECK(has_message("1:1: error: the file is UTF-16: save it as UTF-8"));
    CHECK(load_files(plain16) == NULL);
    CHECK(has_message("1:1: error: the file is UTF-16: save it as UTF-8"));
    unload(NULL);
}

TEST(k7_an_include_that_is_missing_or_loops)
{
    struct memory_file loop[] = {{"/etc/main.conf", "include a.conf\n", 0},
                                 {"/etc/a.conf", "\ninclude main.conf\n", 0},
                                 {NULL, NULL, 0}};
    CHECK(fails_with("include gone.conf\n",
                     "1:9: error: cannot read /etc/gone.conf: No such file or directory"));
    CHECK(load_files(loop) == NULL);
    CHECK(has_message("2:9: error: /etc/main.conf includes itself"));
    CHECK_STRING(report.messages[0].file, "/etc/a.conf");
    CHECK(fails_with("include a b\n", "include needs one file name"));
    unload(NULL);
}

TEST(k7_the_file_itself_is_missing)
{
    struct memory_file nothing[] = {{NULL, NULL, 0}};
    struct memory_files none = {nothing};
    struct config_files how = {.owner = &none, .read = memory_read, .glob = memory_glob};
    CHECK(config_load("/etc/gone.conf", &how, &report) == NULL);
    CHECK(has_message("0:0: error: cannot read /etc/gone.conf: No such file or directory"));
    unload(NULL);
}

TEST(k7_includes_deeper_than_sixteen)
{
    static char names[20][32], texts[20][32];
    struct memory_file files[21] = {{NULL, NULL, 0}};
    for (int i = 0; i < 20; i++) {
        snprintf(names[i], sizeof(names[i]), "/etc/%02d.conf", i);
        snprintf(texts[i], sizeof(texts[i]), "include %02d.conf\n", i + 1);
        files[i] = (struct memory_file){names[i], texts[i], 0};
    }
    CHECK(load_files(files) == NULL);
    CHECK(has_message("1:9: error: include goes deeper than 16 files"));
    unload(NULL);
    texts[15][0] = '#'; /* sixteen files, the last includes nothing */
    struct config *config = load_files(files);
    CHECK(config != NULL);
    unload(config);
}

TEST(macros_that_loop_or_are_unknown)
{
    CHECK(fails_with("domain-macro a $b\ndomain-macro b x.com,$a\n", "names itself"));
    CHECK(fails_with("domain-macro a a.com,$a\n", "macro '$a' names itself"));
    CHECK(fails_with("domain-macro a x.$nope\n", "1:16: error: unknown macro '$nope'"));
    CHECK(fails_with("<domain a.$p_x>\n</domain>\n", "<domain a.$p_x> names an unknown macro"));
    CHECK(fails_with("domain-macro a\n", "domain-macro 'a' has no items"));
    CHECK(fails_with("domain-macro a-b x.com\n", "write a name of letters, digits and _"));
    CHECK(fails_with("domain-macro a x.com y.com\n", "write the items with commas between"));
}

TEST(macros_that_stand_for_too_much)
{
    static char text[65536];
    size_t len = (size_t)snprintf(text, sizeof(text), "domain-macro a ");
    for (int i = 0; i < 1000; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "x%d,", i);
    }
    snprintf(text + len, sizeof(text) - len, "z\n<domain $a.$a.$a>\n</domain>\n");
    CHECK(fails_with(text, "stands for too many domains"));
}

TEST(a_name_that_idna_does_not_know)
{
    CHECK(fails_with("<domain \xff.de>\n</domain>\n", "no valid internationalised domain name"));
}

TEST(template_tokens_that_were_not_filled_in)
{
    CHECK(fails_with("host-name {{ hostname }}\n", "1:11: error: '{{ hostname }}' looks like a "
                                                   "template token that was not filled in"));
    CHECK(fails_with("total-max-smtp-in QQQmaxQQQ\n", "'QQQmaxQQQ' looks like a template token"));
    CHECK(fails_with("<domain {{domain}}>\n</domain>\n", "template token"));
    CHECK(fails_with("<virtual-mta QQQnameQQQ>\n</virtual-mta>\n", "template token"));
    CHECK(fails_with("<virtual-mta $p_x>\n</virtual-mta>\n", "a name is letters, digits"));
}

TEST(legacy_directives_warn_with_the_reason)
{
    CHECK(warns_with("<spool /s>\nsync-msg-create no\n</spool>\n",
                     "2:1: warning: 'sync-msg-create' has no effect: spool-sync decides"));
    CHECK(warns_with("<domain *>\ndk-sign yes\nroute [1.2.3.4]:25\n</domain>\n",
                     "2:1: warning: 'dk-sign' has no effect: DomainKeys"));
    CHECK(warns_with("<source 0/0>\nremove-received-headers true\n</source>\n", "has no effect"));
    CHECK(warns_with("dummy-smtp-blacklist-anything x\n", "has no effect: the sink accepts"));
    CHECK(warns_with("<performance-settings>\nanything goes\n<here too>\n</here>\n"
                     "</performance-settings>\nrouting-file /x\n",
                     "1:2: warning: '<performance-settings>' has no effect: no such block"));
}

TEST(what_is_known_but_not_built_warns_once_per_name)
{
    struct config *config = load_good("<source 0/0>\nrequire-auth no\n</source>\n"
                                      "<source 10/8>\nrequire-auth no\n</source>\n"
                                      "<domain *>\ncluster-max-smtp-out 5\n</domain>\n"
                                      "<provider p>\ncluster-max-smtp-out 5\n</provider>\n");
    CHECK(has_message("2:1: warning: 'require-auth' is not yet in effect"));
    CHECK(has_message("8:1: warning: 'cluster-max-smtp-out' is not yet in effect"));
    CHECK_INT(report.warnings, 2);
    unload(config);
}

TEST(a_listener_that_asks_for_tls_in_vain_says_so)
{
    CHECK(warns_with("smtp-listener 0/0:465 tls=yes\n",
                     "1:1: warning: 'immediate-tls' is not yet in effect"));
}

TEST(a_secret_is_not_repeated_in_a_message)
{
    CHECK(load("<smtp-user u>\npassword my hush\n</smtp-user>\n") == NULL);
    CHECK(has_message("2:13: error: password: text behind the value: a secret with blanks or '#' "
                      "needs double quotes"));
    CHECK(load("<smtp-user u>\npassword \"hush\n</smtp-user>\n") == NULL);
    for (size_t i = 0; i < report.count; i++) {
        CHECK(strstr(report.messages[i].text, "hush") == NULL);
    }
    unload(NULL);
}

TEST(a_name_that_works_elsewhere_says_where_it_does_not)
{
    CHECK(warns_with("<source 0/0>\nmax-queued-recipients 3\n</source>\n",
                     "2:1: warning: 'max-queued-recipients' is not yet in effect in <source>"));
}

TEST(a_made_up_block_is_skipped_wherever_it_stands)
{
    CHECK(warns_with("<domain *>\n<policy x>\nrate 3\n</policy>\nmax-smtp-out 3\n</domain>\n",
                     "2:2: warning: '<policy>' has no effect"));
}

TEST(what_is_in_effect_does_not_warn)
{
    struct config *config = load_good(
        "host-name a.com\nsmtp-listener 0/0:25\nname-server 127.0.0.1:5353\n<spool /s>\npriority "
        "2\n"
        "</spool>\n<source 0/0>\nsmtp-service yes\nalways-allow-relaying yes\n"
        "process-x-virtual-mta yes\nmax-message-size 10m\n</source>\n<domain *>\n"
        "smtp-hosts [127.0.0.1]:2525\nmax-msg-rate 5/s\nuse-starttls no\nignore-pipelining yes\n"
        "</domain>\n<acct-file a.csv>\nrecords d\n</acct-file>\n");
    CHECK_INT(report.count, 0);
    unload(config);
}

TEST(one_spool_at_least_takes_new_mail)
{
    CHECK(fails_with("<spool /a>\ndeliver-only yes\n</spool>\n",
                     "1:0: error: every spool is deliver-only"));
    CHECK(fails_with("spool /a\nspool /a\n", "2:0: error: spool /a stands at"));
}

TEST(the_report_is_bounded)
{
    static char text[64 * 2000];
    size_t len = 0;
    for (int i = 0; i < 2000; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "smtp-sorce-host-%d x\n", i);
    }
    CHECK(load(text) == NULL);
    CHECK_INT(report.count, CONFIG_MESSAGES_MAX);
    CHECK_INT(report.errors, 2000);
    unload(NULL);
}

TEST(a_line_may_not_be_endless)
{
    char *text = malloc(80000);
    memset(text, 'a', 79998);
    memcpy(text, "host-name ", 10);
    text[79998] = '\n';
    text[79999] = '\0';
    CHECK(fails_with(text, "1:1: error: the line is too long"));
    free(text);
}

TEST(a_queue_filter_names_queues)
{
    CHECK(fails_with("<acct-file /a.csv>\nqueue-filter a.com/v1,b.com\n</acct-file>\n",
                     "1:0: error: queue-filter: 'b.com' is no queue"));
}

TEST(rules_that_lead_in_a_circle_are_refused)
{
    CHECK(fails_with("<domain a.example>\nqueue-to b.example\n</domain>\n"
                     "<domain *.example>\nqueue-to a.example\n</domain>\n",
                     "2:10: error: queue-to: leads in a circle, or over more than 8 queues, from "
                     "a.example/{default}"));
    CHECK(fails_with("smtp-source-host 127.0.0.1 h\n"
                     "<virtual-mta a>\n<domain *>\nreroute-to-virtual-mta b\n</domain>\n"
                     "</virtual-mta>\n"
                     "<virtual-mta b>\n<domain x>\nreroute-to-virtual-mta a\n</domain>\n"
                     "</virtual-mta>\n",
                     "4:24: error: reroute-to-virtual-mta: leads in a circle"));
    CHECK(fails_with("<domain a.example>\nqueue-to \"no host\"\n</domain>\n",
                     "2:11: error: queue-to: 'no host' is not accepted: write a domain"));
    CHECK(fails_with("smtp-source-host 127.0.0.1 h\n<virtual-mta a>\n</virtual-mta>\n"
                     "<virtual-mta b>\n<domain *>\nbackoff-reroute-to-virtual-mta a\n</domain>\n"
                     "</virtual-mta>\n<domain c.d>\nbackoff-reroute-to-virtual-mta b\n</domain>\n",
                     "10:32: error: backoff-reroute-to-virtual-mta: leads in a circle"));
}

TEST(a_roll_up_without_hosts_is_warned_about)
{
    CHECK(warns_with("<domain a.example>\nqueue-to x.rollup\n</domain>\n",
                     "2:10: warning: queue-to: x.rollup has no hosts"));
    CHECK(!warns_with("<domain a.example>\nqueue-to x.rollup\n</domain>\n"
                      "<domain x.rollup>\nsmtp-hosts lookup-mx:a.example\n</domain>\n",
                      "has no hosts"));
}
