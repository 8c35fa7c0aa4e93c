#include "policy/access.h"

#include <assert.h>

#include "policy/config_private.h"

/* The global always-allow-relaying lies below every source. */
static void begin_source(const struct config *config, void *settings_of, void *origins_of)
{
    struct source_settings *settings = settings_of;
    struct source_origins *origins = origins_of;
    if (config->global_origins.always_allow_relaying.file != NULL) {
        settings->always_allow_relaying = config->global_settings.always_allow_relaying;
        origins->always_allow_relaying = config->global_origins.always_allow_relaying;
    }
}

/* An IPv4 client of a socket for both families has an address like ::ffff:192.0.2.1. */
static struct address plain_address(const struct address *address)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    struct address plain = *address;
    if (address->family == ADDRESS_IPV6 && memcmp(address->ip, mapped, sizeof(mapped)) == 0) {
        plain = (struct address){.family = ADDRESS_IPV4, .port = address->port};
        memcpy(plain.ip, address->ip + sizeof(mapped), 4);
    }
    return plain;
}

const struct resolved *source_resolve(const struct config *config, const struct address *peer,
                                      const char *name)
{
    static const struct resolver resolver = {.scope = SCOPE_SOURCE, .begin = begin_source};
    struct matches matches;
    matches.count = 0;
    if (peer != NULL && peer->family != ADDRESS_NONE) {
        struct address address = plain_address(peer);
        matches_add_ranges(&matches, &config->sources, 0, &address);
    }
    if (name != NULL && name[0] != '\0') {
        struct domain_pattern named = {.kind = DOMAIN_EXACT, .name = bytes_from_string(name)};
        matches_add(&matches, pattern_index_find(&config->sources, 0, &named));
    }
    return matches_resolve(config, &config->cache->sources, &matches, &resolver);
}

const struct source_settings *config_source_for(const struct config *config,
                                                const struct address *peer,
                                                const char *listener_source_name)
{
    assert(config != NULL);
    return source_resolve(config, peer, listener_source_name)->settings;
}

bool config_has_source(const struct config *config, struct bytes name)
{
    return names_find(config, SCOPE_SOURCE, name) != NULL;
}
