#include "policy/pattern_list.h"

#include "config_files.h"
#include "policy/pattern.h"
#include "policy/rules.h"
#include "test.h"

#define VMTAS "<virtual-mta a>\n</virtual-mta>\n<virtual-mta b>\n</virtual-mta>\n"

struct field {
    const char *name, *value;
};

struct message {
    const char *rcpts[4];
    struct field fields[4];
};

static bool next_rcpt(void *owner, size_t *cursor, struct bytes *address)
{
    const struct message *message = owner;
    const char *rcpt = *cursor < 4 ? message->rcpts[(*cursor)++] : NULL;
    *address = bytes_from_string(rcpt == NULL ? "" : rcpt);
    return rcpt != NULL;
}

static bool next_header(void *owner, size_t *cursor, struct bytes *name, struct bytes *value)
{
    const struct message *message = owner;
    if (*cursor == 4 || message->fields[*cursor].name == NULL) {
        return false;
    }
    *name = bytes_from_string(message->fields[*cursor].name);
    *value = bytes_from_string(message->fields[(*cursor)++].value);
    return true;
}

static struct config *config;
static struct pattern_matcher *matcher;

static void open_list(const char *text)
{
    char whole[4096];
    snprintf(whole, sizeof whole, VMTAS "%s", text);
    config = load_good(whole);
    matcher = pattern_matcher_create();
}

static void close_list(void)
{
    pattern_matcher_destroy(matcher);
    unload(config);
}

static struct bytes choose(const char *sender, const struct message *message)
{
    return pattern_list_choose(config, config_rules(config, SCOPE_PATTERN_LIST, BYTES("l")),
                               matcher,
                               &(struct pattern_list_message){.owner = (void *)(uintptr_t)message,
                                                              .sender = bytes_from_string(sender),
                                                              .next_rcpt = next_rcpt,
                                                              .next_header = next_header});
}

TEST(the_first_rule_that_matches_names_the_virtual_mta)
{
    open_list("<pattern-list l>\nmail-from /@news\\./ virtual-mta=a\n"
              "rcpt-to /@big\\.test$/ virtual-mta=b\nheader Subject /offer/ virtual-mta=b\n"
              "* virtual-mta=a\n</pattern-list>\n");
    CHECK_BYTES(choose("x@news.test", &(struct message){.rcpts = {"u@big.test"}}), "a");
    CHECK_BYTES(choose("x@y.test", &(struct message){.rcpts = {"u@big.test"}}), "b");
    CHECK_BYTES(choose("x@y.test", &(struct message){.rcpts = {"u@c.test", "u@big.test"}}), "b");
    CHECK_BYTES(
        choose("x@y.test", &(struct message){.rcpts = {"u@c.test"},
                                             .fields = {{"to", "offer"}, {"SUBJECT", "An OFFER"}}}),
        "b");
    CHECK_BYTES(
        choose("x@y.test", &(struct message){.rcpts = {"u@c.test"}, .fields = {{"to", "offer"}}}),
        "a");
    close_list();
}

TEST(no_rule_matches)
{
    open_list("<pattern-list l>\nmail-from /@news\\./ virtual-mta=a\n</pattern-list>\n");
    CHECK_BYTES(choose("x@y.test", &(struct message){.rcpts = {"u@c.test"}}), "");
    close_list();
}

TEST(lists_are_held_and_called_and_left_again)
{
    open_list("<pattern-list other>\nmail-from /^b@/ virtual-mta=b\n</pattern-list>\n"
              "<pattern-list l>\nrcpt-to /@c\\.test$/ <pattern-list inner>\n"
              "mail-from /^a@/ virtual-mta=a\n</pattern-list>\n* call-to:other\n"
              "mail-from /^[abc]@/ virtual-mta=a\n</pattern-list>\n");
    CHECK_BYTES(choose("a@y.test", &(struct message){.rcpts = {"u@c.test"}}), "a");
    CHECK_BYTES(choose("b@y.test", &(struct message){.rcpts = {"u@c.test"}}), "b");
    CHECK_BYTES(choose("c@y.test", &(struct message){.rcpts = {"u@c.test"}}), "a");
    CHECK_BYTES(choose("d@y.test", &(struct message){.rcpts = {"u@c.test"}}), "");
    close_list();
}

TEST(lists_that_call_each_other_end)
{
    open_list("<pattern-list m>\n* call-to:l\n* call-to:l\n</pattern-list>\n"
              "<pattern-list l>\n* call-to:m\n* call-to:m\nheader To /x/ virtual-mta=a\n"
              "* virtual-mta=b\n</pattern-list>\n");
    choose("d@y.test", &(struct message){.rcpts = {"u@c.test"}});
    const struct rule_list *list = config_rules(config, SCOPE_PATTERN_LIST, BYTES("l"));
    CHECK(!pattern_list_wants(config, list, BYTES("Date")));
    close_list();
}

TEST(headers_that_a_list_looks_at_are_wanted)
{
    open_list("<pattern-list other>\nheader X-Kind /b/ virtual-mta=b\n</pattern-list>\n"
              "<pattern-list l>\nheader Subject /a/ virtual-mta=a\n* call-to:other\n"
              "</pattern-list>\n");
    const struct rule_list *list = config_rules(config, SCOPE_PATTERN_LIST, BYTES("l"));
    CHECK(pattern_list_wants(config, list, BYTES("subject")));
    CHECK(pattern_list_wants(config, list, BYTES("x-kind")));
    CHECK(!pattern_list_wants(config, list, BYTES("To")));
    close_list();
}

TEST(an_expression_that_is_too_costly_matches_nothing)
{
    char subject[700];
    open_list("<pattern-list l>\nheader Subject /(a*)*\\1b/ virtual-mta=a\n* virtual-mta=b\n"
              "</pattern-list>\n");
    memset(subject, 'a', sizeof subject - 1);
    subject[sizeof subject - 1] = '\0';
    CHECK_BYTES(choose("x@y.test",
                       &(struct message){.rcpts = {"u@c.test"}, .fields = {{"Subject", subject}}}),
                "b");
    close_list();
}
