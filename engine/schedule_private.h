/* What schedule.c (who sends next) and schedule_sites.c (which sites there are) share. */
#ifndef ENGINE_SCHEDULE_PRIVATE_H
#define ENGINE_SCHEDULE_PRIVATE_H

#include "schedule.h"

/* ---- schedule.c ---- */
void schedule_ring(struct scheduler *scheduler, uint32_t worker);
void schedule_site_init(struct site *site);
/* Maxima may have grown: whoever waits at a limit tries again. */
void schedule_wake_all(struct scheduler *scheduler);
void schedule_gate_init(struct gate *gate, struct limit *limit);
/* Takes the site out of where it waits; a wake it holds goes to the next. */
void schedule_leave_place(struct site *site);

/* ---- schedule_sites.c ---- */
/* An empty site without connections: its owner hears of it, then it is freed. */
void schedule_free_site(struct site *site);

#endif
