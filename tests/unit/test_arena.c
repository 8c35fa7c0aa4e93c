#include "base/arena.h"

#include <stdlib.h>

#include "test.h"

TEST(memory_is_zeroed_and_aligned)
{
    struct arena *arena = arena_create(1 << 20);
    for (size_t size = 1; size < 40000; size = size * 2 + 1) {
        unsigned char *memory = arena_take(arena, size);
        CHECK(memory != NULL && (uintptr_t)memory % 16 == 0);
        for (size_t i = 0; memory != NULL && i < size; i++) {
            CHECK(memory[i] == 0);
        }
        memset(memory, 0xFF, size);
    }
    arena_destroy(arena);
}

TEST(limit_of_the_sum_is_hard)
{
    struct arena *arena = arena_create(100);
    CHECK(arena_take(arena, 64) != NULL);
    CHECK(arena_take(arena, 48) == NULL);
    CHECK(arena_take(arena, SIZE_MAX) == NULL);
    CHECK(arena_take(arena, 32) != NULL);
    CHECK_INT(arena_used(arena), 96);
    struct bytes none = arena_copy(arena, BYTES("too long by now"));
    CHECK(none.data == NULL && none.len == 0);
    arena_destroy(arena);
    arena_destroy(NULL);
}

TEST(copy_ends_with_nul)
{
    struct arena *arena = arena_create(1000);
    struct bytes copy = arena_copy(arena, bytes_of("abcdef", 3));
    CHECK_BYTES(copy, "abc");
    CHECK(copy.data[3] == '\0');
    CHECK_BYTES(arena_copy(arena, bytes_from_string(NULL)), "");
    arena_destroy(arena);
}

TEST(big_takes_do_not_end_the_block_being_filled)
{
    struct arena *arena = arena_create(10 << 20);
    char *first = arena_take(arena, 16);
    CHECK(arena_take(arena, 1 << 20) != NULL);
    char *second = arena_take(arena, 16);
    CHECK(second == first + 16);
    arena_destroy(arena);
}

#ifndef WITHOUT_JEMALLOC
TEST(allocated_memory_is_counted)
{
    const size_t size = 8 << 20;
    size_t before = memory_allocated();
    char *volatile memory = malloc(size);
    memory[0] = 1;
    size_t with = memory_allocated();
    free(memory);
    size_t after = memory_allocated();
    CHECK(before > 0 && with >= before + size && after < before + size);
}
#endif
