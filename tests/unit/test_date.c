#include "base/date.h"

#include <time.h>

#include "base/rng.h"
#include "test.h"

TEST(known_moments_are_written_as_mail_does)
{
    char out[DATE_RFC5322_MAX];
    CHECK_STRING(date_rfc5322(0, out), "Thu, 01 Jan 1970 00:00:00 +0000");
    CHECK_STRING(date_rfc5322(951827696999, out), "Tue, 29 Feb 2000 12:34:56 +0000");
    CHECK_STRING(date_rfc5322(4107542400000, out), "Mon, 01 Mar 2100 00:00:00 +0000");
    CHECK_STRING(date_rfc5322(-1, out), "Wed, 31 Dec 1969 23:59:59 +0000");
}

TEST(times_out_of_range_are_clamped)
{
    char out[DATE_RFC5322_MAX];
    CHECK_STRING(date_rfc5322(INT64_MAX, out), "Fri, 31 Dec 9999 23:59:59 +0000");
    CHECK_STRING(date_rfc5322(INT64_MIN + 1000, out), "Mon, 01 Jan 0001 00:00:00 +0000");
}

TEST(a_mailbox_has_the_day_in_two_places)
{
    char out[DATE_ASCTIME_MAX];
    CHECK_STRING(date_asctime(0, out), "Thu Jan  1 00:00:00 1970");
    CHECK_STRING(date_asctime(951827696999, out), "Tue Feb 29 12:34:56 2000");
}

TEST(any_moment_agrees_with_the_c_library)
{
    struct rng rng;
    char out[DATE_RFC5322_MAX], wanted[DATE_RFC5322_MAX];
    rng_init(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        /* From the year 1000 on, where strftime writes four digits. */
        int64_t seconds = (int64_t)rng_below(&rng, 284012524800) - 30610224000;
        time_t when = (time_t)seconds;
        struct tm utc;
        gmtime_r(&when, &utc);
        strftime(wanted, sizeof(wanted), "%a, %d %b %Y %H:%M:%S +0000", &utc);
        CHECK_STRING(date_rfc5322(seconds * 1000, out), wanted);
    }
}
