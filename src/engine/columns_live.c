/* Columns and SQL: brought up at the first query, then kept up by the background.
 *
 * Columns are filled from the journal where it reaches back to the first record. What it no longer
 * has comes from the store's files first: every record they keep that is older than the oldest
 * segment. A segment begins with an append, so the seq before it ends one, whatever the store has
 * let go. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- records from the store's files --- */

typedef struct rebuild {
    columns *to;
    uint64_t end_seq; /* the journal's oldest: from here on it has them */
    tape_status status;
    tape_error *error;
} rebuild;

static bool rebuild_visit(void *context, const record_view *record) {
    rebuild *r = context;
    if (record->seq >= r->end_seq) {
        return false;
    }
    r->status = columns_apply(r->to, record, 1, r->error);
    return r->status == TAPE_OK;
}

static tape_status rebuild_from_store(tape *db, uint64_t oldest, tape_error *error) {
    rebuild r = {.to = db->columns, .end_seq = oldest, .error = error};
    tape_status status = store_visit_flushed(db->store, rebuild_visit, &r, error);
    status = status == TAPE_OK ? r.status : status;
    if (status == TAPE_OK) {
        columns_settle(db->columns, oldest - 1);
    }
    return status;
}

/* From now on until `keep` is false the journal keeps what it has. */
static uint64_t journal_hold(tape *db, bool keep) {
    pthread_mutex_lock(&db->flush_mutex);
    db->keep_journal = keep;
    uint64_t oldest = journal_oldest_seq(db->journal);
    pthread_mutex_unlock(&db->flush_mutex);
    return oldest;
}

/* --- bringing them up --- */

static tape_status columns_sink_apply(void *context, const record_view *records, size_t count,
                                      tape_error *error) {
    return columns_apply(context, records, count, error);
}

static uint64_t columns_sink_position(void *context) {
    return columns_seq(context);
}

static void stats_for_query(void *context, tape_stats *out) {
    *out = (tape_stats){.size_bytes = sizeof *out};
    tape_status ignored = tape_stats_read(context, false, out, NULL);
    (void)ignored;
}

static tape_status columns_start(tape *db, tape_error *error) {
    uint64_t oldest = journal_hold(db, true);
    tape_status status = columns_create(&db->columns, db->options.columns_bytes_max, error);
    if (status == TAPE_OK && oldest > 1) {
        status = rebuild_from_store(db, oldest, error);
    }
    if (status == TAPE_OK) {
        cursor_sink sink = {
            .apply = columns_sink_apply, .position = columns_sink_position, .context = db->columns};
        status = cursor_open(&db->columns_cursor, db->journal, sink, error);
    }
    char *temp = mem_printf("%s/tmp", db->dir);
    if (status == TAPE_OK) {
        status = os_dir_make(db->disk, temp, error);
        status = status == TAPE_EXISTS ? TAPE_OK : status;
    }
    if (status == TAPE_OK) {
        query_options options = {
            .columns = db->columns,
            .temp_dir = temp,
            .memory_bytes = db->options.query_memory_bytes,
            .threads = db->options.query_threads,
            .stats = stats_for_query,
            .stats_context = db,
        };
        status = query_open(&db->query, &options, error);
    }
    free(temp);
    if (status == TAPE_OK) {
        atomic_store_explicit(&db->columns_live, true, memory_order_release);
    } else {
        cursor_close(&db->columns_cursor);
        columns_close(&db->columns);
    }
    (void)journal_hold(db, false);
    return status;
}

tape_status engine_columns_reach(tape *db, uint64_t seq, int64_t deadline_ns, tape_error *error) {
    tape_status status = TAPE_OK;
    if (!atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
        pthread_mutex_lock(&db->columns_mutex);
        if (!atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
            status = columns_start(db, error);
        }
        pthread_mutex_unlock(&db->columns_mutex);
    }
    return status == TAPE_OK ? cursor_reach(&db->columns_cursor, seq, deadline_ns, error) : status;
}

void tape_query_options_init(tape_query_options *options) {
    *options = (tape_query_options){
        .size_bytes = sizeof *options, .level = TAPE_WRITTEN, .timeout_ns = -1};
}

tape_status tape_query(tape *db, const char *sql, const tape_query_options *options,
                       struct ArrowArrayStream *out, tape_error *error) {
    tape_query_options taken;
    tape_query_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    memset(out, 0, sizeof *out);
    uint64_t seq = journal_seq(db->journal, taken.level);
    seq = taken.at != 0 && taken.at < seq ? taken.at : seq;
    tape_status status = engine_columns_reach(db, seq, clock_deadline_ns(taken.timeout_ns), error);
    return status == TAPE_OK ? query_run(db->query, sql, seq, &taken, out, error) : status;
}
