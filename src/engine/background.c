/* The store's background: moving cursors, writing memtables out, trimming the journal. */
#include "engine/engine_internal.h"

#include <limits.h>

#define IDLE_PAUSE_MIN_NS INT64_C(1000000)
#define IDLE_PAUSE_MAX_NS INT64_C(8000000)
#define FLUSH_PAUSE_NS INT64_C(20000000)

/* A cursor that cannot go on says so in the log once; those who need it get the error. */
static bool follow(tape *db, cursor *c, const char *what) {
    bool moved = false;
    tape_error error;
    if (c->j == NULL || atomic_load_explicit(&c->failed, memory_order_acquire) != 0) {
        return false;
    }
    tape_status status = cursor_step(c, &moved, &error);
    if (status == TAPE_BUSY) {
        atomic_fetch_add(&db->flusher_word, 1);
        os_futex_wake(&db->flusher_word, INT_MAX);
    } else if (status != TAPE_OK) {
        log_line(LOG_ERROR, "%s stopped following the journal: %s", what, error.text);
    }
    return moved;
}

static void run_follower(void *argument) {
    tape *db = argument;
    int64_t pause_ns = IDLE_PAUSE_MIN_NS;
    while (atomic_load_explicit(&db->stop, memory_order_acquire) == 0) {
        bool moved = follow(db, &db->store_cursor, "the store");
        if (atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
            moved |= follow(db, &db->columns_cursor, "the columns");
        }
        if (store_wants_flush(db->store)) {
            atomic_fetch_add(&db->flusher_word, 1);
            os_futex_wake(&db->flusher_word, INT_MAX);
        }
        if (moved) {
            pause_ns = IDLE_PAUSE_MIN_NS;
            continue;
        }
        os_sleep_ns(pause_ns);
        pause_ns = pause_ns * 2 < IDLE_PAUSE_MAX_NS ? pause_ns * 2 : IDLE_PAUSE_MAX_NS;
    }
}

/* Writes memtables out as far as committed records reach, then lets the journal go as far. */
static tape_status flush_and_trim(tape *db, bool all, tape_error *error) {
    pthread_mutex_lock(&db->flush_mutex);
    uint64_t committed = journal_seq(db->journal, TAPE_COMMITTED);
    tape_status status = store_flush(db->store, committed, all, error);
    if (status == TAPE_OK && !db->options.read_only) {
        status = journal_checkpoint(db->journal, store_flushed_seq(db->store),
                                    db->options.retain_bytes, error);
    }
    pthread_mutex_unlock(&db->flush_mutex);
    return status;
}

static void run_flusher(void *argument) {
    tape *db = argument;
    tape_status reported = TAPE_OK;
    while (atomic_load_explicit(&db->stop, memory_order_acquire) == 0) {
        uint32_t word = atomic_load(&db->flusher_word);
        if (store_wants_flush(db->store)) {
            tape_error error;
            tape_status status = flush_and_trim(db, false, &error);
            if (status != TAPE_OK && status != reported) {
                log_line(LOG_ERROR, "a memtable could not be written: %s", error.text);
            }
            reported = status;
        }
        os_futex_wait(&db->flusher_word, word, clock_monotonic_ns() + FLUSH_PAUSE_NS);
    }
}

tape_status engine_start(tape *db, tape_error *error) {
    tape_status status = os_thread_start(&db->follower, "tape-store", -1, run_follower, db, error);
    if (status == TAPE_OK) {
        status = os_thread_start(&db->flusher, "tape-flush", -1, run_flusher, db, error);
    }
    return status;
}

void engine_stop(tape *db) {
    atomic_store_explicit(&db->stop, 1, memory_order_release);
    atomic_fetch_add(&db->flusher_word, 1);
    os_futex_wake(&db->flusher_word, INT_MAX);
    os_thread_join(&db->follower);
    os_thread_join(&db->flusher);
}

tape_status tape_checkpoint(tape *db, tape_error *error) {
    if (db->options.read_only) {
        return error_set(error, TAPE_FORBIDDEN, "the store was opened read-only");
    }
    uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
    tape_status status = journal_wait(db->journal, written, TAPE_COMMITTED, INT64_MAX, error);
    while (status == TAPE_OK && cursor_seq(&db->store_cursor) < written) {
        status = cursor_reach(&db->store_cursor, written, clock_deadline_ns(FLUSH_PAUSE_NS), error);
        if (status == TAPE_TIMEOUT) {
            status = flush_and_trim(db, false, error); /* memtables may be full */
        }
    }
    return status == TAPE_OK ? flush_and_trim(db, true, error) : status;
}
