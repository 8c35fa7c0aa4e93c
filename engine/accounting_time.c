#include "accounting_time.h"

#include <assert.h>

#define DAY_MS  UINT64_C(86400000)
#define LAST_MS UINT64_C(253402300799999) /* 9999-12-31 23:59:59.999 */

struct civil_date {
    uint32_t year, month, day;
};

/* Days since 1970 to a date of the Gregorian calendar, counted in years that begin in March: the
 * leap day is their last, and 153 days lie in every five months. */
static struct civil_date date_of_days(uint32_t days)
{
    uint32_t since = days + 719468; /* from 0000-03-01 */
    uint32_t era = since / 146097, day_of_era = since % 146097;
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t month = (5 * day_of_year + 2) / 153; /* 0 is March */
    return (struct civil_date){
        .year = era * 400 + year_of_era + (month >= 10 ? 1 : 0),
        .month = month < 10 ? month + 3 : month - 9,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
}

static uint32_t days_of_date(struct civil_date date)
{
    uint32_t year = date.year - (date.month <= 2 ? 1 : 0);
    uint32_t month = date.month > 2 ? date.month - 3 : date.month + 9;
    uint32_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
    uint32_t year_of_era = year % 400;
    uint32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return year / 400 * 146097 + day_of_era - 719468;
}

static char *put_digits(char *at, uint32_t number, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return at + count;
}

static char *put_date(char *at, uint64_t wall_ms)
{
    struct civil_date date = date_of_days((uint32_t)(wall_ms / DAY_MS));
    at = put_digits(at, date.year, 4);
    *at++ = '-';
    at = put_digits(at, date.month, 2);
    *at++ = '-';
    return put_digits(at, date.day, 2);
}

void accounting_put_date(struct buffer *out, uint64_t wall_ms)
{
    char text[10];
    put_date(text, wall_ms < LAST_MS ? wall_ms : LAST_MS);
    buffer_put(out, text, sizeof text);
}

void accounting_put_time(struct buffer *out, uint64_t wall_ms)
{
    wall_ms = wall_ms < LAST_MS ? wall_ms : LAST_MS;
    char text[24];
    char *at = put_date(text, wall_ms);
    uint32_t second = (uint32_t)(wall_ms % DAY_MS / 1000);
    *at++ = ' ';
    at = put_digits(at, second / 3600, 2);
    *at++ = ':';
    at = put_digits(at, second / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, second % 60, 2);
    memcpy(at, "+0000", 5);
    assert(at + 5 == text + sizeof text);
    buffer_put(out, text, sizeof text);
}

bool accounting_parse_date(struct bytes text, uint64_t *wall_ms_out)
{
    uint64_t year, month, day;
    if (text.len != 10 || text.data[4] != '-' || text.data[7] != '-' ||
        !bytes_to_u64(bytes_slice(text, 0, 4), 9999, &year) || year < 1970 ||
        !bytes_to_u64(bytes_slice(text, 5, 7), 12, &month) || month == 0 ||
        !bytes_to_u64(bytes_slice(text, 8, 10), 31, &day) || day == 0) {
        return false;
    }
    *wall_ms_out =
        DAY_MS * days_of_date((struct civil_date){(uint32_t)year, (uint32_t)month, (uint32_t)day});
    return true;
}
