/* What schedule.c (who sends next), schedule_limits.c (what it waits for),
 * schedule_sites.c (which sites there are) and schedule_keeping.c (what of them survives a restart)
 * share. */
#ifndef ENGINE_SCHEDULE_PRIVATE_H
#define ENGINE_SCHEDULE_PRIVATE_H

#include "rate_state.h"
#include "schedule.h"

/* ---- schedule.c ---- */
void schedule_site_init(struct site *site);
/* Takes the site out of where it waits; a wake it holds goes to the next. */
void schedule_leave_place(struct site *site);
/* What it waited for may have come: it is looked at in the next run. */
void schedule_wake_site(struct site *site);

/* ---- schedule_limits.c ---- */
#define SCHEDULE_HELD_WAIT_MS  1000 /* the journal is full or a sink holds */
#define SCHEDULE_BLOCK_WAIT_MS 100  /* a block of starts is on its way to the disk */
/* When its rates allow the next message; now if at once, UINT64_MAX when a block is written. */
uint64_t schedule_rates_open_ms(struct site *site, uint64_t now);
/* Time to wait before a connection may open, 0 if none: holds and rates, without taking any. */
uint64_t schedule_opening_wait_until(struct site *site, uint64_t now);
/* One opens, not yet in attempt_count; the shared rate of connections has been taken. */
void schedule_count_opening(struct site *site, uint64_t now);
/* One has closed, no longer in attempt_count. */
void schedule_count_closed(struct site *site);

/* ---- schedule_sites.c ---- */
/* An empty site without connections: its owner hears of it, then it is freed. */
void schedule_free_site(struct site *site);
/* Found or made; NULL: no memory, or there are too many. */
struct site *schedule_obtain_site(struct scheduler *scheduler, struct bytes vmta,
                                  struct bytes domain);
struct queue *schedule_obtain_queue(struct site *site, enum tls_need tls_need);
/* After a change of settings or mode. */
void schedule_apply_rates(struct site *site);

/* A recipient has left the site: it no longer counts for its virtual MTA. */
void schedule_rcpt_gone(struct scheduler *scheduler, const struct site *site,
                        const struct rcpt *rcpt);

/* ---- schedule_places.c ---- */
/* The site's names are the message's own: nothing sent it here. */
bool schedule_is_home(const struct site *site, const struct rcpt *rcpt);
/* The site's mode has changed: whether another virtual MTA takes over. */
void schedule_check_stand_in(struct site *site);
/* Of those taken for one transaction, the ones that still belong here; the others go on. */
uint32_t schedule_keep_fitting(struct site *site, struct queue *queue, struct rcpt **rcpts,
                               uint32_t count);
/* Some of those that were put aside: on to where they belong, or into their queue again. */
void schedule_return_strays(struct site *site);

/* Puts aside all that waits, to be looked at one by one. */
void schedule_put_aside(struct site *site);

/* ---- schedule_pools.c ---- */
/* This recipient is here for its pool, and nothing can be sent from here. *mate: the member that
 * it goes on to; "": it stays. */
bool schedule_in_stalled_pool(const struct site *site, const struct rcpt *rcpt, struct bytes *mate);
/* A connection has ended, or an address was disabled: where no address is left what has a mate is
 * sent on. */
void schedule_check_pool(struct site *site);

/* ---- schedule_modes.c ---- */
/* "mode:SITE"? */
bool schedule_mode_key(struct bytes key, struct bytes *site);
/* False: it is not what was once written. */
bool schedule_restore_mode(struct site *site, struct bytes value, const struct kept_time *at);
/* It would be missed if the site went. */
bool schedule_mode_is_on(const struct site *site);
/* True: nothing of it is in the spool. Else deletes what is: ask again when that is stable. */
bool schedule_drop_mode(struct site *site);
void schedule_forget_triggers(struct site *site);
void schedule_free_mode(struct site *site);

/* ---- schedule_notices.c ---- */
/* Those who want to hear of it get mail. Nothing of the site changes by that at once. */
void schedule_tell_mode(const struct site *site, bool backoff, const char *why);
void schedule_tell_disabled(const struct site *site, const struct address *source, const char *why);

/* ---- schedule_keeping.c ---- */
void schedule_keeping_init(struct scheduler *scheduler);
/* For a new site, whose rates are as configured; and after each reload. */
void schedule_begin_rates(struct site *site);
void schedule_keep_rates(struct site *site);
/* Writes the blocks that are due; only with site->keeping. */
void schedule_reserve(struct site *site);
struct rate_writer schedule_rate_writer(const struct scheduler *scheduler);
/* The rates of recipients that the site shares: when to ask again, only with
 * site->has_common_rates; and taking, together with that of a source address (NULL: none). */
uint64_t schedule_common_next_ms(struct site *site);
uint32_t schedule_common_take(struct site *site, struct common_rate *source, uint32_t want);
/* The same of connections. True: taken, or there is no such rate. */
uint64_t schedule_common_connect_next_ms(struct site *site);
bool schedule_common_take_connect(struct site *site);
/* True: nothing of this empty site is in the spool. Else it is being deleted, and the site is
 * looked at again. */
bool schedule_drop_kept(struct site *site);
void schedule_free_clock(struct queue *queue);

#endif
