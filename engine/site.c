#include "site.h"

#include "base/timers.h"
#include "policy/settings.h"

uint32_t site_sendable_count(const struct site *site)
{
    uint32_t count = 0;
    for (struct list_node *node = list_first(&site->sendable); node != NULL;
         node = list_next(&site->sendable, node)) {
        count += CONTAINER_OF(node, struct queue, sendable_node)->ready_count;
    }
    return count;
}

uint32_t site_rcpt_count(const struct site *site)
{
    uint32_t count = 0;
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        const struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        count += queue_rcpt_count(queue);
    }
    return count;
}

void site_refresh(struct site *site, uint64_t now_ms)
{
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        bool linked = list_linked(&queue->sendable_node);
        bool sendable = queue_sendable(queue, now_ms);
        if (sendable && !linked) {
            list_push_back(&site->sendable, &queue->sendable_node);
        } else if (!sendable && linked) {
            list_remove(&queue->sendable_node);
        }
    }
}

uint8_t site_priority(const struct site *site)
{
    return (uint8_t)site->settings->queue_priority;
}

static uint8_t priority_at(const struct list_node *node)
{
    return site_priority(CONTAINER_OF(node, struct site, node));
}

void site_insert(struct list *list, struct site *site, bool first)
{
    const uint8_t priority = site_priority(site), more = first ? 0 : 1;
    struct list_node *before = NULL, *node = list_empty(list) ? NULL : list->head.prev;
    if (node != NULL && priority_at(node) + more > priority) {
        before = node; /* as nearly always */
    } else {
        for (node = list_first(list); node != NULL && priority_at(node) + more > priority;
             node = list_next(list, node)) {
            before = node;
        }
    }
    if (before == NULL) {
        list_push_front(list, &site->node);
    } else {
        list_insert_after(before, &site->node);
    }
}

struct queue *site_queue(const struct site *site, enum tls_need tls_need)
{
    for (struct list_node *node = list_first(&site->queues); node != NULL;
         node = list_next(&site->queues, node)) {
        struct queue *queue = CONTAINER_OF(node, struct queue, site_node);
        if (queue->tls_need == (uint8_t)tls_need) {
            return queue;
        }
    }
    return NULL;
}
