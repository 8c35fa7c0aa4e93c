/* What log-connections, log-commands and the other log-… of <domain> say of an attempt. */
#include <inttypes.h>
#include <stdio.h>

#include "attempt.h"
#include "attempt_private.h"
#include "dialogue_log.h"
#include "io/io.h"
#include "policy/settings.h"
#include "queue.h"
#include "site.h"
#include "site_mode.h"

#define ROUTE_TEXT_MAX 1000 /* bytes of hosts and addresses in one line */

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

/* ---- before there is a connection ---- */

/* "mx1.a.test (10) 192.0.2.1 192.0.2.2, mx2.a.test (20) 2001:db8::1"; those there is no room for
 * are counted. */
static struct bytes route_text(const struct route *route, char memory[ROUTE_TEXT_MAX])
{
    struct buffer out;
    buffer_init(&out, memory, ROUTE_TEXT_MAX);
    const size_t one_max = DNS_NAME_MAX + ADDRESS_TEXT_MAX + 64;
    uint32_t left_out = 0;
    for (uint32_t i = 0; i < route->host_count; i++) {
        const struct route_host *host = &route->hosts[i];
        for (uint32_t j = 0; j < host->address_count; j++) {
            char address[ADDRESS_TEXT_MAX];
            if (buffer_room(&out) < one_max) {
                left_out++;
                continue;
            }
            if (j == 0) {
                buffer_printf(&out, "%s%s (%" PRIu32 ")", i == 0 ? "" : ", ", host->name,
                              host->preference);
            }
            buffer_printf(&out, " %s",
                          address_text(&route->addresses[host->first_address + j], address));
        }
    }
    if (left_out > 0) {
        buffer_printf(&out, " and %" PRIu32 " addresses more", left_out);
    }
    return buffer_bytes(&out);
}

void attempt_log_resolved(struct attempt *attempt, const struct route *route,
                          const struct reply *failure)
{
    if (!attempt->site->settings->log_resolution) {
        return;
    }
    char memory[ROUTE_TEXT_MAX];
    struct bytes text;
    if (route != NULL) {
        text = route_text(route, memory);
    } else {
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        reply_print(failure, &out);
        text = buffer_bytes(&out);
    }
    struct bytes domain = site_domain(attempt->site);
    dialogue_log_line(attempt->attempts->dialogue_log, "%s: resolving %.*s %s: %.*s",
                      attempt->site->name, BYTES_FMT(domain), route != NULL ? "gave" : "failed",
                      BYTES_FMT(text));
}

void attempt_log_disabled(struct attempt *attempt, const struct address *source)
{
    const struct site *site = attempt->site;
    uint64_t now_ms = io_now_ms(attempt->attempts->io);
    if (!site->settings->log_disabled_ips || site->mode == NULL) {
        return;
    }
    for (uint32_t i = 0; i < site->mode->state.disabled_count; i++) {
        const struct mode_disabled *one = &site->mode->state.disabled[i];
        char text[ADDRESS_TEXT_MAX], until[64] = "until it is enabled";
        if (!address_equal_ip(&one->address, source) || one->until_ms <= now_ms) {
            continue;
        }
        if (one->until_ms != NEVER) {
            snprintf(until, sizeof until, "for %" PRIu64 " s more",
                     (one->until_ms - now_ms + 999) / 1000);
        }
        dialogue_log_line(attempt->attempts->dialogue_log,
                          "%s: source address %s is passed over: disabled %s", site->name,
                          address_text(source, text), until);
    }
}

/* ---- of a connection ---- */

void attempt_log_tls(struct attempt *attempt, const char *failure)
{
    struct dialogue_log *log = attempt->attempts->dialogue_log;
    char memory[DIALOGUE_LOG_WHO_MAX];
    if (!attempt->site->settings->log_tls) {
        return;
    }
    if (failure != NULL) {
        dialogue_log_line(log, "%s TLS handshake with %s (%s) failed: %s",
                          who(attempt, ":", memory), attempt->host_name, attempt->peer_text,
                          failure);
        return;
    }
    struct tls_info info;
    tls_info(attempt->connection.tls, &info);
    dialogue_log_line(log, "%s TLS with %s (%s): %s, %s, certificate %s%s",
                      who(attempt, ":", memory), attempt->host_name, attempt->peer_text,
                      info.protocol, info.cipher, info.verified ? "verified" : "not verified",
                      info.resumed ? ", session resumed" : "");
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

void attempt_log_secret(struct attempt *attempt)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_secret(attempt->attempts->dialogue_log, who(attempt, " >", memory));
}

void attempt_log_reply(struct attempt *attempt, uint16_t code, struct bytes first_line)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    size_t room = DIALOGUE_LOG_SAID_MAX - strlen("250 ");
    first_line = bytes_slice(first_line, 0, room);
    dialogue_log_line(attempt->attempts->dialogue_log, "%s %u %.*s", who(attempt, " <", memory),
                      code, BYTES_FMT(first_line));
}

void attempt_log_received(struct attempt *attempt, struct bytes data)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_data(attempt->attempts->dialogue_log, who(attempt, " <", memory), data);
}

void attempt_log_content(struct attempt *attempt, struct bytes data)
{
    char memory[DIALOGUE_LOG_WHO_MAX];
    dialogue_log_content(attempt->attempts->dialogue_log, who(attempt, " >", memory), data,
                         &attempt->content_said);
}
