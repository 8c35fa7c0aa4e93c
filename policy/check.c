/* What no block can know alone: names that are not there, things that exclude each other. */
#include <assert.h>
#include <string.h>

#include "base/arena.h"
#include "policy/acct_header.h"
#include "policy/acct_pipe.h"
#include "policy/acct_privacy.h"
#include "policy/acct_queue.h"
#include "policy/command.h"
#include "policy/load.h"
#include "smtp/path.h"
#include "smtp/sasl.h"

#define JOB_PREFIX_LEN_MAX 64 /* of the 128 bytes of a job id */

static bool accepts_reference(const struct config *config, const char *accepts, struct bytes name)
{
    size_t offset = 0;
    struct bytes text = bytes_from_string(accepts);
    while (offset < text.len) {
        ptrdiff_t blank = bytes_find(text, ' ', offset);
        size_t end = blank < 0 ? text.len : (size_t)blank;
        struct bytes item = bytes_slice(text, offset, end);
        offset = end + 1;
        if (item.len < 2 || item.data[0] != '<') {
            if (bytes_equal_nocase(item, name)) {
                return true;
            }
            continue;
        }
        const struct block_row *row = directive_find_block(bytes_slice(item, 1, item.len - 1));
        assert(row != NULL);
        bool reserved_source = row->scope == SCOPE_SOURCE && name.len > 0 && name.data[0] == '{';
        if (reserved_source || names_find(config, row->scope, name) != NULL) {
            return true;
        }
    }
    return false;
}

/* "<virtual-mta> or <virtual-mta-pool>" from the row's text; other words are left out. */
static void describe_kinds(const char *accepts, struct buffer *out)
{
    struct bytes text = bytes_from_string(accepts);
    for (size_t offset = 0; offset < text.len;) {
        ptrdiff_t blank = bytes_find(text, ' ', offset);
        size_t end = blank < 0 ? text.len : (size_t)blank;
        if (text.data[offset] == '<') {
            buffer_put_string(out, out->len > 0 ? " or " : "");
            buffer_put_bytes(out, bytes_slice(text, offset, end));
        }
        offset = end + 1;
    }
}

static void check_reference(struct loader *loader, const struct setting *setting, struct bytes name)
{
    const struct directive *directive = setting->directive;
    if (directive->accepts[0] == '\0' || name.len == 0 ||
        accepts_reference(loader->config, directive->accepts, name)) {
        return;
    }
    char memory[ERROR_TEXT_MAX / 4];
    struct buffer kinds;
    buffer_init(&kinds, memory, sizeof(memory));
    describe_kinds(directive->accepts, &kinds);
    report_error(loader->report, &setting->place, "%s: there is no %.*s named '%.*s'",
                 directive->name, BYTES_FMT(buffer_bytes(&kinds)), BYTES_FMT(name));
}

/* A pattern list is defined before the source that names it. */
static void check_order(struct loader *loader, const struct setting *setting, struct bytes name)
{
    const struct name_entry *entry = names_find(loader->config, SCOPE_PATTERN_LIST, name);
    if (strcmp(setting->directive->accepts, "<pattern-list>") == 0 && entry != NULL &&
        entry->block->order > setting->order) {
        report_error(loader->report, &setting->place,
                     "pattern-list '%.*s' is defined below, at %s:%u: define it before its use",
                     BYTES_FMT(name), entry->block->place.file, entry->block->place.line);
    }
}

/* Of the words of `type` not every one is in effect. */
static void check_type(struct loader *loader, const struct setting *setting)
{
    const uint32_t *type = setting->data;
    if (*type == QUEUE_HTTP) {
        report_warning(loader->report, &setting->place,
                       "type: http-delivery is not yet in effect, this mail goes by SMTP");
    }
}

/* What `file-format` of the same block says; an inherited one is not looked for. */
static bool is_mailbox(const struct block *block)
{
    for (const struct setting *s = block->first; s != NULL; s = s->next) {
        const uint32_t *format = s->data;
        if (strcmp(s->directive->name, "file-format") == 0 && *format == FILE_APPEND_MBOX) {
            return true;
        }
    }
    return false;
}

static void on_there(void *to, const char *path)
{
    *(bool *)to = path != NULL;
}

/* A directory that is missing may yet be made before the first mail comes. */
static void check_destination(struct loader *loader, const struct block *block,
                              const struct setting *setting)
{
    const struct bytes *path = setting->data;
    struct bytes directory = *path;
    while (is_mailbox(block) && directory.len > 0 && directory.data[--directory.len] != '/') {
    }
    char pattern[2 * ERROR_TEXT_MAX];
    struct buffer out;
    buffer_init(&out, pattern, sizeof pattern - 1);
    for (size_t i = 0; i < directory.len; i++) {
        if (strchr("*?[\\", directory.data[i]) != NULL) {
            buffer_put_char(&out, '\\');
        }
        buffer_put_char(&out, directory.data[i]);
    }
    bool fits = buffer_put_string(&out, "/."), there = false;
    pattern[out.len] = '\0';
    int result = loader->files->glob(loader->files->owner, pattern, on_there, &there);
    if (path->len > 0 && fits && result == 0 && !there) {
        report_warning(loader->report, &setting->place, "file-destination: no directory %.*s%s",
                       BYTES_FMT(directory), directory.len == 0 ? "/" : "");
    }
}

static void check_command(struct loader *loader, const struct setting *setting)
{
    const struct bytes *text = setting->data;
    struct error error = {0};
    struct arena *arena = arena_create(COMMAND_BYTES_MAX);
    if (text->len > 0 && arena != NULL &&
        command_words(*text, NULL, arena, NULL, &error) != COMMAND_READY) {
        report_error(loader->report, &setting->place, "command: %s", error.text);
    }
    arena_destroy(arena);
}

/* A job id is one printable word, and so is what stands before it. */
static void check_job_prefix(struct loader *loader, const struct setting *setting)
{
    const struct bytes *prefix = setting->data;
    bool word = prefix->len <= JOB_PREFIX_LEN_MAX;
    for (size_t i = 0; i < prefix->len; i++) {
        word = word && prefix->data[i] > ' ' && prefix->data[i] < 0x7f;
    }
    if (!word) {
        report_error(loader->report, &setting->place,
                     "jobid-prefix: one word of printable ASCII, at most %d bytes",
                     JOB_PREFIX_LEN_MAX);
    } else if (bytes_contains_nocase(*prefix, BYTES("{auth}"))) {
        report_error(loader->report, &setting->place,
                     "jobid-prefix: {auth} is not yet in effect, write a word");
    }
}

/* It must be a recipient that any host can take: only then no message is lost for its copy. */
static void check_bcc(struct loader *loader, const struct setting *setting)
{
    const struct bytes *address = setting->data;
    struct path path;
    if (address->len > 0 &&
        (path_parse_address(*address, &path) != PATH_OK || path.domain_len == 0 || path.utf8)) {
        report_error(loader->report, &setting->place,
                     "bcc: '%.*s' is no address that mail can be sent to without SMTPUTF8",
                     BYTES_FMT(*address));
    }
}

static void check_credential(struct loader *loader, const struct setting *setting)
{
    const struct bytes *text = setting->data;
    if (text->len > SASL_CREDENTIAL_MAX) {
        report_error(loader->report, &setting->place, "%s: at most %d bytes",
                     setting->directive->name, SASL_CREDENTIAL_MAX);
    }
}

/* Who is told of what the engine does: in the form that any host takes. */
static void check_notify(struct loader *loader, const struct setting *setting)
{
    const struct string_array *addresses = setting->data;
    for (size_t i = 0; i < addresses->count; i++) {
        struct path path;
        if (path_parse_address(addresses->items[i], &path) != PATH_OK || path.domain_len == 0 ||
            path.utf8) {
            report_error(loader->report, &setting->place,
                         "%s: '%.*s' is no address that mail can be sent to without SMTPUTF8",
                         setting->directive->name, BYTES_FMT(addresses->items[i]));
        }
    }
}

static void check_references(struct loader *loader, const struct block *block)
{
    for (const struct setting *s = block->first; s != NULL; s = s->next) {
        if (s->directive->scope == SCOPE_DOMAIN && s->directive->type == VALUE_WORD &&
            strcmp(s->directive->name, "type") == 0) {
            check_type(loader, s);
        } else if (strcmp(s->directive->name, "file-destination") == 0) {
            check_destination(loader, block, s);
        } else if (strcmp(s->directive->name, "command") == 0) {
            check_command(loader, s);
        } else if (strcmp(s->directive->name, "jobid-prefix") == 0) {
            check_job_prefix(loader, s);
        } else if (strcmp(s->directive->name, "bcc") == 0) {
            check_bcc(loader, s);
        } else if (strcmp(s->directive->name, "auth-username") == 0 ||
                   strcmp(s->directive->name, "auth-password") == 0) {
            check_credential(loader, s);
        } else if (strcmp(s->directive->name, "backoff-notify") == 0 ||
                   strcmp(s->directive->name, "disabled-source-ip-notify") == 0) {
            check_notify(loader, s);
        } else if (s->directive->kind == KIND_REPEATED && s->directive->type == VALUE_MEMBER) {
            const struct pool_member_array *members = s->data;
            for (size_t i = 0; i < members->count; i++) {
                check_reference(loader, s, members->items[i].name);
            }
        } else if (s->directive->type == VALUE_NAMES ||
                   (s->directive->type == VALUE_NAME && s->directive->kind == KIND_REPEATED)) {
            const struct string_array *names = s->data;
            for (size_t i = 0; i < names->count; i++) {
                check_reference(loader, s, names->items[i]);
            }
        } else if (s->directive->type == VALUE_REPLY_LIST) {
            const struct reply_list *list = s->data;
            check_reference(loader, s, list->name);
        } else if (s->directive->type == VALUE_NAME) {
            const struct bytes *name = s->data;
            check_reference(loader, s, *name);
            check_order(loader, s, *name);
        }
    }
}

static void check_rule(struct loader *loader, const struct rule *rule)
{
    struct place place = {.file = rule->origin.file, .line = rule->origin.line};
    for (size_t i = 0; i < rule->action_count; i++) {
        struct bytes name = rule->actions[i].name, value = rule->actions[i].value;
        if (rule->keyword == RULE_CATEGORY) {
            return;
        }
        if (bytes_equal_nocase(name, BYTES("virtual-mta")) &&
            !accepts_reference(loader->config, "<virtual-mta> <virtual-mta-pool>", value)) {
            report_error(loader->report, &place, "there is no virtual MTA or pool named '%.*s'",
                         BYTES_FMT(value));
        }
        if (bytes_equal_nocase(name, BYTES("recipient-priority"))) {
            report_warning(loader->report, &place, "recipient-priority is not yet in effect");
        }
        if (bytes_equal_nocase(name, BYTES("call-to")) &&
            !accepts_reference(loader->config, "<pattern-list>", value)) {
            report_error(loader->report, &place, "there is no <pattern-list> named '%.*s'",
                         BYTES_FMT(value));
        }
    }
}

/* One name space for virtual MTAs and pools, since messages choose from both. */
static void check_pool(struct loader *loader, const struct block *block)
{
    const struct config_pool *pool = block->object;
    if (pool->settings.members.count == 0) {
        report_error(loader->report, &block->place,
                     "pool '%.*s' has no virtual MTA: name one with virtual-mta",
                     BYTES_FMT(block->argument));
    }
    if (names_find(loader->config, SCOPE_VMTA, block->argument) != NULL) {
        report_error(loader->report, &block->place,
                     "'%.*s' is the name of a virtual MTA too: messages choose from both",
                     BYTES_FMT(block->argument));
    }
}

/* Which virtual MTA uses an address, or which listener a port. */
struct user_of_address {
    struct map_entry entry;
    struct address_range range;
    uint16_t port;
    struct bytes name;
    struct setting_origin origin;
};

static bool is_same_user(const struct map_entry *entry, const void *key)
{
    const struct user_of_address *a = (const struct user_of_address *)entry, *b = key;
    return a->port == b->port && a->range.prefix == b->range.prefix &&
           address_equal_ip(&a->range.base, &b->range.base);
}

/* The one that was there before, or NULL and this one is noted. */
static const struct user_of_address *note_user(struct loader *loader, struct map *users,
                                               const struct user_of_address *user)
{
    uint64_t hash = address_hash(&user->range.base) * 31 + user->range.prefix + user->port * 257u;
    struct map_entry *found = map_find(users, hash, is_same_user, user);
    if (found != NULL) {
        return (const struct user_of_address *)found;
    }
    struct user_of_address *copy = config_take(loader->config, sizeof(*copy));
    if (copy == NULL) {
        loader_no_memory(loader);
        return NULL;
    }
    *copy = *user;
    if (!map_insert(users, hash, &copy->entry)) {
        loader_no_memory(loader);
    }
    return NULL;
}

/* Receivers see one address greet with two names, and trust neither. */
static void check_shared_addresses(struct loader *loader)
{
    const struct config_vmta *vmtas = loader->config->vmtas.items;
    struct map users;
    map_init(&users, CONFIG_PATTERNS_MAX);
    for (size_t i = 0; i < loader->config->vmtas.count; i++) {
        const struct source_host_array *hosts = &vmtas[i].settings.source_hosts;
        for (size_t k = 0; k < hosts->count && vmtas[i].origin.file != NULL; k++) {
            struct bytes name = hosts->items[k].host_name;
            struct user_of_address user = {.range = hosts->items[k].range,
                                           .name =
                                               name.len > 0 ? name : vmtas[i].settings.host_name,
                                           .origin = vmtas[i].origins.source_hosts};
            const struct user_of_address *before = note_user(loader, &users, &user);
            if (before != NULL && !bytes_equal_nocase(before->name, user.name)) {
                char text[ADDRESS_TEXT_MAX];
                struct place place = {.file = user.origin.file, .line = user.origin.line};
                report_warning(loader->report, &place,
                               "%s greets as '%.*s' here and as '%.*s' at %s:%u",
                               value_range_text(&user.range, text), BYTES_FMT(user.name),
                               BYTES_FMT(before->name), before->origin.file, before->origin.line);
            }
        }
    }
    map_deinit(&users);
}

static void check_listeners(struct loader *loader)
{
    const struct config_listener *listeners = loader->config->listeners.items;
    struct map users;
    map_init(&users, CONFIG_PATTERNS_MAX);
    for (size_t i = 0; i < loader->config->listeners.count; i++) {
        struct user_of_address user = {
            .range = listeners[i].range, .port = listeners[i].port, .origin = listeners[i].origin};
        const struct user_of_address *before = note_user(loader, &users, &user);
        if (before != NULL) {
            char text[ADDRESS_TEXT_MAX];
            struct place place = {.file = user.origin.file, .line = user.origin.line};
            report_error(loader->report, &place, "%s port %u is listened on already, at %s:%u",
                         value_range_text(&user.range, text), (unsigned)user.port,
                         before->origin.file, before->origin.line);
        }
    }
    map_deinit(&users);
}

/* SO_REUSEPORT would give a listener's connections to the sink, and their mail would be lost. */
static void check_dummy_smtp(struct loader *loader)
{
    const struct global_settings *global = &loader->config->global_settings;
    const struct config_listener *listeners = loader->config->listeners.items;
    const struct address_range *sink = &global->dummy_smtp_ip;
    for (size_t i = 0; i < loader->config->listeners.count; i++) {
        const struct address_range *range = &listeners[i].range;
        bool every = sink->prefix == 0 || range->prefix == 0;
        if (global->dummy_smtp_port == listeners[i].port &&
            (every || address_range_holds(range, &sink->base) ||
             address_range_holds(sink, &range->base))) {
            struct place place = {.file = listeners[i].origin.file,
                                  .line = listeners[i].origin.line};
            report_error(loader->report, &place,
                         "dummy-smtp-port is this listener's too: its mail would be thrown away");
        }
    }
}

/* Few enough to compare each with each: more than this many spools make no sense. */
#define SPOOLS_MAX 64

static void check_spools(struct loader *loader)
{
    const struct config_spool *spools = loader->config->spools.items;
    size_t count = loader->config->spools.count, accepting = 0;
    for (size_t i = 0; i < count; i++) {
        struct place place = {.file = spools[i].origin.file, .line = spools[i].origin.line};
        if (i == SPOOLS_MAX) {
            report_error(loader->report, &place, "more than %d spools", SPOOLS_MAX);
            return;
        }
        for (size_t k = 0; k < i; k++) {
            if (bytes_equal(spools[i].directory, spools[k].directory)) {
                report_error(loader->report, &place, "spool %.*s stands at %s:%u already",
                             BYTES_FMT(spools[i].directory), spools[k].origin.file,
                             spools[k].origin.line);
            }
        }
        accepting += spools[i].settings.deliver_only ? 0 : 1;
    }
    if (count > 0 && accepting == 0) {
        struct place place = {.file = spools[0].origin.file, .line = spools[0].origin.line};
        report_error(loader->report, &place,
                     "every spool is deliver-only: one without it must take new mail");
    }
}

static void check_acct_files(struct loader *loader)
{
    struct acct_headers headers;
    struct error of_headers;
    const struct config_acct_file *files = loader->config->acct_files.items;
    for (size_t i = 0; i < loader->config->acct_files.count; i++) {
        struct place place = {.file = files[i].origin.file, .line = files[i].origin.line};
        struct acct_queue_filter filter;
        struct error error;
        if (acct_queue_filter_parse(&files[i].settings.queue_filter, &filter, &error) < 0) {
            report_error(loader->report, &place, "%s", error.text);
        }
        struct acct_privacy privacy;
        if (acct_privacy_parse(&files[i].settings.privacy_policy, &privacy, &error) < 0) {
            report_error(loader->report, &place, "%s", error.text);
        }
        struct acct_header_map maps[ACCT_HEADERS_MAX];
        if (acct_header_maps(&files[i].settings, maps, &error) < 0) {
            report_error(loader->report, &place, "%s", error.text);
            return;
        }
    }
    if (acct_headers_init(&headers, loader->config, &of_headers) < 0) {
        struct place place = {.file = files[0].origin.file, .line = files[0].origin.line};
        report_error(loader->report, &place, "%s", of_headers.text);
    }
}

void check_config(struct loader *loader)
{
    check_references(loader, &loader->config->global);
    for (const struct block *b = loader->config->first_block; b != NULL; b = b->next) {
        check_references(loader, b);
        for (const struct rule *rule = b->first_rule; rule != NULL; rule = rule->next) {
            check_rule(loader, rule);
        }
        if (b->scope == SCOPE_POOL) {
            check_pool(loader, b);
        } else if (b->scope == SCOPE_ACCT_FILE) {
            acct_pipe_check(loader, b);
        }
    }
    check_shared_addresses(loader);
    check_listeners(loader);
    check_dummy_smtp(loader);
    check_spools(loader);
    check_acct_files(loader);
    if (loader->report->errors == 0) { /* they are followed through finished settings */
        check_destinations(loader);
        load_rollups(loader);
    }
}
