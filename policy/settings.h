/* The settings of each scope as structs: one field per row of directives.def.
 *
 * `struct global_settings` holds the GLOBAL rows, and so on. Fields are named in the rows and have
 * the C types of policy/value.h: bool; uint64_t, with UNLIMITED or NEVER; times in milliseconds;
 * struct rate_value; struct bytes (which end with a NUL that is not counted); arrays {items, count}
 * for what may be given several times. Knows nothing of where values come from. Pointers in them
 * live as long as the configuration. */
#ifndef POLICY_SETTINGS_H
#define POLICY_SETTINGS_H

#include "policy/value.h"

/* Every scope that has settings, its struct, and how it is called in messages. */
#define SETTINGS_SCOPES(S)                                                                         \
    S(GLOBAL, global, "the top level")                                                             \
    S(SOURCE, source, "<source>")                                                                  \
    S(SOURCE_GROUP, source_group, "<source-group>")                                                \
    S(LISTENER, listener, "<smtp-listener>")                                                       \
    S(USER, user, "<smtp-user>")                                                                   \
    S(DOMAIN, domain, "<domain>")                                                                  \
    S(VMTA, vmta, "<virtual-mta>")                                                                 \
    S(POOL, pool, "<virtual-mta-pool>")                                                            \
    S(SPOOL, spool, "<spool>")                                                                     \
    S(ACCT_FILE, acct_file, "<acct-file>")                                                         \
    S(DNS, dns, "<dns>")                                                                           \
    S(PROXY, proxy, "<proxy>")                                                                     \
    S(KEY_LIST, key_list, "<domain-key-list>")                                                     \
    S(ALIAS_BLOCK, alias_block, "<alias>")                                                         \
    S(PROCESSOR, processor, "a processor block")                                                   \
    S(ADDRESS_LIST, address_list, "<address-list>")                                                \
    S(EMAIL_PATTERNS, email_patterns, "<email-patterns>")                                          \
    S(API_LISTENER, api_listener, "<transmissions-api-listener>")                                  \
    S(API, api, "<transmissions-api>")                                                             \
    S(PROVIDER, provider, "<provider>")                                                            \
    S(REDIS, redis, "<redis>")

/* IF_SAME(A, B, text…) is the text where A and B are the same scope, else nothing. */
#define SELECT_THIRD(first, second, third, ...) third
#define SELECT(...)                             SELECT_THIRD(__VA_ARGS__)
#define SAME_PROBE(a, b)                        SAME_##a##_##b
#define SAME(a, b)                              SAME_PROBE(a, b)
#define IF_SAME(a, b, ...)                      SELECT(SAME(a, b), __VA_ARGS__, , )
#define SAME_GLOBAL_GLOBAL                      ,
#define SAME_SOURCE_SOURCE                      ,
#define SAME_SOURCE_GROUP_SOURCE_GROUP          ,
#define SAME_LISTENER_LISTENER                  ,
#define SAME_USER_USER                          ,
#define SAME_DOMAIN_DOMAIN                      ,
#define SAME_VMTA_VMTA                          ,
#define SAME_POOL_POOL                          ,
#define SAME_SPOOL_SPOOL                        ,
#define SAME_ACCT_FILE_ACCT_FILE                ,
#define SAME_DNS_DNS                            ,
#define SAME_PROXY_PROXY                        ,
#define SAME_KEY_LIST_KEY_LIST                  ,
#define SAME_ALIAS_BLOCK_ALIAS_BLOCK            ,
#define SAME_PROCESSOR_PROCESSOR                ,
#define SAME_ADDRESS_LIST_ADDRESS_LIST          ,
#define SAME_EMAIL_PATTERNS_EMAIL_PATTERNS      ,
#define SAME_API_LISTENER_API_LISTENER          ,
#define SAME_API_API                            ,
#define SAME_PROVIDER_PROVIDER                  ,
#define SAME_REDIS_REDIS                        ,

struct global_settings {
#define CURRENT GLOBAL
#include "policy/fields.def"
};
struct source_settings {
#define CURRENT SOURCE
#include "policy/fields.def"
};
struct source_group_settings {
#define CURRENT SOURCE_GROUP
#include "policy/fields.def"
};
struct listener_settings {
#define CURRENT LISTENER
#include "policy/fields.def"
};
struct user_settings {
#define CURRENT USER
#include "policy/fields.def"
};
struct domain_settings {
#define CURRENT DOMAIN
#include "policy/fields.def"
};
struct vmta_settings {
#define CURRENT VMTA
#include "policy/fields.def"
};
struct pool_settings {
#define CURRENT POOL
#include "policy/fields.def"
};
struct spool_settings {
#define CURRENT SPOOL
#include "policy/fields.def"
};
struct acct_file_settings {
#define CURRENT ACCT_FILE
#include "policy/fields.def"
};
struct dns_settings {
#define CURRENT DNS
#include "policy/fields.def"
};
struct proxy_settings {
#define CURRENT PROXY
#include "policy/fields.def"
};
struct key_list_settings {
#define CURRENT KEY_LIST
#include "policy/fields.def"
};
struct alias_block_settings {
#define CURRENT ALIAS_BLOCK
#include "policy/fields.def"
};
struct processor_settings {
#define CURRENT PROCESSOR
#include "policy/fields.def"
};
struct address_list_settings {
#define CURRENT ADDRESS_LIST
#include "policy/fields.def"
};
struct email_patterns_settings {
#define CURRENT EMAIL_PATTERNS
#include "policy/fields.def"
};
struct api_listener_settings {
#define CURRENT API_LISTENER
#include "policy/fields.def"
};
struct api_settings {
#define CURRENT API
#include "policy/fields.def"
};
struct provider_settings {
#define CURRENT PROVIDER
#include "policy/fields.def"
};
struct redis_settings {
#define CURRENT REDIS
#include "policy/fields.def"
};

/* Where a value comes from. */
struct setting_origin {
    const char *file; /* NULL: the default */
    uint32_t line;
};

/* The origin of each field, under the same name. */
struct global_origins {
#define CURRENT GLOBAL
#include "policy/origins.def"
};
struct source_origins {
#define CURRENT SOURCE
#include "policy/origins.def"
};
struct source_group_origins {
#define CURRENT SOURCE_GROUP
#include "policy/origins.def"
};
struct listener_origins {
#define CURRENT LISTENER
#include "policy/origins.def"
};
struct user_origins {
#define CURRENT USER
#include "policy/origins.def"
};
struct domain_origins {
#define CURRENT DOMAIN
#include "policy/origins.def"
};
struct vmta_origins {
#define CURRENT VMTA
#include "policy/origins.def"
};
struct pool_origins {
#define CURRENT POOL
#include "policy/origins.def"
};
struct spool_origins {
#define CURRENT SPOOL
#include "policy/origins.def"
};
struct acct_file_origins {
#define CURRENT ACCT_FILE
#include "policy/origins.def"
};
struct dns_origins {
#define CURRENT DNS
#include "policy/origins.def"
};
struct proxy_origins {
#define CURRENT PROXY
#include "policy/origins.def"
};
struct key_list_origins {
#define CURRENT KEY_LIST
#include "policy/origins.def"
};
struct alias_block_origins {
#define CURRENT ALIAS_BLOCK
#include "policy/origins.def"
};
struct processor_origins {
#define CURRENT PROCESSOR
#include "policy/origins.def"
};
struct address_list_origins {
#define CURRENT ADDRESS_LIST
#include "policy/origins.def"
};
struct email_patterns_origins {
#define CURRENT EMAIL_PATTERNS
#include "policy/origins.def"
};
struct api_listener_origins {
#define CURRENT API_LISTENER
#include "policy/origins.def"
};
struct api_origins {
#define CURRENT API
#include "policy/origins.def"
};
struct provider_origins {
#define CURRENT PROVIDER
#include "policy/origins.def"
};
struct redis_origins {
#define CURRENT REDIS
#include "policy/origins.def"
};

#endif
