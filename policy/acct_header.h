/* Headers of messages in accounting records: which ones the <acct-file> blocks ask for, and the
 * text in which their values are kept with a message.
 *
 * Asked for by `record-fields d header_Subject` or `map-header-to-field d header_X-Tag tag`. Of a
 * message the first field of each name is kept. Pure; any thread. */
#ifndef POLICY_ACCT_HEADER_H
#define POLICY_ACCT_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "policy/value.h"

struct acct_file_settings;
struct config;

#define ACCT_HEADERS_MAX   32   /* names, of all files together; lines of map-header-to-field */
#define ACCT_HEADERS_BYTES 2048 /* kept of one message */

/* ---- the configuration ---- */

/* "header_Subject" stands for Subject. False: not of that form. */
bool acct_header_of_field(struct bytes field, struct bytes *out);

/* One map-header-to-field line; points into its settings. */
struct acct_header_map {
    uint32_t records; /* bits of enum record_type */
    struct bytes header, field;
};

/* All of a file, in order; out holds ACCT_HEADERS_MAX. A header fills one field of a record type
 * in this way, and one by its own name. The count, or -1 with error. */
int acct_header_maps(const struct acct_file_settings *settings, struct acct_header_map *out,
                     struct error *error);

/* The names that any file asks for. */
struct acct_headers {
    uint32_t count;
    /* private: */
    struct acct_header_wish {
        uint8_t len;
        char name[VALUE_NAME_LEN_MAX];
    } wishes[ACCT_HEADERS_MAX];
};

/* Keeps nothing of config. 0, or -1 with error, and *out has those before the trouble. */
int acct_headers_init(struct acct_headers *out, const struct config *config, struct error *error);
bool acct_headers_want(const struct acct_headers *headers, struct bytes name);

/* ---- a message's ---- */

/* Appends a field, unless one of this name is there or there is no room for it. The value has no
 * line ends. */
void acct_headers_put(struct buffer *kept, struct bytes name, struct bytes value);

/* False: the message has no such field, or it was not kept. */
bool acct_headers_find(struct bytes kept, struct bytes name, struct bytes *value);

#endif
