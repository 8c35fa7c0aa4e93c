/* A certificate for ours.example.test, its key (in clear, and under the password "hush") and a key
 * of something else, as PEM. Made for tests; they open nothing. */
#ifndef TESTS_UNIT_PEM_FILES_H
#define TESTS_UNIT_PEM_FILES_H

#define PEM_CERTIFICATE                                                                            \
    "-----BEGIN CERTIFICATE-----\n"                                                                \
    "MIIBjjCCATWgAwIBAgIUFSYPTnsAt12g2shICx4ZSTfRTtEwCgYIKoZIzj0EAwIw\n"                           \
    "HDEaMBgGA1UEAwwRb3Vycy5leGFtcGxlLnRlc3QwIBcNMjYxMTI1MDA1NzQyWhgP\n"                           \
    "MjEyNjExMDEwMDU3NDJaMBwxGjAYBgNVBAMMEW91cnMuZXhhbXBsZS50ZXN0MFkw\n"                           \
    "EwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfmgloIkpSkI7hXw06Mp9bYAwFvor9fWm\n"                           \
    "KO4VHucpUNc++ZT6GzQc0IGY7r4cSA7DfPgURVp9yRaEtJB5JPvbNKNTMFEwHQYD\n"                           \
    "VR0OBBYEFGFP67E9yQiWNuewaCMtya8rj5K8MB8GA1UdIwQYMBaAFGFP67E9yQiW\n"                           \
    "NuewaCMtya8rj5K8MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIg\n"                           \
    "eX/EA1apZfRVaSVfNsUGPcXsDRbSKtNbeww1m2XxoZgCIGkN9UfAc+Ey1V2qq+lQ\n"                           \
    "UmDxDXDWwY75W/wHXNilWoUc\n"                                                                   \
    "-----END CERTIFICATE-----\n"

#define PEM_KEY                                                                                    \
    "-----BEGIN PRIVATE KEY-----\n"                                                                \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgRqr792LiVa8zYVHT\n"                           \
    "Cx/myojZZQuVX7anfHY59LIHKoqhRANCAAR+aCWgiSlKQjuFfDToyn1tgDAW+iv1\n"                           \
    "9aYo7hUe5ylQ1z75lPobNBzQgZjuvhxIDsN8+BRFWn3JFoS0kHkk+9s0\n"                                   \
    "-----END PRIVATE KEY-----\n"

#define PEM_KEY_HUSH                                                                               \
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"                                                      \
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAiUl+ksAgiMrgICCAAw\n"                           \
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAfPOiKmyjYhayhAtNFvAmMEgZAX\n"                           \
    "nmI6nEJmX2+pZbnAcB1d+9seIr0A6SppxALhz/KWALwN10HJjq0uCOyanbc+9+2V\n"                           \
    "2dc+WwXmwiriKHXYmBZgIRlLP3NDvtEYJrq0OnaHuFUz8wCjtB5JaewfWO8WNfTA\n"                           \
    "CjjfNeqkzLv6nfbHS5FwSlrgyFxUoIx5DQLjkwDdNI5NlN8KAjEH5tmSuL+t/D8=\n"                           \
    "-----END ENCRYPTED PRIVATE KEY-----\n"

#define PEM_OTHER_KEY                                                                              \
    "-----BEGIN EC PRIVATE KEY-----\n"                                                             \
    "MHcCAQEEIJ5Zcg5Q+sVePSp70/6zkqzHUKf1nUMOGPJ7FqVMT1KgoAoGCCqGSM49\n"                           \
    "AwEHoUQDQgAE2+SN6di41l+oGHVOgEq1Mfe7Y0RD7laAgva/U9BHHwPFRqr/pB6B\n"                           \
    "SaEcOeGSMcNB3qIcJKPqWCszxAW7Q9na6A==\n"                                                       \
    "-----END EC PRIVATE KEY-----\n"

#endif
