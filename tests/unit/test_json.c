#include "base/json.h"

#include "test.h"

TEST(members_are_read_by_type)
{
    struct error error;
    struct json *root = json_parse(BYTES("{\"s\":\"x\\u00e4\",\"i\":-7,\"b\":true,\"o\":{\"k\":1},"
                                         "\"a\":[1,\"two\"],\"n\":null}"),
                                   1000, &error);
    CHECK(root != NULL);
    CHECK_STRING(json_get_string(root, "s"), "x\xC3\xA4");
    CHECK_INT(json_get_integer(root, "i", 0), -7);
    CHECK(json_get_bool(root, "b", false));
    CHECK_INT(json_get_integer(json_member(root, "o"), "k", 0), 1);
    CHECK(json_kind(json_member(root, "n")) == JSON_KIND_NULL);
    const struct json *array = json_member(root, "a");
    struct bytes two;
    int64_t one = 0;
    CHECK_INT(json_count(array), 2);
    CHECK(json_as_integer(json_at(array, 0), &one) && one == 1);
    CHECK(json_as_string(json_at(array, 1), &two));
    CHECK_BYTES(two, "two");
    CHECK(json_at(array, 2) == NULL);
    json_free(root);
}

TEST(absent_and_mistyped_members_give_otherwise)
{
    struct json *root = json_parse(BYTES("{\"s\":\"x\",\"f\":1.5}"), 1000, NULL);
    CHECK(json_get_string(root, "f") == NULL && json_get_string(root, "none") == NULL);
    CHECK_INT(json_get_integer(root, "s", 5), 5);
    CHECK_INT(json_get_integer(root, "f", 5), 5);
    CHECK(json_get_bool(root, "s", true));
    CHECK(json_member(json_member(root, "none"), "deeper") == NULL);
    CHECK(json_kind(NULL) == JSON_KIND_NONE);
    CHECK_INT(json_count(root), 0);
    json_free(root);
    json_free(NULL);
}

TEST(members_are_walked_in_the_order_of_the_text)
{
    struct json *root = json_parse(BYTES("{\"z\":1,\"a\":2,\"m\":3}"), 1000, NULL);
    char seen[8];
    struct buffer names;
    buffer_init(&names, seen, sizeof(seen));
    void *cursor = NULL;
    struct bytes name;
    const struct json *value;
    while (json_next_member(root, &cursor, &name, &value)) {
        buffer_put_bytes(&names, name);
        CHECK(json_kind(value) == JSON_KIND_NUMBER);
    }
    CHECK_BYTES(buffer_bytes(&names), "zam");
    json_free(root);
}

TEST(size_and_depth_are_bounded)
{
    struct error error;
    CHECK(json_parse(BYTES("[1,2,3]"), 6, &error) == NULL);
    char text[200];
    for (size_t depth = 32; depth <= 33; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        struct json *root = json_parse(bytes_of(text, 2 * depth), 1000, &error);
        CHECK((root != NULL) == (depth == 32));
        json_free(root);
    }
    struct json *root =
        json_parse(BYTES("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[\"]"), 1000, &error);
    CHECK(root != NULL);
    json_free(root);
}

TEST(errors_name_the_offset)
{
    struct error error;
    static const char *const bad[] = {
        "",     "{",   "{\"a\":1,\"a\":2}", "[1] x", "[\"\\u0000\"]", "\"x\"", "[\"\xFF\"]",
        "[01]", "nope"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK(json_parse(bytes_from_string(bad[i]), 1000, &error) == NULL);
        CHECK(strstr(error.text, "at byte ") != NULL);
    }
}

TEST(writer_places_commas_and_escapes)
{
    char memory[300];
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, sizeof(memory));
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "s", BYTES("q\"b\\n\n\x01\x7F\xFF\xC3\xA4\xC3"));
    json_put_u64(&writer, "u", UINT64_MAX);
    json_begin_array(&writer, "a");
    json_put_i64(&writer, NULL, INT64_MIN);
    json_put_i64(&writer, NULL, 5);
    json_begin_object(&writer, NULL);
    json_end_object(&writer);
    json_end_array(&writer);
    json_put_bool(&writer, "b", false);
    json_end_object(&writer);
    CHECK(!out.overflowed);
    CHECK_BYTES(buffer_bytes(&out),
                "{\"s\":\"q\\\"b\\\\n\\n\\u0001\\u007f\xEF\xBF\xBD\xC3\xA4\xEF\xBF\xBD\","
                "\"u\":18446744073709551615,\"a\":[-9223372036854775808,5,{}],\"b\":false}");
    struct json *root = json_parse(buffer_bytes(&out), sizeof(memory), NULL);
    CHECK(root == NULL); /* 2^64 - 1 is no int64 */
    json_free(root);
}

TEST(what_the_writer_makes_of_any_bytes_is_read_back)
{
    char memory[4096], raw[256];
    for (size_t i = 0; i < sizeof(raw); i++) {
        raw[i] = (char)(i == 0 ? 1 : i);
    }
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, sizeof(memory));
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "raw", bytes_of(raw, sizeof(raw)));
    json_end_object(&writer);
    struct json *root = json_parse(buffer_bytes(&out), sizeof(memory), NULL);
    const char *read = json_get_string(root, "raw");
    CHECK(read != NULL && memcmp(read, raw, 128) == 0);
    json_free(root);
}

TEST(overflow_shows_in_the_buffer)
{
    char memory[5];
    struct buffer out;
    struct json_writer writer;
    buffer_init(&out, memory, sizeof(memory));
    json_writer_init(&writer, &out);
    json_begin_object(&writer, NULL);
    json_put_string(&writer, "name", BYTES("value"));
    json_end_object(&writer);
    CHECK(out.overflowed);
}
