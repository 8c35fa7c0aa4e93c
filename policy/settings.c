/* Values into settings. */
#include "policy/settings.h"

#include <assert.h>

#include "policy/config_private.h"

void settings_apply(const struct block *block, void *settings, void *origins)
{
    for (const struct setting *setting = block->first; setting != NULL; setting = setting->next) {
        const struct directive *directive = setting->directive;
        memcpy((char *)settings + directive->offset, setting->data, directive->size);
        *(struct setting_origin *)((char *)origins + directive->origin_offset) =
            (struct setting_origin){.file = setting->place.file, .line = setting->place.line};
    }
}

static bool is_text(enum value_type type)
{
    return type == VALUE_STRING || type == VALUE_TEXT || type == VALUE_SECRET ||
           type == VALUE_PATH || type == VALUE_HOST || type == VALUE_NAME || type == VALUE_MAILBOX;
}

static bool put_default(struct config *config, const struct directive *directive, char *settings)
{
    struct value_source source = {.type = directive->type,
                                  .accepts = directive->accepts,
                                  .text = bytes_from_string(directive->default_text),
                                  .arena = config->arena,
                                  .patterns = &config->patterns};
    union value value = {0};
    struct error error;
    size_t offset;
    if (directive->kind == KIND_REPEATED) {
        return true;
    }
    if (source.text.len > 0 && value_parse(&source, &value, &error, &offset) < 0) {
        return false;
    }
    if (source.text.len == 0 && is_text(directive->type)) {
        value.STRING = BYTES("");
    }
    if (source.text.len == 0 && directive->type == VALUE_REPLY_LIST) {
        value.REPLY_LIST.name = BYTES("");
    }
    if (source.text.len == 0 && directive->type == VALUE_CERTIFICATE) {
        value.CERTIFICATE = (struct certificate){.path = BYTES(""), .password = BYTES("")};
    }
    memcpy(settings + directive->offset, &value, directive->size);
    return true;
}

bool settings_make_defaults(struct config *config)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    char *made[SCOPE_COUNT] = {0};
    for (int scope = 0; scope < SCOPE_COUNT; scope++) {
        size_t size = directive_settings_size((enum directive_scope)scope);
        made[scope] = size == 0 ? NULL : config_take(config, size);
        if (size > 0 && made[scope] == NULL) {
            return false;
        }
        config->defaults[scope] = made[scope];
    }
    for (size_t i = 0; i < count; i++) {
        bool has_field = table[i].kind == KIND_DIRECTIVE || table[i].kind == KIND_REPEATED;
        if (has_field && !put_default(config, &table[i], made[table[i].scope])) {
            return false;
        }
    }
    return true;
}

/* How a repeated directive's values are collected while one block is gone through. */
struct gathering {
    size_t count;
    char *items;
    struct setting *first;
};

static bool gather_into(struct config *config, struct gathering *gathering, struct setting *setting)
{
    size_t size = value_size(setting->directive->type);
    if (gathering->items == NULL) {
        gathering->items = config_take(config, gathering->count * size);
        if (gathering->items == NULL) {
            return false;
        }
        gathering->first = setting;
        gathering->count = 0;
    }
    memcpy(gathering->items + gathering->count * size, setting->data, size);
    gathering->count++;
    return true;
}

/* The first of the repeated settings becomes the array; the others leave the list. */
static bool close_gathering(struct config *config, struct gathering *gathering)
{
    struct value_array *array = config_take(config, sizeof(*array));
    if (array == NULL) {
        return false;
    }
    assert(gathering->first->directive->size == sizeof(*array));
    *array = (struct value_array){.items = gathering->items, .count = gathering->count};
    gathering->first->data = array;
    return true;
}

bool settings_gather(struct config *config, struct block *block)
{
    size_t table_count;
    const struct directive *table = directive_table(&table_count);
    static const struct gathering nothing;
    struct gathering gatherings[DIRECTIVE_INDEX_SLOTS];
    for (struct setting *s = block->first; s != NULL; s = s->next) {
        gatherings[s->directive - table] = nothing;
    }
    for (struct setting *s = block->first; s != NULL; s = s->next) {
        gatherings[s->directive - table].count++;
    }
    struct setting **link = &block->first;
    while (*link != NULL) {
        struct setting *setting = *link;
        struct gathering *gathering = &gatherings[setting->directive - table];
        if (setting->directive->kind != KIND_REPEATED) {
            link = &setting->next;
            continue;
        }
        if (!gather_into(config, gathering, setting)) {
            return false;
        }
        if (gathering->first == setting) {
            link = &setting->next;
        } else {
            *link = setting->next;
        }
    }
    for (struct setting *s = block->first; s != NULL; s = s->next) {
        if (s->directive->kind == KIND_REPEATED &&
            !close_gathering(config, &gatherings[s->directive - table])) {
            return false;
        }
    }
    block->last = link;
    return true;
}
