#include "local_command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/arena.h"
#include "io/deposit.h"
#include "policy/command.h"
#include "policy/domain.h"
#include "rcpt_sender.h"
#include "site.h"

static struct command_values values_of(const struct site *site, const struct rcpt *rcpt,
                                       char sender[RCPT_SENDER_MAX])
{
    const struct message *message = rcpt_message(rcpt);
    struct bytes to = rcpt_address(rcpt);
    size_t at = to.len;
    while (at > 0 && to.data[at - 1] != '@') {
        at--;
    }
    return (struct command_values){
        .from = rcpt_sender(rcpt, sender),
        .to = to,
        .user = bytes_slice(to, 0, at > 0 ? at - 1 : 0),
        .domain = bytes_slice(to, at, to.len),
        .vmta = message_vmta(message),
        .job = message_job(message),
        .envid = message_envid(message),
        .preserve_case = site->settings->macro_variables_preserve_case,
    };
}

bool local_command_prepare(struct local_command *command, const struct site *site,
                           const struct rcpt *rcpt, struct reply *reply)
{
    char sender[RCPT_SENDER_MAX];
    struct command_values values = values_of(site, rcpt, sender);
    struct error error = {0};
    char **words = NULL;
    command->arena = arena_create(COMMAND_BYTES_MAX);
    if (command->arena == NULL) {
        reply_make(reply, 451, "4.3.0", "out of memory");
        return false;
    }
    enum command_result result =
        command_words(site->settings->command, &values, command->arena, &words, &error);
    switch (result) {
    case COMMAND_READY:
        command->errand.words = words;
        command->errand.time_limit_ms = site->settings->smtp_data_termination_timeout_ms;
        return true;
    case COMMAND_OPTION:
        /* What the program would take for an option of whoever sent the mail. */
        reply_make(reply, 550, "5.1.0", "a value that begins with '-' is not given to a command");
        break;
    case COMMAND_WRONG:
        reply_make(reply, 451, "4.3.5", error.text);
        break;
    }
    local_command_release(command);
    return false;
}

void local_command_release(struct local_command *command)
{
    arena_destroy(command->arena);
    command->arena = NULL;
}

void local_command_run(struct local_command *command, const struct deposit *message)
{
    command->errand.input = deposit_open_to_read(message);
    if (command->errand.input < 0) {
        command->errand.error = command->errand.input;
        return;
    }
    errand_run(&command->errand);
    close(command->errand.input);
}

struct meaning {
    int exit_code;
    uint16_t code;
    const char *enhanced, *text; /* where the command has said nothing */
};

/* RFC 3463; what is not here is a trouble of ours and for now. */
static const struct meaning meanings[] = {
    {EX_OK, 250, "2.0.0", "given to the command"},
    {EX_DATAERR, 550, "5.6.0", "data format error"},
    {EX_NOUSER, 550, "5.1.1", "user unknown"},
    {EX_NOHOST, 550, "5.1.2", "host unknown"},
    {EX_UNAVAILABLE, 550, "5.3.0", "service unavailable"},
    {EX_NOPERM, 550, "5.7.0", "permission denied"},
    {EX_TEMPFAIL, 451, "4.3.0", "temporary failure"},
};

static const struct meaning *meaning_of(int exit_code)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        if (meanings[i].exit_code == exit_code) {
            return &meanings[i];
        }
    }
    return NULL;
}

/* On one line, without blanks at its ends. */
static void put_output(const struct errand *errand, struct buffer *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < errand->output_len; i++) {
        char c = errand->output[i];
        bool blank = (c >= 0 && c <= ' ') || c == 0x7f;
        const char *text = out->data;
        if (!blank) {
            buffer_put_char(out, c);
        } else if (out->len > start && text[out->len - 1] != ' ') {
            buffer_put_char(out, ' ');
        }
    }
    const char *text = out->data;
    if (out->len > start && text[out->len - 1] == ' ') {
        out->len--;
    }
}

void local_command_reply(const struct local_command *command, struct reply *reply)
{
    const struct errand *errand = &command->errand;
    char text[ERRAND_OUTPUT_MAX + 128];
    struct buffer out;
    buffer_init(&out, text, sizeof text - 1);
    const struct meaning *meaning = NULL;
    if (errand->error < 0) {
        buffer_printf(&out, "cannot run the command: %s", strerror(-errand->error));
    } else if (errand->timed_out) {
        buffer_put_string(&out, "the command took too long or the engine ended: killed");
    } else if (errand->signal != 0) {
        buffer_printf(&out, "the command was ended by signal %d: ", errand->signal);
        put_output(errand, &out);
    } else {
        meaning = meaning_of(errand->exit_code);
        if (meaning == NULL) {
            buffer_printf(&out, "the command ended with exit code %d: ", errand->exit_code);
        }
        put_output(errand, &out);
        if (out.len == 0 && meaning != NULL) {
            buffer_put_string(&out, meaning->text);
        }
    }
    text[out.len] = '\0';
    reply_make(reply, meaning == NULL ? 451 : meaning->code,
               meaning == NULL ? "4.3.0" : meaning->enhanced, text);
}
