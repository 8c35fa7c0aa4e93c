/* The test frame: TEST(name_is_a_sentence) { … } and checks that say what was seen.
 *
 * One binary per module; include once per binary, in its main file. Prints one line per failed
 * check and a closing "N passed, N failed"; the exit code is 0 only if none failed. Arguments
 * select tests by substring. */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static bool test_failed;

#define TEST(id)                                                                                   \
    static void test_##id(void);                                                                   \
    __attribute__((constructor)) static void test_register_##id(void)                              \
    {                                                                                              \
        static struct test test = {.name = #id, .run = test_##id};                                 \
        *test_last = &test;                                                                        \
        test_last = &test.next;                                                                    \
    }                                                                                              \
    static void test_##id(void)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                         \
            test_failed = true;                                                                    \
        }                                                                                          \
    } while (0)

#define CHECK_INT(seen, wanted)                                                                    \
    do {                                                                                           \
        intmax_t test_seen = (intmax_t)(seen), test_wanted = (intmax_t)(wanted);                   \
        if (test_seen != test_wanted) {                                                            \
            printf("%s:%d: %s is %jd, wanted %jd\n", __FILE__, __LINE__, #seen, test_seen,         \
                   test_wanted);                                                                   \
            test_failed = true;                                                                    \
        }                                                                                          \
    } while (0)

#define CHECK_STRING(seen, wanted)                                                                 \
    do {                                                                                           \
        const char *test_seen = (seen), *test_wanted = (wanted);                                   \
        if (test_seen == NULL || strcmp(test_seen, test_wanted) != 0) {                            \
            printf("%s:%d: %s is \"%s\", wanted \"%s\"\n", __FILE__, __LINE__, #seen,              \
                   test_seen == NULL ? "(null)" : test_seen, test_wanted);                         \
            test_failed = true;                                                                    \
        }                                                                                          \
    } while (0)

/* `seen` is a struct bytes. */
#define CHECK_BYTES(seen, wanted)                                                                  \
    do {                                                                                           \
        struct bytes test_b = (seen);                                                              \
        const char *test_wanted = (wanted);                                                        \
        if (test_b.len != strlen(test_wanted) ||                                                   \
            memcmp(test_b.data, test_wanted, test_b.len) != 0) {                                   \
            printf("%s:%d: %s is \"%.*s\", wanted \"%s\"\n", __FILE__, __LINE__, #seen,            \
                   (int)test_b.len, test_b.data, test_wanted);                                     \
            test_failed = true;                                                                    \
        }                                                                                          \
    } while (0)

static inline bool test_selected(const char *name, int argc, char **argv)
{
    if (argc < 2) {
        return true;
    }
    for (int i = 1; i < argc; i++) {
        if (strstr(name, argv[i]) != NULL) {
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (struct test *test = test_first; test != NULL; test = test->next) {
        if (!test_selected(test->name, argc, argv)) {
            continue;
        }
        test_failed = false;
        test->run();
        if (test_failed) {
            printf("FAILED: %s\n", test->name);
            failed++;
        } else {
            passed++;
        }
        fflush(stdout);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

#endif
