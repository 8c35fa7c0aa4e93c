#include "commands_select.h"

#include <stddef.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "policy/value.h"

/* Behind "--NAME=", or NULL. */
static const char *value_of(const char *word, const char *option)
{
    size_t len = strlen(option);
    return strncmp(word, option, len) == 0 ? word + len : NULL;
}

static enum selection_result take_text(const char *value, const char **out)
{
    if (value[0] == '\0' || strlen(value) > SELECTION_TEXT_MAX) {
        return SELECTION_BAD;
    }
    *out = value;
    return SELECTION_TAKEN;
}

enum selection_result selection_take(struct selection *selection, const char *word)
{
    const struct {
        const char *option, **out;
    } texts[] = {{"--orig=", &selection->orig},
                 {"--rcpt=", &selection->rcpt},
                 {"--jobId=", &selection->job},
                 {"--envId=", &selection->envid}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *value = value_of(word, texts[i].option);
        if (value != NULL) {
            return take_text(value, texts[i].out);
        }
    }
    const char *age = value_of(word, "--older-than=");
    if (age == NULL) {
        return SELECTION_OTHER;
    }
    bool good = value_parse_interval(bytes_from_string(age), &selection->older_than_ms) &&
                selection->older_than_ms > 0 && selection->older_than_ms < INT64_MAX;
    return good ? SELECTION_TAKEN : SELECTION_BAD;
}

bool selection_is_empty(const struct selection *selection)
{
    return selection->orig == NULL && selection->rcpt == NULL && selection->job == NULL &&
           selection->envid == NULL && selection->older_than_ms == 0;
}

static void put_text(struct json_writer *writer, const char *name, const char *value)
{
    if (value != NULL) {
        json_put_string(writer, name, bytes_from_string(value));
    }
}

void selection_put(struct json_writer *writer, const struct selection *selection)
{
    put_text(writer, "orig", selection->orig);
    put_text(writer, "rcpt", selection->rcpt);
    put_text(writer, "jobId", selection->job);
    put_text(writer, "envId", selection->envid);
    if (selection->older_than_ms > 0) {
        json_put_u64(writer, "olderThanMs", selection->older_than_ms);
    }
}
