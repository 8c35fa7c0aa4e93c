/* TLS as bytes in, bytes out: OpenSSL behind a BIO over our own buffers.
 *
 * Knows no sockets. One tls_worker per worker (its own OSSL_LIB_CTX), one tls_profile per policy
 * and worker; a tls_session per connection. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

struct tls_worker;
struct tls_profile;
struct tls_session;

struct tls_worker *tls_worker_create(uint64_t seed, struct error *error);
void tls_worker_destroy(struct tls_worker *worker);

enum tls_version { TLS_1_0 = 1, TLS_1_1 = 2, TLS_1_2 = 4, TLS_1_3 = 8 };

struct tls_profile_settings {
    bool server;
    const char *certificate_file, *key_file; /* NULL: none (client); no key: in the same file */
    const char *key_password;                /* NULL: a key that has one is an error */
    const char *ca_file;                     /* NULL: the system's store when verifying */
    const char *ciphers, *ciphersuites;      /* NULL: OpenSSL's defaults */
    uint32_t versions;                       /* enum tls_version bits, at least one */
};

/* NULL with error (unreadable file, key does not match …). Cached by the caller. */
struct tls_profile *tls_profile_create(struct tls_worker *worker,
                                       const struct tls_profile_settings *settings,
                                       struct error *error);
void tls_profile_destroy(struct tls_profile *profile);

struct tls_client_options {
    const char *server_name; /* SNI and, if verify, the name the certificate must bear */
    bool verify;
    /* Sessions are kept and resumed per this key (host, port, policy, virtual MTA), the name and
     * whether it was verified; at most four tickets a key and 50,000 keys a worker. 0: never. */
    uint64_t resume_key;
};

struct tls_session *tls_client_create(struct tls_profile *profile,
                                      const struct tls_client_options *options);
struct tls_session *tls_server_create(struct tls_profile *profile);
void tls_session_destroy(struct tls_session *session); /* NULL is accepted */

enum tls_result {
    TLS_OK,          /* done for now: more input is needed */
    TLS_ESTABLISHED, /* tls_handshake only, once */
    TLS_CLOSED,      /* close_notify */
    TLS_FAILED,      /* see tls_failure */
};

/* Ciphertext from the network goes in here, all of it; what is not read yet is kept, at most
 * TLS_IN_MAX. */
#define TLS_IN_MAX (256 * 1024)
enum tls_result tls_receive(struct tls_session *session, const void *data, size_t len);

/* Drives the handshake. Output may be waiting after any call. */
enum tls_result tls_handshake(struct tls_session *session);

/* Decrypted bytes, at most len; 0 = none now (see *result). */
size_t tls_read(struct tls_session *session, void *data, size_t len, enum tls_result *result);

/* Encrypts all of it into the output. -EMSGSIZE: more than TLS_OUT_MAX would wait, nothing was
 * taken; -EPROTO: the session has failed. */
#define TLS_OUT_MAX (512 * 1024)
int tls_write(struct tls_session *session, const void *data, size_t len);
void tls_close_notify(struct tls_session *session);

/* Ciphertext to send, valid until tls_output_sent(n), also over calls that add more. */
struct bytes tls_output(struct tls_session *session);
void tls_output_sent(struct tls_session *session, size_t n);

struct tls_info {
    char protocol[16], cipher[64]; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
    bool resumed, verified;
};
void tls_info(const struct tls_session *session, struct tls_info *out);
const char *tls_failure(const struct tls_session *session); /* words for logs and records */

#endif
