/* Jobs are numbered in order. Job n has slot n % DOCTOR_PARALLEL, and begins when the job that had
 * the slot before it has been told: so few wait to be told, and one that takes long holds up its
 * followers at most until its own deadlines. */
#include "doctor.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/io.h"
#include "net/dns.h"
#include "outbound.h"
#include "policy/config.h"
#include "vmta/vmta.h"

#define RING_ENTRIES      256
#define RECV_BUFFER_BYTES 4096
#define RECV_BUFFERS      128
#define DNS_TIMEOUT_MS    3000
#define DNS_TRIES         2 /* so long, then twice as long: nine seconds of silence per server */

/* ---- the jobs ---- */

static bool at_end(const struct doctor *doctor)
{
    return doctor->next_round == doctor->options.rounds;
}

/* A virtual MTA has one job at least: that it has no address is worth telling. */
static void advance(struct doctor *doctor)
{
    if (++doctor->next_source < doctor->vmtas[doctor->next_vmta].source_count) {
        return;
    }
    doctor->next_source = 0;
    if (++doctor->next_vmta == doctor->vmta_count) {
        doctor->next_vmta = 0;
        doctor->next_round++;
    }
}

static uint32_t slot_of(uint64_t number)
{
    return (uint32_t)(number % DOCTOR_PARALLEL);
}

static void start(struct doctor *doctor)
{
    const struct vmta *vmta = &doctor->vmtas[doctor->next_vmta];
    struct doctor_job job = {
        .slot = slot_of(doctor->begun++),
        .round = doctor->next_round,
        .settings = &doctor->settings[doctor->next_vmta],
        .vmta = vmta,
        .source = vmta->source_count == 0 ? NULL : &vmta->sources[doctor->next_source],
    };
    doctor->done[job.slot] = false;
    bool done = doctor->options.start(doctor->options.owner, &job);
    doctor->done[job.slot] = done;
    advance(doctor);
}

static void tell(struct doctor *doctor)
{
    while (doctor->told < doctor->begun && doctor->done[slot_of(doctor->told)]) {
        doctor->options.tell(doctor->options.owner, slot_of(doctor->told));
        doctor->told++;
    }
}

static void tell_and_start(struct doctor *doctor)
{
    tell(doctor);
    while (!at_end(doctor) && doctor->begun < doctor->told + DOCTOR_PARALLEL) {
        start(doctor);
        tell(doctor);
    }
}

void doctor_done(struct doctor *doctor, uint32_t slot)
{
    assert(!doctor->done[slot]);
    doctor->done[slot] = true;
    tell_and_start(doctor);
}

static void on_deadline(struct timer *timer)
{
    struct doctor *doctor = CONTAINER_OF(timer, struct doctor, deadline);
    doctor->out_of_time = true;
    uint64_t begun = doctor->begun; /* what begins from here on knows of it */
    for (uint64_t number = doctor->told; number < begun; number++) {
        if (!doctor->done[slot_of(number)]) {
            doctor->options.abort(doctor->options.owner, slot_of(number));
        }
    }
}

void doctor_run(struct doctor *doctor)
{
    struct timers *timers = io_timers(doctor->io);
    timer_init(&doctor->deadline, on_deadline);
    timer_start(timers, &doctor->deadline, io_now_ms(doctor->io) + doctor->options.timeout_ms);
    tell_and_start(doctor);
    while (doctor->told < doctor->begun) {
        int result = io_run(doctor->io, UINT64_MAX);
        assert(result == 0); /* the ring itself is broken: nothing can go on */
    }
    timer_stop(timers, &doctor->deadline);
}

/* ---- life ---- */

static int create_names(struct doctor *doctor, struct error *error)
{
    const struct config *config = doctor->options.config;
    const struct global_settings *global = config_global(config);
    struct bytes name = config_host_name(config);
    if (name.len == 0) {
        name = bytes_from_string(doctor->options.host_name);
    }
    snprintf(doctor->own_name, sizeof doctor->own_name, "%.*s", BYTES_FMT(name));
    doctor->dns =
        dns_create(doctor->io,
                   &(struct dns_options){.servers = global->name_servers.items,
                                         .server_count = (uint32_t)global->name_servers.count,
                                         .timeout_ms = DNS_TIMEOUT_MS,
                                         .tries = DNS_TRIES},
                   error);
    return doctor->dns == NULL ? -1 : 0;
}

static int create_vmtas(struct doctor *doctor, struct error *error)
{
    const struct doctor_options *options = &doctor->options;
    size_t count;
    const struct config_vmta *all = config_vmtas(options->config, &count);
    doctor->settings = options->vmta != NULL ? options->vmta : all;
    count = options->vmta != NULL ? 1 : count;
    doctor->vmtas = calloc(count, sizeof *doctor->vmtas);
    if (doctor->vmtas == NULL) {
        return error_set(error, 71, "out of memory");
    }
    for (; doctor->vmta_count < count; doctor->vmta_count++) {
        struct vmta *vmta = &doctor->vmtas[doctor->vmta_count];
        const struct config_vmta *settings = &doctor->settings[doctor->vmta_count];
        if (!vmta_init(vmta, settings->name)) {
            return error_set(error, 71, "out of memory");
        }
        outbound_add_sources(doctor->io, settings, doctor->own_name, vmta);
    }
    return 0;
}

struct doctor *doctor_create(const struct doctor_options *options, struct error *error)
{
    struct doctor *doctor = calloc(1, sizeof *doctor);
    if (doctor == NULL) {
        error_set(error, 71, "out of memory");
        return NULL;
    }
    doctor->options = *options;
    doctor->io = io_create(&(struct io_options){.entries = RING_ENTRIES,
                                                .recv_buffer_bytes = RECV_BUFFER_BYTES,
                                                .recv_buffer_count = RECV_BUFFERS},
                           error);
    if (doctor->io == NULL || create_names(doctor, error) < 0 || create_vmtas(doctor, error) < 0) {
        doctor_destroy(doctor);
        return NULL;
    }
    return doctor;
}

void doctor_destroy(struct doctor *doctor)
{
    if (doctor == NULL) {
        return;
    }
    for (size_t i = 0; i < doctor->vmta_count; i++) {
        vmta_deinit(&doctor->vmtas[i]);
    }
    free(doctor->vmtas);
    dns_destroy(doctor->dns);
    io_destroy(doctor->io);
    free(doctor);
}
