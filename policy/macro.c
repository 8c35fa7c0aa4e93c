/* domain-macro: names for lists of domains, used as $name inside <domain …>.
 *
 * A macro may name others, in any order of definition; loops are found once all are known, by a
 * depth-first search that keeps its stack in the macros. A pattern with macros is expanded with a
 * list of half-done texts: the first $name of one is replaced by each of its items, which makes as
 * many new ones, until no $ is left. */
#include <assert.h>
#include <stdlib.h>

#include "policy/load.h"

enum { COLOR_NEW, COLOR_OPEN, COLOR_DONE };

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
}

static bool has_name(const struct map_entry *entry, const void *key)
{
    const struct bytes *name = key;
    return bytes_equal_nocase(((const struct macro *)entry)->name, *name);
}

static struct macro *find_macro(const struct loader *loader, struct bytes name)
{
    return (struct macro *)map_find(&loader->macros, bytes_hash_nocase(name), has_name, &name);
}

/* The first $name at or after *offset; *offset moves behind it. */
static bool next_reference(struct bytes text, size_t *offset, size_t *start, struct bytes *name)
{
    ptrdiff_t dollar = bytes_find(text, '$', *offset);
    if (dollar < 0) {
        return false;
    }
    size_t end = (size_t)dollar + 1;
    while (end < text.len && is_name_char(text.data[end])) {
        end++;
    }
    *start = (size_t)dollar;
    *name = bytes_slice(text, (size_t)dollar + 1, end);
    *offset = end;
    return true;
}

static bool add_item(struct loader *loader, struct macro *macro, struct bytes text)
{
    struct place place = loader_place(loader, text.data);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == ' ' || text.data[i] == '\t') {
            report_error(loader->report, &place,
                         "domain-macro: '%.*s' has a blank: write the items with commas between",
                         (int)(text.len > 60 ? 60 : text.len), text.data);
            return true;
        }
    }
    if (++loader->item_count > LOAD_MACRO_ITEMS_MAX) {
        report_error(loader->report, &place, "more than %d items in all macros",
                     LOAD_MACRO_ITEMS_MAX);
        loader->failed = true;
        return false;
    }
    struct macro_item *item = config_take(loader->config, sizeof(*item));
    struct bytes copy = arena_copy(loader->config->arena, text);
    if (item == NULL || copy.data == NULL) {
        loader_no_memory(loader);
        return false;
    }
    *item = (struct macro_item){.text = copy, .place = place};
    *macro->last = item;
    macro->last = &item->next;
    return true;
}

/* Items between commas; empty ones (a comma too many) are no items. True: a comma ends the text,
 * so the list goes on. */
static bool add_items(struct loader *loader, struct macro *macro, struct bytes text)
{
    size_t start = 0;
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.data[i] != ',') {
            continue;
        }
        struct bytes item = bytes_trim(bytes_slice(text, start, i));
        if (item.len > 0 && !add_item(loader, macro, item)) {
            return false;
        }
        start = i + 1;
    }
    return text.len > 0 && text.data[text.len - 1] == ',';
}

static struct macro *make_macro(struct loader *loader, struct bytes name)
{
    struct macro *macro = find_macro(loader, name);
    struct place place = loader_place(loader, name.data);
    if (macro != NULL) {
        report_warning(loader->report, &place, "macro '%.*s' replaces the one of %s:%u",
                       BYTES_FMT(name), macro->place.file, macro->place.line);
        macro->first = NULL;
    } else {
        macro = config_take(loader->config, sizeof(*macro));
        struct bytes copy = arena_copy(loader->config->arena, name);
        if (macro == NULL || copy.data == NULL) {
            loader_no_memory(loader);
            return NULL;
        }
        macro->name = copy;
        if (!map_insert(&loader->macros, bytes_hash_nocase(name), &macro->entry)) {
            report_error(loader->report, &place, "more than %d macros", LOAD_MACROS_MAX);
            return NULL;
        }
        *loader->last_macro = macro;
        loader->last_macro = &macro->next;
    }
    macro->place = place;
    macro->last = &macro->first;
    return macro;
}

void macro_define(struct loader *loader)
{
    struct words words = {.text = loader->line.value, .arena = loader->config->arena};
    struct word word;
    struct place place = loader_place(loader, loader->line.value.data);
    struct frame *frame = &loader->frames[loader->frame_count - 1];
    bool fine = words_next(&words, &word) == WORDS_WORD;
    for (size_t i = 0; fine && i < word.text.len; i++) {
        fine = is_name_char(word.text.data[i]);
    }
    if (!fine || word.quoted) {
        report_error(loader->report, &place,
                     "domain-macro: write a name of letters, digits and _, then domains");
        return;
    }
    struct macro *macro = make_macro(loader, word.text);
    if (macro == NULL) {
        return;
    }
    bool goes_on = add_items(loader, macro, words_rest(&words));
    while (goes_on && syntax_continue(&frame->syntax, BYTES("domain-macro"), &loader->line)) {
        goes_on = add_items(loader, macro, loader->line.value);
    }
    if (macro->first == NULL && !loader->failed) {
        report_error(loader->report, &macro->place, "domain-macro '%.*s' has no items",
                     BYTES_FMT(macro->name));
    }
}

/* The next macro that this one names, or NULL. */
static struct macro *next_named(struct loader *loader, struct macro *macro)
{
    size_t start;
    struct bytes name;
    while (macro->next_item != NULL) {
        struct macro_item *item = macro->next_item;
        if (!next_reference(item->text, &macro->next_offset, &start, &name)) {
            macro->next_item = item->next;
            macro->next_offset = 0;
            continue;
        }
        struct macro *named = find_macro(loader, name);
        if (named != NULL) {
            return named;
        }
        report_error(loader->report, &item->place, "unknown macro '$%.*s'", BYTES_FMT(name));
    }
    return NULL;
}

static void search_from(struct loader *loader, struct macro *top)
{
    top->color = COLOR_OPEN;
    top->next_item = top->first;
    while (top != NULL) {
        struct macro *named = next_named(loader, top);
        if (named == NULL) {
            top->color = COLOR_DONE;
            top = top->below;
        } else if (named->color == COLOR_OPEN) {
            report_error(loader->report, &top->place, "macro '$%.*s' names itself, through '$%.*s'",
                         BYTES_FMT(named->name), BYTES_FMT(top->name));
        } else if (named->color == COLOR_NEW) {
            named->color = COLOR_OPEN;
            named->next_item = named->first;
            named->below = top;
            top = named;
        }
    }
}

void macro_check_loops(struct loader *loader)
{
    for (struct macro *macro = loader->first_macro; macro != NULL; macro = macro->next) {
        if (macro->color == COLOR_NEW) {
            search_from(loader, macro);
        }
    }
}

/* Texts still to be looked at, last in first out, in memory of malloc. */
struct pending {
    struct bytes *items;
    size_t count, capacity;
};

static bool push_text(struct pending *pending, struct bytes text)
{
    if (pending->count == pending->capacity) {
        size_t capacity = pending->capacity == 0 ? 64 : pending->capacity * 2;
        struct bytes *more = realloc(pending->items, capacity * sizeof(*more));
        if (more == NULL) {
            return false;
        }
        pending->items = more;
        pending->capacity = capacity;
    }
    pending->items[pending->count++] = text;
    return true;
}

/* Pushes `text` with [start, end) replaced by each item, the first one on top. */
static bool push_replaced(struct loader *loader, struct pending *pending, const struct macro *macro,
                          struct bytes text, size_t start, size_t end)
{
    size_t first = pending->count;
    for (const struct macro_item *item = macro->first; item != NULL; item = item->next) {
        size_t len = text.len - (end - start) + item->text.len;
        char *made = len > VALUE_DOMAIN_LEN_MAX * 2 ? NULL : config_take(loader->config, len + 1);
        if (made == NULL) {
            return false;
        }
        memcpy(made, text.data, start);
        memcpy(made + start, item->text.data, item->text.len);
        memcpy(made + start + item->text.len, text.data + end, text.len - end);
        if (!push_text(pending, bytes_of(made, len))) {
            return false;
        }
    }
    for (size_t low = first, high = pending->count; low + 1 < high; low++) {
        high--;
        struct bytes other = pending->items[low];
        pending->items[low] = pending->items[high];
        pending->items[high] = other;
    }
    return true;
}

static const char *expand_pending(struct loader *loader, struct pending *pending,
                                  void (*take)(struct loader *loader, struct bytes pattern,
                                               bool by_macro, void *to),
                                  void *to, struct bytes *unknown)
{
    size_t steps = 0;
    while (pending->count > 0) {
        struct bytes text = pending->items[--pending->count];
        size_t end = 0, start;
        if (++steps > LOAD_EXPANSION_MAX || pending->count > LOAD_EXPANSION_MAX) {
            return "stands for too many domains";
        }
        if (!next_reference(text, &end, &start, unknown)) {
            take(loader, text, true, to);
            continue;
        }
        const struct macro *macro = find_macro(loader, *unknown);
        if (macro == NULL) {
            return "names an unknown macro";
        }
        if (!push_replaced(loader, pending, macro, text, start, end)) {
            return "is too long once its macros are filled in";
        }
    }
    return NULL;
}

int macro_expand(struct loader *loader, struct bytes text, const struct place *place,
                 void (*take)(struct loader *loader, struct bytes pattern, bool by_macro, void *to),
                 void *to)
{
    struct pending pending = {0};
    struct bytes name = {"", 0};
    if (bytes_find(text, '$', 0) < 0) {
        take(loader, text, false, to);
        return 0;
    }
    const char *problem = push_text(&pending, text)
                              ? expand_pending(loader, &pending, take, to, &name)
                              : "needs too much memory";
    free(pending.items);
    if (problem != NULL) {
        report_error(loader->report, place, "<domain %.*s> %s ('$%.*s')",
                     (int)(text.len > 100 ? 100 : text.len), text.data, problem,
                     (int)(name.len > 60 ? 60 : name.len), name.data);
        return -1;
    }
    return 0;
}
