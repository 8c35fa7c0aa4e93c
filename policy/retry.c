#include "policy/retry.h"

#include <assert.h>

uint64_t retry_interval_ms(const struct interval_list *list, uint32_t retry_index)
{
    assert(list != NULL);
    assert(list->count > 0);
    return list->interval_ms[retry_index < list->count ? retry_index : list->count - 1];
}
