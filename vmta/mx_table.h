/* What was last learnt of the MX hosts of domains: one table for all workers.
 *
 * Attempts write down what DNS told them; who sends mail on its way reads it, to find the roll-up
 * of a domain (policy/rollup.h). An answer holds as long as its DNS records; then the domain is
 * unknown again. Any thread; a mutex inside. */
#ifndef VMTA_MX_TABLE_H
#define VMTA_MX_TABLE_H

#include "policy/rollup.h"

#define MX_TABLE_DOMAINS_MAX                                                                       \
    500000 /* of which a hundred bytes and the names of the hosts are kept */

struct mx_table;

/* NULL: no memory. */
struct mx_table *mx_table_create(size_t domains_max);
void mx_table_destroy(struct mx_table *table); /* NULL is accepted */

/* Copied; replaces what was known of the domain (in any case). Where the table is full, or there is
 * no memory, it stays unknown: its mail keeps its own queue. */
void mx_table_learn(struct mx_table *table, struct bytes domain, const struct mx_hosts *mx,
                    uint64_t now_ms, uint64_t until_ms);

/* False: unknown, or no longer sure. out->best points into `memory`. */
bool mx_table_find(struct mx_table *table, struct bytes domain, uint64_t now_ms,
                   struct mx_hosts *out, char memory[static MX_HOSTS_LEN_MAX]);

#endif
