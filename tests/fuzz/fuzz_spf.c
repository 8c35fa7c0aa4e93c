/* Any answers to an evaluation of SPF: it ends after a bounded number of questions, each of them
 * about a name that may be asked for. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "smtp/spf.h"

/* Ten terms, each with ten hosts at most, and the records. */
#define QUESTIONS_MAX (SPF_LOOKUPS_MAX * (SPF_HOSTS_MAX + 2) + 2)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line: its first letter says what it is, the rest is a text; several follow each other up
 * to a line that begins with another letter. */
static struct bytes next_line(const uint8_t **data, size_t *size)
{
    const uint8_t *end = memchr(*data, '\n', *size);
    size_t len = end == NULL ? *size : (size_t)(end - *data);
    struct bytes line = bytes_of((const char *)*data, len);
    *data += end == NULL ? len : len + 1;
    *size -= end == NULL ? len : len + 1;
    return line;
}

static void answer(struct spf *spf, const uint8_t **data, size_t *size)
{
    struct bytes texts[16];
    struct address addresses[2] = {{.family = ADDRESS_IPV4, .ip = {192, 0, 2, 1}},
                                   {.family = ADDRESS_IPV6, .ip = {0x20, 0x01}}};
    struct spf_answer said = {.status = SPF_DNS_NOTHING, .texts = texts, .addresses = addresses};
    bool more = *size > 0;
    while (more && said.text_count < 16) {
        struct bytes line = next_line(data, size);
        char kind = line.len > 0 ? line.data[0] : 'n';
        more = kind == '+' && *size > 0;
        if (kind == 'f') {
            said.status = SPF_DNS_FAILED;
        } else if (kind == 'a') {
            said.status = SPF_DNS_FOUND;
            said.address_count = 2;
        } else if (kind == 't' || kind == '+') {
            said.status = SPF_DNS_FOUND;
            texts[said.text_count++] = bytes_slice(line, 1, line.len);
        }
    }
    spf_answer(spf, &said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct spf spf;
    if (size == 0 || size > 65536) {
        return 0;
    }
    struct address ip = {.family = data[0] % 2 == 0 ? ADDRESS_IPV4 : ADDRESS_IPV6,
                         .ip = {192, 0, 2, 1}};
    data++;
    size--;
    spf_begin(&spf, &ip, "example.com", "helo.example.com", "a.b-c+d@from.example.com");
    for (int count = 0; spf.question != SPF_DONE; count++) {
        assert(count < QUESTIONS_MAX);
        assert(memchr(spf.name, '\0', sizeof spf.name) != NULL && spf.name[0] != '\0');
        answer(&spf, &data, &size);
    }
    assert(spf_result_name(spf.result)[0] != '\0');
    return 0;
}
