/* What one <acct-file> asks for: which records, which columns, which form.
 *
 * Made once from the settings and immutable after. Pure: knows neither files nor how a value is
 * written (accounting_format.h). Any thread. */
#ifndef ENGINE_ACCOUNTING_LAYOUT_H
#define ENGINE_ACCOUNTING_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "journal.h"
#include "policy/acct_header.h"
#include "policy/acct_privacy.h"
#include "policy/acct_queue.h"
#include "policy/value.h"

struct acct_file_settings;

#define ACCOUNTING_COLUMNS_MAX     256
#define ACCOUNTING_USER_STRING_MAX 1024 /* bytes */

/* How a value is made of an event. */
enum accounting_field_kind {
    FIELD_TEXT,
    FIELD_TIME,
    FIELD_NUMBER,
    FIELD_ACTION,      /* relayed, failed or delayed, by the record's type */
    FIELD_HOST,        /* "host (ip)" */
    FIELD_SOURCE_IP,   /* 0.0.0.0 where a tq has none */
    FIELD_SECONDS,     /* from first to second, whole seconds */
    FIELD_USER_STRING, /* as configured */
    FIELD_HEADER,      /* of the message: header_X */
    FIELD_NONE,        /* not known to the journal */
};

/* A row of accounting_fields.def. */
struct accounting_field {
    const char *name;
    enum accounting_field_kind kind;
    size_t first, second; /* offsets in struct event */
};

/* A record type that the journal has. */
struct accounting_form {
    enum record_type record;
    enum event_type event;
    const char *letter, *action, *default_fields;
};

struct accounting_column {
    struct bytes name;
    struct accounting_field field;
    uint32_t records;    /* bits of the record types that fill it; empty for the others */
    uint32_t maps;       /* bits of the layout's maps that fill it before anything else */
    struct bytes header; /* for FIELD_HEADER: its name */
};

struct accounting_layout {
    uint32_t records; /* bits of enum record_type */
    uint32_t column_count;
    bool json, iso_times;
    bool has_bounce_class; /* as a column: JSON has it in any case, but once */
    struct acct_queue_filter filter;
    struct acct_privacy privacy;
    struct bytes user_string;
    struct bytes header; /* a file's first line with its CRLF; empty for JSON */
    struct accounting_column columns[ACCOUNTING_COLUMNS_MAX]; /* behind `type` */
    struct accounting_map {
        uint32_t records;
        struct bytes header;
    } maps[ACCT_HEADERS_MAX]; /* in their order */
    /* private: */
    size_t names_len;
    char user_string_text[ACCOUNTING_USER_STRING_MAX];
    /* Of columns that are no field, and of headers; each with its NUL. */
    char names[(ACCOUNTING_COLUMNS_MAX + ACCT_HEADERS_MAX) * (VALUE_NAME_LEN_MAX + 1)];
    char header_text[ACCOUNTING_COLUMNS_MAX * (VALUE_NAME_LEN_MAX + 1) + 8];
};

/* NULL with error: too many columns, user-string too long, or no memory. Keeps nothing of
 * `settings`. */
struct accounting_layout *accounting_layout_create(const struct acct_file_settings *settings,
                                                   bool json, struct error *error);
void accounting_layout_destroy(struct accounting_layout *layout); /* NULL is accepted */

/* Does this file hold such records? */
bool accounting_layout_wants(const struct accounting_layout *layout, enum event_type type);

/* … and this one: of a queue that is recorded here, of a domain that has not disabled it? */
bool accounting_layout_takes(const struct accounting_layout *layout, const struct event *event);

/* The value of the header of the event's message that fills this column; false: none does. */
bool accounting_layout_header(const struct accounting_layout *layout,
                              const struct accounting_column *column,
                              const struct accounting_form *form, const struct event *event,
                              struct bytes *out);

/* The form of an event of the journal; never NULL. */
const struct accounting_form *accounting_form_of(enum event_type type);

#endif
