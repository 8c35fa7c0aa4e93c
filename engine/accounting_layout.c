/* For each record type its list of fields is worked out from the defaults and the file's
 * record-fields; the columns are the union of the lists, each where it was first named. */
#include "accounting_layout.h"

#include <assert.h>
#include <stdlib.h>
#include <sysexits.h>

#include "policy/settings.h"

/* ---- the tables ---------------------------------------------------------------------------- */

static const struct accounting_field fields[] = {
#define FIELD(name, kind, first, second)                                                           \
    {name, FIELD_##kind, offsetof(struct event, first), offsetof(struct event, second)},
#include "accounting_fields.def"
};
#define FIELD_COUNT (sizeof fields / sizeof fields[0])

#define FIELDS_OF_A_RECIPIENT                                                                      \
    "timeLogged,timeQueued,orig,rcpt,orcpt,dsnAction,dsnStatus,dsnDiag,dsnMta,bounceCat,srcType,"  \
    "srcMta,dlvType,dlvSourceIp,dlvDestinationIp,dlvEsmtpAvailable,dlvSize,vmta,jobId,envId,"      \
    "queue,vmtaPool"

/* With the columns where none are configured. */
static const struct accounting_form forms[] = {
    {RECORD_DELIVERY, EVENT_DELIVERED, "d", "relayed", FIELDS_OF_A_RECIPIENT},
    {RECORD_BOUNCE, EVENT_BOUNCED, "b", "failed", FIELDS_OF_A_RECIPIENT},
    {RECORD_TRANSIENT, EVENT_TRANSIENT, "t", "delayed", FIELDS_OF_A_RECIPIENT},
    {RECORD_QUEUE, EVENT_TRANSIENT_QUEUE, "tq", "delayed",
     "timeLogged,dsnStatus,dsnDiag,dsnMta,dlvType,dlvSourceIp,dlvDestinationIp,vmta,queue"},
    {RECORD_RECEIPT, EVENT_RECEIVED, "r", "",
     "timeLogged,orig,rcpt,orcpt,srcType,srcMta,rcvSourceIp,rcvDestinationIp,vmta,vmtaPool,jobId,"
     "envId,rcvSmtpUser"},
};
#define FORM_COUNT (sizeof forms / sizeof forms[0])

const struct accounting_form *accounting_form_of(enum event_type type)
{
    const struct accounting_form *form = NULL;
    for (size_t i = 0; i < FORM_COUNT && form == NULL; i++) {
        form = forms[i].event == type ? &forms[i] : NULL;
    }
    assert(form != NULL);
    return form;
}

/* ---- the columns --------------------------------------------------------------------------- */

static struct accounting_column *find_column(struct accounting_layout *layout, struct bytes name)
{
    for (uint32_t i = 0; i < layout->column_count; i++) {
        if (bytes_equal_nocase(layout->columns[i].name, name)) {
            return &layout->columns[i];
        }
    }
    return NULL;
}

static struct bytes copy_name(struct accounting_layout *layout, struct bytes name)
{
    char *copy = layout->names + layout->names_len;
    assert(layout->names_len + name.len < sizeof layout->names);
    memcpy(copy, name.data, name.len);
    layout->names_len += name.len + 1;
    return bytes_of(copy, name.len);
}

/* Known fields are called as the table has them; others keep the name they were given. */
static void name_column(struct accounting_layout *layout, struct accounting_column *column,
                        struct bytes name)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (bytes_equal_nocase(bytes_from_string(fields[i].name), name)) {
            column->field = fields[i];
            column->name = bytes_from_string(fields[i].name);
            return;
        }
    }
    column->name = copy_name(layout, name);
    bool is_header = acct_header_of_field(column->name, &column->header);
    column->field = (struct accounting_field){.name = column->name.data,
                                              .kind = is_header ? FIELD_HEADER : FIELD_NONE};
}

static int add_field(struct accounting_layout *layout, enum record_type record, struct bytes name,
                     struct error *error)
{
    if (bytes_equal_nocase(name, BYTES("type"))) {
        return 0; /* always the first column */
    }
    struct accounting_column *column = find_column(layout, name);
    if (column == NULL) {
        if (layout->column_count == ACCOUNTING_COLUMNS_MAX || name.len > VALUE_NAME_LEN_MAX) {
            return error_set(error, EX_CONFIG,
                             "more than %d columns, or a name over %d bytes: '%.*s'",
                             ACCOUNTING_COLUMNS_MAX, VALUE_NAME_LEN_MAX, BYTES_FMT(name));
        }
        column = &layout->columns[layout->column_count++];
        name_column(layout, column, name);
    }
    column->records |= RECORD_BIT(record);
    return 0;
}

static int add_defaults(struct accounting_layout *layout, const struct accounting_form *form,
                        struct error *error)
{
    struct bytes list = bytes_from_string(form->default_fields);
    size_t from = 0;
    while (from < list.len) {
        ptrdiff_t comma = bytes_find(list, ',', from);
        size_t to = comma < 0 ? list.len : (size_t)comma;
        if (add_field(layout, form->record, bytes_slice(list, from, to), error) < 0) {
            return -1;
        }
        from = to + 1;
    }
    return 0;
}

/* One record-fields line. It says everything, unless it begins by taking away. */
static int add_listed(struct accounting_layout *layout, const struct accounting_form *form,
                      const struct record_fields *list, struct error *error)
{
    if (list->count > 0 && list->fields[0].removed && add_defaults(layout, form, error) < 0) {
        return -1;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        struct bytes name = list->fields[i].name;
        if (list->fields[i].removed) {
            struct accounting_column *column = find_column(layout, name);
            if (column != NULL) {
                column->records &= ~RECORD_BIT(form->record);
            }
        } else if (bytes_equal(name, BYTES("*"))) {
            if (add_defaults(layout, form, error) < 0) {
                return -1;
            }
        } else if (add_field(layout, form->record, name, error) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The last record-fields line for a type counts. */
static int add_record(struct accounting_layout *layout, const struct accounting_form *form,
                      const struct acct_file_settings *settings, struct error *error)
{
    for (size_t i = settings->record_fields.count; i > 0; i--) {
        const struct record_fields *list = &settings->record_fields.items[i - 1];
        if ((list->records & RECORD_BIT(form->record)) != 0) {
            return add_listed(layout, form, list, error);
        }
    }
    return add_defaults(layout, form, error);
}

/* A field that no column shows yet becomes one, for the record types that this file holds. */
static int add_maps(struct accounting_layout *layout, const struct acct_file_settings *settings,
                    struct error *error)
{
    struct acct_header_map maps[ACCT_HEADERS_MAX];
    int count = acct_header_maps(settings, maps, error);
    for (int i = 0; i < count; i++) {
        layout->maps[i] = (struct accounting_map){.records = maps[i].records,
                                                  .header = copy_name(layout, maps[i].header)};
        for (size_t j = 0; j < FORM_COUNT; j++) {
            uint32_t bit = RECORD_BIT(forms[j].record);
            if ((maps[i].records & layout->records & bit) == 0) {
                continue;
            }
            if (add_field(layout, forms[j].record, maps[i].field, error) < 0) {
                return -1;
            }
            struct accounting_column *column = find_column(layout, maps[i].field);
            assert(column != NULL);
            column->maps |= UINT32_C(1) << i;
        }
    }
    return count < 0 ? -1 : 0;
}

bool accounting_layout_header(const struct accounting_layout *layout,
                              const struct accounting_column *column,
                              const struct accounting_form *form, const struct event *event,
                              struct bytes *out)
{
    for (uint32_t left = column->maps; left != 0; left &= left - 1) {
        const struct accounting_map *map = &layout->maps[__builtin_ctz(left)];
        if ((map->records & RECORD_BIT(form->record)) != 0 &&
            acct_headers_find(event->headers, map->header, out)) {
            return true;
        }
    }
    return column->field.kind == FIELD_HEADER &&
           acct_headers_find(event->headers, column->header, out);
}

/* Columns that every record type took away again. */
static void drop_unused_columns(struct accounting_layout *layout)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < layout->column_count; i++) {
        if (layout->columns[i].records != 0) {
            layout->columns[kept++] = layout->columns[i];
        }
    }
    layout->column_count = kept;
}

static void write_header(struct accounting_layout *layout)
{
    struct buffer out;
    buffer_init(&out, layout->header_text, sizeof layout->header_text);
    layout->header = buffer_bytes(&out);
    if (layout->json) {
        return;
    }
    buffer_put_string(&out, "type");
    for (uint32_t i = 0; i < layout->column_count; i++) {
        buffer_put_char(&out, ',');
        buffer_put_bytes(&out, layout->columns[i].name); /* a name: nothing to quote in it */
    }
    buffer_put_string(&out, "\r\n");
    assert(!out.overflowed);
    layout->header = buffer_bytes(&out);
}

static int fill_layout(struct accounting_layout *layout, const struct acct_file_settings *settings,
                       struct error *error)
{
    struct bytes user_string = settings->user_string;
    if (user_string.len > sizeof layout->user_string_text) {
        return error_set(error, EX_CONFIG, "user-string is longer than %d bytes",
                         ACCOUNTING_USER_STRING_MAX);
    }
    if (user_string.len > 0) {
        memcpy(layout->user_string_text, user_string.data, user_string.len);
    }
    layout->user_string = bytes_of(layout->user_string_text, user_string.len);
    layout->iso_times = settings->iso_times;
    if (acct_queue_filter_parse(&settings->queue_filter, &layout->filter, error) < 0 ||
        acct_privacy_parse(&settings->privacy_policy, &layout->privacy, error) < 0) {
        return -1;
    }
    for (size_t i = 0; i < FORM_COUNT; i++) {
        if ((settings->records & RECORD_BIT(forms[i].record)) != 0) {
            layout->records |= RECORD_BIT(forms[i].record);
            if (add_record(layout, &forms[i], settings, error) < 0) {
                return -1;
            }
        }
    }
    if (add_maps(layout, settings, error) < 0) {
        return -1;
    }
    drop_unused_columns(layout);
    layout->has_bounce_class = find_column(layout, BYTES("bounceClass")) != NULL;
    write_header(layout);
    return 0;
}

struct accounting_layout *accounting_layout_create(const struct acct_file_settings *settings,
                                                   bool json, struct error *error)
{
    struct accounting_layout *layout = calloc(1, sizeof *layout);
    if (layout == NULL) {
        error_set(error, EX_OSERR, "out of memory");
        return NULL;
    }
    layout->json = json;
    if (fill_layout(layout, settings, error) < 0) {
        free(layout);
        return NULL;
    }
    return layout;
}

void accounting_layout_destroy(struct accounting_layout *layout)
{
    free(layout);
}

bool accounting_layout_wants(const struct accounting_layout *layout, enum event_type type)
{
    const struct accounting_form *form = accounting_form_of(type);
    assert(form != NULL);
    return (layout->records & RECORD_BIT(form->record)) != 0;
}

bool accounting_layout_takes(const struct accounting_layout *layout, const struct event *event)
{
    bool of_a_queue = event->type != EVENT_RECEIVED;
    return event->unaccounted == 0 && accounting_layout_wants(layout, event->type) &&
           (!of_a_queue || acct_queue_filter_keeps(&layout->filter, event->queue));
}
