#include "base/slab.h"

#include "test.h"

TEST(objects_come_zeroed_also_the_second_time)
{
    struct slab *slab = slab_create("test", 40, 1);
    unsigned char *object = slab_take(slab);
    memset(object, 0xFF, 40);
    slab_give(slab, object);
    CHECK(slab_take(slab) == object);
    for (size_t i = 0; i < 40; i++) {
        CHECK_INT(object[i], 0);
    }
    slab_give(slab, object);
    slab_destroy(slab);
}

TEST(limit_is_hard_and_high_water_stays)
{
    static void *objects[5000];
    struct slab *slab = slab_create("test", 100, 5000);
    for (size_t i = 0; i < 5000; i++) {
        objects[i] = slab_take(slab);
        CHECK(objects[i] != NULL && (uintptr_t)objects[i] % 16 == 0);
        memset(objects[i], (int)i, 100);
    }
    CHECK(slab_take(slab) == NULL);
    CHECK_INT(slab_used(slab), 5000);
    for (size_t i = 0; i < 5000; i++) {
        CHECK(((unsigned char *)objects[i])[99] == (unsigned char)i);
        slab_give(slab, objects[i]);
    }
    CHECK_INT(slab_used(slab), 0);
    CHECK_INT(slab_high_water(slab), 5000);
    slab_destroy(slab);
}

TEST(objects_bigger_than_a_block_work)
{
    struct slab *slab = slab_create("test", 300000, 2);
    char *a = slab_take(slab), *b = slab_take(slab);
    CHECK(a != NULL && b != NULL && slab_take(slab) == NULL);
    memset(a, 1, 300000);
    memset(b, 2, 300000);
    CHECK(a[299999] == 1);
    slab_give(slab, a);
    slab_give(slab, b);
    slab_destroy(slab);
}

TEST(null_is_accepted)
{
    struct slab *slab = slab_create("test", 1, 1);
    slab_give(slab, NULL);
    slab_destroy(slab);
    slab_destroy(NULL);
}
