/* Which queues an accounting file is about. */
#include "policy/acct_queue.h"

#include "test.h"

static struct acct_queue_filter filter;

static bool parse(const char *first, const char *second)
{
    struct bytes items[] = {bytes_from_string(first), bytes_from_string(second)};
    struct string_array words = {items, items[1].len > 0 ? 2 : 1};
    struct error error = {0};
    return acct_queue_filter_parse(&words, &filter, &error) == 0;
}

static bool keeps(const char *queue)
{
    return acct_queue_filter_keeps(&filter, bytes_from_string(queue));
}

TEST(no_words_keep_every_queue)
{
    struct error error = {0};
    CHECK_INT(acct_queue_filter_parse(&(struct string_array){0}, &filter, &error), 0);
    CHECK(keeps("a.com/v1"));
}

TEST(a_word_keeps_its_queue_and_no_other)
{
    CHECK(parse("a.com/v1", ""));
    CHECK(keeps("a.com/v1"));
    CHECK(keeps("A.COM/V1"));
    CHECK(!keeps("a.com/v2"));
    CHECK(!keeps("b.a.com/v1"));
    CHECK(!keeps("c.com/v1"));
}

TEST(the_first_word_that_fits_decides)
{
    CHECK(parse("x.b.com/v1", "![*.]b.com/*"));
    CHECK(keeps("x.b.com/v1"));
    CHECK(!keeps("x.b.com/v2"));
    CHECK(!keeps("b.com/v1"));
    CHECK(!keeps("c.com/v1")); /* a word without ! is there: only what is named */
}

TEST(words_that_only_leave_out_keep_the_others)
{
    CHECK(parse("![*.]b.com/*", "!*/v2"));
    CHECK(!keeps("x.b.com/v1"));
    CHECK(!keeps("c.com/v2"));
    CHECK(keeps("c.com/v1"));
    CHECK(keeps("xb.com/v1"));
}

TEST(subdomains_alone_are_not_the_domain)
{
    CHECK(parse("*.b.com/*", ""));
    CHECK(keeps("x.b.com/v1"));
    CHECK(!keeps("b.com/v1"));
}

TEST(a_range_holds_address_literals)
{
    CHECK(parse("[10/8]/v1", ""));
    CHECK(keeps("[10.1.2.3]/v1"));
    CHECK(!keeps("[11.1.2.3]/v1"));
    CHECK(!keeps("a.com/v1"));
}

TEST(a_name_in_unicode_holds_its_queue)
{
    CHECK(parse("b\303\274cher.de/*", ""));
    CHECK(keeps("xn--bcher-kva.de/v1"));
}

TEST(what_is_no_queue_is_refused)
{
    CHECK(!parse("a.com", ""));
    CHECK(!parse("/v1", ""));
    CHECK(!parse("a.com/", ""));
    CHECK(!parse("!", ""));
    CHECK(!parse("local/v1", ""));
    CHECK(!parse("a.com/v 1", ""));
}
