#include "smtp/header_edit.h"

#include "test.h"

static const struct bytes names[] = {BYTES_INIT("X-Secret"), BYTES_INIT("Bcc")};

/* What is left of it. */
static struct bytes without(const char *message, char memory[4096])
{
    size_t len = strlen(message);
    CHECK(len < 4096);
    memcpy(memory, message, len);
    size_t removed = header_edit_remove(memory, len, names, 2);
    return bytes_of(memory + removed, len - removed);
}

TEST(named_fields_go_with_their_continuations_and_nothing_else)
{
    static const struct {
        const char *before, *after;
    } rows[] = {
        {"A: 1\r\nX-Secret: a\r\n b\r\n\tc\r\nB: 2\r\n 3\r\n\r\nx\r\n",
         "A: 1\r\nB: 2\r\n 3\r\n\r\nx\r\n"},
        {"x-SECRET : a\r\nbcc:\r\nA: 1\r\n\r\nx\r\n", "A: 1\r\n\r\nx\r\n"},
        {"A: 1\r\nBcc: b\r\n\r\nBcc: stays\r\n", "A: 1\r\n\r\nBcc: stays\r\n"},
        {"Bcc: b\r\n\r\n", "\r\n"},
        {"X-Secret-2: a\r\nX: Bcc: b\r\n\r\n", "X-Secret-2: a\r\nX: Bcc: b\r\n\r\n"},
        {"\r\nBcc: the header is empty\r\n\r\n", "\r\nBcc: the header is empty\r\n\r\n"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char memory[4096];
        CHECK_BYTES(without(rows[i].before, memory), rows[i].after);
    }
}

TEST(a_header_that_is_not_all_there_stays_whole)
{
    char memory[4096];
    CHECK_BYTES(without("Bcc: b\r\nA: 1\r\n", memory), "Bcc: b\r\nA: 1\r\n");
    CHECK_BYTES(without("Bcc: b\r\nBcc: c", memory), "Bcc: b\r\nBcc: c");
}
