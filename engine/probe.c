#include "probe.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"
#include "listening.h"
#include "net/dns.h"
#include "net/tls.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "probe_call.h"
#include "vmta/vmta.h"

#define RING_ENTRIES      256
#define RECV_BUFFER_BYTES 4096
#define RECV_BUFFERS      128
#define DNS_TIMEOUT_MS    3000
#define DNS_TRIES         2 /* so long, then twice as long: nine seconds of silence per server */

/* The calls there are to make, in order: a position, not a list. */
struct place {
    size_t domain, vmta;
    uint32_t source;
};

struct slot {
    struct probe *probe;
    struct probe_call call;
    bool busy, done;
};

/* Calls are numbered in order. Call n has slot n % PROBE_PARALLEL, and begins when the verdict of
 * the call that had the slot before it has been told: so few wait to be told, and one that takes
 * long holds up its followers at most until its own deadlines. */
struct probe {
    const struct probe_options *options;
    struct probe_tools tools;
    struct dns *dns;
    struct tls_worker *tls;
    char own_name[256];
    const struct config_vmta *settings; /* of vmtas[0]; those of the others follow */
    struct vmta *vmtas;
    size_t vmta_count;
    struct place next;
    uint64_t begun, told;
    bool out_of_time;
    struct timer deadline;
    struct slot slots[PROBE_PARALLEL];
};

/* ---- what there is to do ---- */

static bool at_end(const struct probe *probe)
{
    return probe->next.domain == probe->options->domain_count;
}

static void advance(struct probe *probe)
{
    struct place *next = &probe->next;
    if (++next->source < probe->vmtas[next->vmta].source_count) {
        return;
    }
    next->source = 0;
    if (++next->vmta == probe->vmta_count) {
        next->vmta = 0;
        next->domain++;
    }
}

static void start_call(struct probe *probe, struct slot *slot)
{
    const struct place *place = &probe->next;
    const char *domain = probe->options->domains[place->domain];
    const struct vmta *vmta = &probe->vmtas[place->vmta];
    slot->busy = true;
    slot->done = vmta->source_count == 0;
    if (slot->done) {
        slot->call.verdict = (struct probe_verdict){
            .domain = domain,
            .vmta = vmta->name,
            .helo = "",
            .source = "none",
            .result = PROBE_FAILED,
            .text = "no address of this host is in the range of its smtp-source-host",
        };
        return;
    }
    probe_call_start(&slot->call, &(struct probe_call_options){
                                      .tools = &probe->tools,
                                      .vmta = vmta,
                                      .source = &vmta->sources[place->source],
                                      .settings = config_domain(probe->options->config,
                                                                &probe->settings[place->vmta],
                                                                bytes_from_string(domain)),
                                      .domain = domain,
                                      .port = probe->options->port,
                                  });
    if (probe->out_of_time) {
        probe_call_abort(&slot->call);
    }
}

static struct slot *slot_of(struct probe *probe, uint64_t number)
{
    return &probe->slots[number % PROBE_PARALLEL];
}

static void tell(struct probe *probe)
{
    const struct probe_options *options = probe->options;
    while (probe->told < probe->begun && slot_of(probe, probe->told)->done) {
        struct slot *slot = slot_of(probe, probe->told);
        options->verdict(options->owner, &slot->call.verdict);
        slot->busy = false;
        probe->told++;
    }
}

static void tell_and_start(struct probe *probe)
{
    tell(probe);
    while (!at_end(probe) && probe->begun < probe->told + PROBE_PARALLEL) {
        start_call(probe, slot_of(probe, probe->begun));
        probe->begun++;
        advance(probe);
        tell(probe);
    }
}

static void on_ended(struct probe_call *call)
{
    struct slot *slot = CONTAINER_OF(call, struct slot, call);
    slot->done = true;
    tell_and_start(slot->probe);
}

/* What has not begun yet begins and ends at once: it has its verdict, too. */
static void on_deadline(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, deadline);
    probe->out_of_time = true;
    for (size_t i = 0; i < PROBE_PARALLEL; i++) {
        if (probe->slots[i].busy && !probe->slots[i].done) {
            probe_call_abort(&probe->slots[i].call);
        }
    }
}

/* ---- life ---- */

static bool on_is_own_listener(void *owner, const struct address *address)
{
    const struct probe *probe = owner;
    return listening_is_ours(probe->tools.io, probe->options->config, address);
}

static int create_names(struct probe *probe, struct error *error)
{
    const struct config *config = probe->options->config;
    const struct global_settings *global = config_global(config);
    struct bytes name = config_host_name(config);
    snprintf(probe->own_name, sizeof probe->own_name, "%.*s",
             BYTES_FMT(name.len > 0 ? name : bytes_from_string(probe->options->host_name)));
    probe->dns =
        dns_create(probe->tools.io,
                   &(struct dns_options){.servers = global->name_servers.items,
                                         .server_count = (uint32_t)global->name_servers.count,
                                         .timeout_ms = DNS_TIMEOUT_MS,
                                         .tries = DNS_TRIES},
                   error);
    if (probe->dns == NULL) {
        return -1;
    }
    probe->tools.resolver =
        resolver_create(&(struct resolver_options){.io = probe->tools.io,
                                                   .dns = probe->dns,
                                                   .seed = io_random(probe->tools.io),
                                                   .own_name = probe->own_name,
                                                   .is_own_listener = on_is_own_listener,
                                                   .owner = probe});
    return probe->tools.resolver == NULL ? error_set(error, 71, "out of memory") : 0;
}

static int create_vmtas(struct probe *probe, struct error *error)
{
    const struct probe_options *options = probe->options;
    size_t count;
    const struct config_vmta *all = config_vmtas(options->config, &count);
    probe->settings = options->vmta != NULL ? options->vmta : all;
    count = options->vmta != NULL ? 1 : count;
    probe->vmtas = calloc(count, sizeof *probe->vmtas);
    if (probe->vmtas == NULL) {
        return error_set(error, 71, "out of memory");
    }
    for (; probe->vmta_count < count; probe->vmta_count++) {
        struct vmta *vmta = &probe->vmtas[probe->vmta_count];
        const struct config_vmta *settings = &probe->settings[probe->vmta_count];
        if (!vmta_init(vmta, settings->name)) {
            return error_set(error, 71, "out of memory");
        }
        outbound_add_sources(probe->tools.io, settings, probe->own_name, vmta);
    }
    return 0;
}

static int create(struct probe *probe, struct error *error)
{
    probe->tools.io = io_create(&(struct io_options){.entries = RING_ENTRIES,
                                                     .recv_buffer_bytes = RECV_BUFFER_BYTES,
                                                     .recv_buffer_count = RECV_BUFFERS},
                                error);
    if (probe->tools.io == NULL || create_names(probe, error) < 0 ||
        create_vmtas(probe, error) < 0) {
        return -1;
    }
    probe->tls = tls_worker_create(io_random(probe->tools.io), error);
    if (probe->tls == NULL) {
        return -1;
    }
    outbound_tls_init(&probe->tools.tls, probe->tls);
    probe->tools.freebind = config_global(probe->options->config)->allow_no_source_address;
    for (size_t i = 0; i < PROBE_PARALLEL; i++) {
        probe->slots[i].probe = probe;
        probe->slots[i].call.ended = on_ended;
    }
    return 0;
}

static void destroy(struct probe *probe)
{
    outbound_tls_deinit(&probe->tools.tls);
    tls_worker_destroy(probe->tls);
    for (size_t i = 0; i < probe->vmta_count; i++) {
        vmta_deinit(&probe->vmtas[i]);
    }
    free(probe->vmtas);
    resolver_destroy(probe->tools.resolver);
    dns_destroy(probe->dns);
    io_destroy(probe->tools.io);
    free(probe);
}

static void run(struct probe *probe)
{
    struct timers *timers = io_timers(probe->tools.io);
    timer_init(&probe->deadline, on_deadline);
    timer_start(timers, &probe->deadline, io_now_ms(probe->tools.io) + probe->options->timeout_ms);
    tell_and_start(probe);
    while (probe->told < probe->begun) {
        int result = io_run(probe->tools.io, UINT64_MAX);
        assert(result == 0); /* the ring itself is broken: nothing can go on */
    }
    timer_stop(timers, &probe->deadline);
}

int probe_run(const struct probe_options *options, struct error *error)
{
    struct probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL) {
        return error_set(error, 71, "out of memory");
    }
    probe->options = options;
    int result = create(probe, error);
    if (result == 0) {
        run(probe);
    }
    destroy(probe);
    return result;
}
