#include "control_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "io/files.h"
#include "policy/syntax.h"
#include "policy/words.h"

#define EXIT_CONFIG      78 /* of the command line */
#define ARENA_BYTES_MAX  (256ul * 1024 * 1024)
#define DIRECTIVE_SOCKET BYTES("control-socket")
#define DIRECTIVE_FILE   BYTES("include")

/* One `include`, or the first file: paths still to read, and where in the one that is open. */
struct level {
    struct bytes *paths;
    size_t path_count, path_index;
    const char *file;
    char *text; /* of malloc; NULL: none is open */
    struct syntax syntax;
};

struct search {
    struct arena *arena;
    struct level levels[CONTROL_PATH_DEPTH_MAX];
    size_t level_count, file_count;
    struct bytes found; /* the last control-socket so far; empty: none */
};

static void add_path(void *to, const char *path)
{
    struct search *search = to;
    struct level *level = &search->levels[search->level_count];
    struct bytes copy = arena_copy(search->arena, bytes_from_string(path));
    if (level->path_count == CONTROL_PATH_FILES_MAX || copy.data == NULL) {
        return;
    }
    if (level->paths == NULL) {
        level->paths = calloc(CONTROL_PATH_FILES_MAX, sizeof *level->paths);
    }
    if (level->paths != NULL) {
        level->paths[level->path_count++] = copy;
    }
}

/* The first word of the line's value, quotes undone. */
static bool take_word(struct search *search, struct bytes value, struct bytes *out)
{
    struct words words = {.text = value, .arena = search->arena};
    struct word word;
    if (words_next(&words, &word) != WORDS_WORD || word.text.len == 0) {
        return false;
    }
    *out = arena_copy(search->arena, word.text);
    return out->data != NULL;
}

/* Relative paths start at the directory of the file that names them. */
static void open_include(struct search *search, const char *file, struct bytes value)
{
    struct bytes path;
    if (search->level_count == CONTROL_PATH_DEPTH_MAX || !take_word(search, value, &path)) {
        return;
    }
    const char *slash = path.data[0] == '/' ? NULL : strrchr(file, '/');
    size_t directory_len = slash == NULL ? 0 : (size_t)(slash - file) + 1;
    char *joined = arena_take(search->arena, directory_len + path.len + 1);
    if (joined == NULL) {
        return;
    }
    memcpy(joined, file, directory_len);
    memcpy(joined + directory_len, path.data, path.len);
    joined[directory_len + path.len] = '\0';
    search->levels[search->level_count] = (struct level){0};
    files_glob(NULL, joined, add_path, search);
    search->level_count++;
}

static void read_line(struct search *search, struct level *level)
{
    struct syntax_line line;
    struct bytes path;
    switch (syntax_next(&level->syntax, &line)) {
    case SYNTAX_END:
        free(level->text);
        level->text = NULL;
        break;
    case SYNTAX_DIRECTIVE:
        if (bytes_equal_nocase(line.name, DIRECTIVE_FILE)) {
            open_include(search, level->file, line.value);
        } else if (bytes_equal_nocase(line.name, DIRECTIVE_SOCKET) &&
                   take_word(search, line.value, &path)) {
            search->found = path;
        }
        break;
    case SYNTAX_OPEN:
    case SYNTAX_CLOSE:
    case SYNTAX_WRONG:
        break;
    }
}

/* -errno: the file cannot be read. */
static int open_file(struct search *search, struct level *level)
{
    struct bytes text;
    struct error error;
    uint32_t line;
    level->file = level->paths[level->path_index++].data;
    search->file_count++;
    int result = files_read(NULL, level->file, &text);
    if (result < 0) {
        return result;
    }
    if (syntax_begin(&level->syntax, text, &error, &line) < 0) {
        free((void *)(uintptr_t)text.data);
        return 0;
    }
    level->text = (char *)(uintptr_t)text.data;
    return 0;
}

static void close_level(struct search *search)
{
    struct level *level = &search->levels[--search->level_count];
    free(level->text);
    free(level->paths);
}

/* What holds for files that name each other: the number of files ends it. */
static void read_all(struct search *search)
{
    while (search->level_count > 0) {
        struct level *level = &search->levels[search->level_count - 1];
        if (level->text != NULL) {
            read_line(search, level);
        } else if (level->path_index < level->path_count &&
                   search->file_count < CONTROL_PATH_FILES_MAX) {
            open_file(search, level);
        } else {
            close_level(search);
        }
    }
}

static int find(struct search *search, const char *config_path, struct error *error)
{
    struct level *first = &search->levels[0];
    add_path(search, config_path);
    search->level_count = 1;
    int result = first->path_count == 0 ? -ENOMEM : open_file(search, first);
    if (result < 0) {
        close_level(search);
        return error_set(error, EXIT_CONFIG, "cannot read %s: %s", config_path, strerror(-result));
    }
    read_all(search);
    return 0;
}

int control_path_find(const char *config_path, char *out, size_t capacity, struct error *error)
{
    struct search *search = calloc(1, sizeof *search);
    struct arena *arena = arena_create(ARENA_BYTES_MAX);
    int result = -1;
    if (search == NULL || arena == NULL) {
        error_set(error, EXIT_CONFIG, "out of memory");
    } else {
        search->arena = arena;
        result = find(search, config_path, error);
    }
    struct bytes path =
        result == 0 && search->found.len > 0 ? search->found : BYTES(CONTROL_PATH_DEFAULT);
    if (result == 0 && path.len >= capacity) {
        result = error_set(error, EXIT_CONFIG,
                           "control-socket %s in %s is longer than a socket's path may be (%zu "
                           "bytes)",
                           path.data, config_path, capacity - 1);
    }
    if (result == 0) {
        snprintf(out, capacity, "%.*s", BYTES_FMT(path));
    }
    arena_destroy(arena);
    free(search);
    return result;
}
