#include "vmta/mx_table.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/map.h"

#define AGED_PER_LEARN 4 /* of the oldest looked at, to be forgotten if they are over */

struct known {
    struct map_entry entry;
    struct list_node node; /* in order of learning */
    struct mx_hosts mx;
    uint64_t until_ms;
    size_t domain_len;
    char text[]; /* domain, then mx.best */
};

struct mx_table {
    pthread_mutex_t mutex;
    struct map map;
    struct list all;
};

struct mx_table *mx_table_create(size_t domains_max)
{
    struct mx_table *table = calloc(1, sizeof *table);
    if (table != NULL) {
        pthread_mutex_init(&table->mutex, NULL);
        map_init(&table->map, domains_max);
        list_init(&table->all);
    }
    return table;
}

static void forget(struct mx_table *table, struct known *known)
{
    map_remove(&table->map, &known->entry);
    list_remove(&known->node);
    free(known);
}

void mx_table_destroy(struct mx_table *table)
{
    if (table == NULL) {
        return;
    }
    struct list_node *node;
    while ((node = list_first(&table->all)) != NULL) {
        forget(table, CONTAINER_OF(node, struct known, node));
    }
    map_deinit(&table->map);
    pthread_mutex_destroy(&table->mutex);
    free(table);
}

static bool same_domain(const struct map_entry *entry, const void *key)
{
    const struct known *known = CONTAINER_OF(entry, struct known, entry);
    return bytes_equal_nocase(bytes_of(known->text, known->domain_len), *(const struct bytes *)key);
}

static struct known *find(const struct mx_table *table, struct bytes domain)
{
    struct map_entry *entry =
        map_find(&table->map, bytes_hash_nocase(domain), same_domain, &domain);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct known, entry);
}

static struct known *known_of(struct bytes domain, const struct mx_hosts *mx, uint64_t until_ms)
{
    struct known *known = malloc(sizeof *known + domain.len + mx->best.len);
    if (known != NULL) {
        *known = (struct known){.mx = *mx, .until_ms = until_ms, .domain_len = domain.len};
        memcpy(known->text, domain.data, domain.len);
        memcpy(known->text + domain.len, mx->best.data, mx->best.len);
        known->mx.best.data = known->text + domain.len;
    }
    return known;
}

static void forget_old(struct mx_table *table, uint64_t now_ms)
{
    for (int i = 0; i < AGED_PER_LEARN; i++) {
        struct list_node *node = list_first(&table->all);
        if (node == NULL || CONTAINER_OF(node, struct known, node)->until_ms > now_ms) {
            return;
        }
        forget(table, CONTAINER_OF(node, struct known, node));
    }
}

void mx_table_learn(struct mx_table *table, struct bytes domain, const struct mx_hosts *mx,
                    uint64_t now_ms, uint64_t until_ms)
{
    assert(mx->best.len <= MX_HOSTS_LEN_MAX);
    pthread_mutex_lock(&table->mutex);
    struct known *old = find(table, domain);
    if (old != NULL) {
        forget(table, old);
    }
    forget_old(table, now_ms);
    struct known *known = known_of(domain, mx, until_ms);
    if (known != NULL && map_insert(&table->map, bytes_hash_nocase(domain), &known->entry)) {
        list_push_back(&table->all, &known->node);
    } else {
        free(known);
    }
    pthread_mutex_unlock(&table->mutex);
}

bool mx_table_find(struct mx_table *table, struct bytes domain, uint64_t now_ms,
                   struct mx_hosts *out, char memory[static MX_HOSTS_LEN_MAX])
{
    pthread_mutex_lock(&table->mutex);
    const struct known *known = find(table, domain);
    bool sure = known != NULL && known->until_ms > now_ms;
    if (sure) {
        *out = known->mx;
        memcpy(memory, known->mx.best.data, known->mx.best.len);
        out->best.data = memory;
    }
    pthread_mutex_unlock(&table->mutex);
    return sure;
}
