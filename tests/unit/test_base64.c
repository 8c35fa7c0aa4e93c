#include "base/base64.h"

#include "base/rng.h"
#include "test.h"

static char memory[4096];

static struct bytes written(struct bytes data)
{
    struct buffer out;
    buffer_init(&out, memory, sizeof memory);
    base64_put(&out, data);
    CHECK(!out.overflowed);
    CHECK_INT(out.len, BASE64_LEN(data.len));
    return buffer_bytes(&out);
}

static bool reads(const char *text, const char *wanted)
{
    char room[64];
    struct buffer out;
    buffer_init(&out, room, sizeof room);
    return base64_read(bytes_from_string(text), &out) &&
           bytes_equal(buffer_bytes(&out), bytes_from_string(wanted));
}

TEST(the_examples_of_rfc_4648_10)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CHECK(bytes_equal(written(bytes_from_string(rows[i][0])), bytes_from_string(rows[i][1])));
        CHECK(reads(rows[i][1], rows[i][0]));
    }
}

TEST(any_bytes_come_back)
{
    struct rng rng;
    rng_init(&rng, 1);
    for (int turn = 0; turn < 500; turn++) {
        char data[300], room[300];
        size_t len = rng_below(&rng, sizeof data);
        for (size_t i = 0; i < len; i++) {
            data[i] = (char)rng_next(&rng);
        }
        struct buffer out;
        buffer_init(&out, room, sizeof room);
        CHECK(base64_read(written(bytes_of(data, len)), &out));
        CHECK(bytes_equal(buffer_bytes(&out), bytes_of(data, len)));
    }
}

TEST(what_is_no_base64_is_refused)
{
    static const char *const wrong[] = {"Zg",        "Zg=",      "Z===", "====",
                                        "=",         "Zg==Zg==", "Z*==", "Zm9",
                                        "Zm9v Zm9v", "Zh==",     "Zm9=", "\xff\xff\xff\xff"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char room[64];
        struct buffer out;
        buffer_init(&out, room, sizeof room);
        CHECK(!base64_read(bytes_from_string(wrong[i]), &out));
    }
}

TEST(what_does_not_fit_is_refused)
{
    char room[4];
    struct buffer out;
    buffer_init(&out, room, sizeof room);
    CHECK(!base64_read(BYTES("Zm9vYmFy"), &out));
}
