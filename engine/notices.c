#include "notices.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/date.h"
#include "base/logger.h"
#include "io/io.h"
#include "policy/config.h"
#include "policy/value.h"
#include "smtp/path.h"
#include "spools.h"

#define UNDER_WAY_MAX 16   /* on their way into the spool */
#define TEXT_MAX      8192 /* bytes of a message: eight recipients and the longest reason */
#define WHY_MAX       800  /* of a reason, so that its line is within RFC 5322 2.1.1 */

/* A message on its way into the spool. */
struct notice_mail {
    struct notices *home;
    struct spool_upload upload;
    char queue[CONFIG_VMTA_NAME_LEN_MAX + PATH_DOMAIN_MAX + 2]; /* for the log */
    char vmta[CONFIG_VMTA_NAME_LEN_MAX];
    size_t vmta_len, len, written;
    struct path rcpts[NOTICE_RCPTS];
    uint32_t rcpt_count;
    char text[TEXT_MAX];
};

/* When a notice about which queue and kind was sent. */
struct notice_note {
    uint64_t hash, sent_ms; /* sent_ms 0: never */
};

struct notices {
    struct notices_options options;
    struct notice_note notes[NOTICES_MAX]; /* round and round: `next` is the oldest */
    uint32_t next, under_way;
    bool stopped, full;
};

struct notices *notices_create(const struct notices_options *options)
{
    struct notices *notices = calloc(1, sizeof *notices);
    if (notices != NULL) {
        notices->options = *options;
    }
    return notices;
}

void notices_destroy(struct notices *notices)
{
    assert(notices == NULL || notices->under_way == 0);
    free(notices);
}

void notices_stop(struct notices *notices)
{
    notices->stopped = true;
}

bool notices_idle(const struct notices *notices)
{
    return notices->under_way == 0;
}

/* ---- how many ---- */

static bool is_recent(const struct notice_note *note, uint64_t now_ms)
{
    return note->sent_ms != 0 && now_ms - note->sent_ms < NOTICE_EVERY_MS;
}

static uint64_t hash_of(const struct notice *notice)
{
    uint64_t hash = bytes_hash_nocase(notice->queue.domain) * 31;
    return (hash + bytes_hash_nocase(notice->queue.vmta)) * 3 + notice->kind;
}

/* May one more go? */
static bool may_go(struct notices *notices, uint64_t hash, uint64_t now_ms)
{
    for (uint32_t i = 0; i < NOTICES_MAX; i++) {
        if (notices->notes[i].hash == hash && is_recent(&notices->notes[i], now_ms)) {
            return false;
        }
    }
    bool full = is_recent(&notices->notes[notices->next], now_ms);
    if (full && !notices->full) {
        LOG_WARNING("%d notices about queues in %d minutes: what follows is in the log only",
                    NOTICES_MAX, NOTICE_EVERY_MS / 60000);
    }
    notices->full = full;
    return !full;
}

/* ---- the message ---- */

static void put_printable(struct buffer *out, struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        buffer_put_char(out, c >= ' ' && c <= '~' ? c : '?');
    }
}

static void put_header(struct buffer *out, const struct notice_mail *mail,
                       const struct notice *notice)
{
    const struct notices_options *options = &mail->home->options;
    struct bytes queue = bytes_from_string(mail->queue);
    int64_t wall_ms = io_wall_ms(options->io);
    char date[DATE_RFC5322_MAX];
    date_rfc5322(wall_ms, date);
    buffer_printf(out, "From: posthaste <postmaster@%s>\r\nTo: ", options->host_name);
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        buffer_put_string(out, i == 0 ? "" : ",\r\n ");
        buffer_put_bytes(out, path_text(&mail->rcpts[i]));
    }
    buffer_put_string(out, "\r\nSubject: queue ");
    put_printable(out, queue);
    buffer_put_string(out, ": ");
    put_printable(out, bytes_from_string(notice->what));
    buffer_printf(out, "\r\nDate: %s\r\nMessage-ID: <%016llx.%llx@%s>\r\n", date,
                  (unsigned long long)io_random(options->io), (unsigned long long)wall_ms,
                  options->host_name);
    /* RFC 3834 5: nobody's vacation program answers. */
    buffer_put_string(out, "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
                           "Content-Type: text/plain; charset=us-ascii\r\n\r\n");
}

static void put_body(struct buffer *out, const struct notice_mail *mail,
                     const struct notice *notice)
{
    struct bytes why = bytes_from_string(notice->why);
    buffer_put_string(out, "Queue ");
    put_printable(out, bytes_from_string(mail->queue));
    buffer_printf(out, " on %s: ", mail->home->options.host_name);
    put_printable(out, bytes_from_string(notice->what));
    buffer_put_string(out, ".\r\n");
    if (why.len > 0) {
        buffer_put_string(out, "Reason: ");
        put_printable(out, bytes_slice(why, 0, why.len < WHY_MAX ? why.len : WHY_MAX));
        buffer_put_string(out, "\r\n");
    }
    buffer_printf(out,
                  "Recipients that wait in it: %llu\r\n\r\n"
                  "If the same happens to this queue again within %d minutes, only the log of\r\n"
                  "the engine says so.\r\n",
                  (unsigned long long)notice->waiting, NOTICE_EVERY_MS / 60000);
}

static bool is_queue(struct destination left, struct destination right)
{
    return bytes_equal_nocase(left.domain, right.domain) &&
           bytes_equal_nocase(left.vmta, right.vmta);
}

/* Those that are not in the queue that it is about. */
static void choose_rcpts(struct notice_mail *mail, const struct notice *notice)
{
    for (size_t i = 0; i < notice->rcpts->count && mail->rcpt_count < NOTICE_RCPTS; i++) {
        struct path *path = &mail->rcpts[mail->rcpt_count];
        if (path_parse_address(notice->rcpts->items[i], path) != PATH_OK || path->domain_len == 0) {
            continue; /* policy/check.c lets none through */
        }
        struct destination own = {.vmta = notice->queue.vmta, .domain = path_domain(path)};
        if (!is_queue(destination_of(notice->config, own), notice->queue)) {
            mail->rcpt_count++;
        }
    }
}

/* ---- into the spool ---- */

static void on_answered(struct spool_upload *upload, enum spool_answer answer)
{
    struct notice_mail *mail = CONTAINER_OF(upload, struct notice_mail, upload);
    if (answer != SPOOL_OK) {
        LOG_WARNING("queue %s: the notice about it is lost: the spool did not take it",
                    mail->queue);
    }
    mail->home->under_way--;
    free(mail);
}

static void commit(struct notice_mail *mail)
{
    struct envelope_rcpt rcpts[NOTICE_RCPTS];
    struct crypto_digest digest;
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        rcpts[i] = (struct envelope_rcpt){.address = path_text(&mail->rcpts[i]),
                                          .domain_len = mail->rcpts[i].domain_len,
                                          .notify = NOTIFY_NEVER};
    }
    crypto_digest_begin(&digest);
    crypto_digest_add(&digest, mail->text, mail->len);
    spool_upload_commit(&mail->upload, &(struct envelope){
                                           .vmta = bytes_of(mail->vmta, mail->vmta_len),
                                           .helo = bytes_from_string(mail->home->options.host_name),
                                           .accepted_wall_ms = io_wall_ms(mail->home->options.io),
                                           .body_digest = crypto_digest_end(&digest),
                                           .body_size = mail->len,
                                           .tls_need = TLS_NEED_DEFAULT,
                                           .rcpts = rcpts,
                                           .rcpt_count = mail->rcpt_count,
                                       });
}

static void write_on(struct spool_upload *upload)
{
    struct notice_mail *mail = CONTAINER_OF(upload, struct notice_mail, upload);
    mail->written +=
        spool_upload_write(upload, mail->text + mail->written, mail->len - mail->written);
    if (mail->written == mail->len) {
        commit(mail);
    }
}

static void on_released(struct spool_upload *upload)
{
    on_answered(upload, SPOOL_FULL);
}

static void begin(struct notice_mail *mail, struct spool *spool)
{
    mail->upload.answered = on_answered;
    mail->upload.flowed = write_on;
    mail->home->under_way++;
    spool_upload_begin(spool, mail->home->options.worker, &mail->upload);
    for (uint32_t i = 0; i < mail->rcpt_count; i++) {
        if (!spool_upload_reserve_rcpt(&mail->upload)) {
            spool_upload_abort(&mail->upload, on_released);
            return;
        }
    }
    write_on(&mail->upload);
}

/* Who gets it, and its text. False: nobody does. */
static bool compose(struct notice_mail *mail, const struct notice *notice)
{
    struct destination queue = notice->queue;
    choose_rcpts(mail, notice);
    if (mail->rcpt_count == 0 || queue.vmta.len > sizeof mail->vmta) {
        return false;
    }
    memcpy(mail->vmta, queue.vmta.data, queue.vmta.len);
    mail->vmta_len = queue.vmta.len;
    struct buffer name, text;
    buffer_init(&name, mail->queue, sizeof mail->queue - 1); /* zeroed: it ends there */
    buffer_put_bytes(&name, queue.domain);
    buffer_put_char(&name, '/');
    buffer_put_bytes(&name, queue.vmta);
    buffer_init(&text, mail->text, sizeof mail->text);
    put_header(&text, mail, notice);
    put_body(&text, mail, notice);
    assert(!text.overflowed);
    mail->len = text.len;
    return true;
}

void notices_tell(struct notices *notices, const struct notice *notice)
{
    if (notices->stopped || notice->rcpts->count == 0) {
        return;
    }
    const struct notices_options *options = &notices->options;
    uint64_t hash = hash_of(notice), now_ms = io_now_ms(options->io);
    if (!may_go(notices, hash, now_ms)) {
        return;
    }
    struct spool *spool = NULL;
    const char *why = "too many are under way";
    struct notice_mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL) {
        return;
    }
    mail->home = notices;
    if (!compose(mail, notice)) {
        free(mail);
        return;
    }
    notices->notes[notices->next] = (struct notice_note){hash, now_ms};
    notices->next = (notices->next + 1) % NOTICES_MAX;
    if (notices->under_way == UNDER_WAY_MAX ||
        spools_choose(options->spools, options->worker, &spool, &why) != SPOOL_OK) {
        LOG_WARNING("queue %s: the notice about it is lost: %s", mail->queue, why);
        free(mail);
        return;
    }
    begin(mail, spool);
}
