#include "base/error.h"

#include "test.h"

TEST(set_fills_and_returns_minus_one)
{
    struct error error;
    CHECK_INT(error_set(&error, 78, "line %d", 3), -1);
    CHECK_INT(error.code, 78);
    CHECK_STRING(error.text, "line 3");
    CHECK_INT(error_set(NULL, 1, "nobody asks"), -1);
}

TEST(prefix_stands_before_the_text)
{
    struct error error;
    error_set(&error, 1, "no such file");
    error_prefix(&error, "%s", "a.conf");
    CHECK_STRING(error.text, "a.conf: no such file");
    error_prefix(NULL, "x");
}

TEST(longer_text_is_cut)
{
    struct error error;
    error_set(&error, 1, "%600s", "x");
    CHECK_INT(strlen(error.text), ERROR_TEXT_MAX - 1);
    error_prefix(&error, "%600s", "y");
    CHECK_INT(strlen(error.text), ERROR_TEXT_MAX - 1);
}
