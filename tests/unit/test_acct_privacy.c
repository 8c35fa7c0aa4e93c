#include "policy/acct_privacy.h"

#include "test.h"

static struct error error;

static int parse(const char *first, const char *second, struct acct_privacy *out)
{
    struct bytes words[] = {bytes_from_string(first), bytes_from_string(second)};
    return acct_privacy_parse(
        &(struct string_array){.items = words, .count = words[1].len > 0 ? 2u : 1u}, out, &error);
}

/* The text about bob@d.test, with local parts as X, in `room` bytes. */
static const char *hide_in(size_t room, const char *text, enum acct_privacy_where where)
{
    static char memory[1024];
    struct acct_privacy privacy;
    struct buffer out;
    CHECK_INT(parse("redact", "X", &privacy), 0);
    buffer_init(&out, memory, room);
    acct_privacy_hide(&privacy, bytes_from_string(text), BYTES("bob@d.test"), where, &out);
    memory[out.len] = '\0';
    return memory;
}

static const char *hide(const char *text, enum acct_privacy_where where)
{
    return hide_in(1000, text, where);
}

TEST(verp_of_the_recipient_is_hidden_and_the_sender_is_not)
{
    CHECK_STRING(hide("bounce-BOB=d.test@s.test", PRIVACY_VERP), "bounce-X=d.test@s.test");
    CHECK_STRING(hide("bob@d.test", PRIVACY_VERP), "X@d.test");
    CHECK_STRING(hide("bob@s.test", PRIVACY_VERP), "bob@s.test");
    CHECK_STRING(hide("kebob@d.test", PRIVACY_VERP), "kebob@d.test");
    CHECK_STRING(hide("", PRIVACY_VERP), "");
}

TEST(of_a_quoted_local_part_verp_is_hidden_too_under_the_same_hash)
{
    struct acct_privacy privacy;
    static const char *const texts[] = {"\"c D\"@d.test", "\"me-C d=d.test\"@s.test"};
    char memory[2][200];
    struct buffer out[2];
    CHECK_INT(parse("siphash", "0123456789abcdef", &privacy), 0);
    for (size_t i = 0; i < 2; i++) {
        buffer_init(&out[i], memory[i], sizeof memory[i]);
        acct_privacy_hide(&privacy, bytes_from_string(texts[i]), BYTES("\"c D\"@d.test"),
                          PRIVACY_VERP, &out[i]);
    }
    struct bytes hash = bytes_slice(buffer_bytes(&out[0]), 0, out[0].len - 7);
    CHECK_INT(hash.len, 16);
    CHECK_BYTES(bytes_slice(buffer_bytes(&out[1]), 0, 4), "\"me-");
    CHECK(bytes_equal(bytes_slice(buffer_bytes(&out[1]), 4, 20), hash));
    CHECK_BYTES(bytes_slice(buffer_bytes(&out[1]), 20, out[1].len), "=d.test\"@s.test");
}

TEST(every_address_is_hidden_and_domains_stay)
{
    CHECK_STRING(hide("rfc822;Jim.k+x@e.test", PRIVACY_ADDRESSES), "rfc822;X@e.test");
    CHECK_STRING(hide("<bob@d.test>, a@b, @c bob", PRIVACY_ADDRESSES), "<X@d.test>, X@b, @c bob");
}

TEST(what_a_peer_says_has_no_local_part_as_a_word_either)
{
    CHECK_STRING(hide("550 Bob: no such user <bob@D.TEST> (bobby, v-bob=d.test@s)", PRIVACY_WORDS),
                 "550 X: no such user <X@D.TEST> (bobby, X@s)");
}

TEST(where_there_is_no_room_nothing_of_a_name_is_left)
{
    CHECK_STRING(hide_in(66, "12 bob@d.test", PRIVACY_WORDS), "12 ");
    CHECK_STRING(hide_in(67, "12 bob@d.test", PRIVACY_WORDS), "12 X@d.test");
}

TEST(a_hash_is_the_same_for_any_case_and_another_for_another_key)
{
    struct acct_privacy text, hex, other;
    char memory[3][128];
    struct buffer out[3];
    CHECK_INT(parse("hmac-sha256", "Jefe", &text), 0);
    CHECK_INT(parse("hmac-sha256-hexkey", "4A656665", &hex), 0);
    CHECK_INT(parse("siphash", "0123456789abcdef", &other), 0);
    for (int i = 0; i < 3; i++) {
        buffer_init(&out[i], memory[i], sizeof memory[i]);
        acct_privacy_hide(i == 0   ? &text
                          : i == 1 ? &hex
                                   : &other,
                          i == 0 ? BYTES("BOB@d") : BYTES("bob@d"), BYTES("bob@d"), PRIVACY_WORDS,
                          &out[i]);
    }
    CHECK_INT(out[0].len, 64 + 2);
    CHECK(bytes_equal(buffer_bytes(&out[0]), buffer_bytes(&out[1])));
    CHECK_INT(out[2].len, 16 + 2);
}

TEST(what_is_no_policy_is_refused_without_its_key)
{
    struct acct_privacy privacy;
    const char *bad[][2] = {{"keep", ""},
                            {"siphash", ""},
                            {"siphash", "hush"},
                            {"redact", "two words"},
                            {"hmac-sha256-hexkey", "hush"},
                            {"siphash-hexkey", "00112233445566778899aabbccddee"},
                            {"retain", "hush"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        error = (struct error){0};
        CHECK_INT(parse(bad[i][0], bad[i][1], &privacy), -1);
        CHECK(strstr(error.text, "hush") == NULL);
        CHECK(strstr(error.text, "privacy-policy") != NULL);
    }
    CHECK_INT(parse("retain", "", &privacy), 0);
    CHECK_INT(privacy.kind, PRIVACY_RETAIN);
}
