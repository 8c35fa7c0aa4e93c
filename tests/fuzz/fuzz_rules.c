/* Any lines as rules on replies, any bytes as a reply.
 *
 * The input is lines of categories, a byte 1, lines of reply patterns, a NUL byte, and the reply.
 * Nothing that loads makes matching crash; the same reply meets the same rule again, whatever was
 * matched in between; a wait that is read from it has a bound. */
#include <stdlib.h>

#include "policy/bounce.h"
#include "policy/config.h"
#include "policy/pattern.h"
#include "policy/reply_rules.h"
#include "policy/rules.h"
#include "smtp/reply.h"

#define TEXT_LEN_MAX 4096

static int on_read(void *owner, const char *path, struct bytes *out)
{
    (void)path;
    const struct bytes *rules = owner;
    struct buffer text;
    ptrdiff_t parting = bytes_find(*rules, 1, 0);
    size_t categories_len = parting < 0 ? rules->len : (size_t)parting;
    size_t capacity = rules->len + 200;
    char *memory = malloc(capacity);
    if (memory == NULL) {
        abort();
    }
    buffer_init(&text, memory, capacity);
    buffer_put_string(&text, "<bounce-category-patterns>\n");
    buffer_put_bytes(&text, bytes_slice(*rules, 0, categories_len));
    buffer_put_string(&text, "\n</bounce-category-patterns>\n<smtp-pattern-list s>\n");
    buffer_put_bytes(&text, bytes_slice(*rules, categories_len + 1, rules->len));
    buffer_put_string(&text, "\n</smtp-pattern-list>\n");
    *out = buffer_bytes(&text);
    return 0;
}

static int on_glob(void *owner, const char *pattern, void (*found)(void *to, const char *path),
                   void *to)
{
    (void)owner, (void)pattern, (void)found, (void)to;
    return 0;
}

static void check_reply(const struct config *config, struct bytes text)
{
    static struct reply reply, other;
    struct pattern_matcher *matcher = pattern_matcher_create();
    const struct rule_list *categories = config_rules(config, SCOPE_BOUNCE_PATTERNS, BYTES(""));
    const struct reply_rules *actions = config_reply_rules(config, BYTES("s"));
    reply = (struct reply){.code = 451, .enhanced_class = 4, .enhanced_subject = text.len % 8};
    reply.text_len = (uint16_t)(text.len < REPLY_TEXT_MAX ? text.len : REPLY_TEXT_MAX);
    memcpy(reply.text, text.data, reply.text_len);
    reply_make(&other, 550, "5.1.1", "no such user");
    struct bounce_verdict first =
        bounce_classify(categories, matcher, &reply, BOUNCE_ABOUT_RECIPIENT);
    struct reply_finding found = reply_rules_find(actions, matcher, text);
    bounce_classify(categories, matcher, &other, BOUNCE_ABOUT_RECIPIENT);
    struct bounce_verdict second =
        bounce_classify(categories, matcher, &reply, BOUNCE_ABOUT_RECIPIENT);
    struct reply_finding again = reply_rules_find(actions, matcher, text);
    if (first.rule != second.rule || !bytes_equal(first.category, second.category) ||
        first.category.len == 0 || first.class == NULL || found.rule != again.rule ||
        found.wait_ms != again.wait_ms || found.wait_ms > REPLY_WAIT_MAX_MS) {
        abort();
    }
    pattern_matcher_destroy(matcher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *nul = len == 0 || len > TEXT_LEN_MAX ? NULL : memchr(data, '\0', len);
    if (nul == NULL) {
        return 0;
    }
    struct bytes rules = bytes_of((const char *)data, (size_t)(nul - data));
    struct bytes text = bytes_of((const char *)nul + 1, len - rules.len - 1);
    struct config_files files = {.owner = &rules, .read = on_read, .glob = on_glob};
    struct config_report report = {0};
    struct config *config = config_load("/rules.conf", &files, &report);
    if (config != NULL) {
        check_reply(config, text);
    }
    if (reply_wait_ms(text) > REPLY_WAIT_MAX_MS) {
        abort();
    }
    config_free(config);
    config_report_deinit(&report);
    return 0;
}
