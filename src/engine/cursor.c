/* Cursors: see engine.h. */
#include "engine/engine.h"

#include <inttypes.h>

#define CURSOR_PAUSE_NS INT64_C(50000)

tape_status cursor_open(cursor *c, journal *j, cursor_sink sink, tape_error *error) {
    *c = (cursor){.j = j, .sink = sink};
    (void)pthread_mutex_init(&c->mutex, NULL);
    return journal_reader_attach(&c->reader, j, TAPE_WRITTEN, sink.position(sink.context) + 1,
                                 error);
}

void cursor_close(cursor *c) {
    if (c->j != NULL) {
        journal_reader_close(&c->reader);
        (void)pthread_mutex_destroy(&c->mutex);
        c->j = NULL;
    }
}

static tape_status cursor_failure(cursor *c, tape_error *error) {
    uint32_t failed = atomic_load_explicit(&c->failed, memory_order_acquire);
    if (failed != 0 && error != NULL) {
        *error = c->failure;
    }
    return (tape_status)failed;
}

/* With the mutex held. */
static tape_status step_locked(cursor *c, bool *moved, tape_error *error) {
    tape_error local = {0};
    tape_status status = cursor_failure(c, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (c->batch_next == c->batch_count) {
        c->batch_next = 0;
        c->batch_count = 0;
        status = journal_reader_next(c->reader, c->batch, CURSOR_BATCH, &c->batch_count, &local);
    }
    if (status == TAPE_OK && c->batch_count > c->batch_next) {
        status = c->sink.apply(c->sink.context, c->batch + c->batch_next,
                               c->batch_count - c->batch_next, &local);
        /* All of it was taken, or (BUSY) as far as the position says. */
        uint64_t applied = status == TAPE_OK ? UINT64_MAX : cursor_seq(c);
        while (c->batch_next < c->batch_count && c->batch[c->batch_next].seq <= applied) {
            c->batch_next++;
            *moved = true;
        }
    }
    if (status != TAPE_OK && status != TAPE_BUSY) {
        c->failure = local;
        atomic_store_explicit(&c->failed, status, memory_order_release);
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

tape_status cursor_step(cursor *c, bool *moved, tape_error *error) {
    *moved = false;
    if (pthread_mutex_trylock(&c->mutex) != 0) {
        return TAPE_OK;
    }
    tape_status status = step_locked(c, moved, error);
    pthread_mutex_unlock(&c->mutex);
    return status;
}

tape_status cursor_reach(cursor *c, uint64_t seq, int64_t deadline_ns, tape_error *error) {
    while (cursor_seq(c) < seq) {
        bool moved = false;
        /* Waits for the mutex: whoever holds it is doing our work. */
        pthread_mutex_lock(&c->mutex);
        tape_status status = cursor_seq(c) < seq ? step_locked(c, &moved, error) : TAPE_OK;
        pthread_mutex_unlock(&c->mutex);
        if (status == TAPE_BUSY) {
            status = c->sink.relieve == NULL ? TAPE_OK : c->sink.relieve(c->sink.context, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
        if (cursor_seq(c) >= seq) {
            break;
        }
        if (clock_monotonic_ns() >= deadline_ns) {
            return error_set(error, TAPE_TIMEOUT,
                             "seq %" PRIu64 " was not reached in time (at %" PRIu64 ")", seq,
                             cursor_seq(c));
        }
        if (!moved) {
            os_sleep_ns(CURSOR_PAUSE_NS);
        }
    }
    return TAPE_OK;
}
