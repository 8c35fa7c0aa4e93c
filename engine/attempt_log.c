/* What log-connections, log-commands and log-transfer-failures of <domain> say of an attempt. */
#include <stdio.h>

#include "attempt.h"
#include "attempt_private.h"
#include "dialogue_log.h"
#include "policy/settings.h"
#include "queue.h"
#include "site.h"

/* "domain/vmta #worker.number": the number tells connections of one queue apart. */
static const char *who(struct attempt *attempt, const char *mark, char out[DIALOGUE_LOG_WHO_MAX])
{
    struct dialogue_log *log = attempt->attempts->dialogue_log;
    if (attempt->log_number == 0) {
        attempt->log_number = ++log->connections;
    }
    snprintf(out, DIALOGUE_LOG_WHO_MAX, "%s #%u.%u%s", attempt->site->name, log->worker,
             attempt->log_number, mark);
    return out;
}

/* Why it ends, in words; `memory` for those of a failure. */
static struct bytes why(const struct attempt *attempt, char *memory, size_t size)
{
    if (attempt->end_words != NULL) {
        return bytes_from_string(attempt->end_words);
    }
    if (attempt->failure == NULL) {
        return BYTES("connection lost");
    }
    if (!attempt->failure_said) {
        struct bytes text = reply_text(attempt->failure); /* "4.x.y words" */
        return bytes_slice(text, strlen("4.4.2 "), text.len);
    }
    struct buffer out;
    buffer_init(&out, memory, size);
    reply_print(attempt->failure, &out);
    return buffer_bytes(&out);
}

void attempt_log_opened(struct attempt *attempt)
{
    if (!attempt->site->settings->log_connections) {
        return;
    }
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_line(attempt->attempts->dialogue_log, "%s connected from %s to %s (%s)",
                      who(attempt, ":", memory), attempt->source_text, attempt->peer_text,
                      attempt->host_name);
}

void attempt_log_ended(struct attempt *attempt)
{
    if (!attempt->site->settings->log_connections) {
        return;
    }
    char memory[DIALOGUE_LOG_WHO_MAX], text[DIALOGUE_LOG_SAID_MAX];
    struct bytes words = bytes_slice(why(attempt, text, sizeof text), 0, DIALOGUE_LOG_SAID_MAX);
    dialogue_log_line(attempt->attempts->dialogue_log,
                      "%s connection from %s to %s ended: %.*s; messages sent: %llu",
                      who(attempt, ":", memory), attempt->source_text, attempt->peer_text,
                      BYTES_FMT(words), (unsigned long long)attempt->messages_sent);
}

void attempt_log_broken(struct attempt *attempt, const struct transaction *transaction,
                        bool after_dot)
{
    char memory[DIALOGUE_LOG_WHO_MAX], text[DIALOGUE_LOG_SAID_MAX];
    struct bytes words = bytes_slice(why(attempt, text, sizeof text), 0, DIALOGUE_LOG_SAID_MAX);
    struct bytes rcpt = BYTES("");
    for (uint32_t i = transaction->rcpt_count; i-- > 0;) {
        rcpt = transaction->rcpts[i] == NULL ? rcpt : rcpt_address(transaction->rcpts[i]);
    }
    dialogue_log_line(attempt->attempts->dialogue_log,
                      "%s transfer from %s to %s broke %s: %.*s; message of %u bytes to <%.*s>, "
                      "recipients open: %u",
                      who(attempt, ":", memory), attempt->source_text, attempt->peer_text,
                      after_dot ? "after the end of the message" : "in the message",
                      BYTES_FMT(words), transaction->message->body_size, BYTES_FMT(rcpt),
                      transaction->undecided);
}

void attempt_log_commands(struct attempt *attempt, struct bytes commands)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_commands(attempt->attempts->dialogue_log, who(attempt, " >", memory), commands);
}

void attempt_log_reply(struct attempt *attempt, uint16_t code, struct bytes first_line)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    size_t room = DIALOGUE_LOG_SAID_MAX - strlen("250 ");
    first_line = bytes_slice(first_line, 0, room);
    dialogue_log_line(attempt->attempts->dialogue_log, "%s %u %.*s", who(attempt, " <", memory),
                      code, BYTES_FMT(first_line));
}
