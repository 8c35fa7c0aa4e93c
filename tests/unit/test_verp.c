#include "smtp/verp.h"

#include "test.h"

TEST(the_sender_names_the_recipient)
{
    static const struct {
        const char *sender, *rcpt, *wanted;
    } rows[] = {
        {"jsmith@example.com", "jdoe@yahoo.com", "jsmith-jdoe=yahoo.com@example.com"},
        {"\"a b\"@example.com", "u@a.test", "\"a b-u=a.test\"@example.com"},
        {"s@example.com", "\"x@y\\\"\"@a.test", "\"s-x@y\\\"=a.test\"@example.com"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char memory[100];
        struct buffer out;
        buffer_init(&out, memory, sizeof memory);
        CHECK(verp_put(bytes_from_string(rows[i].sender), bytes_from_string(rows[i].rcpt), &out));
        CHECK_BYTES(buffer_bytes(&out), rows[i].wanted);
    }
}

TEST(what_has_no_room_is_told)
{
    char memory[33];
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    CHECK(verp_put(BYTES("jsmith@example.com"), BYTES("jdoe@yahoo.com"), &out));
    buffer_init(&out, memory, sizeof memory - 1);
    CHECK(!verp_put(BYTES("jsmith@example.com"), BYTES("jdoe@yahoo.com"), &out));
}
