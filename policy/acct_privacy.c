#include "policy/acct_privacy.h"

#include <assert.h>
#include <string.h>
#include <sysexits.h>

#include "base/crypto.h"

/* ---- the configuration ---- */

static int digit_of(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool take_key(struct bytes text, bool hex, struct acct_privacy *out)
{
    size_t step = hex ? 2 : 1;
    if (text.len == 0 || text.len % step != 0 || text.len / step > ACCT_PRIVACY_KEY_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len / step; i++) {
        int high = digit_of(text.data[i * step]), low = digit_of(text.data[i * step + step - 1]);
        if (hex && (high < 0 || low < 0)) {
            return false;
        }
        unsigned byte = hex ? (unsigned)(high << 4 | low) : (unsigned char)text.data[i];
        out->key[i] = (uint8_t)byte;
    }
    out->len = (uint32_t)(text.len / step);
    return true;
}

static int parse_keyed(const struct string_array *words, struct acct_privacy *out,
                       struct error *error)
{
    static const struct {
        const char *name;
        enum acct_privacy_kind kind;
        bool hex;
    } ways[] = {{"siphash", PRIVACY_SIPHASH, false},
                {"siphash-hexkey", PRIVACY_SIPHASH, true},
                {"hmac-sha256", PRIVACY_HMAC, false},
                {"hmac-sha256-hexkey", PRIVACY_HMAC, true}};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!bytes_equal_nocase(words->items[0], bytes_from_string(ways[i].name))) {
            continue;
        }
        out->kind = ways[i].kind;
        if (words->count != 2 || !take_key(words->items[1], ways[i].hex, out) ||
            (out->kind == PRIVACY_SIPHASH && out->len != CRYPTO_SIPHASH_KEY_LEN)) {
            return error_set(error, EX_CONFIG,
                             "privacy-policy %s: one key is needed, of %s, in -hexkey two digits "
                             "for each",
                             ways[i].name,
                             out->kind == PRIVACY_SIPHASH ? "16 bytes" : "1 to 64 bytes");
        }
        return 0;
    }
    return error_set(error, EX_CONFIG,
                     "privacy-policy: '%.*s' is none of retain, redact [\"X\"], siphash KEY, "
                     "siphash-hexkey KEY, hmac-sha256 KEY, hmac-sha256-hexkey KEY",
                     BYTES_FMT(words->items[0]));
}

int acct_privacy_parse(const struct string_array *words, struct acct_privacy *out,
                       struct error *error)
{
    struct acct_privacy privacy = {.kind = PRIVACY_RETAIN};
    int result = 0;
    if (words->count == 1 && bytes_equal_nocase(words->items[0], BYTES("retain"))) {
        privacy.kind = PRIVACY_RETAIN;
    } else if (words->count > 0 && words->count < 3 &&
               bytes_equal_nocase(words->items[0], BYTES("redact"))) {
        struct bytes word = words->count == 2 ? words->items[1] : BYTES("redacted");
        privacy.kind = PRIVACY_REDACT;
        if (!value_is_name(word) || !take_key(word, false, &privacy)) {
            result = error_set(error, EX_CONFIG,
                               "privacy-policy redact: '%.*s' is not one word of %d bytes at most",
                               BYTES_FMT(word), ACCT_PRIVACY_KEY_MAX);
        }
    } else if (words->count > 0) {
        result = parse_keyed(words, &privacy, error);
    }
    if (result == 0) {
        *out = privacy;
    }
    return result;
}

/* ---- the word for a local part ---- */

static void put_hex(struct buffer *out, const uint8_t *data, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        buffer_put_char(out, hex[data[i] >> 4]);
        buffer_put_char(out, hex[data[i] & 15]);
    }
}

static void put_word(const struct acct_privacy *privacy, struct bytes local, struct buffer *out)
{
    char lower[1024]; /* more than any address is accepted with */
    uint8_t digest[CRYPTO_SHA256_LEN];
    size_t len = local.len < sizeof lower ? local.len : sizeof lower;
    for (size_t i = 0; i < len; i++) {
        lower[i] = local.data[i] >= 'A' && local.data[i] <= 'Z' ? (char)(local.data[i] | 0x20)
                                                                : local.data[i];
    }
    switch (privacy->kind) {
    case PRIVACY_RETAIN:
        buffer_put_bytes(out, local);
        break;
    case PRIVACY_REDACT:
        buffer_put(out, privacy->key, privacy->len);
        break;
    case PRIVACY_SIPHASH:
        crypto_siphash(privacy->key, lower, len, digest);
        put_hex(out, digest, CRYPTO_SIPHASH_LEN);
        break;
    case PRIVACY_HMAC:
        crypto_hmac_sha256(privacy->key, privacy->len, lower, len, digest);
        put_hex(out, digest, sizeof digest);
        break;
    }
}

/* ---- in a text ---- */

/* What a local part without quotes is made of, as far as people use it: in front of others, such as
 * < or :, one begins. */
static bool is_local(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(".+-_=!#$%&*/?^{}|~", c) != NULL) || (unsigned char)c >= 0x80;
}

static bool stands_at(struct bytes text, size_t at, struct bytes what)
{
    return what.len > 0 && at + what.len <= text.len &&
           bytes_equal_nocase(bytes_slice(text, at, at + what.len), what);
}

struct recipient {
    struct bytes local, domain;
    struct bytes bare; /* local without its quotes; empty: it has none */
};

static struct recipient split(struct bytes rcpt)
{
    size_t at = rcpt.len;
    while (at > 0 && rcpt.data[at - 1] != '@') {
        at--;
    }
    if (at == 0) {
        return (struct recipient){.local = rcpt};
    }
    struct bytes local = bytes_slice(rcpt, 0, at - 1), bare = BYTES("");
    if (local.len > 2 && local.data[0] == '"') {
        bare = bytes_slice(local, 1, local.len - 1);
    }
    return (struct recipient){
        .local = local, .domain = bytes_slice(rcpt, at, rcpt.len), .bare = bare};
}

/* Of a quoted local part VERP has what stands between the quotes (smtp/verp.h). */
static bool is_bare_in_verp(struct bytes text, size_t at, const struct recipient *rcpt)
{
    size_t end = at + rcpt->bare.len;
    return stands_at(text, at, rcpt->bare) && end < text.len && text.data[end] == '=' &&
           stands_at(text, end + 1, rcpt->domain);
}

/* The length of what is to be hidden at `at`; 0: nothing is. */
static size_t hidden_at(struct bytes text, size_t at, const struct recipient *rcpt,
                        enum acct_privacy_where where)
{
    bool begins = at == 0 || !is_local(text.data[at - 1]);
    if (stands_at(text, at, rcpt->local)) {
        size_t end = at + rcpt->local.len;
        char next = end < text.len ? text.data[end] : '\0';
        if ((next == '=' || (next == '@' && begins)) && stands_at(text, end + 1, rcpt->domain)) {
            return rcpt->local.len;
        }
        if (where == PRIVACY_WORDS && begins && !is_local(next)) {
            return rcpt->local.len;
        }
    }
    if (where == PRIVACY_VERP || !begins) {
        return 0;
    }
    size_t end = at;
    while (end < text.len && is_local(text.data[end])) {
        end++;
    }
    return end < text.len && text.data[end] == '@' ? end - at : 0;
}

void acct_privacy_hide(const struct acct_privacy *privacy, struct bytes text, struct bytes rcpt,
                       enum acct_privacy_where where, struct buffer *out)
{
    assert(privacy->kind != PRIVACY_RETAIN);
    struct recipient recipient = split(rcpt);
    for (size_t at = 0; at < text.len;) {
        bool bare = is_bare_in_verp(text, at, &recipient);
        size_t hidden = bare ? recipient.bare.len : hidden_at(text, at, &recipient, where);
        if (buffer_room(out) < (hidden > 0 ? ACCT_PRIVACY_WORD_MAX : 1)) {
            return;
        }
        if (hidden > 0) {
            put_word(privacy, bare ? recipient.local : bytes_slice(text, at, at + hidden), out);
            at += hidden;
        } else {
            buffer_put_char(out, text.data[at++]);
        }
    }
}
