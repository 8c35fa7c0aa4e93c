#include "journal.h"

#include "test.h"

TEST(what_is_encoded_comes_back)
{
    char memory[EVENT_BYTES_MAX];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    struct event event = {.type = EVENT_BOUNCED,
                          .orig = BYTES("a@b.test"),
                          .rcpt = BYTES("c@d.test"),
                          .dsn_diag = BYTES("smtp;550 5.1.1 no such user"),
                          .logged_wall_ms = 1700000000123,
                          .smtp_code = 550};
    CHECK(journal_encode(&out, &event));
    struct event seen;
    CHECK(journal_decode(buffer_bytes(&out), &seen));
    CHECK_INT(seen.type, EVENT_BOUNCED);
    CHECK_BYTES(seen.orig, "a@b.test");
    CHECK_BYTES(seen.dsn_diag, "smtp;550 5.1.1 no such user");
    CHECK_INT(seen.logged_wall_ms, 1700000000123);
    CHECK_INT(seen.smtp_code, 550);
    CHECK_INT(seen.vmta.len, 0);
}

TEST(a_record_cut_anywhere_inside_a_field_is_refused)
{
    char memory[256];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    struct event event = {.type = EVENT_DELIVERED, .orig = BYTES("a@b.test"), .smtp_code = 250};
    CHECK(journal_encode(&out, &event));
    struct event seen;
    size_t whole_fields = 1 + 3 + 8; /* type and orig are a record of their own */
    for (size_t len = 0; len < out.len; len++) {
        bool complete = len == 1 || len == whole_fields;
        CHECK(journal_decode(bytes_of(memory, len), &seen) == complete);
    }
}

TEST(fields_of_a_newer_engine_are_passed_over)
{
    const char record[] = "d\x7f\x02\x00xy\x01\x03\x00"
                          "abc\xf0"
                          "12345678";
    struct event seen;
    CHECK(journal_decode(bytes_of(record, sizeof record - 1), &seen));
    CHECK_BYTES(seen.orig, "abc");
}

TEST(a_record_without_room_leaves_the_buffer_as_it_was)
{
    char memory[8];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    struct event event = {.type = EVENT_DELIVERED, .orig = BYTES("a@b.test")};
    CHECK(!journal_encode(&out, &event));
    CHECK_INT(out.len, 0);
}
