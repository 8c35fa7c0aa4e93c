/* Any bytes as a configuration, and as a value of each type.
 *
 * Loading never crashes, and what loads can be resolved and explained. What a value prints as is a
 * value again, and prints the same. */
#include <stdlib.h>

#include "policy/access.h"
#include "policy/config.h"
#include "policy/directive.h"
#include "policy/explain.h"
#include "policy/pattern.h"

#define TEXT_LEN_MAX 65536

struct input {
    const uint8_t *data;
    size_t len;
};

static int on_read(void *owner, const char *path, struct bytes *out)
{
    const struct input *input = owner;
    char *copy = malloc(input->len + 1);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, input->data, input->len);
    *out = bytes_of(copy, input->len);
    return 0;
}

static int on_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
                   void *to)
{
    found(to, "/etc/other.conf");
    return 0;
}

static void on_line(void *to, const struct explain_line *line)
{
    size_t *total = to;
    *total += line->value.len + strlen(line->name);
}

static void explain_all(const struct config *config)
{
    size_t total = 0, count;
    struct explain_sink sink = {on_line, &total};
    const struct config_vmta *vmtas = config_vmtas(config, &count);
    struct address peer = {.family = ADDRESS_IPV4, .ip = {127, 0, 0, 1}};
    explain_global(config, &sink);
    explain_source(config, &peer, "a", &sink);
    for (size_t i = 0; i < count && i < 4; i++) {
        explain_vmta(config, &vmtas[i], &sink);
        explain_domain(config, &vmtas[i], BYTES("a.example.com"), &sink);
        explain_domain(config, &vmtas[i], BYTES("[127.0.0.1]"), &sink);
    }
}

static void load_whole(const uint8_t *data, size_t len)
{
    struct input input = {data, len};
    struct config_files files = {.owner = &input, .read = on_read, .glob = on_glob};
    struct config_report report = {0};
    struct config *config = config_load("/etc/main.conf", &files, &report);
    if ((config == NULL) != (report.errors > 0)) {
        abort();
    }
    if (config != NULL) {
        explain_all(config);
    }
    config_free(config);
    config_report_deinit(&report);
}

static bool parse(const struct value_source *source, union value *value)
{
    struct error error = {0};
    size_t offset = 0;
    bool fine = value_parse(source, value, &error, &offset) == 0;
    if (!fine && (error.text[0] == '\0' || offset > source->text.len)) {
        abort();
    }
    return fine;
}

/* The first two bytes choose the row of the directive table, the rest is its value. */
static void check_value(const uint8_t *data, size_t len)
{
    static char once[TEXT_LEN_MAX * 2], twice[TEXT_LEN_MAX * 2];
    size_t count;
    const struct directive *table = directive_table(&count);
    const struct directive *row = &table[(data[0] * 256u + data[1]) % count];
    struct arena *arena = arena_create(64u << 20);
    struct pattern_set patterns = {0};
    struct value_source source = {.type = row->type,
                                  .accepts = row->accepts,
                                  .text = bytes_trim(bytes_of((const char *)data + 2, len - 2)),
                                  .arena = arena,
                                  .patterns = &patterns};
    union value value;
    struct buffer first, second;
    bool has_value = row->kind == KIND_DIRECTIVE || row->kind == KIND_REPEATED;
    buffer_init(&first, once, sizeof(once));
    buffer_init(&second, twice, sizeof(twice));
    if (has_value && parse(&source, &value) &&
        value_print(row->type, row->accepts, &value, &first)) {
        source.text = buffer_bytes(&first);
        if (!parse(&source, &value) || !value_print(row->type, row->accepts, &value, &second) ||
            !bytes_equal(buffer_bytes(&first), buffer_bytes(&second))) {
            abort();
        }
    }
    arena_destroy(arena);
    pattern_set_deinit(&patterns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3 || len > TEXT_LEN_MAX) {
        return 0;
    }
    load_whole(data, len);
    if (memchr(data, '\0', len) == NULL && memchr(data, '\n', len) == NULL) {
        check_value(data, len);
    }
    return 0;
}
