/* Reading files: the stack of includes, and lines handed to those who know them. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "policy/load.h"

struct place loader_place(const struct loader *loader, const char *at)
{
    const struct frame *frame = &loader->frames[loader->frame_count - 1];
    return (struct place){
        .file = frame->file,
        .line = loader->line.line,
        .column = syntax_column(&loader->line, at != NULL ? at : loader->line.name.data)};
}

void loader_no_memory(struct loader *loader)
{
    if (!loader->failed) {
        struct place place = {.file = loader->frame_count > 0 ? loader->frames[0].file : ""};
        report_error(loader->report, &place, "the configuration needs too much memory");
        loader->failed = true;
    }
}

static bool is_open_already(const struct loader *loader, struct bytes path)
{
    for (size_t i = 0; i < loader->frame_count; i++) {
        const struct frame *frame = &loader->frames[i];
        if (frame->reading && bytes_equal(bytes_from_string(frame->file), path)) {
            return true;
        }
    }
    return false;
}

struct bytes load_resolve_path(struct loader *loader, const char *from, struct bytes path)
{
    struct bytes file = bytes_from_string(from);
    size_t directory_len = file.len;
    while (directory_len > 0 && file.data[directory_len - 1] != '/') {
        directory_len--;
    }
    if (path.len > 0 && path.data[0] == '/') {
        directory_len = 0;
    }
    char *joined = config_take(loader->config, directory_len + path.len + 1);
    if (joined == NULL) {
        return (struct bytes){NULL, 0};
    }
    memcpy(joined, file.data, directory_len);
    memcpy(joined + directory_len, path.data, path.len);
    return bytes_of(joined, directory_len + path.len);
}

struct found_paths {
    struct loader *loader;
    struct bytes *items;
    size_t count, capacity;
    bool failed;
};

static void on_found(void *to, const char *path)
{
    struct found_paths *found = to;
    if (found->count == found->capacity) {
        size_t capacity = found->capacity == 0 ? 16 : found->capacity * 2;
        struct bytes *more = capacity > CONFIG_FILES_MAX * 2u
                                 ? NULL
                                 : realloc(found->items, capacity * sizeof(*more));
        if (more == NULL) {
            found->failed = true;
            return;
        }
        found->items = more;
        found->capacity = capacity;
    }
    struct bytes copy = arena_copy(found->loader->config->arena, bytes_from_string(path));
    if (copy.data == NULL) {
        found->failed = true;
        return;
    }
    found->items[found->count++] = copy;
}

static bool has_wildcard(struct bytes path)
{
    for (size_t i = 0; i < path.len; i++) {
        if (strchr("*?[", path.data[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* The files a path with wildcards stands for, as an array in the arena. */
static int expand_path(struct loader *loader, struct bytes path, struct string_array *out)
{
    struct found_paths found = {.loader = loader};
    int status = loader->files->glob(loader->files->owner, path.data, on_found, &found);
    struct bytes *items = NULL;
    if (status == 0 && !found.failed) {
        items = config_take(loader->config, found.count * sizeof(*items) + 1);
    }
    if (items != NULL && found.count > 0) {
        memcpy(items, found.items, found.count * sizeof(*items));
    }
    free(found.items);
    *out = (struct string_array){items, found.count};
    return items == NULL ? -1 : 0;
}

static void push_frame(struct loader *loader, struct string_array paths, struct place from)
{
    loader->frames[loader->frame_count++] =
        (struct frame){.paths = paths, .from = from, .file = from.file};
}

void load_include(struct loader *loader)
{
    struct words words = {.text = loader->line.value, .arena = loader->config->arena};
    struct word word;
    struct place place = loader_place(loader, loader->line.value.data);
    enum words_result result = words_next(&words, &word);
    if (result != WORDS_WORD || word.text.len == 0 || words_rest(&words).len > 0) {
        report_error(loader->report, &place, "include needs one file name");
        return;
    }
    if (loader->frame_count == CONFIG_INCLUDE_DEPTH_MAX) {
        report_error(loader->report, &place, "include goes deeper than %d files",
                     CONFIG_INCLUDE_DEPTH_MAX);
        return;
    }
    struct bytes path = load_resolve_path(loader, place.file, word.text);
    struct bytes *single = config_take(loader->config, sizeof(*single));
    if (path.data == NULL || single == NULL) {
        loader_no_memory(loader);
        return;
    }
    *single = path;
    struct string_array paths = {single, 1};
    if (has_wildcard(path) && expand_path(loader, path, &paths) < 0) {
        report_error(loader->report, &place, "cannot list the files of %s", path.data);
        return;
    }
    push_frame(loader, paths, place);
}

static int copy_defaults(const struct loader *loader, struct bytes *out)
{
    struct bytes text = loader->files->defaults;
    char *copy = malloc(text.len);
    if (copy == NULL) {
        return -ENOMEM;
    }
    memcpy(copy, text.data, text.len);
    *out = bytes_of(copy, text.len);
    return 0;
}

/* False: there are too many files. */
static bool count_file(struct loader *loader, const struct place *place)
{
    if (++loader->file_count > CONFIG_FILES_MAX) {
        report_error(loader->report, place, "more than %d files", CONFIG_FILES_MAX);
        return false;
    }
    return true;
}

static bool take_text(struct loader *loader, const struct place *place, const char *path,
                      int status, const struct bytes *text)
{
    if (status < 0) {
        report_error(loader->report, place, "cannot read %s: %s", path, strerror(-status));
        return false;
    }
    loader->byte_count += text->len;
    if (loader->byte_count > CONFIG_BYTES_MAX) {
        report_error(loader->report, place, "all files together are larger than %u bytes",
                     CONFIG_BYTES_MAX);
        return false;
    }
    return true;
}

bool load_read_file(struct loader *loader, struct bytes path, const struct place *place,
                    struct bytes *out)
{
    if (!count_file(loader, place)) {
        return false;
    }
    int status = loader->files->read(loader->files->owner, path.data, out);
    return take_text(loader, place, path.data, status, out);
}

static bool read_text(struct loader *loader, struct bytes path, const struct frame *frame,
                      struct bytes *out)
{
    if (!frame->is_defaults) {
        return load_read_file(loader, path, &frame->from, out);
    }
    return count_file(loader, &frame->from) &&
           take_text(loader, &frame->from, path.data, copy_defaults(loader, out), out);
}

/* Opens the next file of the frame on top. False: it cannot be read; it counts as read. */
static bool open_file(struct loader *loader, struct frame *frame)
{
    struct bytes path = frame->paths.items[frame->path_index++];
    struct bytes text = {NULL, 0};
    struct error error;
    uint32_t line;
    if (is_open_already(loader, path)) {
        report_error(loader->report, &frame->from, "%s includes itself", path.data);
        return false;
    }
    bool fine = read_text(loader, path, frame, &text);
    if (fine && syntax_begin(&frame->syntax, text, &error, &line) < 0) {
        struct place place = {.file = path.data, .line = line, .column = 1};
        report_error(loader->report, &place, "%s", error.text);
        fine = false;
    }
    if (!fine) {
        free((void *)(uintptr_t)text.data);
        return false;
    }
    frame->file = path.data;
    frame->text = (char *)(uintptr_t)text.data;
    frame->block_depth = loader->open_count;
    frame->reading = true;
    return true;
}

static void close_file(struct loader *loader, struct frame *frame)
{
    load_close_file(loader, frame->block_depth);
    free(frame->text);
    frame->text = NULL;
    frame->reading = false;
    frame->file = frame->from.file;
}

static void load_line(struct loader *loader)
{
    struct place place;
    loader->order++;
    switch (loader->line.kind) {
    case SYNTAX_DIRECTIVE:
        load_directive(loader);
        break;
    case SYNTAX_OPEN:
        load_open(loader);
        break;
    case SYNTAX_CLOSE:
        load_close(loader);
        break;
    case SYNTAX_WRONG:
        place = loader_place(loader, loader->line.whole.data);
        report_error(loader->report, &place, "%s", loader->line.problem);
        break;
    case SYNTAX_END:
        break;
    }
}

/* One step: a line of the innermost file, or a file opened or closed. False: all is read. */
static bool load_step(struct loader *loader)
{
    if (loader->frame_count == 0 || loader->failed || loader->order >= LOAD_DIRECTIVES_MAX) {
        return false;
    }
    struct frame *frame = &loader->frames[loader->frame_count - 1];
    if (!frame->reading) {
        if (frame->path_index < frame->paths.count) {
            open_file(loader, frame);
        } else {
            loader->frame_count--;
        }
        return true;
    }
    if (syntax_next(&frame->syntax, &loader->line) == SYNTAX_END) {
        close_file(loader, frame);
    } else {
        load_line(loader);
    }
    return true;
}

static bool begin(struct loader *loader, const char *path)
{
    struct config *config = loader->config;
    size_t count;
    directive_table(&count);
    loader->warned = config_take(config, count * sizeof(*loader->warned));
    struct bytes *first = config_take(config, sizeof(*first));
    if (loader->warned == NULL || first == NULL) {
        return false;
    }
    *first = arena_copy(config->arena, bytes_from_string(path));
    if (first->data == NULL || !settings_make_defaults(config)) {
        return false;
    }
    map_init(&loader->macros, LOAD_MACROS_MAX);
    loader->last_macro = &loader->first_macro;
    loader->open[0] = &config->global;
    loader->open_count = 1;
    push_frame(loader, (struct string_array){first, 1}, (struct place){.file = first->data});
    return true;
}

/* Behind all else, so that an operator's rules come first. */
static void push_defaults(struct loader *loader)
{
    static const struct bytes name = BYTES_INIT(CONFIG_DEFAULTS_NAME);
    if (loader->files->defaults.len > 0 && loader->report->errors == 0) {
        push_frame(loader, (struct string_array){&name, 1}, (struct place){.file = name.data});
        loader->frames[0].is_defaults = true;
    }
}

static void load_all(struct loader *loader)
{
    while (load_step(loader)) {
    }
    push_defaults(loader);
    while (load_step(loader)) {
    }
    for (size_t i = 0; i < loader->frame_count; i++) {
        free(loader->frames[i].text);
    }
    loader->frame_count = 0;
    if (loader->order >= LOAD_DIRECTIVES_MAX) {
        struct place place = {.file = "the configuration"};
        report_error(loader->report, &place, "more than %d lines", LOAD_DIRECTIVES_MAX);
    }
    if (!loader->failed) {
        macro_check_loops(loader);
    }
    if (!loader->failed && loader->report->errors == 0) {
        build_tables(loader);
    }
    if (!loader->failed && loader->report->errors == 0) {
        check_config(loader);
    }
    if (!loader->failed && loader->report->errors == 0) {
        load_header_files(loader);
    }
}

struct config *config_load(const char *path, const struct config_files *files,
                           struct config_report *report)
{
    assert(path != NULL && files != NULL);
    assert(report->count == 0);
    struct loader *loader = calloc(1, sizeof(*loader));
    struct config *config = config_create();
    if (loader == NULL || config == NULL) {
        struct place place = {.file = path};
        report_error(report, &place, "no memory");
        free(loader);
        config_free(config);
        return NULL;
    }
    *loader = (struct loader){.config = config, .files = files, .report = report};
    if (begin(loader, path)) {
        load_all(loader);
    } else {
        loader_no_memory(loader);
    }
    map_deinit(&loader->macros);
    free(loader);
    if (report->errors > 0) {
        config_free(config);
        return NULL;
    }
    return config;
}
