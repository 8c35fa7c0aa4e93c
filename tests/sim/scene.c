#include "scene.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/logger.h"
#include "io/io.h"
#include "sim_disk.h"
#include "sim_dns.h"
#include "sim_memory.h"

#define LISTENER     "192.0.2.10"
#define SOURCE       "192.0.2.20"
#define SEGMENT      (1024u * 1024)
#define STOP_SECONDS 600
#define SEND_SECONDS 3600

static const char *const domains[SCENE_DOMAINS] = {"a.example", "b.example"};

static const char format[] = "host-name mail.sim.example\n"
                             "smtp-listener " LISTENER ":25\n"
                             "control-socket /run/control.sock\n"
                             "<spool /spool>\n</spool>\n"
                             "%s\n"
                             "<source 203.0.113/24>\n"
                             "always-allow-relaying yes\n"
                             "default-virtual-mta v\n"
                             "</source>\n"
                             "<virtual-mta v>\n"
                             "smtp-source-host " SOURCE " v.sim.example\n"
                             "</virtual-mta>\n"
                             "<domain *>\n%s\n</domain>\n"
                             "<acct-file /acct/acct.csv>\n"
                             "records d,b,t,tq\n%s\n"
                             "</acct-file>\n";

static struct address address_of(const char *text)
{
    struct address out = {0};
    bool parsed = address_parse(bytes_from_string(text), &out);
    assert(parsed);
    return out;
}

static const char *or_nothing(const char *text)
{
    return text == NULL ? "" : text;
}

static void no_lines(enum logger_level level, const char *line)
{
    (void)level;
    (void)line;
}

/* ---- life ------------------------------------------------------------------------------- */

static void make_directories(struct scene *scene)
{
    struct io *io = io_create(&(struct io_options){.recv_buffer_bytes = 512}, NULL);
    io_directory_create(io, "/spool");
    io_directory_create(io, "/acct");
    io_directory_create(io, "/run");
    io_destroy(io);
    sim_disk_settle(scene->sim);
}

static void make_people(struct scene *scene)
{
    struct address listener = address_of(LISTENER), source = address_of(SOURCE);
    struct address client = address_of("203.0.113.1");
    sim_address_add(scene->sim, &listener);
    sim_address_add(scene->sim, &source);
    listener.port = 25;
    for (int i = 0; i < SCENE_DOMAINS; i++) {
        char text[32], host[64];
        snprintf(text, sizeof text, "198.51.100.%d", 10 + i);
        snprintf(host, sizeof host, "mx.%s", domains[i]);
        struct address address = address_of(text);
        scene->hosts[i] = sim_mx_create(scene->farm, host, &address);
        sim_dns_add_mx(scene->sim, domains[i], 10, host);
    }
    scene->client = sim_client_create(scene->sim, &client, &listener);
}

void scene_open(struct scene *scene, const struct scene_options *options)
{
    *scene = (struct scene){0};
    logger_set_sink(no_lines);
    scene->sim = sim_create(&(struct sim_options){.seed = options->seed + 1, .calm = true});
    scene->farm = sim_farm_create(scene->sim);
    make_directories(scene);
    make_people(scene);
    int len = snprintf(scene->configuration, sizeof scene->configuration, format,
                       or_nothing(options->global), or_nothing(options->domain),
                       or_nothing(options->acct));
    assert(len > 0);
    assert((size_t)len < sizeof scene->configuration);
    scene->options = (struct sim_engine_options){
        .configuration = scene->configuration,
        .workers = options->workers == 0 ? 1 : options->workers,
        .mailbox_len = 2,
        .segment_bytes = SEGMENT,
    };
    scene_start(scene);
}

void scene_start(struct scene *scene)
{
    struct error error = {0};
    assert(scene->engine == NULL);
    scene->engine = sim_engine_start(scene->sim, &scene->options, &error);
    if (scene->engine == NULL) {
        printf("the engine does not start: %s\n", error.text);
    }
    assert(scene->engine != NULL);
}

void scene_crash(struct scene *scene, enum sim_crash kind)
{
    sim_engine_crash(scene->engine, kind);
    scene->engine = NULL;
}

static bool has_stopped(struct scene *scene)
{
    return sim_engine_stopped(scene->engine);
}

bool scene_stop(struct scene *scene)
{
    sim_engine_stop(scene->engine);
    if (!scene_await(scene, STOP_SECONDS, has_stopped)) {
        return false;
    }
    sim_engine_destroy(scene->engine);
    scene->engine = NULL;
    sim_memory_drop();
    return true;
}

void scene_close(struct scene *scene)
{
    if (scene->engine != NULL) {
        scene_crash(scene, SIM_KILL);
    }
    sim_client_destroy(scene->client);
    sim_farm_destroy(scene->farm);
    sim_destroy(scene->sim);
    logger_set_sink(NULL);
}

/* ---- mail ------------------------------------------------------------------------------- */

struct sim_injection *scene_add(struct scene *scene, const char *token, const char *domain,
                                size_t body_len)
{
    char rcpt[128];
    snprintf(rcpt, sizeof rcpt, "%s@%s", token, domain);
    struct sim_injection *one = sim_client_add(scene->client, token, "us.example", "", body_len);
    sim_injection_add_rcpt(one, rcpt);
    return one;
}

static bool all_handed_in(struct scene *scene)
{
    return sim_client_finished(scene->client);
}

bool scene_send(struct scene *scene)
{
    sim_client_start(scene->client, 0);
    bool done = scene_await(scene, SEND_SECONDS, all_handed_in);
    scene_pass(scene, 1); /* the spool's status is told ten times a second */
    return done;
}

/* ---- time ------------------------------------------------------------------------------- */

void scene_pass(struct scene *scene, uint64_t seconds)
{
    sim_run_for(scene->sim, seconds * SIM_SECOND);
}

struct waiting {
    struct scene *scene;
    bool (*reached)(struct scene *scene);
};

static bool on_reached(void *owner)
{
    struct waiting *waiting = owner;
    return waiting->reached(waiting->scene);
}

bool scene_await(struct scene *scene, uint64_t seconds, bool (*reached)(struct scene *scene))
{
    struct waiting waiting = {scene, reached};
    return sim_run_until(scene->sim, seconds * SIM_SECOND, on_reached, &waiting);
}

/* ---- what has become of it -------------------------------------------------------------- */

uint64_t scene_queued(const struct scene *scene)
{
    return sim_engine_queued(scene->engine);
}

bool scene_is_empty(struct scene *scene)
{
    return scene_queued(scene) == 0;
}

/* Is this text "TOKEN@…" or "TOKEN.tNN@…"? */
static bool is_of(const char *address, const char *token)
{
    size_t len = strlen(token);
    return strncmp(address, token, len) == 0 &&
           (address[len] == '@' || strncmp(address + len, ".t", 2) == 0);
}

const struct sim_mx_record *scene_try(const struct scene *scene, const char *token, uint32_t n)
{
    const struct sim_mx_record *record = NULL;
    while ((record = sim_farm_next(scene->farm, record)) != NULL) {
        bool meant = record->rcpt_count > 0 && is_of(record->rcpts[0].address, token);
        if (meant && n-- == 0) {
            return record;
        }
    }
    return NULL;
}

uint32_t scene_tried(const struct scene *scene, const char *token)
{
    uint32_t count = 0;
    while (scene_try(scene, token, count) != NULL) {
        count++;
    }
    return count;
}

uint32_t scene_taken(const struct scene *scene, const char *token)
{
    uint32_t count = 0;
    const struct sim_mx_record *record = NULL;
    for (uint32_t n = 0; (record = scene_try(scene, token, n)) != NULL; n++) {
        count += record->final_code == 250;
    }
    return count;
}

struct counting {
    const char *type, *token;
    struct sim_record *last;
    uint32_t count;
};

static void on_record(void *owner, const struct sim_record *record)
{
    struct counting *counting = owner;
    bool meant = counting->token == NULL || is_of(record->rcpt, counting->token);
    if (meant && strcmp(record->type, counting->type) == 0) {
        counting->count++;
        if (counting->last != NULL) {
            *counting->last = *record;
        }
    }
}

uint32_t scene_records(const struct scene *scene, const char *type, const char *token,
                       struct sim_record *last)
{
    struct counting counting = {type, token, last, 0};
    int read = sim_records_read(scene->sim, "/acct", on_record, &counting);
    assert(read >= 0);
    return counting.count;
}
