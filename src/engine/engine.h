/* engine: opens, wires, recovers and closes a store; owns the background threads. Its public face
 * is <tape/tape.h>; this header is for its own files. */
#ifndef ENGINE_H
#define ENGINE_H

#include "archive/archive.h"
#include "columns/columns.h"
#include "journal/journal.h"
#include "query/query.h"
#include "store/store.h"

/* Calls `stop(context)` at the start of tape_close, before anything is taken down. One per handle.
 */
void engine_on_close(tape *db, void (*stop)(void *), void *context);
const char *engine_dir(const tape *db);

/* A cursor over the journal: takes records in order and hands them to a part of the store. Whoever
 * needs it to be further than it is moves it (cursor_reach); a background thread moves it when
 * nobody does.
 *
 * C1 cursor_seq never falls and never passes what the journal has written.
 * C2 `apply` is called by one thread at a time (mutex), with consecutive seqs after position(). */
typedef struct cursor_sink {
    /* BUSY: not now, some may have been taken; anything else but OK stops the cursor for good. */
    tape_status (*apply)(void *context, const record_view *records, size_t count,
                         tape_error *error);
    uint64_t (*position)(void *context); /* last seq applied; any thread */
    /* Asked by who waits while apply says BUSY: OK when there will be room, or why there will be
     * none. May be NULL. Any thread. */
    tape_status (*relieve)(void *context, tape_error *error);
    void *context;
} cursor_sink;

#define CURSOR_BATCH 512
typedef struct cursor {
    journal *j; /* NULL: not open */
    journal_reader *reader;
    cursor_sink sink;
    pthread_mutex_t mutex;
    record_view batch[CURSOR_BATCH];
    size_t batch_count;
    size_t batch_next;
    _Atomic uint32_t failed; /* a tape_status, or 0: stopped for good */
    tape_error failure;
} cursor;

/* Starts after the sink's position. */
tape_status cursor_open(cursor *c, journal *j, cursor_sink sink, tape_error *error) TAPE_CHECKED;
void cursor_close(cursor *c);
static inline uint64_t cursor_seq(const cursor *c) {
    return c->sink.position(c->sink.context);
}
/* Applies one batch of what is there, unless another thread is at it. BUSY: the sink cannot take
 * more just now. *moved tells whether there was anything. */
tape_status cursor_step(cursor *c, bool *moved, tape_error *error) TAPE_CHECKED;
/* Returns once `seq` is applied. TIMEOUT; otherwise what stopped the cursor, or keeps it waiting.
 */
tape_status cursor_reach(cursor *c, uint64_t seq, int64_t deadline_ns,
                         tape_error *error) TAPE_CHECKED;

#endif
