/* What stands in files of its own beside the configuration: passwords, certificates, keys. */
#include <assert.h>
#include <stdlib.h>

#include "base/crypto_pem.h"
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

/* False: that is reported. The bytes are from malloc. */
static bool read_file(struct loader *loader, const struct setting *setting, const char *path,
                      struct bytes *text)
{
    int status = loader->files->read(loader->files->owner, path, text);
    if (status < 0) {
        report_error(loader->report, &setting->place, "%s: cannot read %s: %s",
                     setting->directive->name, path, strerror(-status));
    }
    return status == 0;
}

static void free_secret(struct bytes text)
{
    explicit_bzero((void *)(uintptr_t)text.data, text.len);
    free((void *)(uintptr_t)text.data);
}

/* True: everybody may read it, which is reported. */
static bool is_public(struct loader *loader, const struct setting *setting, const char *path)
{
    const struct config_files *files = loader->files;
    if (files->is_public == NULL || !files->is_public(files->owner, path)) {
        return false;
    }
    report_error(loader->report, &setting->place, "%s: everybody may read or write %s: chmod o= it",
                 setting->directive->name, path);
    return true;
}

static void report_wrong(struct loader *loader, const struct setting *setting, const char *path,
                         const char *wrong)
{
    report_error(loader->report, &setting->place, "%s: %s %s", setting->directive->name, path,
                 wrong);
}

void load_password_file(struct loader *loader, struct block *block, const struct setting *setting)
{
    const struct bytes *path = setting->data;
    struct bytes text, password;
    if (path->len == 0 || is_public(loader, setting, path->data) ||
        !read_file(loader, setting, path->data, &text)) {
        return;
    }
    const char *wrong = take_password(text, &password);
    union value value = {.SECRET = {NULL, 0}};
    if (wrong != NULL) {
        report_wrong(loader, setting, path->data, wrong);
    } else {
        value.SECRET = arena_copy(loader->config->arena, password);
    }
    free_secret(text);
    if (value.SECRET.data != NULL) {
        const struct directive *directive =
            directive_find(&loader->config->index, block->scope, BYTES("auth-password"));
        assert(directive != NULL);
        load_keep(loader, block, directive, &value, &setting->place);
    } else if (wrong == NULL) {
        loader_no_memory(loader);
    }
}

void load_check_certificate(struct loader *loader, const struct setting *setting)
{
    const struct certificate *value = setting->data;
    const char *path = value->path.data;
    struct bytes text;
    if (value->path.len == 0 ||
        (value->password.len == 0 && bytes_equal(value->path, loader->checked_certificate)) ||
        (value->password.len == 0 && is_public(loader, setting, path)) ||
        !read_file(loader, setting, path, &text)) {
        return;
    }
    const char *wrong = crypto_pem_check_pair(text, value->password);
    free_secret(text);
    if (wrong != NULL) {
        report_wrong(loader, setting, path, wrong);
    } else if (value->password.len == 0) {
        loader->checked_certificate = value->path;
    }
}

void load_check_authorities(struct loader *loader, const struct setting *setting)
{
    const struct bytes *path = setting->data;
    struct bytes text;
    if (path->len == 0 || bytes_equal(*path, loader->checked_authorities) ||
        !read_file(loader, setting, path->data, &text)) {
        return;
    }
    const char *wrong = crypto_pem_check_authorities(text);
    free((void *)(uintptr_t)text.data);
    if (wrong != NULL) {
        report_wrong(loader, setting, path->data, wrong);
    } else {
        loader->checked_authorities = *path;
    }
}
