#include "smtp/sasl.h"

#include <assert.h>

#include "base/base64.h"
#include "base/crypto.h"

#define COMMAND_MAX   510 /* RFC 5321 4.5.3.1.4, without CRLF */
#define CHALLENGE_MAX 768 /* bytes; a reply's text is not longer in base64 */

struct mechanism {
    const char *name;
    enum sasl_mechanism bit;
};

/* By preference where the channel is secure. */
static const struct mechanism mechanisms[] = {
    {"PLAIN", SASL_PLAIN},
    {"LOGIN", SASL_LOGIN},
    {"CRAM-MD5", SASL_CRAM_MD5},
};

#define MECHANISM_COUNT (sizeof mechanisms / sizeof *mechanisms)

uint32_t sasl_note_offered(uint32_t offered, struct bytes name)
{
    for (size_t i = 0; i < MECHANISM_COUNT; i++) {
        if (bytes_equal_nocase(name, bytes_from_string(mechanisms[i].name))) {
            return offered | mechanisms[i].bit;
        }
    }
    return offered;
}

enum sasl_mechanism sasl_choose(uint32_t offered, bool secured, bool in_clear)
{
    if (!secured && (offered & SASL_CRAM_MD5) != 0) {
        return SASL_CRAM_MD5;
    }
    if (!secured && !in_clear) {
        return SASL_NONE;
    }
    for (size_t i = 0; i < MECHANISM_COUNT; i++) {
        if ((offered & mechanisms[i].bit) != 0) {
            return mechanisms[i].bit;
        }
    }
    return SASL_NONE;
}

static const char *name_of(enum sasl_mechanism mechanism)
{
    for (size_t i = 0; i < MECHANISM_COUNT; i++) {
        if (mechanisms[i].bit == mechanism) {
            return mechanisms[i].name;
        }
    }
    assert(false);
    return "";
}

/* RFC 4616 2: no authorization identity, so that of the user counts. */
static void put_plain(const struct sasl_credentials *credentials, struct buffer *out)
{
    char memory[2 * SASL_CREDENTIAL_MAX + 2];
    struct buffer text;
    buffer_init(&text, memory, sizeof memory);
    buffer_put_char(&text, '\0');
    buffer_put_bytes(&text, credentials->username);
    buffer_put_char(&text, '\0');
    buffer_put_bytes(&text, credentials->password);
    assert(!text.overflowed);
    base64_put(out, buffer_bytes(&text));
}

/* RFC 2195 2: the user, a blank, and the challenge's HMAC under the password. */
static bool put_cram_md5(const struct sasl_credentials *credentials, struct bytes challenge,
                         struct buffer *out)
{
    static const char hex[] = "0123456789abcdef";
    char memory[CHALLENGE_MAX];
    uint8_t digest[CRYPTO_MD5_LEN];
    struct buffer text;
    buffer_init(&text, memory, sizeof memory);
    if (challenge.len == 0 || !base64_read(challenge, &text) ||
        !crypto_hmac_md5(credentials->password.data, credentials->password.len, text.data, text.len,
                         digest)) {
        return false;
    }
    buffer_init(&text, memory, sizeof memory);
    buffer_put_bytes(&text, credentials->username);
    buffer_put_char(&text, ' ');
    for (size_t i = 0; i < sizeof digest; i++) {
        buffer_put(&text, (char[]){hex[digest[i] >> 4], hex[digest[i] & 15]}, 2);
    }
    assert(!text.overflowed);
    base64_put(out, buffer_bytes(&text));
    return true;
}

void sasl_put_command(enum sasl_mechanism mechanism, const struct sasl_credentials *credentials,
                      uint32_t *answers, struct buffer *out)
{
    size_t begin = out->len;
    *answers = 0;
    assert(credentials->username.len <= SASL_CREDENTIAL_MAX);
    assert(credentials->password.len <= SASL_CREDENTIAL_MAX);
    buffer_put_string(out, "AUTH ");
    buffer_put_string(out, name_of(mechanism));
    size_t plain_len = credentials->username.len + credentials->password.len + 2;
    if (mechanism == SASL_PLAIN && out->len - begin + 1 + BASE64_LEN(plain_len) <= COMMAND_MAX) {
        buffer_put_char(out, ' ');
        put_plain(credentials, out);
        *answers = 1;
    }
}

bool sasl_put_answer(enum sasl_mechanism mechanism, const struct sasl_credentials *credentials,
                     uint32_t *answers, struct bytes challenge, struct buffer *out)
{
    uint32_t answer = (*answers)++;
    bool said = false;
    if (mechanism == SASL_PLAIN && answer == 0) {
        put_plain(credentials, out);
        said = true;
    } else if (mechanism == SASL_LOGIN && answer < 2) {
        base64_put(out, answer == 0 ? credentials->username : credentials->password);
        said = true;
    } else if (mechanism == SASL_CRAM_MD5 && answer == 0) {
        said = put_cram_md5(credentials, bytes_trim(challenge), out);
    }
    if (!said) {
        buffer_put_char(out, '*');
    }
    return said;
}
