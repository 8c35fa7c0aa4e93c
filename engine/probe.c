#include "probe.h"

#include <stdlib.h>

#include "doctor.h"
#include "io/io.h"
#include "listening.h"
#include "net/tls.h"
#include "policy/config.h"
#include "policy/domain.h"
#include "probe_call.h"
#include "vmta/vmta.h"

struct slot {
    struct probe *probe;
    struct probe_call call;
};

struct probe {
    const struct probe_options *options;
    struct doctor *doctor;
    struct probe_tools tools;
    struct tls_worker *tls;
    struct slot slots[DOCTOR_PARALLEL];
};

/* ---- the jobs ---- */

static void on_ended(struct probe_call *call)
{
    struct slot *slot = CONTAINER_OF(call, struct slot, call);
    struct probe *probe = slot->probe;
    doctor_done(probe->doctor, (uint32_t)(slot - probe->slots));
}

static bool on_start(void *owner, const struct doctor_job *job)
{
    struct probe *probe = owner;
    struct probe_call *call = &probe->slots[job->slot].call;
    const char *domain = probe->options->domains[job->round];
    if (job->source == NULL) {
        call->verdict = (struct probe_verdict){
            .domain = domain,
            .vmta = job->vmta->name,
            .helo = "",
            .source = "none",
            .result = PROBE_FAILED,
            .text = "no address of this host is in the range of its smtp-source-host",
        };
        return true;
    }
    probe_call_start(call, &(struct probe_call_options){
                               .tools = &probe->tools,
                               .vmta = job->vmta,
                               .source = job->source,
                               .settings = config_domain(probe->options->config, job->settings,
                                                         bytes_from_string(domain)),
                               .domain = domain,
                               .port = probe->options->port,
                           });
    if (probe->doctor->out_of_time) {
        probe_call_abort(call);
    }
    return false;
}

static void on_abort(void *owner, uint32_t slot)
{
    struct probe *probe = owner;
    probe_call_abort(&probe->slots[slot].call);
}

static void on_tell(void *owner, uint32_t slot)
{
    const struct probe *probe = owner;
    probe->options->verdict(probe->options->owner, &probe->slots[slot].call.verdict);
}

/* ---- life ---- */

static bool on_is_own_listener(void *owner, const struct address *address)
{
    const struct probe *probe = owner;
    return listening_is_ours(probe->doctor->io, probe->options->config, address);
}

static int create_tools(struct probe *probe, struct error *error)
{
    struct doctor *doctor = probe->doctor;
    probe->tools.io = doctor->io;
    probe->tools.freebind = config_global(probe->options->config)->allow_no_source_address;
    probe->tools.resolver =
        resolver_create(&(struct resolver_options){.io = doctor->io,
                                                   .dns = doctor->dns,
                                                   .seed = io_random(doctor->io),
                                                   .own_name = doctor->own_name,
                                                   .is_own_listener = on_is_own_listener,
                                                   .owner = probe});
    if (probe->tools.resolver == NULL) {
        return error_set(error, 71, "out of memory");
    }
    probe->tls = tls_worker_create(io_random(doctor->io), error);
    if (probe->tls == NULL) {
        return -1;
    }
    outbound_tls_init(&probe->tools.tls, probe->tls);
    return 0;
}

static int create(struct probe *probe, struct error *error)
{
    const struct probe_options *options = probe->options;
    for (size_t i = 0; i < DOCTOR_PARALLEL; i++) {
        probe->slots[i].probe = probe;
        probe->slots[i].call.ended = on_ended;
    }
    probe->doctor = doctor_create(&(struct doctor_options){.config = options->config,
                                                           .vmta = options->vmta,
                                                           .host_name = options->host_name,
                                                           .rounds = options->domain_count,
                                                           .timeout_ms = options->timeout_ms,
                                                           .owner = probe,
                                                           .start = on_start,
                                                           .abort = on_abort,
                                                           .tell = on_tell},
                                  error);
    return probe->doctor == NULL ? -1 : create_tools(probe, error);
}

static void destroy(struct probe *probe)
{
    outbound_tls_deinit(&probe->tools.tls);
    tls_worker_destroy(probe->tls);
    resolver_destroy(probe->tools.resolver);
    doctor_destroy(probe->doctor);
    free(probe);
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
        doctor_run(probe->doctor);
    }
    destroy(probe);
    return result;
}
