/* A daemon's reply for people: what each command prints, and which exit code it means.
 *
 * Knows replies, not sockets. A reply may lack any member or have it of another type: that reads
 * as empty. Output goes to standard output, sentences about a code other than 0 to standard error.
 * One row of commands.def names a printer and a judge each. */
#ifndef ENGINE_COMMANDS_SHOW_H
#define ENGINE_COMMANDS_SHOW_H

#include <stdbool.h>

struct json;

struct answer {
    const struct json *reply; /* of status success */
    const char *name;         /* "domain/virtual-mta" as asked, the domain or job; "" if none */
    bool exact;               /* name has no wildcards */
};

/* Printers. */
void show_status(const struct answer *answer);
void show_queues(const struct answer *answer);
void show_queue(const struct answer *answer);
void show_domains(const struct answer *answer);
void show_vmtas(const struct answer *answer);
void show_providers(const struct answer *answer);
void show_jobs(const struct answer *answer);
void show_settings(const struct answer *answer);
void show_version(const struct answer *answer);
void show_reload(const struct answer *answer);
void show_drain(const struct answer *answer);
void show_rotate(const struct answer *answer);
void show_pause(const struct answer *answer);
void show_resume(const struct answer *answer);
void show_schedule(const struct answer *answer);
void show_change(const struct answer *answer);
void show_sources(const struct answer *answer);
void show_resolve(const struct answer *answer);
void show_reply(const struct answer *answer); /* commands_replies.c */
/* commands_list.c */
void show_list_row(const struct json *row);
void show_list(const struct answer *answer);
void show_delete(const struct answer *answer);
void show_pause_job(const struct answer *answer);
void show_resume_job(const struct answer *answer);

/* Judges: the exit code; other than 0, it has been said why. */
int accept_all(const struct answer *answer);
int accept_found(const struct answer *answer);      /* queues is not empty, or name not exact */
int accept_settings(const struct answer *answer);   /* the virtual MTA is configured */
int accept_pause(const struct answer *answer);      /* the same, or the queue has mail */
int accept_resume(const struct answer *answer);     /* something was resumed, all of it */
int accept_scheduled(const struct answer *answer);  /* as accept_found */
int accept_resume_job(const struct answer *answer); /* it was paused */
int accept_change(const struct answer *answer);     /* it was done to a queue */
int accept_route(const struct answer *answer);      /* hosts, not a failure */

#endif
