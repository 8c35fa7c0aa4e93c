/* Certificates for tests, made on the spot: a key and a certificate as PEM files in a directory of
 * the test's own. */
#ifndef TESTS_UNIT_CERTIFICATES_H
#define TESTS_UNIT_CERTIFICATES_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct certificate {
    char certificate_file[128], key_file[128];
};

struct certificate_wish {
    const char *name;       /* subjectAltName DNS, and the files' names */
    int days_from, days_to; /* of validity, relative to now */
    bool rsa;
    int depth; /* issuers above it, all in the certificate's file; 0: self-signed */
};

static char certificates_path[64]; /* "": not made yet */

static inline const char *certificates_directory(void)
{
    if (certificates_path[0] == '\0') {
        snprintf(certificates_path, sizeof(certificates_path), "/tmp/certificates-XXXXXX");
        assert(mkdtemp(certificates_path) != NULL);
    }
    return certificates_path;
}

static inline void certificate_extend(X509 *x509, X509V3_CTX *context, int what, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, what, value);
    assert(extension != NULL);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
}

/* A certificate of `key`, signed by the issuer's (NULL: by itself). */
static inline X509 *certificate_sign(const struct certificate_wish *wish, const char *common_name,
                                     EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
    char alternative[160];
    X509V3_CTX context;
    X509 *x509 = X509_new();
    assert(x509 != NULL);
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), wish->days_from * 86400L);
    X509_gmtime_adj(X509_getm_notAfter(x509), wish->days_to * 86400L);
    X509_set_pubkey(x509, key);
    X509_NAME *name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1,
                               0);
    X509_set_issuer_name(x509, issuer == NULL ? name : X509_get_subject_name(issuer));
    snprintf(alternative, sizeof(alternative), "DNS:%s", wish->name);
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer == NULL ? x509 : issuer, x509, NULL, NULL, 0);
    certificate_extend(x509, &context, NID_subject_alt_name, alternative);
    if (wish->depth > 0) {
        certificate_extend(x509, &context, NID_basic_constraints, "CA:TRUE");
    }
    assert(X509_sign(x509, issuer == NULL ? key : issuer_key, EVP_sha256()) > 0);
    return x509;
}

static inline EVP_PKEY *certificate_key(bool rsa)
{
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    assert(key != NULL);
    return key;
}

static inline void certificate_write_key(const char *path, EVP_PKEY *key)
{
    FILE *file = fopen(path, "w");
    assert(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
    fclose(file);
}

static inline void certificate_make(const struct certificate_wish *wish, struct certificate *out)
{
    const char *directory = certificates_directory();
    snprintf(out->certificate_file, sizeof(out->certificate_file), "%s/%s.pem", directory,
             wish->name);
    snprintf(out->key_file, sizeof(out->key_file), "%s/%s.key", directory, wish->name);
    X509 *chain[128];
    EVP_PKEY *issuer_key = NULL;
    assert(wish->depth < 128);
    for (int i = wish->depth; i >= 0; i--) {
        char common_name[80];
        EVP_PKEY *key = certificate_key(wish->rsa);
        snprintf(common_name, sizeof(common_name), "%s %d", wish->name, i);
        chain[i] = certificate_sign(wish, common_name, key, i == wish->depth ? NULL : chain[i + 1],
                                    issuer_key);
        EVP_PKEY_free(issuer_key);
        issuer_key = key;
    }
    certificate_write_key(out->key_file, issuer_key);
    EVP_PKEY_free(issuer_key);
    FILE *file = fopen(out->certificate_file, "w");
    assert(file != NULL);
    for (int i = 0; i <= wish->depth; i++) {
        assert(PEM_write_X509(file, chain[i]) == 1);
        X509_free(chain[i]);
    }
    fclose(file);
}

static inline void certificate_remove(const struct certificate *certificate)
{
    unlink(certificate->certificate_file);
    unlink(certificate->key_file);
    if (rmdir(certificates_path) == 0) { /* the last one takes it away */
        certificates_path[0] = '\0';
    }
}

#endif
