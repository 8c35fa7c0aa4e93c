/* `probe`: what the port-25 doctor is asked, and what it says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "commands.h"
#include "commands_text.h"
#include "io/files.h"
#include "policy/config.h"
#include "probe.h"

#define TIMEOUT_SECONDS 120 /* unless --timeout says */
#define TIMEOUT_MAX     86400
#define DOMAIN_LEN_MAX  255
#define JSON_ITEM_MAX   16384

/* Where nobody says whom to call: a host that never is down, and that tells what it does not like
 * about an address. */
static const char *const default_domains[] = {"gmail.com"};

struct wish {
    char **domains; /* A-labels, owned */
    size_t domain_count;
    const char *vmta; /* NULL: every one */
    uint64_t port, timeout_seconds;
};

struct sums {
    bool json;
    uint64_t ok, failed, unused;
};

/* ---- from words ---- */

/* "--name=value", or "--name" and the next word. NULL: the word is something else, or nothing is
 * behind it. */
static const char *take_value(const struct command_line *line, int *at, const char *name)
{
    const char *word = line->words[*at];
    size_t len = strlen(name);
    if (strncmp(word, name, len) != 0) {
        return NULL;
    }
    if (word[len] == '=') {
        return word + len + 1;
    }
    return word[len] == '\0' && *at + 1 < line->count ? line->words[++*at] : NULL;
}

static bool take_number(const struct command_line *line, int *at, const char *name, uint64_t max,
                        uint64_t *out)
{
    int place = *at;
    const char *value = take_value(line, &place, name);
    if (value == NULL || !bytes_to_u64(bytes_from_string(value), max, out) || *out == 0) {
        return false;
    }
    *at = place;
    return true;
}

static bool take_domain(struct wish *wish, const char *word)
{
    char name[DOMAIN_LEN_MAX + 1];
    struct buffer out;
    buffer_init(&out, name, DOMAIN_LEN_MAX);
    text_put_domain(&out, bytes_from_string(word));
    if (word[0] == '-' || word[0] == '\0' || out.overflowed || strpbrk(word, "*?/@") != NULL) {
        return false;
    }
    wish->domains[wish->domain_count] = bytes_to_string(buffer_bytes(&out));
    return wish->domains[wish->domain_count++] != NULL;
}

static int read_words(const struct command_line *line, struct wish *wish)
{
    for (int i = line->name_count; i < line->count; i++) {
        int at = i;
        const char *value = take_value(line, &at, "--vmta");
        if (value != NULL) {
            wish->vmta = value;
            i = at;
        } else if (!take_number(line, &i, "--port", UINT16_MAX, &wish->port) &&
                   !take_number(line, &i, "--timeout", TIMEOUT_MAX, &wish->timeout_seconds) &&
                   !take_domain(wish, line->words[i])) {
            return commands_usage(line, "argument '%s' is not understood", line->words[i]);
        }
    }
    return EXIT_OK;
}

/* ---- what it says ---- */

static const char *result_word(enum probe_result result)
{
    switch (result) {
    case PROBE_OK:
        return "ok";
    case PROBE_FAILED:
        return "failed";
    case PROBE_UNUSED:
        return "unused";
    }
    return "";
}

static void print_line(const struct probe_verdict *verdict)
{
    printf("%s/", verdict->domain);
    text_print(stdout, bytes_from_string(verdict->vmta));
    printf(" %s", verdict->source);
    if (verdict->peer[0] != '\0') {
        printf(" -> %s", verdict->peer);
        if (strstr(verdict->peer, verdict->host) == NULL) { /* it is not named by its address */
            printf(" ");
            text_print(stdout, bytes_from_string(verdict->host));
        }
    }
    if (verdict->tls[0] != '\0') {
        printf(" (%s)", verdict->tls);
    }
    printf(": ");
    text_print(stdout, bytes_from_string(verdict->text));
    printf("\n");
    (void)fflush(stdout); /* the next one may take its time */
}

static void print_json(const struct probe_verdict *verdict, bool first)
{
    char memory[JSON_ITEM_MAX];
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, sizeof memory);
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "domain", bytes_from_string(verdict->domain));
    json_put_string(&writer, "vmta", bytes_from_string(verdict->vmta));
    json_put_string(&writer, "source", bytes_from_string(verdict->source));
    json_put_string(&writer, "ehlo", bytes_from_string(verdict->helo));
    json_put_string(&writer, "host", bytes_from_string(verdict->host));
    json_put_string(&writer, "address", bytes_from_string(verdict->peer));
    json_put_string(&writer, "tls", bytes_from_string(verdict->tls));
    json_put_string(&writer, "result", bytes_from_string(result_word(verdict->result)));
    json_put_string(&writer, "verdict", bytes_from_string(verdict->text));
    json_end_object(&writer);
    printf("%s%.*s", first ? "" : ",", BYTES_FMT(buffer_bytes(&out)));
}

static void on_verdict(void *owner, const struct probe_verdict *verdict)
{
    struct sums *sums = owner;
    if (sums->json) {
        print_json(verdict, sums->ok + sums->failed + sums->unused == 0);
    } else {
        print_line(verdict);
    }
    sums->ok += verdict->result == PROBE_OK;
    sums->failed += verdict->result == PROBE_FAILED;
    sums->unused += verdict->result == PROBE_UNUSED;
}

static void print_sums(const struct sums *sums)
{
    if (sums->json) {
        printf("],\"ok\":%llu,\"failed\":%llu,\"unused\":%llu}\n", (unsigned long long)sums->ok,
               (unsigned long long)sums->failed, (unsigned long long)sums->unused);
        return;
    }
    printf("%llu ok, %llu not ok", (unsigned long long)sums->ok, (unsigned long long)sums->failed);
    if (sums->unused > 0) {
        printf(", %llu not used", (unsigned long long)sums->unused);
    }
    printf("\n");
}

/* ---- the command ---- */

static int probe(const struct command_line *line, const struct wish *wish,
                 const struct config *config)
{
    const struct config_vmta *vmta = NULL;
    if (wish->vmta != NULL) {
        vmta = config_vmta(config, bytes_from_string(wish->vmta));
        if (vmta == NULL) {
            fprintf(stderr, "posthaste: no virtual MTA '%s' in the configuration\n", wish->vmta);
            return EXIT_UNKNOWN_NAME;
        }
    }
    char host_name[256];
    bool named = files_host_name(host_name, sizeof host_name) == 0;
    bool any = wish->domain_count > 0;
    struct sums sums = {.json = line->json};
    struct error error = {0};
    printf("%s", line->json ? "{\"probes\":[" : "");
    int result = probe_run(
        &(struct probe_options){
            .config = config,
            .vmta = vmta,
            .host_name = named ? host_name : "localhost",
            .domains = any ? (const char *const *)wish->domains : default_domains,
            .domain_count = any ? wish->domain_count : 1,
            .port = (uint16_t)wish->port,
            .timeout_ms = wish->timeout_seconds * 1000,
            .verdict = on_verdict,
            .owner = &sums,
        },
        &error);
    print_sums(&sums);
    if (result < 0) {
        fprintf(stderr, "posthaste: %s\n", error.text);
        return EXIT_OSERR;
    }
    return sums.ok > 0 && sums.failed == 0 ? EXIT_OK : EXIT_UNAVAILABLE;
}

int command_probe(const struct command_line *line)
{
    struct wish wish = {.timeout_seconds = TIMEOUT_SECONDS,
                        .domains = calloc((size_t)line->count, sizeof(char *))};
    if (wish.domains == NULL) {
        return EXIT_OSERR;
    }
    int result = read_words(line, &wish);
    if (result == EXIT_OK) {
        struct config *config = commands_load(line->config_path, NULL);
        result = config == NULL ? EXIT_CONFIG : probe(line, &wish, config);
        config_free(config);
    }
    for (size_t i = 0; i < wish.domain_count; i++) {
        free(wish.domains[i]);
    }
    free(wish.domains);
    return result;
}
