#include "smtp/header_notes.h"

#include "test.h"

static struct header_notes notes;

static void note(const char *name, const char *value, size_t step)
{
    header_notes_begin(&notes, bytes_from_string(name));
    for (size_t at = 0, len = strlen(value); at < len; at += step) {
        header_notes_add(&notes, value + at, len - at < step ? len - at : step);
    }
    header_notes_end(&notes);
}

TEST(values_are_unfolded_and_trimmed_however_they_come)
{
    for (size_t step = 1; step < 12; step++) {
        notes = (struct header_notes){0};
        note("Subject", "  one\r\n two \t\r\n", step);
        note("To", " \r\n", step);
        size_t cursor = 0;
        struct bytes name, value;
        CHECK(header_notes_next(&notes, &cursor, &name, &value));
        CHECK_BYTES(name, "Subject");
        CHECK_BYTES(value, "one two");
        CHECK(header_notes_next(&notes, &cursor, &name, &value));
        CHECK_BYTES(name, "To");
        CHECK_BYTES(value, "");
        CHECK(!header_notes_next(&notes, &cursor, &name, &value));
    }
}

TEST(what_is_too_long_or_too_much_is_left_out)
{
    char big[2000], name_text[257];
    memset(big, 'v', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    memset(name_text, 'n', 256);
    name_text[256] = '\0';
    notes = (struct header_notes){0};
    for (int i = 0; i < 100; i++) {
        note(name_text, big, 300);
    }
    size_t cursor = 0, count = 0;
    struct bytes name, value;
    while (header_notes_next(&notes, &cursor, &name, &value)) {
        CHECK_INT(name.len, 256);
        CHECK(value.len <= HEADER_NOTE_VALUE_MAX);
        CHECK(count > 0 || value.len == HEADER_NOTE_VALUE_MAX);
        count++;
    }
    CHECK(count >= 4 && count < 10);
}
