#include "base/crypto_pem.h"

#include <limits.h>
#include <stdint.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

/* Without it OpenSSL would ask on the terminal. */
static int on_password(char *out, int size, int writing, void *owner)
{
    const struct bytes *password = owner;
    if (password->len == 0 || password->len > (size_t)size) {
        return -1;
    }
    memcpy(out, password->data, password->len);
    return (int)password->len;
}

static BIO *open_pem(struct bytes pem)
{
    ERR_clear_error();
    return pem.len > INT_MAX ? NULL : BIO_new_mem_buf(pem.data, (int)pem.len);
}

/* Reads on to the last certificate. The first, of NULL if there is none; *broken: one is there that
 * cannot be read. */
static X509 *read_certificates(struct bytes pem, bool *broken)
{
    struct bytes none = BYTES("");
    X509 *first = NULL, *next;
    BIO *bio = open_pem(pem);
    *broken = bio == NULL;
    while (bio != NULL && (next = PEM_read_bio_X509(bio, NULL, on_password, &none)) != NULL) {
        if (first == NULL) {
            first = next;
        } else {
            X509_free(next);
        }
    }
    unsigned long code = ERR_peek_last_error();
    *broken |= bio != NULL &&
               !(ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE);
    BIO_free(bio);
    ERR_clear_error();
    return first;
}

static EVP_PKEY *read_key(struct bytes pem, struct bytes password)
{
    BIO *bio = open_pem(pem);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, on_password, &password);
    BIO_free(bio);
    ERR_clear_error();
    return key;
}

const char *crypto_pem_check_pair(struct bytes pem, struct bytes password)
{
    bool broken;
    X509 *certificate = read_certificates(pem, &broken);
    EVP_PKEY *key = read_key(pem, password);
    const char *wrong = NULL;
    if (broken) {
        wrong = "has a certificate that cannot be read";
    } else if (certificate == NULL) {
        wrong = "has no certificate in PEM";
    } else if (key == NULL) {
        wrong = password.len == 0 ? "has no private key in PEM that can be read without a password"
                                  : "has no private key in PEM that the password opens";
    } else if (X509_check_private_key(certificate, key) != 1) {
        wrong = "has a private key that is not its first certificate's";
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return wrong;
}

const char *crypto_pem_check_authorities(struct bytes pem)
{
    bool broken;
    X509 *first = read_certificates(pem, &broken);
    bool some = first != NULL;
    X509_free(first);
    return broken ? "has a certificate that cannot be read"
           : some ? NULL
                  : "has no certificate in PEM";
}
