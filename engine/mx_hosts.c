#include "mx_hosts.h"

#include <ctype.h>
#include <stdlib.h>

static int compare_names(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

static void put_best(struct buffer *out, const char *const *names, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0 && strcasecmp(names[i], names[i - 1]) == 0) {
            continue;
        }
        if (i > 0) {
            buffer_put_char(out, ' ');
        }
        for (const char *at = names[i]; *at != '\0'; at++) {
            buffer_put_char(out, (char)tolower((unsigned char)*at));
        }
    }
}

/* A sum does not depend on the order of equal ones. */
static uint64_t hash_plan(const struct dns_mx *mx, uint32_t count)
{
    uint64_t hash = 0, rank = 0;
    for (uint32_t i = 0; i < count; i++) {
        rank += i > 0 && mx[i].preference != mx[i - 1].preference;
        hash += bytes_hash_nocase(bytes_from_string(mx[i].host)) * (2 * rank + 1);
    }
    return hash;
}

void mx_hosts_read(struct mx_hosts *out, char memory[static MX_HOSTS_LEN_MAX],
                   const struct dns_mx *mx, uint32_t count)
{
    const char *best[DNS_MX_MAX];
    uint32_t best_count = 0;
    struct buffer text;
    while (best_count < count && best_count < DNS_MX_MAX &&
           mx[best_count].preference == mx[0].preference) {
        best[best_count] = mx[best_count].host;
        best_count++;
    }
    qsort(best, best_count, sizeof best[0], compare_names);
    buffer_init(&text, memory, MX_HOSTS_LEN_MAX);
    put_best(&text, best, best_count);
    *out = (struct mx_hosts){.best = text.overflowed ? BYTES("") : buffer_bytes(&text),
                             .plan_hash = hash_plan(mx, count)};
}

void mx_hosts_add_address(struct mx_hosts *mx, const struct address *address)
{
    mx->address_hash += bytes_hash(bytes_of((const char *)address->ip, sizeof address->ip));
}
