#include "base/heap.h"

#include <stdlib.h>

#include "base/rng.h"

#include "test.h"

TEST(leaves_in_order_of_keys)
{
    static struct heap_node nodes[10000];
    struct heap heap;
    struct rng rng;
    heap_init(&heap);
    rng_init(&rng, 1);
    CHECK(heap_empty(&heap) && heap_first(&heap) == NULL);
    for (size_t i = 0; i < 10000; i++) {
        nodes[i].key = rng_below(&rng, 5000);
        heap_insert(&heap, &nodes[i]);
    }
    uint64_t last = 0;
    for (size_t i = 0; i < 10000; i++) {
        struct heap_node *first = heap_first(&heap);
        CHECK(first->key >= last);
        last = first->key;
        heap_remove(&heap, first);
    }
    CHECK(heap_empty(&heap));
}

/* Removing from anywhere agrees with a plain array of what is inside. */
TEST(random_removal_agrees_with_a_model)
{
    static struct heap_node nodes[300];
    static bool inside[300];
    struct heap heap;
    struct rng rng;
    heap_init(&heap);
    rng_init(&rng, 2);
    for (uint32_t step = 0; step < 30000; step++) {
        size_t i = rng_below(&rng, 300);
        if (inside[i]) {
            heap_remove(&heap, &nodes[i]);
        } else {
            nodes[i].key = rng_below(&rng, 1000);
            heap_insert(&heap, &nodes[i]);
        }
        inside[i] = !inside[i];
        uint64_t smallest = UINT64_MAX;
        for (size_t k = 0; k < 300; k++) {
            smallest = inside[k] && nodes[k].key < smallest ? nodes[k].key : smallest;
        }
        CHECK_INT(heap_empty(&heap) ? UINT64_MAX : heap_first(&heap)->key, smallest);
    }
}

TEST(a_million_in_descending_order_do_not_overflow_the_stack)
{
    const uint64_t count = 1000000;
    struct heap_node *nodes = calloc(count, sizeof(*nodes));
    struct heap heap;
    heap_init(&heap);
    for (uint64_t i = 0; i < count; i++) {
        nodes[i].key = count - i;
        heap_insert(&heap, &nodes[i]);
    }
    for (uint64_t key = 1; key <= count; key++) {
        if (heap_first(&heap)->key != key) {
            CHECK_INT(heap_first(&heap)->key, key);
            break;
        }
        heap_remove(&heap, heap_first(&heap));
    }
    CHECK(heap_empty(&heap));
    free(nodes);
}
