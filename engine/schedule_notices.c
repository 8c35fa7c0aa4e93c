/* Who is told of what happens to a queue (notices.h), as its settings say. */
#include <stdio.h>

#include "notices.h"
#include "policy/domain.h"
#include "schedule_private.h"

static void tell(const struct site *site, enum notice_kind kind, const struct string_array *rcpts,
                 const char *what, const char *why)
{
    const struct scheduler *scheduler = site->scheduler;
    if (scheduler->tell == NULL || site->lane->settings == NULL || rcpts->count == 0) {
        return; /* nobody is; and from an orphan's addresses nothing leaves */
    }
    scheduler->tell(scheduler->owner,
                    &(struct notice){
                        .kind = kind,
                        .queue = {.vmta = bytes_from_string(site->lane->vmta.name),
                                  .domain = site_domain(site)},
                        .config = scheduler->config,
                        .rcpts = rcpts,
                        .what = what,
                        .why = why,
                        .waiting = site_rcpt_count(site),
                    });
}

void schedule_tell_mode(const struct site *site, bool backoff, const char *why)
{
    tell(site, backoff ? NOTICE_BACKOFF : NOTICE_NORMAL, &site->settings->backoff_notify,
         backoff ? "backoff mode" : "normal mode again", why);
}

void schedule_tell_disabled(const struct site *site, const struct address *source, const char *why)
{
    char what[ADDRESS_TEXT_MAX + 32], text[ADDRESS_TEXT_MAX];
    snprintf(what, sizeof what, "source address %s disabled", address_text(source, text));
    tell(site, NOTICE_DISABLED, &site->settings->disabled_source_ip_notify, what, why);
}
