/* One record of an accounting file as text: CSV by RFC 4180, or a line of JSON.
 *
 * Pure: knows neither files nor the spool. Any thread. Whatever a peer said, a record stays one
 * line and one CSV record: controls and bytes that are no UTF-8 are written \xNN (CSV) or as JSON
 * has it, and a field that a spreadsheet would take for a formula has its first character so. */
#ifndef ENGINE_ACCOUNTING_FORMAT_H
#define ENGINE_ACCOUNTING_FORMAT_H

#include <stdint.h>

#include "base/bytes.h"
#include "journal.h"

struct accounting_layout;

/* Where an event stands: the id of a record, the same at every sink, is made of both. */
struct accounting_place {
    uint64_t log_id, sequence;
};

#define ACCOUNTING_EID_LEN 33 /* 16 hex digits, a hyphen, 16 hex digits */
void accounting_put_eid(struct buffer *out, struct accounting_place place);

/* The most bytes of a record whose event is encoded in event_len bytes: no byte takes more than
 * six, and an IP address or a header may stand twice. */
#define ACCOUNTING_RECORD_MAX(event_len) (12 * (size_t)(event_len) + 32768)

/* Appends one record with its line end. Requires that the layout wants the event, and room for
 * ACCOUNTING_RECORD_MAX of its encoding. */
void accounting_format(const struct accounting_layout *layout, struct accounting_place place,
                       const struct event *event, struct buffer *out);

#endif
