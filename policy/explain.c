#include "policy/explain.h"

#include "policy/config_private.h"

#define EXPLAIN_VALUE_LEN_MAX 65536

/* Settings of one scope, and where to tell them. */
struct telling {
    enum directive_scope scope;
    const char *settings, *origins;
    const struct explain_sink *sink;
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
        memcpy(&origin, telling->origins + table[i].origin_offset, sizeof(origin));
        buffer_init(&text, memory, sizeof(memory));
        print_field(&table[i], telling->settings + table[i].offset, &text);
        struct explain_line line = {.name = table[i].name,
                                    .value = buffer_bytes(&text),
                                    .file = origin.file,
                                    .line = origin.line,
                                    .in_effect = table[i].effect == EFFECT_YES};
        telling->sink->on_line(telling->sink->to, &line);
    }
}

void explain_domain(const struct config *config, const struct config_vmta *vmta,
                    struct bytes domain, const struct explain_sink *sink)
{
    const struct resolved *resolved = domain_resolve(config, vmta, domain);
    tell(&(struct telling){SCOPE_DOMAIN, resolved->settings, resolved->origins, sink});
}

void explain_vmta(const struct config *config, const struct config_vmta *vmta,
                  const struct explain_sink *sink)
{
    const struct config_vmta *whose = vmta != NULL ? vmta : config_vmta(config, BYTES("{default}"));
    tell(&(struct telling){SCOPE_VMTA, (const char *)&whose->settings,
                           (const char *)&whose->origins, sink});
}

void explain_source(const struct config *config, const struct address *peer,
                    const char *source_name, const struct explain_sink *sink)
{
    const struct resolved *resolved = source_resolve(config, peer, source_name);
    tell(&(struct telling){SCOPE_SOURCE, resolved->settings, resolved->origins, sink});
}

void explain_global(const struct config *config, const struct explain_sink *sink)
{
    tell(&(struct telling){SCOPE_GLOBAL, (const char *)&config->global_settings,
                           (const char *)&config->global_origins, sink});
}
