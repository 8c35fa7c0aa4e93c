/* A configuration: loaded as a whole, checked as a whole, immutable after.
 *
 * Does no I/O: files are read through struct config_files. Knows nothing of sockets, so what only
 * the host can tell (is this address here? can this file be opened?) is its user's to check. All
 * pointers handed out live until config_free. After config_load any thread may read. */
#ifndef POLICY_CONFIG_H
#define POLICY_CONFIG_H

#include "base/address.h"
#include "base/bytes.h"
#include "base/error.h"
#include "policy/settings.h"

#define CONFIG_MESSAGES_MAX      1000                /* kept of one load; more are only counted */
#define CONFIG_INCLUDE_DEPTH_MAX 16                  /* files inside files */
#define CONFIG_FILES_MAX         10000               /* files of one configuration */
#define CONFIG_BYTES_MAX         (64u * 1024 * 1024) /* of all its files */
#define CONFIG_PATTERNS_MAX      2000000             /* <domain> patterns, macros expanded */
#define CONFIG_VMTAS_MAX         100000
#define CONFIG_COMMAND_WORDS_MAX 32 /* a program's path and its arguments */
#define CONFIG_VMTA_NAME_LEN_MAX 64 /* bytes */
#define CONFIG_MEMORY_MAX        (2048ull * 1024 * 1024)

/* What config_files.defaults is called in origins and messages. */
#define CONFIG_DEFAULTS_NAME "built-in/bounce-categories.conf"

struct config; /* owned by the caller of config_load */

/* How files are read. Called only inside config_load, by its thread. */
struct config_files {
    void *owner;
    /* 0 and the whole file, from malloc, which becomes the configuration's; or -errno. */
    int (*read)(void *owner, const char *path, struct bytes *out);
    /* Calls `found` for each path that matches, sorted; 0 or -errno. None is not an error. */
    int (*glob)(void *owner, const char *pattern, void (*found)(void *to, const char *path),
                void *to);
    /* Everybody on the host may read this file of secrets. NULL: nobody looks. */
    bool (*is_public)(void *owner, const char *path);
    /* Read behind the operator's files, as one of them: policy/defaults.h. Empty: nothing. */
    struct bytes defaults;
};

/* One finding. `file` lives as long as the report. */
struct config_message {
    bool warning;
    const char *file;
    uint32_t line, column; /* from 1; 0: none in particular */
    char text[ERROR_TEXT_MAX];
};

/* All findings of one load, in the order of the files as far as can be. Zero it before the load,
 * config_report_deinit after; it does not depend on the configuration. */
struct config_report {
    struct config_message *messages;
    size_t count; /* messages kept: at most CONFIG_MESSAGES_MAX */
    size_t errors, warnings;
    /* private: */
    size_t capacity;
    struct arena *arena;
};

/* NULL if there is an error (`report` says which, and has all of them); warnings alone load. */
struct config *config_load(const char *path, const struct config_files *files,
                           struct config_report *report);
void config_free(struct config *config); /* NULL is accepted */
void config_report_deinit(struct config_report *report);

const struct global_settings *config_global(const struct config *config);

/* The first `host-name`; empty: not configured, the host's own name counts. */
struct bytes config_host_name(const struct config *config);

/* One `smtp-listener`, as a line or as a block. */
struct config_listener {
    struct address_range range; /* local addresses; 0/0 is every one, IPv4 and IPv6 */
    uint16_t port;
    struct listener_settings settings;
    struct setting_origin origin;
};

/* What include-headers-from puts before a message's header, in this order. */
enum config_headers {
    CONFIG_HEADERS_GLOBAL,
    CONFIG_HEADERS_POOL,
    CONFIG_HEADERS_OWN,
    CONFIG_HEADERS_COUNT,
};

/* One `<virtual-mta>`. Settings that it lacks are its pool's or the global ones, where such exist:
 * source_hosts, max_smtp_out, host_name. */
struct config_vmta {
    struct bytes name; /* as written first; compared without case */
    struct vmta_settings settings;
    struct setting_origin origin;
    uint32_t vmta_index;            /* place in config_vmtas; {default} is 0 */
    const struct config_pool *pool; /* whose <domain> blocks it inherits; NULL: none */
    struct vmta_origins origins;
    struct bytes headers[CONFIG_HEADERS_COUNT]; /* whole lines with CRLF, or empty */
    /* private: */
    uint32_t scope_id;
};

/* One `<virtual-mta-pool>`. */
struct config_pool {
    struct bytes name;
    struct pool_settings settings;
    struct setting_origin origin;
    struct pool_origins origins;
    /* private: */
    struct bytes headers;
    uint32_t scope_id;
    bool has_domains;
};

struct config_spool {
    struct bytes directory;
    struct spool_settings settings;
    struct setting_origin origin;
};

struct config_acct_file {
    struct bytes name; /* as written: the path, or "|" and the command */
    struct bytes path; /* or the command, if `is_pipe` */
    bool is_pipe;
    struct string_array words; /* of the command: the program's path first, then its arguments */
    struct acct_file_settings settings;
    struct setting_origin origin;
};

struct config_user {
    struct bytes name;
    struct user_settings settings;
    struct setting_origin origin;
};

/* One `<provider>`. */
struct config_provider {
    struct bytes name;
    struct provider_settings settings;
    struct setting_origin origin;
};

/* Each table in file order, with its length; NULL where it is empty. */
const struct config_listener *config_listeners(const struct config *config, size_t *count);
const struct config_vmta *config_vmtas(const struct config *config, size_t *count);
const struct config_pool *config_pools(const struct config *config, size_t *count);
const struct config_spool *config_spools(const struct config *config, size_t *count);
const struct config_acct_file *config_acct_files(const struct config *config, size_t *count);
const struct config_user *config_users(const struct config *config, size_t *count);
const struct config_provider *config_providers(const struct config *config, size_t *count);

/* By name, without case. {default} is always there: the global smtp-source-host and host-name, and
 * the global <domain> blocks. NULL: unknown. */
const struct config_vmta *config_vmta(const struct config *config, struct bytes name);
const struct config_pool *config_pool(const struct config *config, struct bytes name);
const struct config_user *config_user(const struct config *config, struct bytes name);
const struct config_provider *config_provider(const struct config *config, struct bytes name);

#endif
