#include "base/crypto.h"

#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/* ── CRC-32C ─────────────────────────────────────────────────────────────────────────────────
 * The instruction takes 8 bytes with a latency of 3 cycles and starts one each cycle, so three
 * parts of the data are taken side by side. The CRC of A‖B is the CRC of A moved over |B| zero
 * bytes, xor that of B begun at 0; moving over a fixed number of zeros is a linear map, kept as
 * four tables of 256. */

#define CRC_POLYNOMIAL 0x82F63B78u /* RFC 3720 B.4, bits reversed */
#define CRC_LONG       ((size_t)4096)
#define CRC_SHORT      ((size_t)256)

struct crc_shift {
    uint32_t table[4][256];
};

static struct {
    uint32_t bytes[8][256]; /* without the instruction: slicing by 8 */
    struct crc_shift over_long, over_short;
    bool hardware;
} crc;

static uint32_t crc_shift_apply(const struct crc_shift *shift, uint32_t value)
{
    return shift->table[0][value & 0xFF] ^ shift->table[1][(value >> 8) & 0xFF] ^
           shift->table[2][(value >> 16) & 0xFF] ^ shift->table[3][value >> 24];
}

static void crc_shift_build(struct crc_shift *shift, size_t zeros)
{
    uint32_t moved[32]; /* where each single bit goes */
    for (unsigned bit = 0; bit < 32; bit++) {
        uint32_t value = UINT32_C(1) << bit;
        for (size_t i = 0; i < zeros; i++) {
            value = crc.bytes[0][value & 0xFF] ^ (value >> 8);
        }
        moved[bit] = value;
    }
    for (unsigned byte = 0; byte < 4; byte++) {
        for (unsigned n = 0; n < 256; n++) {
            uint32_t value = 0;
            for (unsigned bit = 0; bit < 8; bit++) {
                value ^= (n >> bit & 1) != 0 ? moved[byte * 8 + bit] : 0;
            }
            shift->table[byte][n] = value;
        }
    }
}

/* Before main: there are no threads yet, and the tables are read only from then on. */
__attribute__((constructor)) static void crc_build(void)
{
    for (unsigned n = 0; n < 256; n++) {
        uint32_t value = n;
        for (unsigned bit = 0; bit < 8; bit++) {
            value = (value & 1) != 0 ? (value >> 1) ^ CRC_POLYNOMIAL : value >> 1;
        }
        crc.bytes[0][n] = value;
    }
    for (unsigned n = 0; n < 256; n++) {
        for (unsigned k = 1; k < 8; k++) {
            uint32_t before = crc.bytes[k - 1][n];
            crc.bytes[k][n] = crc.bytes[0][before & 0xFF] ^ (before >> 8);
        }
    }
    crc_shift_build(&crc.over_long, CRC_LONG);
    crc_shift_build(&crc.over_short, CRC_SHORT);
#ifdef __x86_64__
    crc.hardware = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

static uint64_t load_u64(const uint8_t *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof(word));
    return word;
}

static uint32_t crc_tables(uint32_t value, const uint8_t *data, size_t len)
{
    for (; len >= 8; len -= 8, data += 8) {
        uint64_t word = load_u64(data) ^ value;
        value = 0;
        for (unsigned k = 0; k < 8; k++) {
            value ^= crc.bytes[7 - k][(word >> (8 * k)) & 0xFF];
        }
    }
    for (; len > 0; len--, data++) {
        value = crc.bytes[0][(value ^ *data) & 0xFF] ^ (value >> 8);
    }
    return value;
}

#ifdef __x86_64__
#include <nmmintrin.h>

/* Three parts of `part` bytes each, begun at `value`. */
__attribute__((target("sse4.2"))) static uint32_t
crc_three_parts(uint32_t value, const uint8_t *data, size_t part, const struct crc_shift *shift)
{
    uint64_t a = value, b = 0, c = 0;
    for (size_t i = 0; i < part; i += 8) {
        a = _mm_crc32_u64(a, load_u64(data + i));
        b = _mm_crc32_u64(b, load_u64(data + part + i));
        c = _mm_crc32_u64(c, load_u64(data + 2 * part + i));
    }
    uint32_t joined = crc_shift_apply(shift, (uint32_t)a) ^ (uint32_t)b;
    return crc_shift_apply(shift, joined) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t crc_instruction(uint32_t value,
                                                                  const uint8_t *data, size_t len)
{
    for (; len >= 3 * CRC_LONG; len -= 3 * CRC_LONG, data += 3 * CRC_LONG) {
        value = crc_three_parts(value, data, CRC_LONG, &crc.over_long);
    }
    for (; len >= 3 * CRC_SHORT; len -= 3 * CRC_SHORT, data += 3 * CRC_SHORT) {
        value = crc_three_parts(value, data, CRC_SHORT, &crc.over_short);
    }
    uint64_t wide = value;
    for (; len >= 8; len -= 8, data += 8) {
        wide = _mm_crc32_u64(wide, load_u64(data));
    }
    value = (uint32_t)wide;
    for (; len > 0; len--, data++) {
        value = _mm_crc32_u8(value, *data);
    }
    return value;
}
#endif

uint32_t crypto_crc32c(uint32_t crc_before, const void *data, size_t len)
{
    uint32_t value = ~crc_before;
#ifdef __x86_64__
    if (crc.hardware) {
        return ~crc_instruction(value, data, len);
    }
#endif
    return ~crc_tables(value, data, len);
}

/* ── OpenSSL ─────────────────────────────────────────────────────────────────────────────── */

void crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_LEN])
{
    unsigned written = 0;
    int ok = EVP_Digest(data, len, out, &written, EVP_sha256(), NULL);
    assert(ok == 1);
    assert(written == CRYPTO_SHA256_LEN);
}

void crypto_random(void *out, size_t len)
{
    assert(len <= INT_MAX);
    if (RAND_bytes(out, (int)len) != 1) {
        abort(); /* no secret is better than a guessable one */
    }
}

/* ── The digest: XXH64 with seed 0 ───────────────────────────────────────────────────────────
 * Four lanes of 8 bytes; what does not fill 32 bytes waits in `pending`, so the result does not
 * depend on how the data was cut. */

#define P1           UINT64_C(0x9E3779B185EBCA87)
#define P2           UINT64_C(0xC2B2AE3D27D4EB4F)
#define P3           UINT64_C(0x165667B19E3779F9)
#define P4           UINT64_C(0x85EBCA77C2B2AE63)
#define P5           UINT64_C(0x27D4EB2F165667C5)

#define STRIPE_BYTES ((size_t)32)

static uint64_t rotate_left(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static uint64_t digest_round(uint64_t lane, uint64_t word)
{
    return rotate_left(lane + word * P2, 31) * P1;
}

static void digest_stripes(uint64_t state[4], const uint8_t *data, size_t len)
{
    uint64_t a = state[0], b = state[1], c = state[2], d = state[3];
    for (size_t i = 0; i + STRIPE_BYTES <= len; i += STRIPE_BYTES) {
        a = digest_round(a, load_u64(data + i));
        b = digest_round(b, load_u64(data + i + 8));
        c = digest_round(c, load_u64(data + i + 16));
        d = digest_round(d, load_u64(data + i + 24));
    }
    state[0] = a;
    state[1] = b;
    state[2] = c;
    state[3] = d;
}

void crypto_digest_begin(struct crypto_digest *digest)
{
    *digest = (struct crypto_digest){.state = {P1 + P2, P2, 0, -P1}};
}

void crypto_digest_add(struct crypto_digest *digest, const void *data, size_t len)
{
    if (len == 0) {
        return;
    }
    const uint8_t *at = data;
    digest->total += len;
    if (digest->pending_len > 0) {
        size_t room = STRIPE_BYTES - digest->pending_len;
        size_t taken = len < room ? len : room;
        memcpy(digest->pending + digest->pending_len, at, taken);
        digest->pending_len += (uint32_t)taken;
        at += taken;
        len -= taken;
        if (digest->pending_len < STRIPE_BYTES) {
            return;
        }
        digest_stripes(digest->state, digest->pending, STRIPE_BYTES);
        digest->pending_len = 0;
    }
    size_t whole = len - len % STRIPE_BYTES;
    digest_stripes(digest->state, at, whole);
    digest->pending_len = (uint32_t)(len - whole);
    if (digest->pending_len > 0) {
        memcpy(digest->pending, at + whole, digest->pending_len);
    }
}

static uint64_t digest_tail(uint64_t h, const uint8_t *data, size_t len)
{
    for (; len >= 8; len -= 8, data += 8) {
        h = rotate_left(h ^ digest_round(0, load_u64(data)), 27) * P1 + P4;
    }
    if (len >= 4) {
        uint32_t word;
        memcpy(&word, data, sizeof(word));
        h = rotate_left(h ^ word * P1, 23) * P2 + P3;
        len -= 4;
        data += 4;
    }
    for (; len > 0; len--, data++) {
        h = rotate_left(h ^ *data * P5, 11) * P1;
    }
    return h;
}

uint64_t crypto_digest_end(const struct crypto_digest *digest)
{
    const uint64_t *s = digest->state;
    uint64_t h = P5;
    if (digest->total >= STRIPE_BYTES) {
        h = rotate_left(s[0], 1) + rotate_left(s[1], 7) + rotate_left(s[2], 12) +
            rotate_left(s[3], 18);
        for (unsigned i = 0; i < 4; i++) {
            h = (h ^ digest_round(0, s[i])) * P1 + P4;
        }
    }
    h = digest_tail(h + digest->total, digest->pending, digest->pending_len);
    h = (h ^ (h >> 33)) * P2;
    h = (h ^ (h >> 29)) * P3;
    return h ^ (h >> 32);
}

/* ---- keyed ---- */

void crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t data_len,
                        uint8_t out[CRYPTO_SHA256_LEN])
{
    size_t len = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, key_len, data, data_len, out,
                  CRYPTO_SHA256_LEN, &len) == NULL ||
        len != CRYPTO_SHA256_LEN) {
        abort();
    }
}

bool crypto_hmac_md5(const void *key, size_t key_len, const void *data, size_t data_len,
                     uint8_t out[CRYPTO_MD5_LEN])
{
    size_t len = 0;
    return EVP_Q_mac(NULL, "HMAC", NULL, "MD5", NULL, key, key_len, data, data_len, out,
                     CRYPTO_MD5_LEN, &len) != NULL &&
           len == CRYPTO_MD5_LEN;
}

void crypto_siphash(const uint8_t key[CRYPTO_SIPHASH_KEY_LEN], const void *data, size_t data_len,
                    uint8_t out[CRYPTO_SIPHASH_LEN])
{
    size_t size = CRYPTO_SIPHASH_LEN, len = 0;
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                                 OSSL_PARAM_construct_end()};
    if (EVP_Q_mac(NULL, "SIPHASH", NULL, NULL, params, key, CRYPTO_SIPHASH_KEY_LEN, data, data_len,
                  out, CRYPTO_SIPHASH_LEN, &len) == NULL ||
        len != CRYPTO_SIPHASH_LEN) {
        abort();
    }
}
