#include "smtp/params.h"
#include "smtp/path.h"
#include "test.h"

/* What a path in angle brackets becomes; "?" = refused, "!" = too long. */
static const char *parsed(const char *text)
{
    static char out[PATH_TEXT_MAX + 1];
    struct bytes rest = bytes_from_string(text);
    struct path path;
    enum path_result result = path_parse(&rest, &path);
    if (result != PATH_OK) {
        return result == PATH_TOO_LONG ? "!" : "?";
    }
    memcpy(out, path.text, path.len);
    out[path.len] = '\0';
    return out;
}

static struct path path_of(const char *text)
{
    struct bytes rest = bytes_from_string(text);
    struct path path = {0};
    CHECK_INT(path_parse(&rest, &path), PATH_OK);
    return path;
}

TEST(plain_addresses_are_taken_with_the_domain_in_lower_case)
{
    CHECK_STRING(parsed("<User.Name+tag@Example.COM>"), "User.Name+tag@example.com");
    CHECK_STRING(parsed("<a@b>"), "a@b");
    CHECK_STRING(parsed("<a..b.@docomo.example>"), "a..b.@docomo.example");
}

TEST(local_part_and_domain_are_told_apart)
{
    struct path path = path_of("<\"a@b\"@example.com>");
    CHECK_BYTES(path_local(&path), "\"a@b\"");
    CHECK_BYTES(path_domain(&path), "example.com");
}

TEST(the_null_path_is_empty)
{
    struct path path = path_of("<>");
    CHECK_INT(path.len, 0);
    CHECK_INT(path.domain_len, 0);
}

TEST(what_stands_behind_the_path_is_left)
{
    struct bytes rest = BYTES("<a@b> SIZE=1");
    struct path path;
    CHECK_INT(path_parse(&rest, &path), PATH_OK);
    CHECK_BYTES(rest, " SIZE=1");
}

TEST(quoted_local_parts_go_through_as_they_are)
{
    CHECK_STRING(parsed("<\"a b\"@x>"), "\"a b\"@x");
    CHECK_STRING(parsed("<\"a\\\"b>\"@x>"), "\"a\\\"b>\"@x");
    CHECK_STRING(parsed("<\"\"@x>"), "\"\"@x");
    CHECK_STRING(parsed("<\"a@x>"), "?");
    CHECK_STRING(parsed("<\"a\\\"@x>"), "?");
    CHECK_STRING(parsed("<\"a\"b@x>"), "?");
    CHECK_STRING(parsed("<\"a\tb\"@x>"), "?");
    CHECK_STRING(parsed("<\"a\r\nb\"@x>"), "?");
}

TEST(s25_source_routes_are_dropped)
{
    CHECK_STRING(parsed("<@a,@b:u@d>"), "u@d");
    CHECK_STRING(parsed("<@a.example:u@d.example>"), "u@d.example");
    CHECK_STRING(parsed("<@a,@b>"), "?");
    CHECK_STRING(parsed("<@a,b:u@d>"), "?");
    CHECK_STRING(parsed("<@:u@d>"), "?");
    CHECK_STRING(parsed("<@a:>"), "?");
}

TEST(s25_address_literals_are_made_canonical_and_marked)
{
    struct path path = path_of("<u@[192.0.2.1]>");
    CHECK(path.literal);
    CHECK_BYTES(path_domain(&path), "[192.0.2.1]");
    CHECK_STRING(parsed("<u@[ipv6:2001:DB8::1]>"), "u@[IPv6:2001:db8::1]");
    CHECK_STRING(parsed("<u@[2001:db8::1]>"), "?");
    CHECK_STRING(parsed("<u@[300.1.1.1]>"), "?");
    CHECK_STRING(parsed("<u@[]>"), "?");
    CHECK_STRING(parsed("<u@[>"), "?");
    CHECK_STRING(parsed("<u@[192.0.2.1]:25>"), "?");
}

TEST(s25_limits_are_64_and_255)
{
    char text[400];
    snprintf(text, sizeof(text), "<%064d@x>", 0);
    CHECK_INT(strlen(parsed(text)), 66);
    snprintf(text, sizeof(text), "<%065d@x>", 0);
    CHECK_STRING(parsed(text), "!");
    /* 4 labels of 63 and three dots are 255. */
    snprintf(text, sizeof(text), "<u@%063d.%063d.%063d.%063d>", 0, 0, 0, 0);
    CHECK_INT(strlen(parsed(text)), 257);
    snprintf(text, sizeof(text), "<u@%063d.%063d.%063d.%063d.x>", 0, 0, 0, 0);
    CHECK_STRING(parsed(text), "!");
    snprintf(text, sizeof(text), "<u@%064d.com>", 0);
    CHECK_STRING(parsed(text), "?");
}

TEST(s25_shell_metacharacters_are_only_characters)
{
    CHECK_STRING(parsed("<`id`|x&y{z}$HOME@x>"), "`id`|x&y{z}$HOME@x");
    CHECK_STRING(parsed("<;for@x>"), "?");
    CHECK_STRING(parsed("<a(b)@x>"), "?");
    CHECK_STRING(parsed("<u@x;y>"), "?");
    CHECK_STRING(parsed("<u@-x>"), "?");
}

TEST(ports_are_no_part_of_an_address)
{
    CHECK_STRING(parsed("<user@host:25>"), "?");
}

TEST(control_characters_spaces_and_empty_parts_are_refused)
{
    const char *const bad[] = {"",         "<",       "a@b",      "<a@b",    "<a b@x>",
                               "<a@b c>",  "<@x>",    "<a@>",     "<a@.x>",  "<a@x.>",
                               "<a@x..y>", "<a\t@x>", "<a\n@x>",  "<a@x\r>", "<a@@x>",
                               "<a@b@c>",  "<a@x->",  "<a@x-.y>", "<<a@b>>", "<a>b@c>x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) - 1; i++) {
        CHECK_STRING(parsed(bad[i]), "?");
    }
    struct bytes nul = BYTES("<a\0b@x>"), in_route = BYTES("<@a\0b:u@x>");
    struct path path;
    CHECK_INT(path_parse(&nul, &path), PATH_SYNTAX);
    CHECK_INT(path_parse(&in_route, &path), PATH_SYNTAX);
}

TEST(a_path_without_a_domain_can_be_given_one)
{
    struct path path = path_of("<Postmaster>");
    CHECK_INT(path.domain_len, 0);
    CHECK(path_qualify(&path, BYTES("MX.example")));
    CHECK_BYTES(path_text(&path), "Postmaster@mx.example");
    CHECK_BYTES(path_domain(&path), "mx.example");
}

TEST(utf8_local_parts_are_kept_and_marked)
{
    struct path path = path_of("<jos\xc3\xa9@example.com>");
    CHECK(path.utf8);
    CHECK(path.utf8_given);
    CHECK_BYTES(path_text(&path), "jos\xc3\xa9@example.com");
    CHECK_STRING(parsed("<\"jos\xc3\xa9 x\"@example.com>"), "\"jos\xc3\xa9 x\"@example.com");
    CHECK_STRING(parsed("<jos\xe9@example.com>"), "?");
    CHECK_STRING(parsed("<\"\xc0\x80\"@example.com>"), "?");
}

TEST(utf8_domains_become_a_labels_and_need_no_smtputf8_further_on)
{
    struct path path = path_of("<u@B\xc3\xbc"
                               "cher.Example>");
    CHECK(!path.utf8);
    CHECK(path.utf8_given);
    CHECK_BYTES(path_text(&path), "u@xn--bcher-kva.example");
    CHECK_STRING(parsed("<u@\xe2\x98\x83\xff.example>"), "?");
}

TEST(an_address_alone_is_parsed_whole)
{
    struct path path;
    CHECK_INT(path_parse_address(BYTES("u@X.example"), &path), PATH_OK);
    CHECK_BYTES(path_text(&path), "u@x.example");
    CHECK_INT(path_parse_address(BYTES("<u@x.example>"), &path), PATH_SYNTAX);
    CHECK_INT(path_parse_address(BYTES(""), &path), PATH_SYNTAX);
    CHECK_INT(path_parse_address(BYTES("u@x.example "), &path), PATH_SYNTAX);
}

TEST(what_was_parsed_parses_to_itself)
{
    const char *const texts[] = {"<A@B.example>", "<\"a b\"@X>", "<u@[IPv6:2001:DB8::1]>",
                                 "<@a:u@d>", "<u@\xc3\xbcx.example>"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct path first = path_of(texts[i]), again;
        CHECK_INT(path_parse_address(path_text(&first), &again), PATH_OK);
        CHECK(bytes_equal(path_text(&first), path_text(&again)));
        CHECK_INT(first.domain_len, again.domain_len);
    }
}

/* ---- parameters ---- */

static const struct params_offered all_offered = {.smtputf8 = true, .dsn = true};

static enum params_result mail_params(const char *text)
{
    struct mail_params params;
    return mail_params_parse(bytes_from_string(text), &all_offered, &params);
}

static enum params_result rcpt_params(const char *text)
{
    struct rcpt_params params;
    return rcpt_params_parse(bytes_from_string(text), &all_offered, false, &params);
}

TEST(mail_parameters_are_taken_in)
{
    struct mail_params params;
    struct bytes text = BYTES(" SIZE=1234 body=8bitmime SMTPUTF8 RET=HDRS ENVID=a+3Db");
    CHECK_INT(mail_params_parse(text, &all_offered, &params), PARAMS_OK);
    CHECK_INT(params.size, 1234);
    CHECK(params.eight_bit);
    CHECK(params.smtputf8);
    CHECK_INT(params.ret, 2);
    CHECK_BYTES(bytes_of(params.envid, params.envid_len), "a=b");
}

TEST(no_parameters_are_no_parameters)
{
    CHECK_INT(mail_params(""), PARAMS_OK);
    CHECK_INT(mail_params("  "), PARAMS_OK);
    CHECK_INT(rcpt_params(""), PARAMS_OK);
}

TEST(s23_unknown_mail_parameters_are_told_from_malformed_ones)
{
    CHECK_INT(mail_params(" XFOO=1"), PARAMS_UNKNOWN);
    CHECK_INT(mail_params(" NOTIFY=NEVER"), PARAMS_UNKNOWN);
    CHECK_INT(mail_params(" AUTH=<>"), PARAMS_UNKNOWN);
    CHECK_INT(mail_params("SIZE=1"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" =1"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" SIZE="), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" -SIZE=1"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" SMTPUTF8=1"), PARAMS_SYNTAX);
}

TEST(s23_a_parameter_given_twice_is_refused)
{
    CHECK_INT(mail_params(" SIZE=1 size=1"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" X=1 X=1"), PARAMS_SYNTAX);
}

TEST(s23_sizes_over_64_bits_are_too_large)
{
    CHECK_INT(mail_params(" SIZE=18446744073709551615"), PARAMS_OK);
    CHECK_INT(mail_params(" SIZE=18446744073709551616"), PARAMS_TOO_LARGE);
    CHECK_INT(mail_params(" SIZE=184467440737095516160"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" SIZE=-1"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" SIZE"), PARAMS_SYNTAX);
}

TEST(s23_binarymime_is_refused)
{
    CHECK_INT(mail_params(" BODY=BINARYMIME"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" BODY=7BIT"), PARAMS_OK);
}

TEST(s40_dsn_parameters_are_checked)
{
    char text[300];
    CHECK_INT(rcpt_params(" NOTIFY=NEVER"), PARAMS_OK);
    CHECK_INT(rcpt_params(" NOTIFY=SUCCESS,failure,DELAY"), PARAMS_OK);
    CHECK_INT(rcpt_params(" NOTIFY=NEVER,FAILURE"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" NOTIFY=FAILURE,FAILURE"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" NOTIFY=FAILURE,"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" NOTIFY=,"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" NOTIFY"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" ORCPT=rfc822;a+ZZ@b"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" ORCPT=a@b"), PARAMS_SYNTAX);
    CHECK_INT(rcpt_params(" ORCPT=;a@b"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" RET=FULL RET=FULL"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" RET=NONE"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" ENVID=+ZZ"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" ENVID=a+0D+0AX:y"), PARAMS_SYNTAX);
    CHECK_INT(mail_params(" ENVID=a+3d"), PARAMS_SYNTAX);
    snprintf(text, sizeof(text), " ENVID=%0100d", 0);
    CHECK_INT(mail_params(text), PARAMS_OK);
    snprintf(text, sizeof(text), " ENVID=%0101d", 0);
    CHECK_INT(mail_params(text), PARAMS_SYNTAX);
}

TEST(s40_dsn_parameters_are_unknown_where_dsn_is_not_offered)
{
    struct params_offered none = {0};
    struct mail_params mail;
    struct rcpt_params rcpt;
    CHECK_INT(mail_params_parse(BYTES(" RET=FULL"), &none, &mail), PARAMS_UNKNOWN);
    CHECK_INT(rcpt_params_parse(BYTES(" NOTIFY=NEVER"), &none, false, &rcpt), PARAMS_UNKNOWN);
}

TEST(orcpt_is_decoded)
{
    struct rcpt_params params;
    struct bytes text = BYTES(" ORCPT=rfc822;a+2Bb@x NOTIFY=DELAY,FAILURE");
    CHECK_INT(rcpt_params_parse(text, &all_offered, false, &params), PARAMS_OK);
    CHECK_BYTES(bytes_of(params.orcpt, params.orcpt_len), "rfc822;a+b@x");
    CHECK_INT(params.notify, 4 | 8);
}

TEST(orcpt_of_type_utf8_may_hold_utf8_in_an_smtputf8_transaction)
{
    struct rcpt_params params;
    struct bytes text = BYTES(" ORCPT=utf-8;jos\xc3\xa9@x");
    CHECK_INT(rcpt_params_parse(text, &all_offered, true, &params), PARAMS_OK);
    CHECK_BYTES(bytes_of(params.orcpt, params.orcpt_len), "utf-8;jos\xc3\xa9@x");
    CHECK_INT(rcpt_params_parse(text, &all_offered, false, &params), PARAMS_SYNTAX);
}

TEST(xtext_goes_both_ways)
{
    char encoded[800], decoded[256];
    unsigned char all[255];
    struct buffer out, back;
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (unsigned char)(i + 1);
    }
    buffer_init(&out, encoded, sizeof(encoded));
    buffer_init(&back, decoded, sizeof(decoded));
    CHECK(xtext_encode(bytes_of((char *)all, sizeof(all)), &out));
    CHECK(xtext_decode(buffer_bytes(&out), &back));
    CHECK(bytes_equal(buffer_bytes(&back), bytes_of((char *)all, sizeof(all))));
}

TEST(xtext_that_does_not_fit_leaves_the_buffer_as_it_was)
{
    char memory[4];
    struct buffer out;
    buffer_init(&out, memory, sizeof(memory));
    CHECK(xtext_encode(BYTES("a"), &out));
    CHECK(!xtext_encode(BYTES("b= "), &out));
    CHECK_BYTES(buffer_bytes(&out), "a");
    CHECK(!xtext_decode(BYTES("abc+"), &out));
    CHECK_BYTES(buffer_bytes(&out), "a");
}
