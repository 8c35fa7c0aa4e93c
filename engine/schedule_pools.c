/* Mail of a pool whose member cannot send: none of its source addresses is usable, because they
 * cannot be bound or are disabled in this site. What waits goes on to the next member of the pool,
 * by the way of schedule_places.c, and from there to the one after it, but not round to where it
 * began: with the last it stays. A restart and a reload begin with the member chosen first. */
#include "io/io.h"
#include "policy/config.h"
#include "schedule.h"
#include "schedule_private.h"
#include "site_mode.h"

/* No source address can be used now. One that is not configured always can. */
static bool is_stalled(const struct site *site)
{
    const struct vmta *vmta = &site->lane->vmta;
    uint64_t now_ms = io_now_ms(site->scheduler->io);
    for (uint32_t i = 0; i < vmta->source_count; i++) {
        const struct vmta_source *source = &vmta->sources[i];
        if (source->suspended_until_ms <= now_ms &&
            site_source_allowed(site, &source->address, now_ms)) {
            return false;
        }
    }
    return vmta->source_count > 0;
}

/* "": it is no member. */
static struct bytes member_after(const struct config_pool *pool, struct bytes member)
{
    const struct pool_member_array *members = &pool->settings.members;
    for (size_t i = 0; i < members->count; i++) {
        if (bytes_equal_nocase(members->items[i].name, member)) {
            return members->items[(i + 1) % members->count].name;
        }
    }
    return BYTES("");
}

bool schedule_in_stalled_pool(const struct site *site, const struct rcpt *rcpt, struct bytes *mate)
{
    const struct message *message = rcpt_message(rcpt);
    struct bytes name = message_pool(message);
    if (name.len == 0 || !is_stalled(site)) {
        return false;
    }
    const struct config_pool *pool = config_pool(site->scheduler->config, name);
    struct bytes next =
        pool == NULL ? BYTES("") : member_after(pool, bytes_from_string(site->lane->vmta.name));
    *mate = bytes_equal_nocase(next, message_vmta(message)) ? BYTES("") : next;
    return next.len > 0;
}

void schedule_check_pool(struct site *site)
{
    size_t pools;
    config_pools(site->scheduler->config, &pools);
    if (pools > 0 && is_stalled(site)) {
        schedule_put_aside(site);
    }
}
