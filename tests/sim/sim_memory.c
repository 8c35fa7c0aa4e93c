/* An open-addressing table of live engine blocks, keyed by address. The addresses order nothing:
 * the table is only asked whether a block is the engine's, and dropping frees them all. */
#include "sim_memory.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
int __real_posix_memalign(void **out, size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *string);
char *__real_strndup(const char *string, size_t len);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
int __wrap_posix_memalign(void **out, size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *string);
char *__wrap_strndup(const char *string, size_t len);

static struct {
    void **slots;
    size_t capacity, count;
    uint32_t depth;   /* of enter */
    uint64_t fail_in; /* 0: never */
} engine;

static size_t slot_of(const void *block)
{
    return (size_t)(((uintptr_t)block >> 4) * UINT64_C(0x9E3779B97F4A7C15)) & (engine.capacity - 1);
}

static void place(void *block)
{
    size_t i = slot_of(block);
    while (engine.slots[i] != NULL) {
        i = (i + 1) & (engine.capacity - 1);
    }
    engine.slots[i] = block;
}

static void enlarge(void)
{
    void **old = engine.slots;
    size_t old_capacity = engine.capacity;
    engine.capacity = old_capacity == 0 ? 1024 : 2 * old_capacity;
    engine.slots = __real_calloc(engine.capacity, sizeof(void *));
    if (engine.slots == NULL) {
        abort();
    }
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            place(old[i]);
        }
    }
    __real_free(old);
}

static void remember(void *block)
{
    if (block == NULL || engine.depth == 0) {
        return;
    }
    if (engine.count * 2 >= engine.capacity) {
        enlarge();
    }
    place(block);
    engine.count++;
}

/* Closes the gap at i: what probed past it moves back. */
static void close_gap(size_t i)
{
    size_t j = i;
    for (;;) {
        j = (j + 1) & (engine.capacity - 1);
        if (engine.slots[j] == NULL) {
            break;
        }
        size_t home = slot_of(engine.slots[j]);
        bool stays = i <= j ? i < home && home <= j : i < home || home <= j;
        if (!stays) {
            engine.slots[i] = engine.slots[j];
            i = j;
        }
    }
    engine.slots[i] = NULL;
}

static void forget(const void *block)
{
    if (block == NULL || engine.count == 0) {
        return;
    }
    size_t i = slot_of(block);
    while (engine.slots[i] != NULL && engine.slots[i] != block) {
        i = (i + 1) & (engine.capacity - 1);
    }
    if (engine.slots[i] == block) {
        close_gap(i);
        engine.count--;
    }
}

static bool must_fail(void)
{
    return engine.depth > 0 && engine.fail_in > 0 && --engine.fail_in == 0;
}

void *__wrap_malloc(size_t size)
{
    void *block = must_fail() ? NULL : __real_malloc(size);
    remember(block);
    return block;
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *block = must_fail() ? NULL : __real_calloc(count, size);
    remember(block);
    return block;
}

void *__wrap_realloc(void *block, size_t size)
{
    if (must_fail()) {
        return NULL;
    }
    /* The address is compared and never followed: forgotten first, since it dies in the call. */
    forget(block);
    void *moved = __real_realloc(block, size);
    remember(moved != NULL ? moved : block);
    return moved;
}

void __wrap_free(void *block)
{
    forget(block);
    __real_free(block);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t size)
{
    if (must_fail()) {
        return ENOMEM;
    }
    int result = __real_posix_memalign(out, alignment, size);
    if (result == 0) {
        remember(*out);
    }
    return result;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    void *block = must_fail() ? NULL : __real_aligned_alloc(alignment, size);
    remember(block);
    return block;
}

char *__wrap_strdup(const char *string)
{
    char *copy = must_fail() ? NULL : __real_strdup(string);
    remember(copy);
    return copy;
}

char *__wrap_strndup(const char *string, size_t len)
{
    char *copy = must_fail() ? NULL : __real_strndup(string, len);
    remember(copy);
    return copy;
}

void *sim_take(size_t size)
{
    void *block = __real_calloc(1, size == 0 ? 1 : size);
    if (block == NULL) {
        abort();
    }
    return block;
}

void *sim_grow(void *block, size_t old_size, size_t size)
{
    uint8_t *moved = __real_realloc(block, size);
    if (moved == NULL) {
        abort();
    }
    if (size > old_size) {
        memset(moved + old_size, 0, size - old_size);
    }
    return moved;
}

void sim_give(void *block)
{
    __real_free(block);
}

void *sim_engine_take(size_t size)
{
    return __wrap_calloc(1, size);
}

void sim_engine_give(void *block)
{
    __wrap_free(block);
}

void sim_memory_enter(void)
{
    engine.depth++;
}

void sim_memory_leave(void)
{
    assert(engine.depth > 0);
    engine.depth--;
}

size_t sim_memory_drop(void)
{
    size_t dropped = engine.count;
    for (size_t i = 0; i < engine.capacity; i++) {
        __real_free(engine.slots[i]);
    }
    __real_free(engine.slots);
    engine.slots = NULL;
    engine.capacity = engine.count = 0;
    return dropped;
}

size_t sim_memory_blocks(void)
{
    return engine.count;
}

void sim_memory_fail(uint64_t n)
{
    engine.fail_in = n;
}
