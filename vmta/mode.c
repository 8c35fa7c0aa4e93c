#include "vmta/mode.h"

#include <stdlib.h>

void mode_init(struct mode *mode)
{
    *mode = (struct mode){0};
}

void mode_deinit(struct mode *mode)
{
    free(mode->disabled);
    *mode = (struct mode){0};
}

void mode_enter(struct mode *mode, const struct mode_backoff *how, uint64_t now_ms)
{
    uint64_t until_ms = how->until_ms;
    if (!mode->backoff) {
        mode->backoff = true;
        mode->since_ms = now_ms;
    } else if (mode->how.until_ms > until_ms) {
        until_ms = mode->how.until_ms;
    }
    mode->how = *how;
    mode->how.until_ms = until_ms;
}

void mode_leave(struct mode *mode)
{
    mode->backoff = false;
    mode->since_ms = 0;
    mode->how = (struct mode_backoff){0};
}

static struct mode_disabled *find(const struct mode *mode, const struct address *address)
{
    for (uint32_t i = 0; i < mode->disabled_count; i++) {
        if (address_equal_ip(&mode->disabled[i].address, address)) {
            return &mode->disabled[i];
        }
    }
    return NULL;
}

static void remove_at(struct mode *mode, uint32_t place)
{
    mode->disabled[place] = mode->disabled[--mode->disabled_count];
}

bool mode_disable(struct mode *mode, const struct address *address, uint64_t until_ms)
{
    struct mode_disabled *known = find(mode, address);
    if (known != NULL) {
        known->until_ms = until_ms > known->until_ms ? until_ms : known->until_ms;
        return true;
    }
    if (mode->disabled_count == MODE_DISABLED_MAX) {
        return false;
    }
    struct mode_disabled *grown =
        realloc(mode->disabled, (mode->disabled_count + 1) * sizeof *mode->disabled);
    if (grown == NULL) {
        return false;
    }
    mode->disabled = grown;
    grown[mode->disabled_count] = (struct mode_disabled){*address, until_ms};
    grown[mode->disabled_count++].address.port = 0;
    return true;
}

bool mode_enable(struct mode *mode, const struct address *address)
{
    struct mode_disabled *known = find(mode, address);
    if (known == NULL) {
        return false;
    }
    remove_at(mode, (uint32_t)(known - mode->disabled));
    return true;
}

bool mode_is_disabled(const struct mode *mode, const struct address *address, uint64_t now_ms)
{
    const struct mode_disabled *known = find(mode, address);
    return known != NULL && known->until_ms > now_ms;
}

bool mode_pass(struct mode *mode, uint64_t now_ms)
{
    bool passed = false;
    if (mode->backoff && mode->how.until_ms <= now_ms) {
        mode_leave(mode);
        passed = true;
    }
    for (uint32_t i = mode->disabled_count; i-- > 0;) {
        if (mode->disabled[i].until_ms <= now_ms) {
            remove_at(mode, i);
            passed = true;
        }
    }
    return passed;
}

uint64_t mode_next_ms(const struct mode *mode)
{
    uint64_t next_ms = mode->backoff ? mode->how.until_ms : UINT64_MAX;
    for (uint32_t i = 0; i < mode->disabled_count; i++) {
        uint64_t until_ms = mode->disabled[i].until_ms;
        next_ms = until_ms < next_ms ? until_ms : next_ms;
    }
    return next_ms;
}

bool mode_is_normal(const struct mode *mode)
{
    return !mode->backoff && mode->disabled_count == 0;
}

/* ---- the text form ----
 *
 * A line each: "backoff SINCE UNTIL", with " rate COUNT WINDOW" or " share PERCENT" behind where
 * it has a rate of its own, and "disabled ADDRESS UNTIL". Times are milliseconds by the wall. */

struct clocks {
    uint64_t now_ms;
    int64_t wall_ms;
};

static unsigned long long to_wall(uint64_t ms, const struct clocks *clocks)
{
    if (ms == NEVER) {
        return NEVER;
    }
    int64_t wall_ms = clocks->wall_ms + (int64_t)(ms - clocks->now_ms);
    return wall_ms < 0 ? 0 : (unsigned long long)wall_ms;
}

static uint64_t from_wall(uint64_t wall_ms, const struct clocks *clocks)
{
    if (wall_ms == NEVER) {
        return NEVER;
    }
    int64_t ms = (int64_t)clocks->now_ms + ((int64_t)wall_ms - clocks->wall_ms);
    return ms < 0 ? 0 : (uint64_t)ms;
}

static void print_backoff(const struct mode *mode, struct buffer *out, const struct clocks *clocks)
{
    buffer_printf(out, "backoff %llu %llu", to_wall(mode->since_ms, clocks),
                  to_wall(mode->how.until_ms, clocks));
    const struct rate_share *rate = &mode->how.rate;
    if (mode->how.has_rate && rate->percent > 0) {
        buffer_printf(out, " share %u", rate->percent);
    } else if (mode->how.has_rate) {
        buffer_printf(out, " rate %llu %llu", (unsigned long long)rate->rate.count,
                      (unsigned long long)rate->rate.window_ms);
    }
    buffer_put_char(out, '\n');
}

void mode_print(const struct mode *mode, struct buffer *out, uint64_t now_ms, int64_t wall_ms)
{
    const struct clocks clocks = {now_ms, wall_ms};
    if (mode->backoff) {
        print_backoff(mode, out, &clocks);
    }
    for (uint32_t i = 0; i < mode->disabled_count; i++) {
        char text[ADDRESS_TEXT_MAX];
        buffer_printf(out, "disabled %s %llu\n", address_text(&mode->disabled[i].address, text),
                      to_wall(mode->disabled[i].until_ms, &clocks));
    }
}

static struct bytes take_until(struct bytes *text, char end)
{
    ptrdiff_t at = bytes_find(*text, end, 0);
    size_t len = at < 0 ? text->len : (size_t)at;
    struct bytes taken = bytes_slice(*text, 0, len);
    *text = bytes_slice(*text, at < 0 ? len : len + 1, text->len);
    return taken;
}

static bool take_number(struct bytes *line, uint64_t *out)
{
    return bytes_to_u64(take_until(line, ' '), UINT64_MAX, out);
}

static bool parse_rate(struct mode_backoff *how, struct bytes line)
{
    if (line.len == 0) {
        return true;
    }
    how->has_rate = true;
    struct bytes kind = take_until(&line, ' ');
    uint64_t percent;
    if (bytes_equal(kind, BYTES("share"))) {
        bool good = take_number(&line, &percent) && percent >= 1 && percent <= 100;
        how->rate.percent = good ? (uint32_t)percent : 0;
        return good;
    }
    return bytes_equal(kind, BYTES("rate")) && take_number(&line, &how->rate.rate.count) &&
           take_number(&line, &how->rate.rate.window_ms);
}

static bool parse_backoff(struct mode *mode, struct bytes line, const struct clocks *clocks)
{
    uint64_t since, until;
    struct mode_backoff how = {0};
    if (!take_number(&line, &since) || !take_number(&line, &until) || !parse_rate(&how, line)) {
        return false;
    }
    how.until_ms = from_wall(until, clocks);
    mode_enter(mode, &how, from_wall(since, clocks));
    return true;
}

static bool parse_disabled(struct mode *mode, struct bytes line, const struct clocks *clocks)
{
    struct address address;
    uint64_t until;
    return address_parse(take_until(&line, ' '), &address) && take_number(&line, &until) &&
           mode_disable(mode, &address, from_wall(until, clocks));
}

static bool parse_line(struct mode *mode, struct bytes line, const struct clocks *clocks)
{
    struct bytes kind = take_until(&line, ' ');
    if (bytes_equal(kind, BYTES("backoff"))) {
        return parse_backoff(mode, line, clocks);
    }
    return bytes_equal(kind, BYTES("disabled")) && parse_disabled(mode, line, clocks);
}

bool mode_parse(struct mode *mode, struct bytes text, uint64_t now_ms, int64_t wall_ms)
{
    const struct clocks clocks = {now_ms, wall_ms};
    while (text.len > 0) {
        if (!parse_line(mode, take_until(&text, '\n'), &clocks)) {
            mode_deinit(mode);
            return false;
        }
    }
    mode_pass(mode, now_ms);
    return true;
}
