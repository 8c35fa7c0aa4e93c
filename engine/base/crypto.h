/* Digests, checksums and secrets: the one place in base that knows OpenSSL. */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRYPTO_SHA256_LEN 32 /* bytes */

/* CRC-32C (Castagnoli, RFC 3720 B.4) continued from `crc`; hardware instructions where there
 * are some. Start with a seed of your choice. */
uint32_t crypto_crc32c(uint32_t crc, const void *data, size_t len);

void crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_LEN]);

/* RFC 2104. */
void crypto_hmac_sha256(const void *key, size_t key_len, const void *data, size_t data_len,
                        uint8_t out[CRYPTO_SHA256_LEN]);

/* RFC 2104, for CRAM-MD5 and nothing new. False: the system's policy forbids MD5 (FIPS). */
#define CRYPTO_MD5_LEN 16
bool crypto_hmac_md5(const void *key, size_t key_len, const void *data, size_t data_len,
                     uint8_t out[CRYPTO_MD5_LEN]);

/* SipHash-2-4, 8 bytes of it; the bytes in the order of its authors' test vectors. */
#define CRYPTO_SIPHASH_KEY_LEN 16
#define CRYPTO_SIPHASH_LEN     8
void crypto_siphash(const uint8_t key[CRYPTO_SIPHASH_KEY_LEN], const void *data, size_t len,
                    uint8_t out[CRYPTO_SIPHASH_LEN]);

/* Unpredictable bytes; aborts if the system has none. */
void crypto_random(void *out, size_t len);

/* Fast non-cryptographic 64-bit digest for bodies, continued piece by piece. */
struct crypto_digest {
    /* private: */
    uint64_t state[4];
    uint8_t pending[32];
    uint32_t pending_len;
    uint64_t total;
};
void crypto_digest_begin(struct crypto_digest *digest);
void crypto_digest_add(struct crypto_digest *digest, const void *data, size_t len);
uint64_t crypto_digest_end(const struct crypto_digest *digest);

#endif
