#include "policy/explain.h"

#include "policy/config_private.h"

#define EXPLAIN_VALUE_LEN_MAX 65536

/* Settings of one scope, and where to tell them. */
struct telling {
    enum directive_scope scope;
    const char *settings, *origins;
    const struct explain_sink *sink;
    const struct resolved *resolved; /* NULL: of one block, which overrides nothing */
};

/* Settings of one directive, the last one being in force. */
struct found {
    const struct setting *settings[EXPLAIN_OVERRIDDEN_MAX + 1];
    size_t count;
};

static bool print_field(const struct directive *directive, const char *field, struct buffer *out)
{
    union value value = {0};
    if (directive->type == VALUE_SECRET) {
        return buffer_put_string(out, "***");
    }
    if (directive->type == VALUE_CERTIFICATE) {
        struct certificate certificate;
        memcpy(&certificate, field, sizeof(certificate));
        buffer_put_bytes(out, certificate.path);
        return certificate.password.len == 0 || buffer_put_string(out, " ***");
    }
    if (directive->kind == KIND_DIRECTIVE) {
        memcpy(&value, field, directive->size);
        return value_print(directive->type, directive->accepts, &value, out);
    }
    struct value_array array;
    memcpy(&array, field, sizeof(array));
    size_t size = value_size(directive->type);
    for (size_t i = 0; i < array.count; i++) {
        if (i > 0) {
            buffer_put_string(out, " | ");
        }
        memcpy(&value, (const char *)array.items + i * size, size);
        if (!value_print(directive->type, directive->accepts, &value, out)) {
            return false;
        }
    }
    return true;
}

static void found_add(struct found *found, const struct setting *setting)
{
    if (found->count == EXPLAIN_OVERRIDDEN_MAX + 1) {
        memmove(found->settings, found->settings + 1,
                EXPLAIN_OVERRIDDEN_MAX * sizeof found->settings[0]);
        found->count--;
    }
    found->settings[found->count++] = setting;
}

static void find_in_block(const struct block *block, const struct directive *directive,
                          struct found *found)
{
    for (const struct setting *s = block->first; s != NULL; s = s->next) {
        if (s->directive == directive) {
            found_add(found, s);
        }
    }
}

/* In the order in which matches_resolve applies them. */
static void find_settings(const struct resolved *resolved, const struct directive *directive,
                          struct found *found)
{
    found->count = 0;
    for (size_t i = 0; resolved != NULL && i < resolved->match_count; i++) {
        const struct matched_block *m = resolved->matches[i]->by_macro;
        for (; m != NULL; m = m->next) {
            find_in_block(m->block, directive, found);
        }
        for (m = resolved->matches[i]->literal; m != NULL; m = m->next) {
            find_in_block(m->block, directive, found);
        }
    }
}

/* Fills in all but the last of what was found; values lie in `text`. */
static size_t print_overridden(const struct found *found, const struct directive *directive,
                               struct buffer *text, struct explain_overridden *out)
{
    size_t count = found->count > 0 ? found->count - 1 : 0;
    for (size_t i = 0; i < count; i++) {
        const struct setting *setting = found->settings[i];
        size_t begin = buffer_bytes(text).len;
        print_field(directive, setting->data, text);
        struct bytes all = buffer_bytes(text);
        out[i] = (struct explain_overridden){.value = bytes_slice(all, begin, all.len),
                                             .file = setting->place.file,
                                             .line = setting->place.line};
    }
    return count;
}

static void tell(const struct telling *telling)
{
    size_t count;
    const struct directive *table = directive_table(&count);
    char memory[EXPLAIN_VALUE_LEN_MAX];
    for (size_t i = 0; i < count; i++) {
        bool has_field = table[i].kind == KIND_DIRECTIVE || table[i].kind == KIND_REPEATED;
        if (table[i].scope != telling->scope || !has_field) {
            continue;
        }
        struct setting_origin origin;
        struct buffer text;
        struct found found;
        struct explain_overridden overridden[EXPLAIN_OVERRIDDEN_MAX];
        memcpy(&origin, telling->origins + table[i].origin_offset, sizeof(origin));
        buffer_init(&text, memory, sizeof(memory));
        print_field(&table[i], telling->settings + table[i].offset, &text);
        struct bytes value = buffer_bytes(&text);
        find_settings(telling->resolved, &table[i], &found);
        struct explain_line line = {.name = table[i].name,
                                    .value = value,
                                    .file = origin.file,
                                    .line = origin.line,
                                    .in_effect = table[i].effect == EFFECT_YES,
                                    .overridden_count =
                                        print_overridden(&found, &table[i], &text, overridden),
                                    .overridden = overridden};
        telling->sink->on_line(telling->sink->to, &line);
    }
}

void explain_domain(const struct config *config, const struct config_vmta *vmta,
                    struct bytes domain, const struct explain_sink *sink)
{
    const struct resolved *resolved = domain_resolve(config, vmta, domain);
    tell(&(struct telling){SCOPE_DOMAIN, resolved->settings, resolved->origins, sink, resolved});
}

void explain_vmta(const struct config *config, const struct config_vmta *vmta,
                  const struct explain_sink *sink)
{
    const struct config_vmta *whose = vmta != NULL ? vmta : config_vmta(config, BYTES("{default}"));
    tell(&(struct telling){SCOPE_VMTA, (const char *)&whose->settings,
                           (const char *)&whose->origins, sink, NULL});
}

void explain_source(const struct config *config, const struct address *peer,
                    const char *source_name, const struct explain_sink *sink)
{
    const struct resolved *resolved = source_resolve(config, peer, source_name);
    tell(&(struct telling){SCOPE_SOURCE, resolved->settings, resolved->origins, sink, resolved});
}

void explain_global(const struct config *config, const struct explain_sink *sink)
{
    tell(&(struct telling){SCOPE_GLOBAL, (const char *)&config->global_settings,
                           (const char *)&config->global_origins, sink, NULL});
}
