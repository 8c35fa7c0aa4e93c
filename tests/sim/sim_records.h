/* Accounting files on the simulated disk, read as a consumer would.
 *
 * Knows CSV and the columns type, orig, rcpt, dsnStatus and dsnDiag; nothing of who wrote them. */
#ifndef SIM_RECORDS_H
#define SIM_RECORDS_H

#include "sim.h"

#define SIM_RECORD_FIELD_MAX 512 /* bytes with the NUL; longer fields are cut */

struct sim_record {
    char type[8];
    char orig[SIM_RECORD_FIELD_MAX], rcpt[SIM_RECORD_FIELD_MAX];
    char status[SIM_RECORD_FIELD_MAX], diag[SIM_RECORD_FIELD_MAX];
};

/* Calls `record` for each line of each *.csv in the directory. The count, or -1: a file that is
 * no CSV with those columns. */
int sim_records_read(struct sim *sim, const char *directory,
                     void (*record)(void *owner, const struct sim_record *record), void *owner);

#endif
