/* Looks at every recipient of one worker that waits or is on the wire, over many turns, for a
 * command that lists or deletes.
 *
 * At most SCAN_PER_TURN are looked at in a turn, and one scan at a time: it walks one site after
 * the other (queue.h), while mail is delivered as ever. Recipients that arrive meanwhile, and those
 * on their way between workers at that moment, are not among them. Knows nothing of the command. */
#ifndef ENGINE_SCHEDULE_SCAN_H
#define ENGINE_SCHEDULE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

struct list_node;
struct queue;
struct rcpt;
struct scheduler;
struct site;

#define SCAN_PER_TURN 4096 /* recipients, and sites that do not match */

/* What to look for; NULL: any. Patterns have * and ?; case counts in ids only. */
struct scan_selector {
    const char *queue, *orig, *rcpt, *job, *envid; /* orig "<>": the null sender */
    uint64_t older_than_ms;                        /* since it was accepted; 0: any */
};

struct scan {
    struct scan_selector selector; /* borrowed until `done` */
    /* One that matches: it waits, and may be taken out, or is RCPT_TAKEN. */
    void (*found)(struct scan *scan, struct queue *queue, struct rcpt *rcpt);
    /* All were looked at, or `stopped`, or the worker drains. The scan is the caller's again. In
     * schedule_run, never inside `found`. */
    void (*done)(struct scan *scan);
    bool held;     /* `found` sets it: no more before schedule_scan_go_on */
    bool stopped;  /* anybody on the worker sets it: nothing more is found */
    uint32_t left; /* of this turn; `found` takes more of it where it does much */
    /* private: */
    struct scheduler *scheduler;
    struct site *site;             /* being walked, or NULL */
    struct list_node *next, *last; /* of the scheduler's sites; NULL: none is left */
    char text[UINT16_MAX + 1];     /* scratch: a value as a string */
};

/* False: another scan runs. Calls nothing back. */
bool schedule_scan_begin(struct scheduler *scheduler, struct scan *scan);
void schedule_scan_go_on(struct scan *scan);

/* For schedule_run: a turn's worth. True: more is left, do not sleep. */
bool schedule_scan_run(struct scheduler *scheduler);
/* For schedule_free_site. */
void schedule_scan_forget(struct scheduler *scheduler, const struct site *site);

#endif
