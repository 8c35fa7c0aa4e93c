#include "io/work.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "io/io_kernel.h"

#define WORK_THREADS_MAX 64

struct work_pool {
    pthread_mutex_t mutex;
    pthread_cond_t arrived; /* a job, or closing */
    struct list queue;
    uint32_t queued, queue_max;
    bool closing;
    uint32_t thread_count;
    pthread_t threads[WORK_THREADS_MAX];
};

/* The next job, or NULL when the pool closes and nothing is left. */
static struct work *next_job(struct work_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    while (list_empty(&pool->queue) && !pool->closing) {
        pthread_cond_wait(&pool->arrived, &pool->mutex);
    }
    struct list_node *node = list_pop_front(&pool->queue);
    pool->queued -= node != NULL;
    pthread_mutex_unlock(&pool->mutex);
    return node == NULL ? NULL : CONTAINER_OF(node, struct work, node);
}

static void *helper_main(void *argument)
{
    struct work_pool *pool = argument;
    struct work *work;
    while ((work = next_job(pool)) != NULL) {
        work->run(work);
        io_bring_home(work->home, work);
    }
    return NULL;
}

/* Signals are the main thread's: helpers start with all of them blocked. */
static int start_helper(struct work_pool *pool)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&pool->threads[pool->thread_count], NULL, helper_main, pool);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pool->thread_count += result == 0;
    return result;
}

struct work_pool *work_pool_create(uint32_t threads, uint32_t queue_max)
{
    assert(threads > 0);
    assert(threads <= WORK_THREADS_MAX);
    struct work_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->arrived, NULL);
    list_init(&pool->queue);
    pool->queue_max = queue_max;
    for (uint32_t i = 0; i < threads; i++) {
        if (start_helper(pool) != 0) {
            work_pool_destroy(pool);
            return NULL;
        }
    }
    return pool;
}

void work_pool_destroy(struct work_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    pool->closing = true;
    pthread_cond_broadcast(&pool->arrived);
    pthread_mutex_unlock(&pool->mutex);
    for (uint32_t i = 0; i < pool->thread_count; i++) {
        pthread_join(pool->threads[i], NULL);
    }
    assert(list_empty(&pool->queue));
    pthread_cond_destroy(&pool->arrived);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

bool work_submit(struct work_pool *pool, struct io *home, struct work *work)
{
    assert(work->run != NULL);
    assert(work->done != NULL);
    pthread_mutex_lock(&pool->mutex);
    assert(!pool->closing);
    bool taken = pool->queued < pool->queue_max;
    if (taken) {
        work->home = home;
        work->node = (struct list_node){0};
        list_push_back(&pool->queue, &work->node);
        pool->queued++;
        pthread_cond_signal(&pool->arrived);
    }
    pthread_mutex_unlock(&pool->mutex);
    return taken;
}
