/* Which <source> holds for a client. */
#include "policy/access.h"

#include "config_files.h"
#include "test.h"

static const struct source_settings *source_of(const struct config *config, const char *peer,
                                               const char *name)
{
    struct address address = {0};
    if (peer != NULL) {
        CHECK(address_parse(text_of(peer), &address));
    }
    return config_source_for(config, peer == NULL ? NULL : &address, name);
}

TEST(defaults_hold_without_any_block)
{
    struct config *config = load_good("");
    const struct source_settings *source = source_of(config, "1.2.3.4", NULL);
    CHECK(source->smtp_service);
    CHECK(!source->always_allow_relaying);
    CHECK(source->add_received_header);
    CHECK_INT(source->max_message_bytes, 50 << 20);
    CHECK_INT(source->max_rcpt_per_message, 1000);
    CHECK_INT(source->smtp_command_timeout_ms, 600000);
    CHECK_INT(source->max_line_len, 65536);
    CHECK_INT(source->max_connections_per_ip, 500);
    CHECK_BYTES(source->default_virtual_mta, "");
    unload(config);
}

TEST(the_longest_prefix_wins_and_the_others_fill_in)
{
    struct config *config =
        load_good("<source 10.1.2.3>\nprocess-x-job yes\n</source>\n"
                  "<source 10/8>\nmax-message-size 2m\nprocess-x-job no\n</source>\n"
                  "<source 0/0>\nmax-message-size 1m\nsmtp-service no\n</source>\n");
    const struct source_settings *source = source_of(config, "10.1.2.3", NULL);
    CHECK(source->process_x_job);
    CHECK_INT(source->max_message_bytes, 2 << 20);
    CHECK(!source->smtp_service);
    source = source_of(config, "10.1.2.4", NULL);
    CHECK(!source->process_x_job);
    CHECK_INT(source->max_message_bytes, 2 << 20);
    CHECK_INT(source_of(config, "11.0.0.1", NULL)->max_message_bytes, 1 << 20);
    unload(config);
}

TEST(zero_prefix_means_ipv6_too)
{
    struct config *config = load_good("<source 0/0>\nmax-message-size 1m\n</source>\n"
                                      "<source 2001:db8::/32>\nprocess-x-job yes\n</source>\n");
    CHECK_INT(source_of(config, "::1", NULL)->max_message_bytes, 1 << 20);
    CHECK(source_of(config, "2001:db8::5", NULL)->process_x_job);
    CHECK_INT(source_of(config, "2001:db8::5", NULL)->max_message_bytes, 1 << 20);
    CHECK(!source_of(config, "2001:db9::5", NULL)->process_x_job);
    unload(config);
}

TEST(an_ipv4_mapped_address_is_ipv4)
{
    struct config *config = load_good("<source 10/8>\nprocess-x-job yes\n</source>\n");
    CHECK(source_of(config, "::ffff:10.1.2.3", NULL)->process_x_job);
    CHECK(source_of(config, "10.1.2.3", NULL) == source_of(config, "::ffff:10.1.2.3", NULL));
    unload(config);
}

TEST(abbreviated_and_odd_prefixes_match)
{
    struct config *config = load_good("<source 173.194/16>\nprocess-x-job yes\n</source>\n"
                                      "<source 10.0.0.128/25>\nprocess-x-envid yes\n</source>\n");
    CHECK(source_of(config, "173.194.255.1", NULL)->process_x_job);
    CHECK(!source_of(config, "173.195.0.1", NULL)->process_x_job);
    CHECK(source_of(config, "10.0.0.129", NULL)->process_x_envid);
    CHECK(!source_of(config, "10.0.0.127", NULL)->process_x_envid);
    unload(config);
}

TEST(a_named_source_overrides_what_the_address_says)
{
    struct config *config =
        load_good("<source 10.1.2.3>\nmax-message-size 1m\nprocess-x-job yes\n"
                  "</source>\n<source inside>\nmax-message-size 3m\n</source>\n");
    CHECK_INT(source_of(config, "10.1.2.3", "Inside")->max_message_bytes, 3 << 20);
    CHECK(source_of(config, "10.1.2.3", "inside")->process_x_job);
    CHECK_INT(source_of(config, "10.1.2.3", "")->max_message_bytes, 1 << 20);
    CHECK_INT(source_of(config, NULL, "inside")->max_message_bytes, 3 << 20);
    CHECK(!source_of(config, NULL, "inside")->process_x_job);
    CHECK(config_has_source(config, text_of("inside")));
    CHECK(!config_has_source(config, text_of("10.1.2.3")));
    unload(config);
}

TEST(global_relaying_lies_below_every_source)
{
    struct config *config = load_good("always-allow-relaying yes\n"
                                      "<source 10/8>\nalways-allow-relaying no\n</source>\n");
    CHECK(source_of(config, "1.2.3.4", NULL)->always_allow_relaying);
    CHECK(!source_of(config, "10.2.3.4", NULL)->always_allow_relaying);
    unload(config);
}

TEST(blocks_of_one_source_add_up)
{
    struct config *config = load_good("<source 10/8>\nprocess-x-job yes\n</source>\n"
                                      "<source 10.0.0.0/8>\nprocess-x-envid yes\n</source>\n");
    CHECK(source_of(config, "10.2.3.4", NULL)->process_x_job);
    CHECK(source_of(config, "10.2.3.4", NULL)->process_x_envid);
    unload(config);
}

TEST(equal_sets_of_sources_share_one_answer)
{
    struct config *config = load_good("<source 10/8>\nprocess-x-job yes\n</source>\n");
    CHECK(source_of(config, "10.2.3.4", NULL) == source_of(config, "10.9.9.9", NULL));
    CHECK(source_of(config, "11.2.3.4", NULL) == source_of(config, "::1", NULL));
    CHECK(source_of(config, "11.2.3.4", NULL) != source_of(config, "10.9.9.9", NULL));
    unload(config);
}
