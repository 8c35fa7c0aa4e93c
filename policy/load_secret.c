/* Secrets that stand in files of their own. */
#include <assert.h>
#include <stdlib.h>

#include "policy/load.h"
#include "smtp/sasl.h"

/* The first line, without its end; the rest must be empty. */
static bool take_only_line(struct bytes text, struct bytes *line)
{
    ptrdiff_t end = bytes_find(text, '\n', 0);
    size_t len = end < 0 ? text.len : (size_t)end;
    bool only = end < 0 || (size_t)end + 1 == text.len;
    len -= len > 0 && text.data[len - 1] == '\r' ? 1 : 0;
    *line = bytes_slice(text, 0, len);
    return only && len > 0 && len <= SASL_CREDENTIAL_MAX;
}

/* NULL, or what is wrong with it. */
static const char *take_password(struct bytes text, struct bytes *password)
{
    if (!take_only_line(text, password)) {
        return "must hold one line, of 1 to 255 bytes";
    }
    return bytes_find(*password, '\0', 0) >= 0 ? "has a NUL in it" : NULL;
}

static void read_password(struct loader *loader, struct block *block, const struct place *place,
                          const char *path)
{
    struct bytes text, password;
    int status = loader->files->read(loader->files->owner, path, &text);
    if (status < 0) {
        report_error(loader->report, place, "auth-password-file: cannot read %s: %s", path,
                     strerror(-status));
        return;
    }
    const char *wrong = take_password(text, &password);
    union value value = {.SECRET = {NULL, 0}};
    if (wrong != NULL) {
        report_error(loader->report, place, "auth-password-file: %s %s", path, wrong);
    } else {
        value.SECRET = arena_copy(loader->config->arena, password);
    }
    explicit_bzero((void *)(uintptr_t)text.data, text.len);
    free((void *)(uintptr_t)text.data);
    if (value.SECRET.data != NULL) {
        const struct directive *directive =
            directive_find(&loader->config->index, block->scope, BYTES("auth-password"));
        assert(directive != NULL);
        load_keep(loader, block, directive, &value, place);
    } else if (wrong == NULL) {
        loader_no_memory(loader);
    }
}

void load_password_file(struct loader *loader, struct block *block, const struct setting *setting)
{
    const struct bytes *path = setting->data;
    const struct config_files *files = loader->files;
    if (path->len == 0) {
        return;
    }
    if (files->is_public != NULL && files->is_public(files->owner, path->data)) {
        report_error(loader->report, &setting->place,
                     "auth-password-file: everybody may read or write %s: chmod o= it", path->data);
        return;
    }
    read_password(loader, block, &setting->place, path->data);
}
