#include "policy/acct_queue.h"

#include <assert.h>
#include <string.h>
#include <sysexits.h>

#include "base/idna.h"

static bool copy_vmta(struct bytes text, struct acct_queue_word *word)
{
    if (bytes_equal(text, BYTES("*"))) {
        return true;
    }
    if (!value_is_name(text) || text.len >= sizeof word->vmta) {
        return false;
    }
    memcpy(word->vmta, text.data, text.len);
    word->vmta_len = (uint16_t)text.len;
    return true;
}

/* As the queues have it: in A-labels. A name that has none is compared as it is. */
static bool copy_domain(struct bytes name, struct acct_queue_word *word)
{
    struct buffer ascii;
    buffer_init(&ascii, word->domain, sizeof word->domain);
    if (bytes_is_ascii(name) || !idna_to_ascii(name, &ascii)) {
        buffer_clear(&ascii);
        buffer_put_bytes(&ascii, name);
    }
    word->domain_len = (uint16_t)ascii.len;
    return !ascii.overflowed;
}

static bool parse_word(struct bytes text, struct acct_queue_word *out)
{
    struct domain_pattern pattern;
    struct acct_queue_word word = {.left_out = text.len > 0 && text.data[0] == '!'};
    text = bytes_slice(text, word.left_out ? 1 : 0, text.len);
    size_t slash = text.len;
    while (slash > 0 && text.data[slash - 1] != '/') {
        slash--;
    }
    /* The slash of `[10/8]` is inside the domain. */
    if (slash < 2 || !value_parse_domain(bytes_slice(text, 0, slash - 1), &pattern) ||
        pattern.kind == DOMAIN_LOCAL || !copy_vmta(bytes_slice(text, slash, text.len), &word) ||
        !copy_domain(pattern.name, &word)) {
        return false;
    }
    word.kind = pattern.kind;
    word.range = pattern.range;
    *out = word;
    return true;
}

int acct_queue_filter_parse(const struct string_array *words, struct acct_queue_filter *out,
                            struct error *error)
{
    if (words->count > ACCT_QUEUE_WORDS_MAX) {
        return error_set(error, EX_CONFIG, "queue-filter has more than %d words",
                         ACCT_QUEUE_WORDS_MAX);
    }
    struct acct_queue_filter filter = {.keeps_others = true};
    for (size_t i = 0; i < words->count; i++) {
        struct acct_queue_word *word = &filter.words[filter.count++];
        if (!parse_word(words->items[i], word)) {
            return error_set(error, EX_CONFIG,
                             "queue-filter: '%.*s' is no queue: write DOMAIN/VIRTUAL-MTA, either "
                             "may be *, and ! before what is left out",
                             BYTES_FMT(words->items[i]));
        }
        filter.keeps_others = filter.keeps_others && word->left_out;
    }
    *out = filter;
    return 0;
}

static bool is_below(struct bytes domain, struct bytes name)
{
    return domain.len > name.len + 1 && domain.data[domain.len - name.len - 1] == '.' &&
           bytes_ends_with_nocase(domain, name);
}

static bool is_in_range(struct bytes domain, const struct address_range *range)
{
    struct address address;
    return domain.len > 2 && domain.data[0] == '[' &&
           address_parse(bytes_slice(domain, 1, domain.len - 1), &address) &&
           address_range_holds(range, &address);
}

static bool holds_domain(const struct acct_queue_word *word, struct bytes domain)
{
    struct bytes name = bytes_of(word->domain, word->domain_len);
    switch (word->kind) {
    case DOMAIN_ANY:
        return true;
    case DOMAIN_WITH_SUBS:
        return bytes_equal_nocase(domain, name) || is_below(domain, name);
    case DOMAIN_SUBS:
        return is_below(domain, name);
    case DOMAIN_RANGE:
        return is_in_range(domain, &word->range);
    case DOMAIN_EXACT:
        return bytes_equal_nocase(domain, name);
    case DOMAIN_LOCAL:
        break; /* refused when it was read */
    }
    return false;
}

bool acct_queue_filter_keeps(const struct acct_queue_filter *filter, struct bytes queue)
{
    if (filter->count == 0) {
        return true;
    }
    ptrdiff_t slash = bytes_find(queue, '/', 0); /* no queue's domain has one */
    size_t domain_len = slash < 0 ? queue.len : (size_t)slash;
    struct bytes domain = bytes_slice(queue, 0, domain_len);
    struct bytes vmta = bytes_slice(queue, slash < 0 ? queue.len : domain_len + 1, queue.len);
    for (uint32_t i = 0; i < filter->count; i++) {
        const struct acct_queue_word *word = &filter->words[i];
        if (holds_domain(word, domain) &&
            (word->vmta_len == 0 ||
             bytes_equal_nocase(vmta, bytes_of(word->vmta, word->vmta_len)))) {
            return !word->left_out;
        }
    }
    return filter->keeps_others;
}
