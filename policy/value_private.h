/* Shared by the value_*.c files only: one line's value on its way from text to type. */
#ifndef POLICY_VALUE_PRIVATE_H
#define POLICY_VALUE_PRIVATE_H

#include "policy/value.h"
#include "policy/words.h"

struct reader {
    const struct value_source *source;
    struct words words;
    struct error *error;
    size_t *error_offset;
};

/* Each returns 0, or -1 with the error set. */
int reader_word(struct reader *reader, struct word *out);
int reader_only_word(struct reader *reader, struct word *out);
int reader_end(struct reader *reader);
int reader_refuse(struct reader *reader, size_t offset, struct bytes text); /* always -1 */
int reader_no_memory(struct reader *reader);                                /* always -1 */
int reader_copy(struct reader *reader, struct bytes text, struct bytes *out);

/* The whole value: the inside of a single quoted word, else all there is. */
int reader_whole(struct reader *reader, struct bytes *out);

/* Scalars. */
int parse_bool(struct reader *reader, union value *out);
int parse_number(struct reader *reader, union value *out);
int parse_number_or(struct reader *reader, union value *out);
int parse_limit(struct reader *reader, union value *out);
int parse_percent(struct reader *reader, union value *out);
int parse_interval(struct reader *reader, union value *out);
int parse_no_mx(struct reader *reader, union value *out);
int parse_size(struct reader *reader, union value *out);
int parse_bytes(struct reader *reader, union value *out);
int parse_rate(struct reader *reader, union value *out);
int parse_data_rate(struct reader *reader, union value *out);
int parse_rate_share(struct reader *reader, union value *out);
int parse_word(struct reader *reader, union value *out);

bool rate_from_text(struct bytes text, bool is_data, bool zero_allowed, struct rate_value *out);

/* Text and names. */
int parse_string(struct reader *reader, union value *out);
int parse_certificate(struct reader *reader, union value *out);
int parse_text(struct reader *reader, union value *out);
int parse_strings(struct reader *reader, union value *out);
int parse_args(struct reader *reader, union value *out);
int parse_path(struct reader *reader, union value *out);
int parse_queue_domain(struct reader *reader, union value *out);
int parse_host(struct reader *reader, union value *out);
int parse_name(struct reader *reader, union value *out);
int parse_reply_list(struct reader *reader, union value *out);
int parse_names(struct reader *reader, union value *out);
int parse_mailbox(struct reader *reader, union value *out);
int parse_domain(struct reader *reader, union value *out);
int parse_domain_limit(struct reader *reader, union value *out);
int parse_pattern(struct reader *reader, union value *out);
int parse_member(struct reader *reader, union value *out);

bool is_host_name(struct bytes text);

/* Lists and network. */
int parse_intervals(struct reader *reader, union value *out);
int parse_rates(struct reader *reader, union value *out);
int parse_records(struct reader *reader, union value *out);
int parse_fields(struct reader *reader, union value *out);
int parse_address(struct reader *reader, union value *out);
int parse_range(struct reader *reader, union value *out);
int parse_ranges(struct reader *reader, union value *out);
int parse_source_host(struct reader *reader, union value *out);
int parse_hosts(struct reader *reader, union value *out);
int parse_range_limit(struct reader *reader, union value *out);
int parse_range_rate(struct reader *reader, union value *out);
int parse_range_data_rate(struct reader *reader, union value *out);

/* Splits at `separator`, trims; false at the end. *cursor starts at 0. */
bool next_item(struct bytes text, char separator, size_t *cursor, struct bytes *out);

#endif
