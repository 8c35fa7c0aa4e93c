#include "base/utf8.h"

#include "test.h"

TEST(each_form_has_its_length)
{
    CHECK_INT(utf8_length_at(BYTES("a"), 0), 1);
    CHECK_INT(utf8_length_at(BYTES("\xC3\xA4"), 0), 2);
    CHECK_INT(utf8_length_at(BYTES("x\xE2\x82\xAC"), 1), 3);
    CHECK_INT(utf8_length_at(BYTES("\xF0\x9F\x93\xA7"), 0), 4);
    CHECK(utf8_is_valid(BYTES("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x93\xA7")));
}

TEST(what_rfc_3629_forbids_is_invalid)
{
    static const char *const bad[] = {
        "\x80", /* stray continuation */
        "\xC0\x80",
        "\xC1\xBF", /* overlong */
        "\xE0\x9F\xBF",
        "\xF0\x8F\xBF\xBF", /* overlong */
        "\xED\xA0\x80",
        "\xED\xBF\xBF", /* surrogates */
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFF",
        "\xC3",
        "\xE2\x82",
        "\xF0\x9F\x93",
        "\xE2\x28\xA1",
        "\xF0\x9F\x28\xA7",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_INT(utf8_length_at(bytes_from_string(bad[i]), 0), 0);
        CHECK(!utf8_is_valid(bytes_from_string(bad[i])));
    }
}
