#include "host_faults.h"

#include <stdlib.h>

struct host {
    struct map_entry entry;
    struct list_node node; /* oldest first */
    struct address address;
    uint64_t until_ms[HOST_FAULT_COUNT]; /* 0: no such fault */
};

void host_faults_init(struct host_faults *faults)
{
    map_init(&faults->hosts, HOST_FAULTS_MAX + 1);
    list_init(&faults->oldest_first);
}

void host_faults_deinit(struct host_faults *faults)
{
    struct list_node *node;
    while ((node = list_pop_front(&faults->oldest_first)) != NULL) {
        free(CONTAINER_OF(node, struct host, node));
    }
    map_deinit(&faults->hosts);
}

static bool same_address(const struct map_entry *entry, const void *key)
{
    return address_equal_ip(&CONTAINER_OF(entry, struct host, entry)->address, key);
}

static struct host *find(const struct host_faults *faults, const struct address *address)
{
    struct map_entry *entry =
        map_find(&faults->hosts, address_hash(address), same_address, address);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct host, entry);
}

static struct host *add(struct host_faults *faults, const struct address *address)
{
    struct host *host = calloc(1, sizeof *host);
    if (host == NULL) {
        return NULL;
    }
    host->address = *address;
    if (!map_insert(&faults->hosts, address_hash(address), &host->entry)) {
        free(host);
        return NULL;
    }
    return host;
}

void host_faults_note(struct host_faults *faults, const struct address *address,
                      enum host_fault fault, uint64_t until_ms)
{
    struct host *host = find(faults, address);
    if (host == NULL) {
        host = add(faults, address);
        if (host == NULL) {
            return;
        }
    }
    host->until_ms[fault] = until_ms;
    list_remove(&host->node);
    list_push_back(&faults->oldest_first, &host->node);
    if (map_count(&faults->hosts) > HOST_FAULTS_MAX) {
        struct host *oldest =
            CONTAINER_OF(list_pop_front(&faults->oldest_first), struct host, node);
        map_remove(&faults->hosts, &oldest->entry);
        free(oldest);
    }
}

bool host_faults_has(const struct host_faults *faults, const struct address *address,
                     enum host_fault fault, uint64_t now_ms)
{
    const struct host *host = find(faults, address);
    return host != NULL && host->until_ms[fault] > now_ms;
}
