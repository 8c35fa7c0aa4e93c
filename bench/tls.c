#include "bench/tls.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "bench/tool.h"

#define CERT_DAYS 30

struct tls_context {
    SSL_CTX *ssl;
    bool server;
};

struct tls {
    SSL *ssl;
    BIO *in, *out; /* owned by ssl */
};

static void fail(const char *what)
{
    tool_fail(EX_CONFIG, "TLS: %s: %s", what, ERR_reason_error_string(ERR_peek_last_error()));
}

static void add_name(X509 *cert, const char *name)
{
    char alternative[300];
    snprintf(alternative, sizeof alternative, "DNS:%s", name);
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, subject);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternative);
    if (extension == NULL || !X509_add_ext(cert, extension, -1)) {
        fail("certificate name");
    }
    X509_EXTENSION_free(extension);
}

static X509 *make_certificate(EVP_PKEY *key, const char *name)
{
    X509 *cert = X509_new();
    if (key == NULL || cert == NULL) {
        fail("certificate");
    }
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)(tool_wall_us() & 0x7fffffff));
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400 * CERT_DAYS);
    X509_set_pubkey(cert, key);
    add_name(cert, name);
    if (!X509_sign(cert, key, EVP_sha256())) {
        fail("certificate");
    }
    return cert;
}

static void write_certificate(X509 *cert, const char *path)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || !PEM_write_X509(file, cert) || fclose(file) != 0) {
        tool_fail(EX_CANTCREAT, "%s: cannot write the certificate", path);
    }
}

static void use_own_certificate(SSL_CTX *ssl, const char *name, const char *write_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = make_certificate(key, name);
    if (SSL_CTX_use_certificate(ssl, cert) != 1 || SSL_CTX_use_PrivateKey(ssl, key) != 1) {
        fail("certificate");
    }
    if (write_file != NULL) {
        write_certificate(cert, write_file);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

static struct tls_context *make_context(const SSL_METHOD *method, bool server)
{
    struct tls_context *context = calloc(1, sizeof *context);
    SSL_CTX *ssl = SSL_CTX_new(method);
    if (context == NULL || ssl == NULL) {
        fail("context");
    }
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    context->ssl = ssl;
    context->server = server;
    return context;
}

struct tls_context *tls_server_context(const char *cert_file, const char *key_file,
                                       const char *name, const char *write_file)
{
    struct tls_context *context = make_context(TLS_server_method(), true);
    if (cert_file == NULL) {
        use_own_certificate(context->ssl, name, write_file);
        return context;
    }
    if (SSL_CTX_use_certificate_chain_file(context->ssl, cert_file) != 1) {
        fail(cert_file);
    }
    const char *key = key_file == NULL ? cert_file : key_file;
    if (SSL_CTX_use_PrivateKey_file(context->ssl, key, SSL_FILETYPE_PEM) != 1) {
        fail(key);
    }
    return context;
}

struct tls_context *tls_client_context(void)
{
    return make_context(TLS_client_method(), false);
}

void tls_context_destroy(struct tls_context *context)
{
    if (context != NULL) {
        SSL_CTX_free(context->ssl);
        free(context);
    }
}

struct tls *tls_create(struct tls_context *context)
{
    struct tls *tls = calloc(1, sizeof *tls);
    SSL *ssl = SSL_new(context->ssl);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (tls == NULL || ssl == NULL || in == NULL || out == NULL) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(ssl);
        free(tls);
        return NULL;
    }
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(ssl, in, out);
    if (context->server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
    }
    *tls = (struct tls){ssl, in, out};
    return tls;
}

void tls_destroy(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
    }
}

bool tls_receive(struct tls *tls, struct bytes encrypted)
{
    if (encrypted.len > 0 && BIO_write(tls->in, encrypted.data, (int)encrypted.len) <= 0) {
        return false;
    }
    if (SSL_is_init_finished(tls->ssl)) {
        return true;
    }
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    int error = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
    return error == SSL_ERROR_NONE || error == SSL_ERROR_WANT_READ;
}

int tls_read(struct tls *tls, char *out, size_t capacity)
{
    if (!SSL_is_init_finished(tls->ssl)) {
        return 0;
    }
    ERR_clear_error();
    int len = SSL_read(tls->ssl, out, (int)capacity);
    if (len > 0) {
        return len;
    }
    return SSL_get_error(tls->ssl, len) == SSL_ERROR_WANT_READ ? 0 : -1;
}

bool tls_ready(const struct tls *tls)
{
    return SSL_is_init_finished(tls->ssl) == 1;
}

bool tls_write(struct tls *tls, struct bytes plain)
{
    assert(tls_ready(tls));
    ERR_clear_error();
    size_t written = 0;
    while (written < plain.len) {
        int len = SSL_write(tls->ssl, plain.data + written, (int)(plain.len - written));
        if (len <= 0) {
            return false;
        }
        written += (size_t)len;
    }
    return true;
}

struct bytes tls_outgoing(struct tls *tls)
{
    char *data;
    long len = BIO_get_mem_data(tls->out, &data);
    return bytes_of(data, (size_t)len);
}

void tls_outgoing_drop(struct tls *tls)
{
    BIO_reset(tls->out);
}
