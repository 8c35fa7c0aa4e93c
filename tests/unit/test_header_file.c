#include "policy/header_file.h"

#include "test.h"

static char memory[4096];
static struct buffer out;
static uint32_t line;

static const char *put(const char *text)
{
    buffer_init(&out, memory, sizeof memory);
    return header_file_put(bytes_from_string(text), &out, &line);
}

TEST(lines_become_those_of_a_header)
{
    CHECK(put("A: 1\n\n  \nB: 2\r\n\t3\r\n 4\n") == NULL);
    CHECK_BYTES(buffer_bytes(&out), "A: 1\r\nB: 2\r\n\t3\r\n 4\r\n");
    CHECK(put("A: without an end") == NULL);
    CHECK_BYTES(buffer_bytes(&out), "A: without an end\r\n");
    CHECK(put("") == NULL);
    CHECK_BYTES(buffer_bytes(&out), "");
}

TEST(what_is_no_header_is_named_by_its_line)
{
    static const struct {
        const char *text;
        uint32_t line;
    } rows[] = {
        {"A: 1\nno field\n", 2}, {" goes on\n", 1},    {"\n\n: x\n", 3},      {"A B: 1\n", 1},
        {".A: 1\n", 1},          {"A: \xc3\xbc\n", 1}, {"A: 1\rB: 2\r\n", 1}, {"A: \x7f\n", 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK(put(rows[i].text) != NULL);
        CHECK_INT(line, rows[i].line);
    }
}

TEST(a_line_and_the_whole_are_bounded)
{
    char text[HEADER_FILE_LINE_MAX + 2] = "A: ";
    memset(text + 3, 'x', HEADER_FILE_LINE_MAX - 3);
    CHECK(put(text) == NULL);
    text[HEADER_FILE_LINE_MAX] = 'x';
    CHECK_STRING(put(text), "this line is too long for a header");
    text[HEADER_FILE_LINE_MAX] = '\0';
    for (size_t i = 0; i < 5; i++) {
        CHECK((header_file_put(bytes_from_string(text), &out, &line) != NULL) == (i == 4));
    }
}
