/* Are these bytes the certificates and the key that a PEM file must hold? Says it when a
 * configuration is loaded, before a connection depends on it. Knows no files and no clock: whether
 * a certificate has expired is not asked. */
#ifndef BASE_CRYPTO_PEM_H
#define BASE_CRYPTO_PEM_H

#include "base/bytes.h"

/* NULL: a certificate, perhaps with others behind it, and the private key that belongs to it; else
 * what is wrong, in words that fit behind the file's name. password: of the key; may be empty. */
const char *crypto_pem_check_pair(struct bytes pem, struct bytes password);

/* NULL: at least one certificate, and none that cannot be read. */
const char *crypto_pem_check_authorities(struct bytes pem);

#endif
