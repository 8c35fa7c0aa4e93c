/* Dates as mail writes them. Pure: the time is an argument. */
#ifndef BASE_DATE_H
#define BASE_DATE_H

#include <stdint.h>

#define DATE_RFC5322_MAX 48 /* bytes with the terminating NUL */

/* "Tue, 24 Nov 2026 05:10:00 +0000" (RFC 5322 3.3) of milliseconds since 1970 UTC; years 1 to
 * 9999, others are clamped. The returned pointer is `out`. */
const char *date_rfc5322(int64_t wall_ms, char out[DATE_RFC5322_MAX]);

#define DATE_ASCTIME_MAX 48 /* bytes with the terminating NUL */

/* "Tue Nov 24 05:10:00 2026", in UTC, as a From_ line of a mailbox has it (RFC 4155); years as
 * above. */
const char *date_asctime(int64_t wall_ms, char out[DATE_ASCTIME_MAX]);

#endif
