/* The store's background: moving cursors, writing memtables out, trimming the journal. Compaction
 * and scrubbing are in upkeep.c.
 *
 * Invariants
 *  B1 a segment of the journal is only removed when the store's files hold its records durably, and
 *     the columns, once they are in use, have taken them. */
#include "engine/engine_internal.h"

#include <limits.h>

#define IDLE_PAUSE_MIN_NS INT64_C(1000000)
#define IDLE_PAUSE_MAX_NS INT64_C(8000000)
#define FLUSH_PAUSE_NS INT64_C(20000000)
/* After a flush that failed: tried again after this, then after twice as long, and so on. */
#define FLUSH_RETRY_MIN_NS INT64_C(50000000)
#define FLUSH_RETRY_MAX_NS NS_PER_SECOND

void engine_wake(worker *w) {
    atomic_fetch_add(&w->word, 1);
    os_futex_wake(&w->word, INT_MAX);
}

void engine_rest(const tape *db, worker *w, uint32_t word, int64_t until_ns, bool whole) {
    while (!engine_stopping(db) && clock_monotonic_ns() < until_ns) {
        os_futex_wait(&w->word, word, until_ns);
        uint32_t now = atomic_load(&w->word);
        if (now != word && !whole) {
            return;
        }
        word = now;
    }
}

/* A cursor that cannot go on says so in the log once; those who need it get the error. */
static bool follow(cursor *c, const char *what) {
    bool moved = false;
    tape_error error;
    if (c->j == NULL || atomic_load_explicit(&c->failed, memory_order_acquire) != 0) {
        return false;
    }
    tape_status status = cursor_step(c, &moved, &error);
    if (status == TAPE_BUSY) {
        /* Whoever waits for the cursor is told what keeps it. */
        tape_status ignored = c->sink.relieve(c->sink.context, NULL);
        (void)ignored;
    } else if (status != TAPE_OK) {
        log_line(LOG_ERROR, "%s stopped following the journal: %s", what, error.text);
    }
    return moved;
}

static void run_follower(void *argument) {
    tape *db = argument;
    int64_t pause_ns = IDLE_PAUSE_MIN_NS;
    while (!engine_stopping(db)) {
        bool moved = follow(&db->store_cursor, "the store");
        if (atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
            moved |= follow(&db->columns_cursor, "the columns");
        }
        if (store_wants_flush(db->store)) {
            engine_wake(&db->flusher);
        }
        if (moved) {
            pause_ns = IDLE_PAUSE_MIN_NS;
            continue;
        }
        os_sleep_ns(pause_ns);
        pause_ns = pause_ns * 2 < IDLE_PAUSE_MAX_NS ? pause_ns * 2 : IDLE_PAUSE_MAX_NS;
    }
}

/* --- writing out and trimming --- */

/* How far the journal may go: B1. With flush_mutex held. */
static uint64_t trim_seq(const tape *db) {
    uint64_t seq = db->keep_journal ? 0 : store_flushed_seq(db->store);
    const cursor *c = &db->columns_cursor;
    if (atomic_load_explicit(&db->columns_live, memory_order_acquire) &&
        atomic_load_explicit(&c->failed, memory_order_acquire) == 0 && cursor_seq(c) < seq) {
        seq = cursor_seq(c);
    }
    return seq;
}

/* Writes memtables out as far as committed records reach, then lets the journal go as far. */
static tape_status flush_and_trim(tape *db, bool all, tape_error *error) {
    tape_error local = {0};
    pthread_mutex_lock(&db->flush_mutex);
    uint64_t committed = journal_seq(db->journal, TAPE_COMMITTED);
    uint64_t before = store_flushed_seq(db->store);
    tape_status status = store_flush(db->store, committed, all, &local);
    if (status != TAPE_OK) {
        db->flush_failure = local;
    }
    atomic_store_explicit(&db->flush_failed, status, memory_order_release);
    if (status == TAPE_OK && !db->options.read_only) {
        status = journal_checkpoint(db->journal, trim_seq(db), db->options.retain_bytes, &local);
    }
    bool moved = store_flushed_seq(db->store) != before;
    pthread_mutex_unlock(&db->flush_mutex);
    if (moved) {
        engine_wake(&db->compactor);
    }
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

tape_status engine_relieve(tape *db, tape_error *error) {
    if (!db->background) {
        return flush_and_trim(db, false, error);
    }
    if (atomic_load_explicit(&db->flush_failed, memory_order_acquire) == TAPE_OK) {
        engine_wake(&db->flusher);
        return TAPE_OK;
    }
    pthread_mutex_lock(&db->flush_mutex);
    tape_status status = (tape_status)atomic_load(&db->flush_failed);
    if (status != TAPE_OK && error != NULL) {
        *error = db->flush_failure;
        error_prefix(error, "the memtables are full and could not be written");
    }
    pthread_mutex_unlock(&db->flush_mutex);
    return status;
}

static void run_flusher(void *argument) {
    tape *db = argument;
    tape_status reported = TAPE_OK;
    int64_t pause_ns = FLUSH_RETRY_MIN_NS;
    while (!engine_stopping(db)) {
        uint32_t word = atomic_load(&db->flusher.word);
        tape_status status = TAPE_OK;
        if (store_wants_flush(db->store)) {
            tape_error error;
            status = flush_and_trim(db, false, &error);
            if (status != TAPE_OK && status != reported) {
                log_line(LOG_ERROR, "a memtable could not be written: %s", error.text);
            }
            reported = status;
        }
        if (status == TAPE_OK) {
            pause_ns = FLUSH_RETRY_MIN_NS;
            engine_rest(db, &db->flusher, word, clock_monotonic_ns() + FLUSH_PAUSE_NS, false);
        } else {
            engine_rest(db, &db->flusher, word, clock_monotonic_ns() + pause_ns, true);
            pause_ns = 2 * pause_ns < FLUSH_RETRY_MAX_NS ? 2 * pause_ns : FLUSH_RETRY_MAX_NS;
        }
    }
}

tape_status tape_checkpoint(tape *db, tape_error *error) {
    if (db->options.read_only) {
        return error_set(error, TAPE_FORBIDDEN, "the store was opened read-only");
    }
    uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
    tape_status status = journal_wait(db->journal, written, TAPE_COMMITTED, INT64_MAX, error);
    while (status == TAPE_OK && cursor_seq(&db->store_cursor) < written) {
        if (store_wants_flush(db->store)) {
            status = flush_and_trim(db, false, error); /* memtables may be full */
        }
        if (status == TAPE_OK) {
            status =
                cursor_reach(&db->store_cursor, written, clock_deadline_ns(FLUSH_PAUSE_NS), error);
            status = status == TAPE_TIMEOUT ? TAPE_OK : status;
        }
    }
    return status == TAPE_OK ? flush_and_trim(db, true, error) : status;
}

/* --- the threads --- */

tape_status engine_start(tape *db, tape_error *error) {
    bool upkeep = !db->options.read_only;
    tape_status status = os_thread_start(&db->follower, "tape-store", -1, run_follower, db, error);
    if (status == TAPE_OK) {
        status = os_thread_start(&db->flusher.thread, "tape-flush", -1, run_flusher, db, error);
    }
    if (status == TAPE_OK && upkeep) {
        status = os_thread_start(&db->compactor.thread, "tape-compact", -1, engine_run_compactor,
                                 db, error);
    }
    if (status == TAPE_OK) {
        status = os_thread_start(&db->archiver.thread, "tape-archive", -1, engine_run_archiver, db,
                                 error);
    }
    if (status == TAPE_OK && upkeep && db->options.scrub_bytes_per_second > 0) {
        status =
            os_thread_start(&db->scrubber.thread, "tape-scrub", -1, engine_run_scrubber, db, error);
    }
    return status;
}

void engine_stop(tape *db) {
    atomic_store_explicit(&db->stop, 1, memory_order_release);
    worker *workers[] = {&db->flusher, &db->compactor, &db->scrubber, &db->archiver};
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        engine_wake(workers[i]);
    }
    os_thread_join(&db->follower);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        os_thread_join(&workers[i]->thread);
    }
}
