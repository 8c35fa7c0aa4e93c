/* Any bytes as a DNS answer: nothing breaks, and what is read keeps to the caps. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct dns_answer *answer, enum dns_type type)
{
    assert(answer->mx_count <= DNS_MX_MAX);
    assert(answer->address_count <= DNS_ADDRESSES_MAX);
    assert(answer->ttl_s <= INT32_MAX);
    for (uint32_t i = 0; i < answer->mx_count; i++) {
        assert(type == DNS_TYPE_MX);
        assert(memchr(answer->mx[i].host, '\0', DNS_NAME_MAX) != NULL);
        assert(answer->mx[i].host[0] != '\0');
    }
    for (uint32_t i = 0; i < answer->address_count; i++) {
        assert(answer->addresses[i].family == (type == DNS_TYPE_A ? ADDRESS_IPV4 : ADDRESS_IPV6));
    }
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < answer->text_count; i++) {
        assert(type == DNS_TYPE_PTR || type == DNS_TYPE_TXT);
        assert(answer->texts[i].data == answer->text_memory + text_bytes);
        text_bytes += answer->texts[i].len;
    }
    assert(answer->text_count <= DNS_TEXTS_MAX && text_bytes == answer->text_bytes &&
           text_bytes <= DNS_TEXT_BYTES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_PTR,
                                          DNS_TYPE_TXT};
    if (size == 0 || size > 65536) {
        return 0;
    }
    enum dns_type type = types[data[0] % 5];
    struct dns_answer answer;
    (void)dns_answer_parse(data + 1, size - 1, type, &answer);
    check(&answer, type);
    return 0;
}
