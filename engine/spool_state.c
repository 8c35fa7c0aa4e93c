/* Small named states: the newest value of each key is in memory and, since it is in the log like
 * everything else, survives. A deletion is a value of no bytes; it need not be copied forward,
 * because segments are released in order and what it deletes lies before it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "spool_private.h"

/* The payload: key length, key, value. */
struct keyed_payload {
    struct bytes key, value;
};

static bool split(struct bytes payload, struct keyed_payload *out)
{
    uint16_t key_len;
    if (payload.len < sizeof key_len) {
        return false;
    }
    memcpy(&key_len, payload.data, sizeof key_len);
    if (payload.len - sizeof key_len < key_len) {
        return false;
    }
    out->key = bytes_slice(payload, sizeof key_len, sizeof key_len + key_len);
    out->value = bytes_slice(payload, sizeof key_len + key_len, payload.len);
    return true;
}

static struct bytes key_of(const struct keyed *keyed)
{
    return bytes_of(keyed->key, keyed->key_len);
}

static struct bytes value_of(const struct keyed *keyed)
{
    return bytes_of(keyed->value, keyed->value_len);
}

static uint64_t keyed_bytes(struct bytes key, struct bytes value)
{
    return log_record_size(sizeof(uint16_t) + key.len + value.len);
}

static bool has_key(const struct map_entry *entry, const void *key)
{
    return bytes_equal(key_of(CONTAINER_OF(entry, struct keyed, entry)),
                       *(const struct bytes *)key);
}

struct keyed *keyed_find(const struct spool *spool, struct bytes key)
{
    struct map_entry *entry = map_find(&spool->keyed, bytes_hash(key), has_key, &key);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct keyed, entry);
}

static bool has_place(const struct map_entry *entry, const void *place)
{
    return CONTAINER_OF(entry, struct keyed, entry)->place == *(const uint64_t *)place;
}

struct keyed *keyed_at(const struct spool *spool, uint64_t hash, uint64_t place)
{
    struct map_entry *entry = map_find(&spool->keyed, hash, has_place, &place);
    return entry == NULL ? NULL : CONTAINER_OF(entry, struct keyed, entry);
}

static bool is_safe_behind(const struct map_entry *entry, const void *place)
{
    return CONTAINER_OF(entry, struct keyed, entry)->safe_place > *(const uint64_t *)place;
}

bool keyed_superseded(const struct spool *spool, uint64_t hash, uint64_t place)
{
    return map_find(&spool->keyed, hash, is_safe_behind, &place) != NULL;
}

static void forget(struct spool *spool, struct keyed *keyed)
{
    map_remove(&spool->keyed, &keyed->entry);
    list_remove(&keyed->node);
    free(keyed->value);
    free(keyed);
}

void keyed_deinit(struct spool *spool)
{
    struct list_node *node;
    while ((node = list_first(&spool->keyed_list)) != NULL) {
        forget(spool, CONTAINER_OF(node, struct keyed, node));
    }
    map_deinit(&spool->keyed);
}

/* The entry of a key, made if there is none; NULL: no memory. */
static struct keyed *obtain(struct spool *spool, struct bytes key)
{
    struct keyed *keyed = keyed_find(spool, key);
    if (keyed != NULL) {
        return keyed;
    }
    keyed = calloc(1, sizeof *keyed + key.len);
    if (keyed == NULL || !map_insert(&spool->keyed, bytes_hash(key), &keyed->entry)) {
        free(keyed);
        return NULL;
    }
    keyed->key_len = (uint32_t)key.len;
    memcpy(keyed->key, key.data, key.len);
    list_push_back(&spool->keyed_list, &keyed->node);
    return keyed;
}

static void set_value(struct keyed *keyed, struct bytes value)
{
    if (value.len > keyed->value_len || keyed->value == NULL) {
        char *larger = realloc(keyed->value, value.len + 1);
        assert(larger != NULL); /* a few KiB: without them nothing else works either */
        keyed->value = larger;
    }
    if (value.len > 0) {
        memcpy(keyed->value, value.data, value.len);
    }
    keyed->value_len = (uint32_t)value.len;
}

static int append(struct spool *spool, enum log_purpose purpose, struct bytes key,
                  struct bytes value, uint64_t *place_out)
{
    uint16_t key_len = (uint16_t)key.len;
    struct log_record record = {.type = LOG_KEYED,
                                .flags = purpose == LOG_FOR_COPIES ? LOG_COPY : 0,
                                .ref = bytes_hash(key),
                                .sequence = log_take_sequence(spool->log)};
    struct bytes parts[] = {{(const char *)&key_len, sizeof key_len}, key, value};
    return log_append(spool->log, purpose, &record, parts, 3, place_out);
}

int keyed_append(struct spool *spool, struct outcome_item *item)
{
    struct bytes key = bytes_of(item->bytes, item->key_len);
    struct bytes value = bytes_of(item->bytes + item->key_len, item->event_len);
    struct keyed *keyed = obtain(spool, key);
    assert(keyed != NULL);
    int result = append(spool, LOG_FOR_OUTCOMES, key, value, &item->place);
    if (result != 0) {
        return result;
    }
    item->old_place = keyed->place;
    item->old_bytes = keyed->live_bytes;
    keyed->place = item->place;
    keyed->live_bytes = keyed_bytes(key, value);
    set_value(keyed, value);
    log_count_live(spool->log, keyed->place, (int64_t)keyed->live_bytes);
    return 0;
}

static void on_stable(struct letter *letter)
{
    struct spool_write *write = CONTAINER_OF(letter, struct spool_write, letter);
    write->stable(write);
}

static void tell_stable(struct spool *spool, struct spool_write *write)
{
    write->letter = (struct letter){.deliver = on_stable};
    mailbox_post(spool->options.mailboxes, spool->options.keeper, write->worker, MAILBOX_URGENT,
                 &write->letter);
}

void keyed_safe(struct spool *spool, const struct outcome_item *item)
{
    if (item->write != NULL) {
        tell_stable(spool, item->write);
    }
    struct bytes key = bytes_of(item->bytes, item->key_len);
    struct keyed *keyed = keyed_find(spool, key);
    assert(keyed != NULL);
    if (item->old_place != PLACE_NONE) {
        log_count_live(spool->log, item->old_place, -(int64_t)item->old_bytes);
    }
    keyed->safe_place = item->place;
    if (item->event_len == 0 && keyed->place == item->place) {
        log_count_live(spool->log, item->place, -(int64_t)keyed->live_bytes);
        forget(spool, keyed);
    }
}

void keyed_lost(struct spool *spool, const struct outcome_item *item, uint64_t cut_place)
{
    struct bytes key = bytes_of(item->bytes, item->key_len);
    struct bytes value = bytes_of(item->bytes + item->key_len, item->event_len);
    struct keyed *keyed = keyed_find(spool, key);
    assert(keyed != NULL);
    log_count_live(spool->log, item->place, -(int64_t)keyed_bytes(key, value));
    if (item->old_place < cut_place) {
        /* The value in memory stays the newest: it is appended again. */
        keyed->place = item->old_place;
        keyed->live_bytes = item->old_bytes;
    }
}

bool keyed_detail(const struct keyed *keyed, uint32_t payload_len, struct buffer *out)
{
    uint16_t key_len = (uint16_t)keyed->key_len;
    if (payload_len != sizeof key_len + keyed->key_len + keyed->value_len) {
        return false;
    }
    buffer_put(out, &key_len, sizeof key_len);
    buffer_put_bytes(out, key_of(keyed));
    return buffer_put_bytes(out, value_of(keyed));
}

void keyed_moved(struct spool *spool, struct keyed *keyed, uint64_t to)
{
    log_count_live(spool->log, keyed->place, -(int64_t)keyed->live_bytes);
    keyed->live_bytes = keyed_bytes(key_of(keyed), value_of(keyed));
    keyed->place = keyed->safe_place = to;
    log_count_live(spool->log, to, (int64_t)keyed->live_bytes);
}

void keyed_count_all(struct spool *spool)
{
    struct list_node *node = list_first(&spool->keyed_list);
    for (; node != NULL; node = list_next(&spool->keyed_list, node)) {
        struct keyed *keyed = CONTAINER_OF(node, struct keyed, node);
        keyed->live_bytes = keyed_bytes(key_of(keyed), value_of(keyed));
        log_count_live(spool->log, keyed->place, (int64_t)keyed->live_bytes);
    }
}

int keyed_copy(struct spool *spool, struct keyed *keyed, uint64_t *place_out)
{
    return append(spool, LOG_FOR_COPIES, key_of(keyed), value_of(keyed), place_out);
}

void keyed_recovered(struct spool *spool, uint64_t place, struct bytes bytes)
{
    struct keyed_payload payload;
    if (!split(bytes, &payload)) {
        log_count_damaged(spool->log, place);
        return;
    }
    struct keyed *keyed = obtain(spool, payload.key);
    assert(keyed != NULL);
    keyed->place = keyed->safe_place = place;
    set_value(keyed, payload.value);
    if (payload.value.len == 0) {
        forget(spool, keyed);
    }
}

static struct outcome_item *put(struct spool *spool, uint32_t index, struct bytes key,
                                struct bytes value)
{
    assert(key.len > 0 && key.len <= SPOOL_KEY_MAX);
    assert(value.len <= SPOOL_VALUE_MAX);
    struct spool_worker *worker = &spool->workers[index];
    struct outcome_item *item = outcome_item_take(worker, key.len + value.len);
    item->kind = ITEM_KEYED;
    item->key_len = (uint16_t)key.len;
    item->event_len = (uint32_t)value.len;
    memcpy(item->bytes, key.data, key.len);
    if (value.len > 0) {
        memcpy(item->bytes + key.len, value.data, value.len);
    }
    return item;
}

void spool_put_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value)
{
    put(spool, worker, key, value);
}

void spool_write_state(struct spool *spool, uint32_t worker, struct bytes key, struct bytes value,
                       struct spool_write *write)
{
    assert(write->stable != NULL);
    write->worker = worker;
    put(spool, worker, key, value)->write = write;
}

void spool_each_state(struct spool *spool,
                      void (*found)(void *owner, struct bytes key, struct bytes value), void *owner)
{
    struct list_node *node = list_first(&spool->keyed_list);
    for (; node != NULL; node = list_next(&spool->keyed_list, node)) {
        const struct keyed *keyed = CONTAINER_OF(node, struct keyed, node);
        found(owner, key_of(keyed), value_of(keyed));
    }
}
