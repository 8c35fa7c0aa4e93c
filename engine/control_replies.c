/* `test-bounce`: what the rules in force make of a reply. */
#include <string.h>

#include "control_private.h"
#include "policy/bounce.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "policy/explain.h"
#include "policy/pattern.h"
#include "policy/reply_rules.h"
#include "policy/rules.h"

/* The reply as a host sends it, or as accounting has it, behind "smtp;". */
static bool read_reply(const char *text, struct reply *out)
{
    struct reply_parser parser;
    size_t consumed, prefix = strncmp(text, "smtp;", 5) == 0 ? 5 : 0;
    text += prefix + strspn(text + prefix, " \r\n\t");
    reply_parser_init(&parser);
    enum reply_result result = reply_parser_feed(&parser, text, strlen(text), &consumed);
    if (result == REPLY_MORE) {
        result = reply_parser_feed(&parser, "\r\n", 2, &consumed);
    }
    *out = parser.reply;
    return result == REPLY_COMPLETE;
}

void control_take_reply(struct control_job *job, const struct json *request)
{
    struct bytes domain, vmta;
    const char *text = json_get_string(request, "reply");
    if (text == NULL || !read_reply(text, &job->reply)) {
        error_set(&job->error, 64,
                  "that is no reply: write it with its code, such as '550 5.1.1 no such user'");
        return;
    }
    job->has_queue = json_get_string(request, "queue") != NULL;
    control_split_queue(job, &domain, &vmta);
    if (job->has_queue && config_vmta(job->engine->config, vmta) == NULL) {
        error_set(&job->error, 68, "no virtual MTA '%.*s' is configured", BYTES_FMT(vmta));
    }
}

/* One rule as an object of that name: its expression between slashes, and its line. */
static void begin_rule(struct json_writer *writer, const char *name, const struct pattern *pattern,
                       const struct setting_origin *origin)
{
    char memory[PATTERN_LEN_MAX + 2];
    struct buffer text;
    buffer_init(&text, memory, sizeof memory);
    buffer_put_char(&text, '/');
    buffer_put_bytes(&text, pattern_text(pattern));
    buffer_put_char(&text, '/');
    json_begin_object(writer, name);
    json_put_string(writer, "pattern", buffer_bytes(&text));
    json_put_string(writer, "file", bytes_from_string(origin->file));
    json_put_u64(writer, "line", origin->line);
}

static void put_category(struct control_job *job, struct json_writer *writer,
                         struct pattern_matcher *matcher)
{
    char memory[REPLY_TEXT_MAX + 64];
    struct buffer subject;
    const struct config *config = job->engine->config;
    struct bounce_verdict verdict =
        bounce_classify(config_rules(config, SCOPE_BOUNCE_PATTERNS, BYTES("")), matcher,
                        &job->reply, BOUNCE_ABOUT_RECIPIENT);
    buffer_init(&subject, memory, sizeof memory);
    bounce_subject(&job->reply, &subject);
    json_put_string(writer, "subject", buffer_bytes(&subject));
    json_put_string(writer, "category", verdict.category);
    json_put_string(writer, "class", bytes_from_string(verdict.class));
    if (verdict.rule != NULL) {
        begin_rule(writer, "rule", verdict.rule->pattern, &verdict.rule->origin);
        json_put_bool(writer, "tooCostly", verdict.too_costly);
        json_end_object(writer);
    }
}

/* As explain tells it of the queue's setting. */
static void note_effect(void *to, const struct explain_line *line)
{
    bool *in_effect = to;
    if (strcmp(line->name, "smtp-pattern-list") == 0) {
        *in_effect = line->in_effect;
    }
}

static void put_action_rule(struct json_writer *writer, const struct reply_finding *finding,
                            bool in_effect)
{
    const struct reply_rule *rule = finding->rule != NULL ? finding->rule : finding->too_costly;
    begin_rule(writer, "action", rule->pattern, &rule->origin);
    json_put_bool(writer, "tooCostly", finding->rule == NULL);
    json_put_string(writer, "actions", rule->text);
    json_put_bool(writer, "inEffect", in_effect);
    if (finding->wait_ms > 0) {
        json_put_u64(writer, "waitMs", finding->wait_ms);
    }
    json_end_object(writer);
}

static void put_action(struct control_job *job, struct json_writer *writer,
                       struct pattern_matcher *matcher)
{
    char memory[REPLY_TEXT_MAX + 32];
    struct buffer line;
    struct bytes domain, vmta_name;
    bool in_effect = false;
    const struct config *config = job->engine->config;
    struct explain_sink sink = {.on_line = note_effect, .to = &in_effect};
    control_split_queue(job, &domain, &vmta_name);
    const struct config_vmta *vmta = config_vmta(config, vmta_name);
    const struct reply_list *list = &config_domain(config, vmta, domain)->smtp_pattern_list;
    explain_domain(config, vmta, domain, &sink);
    json_put_string(writer, "smtpPatternList", list->name);
    buffer_init(&line, memory, sizeof memory);
    reply_print(&job->reply, &line);
    struct reply_finding finding = reply_rules_find(list->rules, matcher, buffer_bytes(&line));
    if (finding.rule != NULL || finding.too_costly != NULL) {
        put_action_rule(writer, &finding, in_effect);
    }
}

void control_answer_reply(struct control_job *job, struct json_writer *writer)
{
    struct pattern_matcher *matcher = pattern_matcher_create();
    if (matcher == NULL) {
        return;
    }
    put_category(job, writer, matcher);
    if (job->has_queue) {
        put_action(job, writer, matcher);
    }
    pattern_matcher_destroy(matcher);
}
