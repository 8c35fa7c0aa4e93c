/* Messages as blocks of memory, and as the bytes of their commit records. */
#include "message_code.h"

#include <stdlib.h>

#include "base/rng.h"

#include "test.h"

static uint32_t finals[8], final_count;

static void on_final(struct rcpt *rcpt)
{
    finals[final_count++] = rcpt->index;
}

static bool is_second(const struct rcpt *rcpt)
{
    return rcpt->index == 1;
}

static struct message *sample(void)
{
    const struct envelope_rcpt rcpts[] = {
        {.address = BYTES("one@example.org"), .domain_len = 11, .notify = NOTIFY_SUCCESS},
        {.address = BYTES("two@example.net"),
         .domain_len = 11,
         .orcpt = BYTES("rfc822;zwei@example.net")},
        {.address = BYTES("postmaster"), .domain_len = 0},
    };
    return message_create(&(struct envelope){.sender = BYTES("from@sender.example"),
                                             .vmta = BYTES("vmta7"),
                                             .job = BYTES("summer"),
                                             .envid = BYTES("id 1"),
                                             .helo = BYTES("client"),
                                             .source_ip = BYTES("192.0.2.1"),
                                             .user = BYTES("user"),
                                             .headers = BYTES("Subject:a: b\nX-Tag:\n"),
                                             .accepted_wall_ms = 1700000000123,
                                             .not_before_wall_ms = 1700000050000,
                                             .expires_wall_ms = -1,
                                             .body_digest = UINT64_MAX,
                                             .body_size = 70000,
                                             .flags = MESSAGE_SMTPUTF8,
                                             .ret = RET_HDRS,
                                             .tls_need = TLS_NEED_VERIFY,
                                             .rcpts = rcpts,
                                             .rcpt_count = 3});
}

static void check_same(const struct message *a, const struct message *b)
{
    CHECK(bytes_equal(message_sender(a), message_sender(b)));
    CHECK(bytes_equal(message_vmta(a), message_vmta(b)));
    CHECK(bytes_equal(message_job(a), message_job(b)));
    CHECK(bytes_equal(message_envid(a), message_envid(b)));
    CHECK(bytes_equal(message_helo(a), message_helo(b)));
    CHECK(bytes_equal(message_source_ip(a), message_source_ip(b)));
    CHECK(bytes_equal(message_user(a), message_user(b)));
    CHECK(bytes_equal(message_headers(a), message_headers(b)));
    CHECK_INT(a->accepted_wall_ms, b->accepted_wall_ms);
    CHECK_INT(message_not_before_wall_ms(a), message_not_before_wall_ms(b));
    CHECK_INT(message_expires_wall_ms(a), message_expires_wall_ms(b));
    CHECK(a->body_digest == b->body_digest);
    CHECK_INT(a->body_size, b->body_size);
    CHECK_INT(a->ret, b->ret);
    CHECK_INT(a->tls_need, b->tls_need);
    CHECK_INT(a->rcpt_count, b->rcpt_count);
    for (uint32_t i = 0; i < a->rcpt_count; i++) {
        CHECK(bytes_equal(rcpt_address(&a->rcpts[i]), rcpt_address(&b->rcpts[i])));
        CHECK(bytes_equal(rcpt_domain(&a->rcpts[i]), rcpt_domain(&b->rcpts[i])));
        CHECK(bytes_equal(rcpt_orcpt(&a->rcpts[i]), rcpt_orcpt(&b->rcpts[i])));
        CHECK_INT(a->rcpts[i].notify, b->rcpts[i].notify);
        CHECK_INT(a->rcpts[i].due_wall_ms, message_not_before_wall_ms(a));
    }
}

static struct bytes encode(const struct message *message, char *memory, size_t capacity)
{
    struct buffer out;
    buffer_init(&out, memory, capacity);
    CHECK(message_encode(message, message->rcpt_count > 1 ? is_second : NULL, &out));
    return buffer_bytes(&out);
}

TEST(a_message_is_decoded_as_it_was_encoded)
{
    char memory[1024], again[1024];
    struct message *message = sample();
    struct bytes bytes = encode(message, memory, sizeof memory);
    final_count = 0;
    struct message *decoded = message_decode(bytes, 3, on_final);
    CHECK(decoded != NULL);
    check_same(message, decoded);
    CHECK_INT(final_count, 1);
    CHECK_INT(finals[0], 1);
    CHECK_INT(decoded->flags, MESSAGE_SMTPUTF8 | MESSAGE_TIMED);
    CHECK(bytes_equal(bytes, encode(decoded, again, sizeof again)));
    message_free(message);
    message_free(decoded);
}

TEST(an_unknown_field_makes_a_message_foreign)
{
    char memory[1024];
    struct message *message = sample();
    struct bytes bytes = encode(message, memory, sizeof memory);
    memcpy(memory + bytes.len, "\x7F\x02hi", 4);
    struct message *decoded = message_decode(bytes_of(memory, bytes.len + 4), 3, on_final);
    CHECK(decoded != NULL);
    check_same(message, decoded);
    CHECK((decoded->flags & MESSAGE_FOREIGN) != 0);
    message_free(message);
    message_free(decoded);
}

TEST(unknown_flags_make_a_message_foreign)
{
    char memory[64];
    struct buffer out;
    const struct envelope_rcpt rcpt = {.address = BYTES("a@b.test"), .domain_len = 6};
    struct message *message = message_create(
        &(struct envelope){.flags = MESSAGE_DOT_LINES, .rcpts = &rcpt, .rcpt_count = 1});
    buffer_init(&out, memory, sizeof memory);
    CHECK(message_encode(message, NULL, &out));
    char *flags = memchr(memory, 21, out.len);
    CHECK_INT(flags[2], MESSAGE_DOT_LINES);
    flags[2] |= 1 << MESSAGE_LOG_SHIFT;
    struct message *decoded = message_decode(buffer_bytes(&out), 1, on_final);
    CHECK(decoded != NULL);
    CHECK_INT(decoded->flags, MESSAGE_DOT_LINES | MESSAGE_FOREIGN);
    message_free(message);
    message_free(decoded);
}

TEST(the_log_a_message_is_in_is_no_part_of_its_record)
{
    char memory[1024], again[1024];
    struct message *message = sample();
    struct bytes before = encode(message, memory, sizeof memory);
    message_set_log_index(message, MESSAGE_LOGS_MAX - 1);
    CHECK_INT(message_log_index(message), MESSAGE_LOGS_MAX - 1);
    CHECK(bytes_equal(encode(message, again, sizeof again), before));
    message_set_log_index(message, 1);
    CHECK_INT(message_log_index(message), 1);
    CHECK_INT(message->flags, MESSAGE_SMTPUTF8 | MESSAGE_TIMED | 1 << MESSAGE_LOG_SHIFT);
    message_free(message);
}

TEST(texts_of_every_length_are_kept)
{
    static char text[UINT16_MAX + 1];
    memset(text, 'x', sizeof text);
    const size_t lens[] = {0, 1, 127, 128, 254, 255, 256, 257, 20000, UINT16_MAX};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        struct bytes some = bytes_of(text, lens[i]);
        const struct envelope_rcpt rcpts[] = {
            {.address = BYTES("one@example.org"), .domain_len = 11, .orcpt = some},
            {.address = BYTES("two@example.net"), .domain_len = 11}};
        struct message *message = message_create(&(struct envelope){.sender = some,
                                                                    .vmta = BYTES("v"),
                                                                    .job = some,
                                                                    .user = some,
                                                                    .headers = some,
                                                                    .rcpts = rcpts,
                                                                    .rcpt_count = 2});
        CHECK(message != NULL);
        CHECK(bytes_equal(message_sender(message), some));
        CHECK(bytes_equal(message_vmta(message), BYTES("v")));
        CHECK(bytes_equal(message_job(message), some));
        CHECK(bytes_equal(message_user(message), some));
        CHECK(bytes_equal(message_headers(message), some));
        CHECK(bytes_equal(rcpt_orcpt(&message->rcpts[0]), some));
        CHECK(bytes_equal(rcpt_address(&message->rcpts[1]), BYTES("two@example.net")));
        CHECK_INT(rcpt_orcpt(&message->rcpts[1]).len, 0);
        message_free(message);
    }
}

TEST(what_no_message_can_hold_is_refused)
{
    static char text[UINT16_MAX + 1];
    struct envelope_rcpt rcpt = {.address = bytes_of(text, 300), .domain_len = 256};
    struct envelope envelope = {.rcpts = &rcpt, .rcpt_count = 1};
    CHECK(message_create(&envelope) == NULL);
    rcpt.domain_len = 255;
    envelope.job = bytes_of(text, sizeof text);
    CHECK(message_create(&envelope) == NULL);
    envelope.job.len--;
    struct message *message = message_create(&envelope);
    CHECK(message != NULL);
    message_free(message);
}

TEST(what_does_not_fit_is_said)
{
    char memory[40];
    struct buffer out;
    struct message *message = sample();
    buffer_init(&out, memory, sizeof memory);
    CHECK(!message_encode(message, NULL, &out));
    message_free(message);
}

TEST(a_wrong_count_of_recipients_is_refused)
{
    char memory[1024];
    struct message *message = sample();
    struct bytes bytes = encode(message, memory, sizeof memory);
    CHECK(message_decode(bytes, 2, on_final) == NULL);
    CHECK(message_decode(bytes, 4, on_final) == NULL);
    CHECK(message_decode(bytes, UINT32_MAX, on_final) == NULL);
    message_free(message);
}

/* Damaged bytes never read or write out of bounds (the sanitizers watch). */
TEST(damaged_bytes_are_refused_or_decoded_into_something)
{
    char memory[1024], damaged[1024];
    struct rng rng;
    struct message *message = sample();
    struct bytes bytes = encode(message, memory, sizeof memory);
    rng_init(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        memcpy(damaged, bytes.data, bytes.len);
        uint64_t hits = 1 + rng_below(&rng, 4);
        while (hits-- > 0) {
            damaged[rng_below(&rng, bytes.len)] = (char)rng_next(&rng);
        }
        final_count = 0;
        message_free(
            message_decode(bytes_of(damaged, rng_below(&rng, bytes.len + 1)), 3, on_final));
    }
    message_free(message);
}

/* As in the benchmark of a million. */
TEST(one_queued_recipient_costs_little)
{
    const struct envelope_rcpt rcpt = {.address = BYTES("u999999@d999.test"), .domain_len = 9};
    struct message *message = message_create(&(struct envelope){.sender = BYTES("sender@load.test"),
                                                                .vmta = BYTES("mta1"),
                                                                .helo = BYTES("load.test"),
                                                                .source_ip = BYTES("127.0.0.1"),
                                                                .rcpts = &rcpt,
                                                                .rcpt_count = 1});
    printf("one message, one recipient: %zu bytes\n", message_memory(message));
    CHECK(message_memory(message) <= 192);
    message_free(message);
}

TEST(ids_of_messages_and_logs_do_not_collide)
{
    char a[21], b[21];
    message_id_text(1, 1, a);
    CHECK_INT(strlen(a), 20);
    message_id_text(1, 2, b);
    CHECK(strcmp(a, b) != 0);
    message_id_text(2, 1, b);
    CHECK(strcmp(a, b) != 0);
    message_id_text(1, (UINT64_C(1) << 48) | 1, b);
    CHECK(strcmp(a, b) != 0);
    CHECK(strspn(a, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 20);
}
