#include "base/list.h"

#include "test.h"

struct item {
    int number;
    struct list_node node;
};

static int popped(struct list *list)
{
    struct list_node *node = list_pop_front(list);
    return node == NULL ? 0 : CONTAINER_OF(node, struct item, node)->number;
}

TEST(nodes_leave_in_the_order_they_were_pushed)
{
    struct item a = {1}, b = {2}, c = {3};
    struct list list;
    list_init(&list);
    list_push_back(&list, &a.node);
    list_push_back(&list, &b.node);
    list_push_front(&list, &c.node);
    CHECK(list_first(&list) == &c.node);
    CHECK(list_next(&list, &c.node) == &a.node && list_next(&list, &b.node) == NULL);
    CHECK_INT(popped(&list), 3);
    CHECK_INT(popped(&list), 1);
    CHECK_INT(popped(&list), 2);
    CHECK_INT(popped(&list), 0);
}

TEST(removing_a_node_in_no_list_does_nothing)
{
    struct item a = {1};
    struct list list;
    list_init(&list);
    list_remove(&a.node);
    list_push_back(&list, &a.node);
    CHECK(list_linked(&a.node));
    list_remove(&a.node);
    CHECK(!list_linked(&a.node) && list_empty(&list));
}

TEST(splicing_moves_all_to_the_end)
{
    struct item a = {1}, b = {2}, c = {3};
    struct list to, from;
    list_init(&to);
    list_init(&from);
    list_push_back(&to, &a.node);
    list_push_back(&from, &b.node);
    list_push_back(&from, &c.node);
    list_splice_back(&to, &from);
    list_splice_back(&to, &from);
    CHECK(list_empty(&from));
    CHECK_INT(popped(&to), 1);
    CHECK_INT(popped(&to), 2);
    CHECK_INT(popped(&to), 3);
}
