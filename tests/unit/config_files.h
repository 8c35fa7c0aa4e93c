/* Configuration files that lie in memory, for the tests of policy/.
 *
 * load("…") loads one text as /etc/main.conf; load_files takes several. The report is kept for
 * has_message, and freed by unload or the next load. */
#ifndef TESTS_UNIT_CONFIG_FILES_H
#define TESTS_UNIT_CONFIG_FILES_H

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

#include "policy/config.h"
#include "policy/defaults.h"

struct memory_file {
    const char *path;
    const char *text;
    size_t len; /* 0: up to the NUL */
};

struct memory_files {
    const struct memory_file *files; /* sorted by path; the last has no path */
};

static struct config_report report;

static int memory_read(void *owner, const char *path, struct bytes *out)
{
    const struct memory_files *files = owner;
    for (const struct memory_file *file = files->files; file->path != NULL; file++) {
        if (strcmp(file->path, path) == 0) {
            size_t len = file->len > 0 ? file->len : strlen(file->text);
            char *copy = malloc(len + 1);
            if (copy == NULL) {
                return -ENOMEM;
            }
            memcpy(copy, file->text, len);
            *out = bytes_of(copy, len);
            return 0;
        }
    }
    return -ENOENT;
}

static int memory_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
                       void *to)
{
    const struct memory_files *files = owner;
    for (const struct memory_file *file = files->files; file->path != NULL; file++) {
        if (fnmatch(pattern, file->path, FNM_PATHNAME) == 0) {
            found(to, file->path);
        }
    }
    return 0;
}

static struct config *load_files(const struct memory_file *files)
{
    struct memory_files memory = {files};
    struct config_files how = {.owner = &memory, .read = memory_read, .glob = memory_glob};
    config_report_deinit(&report);
    return config_load(files[0].path, &how, &report);
}

/* The text, and behind it the program's own defaults. */
static inline struct config *load_with_defaults(const char *text)
{
    struct memory_file files[] = {{"/etc/main.conf", text, 0}, {NULL, NULL, 0}};
    struct memory_files memory = {files};
    struct config_files how = {
        .owner = &memory, .read = memory_read, .glob = memory_glob, .defaults = config_defaults()};
    config_report_deinit(&report);
    return config_load(files[0].path, &how, &report);
}

static inline struct config *load(const char *text)
{
    struct memory_file files[] = {{"/etc/main.conf", text, 0}, {NULL, NULL, 0}};
    return load_files(files);
}

/* Loads a text that must be fine; prints what is not. */
static inline struct config *load_good(const char *text)
{
    struct config *config = load(text);
    for (size_t i = 0; i < report.count && config == NULL; i++) {
        printf("%s:%u:%u: %s\n", report.messages[i].file, report.messages[i].line,
               report.messages[i].column, report.messages[i].text);
    }
    return config;
}

static inline void unload(struct config *config)
{
    config_free(config);
    config_report_deinit(&report);
}

/* Whether "LINE:COLUMN: error: text" (or warning) was said, the text at least in part. */
static inline bool has_message(const char *wanted)
{
    char line[ERROR_TEXT_MAX + 64];
    for (size_t i = 0; i < report.count; i++) {
        const struct config_message *message = &report.messages[i];
        snprintf(line, sizeof(line), "%u:%u: %s: %s", message->line, message->column,
                 message->warning ? "warning" : "error", message->text);
        if (strstr(line, wanted) != NULL) {
            return true;
        }
    }
    printf("not said: %s; but:\n", wanted);
    for (size_t i = 0; i < report.count; i++) {
        printf("  %u:%u: %s\n", report.messages[i].line, report.messages[i].column,
               report.messages[i].text);
    }
    return false;
}

/* Whether loading the text fails with that message. */
static inline bool fails_with(const char *text, const char *message)
{
    struct config *config = load(text);
    bool said = config == NULL && has_message(message);
    if (config != NULL) {
        printf("loaded, though it should not: %s\n", text);
    }
    unload(config);
    return said;
}

/* Whether the text loads, and warns so. */
static inline bool warns_with(const char *text, const char *message)
{
    struct config *config = load_good(text);
    bool said = config != NULL && has_message(message);
    unload(config);
    return said;
}

static inline struct bytes text_of(const char *string)
{
    return bytes_from_string(string);
}

#endif
