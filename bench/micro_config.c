/* What a large configuration costs: to load it, and to ask it for the policy of a queue.
 *
 *     ninja -C build bench/micro_config && build/bench/micro_config
 *
 * 100,000 directives in 7.5 MiB: 1,000 virtual MTAs, each with domains of its own, and 11,200
 * domains for all. A tenth of that beside it: the cost of a directive must be the same. */
#include <stdio.h>
#include <stdlib.h>

#include "micro.h"
#include "policy/domain.h"
#include "tests/unit/config_files.h"

#define TEXT_BYTES   (16 * 1024 * 1024)
#define VMTAS        1000
#define VMTA_DOMAINS 5
#define DOMAINS      11200
#define QUEUES       100000
#define COMMENT      "# what this is for, who asked for it and when it may be looked at again: "

static char text[TEXT_BYTES + 1];
static uint64_t seen;

/* ---- the text --------------------------------------------------------------------------- */

/* Six lines that hold something. */
static void put_domain(struct buffer *out, const char *pattern, uint32_t number, const char *suffix)
{
    buffer_printf(out, COMMENT "%s%u\n" COMMENT "the postmaster of the domain\n", suffix, number);
    buffer_printf(out, "    <domain %s%u%s>\n", pattern, number, suffix);
    buffer_printf(out, "        max-smtp-out %u " COMMENT "caps\n", 1 + number % 50);
    buffer_printf(out, "        max-msg-rate %u/h\n", 1000 + number);
    buffer_printf(out, "        max-msg-per-connection 100\n");
    buffer_printf(out, "        retry-after 10m,20m,1h,4h\n");
    buffer_printf(out, "        bounce-after 2d12h\n");
    buffer_printf(out, "        use-starttls yes\n    </domain>\n");
}

/* 33 lines that hold something. */
static void put_vmta(struct buffer *out, uint32_t number)
{
    buffer_printf(out, "<virtual-mta vmta%u>\n", number);
    buffer_printf(out, "    smtp-source-host 10.%u.%u.1 mta%u.sender.example\n", number / 250,
                  number % 250, number);
    buffer_printf(out, "    host-name mta%u.sender.example\n    max-smtp-out 500\n", number);
    for (uint32_t i = 0; i < VMTA_DOMAINS; i++) {
        put_domain(out, "large", i, ".example");
    }
    buffer_printf(out, "</virtual-mta>\n");
}

/* A tenth of it: `part` of 10. */
static void make_text(uint32_t part)
{
    struct buffer out;
    buffer_init(&out, text, TEXT_BYTES);
    buffer_printf(&out, "<domain *>\n    max-smtp-out 20\n</domain>\n");
    for (uint32_t i = 0; i < DOMAINS / 10 * part; i++) {
        put_domain(&out, i % 10 == 0 ? "*.wide" : "d", i, ".example");
    }
    for (uint32_t i = 0; i < VMTAS / 10 * part; i++) {
        put_vmta(&out, i);
    }
    text[out.len] = '\0';
}

static uint32_t count_directives(void)
{
    uint32_t count = 0;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *word = line + strspn(line, " ");
        count += *word != '<' && *word != '#';
    }
    return count;
}

/* ---- loading ---------------------------------------------------------------------------- */

static struct config *must_load(void)
{
    struct config *config = load_good(text);
    if (config == NULL) {
        exit(1);
    }
    return config;
}

/* Per directive, in ns. */
static double measure_load(uint32_t part)
{
    double samples[MICRO_REPEATS];
    char row[128];
    make_text(part);
    uint32_t count = count_directives();
    for (uint32_t repeat = 0; repeat < MICRO_REPEATS; repeat++) {
        double from = micro_cpu_ns();
        struct config *config = must_load();
        samples[repeat] = micro_cpu_ns() - from;
        unload(config);
    }
    double ns = micro_median(samples, MICRO_REPEATS);
    double mib = (double)strlen(text) / (1 << 20);
    snprintf(row, sizeof(row), "load of %u directives, %.1f MiB", count, mib);
    micro_row(row, ns / 1e6, "ms");
    return ns / count;
}

/* ---- asking ----------------------------------------------------------------------------- */

enum domains { UNKNOWN, EXACT, WIDE, OWN };

static void name_of(enum domains domains, uint32_t number, char out[64])
{
    switch (domains) {
    case UNKNOWN:
        snprintf(out, 64, "mail.unknown%u.example", number);
        return;
    case EXACT:
        snprintf(out, 64, "d%u.example", number % DOMAINS / 10 * 10 + 1);
        return;
    case WIDE:
        snprintf(out, 64, "host%u.wide%u.example", number, number % DOMAINS / 10 * 10);
        return;
    case OWN:
        snprintf(out, 64, "large%u.example", number % VMTA_DOMAINS);
        return;
    }
}

/* Per question, in ns: each of QUEUES once, as when so many queues are made. */
static double ask_ns(const struct config *config, enum domains domains)
{
    static char names[QUEUES][64];
    size_t vmta_count;
    const struct config_vmta *vmtas = config_vmtas(config, &vmta_count);
    for (uint32_t i = 0; i < QUEUES; i++) {
        name_of(domains, i, names[i]);
    }
    double from = micro_cpu_ns();
    for (uint32_t i = 0; i < QUEUES; i++) {
        const struct config_vmta *vmta = &vmtas[i % vmta_count];
        seen += config_domain(config, vmta, bytes_from_string(names[i]))->max_smtp_out;
    }
    return (micro_cpu_ns() - from) / QUEUES;
}

static void measure_asking(const char *what, enum domains domains)
{
    double first[MICRO_REPEATS], again[MICRO_REPEATS];
    char row[128];
    for (uint32_t repeat = 0; repeat < MICRO_REPEATS; repeat++) {
        struct config *config = must_load();
        first[repeat] = ask_ns(config, domains);
        again[repeat] = ask_ns(config, domains);
        unload(config);
    }
    snprintf(row, sizeof(row), "policy of a queue, %s", what);
    micro_row(row, micro_median(first, MICRO_REPEATS), "ns");
    snprintf(row, sizeof(row), "policy of a queue, %s, asked again", what);
    micro_row(row, micro_median(again, MICRO_REPEATS), "ns");
}

int main(void)
{
    double tenth_ns = measure_load(1);
    double whole_ns = measure_load(10);
    micro_row("load, a directive", whole_ns, "ns");
    micro_row("load, a directive, whole to a tenth", whole_ns / tenth_ns, "times");
    measure_asking("unknown domain", UNKNOWN);
    measure_asking("domain by name", EXACT);
    measure_asking("domain by *.suffix", WIDE);
    measure_asking("domain of the virtual MTA", OWN);
    return seen == 0;
}
