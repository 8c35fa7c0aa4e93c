#include "reception.h"

#include <assert.h>
#include <stdlib.h>

#include "base/slab.h"

/* One recipient as it lies in a page, its texts behind it. */
struct stored_rcpt {
    uint16_t address_len, domain_len, orcpt_len;
    uint8_t notify;
};

/* At most so many pages of recipients at once: 64 MiB per worker. */
#define PAGES_MAX 16384
/* What the body itself puts in: a blank line, the end of the last one. */
#define LINE_ENDS_MAX 16

static struct reception_page *inline_page(struct reception *reception)
{
    return (struct reception_page *)(void *)reception->inline_page;
}

/* ---- the worker's share ---- */

bool receptions_init(struct receptions *receptions, uint32_t receptions_max, uint32_t fed_bytes)
{
    uint32_t spare_bytes = fed_bytes + RECEPTION_ADDED_MAX + HEADER_NAME_MAX + LINE_ENDS_MAX;
    *receptions = (struct receptions){
        .pool = slab_create("receptions", sizeof(struct reception), receptions_max),
        .pages = slab_create("recipient pages", RECEPTION_PAGE_BYTES, PAGES_MAX),
        .spares = slab_create("bodies the spool is behind with", spare_bytes, receptions_max),
        .notes = slab_create("header fields noted", sizeof(struct header_notes), receptions_max),
        .spare_bytes = spare_bytes,
    };
    return receptions->pool != NULL && receptions->pages != NULL && receptions->spares != NULL &&
           receptions->notes != NULL;
}

void receptions_deinit(struct receptions *receptions)
{
    slab_destroy(receptions->pool);
    slab_destroy(receptions->pages);
    slab_destroy(receptions->spares);
    slab_destroy(receptions->notes);
    free(receptions->envelope);
    *receptions = (struct receptions){0};
}

/* Room for the envelope of a commit. It grows to the largest message's; steady state: no call. */
static bool reserve_envelope(struct receptions *receptions, uint32_t rcpt_count)
{
    assert(rcpt_count <= RECEPTION_RCPTS_MAX);
    if (rcpt_count <= receptions->envelope_capacity) {
        return true;
    }
    uint32_t capacity = receptions->envelope_capacity == 0 ? 64 : receptions->envelope_capacity;
    while (capacity < rcpt_count) {
        capacity *= 2;
    }
    void *grown = realloc(receptions->envelope, capacity * sizeof(struct envelope_rcpt));
    if (grown == NULL) {
        return false;
    }
    receptions->envelope = grown;
    receptions->envelope_capacity = capacity;
    return true;
}

/* ---- life ---- */

static void release(struct reception *reception)
{
    struct receptions *home = reception->home;
    void (*released)(void *house) = reception->events->released;
    void *house = reception->house;
    while (reception->first != NULL) {
        struct reception_page *page = reception->first;
        reception->first = page->next;
        slab_give(home->pages, page);
    }
    slab_give(home->spares, reception->spare);
    slab_give(home->notes, reception->notes);
    slab_give(home->pool, reception);
    released(house);
}

static void on_released(struct spool_upload *upload)
{
    release(CONTAINER_OF(upload, struct reception, upload));
}

static void on_answered(struct spool_upload *upload, enum spool_answer answer)
{
    struct reception *reception = CONTAINER_OF(upload, struct reception, upload);
    reception->answered = true;
    memcpy(reception->id_text, upload->id_text, sizeof(reception->id_text));
    reception->events->answered(reception->owner, answer);
}

static void on_flowed(struct spool_upload *upload);

struct reception *reception_open(struct receptions *receptions, struct spool *spool,
                                 uint32_t worker, const struct server_mail *mail,
                                 const struct reception_events *events, void *owner, void *house)
{
    struct reception *reception = slab_take(receptions->pool);
    if (reception == NULL) {
        return NULL;
    }
    reception->home = receptions;
    reception->events = events;
    reception->owner = owner;
    reception->house = house;
    reception->sender_utf8 = mail->sender_utf8;
    reception->smtputf8 = mail->params->smtputf8;
    reception->ret = mail->params->ret;
    assert(mail->sender.len <= sizeof(reception->sender));
    memcpy(reception->sender, mail->sender.data, mail->sender.len);
    reception->sender_len = (uint16_t)mail->sender.len;
    memcpy(reception->envid, mail->params->envid, mail->params->envid_len);
    reception->envid_len = mail->params->envid_len;
    inline_page(reception)->capacity = RECEPTION_INLINE_BYTES;
    reception->upload.answered = on_answered;
    reception->upload.flowed = on_flowed;
    spool_upload_begin(spool, worker, &reception->upload);
    return reception;
}

void reception_drop(struct reception *reception)
{
    if (reception->answered) {
        release(reception);
    } else {
        spool_upload_abort(&reception->upload, on_released);
    }
}

/* ---- recipients ---- */

static char *store_in(struct reception_page *page, size_t len)
{
    if (page->capacity - page->used < len) {
        return NULL;
    }
    char *place = page->bytes + page->used;
    page->used += (uint32_t)len;
    return place;
}

/* Memory that stays where it is until the reception ends. */
static char *store(struct reception *reception, size_t len)
{
    struct reception_page *last = reception->last;
    char *place = store_in(last == NULL ? inline_page(reception) : last, len);
    if (place != NULL) {
        return place;
    }
    struct reception_page *page = slab_take(reception->home->pages);
    if (page == NULL) {
        return NULL;
    }
    page->capacity = RECEPTION_PAGE_BYTES - sizeof(*page);
    if (last == NULL) {
        reception->first = page;
    } else {
        last->next = page;
    }
    reception->last = page;
    return store_in(page, len);
}

enum reception_answer reception_rcpt(struct reception *reception, const struct server_rcpt *rcpt)
{
    struct stored_rcpt stored = {.address_len = (uint16_t)rcpt->address.len,
                                 .domain_len = rcpt->domain_len,
                                 .orcpt_len = rcpt->params->orcpt_len,
                                 .notify = rcpt->params->notify};
    assert(rcpt->address.len <= PATH_TEXT_MAX);
    if (reception->rcpt_count == RECEPTION_RCPTS_MAX ||
        !reserve_envelope(reception->home, reception->rcpt_count + 1)) {
        return RECEPTION_NO_ROOM;
    }
    char *place = store(reception, sizeof(stored) + stored.address_len + stored.orcpt_len);
    if (place == NULL) {
        return RECEPTION_NO_ROOM;
    }
    memcpy(place, &stored, sizeof(stored));
    memcpy(place + sizeof(stored), rcpt->address.data, stored.address_len);
    memcpy(place + sizeof(stored) + stored.address_len, rcpt->params->orcpt, stored.orcpt_len);
    if (!spool_upload_reserve_rcpt(&reception->upload)) {
        struct reception_page *page =
            reception->last == NULL ? inline_page(reception) : reception->last;
        page->used = (uint32_t)(place - page->bytes);
        return RECEPTION_NO_ROOM;
    }
    reception->rcpt_count++;
    reception->rcpt_utf8 |= rcpt->utf8;
    return RECEPTION_OK;
}

/* Reads the recipients of one page into out; the count. */
static uint32_t list_page(const struct reception_page *page, struct envelope_rcpt *out)
{
    uint32_t at = 0, count = 0;
    while (at < page->used) {
        struct stored_rcpt stored;
        memcpy(&stored, page->bytes + at, sizeof(stored));
        const char *text = page->bytes + at + sizeof(stored);
        out[count++] =
            (struct envelope_rcpt){.address = bytes_of(text, stored.address_len),
                                   .orcpt = bytes_of(text + stored.address_len, stored.orcpt_len),
                                   .domain_len = stored.domain_len,
                                   .notify = stored.notify};
        at += (uint32_t)(sizeof(stored) + stored.address_len + stored.orcpt_len);
    }
    return count;
}

const struct envelope_rcpt *reception_rcpts(struct reception *reception)
{
    struct envelope_rcpt *envelope = reception->home->envelope;
    uint32_t count = list_page(inline_page(reception), envelope);
    for (const struct reception_page *page = reception->first; page != NULL; page = page->next) {
        count += list_page(page, envelope + count);
    }
    assert(count == reception->rcpt_count);
    return envelope;
}

struct bytes reception_only_rcpt(const struct reception *reception)
{
    const struct reception_page *page =
        (const struct reception_page *)(const void *)reception->inline_page;
    struct envelope_rcpt rcpt;
    if (reception->rcpt_count != 1) {
        return BYTES("");
    }
    list_page(page->used > 0 ? page : reception->first, &rcpt);
    return rcpt.address;
}

/* ---- the body ---- */

/* To the spool, or behind what waits for it. */
static void write_bytes(struct reception *reception, const char *data, size_t len)
{
    crypto_digest_add(&reception->digest, data, len);
    reception->size += len;
    size_t taken = 0;
    if (reception->spare == NULL) {
        taken = spool_upload_write(&reception->upload, data, len);
        if (taken == len) {
            return;
        }
        reception->spare = slab_take(reception->home->spares);
        assert(reception->spare != NULL); /* as many as there are receptions */
        reception->spare_from = reception->spare_to = 0;
    }
    assert(len - taken <= reception->home->spare_bytes - reception->spare_to);
    memcpy(reception->spare + reception->spare_to, data + taken, len - taken);
    reception->spare_to += (uint32_t)(len - taken);
}

static void on_flowed(struct spool_upload *upload)
{
    struct reception *reception = CONTAINER_OF(upload, struct reception, upload);
    if (reception->spare == NULL) {
        return;
    }
    uint32_t left = reception->spare_to - reception->spare_from;
    size_t taken = spool_upload_write(upload, reception->spare + reception->spare_from, left);
    reception->spare_from += (uint32_t)taken;
    if (taken < left) {
        return;
    }
    slab_give(reception->home->spares, reception->spare);
    reception->spare = NULL;
    reception->events->flowed(reception->owner);
}

static void on_pass(void *owner, const char *data, size_t len)
{
    write_bytes(owner, data, len);
}

static void on_header_end(void *owner)
{
    struct reception *reception = owner;
    reception->events->header_end(reception->owner);
}

static enum header_fate on_fate(void *owner, struct bytes name)
{
    struct reception *reception = owner;
    return reception->events->fate(reception->owner, name);
}

static bool on_wants(void *owner, struct bytes name)
{
    struct reception *reception = owner;
    if (!reception->events->wants(reception->owner, name)) {
        return false;
    }
    if (reception->notes == NULL) {
        reception->notes = slab_take(reception->home->notes);
    }
    if (reception->notes == NULL) {
        reception->notes_lost = true;
        return false;
    }
    header_notes_begin(reception->notes, name);
    return true;
}

static void on_value(void *owner, const char *data, size_t len, bool last)
{
    struct reception *reception = owner;
    if (last) {
        header_notes_end(reception->notes);
    } else {
        header_notes_add(reception->notes, data, len);
    }
}

void reception_begin_body(struct reception *reception, const struct body_limits *limits)
{
    static const struct header_filter_events events = {
        .pass = on_pass,
        .header_end = on_header_end,
        .fate = on_fate,
        .wants = on_wants,
        .value = on_value,
    };
    body_init(&reception->body, limits, &events, reception);
    crypto_digest_begin(&reception->digest);
}

void reception_add(struct reception *reception, struct bytes bytes)
{
    write_bytes(reception, bytes.data, bytes.len);
}

bool reception_blocked(const struct reception *reception)
{
    return reception->spare != NULL;
}

static uint32_t message_flags(const struct reception *reception,
                              const struct reception_verdict *verdict)
{
    const struct body *body = &reception->body;
    const struct header_filter *header = &body->header;
    /* A header in some other 8-bit code is nothing that SMTPUTF8 is for: asking for it would only
     * lose the message where it is not offered. */
    bool eight_bit = body->eight_bit || header->not_utf8;
    bool utf8 =
        reception->sender_utf8 || reception->rcpt_utf8 || (header->non_ascii && !header->not_utf8);
    return (eight_bit ? MESSAGE_EIGHT_BIT : 0u) | (utf8 ? MESSAGE_SMTPUTF8 : 0u) |
           (body->dot_lines ? MESSAGE_DOT_LINES : 0u) |
           (verdict->source_hidden ? MESSAGE_SOURCE_HIDDEN : 0u) |
           (verdict->picked_up ? MESSAGE_PICKED_UP : 0u) |
           (reception->date_at_delivery ? MESSAGE_DATE_AT_DELIVERY : 0u) |
           (reception->verp ? MESSAGE_VERP : 0u);
}

void reception_commit(struct reception *reception, const struct reception_verdict *verdict)
{
    assert(!reception->committed);
    assert(!reception_blocked(reception));
    assert(reception->rcpt_count > 0);
    reception->committed = true;
    spool_upload_commit(&reception->upload,
                        &(struct envelope){
                            .sender = bytes_of(reception->sender, reception->sender_len),
                            .vmta = verdict->vmta,
                            .job = verdict->job,
                            .envid = verdict->envid,
                            .helo = verdict->helo,
                            .source_ip = verdict->source_ip,
                            .user = verdict->user,
                            .pool = verdict->pool,
                            .headers = verdict->headers,
                            .accepted_wall_ms = verdict->accepted_wall_ms,
                            .body_digest = crypto_digest_end(&reception->digest),
                            .body_size = reception->size,
                            .flags = message_flags(reception, verdict),
                            .ret = reception->ret,
                            .tls_need = TLS_NEED_DEFAULT,
                            .rcpts = reception_rcpts(reception),
                            .rcpt_count = reception->rcpt_count,
                        });
}
