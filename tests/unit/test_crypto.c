#include "base/crypto.h"

#include "base/bytes.h"
#include "base/rng.h"

#include "test.h"

static uint32_t crc_bitwise(uint32_t before, const uint8_t *data, size_t len)
{
    uint32_t value = ~before;
    for (size_t i = 0; i < len; i++) {
        value ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            value = (value & 1) != 0 ? (value >> 1) ^ 0x82F63B78u : value >> 1;
        }
    }
    return ~value;
}

TEST(crc32c_of_the_examples_in_rfc_3720_b_4)
{
    uint8_t data[32] = {0};
    CHECK_INT(crypto_crc32c(0, data, 32), 0x8A9136AAu);
    memset(data, 0xFF, 32);
    CHECK_INT(crypto_crc32c(0, data, 32), 0x62A8AB43u);
    for (int i = 0; i < 32; i++) {
        data[i] = (uint8_t)i;
    }
    CHECK_INT(crypto_crc32c(0, data, 32), 0x46DD794Eu);
    CHECK_INT(crypto_crc32c(0, "123456789", 9), 0xE3069283u);
}

static uint8_t random_data[40000];

static void fill(struct rng *rng, uint64_t seed)
{
    rng_init(rng, seed);
    for (size_t i = 0; i < sizeof(random_data); i++) {
        random_data[i] = (uint8_t)rng_next(rng);
    }
}

TEST(crc32c_agrees_with_the_definition_at_any_length_and_alignment)
{
    struct rng rng;
    fill(&rng, 1);
    for (int i = 0; i < 300; i++) {
        size_t from = rng_below(&rng, 16);
        size_t len = rng_below(&rng, i % 3 == 0 ? 30000 : 2000);
        uint32_t seed = (uint32_t)rng_next(&rng);
        CHECK_INT(crypto_crc32c(seed, random_data + from, len),
                  crc_bitwise(seed, random_data + from, len));
    }
}

TEST(crc32c_continues_over_splits)
{
    struct rng rng;
    fill(&rng, 2);
    uint32_t whole = crypto_crc32c(7, random_data, sizeof(random_data));
    for (int i = 0; i < 50; i++) {
        size_t cut = rng_below(&rng, sizeof(random_data));
        uint32_t first = crypto_crc32c(7, random_data, cut);
        CHECK_INT(crypto_crc32c(first, random_data + cut, sizeof(random_data) - cut), whole);
    }
}

/* RFC 4231, test case 2. */
TEST(hmac_of_the_rfc)
{
    static const char key[] = "Jefe", data[] = "what do ya want for nothing?";
    static const uint8_t wanted[CRYPTO_SHA256_LEN] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
        0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
        0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    uint8_t out[CRYPTO_SHA256_LEN];
    crypto_hmac_sha256(key, strlen(key), data, strlen(data), out);
    CHECK(memcmp(out, wanted, sizeof out) == 0);
}

/* The vectors of its authors: key and data count up from 0. */
TEST(siphash_of_its_authors)
{
    static const struct {
        size_t len;
        uint8_t wanted[CRYPTO_SIPHASH_LEN];
    } vectors[] = {{0, {0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72}},
                   {8, {0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93}},
                   {15, {0xe5, 0x45, 0xbe, 0x49, 0x61, 0xca, 0x29, 0xa1}}};
    uint8_t up[CRYPTO_SIPHASH_KEY_LEN], out[CRYPTO_SIPHASH_LEN];
    for (uint8_t i = 0; i < sizeof up; i++) {
        up[i] = i;
    }
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        crypto_siphash(up, up, vectors[i].len, out);
        CHECK(memcmp(out, vectors[i].wanted, sizeof out) == 0);
    }
}

TEST(sha256_of_abc)
{
    static const uint8_t wanted[] = {0xBA, 0x78, 0x16, 0xBF, 0x8F, 0x01, 0xCF, 0xEA};
    uint8_t out[CRYPTO_SHA256_LEN];
    crypto_sha256("abc", 3, out);
    CHECK(memcmp(out, wanted, sizeof(wanted)) == 0);
}

TEST(random_bytes_differ)
{
    uint8_t a[32] = {0}, b[32] = {0};
    crypto_random(a, sizeof(a));
    crypto_random(b, sizeof(b));
    CHECK(memcmp(a, b, sizeof(a)) != 0);
}

static uint64_t digest_of(const void *data, size_t len)
{
    struct crypto_digest digest;
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, data, len);
    return crypto_digest_end(&digest);
}

TEST(digest_is_xxh64)
{
    static const char text[] = "Nobody inspects the spammish repetition";
    CHECK(digest_of("", 0) == 0xEF46DB3751D8E999);
    CHECK(digest_of("a", 1) == 0xD24EC4F1A98C6E5B);
    CHECK(digest_of("abc", 3) == 0x44BC2CF5AD770999);
    CHECK(digest_of(text, sizeof(text) - 1) == 0xFBCEA83C8A378BF1);
}

TEST(digest_does_not_depend_on_splits)
{
    struct rng rng;
    fill(&rng, 3);
    for (int i = 0; i < 200; i++) {
        size_t len = rng_below(&rng, 1000);
        uint64_t whole = digest_of(random_data, len);
        struct crypto_digest digest;
        crypto_digest_begin(&digest);
        for (size_t at = 0; at < len;) {
            size_t piece = 1 + rng_below(&rng, i % 2 == 0 ? 1 : 80);
            piece = piece < len - at ? piece : len - at;
            crypto_digest_add(&digest, random_data + at, piece);
            at += piece;
            if (at < len) {
                (void)crypto_digest_end(&digest); /* looking does not disturb */
            }
        }
        CHECK(crypto_digest_end(&digest) == whole);
    }
}

TEST(hmac_md5_of_the_examples_in_rfc_2202_2)
{
    static const struct {
        const char *key, *data, *wanted;
    } rows[] = {
        {"Jefe", "what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"},
        {"\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b\x0b", "Hi There",
         "9294727a3638bb1c13f48ef8158bfc9d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t out[CRYPTO_MD5_LEN];
        char hex[2 * CRYPTO_MD5_LEN + 1];
        CHECK(crypto_hmac_md5(rows[i].key, strlen(rows[i].key), rows[i].data, strlen(rows[i].data),
                              out));
        for (size_t k = 0; k < sizeof out; k++) {
            snprintf(hex + 2 * k, 3, "%02x", out[k]);
        }
        CHECK_STRING(hex, rows[i].wanted);
    }
}
