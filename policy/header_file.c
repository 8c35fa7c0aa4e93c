#include "policy/header_file.h"

#include <assert.h>
#include <stdlib.h>

#include "policy/load.h"

/* RFC 5322 3.6.8. A dot in front would need doubling on the wire, and no field has one. */
static bool is_field(struct bytes line)
{
    ptrdiff_t colon = bytes_find(line, ':', 0);
    if (colon <= 0 || line.data[0] == '.') {
        return false;
    }
    for (ptrdiff_t i = 0; i < colon; i++) {
        if (line.data[i] <= ' ' || line.data[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_printable(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.data[i];
        if ((c < ' ' && c != '\t') || c >= 0x7f) {
            return false;
        }
    }
    return true;
}

static const char *line_problem(struct bytes line, bool first)
{
    bool goes_on = line.data[0] == ' ' || line.data[0] == '\t';
    if (!is_printable(line)) {
        return "a header holds printable ASCII only";
    }
    if (line.len > HEADER_FILE_LINE_MAX) {
        return "this line is too long for a header";
    }
    if (goes_on ? first : !is_field(line)) {
        return "this is no header field: write Name: value";
    }
    return NULL;
}

const char *header_file_put(struct bytes text, struct buffer *out, uint32_t *line)
{
    bool first = true;
    *line = 0;
    for (size_t at = 0; at < text.len;) {
        ptrdiff_t newline = bytes_find(text, '\n', at);
        size_t end = newline < 0 ? text.len : (size_t)newline;
        struct bytes content = bytes_slice(text, at, end);
        at = end + 1;
        ++*line;
        if (content.len > 0 && content.data[content.len - 1] == '\r') {
            content.len--;
        }
        if (bytes_trim(content).len == 0) {
            continue;
        }
        const char *problem = line_problem(content, first);
        if (problem != NULL) {
            return problem;
        }
        first = false;
        if (!buffer_put_bytes(out, content) || !buffer_put_string(out, "\r\n")) {
            return "the headers to include are too large";
        }
    }
    return NULL;
}

/* ---- loading ---- */

static void read_file(struct loader *loader, struct bytes path, const struct place *place,
                      struct buffer *out)
{
    struct bytes text = {NULL, 0};
    path = load_resolve_path(loader, place->file, path);
    struct place at = {.file = path.data, .column = 1};
    if (path.data == NULL) {
        loader_no_memory(loader);
        return;
    }
    if (load_read_file(loader, path, place, &text)) {
        const char *problem = header_file_put(text, out, &at.line);
        if (problem != NULL) {
            report_error(loader->report, &at, "%s", problem);
        }
    }
    free((void *)(uintptr_t)text.data);
}

/* The lines of the files that the block names, in their order. */
static struct bytes headers_of(struct loader *loader, const struct block *block)
{
    char memory[HEADER_FILE_BYTES_MAX];
    struct buffer out;
    buffer_init(&out, memory, sizeof(memory));
    for (const struct setting *s = block->first; s != NULL; s = s->next) {
        if (strcmp(s->directive->name, "include-headers-from") == 0) {
            const struct string_array *paths = s->data;
            for (size_t i = 0; i < paths->count; i++) {
                read_file(loader, paths->items[i], &s->place, &out);
            }
        }
    }
    struct bytes kept = arena_copy(loader->config->arena, buffer_bytes(&out));
    if (kept.data == NULL) {
        loader_no_memory(loader);
        return BYTES("");
    }
    return kept;
}

void load_header_files(struct loader *loader)
{
    struct config *config = loader->config;
    struct bytes global = headers_of(loader, &config->global);
    for (const struct block *b = config->first_block; b != NULL; b = b->next) {
        if (b->scope == SCOPE_POOL) {
            ((struct config_pool *)b->object)->headers = headers_of(loader, b);
        } else if (b->scope == SCOPE_VMTA) {
            ((struct config_vmta *)b->object)->headers[CONFIG_HEADERS_OWN] = headers_of(loader, b);
        }
    }
    struct config_vmta *vmtas = config->vmtas.items;
    for (size_t i = 0; i < config->vmtas.count; i++) {
        const struct config_pool *pool = vmtas[i].pool;
        vmtas[i].headers[CONFIG_HEADERS_GLOBAL] = global;
        vmtas[i].headers[CONFIG_HEADERS_POOL] = pool == NULL ? BYTES("") : pool->headers;
    }
}
