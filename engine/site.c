#include "site.h"

#include "base/timers.h"

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
