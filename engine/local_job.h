/* One delivery by a helper thread: `type file` and `type pipe`.
 *
 * Its body is read window by window as for a connection; each window goes to the helper, which
 * writes it, and with the last one the message is made durable. Only then its recipients count as
 * delivered. For a command it is written into memory, and then the command run for one recipient
 * after the other. A job belongs to its attempt and to the attempt's worker; what the helper
 * touches is the job's alone while it works. An attempt that is told to end ends when the message
 * at hand is dealt with, so that no file is there without its record. */
#ifndef ENGINE_LOCAL_JOB_H
#define ENGINE_LOCAL_JOB_H

#include <stdbool.h>

struct attempt;
struct local_job;
struct transaction;

/* By the settings of the attempt's site as they are now, also after a reload. NULL: no memory. */
struct local_job *local_job_create(struct attempt *attempt);
void local_job_destroy(struct local_job *job); /* not at work; NULL is accepted */

/* A reload may have given its site another type of delivery: then it takes no more. */
bool local_job_fits(const struct local_job *job);

/* Its attempt is to end now: a command that runs is killed. What is being written into a file goes
 * on, it ends soon. */
void local_job_hurry(struct local_job *job);

/* The outcome is told, later and perhaps inside, and then local_delivery_go_on called, never
 * inside. */
void local_job_deliver(struct local_job *job, struct transaction *transaction);

/* From prepare: the window is ready, or failed. */
void local_job_on_prepared(struct local_job *job);

#endif
