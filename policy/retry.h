/* Waiting times between attempts.
 *
 * Pure: knows neither clock nor queue. */
#ifndef POLICY_RETRY_H
#define POLICY_RETRY_H

#include <stdint.h>

#include "policy/value.h"

/* The wait before attempt `retry_index + 1`, that is after `retry_index` failures before this one:
 * the entry of that place, the last one for every later place. The list is not empty. */
uint64_t retry_interval_ms(const struct interval_list *list, uint32_t retry_index);

#endif
