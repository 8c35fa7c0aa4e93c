/* What `test-bounce` prints: a line for each fact. */
#include <stdio.h>

#include "base/bytes.h"
#include "base/json.h"
#include "commands_show.h"
#include "commands_text.h"

static void print_text(const char *label, struct bytes text)
{
    printf("%-12s ", label);
    text_print(stdout, text);
    printf("\n");
}

static void print_member(const char *label, const struct json *object, const char *name)
{
    print_text(label, bytes_from_string(json_get_string(object, name)));
}

/* "/expression/ at FILE:LINE". */
static void print_rule(const struct json *rule, const char *behind)
{
    printf("%-12s ", "by rule");
    text_print(stdout, bytes_from_string(json_get_string(rule, "pattern")));
    printf(" at ");
    text_print(stdout, bytes_from_string(json_get_string(rule, "file")));
    printf(":%lld%s\n", (long long)json_get_integer(rule, "line", 0), behind);
}

static void print_category(const struct json *reply)
{
    const struct json *rule = json_member(reply, "rule");
    print_member("category", reply, "category");
    print_member("class", reply, "class");
    if (rule == NULL) {
        print_text("by rule", BYTES("none: its codes decide"));
    } else if (json_get_bool(rule, "tooCostly", false)) {
        print_rule(rule, ", which takes too long for this reply");
    } else {
        print_rule(rule, "");
    }
}

static void print_action(const struct json *action)
{
    char memory[64];
    struct buffer wait;
    bool in_effect = json_get_bool(action, "inEffect", true);
    if (json_get_bool(action, "tooCostly", false)) {
        print_text("actions", BYTES("none"));
        print_rule(action, ", which takes too long for this reply");
        return;
    }
    print_member("actions", action, "actions");
    print_rule(action, in_effect ? "" : " (not yet in effect)");
    if (json_member(action, "waitMs") != NULL) {
        int64_t wait_ms = json_get_integer(action, "waitMs", 0);
        buffer_init(&wait, memory, sizeof memory);
        text_put_age(&wait, wait_ms < 0 ? 0 : (uint64_t)wait_ms);
        print_text("told to wait", buffer_bytes(&wait));
    }
}

static void print_list(const struct answer *answer)
{
    struct bytes list = bytes_from_string(json_get_string(answer->reply, "smtpPatternList"));
    const struct json *action = json_member(answer->reply, "action");
    print_text("queue", bytes_from_string(answer->name));
    print_text("pattern list", list.len == 0 ? BYTES("none") : list);
    if (action != NULL) {
        print_action(action);
    } else if (list.len > 0) {
        print_text("actions", BYTES("none: no rule of the list matches"));
    }
}

void show_reply(const struct answer *answer)
{
    print_member("seen as", answer->reply, "subject");
    print_category(answer->reply);
    if (json_member(answer->reply, "smtpPatternList") != NULL) {
        print_list(answer);
    }
}
