/* What a restart finds, and what footers hold so that it is found fast.
 *
 * All messages come first, then chunks, states and outcomes, each in the order of the log; the
 * last word about a chunk or a recipient is the one that counts. A recipient that is done stays
 * done. Because what survives of a log is a beginning of it, a commit's chunks were there before
 * it: one that is missing is damage, not a crash, and the message is kept with a hole, so that it
 * ends in a bounce and not in silence. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/logger.h"
#include "message_code.h"
#include "spool_private.h"

/* ---- finding ------------------------------------------------------------------------------
 *
 * A million look-ups in a map are a million cache misses. Records come in nearly the order of
 * ids, as the messages do: most are found one behind the last, and most of those not there are
 * of messages older or newer than any there is. */

static struct message *find(struct spool *spool, uint64_t id)
{
    if (id < spool->recovered_lowest || id > spool->recovered_highest) {
        return NULL;
    }
    for (size_t i = spool->recovered_hint;
         i < spool->recovered_count && i < spool->recovered_hint + 2; i++) {
        if (message_id(spool->recovered[i]) == id) {
            spool->recovered_hint = i;
            return spool->recovered[i];
        }
    }
    struct message *message = spool_find(spool, id);
    if (message != NULL) {
        spool->recovered_hint = message->open_count; /* its index, until it is finished */
    }
    return message;
}

/* ---- messages ----------------------------------------------------------------------------- */

static void on_final(struct rcpt *rcpt)
{
    rcpt->state_place = PLACE_FINAL_SAFE;
}

static bool remember(struct spool *spool, struct message *message, uint64_t id)
{
    if (spool->recovered_count == spool->recovered_max) {
        size_t max = spool->recovered_max == 0 ? 1024 : spool->recovered_max * 2;
        struct message **larger = realloc(spool->recovered, max * sizeof *larger);
        if (larger == NULL) {
            return false;
        }
        spool->recovered = larger;
        spool->recovered_max = max;
    }
    if (!spool_insert(spool, message, id)) {
        return false;
    }
    if (spool->recovered_count == 0 || id < spool->recovered_lowest) {
        spool->recovered_lowest = id;
    }
    if (id > spool->recovered_highest) {
        spool->recovered_highest = id;
    }
    message->open_count = (uint32_t)spool->recovered_count;
    spool->recovered[spool->recovered_count++] = message;
    return true;
}

/* Until all chunks are found: places 0, and their lengths where the ends belong. */
static bool make_body(struct spool *spool, struct message *message, uint64_t chunk_count)
{
    if (chunk_count <= 1) {
        return true;
    }
    if (chunk_count > message->body_size) {
        return false;
    }
    struct body_list *list = body_list_grow(spool, NULL, (uint32_t)chunk_count);
    if (list == NULL) {
        return false;
    }
    list->count = (uint32_t)chunk_count;
    atomic_store(&message->body_place, (uint64_t)(uintptr_t)list + 1);
    return true;
}

static void copy_final(struct message *to, const struct message *from)
{
    for (uint32_t i = 0; i < to->rcpt_count && i < from->rcpt_count; i++) {
        if (from->rcpts[i].state_place == PLACE_FINAL_SAFE) {
            to->rcpts[i].state_place = PLACE_FINAL_SAFE;
        }
    }
}

static void on_message(void *owner, const struct log_record *record, uint64_t place,
                       struct bytes detail)
{
    struct spool *spool = owner;
    struct message *message = message_decode(detail, record->index, on_final);
    if (message == NULL) {
        log_count_damaged(spool->log, place);
        return;
    }
    struct message *known = find(spool, record->sequence);
    if (known != NULL) {
        copy_final(known, message);
        known->record_place = place > known->record_place ? place : known->record_place;
        message_free(message);
        return;
    }
    message->record_place = place;
    if (!make_body(spool, message, record->ref) || !remember(spool, message, record->sequence)) {
        LOG_ERROR("spool: no memory or no room for message %llx: it stays on disk unsent",
                  (unsigned long long)record->sequence);
        spool->recovery_short = true;
        message_free(message);
    }
}

/* ---- everything else ---------------------------------------------------------------------- */

static void found_chunk(struct spool *spool, const struct log_record *record, uint64_t place)
{
    struct message *message = find(spool, record->ref);
    _Atomic uint64_t *word = message == NULL ? NULL : message_chunk_word(message, record->index);
    if (word == NULL) {
        return; /* of a message that is done, or never was committed */
    }
    atomic_store(word, place);
    struct body_list *list = message_body_list(message);
    if (list != NULL) {
        list->pieces[record->index].end = record->len;
    }
}

static void found_state(struct spool *spool, const struct log_record *record, uint64_t place)
{
    struct message *message = find(spool, record->ref);
    if (message == NULL || record->index >= message->rcpt_count) {
        return;
    }
    struct rcpt *rcpt = &message->rcpts[record->index];
    if (place_is_final(rcpt->state_place)) {
        return;
    }
    rcpt->state_place = (record->flags & LOG_FINAL) != 0 ? PLACE_FINAL_SAFE : place;
    rcpt->due_wall_ms = record->due_wall_ms;
    rcpt->attempts = record->attempts;
    rcpt->retry_index = record->retry_index;
}

static void on_other(void *owner, const struct log_record *record, uint64_t place,
                     struct bytes detail)
{
    struct spool *spool = owner;
    switch ((enum log_type)record->type) {
    case LOG_CHUNK:
        found_chunk(spool, record, place);
        break;
    case LOG_KEYED:
        keyed_recovered(spool, place, detail);
        break;
    case LOG_STATE:
    case LOG_OUTCOME:
        if ((record->flags & LOG_RCPT) != 0) {
            found_state(spool, record, place);
        }
        if ((record->flags & LOG_EVENT) != 0) {
            follow_found(spool, record, place);
        }
        break;
    case LOG_MESSAGE:
        break;
    }
}

/* ---- afterwards --------------------------------------------------------------------------- */

/* From lengths to ends. A missing chunk's length is what the others leave. */
static uint32_t finish_body(struct message *message)
{
    struct body_list *list = message_body_list(message);
    uint32_t missing = 0;
    if (list == NULL) {
        return message->body_size > 0 && atomic_load(&message->body_place) == 0;
    }
    uint64_t found = 0, end = 0;
    for (uint32_t i = 0; i < list->count; i++) {
        found += list->pieces[i].end;
    }
    uint64_t left = found < message->body_size ? message->body_size - found : 0;
    for (uint32_t i = 0; i < list->count; i++) {
        struct body_piece *piece = &list->pieces[i];
        if (atomic_load(&piece->place) == 0) {
            missing++;
            piece->end = left;
            left = 0;
        }
        end += piece->end;
        piece->end = end;
    }
    return missing;
}

static void count_live(struct spool *spool, struct message *message)
{
    log_count_live(spool->log, message->record_place, (int64_t)spool_message_bytes(message));
    for (uint32_t i = 0; i < message_chunk_count(message); i++) {
        uint64_t place = atomic_load(message_chunk_word(message, i));
        if (place != 0) {
            log_count_live(spool->log, place,
                           (int64_t)log_record_size(message_chunk_len(message, i)));
        }
    }
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        uint64_t place = message->rcpts[i].state_place;
        if (place != PLACE_NONE && !place_is_final(place)) {
            log_count_live(spool->log, place, SPOOL_STATE_BYTES);
        }
    }
}

/* False: all of its recipients are done. */
static bool finish_message(struct spool *spool, struct message *message)
{
    uint32_t missing = finish_body(message);
    message->open_count = 0;
    for (uint32_t i = 0; i < message->rcpt_count; i++) {
        bool final = place_is_final(message->rcpts[i].state_place);
        message->rcpts[i].state = final ? RCPT_FINAL : RCPT_READY;
        message->open_count += !final;
    }
    count_live(spool, message);
    if (message->open_count == 0) {
        spool_message_done(spool, message);
        return false;
    }
    if (missing > 0) {
        char id[21];
        message_id_text(log_id(spool->log), message_id(message), id);
        LOG_ERROR("spool: %u chunks of message %s are damaged: it cannot be sent", missing, id);
    }
    spool->open_rcpts += message->open_count;
    atomic_fetch_add(&spool->booked_rcpts, message->open_count);
    return true;
}

int recover(struct spool *spool)
{
    struct log_recovery calls = {.owner = spool, .message = on_message, .other = on_other};
    int result = log_recover(spool->log, &calls);
    if (result != 0) {
        return result;
    }
    size_t kept = 0;
    for (size_t i = 0; i < spool->recovered_count; i++) {
        if (finish_message(spool, spool->recovered[i])) {
            spool->recovered[kept++] = spool->recovered[i];
        }
    }
    spool->recovered_count = kept;
    keyed_count_all(spool);
    return spool->recovery_short ? -ENOMEM : 0;
}

void spool_each_message(struct spool *spool, void (*found)(void *owner, struct message *message),
                        void *owner)
{
    for (size_t i = 0; i < spool->recovered_count; i++) {
        message_set_log_index(spool->recovered[i], spool->index);
        found(owner, spool->recovered[i]);
    }
    free(spool->recovered);
    spool->recovered = NULL;
    spool->recovered_count = spool->recovered_max = 0;
}

/* ---- footers ------------------------------------------------------------------------------ */

static bool is_safely_final(const struct rcpt *rcpt)
{
    return rcpt->state_place == PLACE_FINAL_SAFE;
}

/* A copy says which recipients were done when it was made, and must go on to say it here. Those
 * whose outcome is not synced are left out: it lies in this same segment then, or is lost with
 * the rest. An original says nothing of them: their outcomes lie behind it and outlive it. */
static bool seal_message(struct spool *spool, const struct log_record *record, uint64_t place,
                         struct buffer *detail)
{
    const struct message *message = spool_find(spool, record->sequence);
    if (message == NULL || message->record_place != place) {
        /* A copy not synced yet stays; a restart would read the record itself. */
        return message != NULL && place > message->record_place;
    }
    bool copy = (record->flags & LOG_COPY) != 0 && message->rcpt_count > 1;
    if ((message->flags & MESSAGE_FOREIGN) == 0 && record->len <= detail->capacity) {
        bool whole = message_encode(message, copy ? is_safely_final : NULL, detail);
        assert(whole);
        assert(detail->len == record->len);
    }
    return true;
}

static bool seal_chunk(struct spool *spool, const struct log_record *record, uint64_t place)
{
    struct message *message = spool_find(spool, record->ref);
    if (message != NULL) {
        const _Atomic uint64_t *word = message_chunk_word(message, record->index);
        bool superseded = word != NULL && atomic_load(word) > place;
        return !superseded;
    }
    /* Done with, or still coming in: ids grow, and the first upload has the lowest. */
    struct list_node *first = list_first(&spool->uploads);
    return first != NULL &&
           record->ref >= CONTAINER_OF(first, struct spool_upload, node)->upload_id;
}

static bool seal_keyed(struct spool *spool, const struct log_record *record, uint64_t place,
                       struct buffer *detail)
{
    const struct keyed *keyed = keyed_at(spool, record->ref, place);
    if (keyed != NULL) {
        keyed_detail(keyed, record->len, detail);
        return true;
    }
    /* Superseded: it may go once its successor is safe. */
    return !keyed_superseded(spool, record->ref, place);
}

bool recover_seal(void *owner, const struct log_record *record, uint64_t place,
                  struct buffer *detail)
{
    struct spool *spool = owner;
    switch ((enum log_type)record->type) {
    case LOG_MESSAGE:
        return seal_message(spool, record, place, detail);
    case LOG_CHUNK:
        return seal_chunk(spool, record, place);
    case LOG_KEYED:
        return seal_keyed(spool, record, place, detail);
    case LOG_STATE:
    case LOG_OUTCOME:
        return true;
    }
    return true; /* a newer engine's: not ours to drop */
}
