/* OpenSSL behind a BIO of two byte queues.
 *
 * Nothing here waits: what is not there yet is "want read", what is to be sent grows in a queue.
 * The output is double: one block is with the kernel and must not move, the other grows. Blocks
 * are freed when they are empty, so an idle session costs what OpenSSL keeps: about 18 KB with
 * SSL_MODE_RELEASE_BUFFERS (51 KB without; measured). A handshake costs as much as fifty messages:
 * sessions are kept, as their serialized kilobyte and not as objects with a parsed chain. */
#include "net/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "net/tickets.h"

#define KEYS_MAX         50000
#define TICKETS_SEEN_MAX 16 /* a session; further ones are not looked at */
#define VERIFY_DEPTH_MAX 10
#define RECORD_MAX       16384 /* RFC 8446 5.1 */
#define RECORD_EXTRA     256   /* what a record may grow by: RFC 8446 5.2 */
#define FAILURE_MAX      160
#define OUT_HARD_MAX     ((size_t)TLS_OUT_MAX + RECORD_MAX)

#define SYSTEM_STORE     "/etc/ssl/certs/ca-certificates.crt"

struct block {
    uint8_t *data;
    size_t from, len, capacity;
};

struct tls_worker {
    OSSL_LIB_CTX *library;
    BIO_METHOD *bio_method;
    X509_STORE *system_store; /* loaded when something is first verified */
    struct tickets tickets;
};

struct tls_profile {
    struct tls_worker *worker;
    SSL_CTX *context;
    bool own_store;
};

struct tls_session {
    SSL *ssl;
    struct tls_worker *worker;
    uint64_t resume_key; /* 0: not kept */
    uint32_t tickets_seen;
    bool verify, established, failed;
    struct block in, sending, growing;
    char failure[FAILURE_MAX];
};

/* ---- blocks ----------------------------------------------------------------------------- */

static void block_free(struct block *block)
{
    free(block->data);
    *block = (struct block){.data = NULL};
}

/* False: over `max`, or no memory. */
static bool block_add(struct block *block, const void *data, size_t len, size_t max)
{
    size_t waiting = block->len - block->from;
    if (waiting + len > max) {
        return false;
    }
    if (block->len + len > block->capacity) {
        size_t capacity = waiting + len + (waiting > 0 ? waiting : 0);
        uint8_t *moved = malloc(capacity);
        if (moved == NULL) {
            return false;
        }
        if (waiting > 0) {
            memcpy(moved, block->data + block->from, waiting);
        }
        free(block->data);
        *block = (struct block){.data = moved, .len = waiting, .capacity = capacity};
    }
    memcpy(block->data + block->len, data, len);
    block->len += len;
    return true;
}

static void block_take(struct block *block, size_t n)
{
    assert(n <= block->len - block->from);
    block->from += n;
    if (block->from == block->len) {
        block_free(block);
    }
}

/* ---- the BIO ---------------------------------------------------------------------------- */

static int on_bio_write(BIO *bio, const char *data, int len)
{
    struct tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    /* Above the limit of tls_write; it also bounds what a peer can order and never read. */
    size_t with_kernel = session->sending.len - session->sending.from;
    if (!block_add(&session->growing, data, (size_t)len, OUT_HARD_MAX - with_kernel)) {
        return -1;
    }
    return len;
}

static int on_bio_read(BIO *bio, char *out, int len)
{
    struct tls_session *session = BIO_get_data(bio);
    struct block *in = &session->in;
    BIO_clear_retry_flags(bio);
    size_t n = in->len - in->from;
    if (n == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    n = n < (size_t)len ? n : (size_t)len;
    memcpy(out, in->data + in->from, n);
    block_take(in, n);
    return (int)n;
}

static long on_bio_control(BIO *bio, int command, long number, void *pointer)
{
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *bio_method_create(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "queues");
    if (method != NULL) {
        BIO_meth_set_write(method, on_bio_write);
        BIO_meth_set_read(method, on_bio_read);
        BIO_meth_set_ctrl(method, on_bio_control);
    }
    return method;
}

/* ---- resumption ------------------------------------------------------------------------- */

/* OpenSSL tells of each ticket (TLS 1.3) or session (TLS 1.2). 0: we keep no reference. */
static int on_new_session(SSL *ssl, SSL_SESSION *ssl_session)
{
    struct tls_session *session = SSL_get_app_data(ssl);
    if (session->resume_key == 0 || session->tickets_seen >= TICKETS_SEEN_MAX) {
        return 0;
    }
    session->tickets_seen++;
    int len = i2d_SSL_SESSION(ssl_session, NULL);
    uint8_t *data = len > 0 ? malloc((size_t)len) : NULL;
    if (data != NULL) {
        uint8_t *end = data;
        i2d_SSL_SESSION(ssl_session, &end);
        /* RFC 8446 C.4: a TLS 1.3 ticket is used once. */
        bool reusable = SSL_SESSION_get_protocol_version(ssl_session) < TLS1_3_VERSION;
        tickets_put(&session->worker->tickets, session->resume_key, data, (size_t)len, reusable);
    }
    return 0;
}

static bool on_resume(void *owner, const uint8_t *data, size_t len)
{
    struct tls_session *session = owner;
    SSL_SESSION *ssl_session = d2i_SSL_SESSION(NULL, &data, (long)len);
    bool set = ssl_session != NULL && SSL_set_session(session->ssl, ssl_session) == 1;
    SSL_SESSION_free(ssl_session);
    return set;
}

/* ---- workers ---------------------------------------------------------------------------- */

/* What OpenSSL has to say about the last failure, in words. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code == 0 ? NULL : ERR_reason_error_string(code);
    return text == NULL ? "unknown reason" : text;
}

struct tls_worker *tls_worker_create(uint64_t seed, struct error *error)
{
    struct tls_worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        error_set(error, ENOMEM, "TLS: no memory");
        return NULL;
    }
    tickets_init(&worker->tickets, KEYS_MAX);
    worker->library = OSSL_LIB_CTX_new();
    worker->bio_method = bio_method_create();
    if (worker->library == NULL || worker->bio_method == NULL) {
        error_set(error, ENOMEM, "TLS: OpenSSL cannot be set up: %s", reason());
        tls_worker_destroy(worker);
        return NULL;
    }
    return worker;
}

void tls_worker_destroy(struct tls_worker *worker)
{
    if (worker == NULL) {
        return;
    }
    tickets_deinit(&worker->tickets);
    X509_STORE_free(worker->system_store);
    BIO_meth_free(worker->bio_method);
    OSSL_LIB_CTX_free(worker->library);
    free(worker);
}

/* The system's certificates, read once: the directory form would be read in each handshake. */
static X509_STORE *system_store(struct tls_worker *worker)
{
    if (worker->system_store == NULL) {
        worker->system_store = X509_STORE_new();
    } else {
        return worker->system_store;
    }
    if (worker->system_store != NULL &&
        !X509_STORE_load_file_ex(worker->system_store, SYSTEM_STORE, worker->library, NULL)) {
        X509_STORE_set_default_paths_ex(worker->system_store, worker->library, NULL);
    }
    ERR_clear_error();
    return worker->system_store;
}

/* ---- profiles --------------------------------------------------------------------------- */

struct version_row {
    enum tls_version version;
    int wire;
    uint64_t off;
};

static const struct version_row version_rows[] = {
    {TLS_1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
    {TLS_1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
    {TLS_1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
    {TLS_1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
};

/* Where none was given: OpenSSL would ask for it on the terminal. */
static int on_passphrase(char *out, int size, int writing, void *owner)
{
    struct bytes password = bytes_from_string(owner);
    if (owner == NULL || password.len > (size_t)size) {
        return -1;
    }
    memcpy(out, password.data, password.len); /* its length is told, no NUL is wanted */
    return (int)password.len;
}

/* Where nothing is verified, building the chain would only be work that the peer orders. */
static int on_verify_chain(X509_STORE_CTX *chain, void *owner)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_session *session = SSL_get_app_data(ssl);
    return session->verify ? X509_verify_cert(chain) : 1;
}

static void set_versions(SSL_CTX *context, uint32_t wanted)
{
    for (size_t i = 0; i < sizeof(version_rows) / sizeof(*version_rows); i++) {
        if ((wanted & version_rows[i].version) == 0) {
            SSL_CTX_set_options(context, version_rows[i].off);
        }
    }
    /* The operator's word, not the system's default minimum. Old versions need SHA-1, which
     * OpenSSL 3 allows at security level 0 only. Level 1 takes the 1024-bit keys that are still
     * met between mail servers: without a verified name they are better than cleartext. */
    SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_security_level(context, (wanted & (TLS_1_0 | TLS_1_1)) != 0 ? 0 : 1);
}

static int set_certificate(SSL_CTX *context, const struct tls_profile_settings *settings,
                           struct error *error)
{
    const char *key = settings->key_file == NULL ? settings->certificate_file : settings->key_file;
    if (settings->certificate_file == NULL) {
        return settings->server ? error_set(error, EINVAL, "TLS: a server needs a certificate") : 0;
    }
    if (SSL_CTX_use_certificate_chain_file(context, settings->certificate_file) != 1) {
        return error_set(error, EINVAL, "%s: cannot be used as certificate: %s",
                         settings->certificate_file, reason());
    }
    SSL_CTX_set_default_passwd_cb_userdata(context, (void *)(uintptr_t)settings->key_password);
    int used = SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
    if (used != 1) {
        return error_set(error, EINVAL, "%s: cannot be used as private key: %s", key, reason());
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        return error_set(error, EINVAL, "%s: is not the key of the certificate in %s", key,
                         settings->certificate_file);
    }
    return 0;
}

static int set_lists(struct tls_profile *profile, const struct tls_profile_settings *settings,
                     struct error *error)
{
    if (settings->ciphers != NULL &&
        SSL_CTX_set_cipher_list(profile->context, settings->ciphers) != 1) {
        return error_set(error, EINVAL, "TLS ciphers \"%s\": none of them is known",
                         settings->ciphers);
    }
    if (settings->ciphersuites != NULL &&
        SSL_CTX_set_ciphersuites(profile->context, settings->ciphersuites) != 1) {
        return error_set(error, EINVAL, "TLS 1.3 ciphersuites \"%s\": none of them is known",
                         settings->ciphersuites);
    }
    if (settings->ca_file != NULL) {
        if (SSL_CTX_load_verify_file(profile->context, settings->ca_file) != 1) {
            return error_set(error, EINVAL, "%s: no certificates can be read from it: %s",
                             settings->ca_file, reason());
        }
        profile->own_store = true;
    }
    return 0;
}

static void set_modes(SSL_CTX *context, bool server)
{
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_default_passwd_cb(context, on_passphrase);
    SSL_CTX_set_cert_verify_callback(context, on_verify_chain, NULL);
    SSL_CTX_set_verify_depth(context, VERIFY_DEPTH_MAX);
    if (server) {
        /* Tickets are enough; nothing is kept for clients that never come back. */
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_session_id_context(context, (const uint8_t *)"posthaste", 9);
        SSL_CTX_set_num_tickets(context, 1);
    } else {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context, on_new_session);
    }
}

struct tls_profile *tls_profile_create(struct tls_worker *worker,
                                       const struct tls_profile_settings *settings,
                                       struct error *error)
{
    if ((settings->versions & (TLS_1_0 | TLS_1_1 | TLS_1_2 | TLS_1_3)) == 0) {
        error_set(error, EINVAL, "TLS: no version is allowed");
        return NULL;
    }
    ERR_clear_error();
    struct tls_profile *profile = calloc(1, sizeof(*profile));
    if (profile == NULL) {
        error_set(error, ENOMEM, "TLS: no memory");
        return NULL;
    }
    profile->worker = worker;
    profile->context = SSL_CTX_new_ex(worker->library, NULL,
                                      settings->server ? TLS_server_method() : TLS_client_method());
    if (profile->context == NULL) {
        error_set(error, ENOMEM, "TLS: OpenSSL cannot be set up: %s", reason());
        goto fail;
    }
    set_modes(profile->context, settings->server);
    set_versions(profile->context, settings->versions);
    if (set_lists(profile, settings, error) != 0 ||
        set_certificate(profile->context, settings, error) != 0) {
        goto fail;
    }
    return profile;
fail:
    ERR_clear_error();
    tls_profile_destroy(profile);
    return NULL;
}

void tls_profile_destroy(struct tls_profile *profile)
{
    if (profile == NULL) {
        return;
    }
    SSL_CTX_free(profile->context);
    free(profile);
}

/* ---- sessions --------------------------------------------------------------------------- */

static struct tls_session *session_create(struct tls_profile *profile)
{
    struct tls_session *session = calloc(1, sizeof(*session));
    BIO *bio = BIO_new(profile->worker->bio_method);
    SSL *ssl = SSL_new(profile->context);
    if (session == NULL || bio == NULL || ssl == NULL) {
        BIO_free(bio);
        SSL_free(ssl);
        free(session);
        return NULL;
    }
    session->ssl = ssl;
    session->worker = profile->worker;
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_app_data(ssl, session);
    return session;
}

/* An IP address: digits and dots, or with a colon. */
static bool is_literal(const char *name)
{
    return name[strspn(name, "0123456789.")] == '\0' || strchr(name, ':') != NULL;
}

/* False: the session cannot be set up as asked, so must not be used. */
static bool set_verification(struct tls_session *session, struct tls_profile *profile,
                             const char *name)
{
    session->verify = true;
    SSL_set_verify(session->ssl, SSL_VERIFY_PEER, NULL);
    SSL_set_hostflags(session->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!profile->own_store) {
        X509_STORE *store = system_store(profile->worker);
        if (store == NULL || SSL_set1_verify_cert_store(session->ssl, store) != 1) {
            return false;
        }
    }
    return name != NULL && SSL_set1_host(session->ssl, name) == 1;
}

/* What the macro SSL_set_tlsext_host_name does, without its cast that drops const. */
static bool set_sni(SSL *ssl, const char *name)
{
    return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)name) == 1;
}

struct tls_session *tls_client_create(struct tls_profile *profile,
                                      const struct tls_client_options *options)
{
    const char *name = options->server_name;
    ERR_clear_error();
    struct tls_session *session = session_create(profile);
    if (session == NULL) {
        return NULL;
    }
    SSL_set_connect_state(session->ssl);
    /* RFC 6066 3: no addresses in SNI. */
    bool ready = name == NULL || is_literal(name) || set_sni(session->ssl, name);
    if (ready && options->verify) {
        ready = set_verification(session, profile, name);
    }
    if (!ready) {
        tls_session_destroy(session);
        return NULL;
    }
    if (options->resume_key != 0) {
        /* A session that was made without looking at the certificate must never stand in for one
         * that requires it: resuming skips the certificate. */
        session->resume_key = bytes_hash(bytes_from_string(name)) ^
                              (options->resume_key * 2 + (options->verify ? 1 : 0));
        (void)tickets_newest(&session->worker->tickets, session->resume_key, on_resume, session);
    }
    return session;
}

struct tls_session *tls_server_create(struct tls_profile *profile)
{
    ERR_clear_error();
    struct tls_session *session = session_create(profile);
    if (session != NULL) {
        SSL_set_accept_state(session->ssl);
    }
    return session;
}

void tls_session_destroy(struct tls_session *session)
{
    if (session == NULL) {
        return;
    }
    SSL_free(session->ssl);
    block_free(&session->in);
    block_free(&session->sending);
    block_free(&session->growing);
    free(session);
}

static enum tls_result fail(struct tls_session *session, const char *words)
{
    long verified = SSL_get_verify_result(session->ssl);
    if (!session->failed && session->verify && verified != X509_V_OK && !session->established) {
        snprintf(session->failure, sizeof(session->failure), "%s: %s", words,
                 X509_verify_cert_error_string(verified));
    } else if (!session->failed) {
        snprintf(session->failure, sizeof(session->failure), "%s", words);
    }
    session->failed = true;
    ERR_clear_error();
    return TLS_FAILED;
}

/* What a call of OpenSSL that returned `returned` means. */
static enum tls_result result_of(struct tls_session *session, int returned)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TLS_OK;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_CLOSED;
    default:
        return fail(session, reason());
    }
}

enum tls_result tls_receive(struct tls_session *session, const void *data, size_t len)
{
    if (session->failed) {
        return TLS_FAILED;
    }
    if (len > 0 && !block_add(&session->in, data, len, TLS_IN_MAX)) {
        return fail(session, "more was received than can be kept");
    }
    return TLS_OK;
}

enum tls_result tls_handshake(struct tls_session *session)
{
    if (session->failed) {
        return TLS_FAILED;
    }
    assert(!session->established);
    ERR_clear_error();
    int returned = SSL_do_handshake(session->ssl);
    if (returned != 1) {
        enum tls_result result = result_of(session, returned);
        return result == TLS_CLOSED ? fail(session, "closed in the handshake") : result;
    }
    session->established = true;
    return TLS_ESTABLISHED;
}

size_t tls_read(struct tls_session *session, void *data, size_t len, enum tls_result *result)
{
    size_t n = 0;
    if (session->failed) {
        *result = TLS_FAILED;
        return 0;
    }
    ERR_clear_error();
    int returned = SSL_read_ex(session->ssl, data, len, &n);
    *result = returned == 1 ? TLS_OK : result_of(session, returned);
    return returned == 1 ? n : 0;
}

int tls_write(struct tls_session *session, const void *data, size_t len)
{
    size_t waiting = session->sending.len - session->sending.from + session->growing.len;
    size_t records = len / RECORD_MAX + 1, n = 0;
    if (waiting + len + records * RECORD_EXTRA > TLS_OUT_MAX) {
        return -EMSGSIZE;
    }
    if (session->failed) {
        return -EPROTO;
    }
    if (len == 0) {
        return 0;
    }
    ERR_clear_error();
    if (SSL_write_ex(session->ssl, data, len, &n) != 1) {
        fail(session, reason());
        return -EPROTO;
    }
    assert(n == len); /* without SSL_MODE_ENABLE_PARTIAL_WRITE */
    return 0;
}

void tls_close_notify(struct tls_session *session)
{
    if (session->established && !session->failed) {
        ERR_clear_error();
        SSL_shutdown(session->ssl);
    }
}

struct bytes tls_output(struct tls_session *session)
{
    if (session->sending.data == NULL) {
        session->sending = session->growing;
        session->growing = (struct block){.data = NULL};
    }
    if (session->sending.data == NULL) {
        return bytes_of(NULL, 0);
    }
    return bytes_of((const char *)session->sending.data + session->sending.from,
                    session->sending.len - session->sending.from);
}

void tls_output_sent(struct tls_session *session, size_t n)
{
    if (n > 0) {
        block_take(&session->sending, n);
    }
}

void tls_info(const struct tls_session *session, struct tls_info *out)
{
    snprintf(out->protocol, sizeof(out->protocol), "%s", SSL_get_version(session->ssl));
    const char *cipher = SSL_get_cipher_name(session->ssl);
    snprintf(out->cipher, sizeof(out->cipher), "%s", cipher == NULL ? "" : cipher);
    out->resumed = SSL_session_reused(session->ssl) == 1;
    out->verified = session->established && session->verify &&
                    SSL_get_verify_result(session->ssl) == X509_V_OK &&
                    SSL_get0_peer_certificate(session->ssl) != NULL;
}

const char *tls_failure(const struct tls_session *session)
{
    if (session->failed) {
        return session->failure;
    }
    return session->established ? "" : "the handshake was not finished";
}
