#include "outbound.h"

#include <errno.h>
#include <stdlib.h>

#include "net/tls.h"
#include "policy/settings.h"

#define PROFILES_MAX 1024 /* TLS profiles of one worker */

/* ---- the dialogue ---- */

enum tls_need outbound_tls_level(const struct domain_settings *settings, enum tls_need need)
{
    enum tls_need level = TLS_NEED_NONE;
    if (settings->require_starttls) {
        level = settings->smtp_tls_ca_file.len > 0 ? TLS_NEED_VERIFY : TLS_NEED_REQUIRE;
    } else if (settings->use_starttls) {
        level = TLS_NEED_OPPORTUNISTIC;
    }
    return need > level && need != TLS_NEED_DEFAULT ? need : level;
}

struct sasl_credentials outbound_credentials(const struct domain_settings *settings)
{
    return (struct sasl_credentials){.username = settings->auth_username,
                                     .password = settings->auth_password,
                                     .in_clear = settings->use_unencrypted_plain_auth};
}

struct client_settings outbound_client_settings(const struct domain_settings *settings,
                                                enum tls_need level, const char *helo_name)
{
    enum client_tls tls = CLIENT_TLS_NEVER;
    if (level >= TLS_NEED_REQUIRE) {
        tls = CLIENT_TLS_REQUIRED;
    } else if (level == TLS_NEED_OPPORTUNISTIC) {
        tls = CLIENT_TLS_OFFERED;
    }
    return (struct client_settings){
        .helo_name = helo_name,
        .tls = tls,
        .ignore = (settings->ignore_pipelining ? CLIENT_CAP_PIPELINING : 0u) |
                  (settings->ignore_chunking ? CLIENT_CAP_CHUNKING : 0u) |
                  (settings->ignore_8bitmime ? CLIENT_CAP_8BITMIME : 0u) |
                  (settings->ignore_dsn ? CLIENT_CAP_DSN : 0u),
        .in_flight_max = (uint32_t)settings->max_msg_in_flight > CLIENT_IN_FLIGHT_MAX
                             ? CLIENT_IN_FLIGHT_MAX
                             : (uint32_t)settings->max_msg_in_flight,
        .reuse_after_421 = !settings->smtp_421_means_mx_unavailable,
        .auth = outbound_credentials(settings),
    };
}

/* ---- TLS ---- */

struct profile {
    struct map_entry entry;
    struct tls_profile *profile;
};

static uint32_t versions_of(const struct domain_settings *settings)
{
    return (settings->smtp_tls_allow_tls10 ? TLS_1_0 : 0u) |
           (settings->smtp_tls_allow_tls11 ? TLS_1_1 : 0u) |
           (settings->smtp_tls_allow_tls12 ? TLS_1_2 : 0u) |
           (settings->smtp_tls_allow_tls13 ? TLS_1_3 : 0u);
}

static const char *text_or_null(struct bytes text)
{
    return text.len == 0 ? NULL : text.data;
}

static uint64_t profile_hash(const struct domain_settings *settings)
{
    uint64_t hash = bytes_hash(settings->smtp_tls_ca_file);
    hash = hash * 31 + bytes_hash(settings->smtp_tls_ciphers);
    hash = hash * 31 + bytes_hash(settings->smtp_tls_ciphersuites);
    hash = hash * 31 + bytes_hash(settings->smtp_client_certificate.path);
    hash = hash * 31 + bytes_hash(settings->smtp_client_certificate.password);
    return hash * 31 + versions_of(settings);
}

static bool any_profile(const struct map_entry *entry, const void *key)
{
    (void)key;
    return entry != NULL;
}

static struct tls_profile *profile_for(struct outbound_tls *tls,
                                       const struct domain_settings *settings, struct error *error)
{
    const struct certificate *own = &settings->smtp_client_certificate;
    uint64_t hash = profile_hash(settings);
    struct map_entry *found = map_find(&tls->profiles, hash, any_profile, NULL);
    if (found != NULL) {
        return CONTAINER_OF(found, struct profile, entry)->profile;
    }
    struct profile *made = calloc(1, sizeof *made);
    if (made == NULL) {
        error_set(error, ENOMEM, "out of memory");
        return NULL;
    }
    made->profile =
        tls_profile_create(tls->worker,
                           &(struct tls_profile_settings){
                               .certificate_file = text_or_null(own->path),
                               .key_password = text_or_null(own->password),
                               .ca_file = text_or_null(settings->smtp_tls_ca_file),
                               .ciphers = text_or_null(settings->smtp_tls_ciphers),
                               .ciphersuites = text_or_null(settings->smtp_tls_ciphersuites),
                               .versions = versions_of(settings)},
                           error);
    if (made->profile == NULL || !map_insert(&tls->profiles, hash, &made->entry)) {
        if (made->profile != NULL) {
            error_set(error, ENOMEM, "no room for another TLS profile");
        }
        tls_profile_destroy(made->profile);
        free(made);
        return NULL;
    }
    return made->profile;
}

void outbound_tls_init(struct outbound_tls *tls, struct tls_worker *worker)
{
    tls->worker = worker;
    map_init(&tls->profiles, PROFILES_MAX);
}

void outbound_tls_deinit(struct outbound_tls *tls)
{
    size_t cursor = 0;
    struct map_entry *entry;
    while ((entry = map_walk(&tls->profiles, &cursor)) != NULL) {
        struct profile *profile = CONTAINER_OF(entry, struct profile, entry);
        tls_profile_destroy(profile->profile);
        free(profile);
    }
    map_deinit(&tls->profiles);
}

void outbound_tls_forget(struct outbound_tls *tls)
{
    outbound_tls_deinit(tls);
    outbound_tls_init(tls, tls->worker);
}

struct tls_session *outbound_tls_session(struct outbound_tls *tls,
                                         const struct domain_settings *settings,
                                         const struct outbound_peer *peer, struct error *error)
{
    struct tls_profile *profile = profile_for(tls, settings, error);
    if (profile == NULL) {
        return NULL;
    }
    uint64_t key = bytes_hash(bytes_from_string(peer->host_name)) ^ address_hash(peer->address) ^
                   profile_hash(settings) ^ bytes_hash(bytes_from_string(peer->vmta_name));
    key = key * 31 + peer->address->port;
    return tls_client_create(
        profile, &(struct tls_client_options){.server_name = peer->host_name,
                                              .verify = peer->level >= TLS_NEED_VERIFY,
                                              .resume_key = settings->reuse_ssl_session ? key : 0});
}
