#include "net/dns_records.h"

#include <stdlib.h>
#include <string.h>

#include "net/dns.h"

static void *copy_array(const void *from, size_t count, size_t size)
{
    void *copy = count == 0 ? NULL : malloc(count * size);
    if (copy != NULL) {
        memcpy(copy, from, count * size);
    }
    return copy;
}

struct bytes *dns_texts_copy(const struct bytes *texts, uint32_t count)
{
    size_t size = count * sizeof *texts;
    for (uint32_t i = 0; i < count; i++) {
        size += texts[i].len + 1;
    }
    struct bytes *copy = count == 0 ? NULL : malloc(size);
    if (copy == NULL) {
        return NULL;
    }
    char *at = (char *)(copy + count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(at, texts[i].data, texts[i].len);
        at[texts[i].len] = '\0';
        copy[i] = bytes_of(at, texts[i].len);
        at += texts[i].len + 1;
    }
    return copy;
}

bool dns_records_copy(struct dns_records *out, const struct dns_records *from)
{
    *out = *from;
    out->mx = copy_array(from->mx, from->mx_count, sizeof *from->mx);
    out->addresses = copy_array(from->addresses, from->address_count, sizeof *from->addresses);
    out->texts = dns_texts_copy(from->texts, from->text_count);
    if ((from->mx_count > 0 && out->mx == NULL) ||
        (from->address_count > 0 && out->addresses == NULL) ||
        (from->text_count > 0 && out->texts == NULL)) {
        dns_records_deinit(out);
        return false;
    }
    return true;
}

void dns_records_deinit(struct dns_records *records)
{
    free(records->mx);
    free(records->addresses);
    free(records->texts);
    *records = (struct dns_records){0};
}
