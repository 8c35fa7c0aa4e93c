#include "probe_call.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/firewall.h"
#include "io/io.h"
#include "net/tls.h"
#include "policy/settings.h"
#include "vmta/vmta.h"

/* ---- the verdict ---- */

static void judge(struct probe_call *call, enum probe_result result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The first word counts, unless a later host lets us in. */
static void judge(struct probe_call *call, enum probe_result result, const char *format, ...)
{
    struct probe_verdict *verdict = &call->verdict;
    if (call->judged && result != PROBE_OK) {
        return;
    }
    call->judged = true;
    verdict->result = result;
    snprintf(verdict->host, sizeof verdict->host, "%s", call->host_name);
    verdict->peer[0] = '\0';
    if (call->tried_count > 0) {
        address_port_text(&call->connection.peer, verdict->peer);
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(verdict->text, sizeof verdict->text, format, arguments);
    va_end(arguments);
}

static void judge_reply(struct probe_call *call, enum probe_result result, const char *words,
                        const struct reply *reply)
{
    char said[REPLY_TEXT_MAX + 8];
    struct buffer out;
    buffer_init(&out, said, sizeof said);
    reply_print(reply, &out);
    for (size_t i = 0; i < out.len; i++) {
        said[i] = said[i] == '\0' ? ' ' : said[i]; /* it would end the text */
    }
    judge(call, result, "%s%.*s", words, (int)out.len, said);
}

/* Mail goes on in the clear where policy lets it: worth knowing, but no reason to be content. */
static void judge_tls(struct probe_call *call, const char *why)
{
    bool required = call->client_settings.tls == CLIENT_TLS_REQUIRED;
    judge(call, PROBE_FAILED, "TLS failed: %s%s", why,
          required || call->port == PROBE_TLS_PORT ? "" : " (mail goes in the clear instead)");
}

static void judge_network(struct probe_call *call, int error)
{
    switch (error) {
    case -ECONNREFUSED:
        judge(call, PROBE_FAILED, "refused");
        break;
    case -ETIMEDOUT:
        judge(call, PROBE_FAILED,
              "timed out (port %u is probably blocked outbound: ask your provider, or deliver "
              "through a relay on another port: smtp-hosts)",
              call->connection.peer.port);
        break;
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -EINVAL: /* a blackhole route */
        judge(call, PROBE_FAILED, "no route");
        break;
    case -EADDRNOTAVAIL:
        judge(call, PROBE_FAILED, "every local port is in use for this host");
        break;
    default:
        judge(call, PROBE_FAILED, "cannot connect: %s", strerror(-error));
        break;
    }
}

/* Why no connection came about. True: another host of the domain may do better. */
static bool judge_connect(struct probe_call *call, int error)
{
    const struct connection *connection = &call->connection;
    const struct address *source =
        call->source->address.family == ADDRESS_NONE ? NULL : &call->source->address;
    if (connection->bind_failed) {
        judge(call, PROBE_FAILED, "source address not on this host");
        return false;
    }
    if (error == -EPERM || error == -EACCES || firewall_denies(source, &connection->peer)) {
        judge(call, PROBE_FAILED, "permission denied (local firewall)");
        return false;
    }
    judge_network(call, error);
    return true;
}

/* ---- from host to host ---- */

static void finish(struct probe_call *call)
{
    assert(call->judged);
    route_unref(call->route);
    call->route = NULL;
    call->ended(call);
}

static const struct route_host *host_of(const struct route *route, uint32_t address_index)
{
    uint32_t i = 0;
    while (address_index >=
           (uint32_t)route->hosts[i].first_address + route->hosts[i].address_count) {
        i++;
    }
    assert(i < route->host_count);
    return &route->hosts[i];
}

/* By preference, then by name and address: every call asks the same host first, or verdicts of
 * several sources could not be compared. */
static int compare(const struct route *route, uint32_t first, uint32_t second)
{
    const struct route_host *a = host_of(route, first), *b = host_of(route, second);
    if (a->preference != b->preference) {
        return a->preference < b->preference ? -1 : 1;
    }
    int names = strcmp(a->name, b->name);
    return names != 0 ? names
                      : memcmp(route->addresses[first].ip, route->addresses[second].ip,
                               sizeof route->addresses[first].ip);
}

/* Index of the address to try next; UINT32_MAX: none is left. */
static uint32_t pick_address(const struct probe_call *call)
{
    const struct route *route = call->route;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < route->address_count; i++) {
        bool tried = (call->tried & (UINT32_C(1) << i)) != 0;
        if (!tried && (best == UINT32_MAX || compare(route, i, best) < 0)) {
            best = i;
        }
    }
    return best;
}

static const struct connection_events connection_events;

static uint64_t at_most(uint64_t policy_ms, uint64_t ours_ms)
{
    return policy_ms < ours_ms ? policy_ms : ours_ms;
}

static void try_next(struct probe_call *call)
{
    uint32_t index = call->tried_count < PROBE_HOSTS_MAX ? pick_address(call) : UINT32_MAX;
    if (index == UINT32_MAX) {
        finish(call);
        return;
    }
    call->tried |= UINT32_C(1) << index;
    call->tried_count++;
    call->closing = call->try_next = call->tls_wanted = false;
    call->host_name = host_of(call->route, index)->name;
    const struct vmta_source *source = call->source;
    struct connection_target target = {
        .source = source->address.family == ADDRESS_NONE ? NULL : &source->address,
        .peer = call->route->addresses[index],
        .timeout_ms = at_most(call->settings->connect_timeout_ms, PROBE_CONNECT_MS),
        .freebind = call->tools->freebind,
    };
    if (call->port != 0) {
        target.peer.port = call->port;
    }
    connection_open(&call->connection, call->tools->io, &connection_events, call, &target);
}

static void close_call(struct probe_call *call, enum connection_close how, bool next)
{
    call->closing = true;
    call->try_next = next && call->verdict.result != PROBE_OK && !call->aborted;
    connection_close(&call->connection, how);
}

/* ---- the dialogue ---- */

static void pump(struct probe_call *call)
{
    struct client_output output;
    if (call->closing || connection_sending(&call->connection)) {
        return;
    }
    client_next_output(&call->client, &output);
    if (output.kind == CLIENT_COMMANDS) {
        call->iov = (struct iovec){.iov_base = (void *)(uintptr_t)output.commands.data,
                                   .iov_len = output.commands.len};
        connection_send(&call->connection, &call->iov, 1);
    }
}

/* The deadline of the answer that is awaited. */
static void watch(struct probe_call *call)
{
    enum client_stage stage = CLIENT_STAGE_EHLO;
    (void)client_waiting(&call->client, &stage);
    uint64_t wait_ms = PROBE_ANSWER_MS;
    if (stage == CLIENT_STAGE_GREETING) {
        wait_ms = at_most(call->settings->smtp_greeting_timeout_ms, PROBE_ANSWER_MS);
    } else if (stage == CLIENT_STAGE_QUIT) {
        wait_ms = PROBE_QUIT_MS;
    }
    connection_set_deadline(&call->connection, io_now_ms(call->tools->io) + wait_ms);
}

static void start_tls(struct probe_call *call)
{
    if (connection_sending(&call->connection)) {
        call->tls_wanted = true; /* the answer was faster than the news of our own send */
        return;
    }
    struct error error = {0};
    struct tls_session *session =
        outbound_tls_session(&call->tools->tls, call->settings,
                             &(struct outbound_peer){
                                 .host_name = call->host_name,
                                 .address = &call->connection.peer,
                                 .vmta_name = call->vmta->name,
                                 .level = outbound_tls_level(call->settings, TLS_NEED_DEFAULT),
                             },
                             &error);
    if (session == NULL) {
        judge_tls(call, error.text);
        close_call(call, CONNECTION_CLOSE_NOW, false);
        return;
    }
    connection_start_tls(&call->connection, session,
                         at_most(call->settings->smtp_greeting_timeout_ms, PROBE_ANSWER_MS));
}

static void note_tls(struct probe_call *call)
{
    if (call->connection.tls != NULL) {
        struct tls_info info;
        tls_info(call->connection.tls, &info);
        snprintf(call->verdict.tls, sizeof call->verdict.tls, "%s", info.protocol);
    }
}

/* The verdict to be, once the session stands. */
static void on_greeted(struct client *client, void *owner, const struct reply *reply)
{
    (void)client;
    struct probe_call *call = owner;
    call->greeting = *reply;
}

static void on_established(struct client *client, void *owner)
{
    struct probe_call *call = owner;
    note_tls(call);
    judge_reply(call, PROBE_OK, "ok ", &call->greeting);
    client_quit(client);
}

static void on_start_tls(struct client *client, void *owner)
{
    (void)client;
    start_tls(owner);
}

static void judge_over(struct probe_call *call, enum client_over how, enum client_stage stage,
                       const struct reply *reply)
{
    switch (how) {
    case CLIENT_OVER_QUIT: /* before the session stood: a 421 out of turn */
    case CLIENT_OVER_REPLY:
        judge_reply(call, PROBE_FAILED,
                    stage == CLIENT_STAGE_GREETING   ? "greeted with "
                    : stage == CLIENT_STAGE_STARTTLS ? "TLS failed: "
                                                     : "EHLO answered with ",
                    reply);
        break;
    case CLIENT_OVER_TLS:
        judge_reply(call, PROBE_FAILED, "TLS failed: ", reply);
        break;
    case CLIENT_OVER_AUTH:
        judge_reply(call, PROBE_FAILED, "no AUTH: ", reply);
        break;
    case CLIENT_OVER_LOOP:
        judge_reply(call, PROBE_FAILED, "the host bears our own name, mail would loop: ", reply);
        break;
    case CLIENT_OVER_PROTOCOL:
    case CLIENT_OVER_ABANDON:
        if (stage == CLIENT_STAGE_STARTTLS) {
            judge_tls(call, "more came behind the answer to STARTTLS");
        } else if (reply == NULL) {
            judge(call, PROBE_FAILED, "what answers is no SMTP server");
        } else {
            judge_reply(call, PROBE_FAILED, "what answers is no SMTP server: ", reply);
        }
        break;
    }
}

static void on_over(struct client *client, void *owner, enum client_over how,
                    enum client_stage stage, const struct reply *reply)
{
    (void)client;
    struct probe_call *call = owner;
    judge_over(call, how, stage, reply);
    close_call(call, CONNECTION_CLOSE_NOW, true);
}

/* No transaction is ever begun, so none of its events comes. */
static const struct client_events client_events = {
    .greeted = on_greeted,
    .established = on_established,
    .start_tls = on_start_tls,
    .over = on_over,
};

static void begin_talking(struct probe_call *call)
{
    client_init(&call->client, &call->client_settings, &client_events, call);
    call->client.secured = call->port == PROBE_TLS_PORT;
    watch(call);
}

/* ---- the connection's callbacks ---- */

static void on_opened(struct connection *connection, int result)
{
    struct probe_call *call = connection->owner;
    if (call->closing) {
        return; /* aborted meanwhile; `closed` follows */
    }
    if (result < 0) {
        close_call(call, CONNECTION_CLOSE_NOW, judge_connect(call, result));
        return;
    }
    address_text(&connection->source, call->verdict.source);
    if (call->port == PROBE_TLS_PORT) {
        start_tls(call);
    } else {
        begin_talking(call);
    }
}

static void on_received(struct connection *connection, const uint8_t *data, size_t len)
{
    struct probe_call *call = connection->owner;
    uint32_t head = call->client.outstanding_first;
    client_receive(&call->client, data, len);
    if (!call->closing && call->client.outstanding_first != head) {
        watch(call); /* a reply was complete: the next one's time begins */
    }
    pump(call);
}

static void on_sent(struct connection *connection)
{
    struct probe_call *call = connection->owner;
    if (call->closing) {
        return;
    }
    client_sent(&call->client);
    if (call->tls_wanted) {
        call->tls_wanted = false;
        start_tls(call);
        return;
    }
    watch(call);
    pump(call);
}

static void on_secured(struct connection *connection, int result)
{
    struct probe_call *call = connection->owner;
    if (call->closing) {
        return;
    }
    if (result < 0) {
        const char *why = connection->tls == NULL ? "" : tls_failure(connection->tls);
        judge_tls(call, result == -ETIMEDOUT    ? "timed out in the handshake"
                        : result == -ECONNRESET ? "the host closed the connection"
                                                : why);
        close_call(call, CONNECTION_CLOSE_NOW, true);
    } else if (call->port == PROBE_TLS_PORT) {
        begin_talking(call);
    } else {
        client_secured(&call->client);
        watch(call);
        pump(call);
    }
}

static void on_lost(struct connection *connection, int error)
{
    struct probe_call *call = connection->owner;
    if (call->closing) {
        return;
    }
    enum client_stage stage = CLIENT_STAGE_EHLO;
    (void)client_waiting(&call->client, &stage);
    const char *awaited = stage == CLIENT_STAGE_GREETING   ? "the greeting"
                          : stage == CLIENT_STAGE_STARTTLS ? "the answer to STARTTLS"
                          : stage == CLIENT_STAGE_AUTH     ? "the answer to AUTH"
                                                           : "the answer to EHLO";
    if (error == -EPROTO) {
        judge_tls(call, connection->tls == NULL ? "" : tls_failure(connection->tls));
    } else if (error == -ETIMEDOUT) {
        judge(call, PROBE_FAILED, "timed out waiting for %s", awaited);
    } else if (error == 0) {
        judge(call, PROBE_FAILED, "the host closed the connection before %s", awaited);
    } else {
        judge(call, PROBE_FAILED, "connection lost before %s: %s", awaited, strerror(-error));
    }
    client_lost(&call->client);
    close_call(call, CONNECTION_CLOSE_NOW, true);
}

static void on_closed(struct connection *connection)
{
    struct probe_call *call = connection->owner;
    if (call->try_next) {
        try_next(call);
    } else {
        finish(call);
    }
}

static const struct connection_events connection_events = {
    .opened = on_opened,
    .received = on_received,
    .sent = on_sent,
    .secured = on_secured,
    .lost = on_lost,
    .closed = on_closed,
};

/* ---- entry points ---- */

static void judge_unresolved(struct probe_call *call, const struct reply *failure)
{
    uint8_t family = call->source->address.family;
    bool ipv4 = family == ADDRESS_IPV4;
    bool wrong_family = failure->code == 451 && failure->enhanced_class == 4 &&
                        failure->enhanced_subject == 4 && failure->enhanced_detail == 4;
    if (wrong_family && vmta_has_family(call->vmta, ipv4 ? ADDRESS_IPV6 : ADDRESS_IPV4)) {
        judge(call, PROBE_UNUSED, "not used: no mail host has an %s address",
              ipv4 ? "IPv4" : "IPv6");
    } else {
        judge_reply(call, PROBE_FAILED, "not resolved: ", failure);
    }
}

static void on_resolved(struct resolve_request *request, struct route *route)
{
    struct probe_call *call = CONTAINER_OF(request, struct probe_call, request);
    call->resolving = false;
    call->route = route;
    if (route == NULL) {
        judge_unresolved(call, &request->failure); /* said before, if aborted */
    }
    if (route == NULL || call->aborted) {
        finish(call);
    } else {
        try_next(call);
    }
}

void probe_call_start(struct probe_call *call, const struct probe_call_options *options)
{
    void (*ended)(struct probe_call *) = call->ended;
    const struct vmta_source *source = options->source;
    uint8_t family = source->address.family;
    *call = (struct probe_call){
        .ended = ended,
        .tools = options->tools,
        .vmta = options->vmta,
        .source = source,
        .settings = options->settings,
        .port = options->port,
        .resolving = true,
        .host_name = "",
        .verdict = {.domain = options->domain,
                    .vmta = options->vmta->name,
                    .helo = source->helo_name,
                    .source = "any"},
        .request = {.done = on_resolved},
    };
    if (family != ADDRESS_NONE) {
        address_text(&source->address, call->verdict.source);
    }
    call->client_settings = outbound_client_settings(
        options->settings, outbound_tls_level(options->settings, TLS_NEED_DEFAULT),
        source->helo_name);
    if (options->port == PROBE_TLS_PORT) {
        call->client_settings.tls = CLIENT_TLS_NEVER; /* it is there before the first word */
    }
    resolve_domain(options->tools->resolver, &call->request, options->domain, options->settings,
                   family != ADDRESS_IPV6, family != ADDRESS_IPV4);
}

void probe_call_abort(struct probe_call *call)
{
    judge(call, PROBE_FAILED, "no time left for it (--timeout)");
    call->aborted = true;
    call->try_next = false;
    if (call->resolving) {
        resolve_cancel(&call->request); /* goes on in on_resolved */
    } else if (!call->closing) {
        close_call(call, CONNECTION_CLOSE_ABORT, false);
    }
}
