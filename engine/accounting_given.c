#include "accounting_given.h"

#include <assert.h>

void accounting_given_begin(struct accounting_given *given, uint64_t now_ms)
{
    given->read = given->given = 0;
    given->read_ms = given->idle_ms = now_ms;
    given->first = given->count = 0;
}

bool accounting_given_has_room(const struct accounting_given *given)
{
    return given->count < ACCOUNTING_MARKS_MAX;
}

/* Events that are no records add no bytes: they go with what stands before them. */
void accounting_given_mark(struct accounting_given *given, struct accounting_mark mark)
{
    uint32_t next = (given->first + given->count) % ACCOUNTING_MARKS_MAX;
    struct accounting_mark *newest =
        given->count == 0 ? NULL
                          : &given->marks[(next + ACCOUNTING_MARKS_MAX - 1) % ACCOUNTING_MARKS_MAX];
    if (newest != NULL && newest->end == mark.end && newest->log == mark.log) {
        newest->sequence = mark.sequence;
        return;
    }
    assert(accounting_given_has_room(given));
    assert(newest == NULL || newest->end <= mark.end);
    given->marks[next] = mark;
    given->count++;
}

/* A program reads again only when it has dealt with what it has: so the look before says what is
 * given, not this one. */
void accounting_given_read(struct accounting_given *given, uint64_t read, uint64_t made,
                           uint64_t now_ms, uint64_t quiet_ms)
{
    assert(read >= given->read);
    assert(read <= made);
    if (read > given->read) {
        given->given = given->read;
        given->read = read;
        given->read_ms = given->idle_ms = now_ms;
    } else if (read == made) {
        given->idle_ms = now_ms;
        if (now_ms - given->read_ms >= quiet_ms) {
            given->given = read;
        }
    }
}

void accounting_given_all(struct accounting_given *given)
{
    given->given = given->read;
}

void accounting_given_advance(struct accounting_given *given, struct accounting_position *reached)
{
    while (given->count > 0 && given->marks[given->first].end <= given->given) {
        const struct accounting_mark *mark = &given->marks[given->first];
        assert(mark->log < reached->log_count);
        reached->logs[mark->log].sequence = mark->sequence;
        given->first = (given->first + 1) % ACCOUNTING_MARKS_MAX;
        given->count--;
    }
}
