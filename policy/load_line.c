/* One directive line: which row it is, whether it may stand here, its value. */
#include <assert.h>

#include "policy/load.h"

/* Asks once per name, whatever the block. True: the warning is still to be given. */
static bool warn_once(struct loader *loader, const struct directive *directive)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    const struct directive *first =
        directive_find_anywhere(&loader->config->index, bytes_from_string(directive->name));
    assert(first != NULL);
    bool *warned = &loader->warned[first - table];
    bool is_first = !*warned;
    *warned = true;
    return is_first;
}

void load_warn_effect(struct loader *loader, const struct directive *directive)
{
    if (directive->effect == EFFECT_YES || !warn_once(loader, directive)) {
        return;
    }
    struct place place = loader_place(loader, NULL);
    if (directive->effect == EFFECT_LEGACY) {
        report_warning(loader->report, &place, "'%s' has no effect: %s", directive->name,
                       directive->help);
    } else {
        report_warning(loader->report, &place, "'%s' is not yet in effect%s%s", directive->name,
                       directive_works_elsewhere(directive) ? " in " : "",
                       directive_works_elsewhere(directive) ? directive_scope_text(directive->scope)
                                                            : "");
    }
}

static void report_unknown(struct loader *loader, struct bytes name)
{
    struct place place = loader_place(loader, NULL);
    const struct block *block = loader_block(loader);
    const struct directive *elsewhere = directive_find_anywhere(&loader->config->index, name);
    if (elsewhere == NULL) {
        elsewhere = directive_find_wildcard(name);
    }
    int shown = (int)(name.len > 100 ? 100 : name.len);
    if (elsewhere != NULL && elsewhere->kind == KIND_LEGACY) {
        load_warn_effect(loader, elsewhere); /* of no effect, so of no harm here either */
        return;
    }
    if (elsewhere != NULL) {
        char text[ERROR_TEXT_MAX / 2];
        struct buffer scopes;
        buffer_init(&scopes, text, sizeof(text));
        directive_describe_scopes(name, &scopes);
        report_error(loader->report, &place, "'%.*s' is not allowed in %s: it belongs in %.*s",
                     shown, name.data, directive_scope_text(block->scope),
                     BYTES_FMT(buffer_bytes(&scopes)));
        return;
    }
    const char *near =
        report_has_room(loader->report) ? directive_suggest(block->scope, name) : NULL;
    if (near != NULL) {
        report_error(loader->report, &place, "unknown directive '%.*s' (did you mean '%s'?)", shown,
                     name.data, near);
    } else {
        report_error(loader->report, &place, "unknown directive '%.*s'", shown, name.data);
    }
}

/* "{{name}}" or QQQnameQQQ: what deployment tools leave behind where nothing was filled in. */
static const char *find_template_token(struct bytes text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] == '{' && text.data[i + 1] == '{') {
            return text.data + i;
        }
        if (i + 2 < text.len && memcmp(text.data + i, "QQQ", 3) == 0) {
            for (size_t k = i + 3; k + 3 <= text.len; k++) {
                if (memcmp(text.data + k, "QQQ", 3) == 0) {
                    return text.data + i;
                }
            }
        }
    }
    return NULL;
}

bool load_has_template_token(struct loader *loader, struct bytes text)
{
    const char *token = text.len > 0 && text.data[0] != '"' ? find_template_token(text) : NULL;
    if (token == NULL) {
        return false;
    }
    struct place place = loader_place(loader, token);
    size_t left = (size_t)(text.data + text.len - token);
    report_error(loader->report, &place,
                 "'%.*s' looks like a template token that was not filled in",
                 (int)(left > 40 ? 40 : left), token);
    return true;
}

struct setting *load_keep(struct loader *loader, struct block *block,
                          const struct directive *directive, const union value *value,
                          const struct place *place)
{
    size_t size = value_size(directive->type);
    struct setting *setting = config_take(loader->config, sizeof(*setting));
    void *data = config_take(loader->config, size);
    if (setting == NULL || data == NULL) {
        loader_no_memory(loader);
        return NULL;
    }
    memcpy(data, value, size);
    *setting = (struct setting){
        .directive = directive, .data = data, .place = *place, .order = loader->order};
    *block->last = setting;
    block->last = &setting->next;
    return setting;
}

/* What a setting of <domain> names: files that are needed at once, or must be good. */
static void load_files_of(struct loader *loader, struct block *block, const struct setting *setting)
{
    const char *name = setting->directive->name;
    if (strcmp(name, "auth-password-file") == 0) {
        load_password_file(loader, block, setting);
    } else if (strcmp(name, "smtp-client-certificate") == 0) {
        load_check_certificate(loader, setting);
    } else if (strcmp(name, "smtp-tls-ca-file") == 0) {
        load_check_authorities(loader, setting);
    }
}

void load_setting(struct loader *loader, struct block *block, const struct directive *directive,
                  struct bytes text, const char *at)
{
    struct config *config = loader->config;
    struct value_source source = {.type = directive->type,
                                  .accepts = directive->accepts,
                                  .text = text,
                                  .arena = config->arena,
                                  .patterns = &config->patterns};
    union value value;
    struct error error;
    size_t offset;
    if (load_has_template_token(loader, text)) {
        return;
    }
    if (value_parse(&source, &value, &error, &offset) < 0) {
        const char *where = at != NULL ? at : text.data + offset;
        struct place place = loader_place(loader, text.data != NULL ? where : NULL);
        report_error(loader->report, &place, "%s: %s", directive->name, error.text);
        return;
    }
    struct place place = loader_place(loader, at != NULL ? at : text.data);
    struct setting *setting = load_keep(loader, block, directive, &value, &place);
    if (setting != NULL && directive->scope == SCOPE_DOMAIN) {
        load_files_of(loader, block, setting);
    }
}

static void load_special(struct loader *loader, const struct directive *directive)
{
    switch (directive->special) {
    case SPECIAL_INCLUDE:
        load_include(loader);
        break;
    case SPECIAL_MACRO:
        macro_define(loader);
        break;
    case SPECIAL_SPOOL:
        load_spool_line(loader);
        break;
    case SPECIAL_LISTENER:
        load_listener_line(loader);
        break;
    case SPECIAL_RULE:
        load_rule(loader);
        break;
    }
}

/* A deprecated spelling: the value, put between two texts, is the newer directive's. */
static void load_alias(struct loader *loader, const struct directive *alias)
{
    struct bytes value = loader->line.value;
    const struct directive *target =
        directive_find(&loader->config->index, alias->scope, bytes_from_string(alias->target));
    assert(target != NULL);
    struct place place = loader_place(loader, NULL);
    if (warn_once(loader, alias)) {
        report_warning(loader->report, &place, "'%s' is a deprecated spelling: write '%s %s%s%s'",
                       alias->name, alias->target, alias->before,
                       alias->before[0] != '\0' || alias->behind[0] != '\0' ? "N" : "...",
                       alias->behind);
    }
    load_warn_effect(loader, target);
    size_t before_len = strlen(alias->before), behind_len = strlen(alias->behind);
    if (before_len + behind_len == 0) {
        load_setting(loader, loader_block(loader), target, value, NULL);
        return;
    }
    char *text = config_take(loader->config, before_len + value.len + behind_len + 1);
    if (text == NULL) {
        loader_no_memory(loader);
        return;
    }
    memcpy(text, alias->before, before_len);
    memcpy(text + before_len, value.data, value.len);
    memcpy(text + before_len + value.len, alias->behind, behind_len);
    load_setting(loader, loader_block(loader), target,
                 bytes_of(text, before_len + value.len + behind_len), value.data);
}

void load_directive(struct loader *loader)
{
    struct block *block = loader_block(loader);
    if (block->scope == SCOPE_IGNORED) {
        return;
    }
    if (block->scope == SCOPE_BOUNCE_PATTERNS) {
        load_rule(loader); /* a rule begins with its regex: there is no keyword */
        return;
    }
    const struct directive *directive =
        directive_find(&loader->config->index, block->scope, loader->line.name);
    if (directive == NULL) {
        report_unknown(loader, loader->line.name);
        return;
    }
    switch (directive->kind) {
    case KIND_DIRECTIVE:
    case KIND_REPEATED:
        load_warn_effect(loader, directive);
        load_setting(loader, block, directive, loader->line.value, NULL);
        break;
    case KIND_SPECIAL:
        load_warn_effect(loader, directive);
        load_special(loader, directive);
        break;
    case KIND_ALIAS:
        load_alias(loader, directive);
        break;
    case KIND_LEGACY:
        load_warn_effect(loader, directive);
        break;
    }
}
