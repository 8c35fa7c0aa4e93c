/* Tags: what they open, where they may stand, what they close. */
#include <assert.h>

#include "policy/load.h"

#define TAG_SHOWN_MAX 60 /* bytes of the operator's text inside a message */

static const char *tag_of(const struct block *block)
{
    return block->row != NULL ? block->row->tag : "";
}

/* Names of blocks that are skipped whole, whatever stands in them. */
static const struct block_row ignored_row = {.tag = "", .scope = SCOPE_IGNORED};

struct block *load_push(struct loader *loader, const struct block_row *row, struct bytes argument)
{
    struct config *config = loader->config;
    struct place place = loader_place(loader, loader->line.whole.data);
    if (loader->open_count == LOAD_BLOCK_DEPTH_MAX) {
        report_error(loader->report, &place, "blocks inside blocks: more than %d",
                     LOAD_BLOCK_DEPTH_MAX);
        return NULL;
    }
    struct block *block = config_take(config, sizeof(*block));
    struct bytes copy = arena_copy(config->arena, argument);
    if (block == NULL || copy.data == NULL) {
        loader_no_memory(loader);
        return NULL;
    }
    *block = (struct block){.row = row,
                            .scope = row->scope,
                            .argument = copy,
                            .place = place,
                            .order = loader->order,
                            .parent = loader_block(loader)};
    block->last = &block->first;
    block->last_rule = &block->first_rule;
    if (row->scope != SCOPE_IGNORED) {
        *config->last_block = block;
        config->last_block = &block->next;
    }
    loader->open[loader->open_count++] = block;
    return block;
}

/* Everything up to the matching closing tag is skipped: one mistake, one message. */
static void push_ignored(struct loader *loader)
{
    load_push(loader, &ignored_row, loader->line.name);
}

static void report_unknown_tag(struct loader *loader)
{
    struct place place = loader_place(loader, NULL);
    struct bytes name = loader->line.name;
    int shown = (int)(name.len > TAG_SHOWN_MAX ? TAG_SHOWN_MAX : name.len);
    const char *near = report_has_room(loader->report) ? directive_suggest_block(name) : NULL;
    if (near != NULL) {
        report_error(loader->report, &place, "unknown block '<%.*s>' (did you mean '<%s>'?)", shown,
                     name.data, near);
    } else {
        report_error(loader->report, &place, "unknown block '<%.*s>'", shown, name.data);
    }
}

static void warn_about_block(struct loader *loader, const struct block_row *row)
{
    size_t count;
    uint64_t bit = 1ull << (row - directive_blocks(&count));
    struct place place = loader_place(loader, NULL);
    assert(count <= 64);
    if (row->effect == EFFECT_YES || (loader->blocks_warned & bit) != 0) {
        return;
    }
    loader->blocks_warned |= bit;
    if (row->effect == EFFECT_LEGACY) {
        report_warning(loader->report, &place, "'<%s>' has no effect: %s", row->tag, row->help);
    } else {
        report_warning(loader->report, &place, "'<%s>' is not yet in effect", row->tag);
    }
}

/* The one argument of a tag, quotes undone. -1: reported. */
static int take_argument(struct loader *loader, const struct block_row *row, struct bytes *out)
{
    struct words words = {.text = loader->line.value, .arena = loader->config->arena};
    struct word word = {.text = {"", 0}};
    struct place place = loader_place(loader, loader->line.value.data);
    enum words_result result = words_next(&words, &word);
    bool optional = row->argument == ARGUMENT_NONE || row->argument == ARGUMENT_OPTIONAL_NAME;
    if (result != WORDS_WORD && !(result == WORDS_END && optional)) {
        report_error(loader->report, &place, "<%s>: %s", row->tag,
                     result == WORDS_END ? "it needs a name or value behind the tag"
                                         : words_problem(result));
        return -1;
    }
    if (words_rest(&words).len > 0 || (row->argument == ARGUMENT_NONE && result == WORDS_WORD)) {
        report_error(loader->report, &place, "<%s>: %s", row->tag,
                     row->argument == ARGUMENT_NONE ? "nothing may stand behind the tag"
                                                    : "one name or value only behind the tag");
        return -1;
    }
    *out = word.text;
    return 0;
}

/* The last colon parts address and port, so that IPv6 ranges need brackets only if they have no
 * prefix length. */
static bool split_listener(struct bytes text, struct block *block)
{
    uint64_t port;
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0 || !bytes_to_u64(bytes_slice(text, colon, text.len), UINT16_MAX, &port)) {
        return false;
    }
    struct bytes range = bytes_slice(text, 0, colon - 1);
    bool bracketed = range.len > 2 && range.data[0] == '[' && range.data[range.len - 1] == ']';
    if (bracketed) {
        range = bytes_slice(range, 1, range.len - 1);
    } else if (bytes_find(range, ':', 0) >= 0 && bytes_find(range, '/', 0) < 0) {
        return false; /* ::1:25 could be either */
    }
    block->port = (uint16_t)port;
    return port > 0 && address_range_parse(range, &block->range);
}

static const char *check_argument(struct block *block, struct bytes text)
{
    struct address address;
    switch (block->row->argument) {
    case ARGUMENT_NAME:
        return value_is_name(text) ? NULL : "a name is letters, digits and . - _ @ { }";
    case ARGUMENT_OPTIONAL_NAME:
        return text.len == 0 || value_is_name(text) ? NULL
                                                    : "a name is letters, digits and . - _ @ { }";
    case ARGUMENT_SOURCE:
        block->has_range = address_range_parse(text, &block->range);
        return block->has_range || value_is_name(text)
                   ? NULL
                   : "write an address, a CIDR range such as 10/8 or 0/0, or a name";
    case ARGUMENT_LISTENER:
        return split_listener(text, block)
                   ? NULL
                   : "write ADDRESS:PORT, such as 0/0:25, 10.0.1.22:25 or [::1]:25";
    case ARGUMENT_ADDRESS:
        return address_parse_port(text, &address) ? NULL : "write ADDRESS:PORT";
    case ARGUMENT_PATH:
    case ARGUMENT_COMMAND:
        return text.len > 0 && !bytes_equal(text, BYTES("|")) ? NULL : "write a path";
    case ARGUMENT_DOMAIN: /* checked when its macros are known */
    case ARGUMENT_NONE:
    case ARGUMENT_ANY:
        break;
    }
    return NULL;
}

/* Names with braces that mean something; see the head of value.h. */
static bool is_known_reserved(struct bytes name)
{
    static const char *const names[] = {"{default}",           "{pickup}",     "{auth}",
                                        "{transmissions-api}", "{sparkpost}",  "{bounceProcessor}",
                                        "{feedbackLoop}",      "{gmImprinter}"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (bytes_equal_nocase(name, bytes_from_string(names[i]))) {
            return true;
        }
    }
    return false;
}

static void open_known(struct loader *loader, const struct block_row *row)
{
    struct bytes argument;
    struct place place = loader_place(loader, loader->line.value.data);
    if (load_has_template_token(loader, loader->line.value) ||
        take_argument(loader, row, &argument) < 0) {
        push_ignored(loader);
        return;
    }
    struct block *block = load_push(loader, row, argument);
    if (block == NULL) {
        return;
    }
    const char *problem = check_argument(block, argument);
    if (problem == NULL && argument.len > 0 && argument.data[0] == '{' &&
        !is_known_reserved(argument)) {
        problem = "no such reserved name";
    }
    if (problem != NULL) {
        report_error(loader->report, &place, "<%s %.*s>: %s", row->tag,
                     (int)(argument.len > TAG_SHOWN_MAX ? TAG_SHOWN_MAX : argument.len),
                     argument.data, problem);
    }
}

void load_open(struct loader *loader)
{
    const struct block *around = loader_block(loader);
    const struct block_row *row = directive_find_block(loader->line.name);
    if (around->scope == SCOPE_IGNORED) {
        push_ignored(loader);
        return;
    }
    if (row == NULL) {
        report_unknown_tag(loader);
        push_ignored(loader);
        return;
    }
    if (row->effect != EFFECT_LEGACY && (row->parents & (1u << around->scope)) == 0) {
        struct place place = loader_place(loader, NULL);
        report_error(loader->report, &place, "'<%s>' is not allowed in %s", row->tag,
                     directive_scope_text(around->scope));
        push_ignored(loader);
        return;
    }
    warn_about_block(loader, row);
    if (row->scope == SCOPE_IGNORED) {
        push_ignored(loader);
        return;
    }
    open_known(loader, row);
}

static struct bytes closing_name(const struct block *block)
{
    return block->scope == SCOPE_IGNORED ? block->argument : bytes_from_string(tag_of(block));
}

static void report_unclosed(struct loader *loader, const struct block *block)
{
    struct bytes name = closing_name(block);
    report_error(loader->report, &block->place, "<%.*s> is not closed: </%.*s> is missing",
                 BYTES_FMT(name), BYTES_FMT(name));
}

void load_close(struct loader *loader)
{
    size_t floor = loader->frames[loader->frame_count - 1].block_depth;
    size_t depth = loader->open_count;
    while (depth > floor &&
           !bytes_equal_nocase(closing_name(loader->open[depth - 1]), loader->line.name)) {
        depth--;
    }
    if (depth == floor) {
        if (loader_block(loader)->scope != SCOPE_IGNORED) {
            struct place place = loader_place(loader, NULL);
            report_error(loader->report, &place, "</%.*s> closes nothing that this file opened",
                         (int)(loader->line.name.len > TAG_SHOWN_MAX ? TAG_SHOWN_MAX
                                                                     : loader->line.name.len),
                         loader->line.name.data);
        }
        return;
    }
    load_close_file(loader, depth);
    loader->open_count = depth - 1;
}

void load_close_file(struct loader *loader, size_t depth)
{
    while (loader->open_count > depth) {
        report_unclosed(loader, loader->open[--loader->open_count]);
    }
}

/* `smtp-listener CIDR:PORT [source=NAME] [tls=yes]` is a block of its own on one line. */
void load_listener_line(struct loader *loader)
{
    const struct block_row *row = directive_find_block(BYTES("smtp-listener"));
    struct config *config = loader->config;
    struct words words = {.text = loader->line.value, .arena = config->arena};
    struct word word = {.text = {"", 0}};
    words_next(&words, &word);
    struct block *block = load_push(loader, row, word.text);
    if (block == NULL) {
        return;
    }
    loader->open_count--;
    const char *problem = check_argument(block, word.text);
    if (problem != NULL) {
        struct place place = loader_place(loader, loader->line.value.data);
        report_error(loader->report, &place, "smtp-listener: '%.*s' is not accepted: %s",
                     BYTES_FMT(word.text), problem);
    }
    while (words_next(&words, &word) == WORDS_WORD) {
        ptrdiff_t sign = bytes_find(word.text, '=', 0);
        struct bytes name = bytes_slice(word.text, 0, sign < 0 ? 0 : (size_t)sign);
        struct bytes value = bytes_slice(word.text, (size_t)(sign + 1), word.text.len);
        bool is_tls = bytes_equal_nocase(name, BYTES("tls"));
        if (sign <= 0 || (!is_tls && !bytes_equal_nocase(name, BYTES("source")))) {
            struct place place = loader_place(loader, word.text.data);
            report_error(loader->report, &place,
                         "smtp-listener: '%.*s' is not accepted: write source=NAME or tls=yes",
                         BYTES_FMT(word.text));
            continue;
        }
        const struct directive *directive = directive_find(
            &config->index, SCOPE_LISTENER, is_tls ? BYTES("immediate-tls") : BYTES("source"));
        assert(directive != NULL);
        load_warn_effect(loader, directive);
        load_setting(loader, block, directive, value, NULL);
    }
}

/* `spool DIR` is an old form of an empty <spool DIR>. */
void load_spool_line(struct loader *loader)
{
    struct bytes argument;
    const struct block_row *row = directive_find_block(BYTES("spool"));
    struct place place = loader_place(loader, NULL);
    if (take_argument(loader, row, &argument) < 0 || load_push(loader, row, argument) == NULL) {
        return;
    }
    loader->open_count--;
    report_warning(loader->report, &place, "'spool' is a deprecated spelling: write <spool %.*s>",
                   BYTES_FMT(argument));
}
