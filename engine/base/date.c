#include "base/date.h"

#include <stdio.h>

#define DAY_S    86400
#define YEAR_1   (-62135596800) /* seconds: 0001-01-01 and the last second of 9999 */
#define YEAR_MAX 253402300799

struct civil {
    int year, month, day; /* month and day from 1 */
};

/* Days since 1970-01-01 in the Gregorian calendar. Years begin in March here, so that the leap
 * day is the last one, and eras of 400 years have all the same 146097 days. */
static struct civil civil_from_days(int64_t days)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int day_of_era = (int)(days - era * 146097);
    int year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int month = (5 * day_of_year + 2) / 153; /* 0 is March */
    return (struct civil){
        .year = (int)(year_of_era + era * 400) + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
}

/* A moment taken apart, with its names. */
struct moment {
    struct civil civil;
    int hour, minute, second;
    const char *weekday, *month; /* three letters each, no NUL */
};

static struct moment moment_of(int64_t wall_ms)
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t seconds = (wall_ms - (wall_ms < 0 ? 999 : 0)) / 1000;
    seconds = seconds < YEAR_1 ? YEAR_1 : seconds > YEAR_MAX ? YEAR_MAX : seconds;
    int64_t days = (seconds - (seconds < 0 ? DAY_S - 1 : 0)) / DAY_S;
    int second = (int)(seconds - days * DAY_S);
    struct civil civil = civil_from_days(days);
    return (struct moment){
        .civil = civil,
        .hour = second / 3600,
        .minute = second / 60 % 60,
        .second = second % 60,
        .weekday = weekdays + (days % 7 + 7) % 7 * 3,
        .month = months + (civil.month - 1) * 3,
    };
}

const char *date_rfc5322(int64_t wall_ms, char out[DATE_RFC5322_MAX])
{
    struct moment at = moment_of(wall_ms);
    snprintf(out, DATE_RFC5322_MAX, "%.3s, %02d %.3s %04d %02d:%02d:%02d +0000", at.weekday,
             at.civil.day, at.month, at.civil.year, at.hour, at.minute, at.second);
    return out;
}

const char *date_asctime(int64_t wall_ms, char out[DATE_ASCTIME_MAX])
{
    struct moment at = moment_of(wall_ms);
    snprintf(out, DATE_ASCTIME_MAX, "%.3s %.3s %2d %02d:%02d:%02d %04d", at.weekday, at.month,
             at.civil.day, at.hour, at.minute, at.second, at.civil.year);
    return out;
}
