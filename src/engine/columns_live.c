/* Columns and SQL: brought up at the first query, then kept up by the background.
 *
 * Columns hold every record the store has. They are filled from the journal where it reaches back
 * to the first record; records that only the store's files still hold come from there first. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- records from the store's files, in seq order --- */

typedef struct rebuild {
    columns *to;
    uint64_t next_seq; /* the next one columns need */
    uint64_t max_seq;
    buffer payloads;
    record_view *views; /* payload: offset into `payloads` until they are sorted */
    size_t count;
    size_t capacity;
    tape_status status;
    tape_error *error;
} rebuild;

static int compare_seq(const void *a, const void *b) {
    uint64_t x = ((const record_view *)a)->seq;
    uint64_t y = ((const record_view *)b)->seq;
    return (x > y) - (x < y);
}

static tape_status rebuild_apply(rebuild *r) {
    qsort(r->views, r->count, sizeof *r->views, compare_seq);
    for (size_t i = 0; i < r->count; i++) {
        r->views[i].payload = r->payloads.data + (uintptr_t)r->views[i].payload;
    }
    tape_status status = columns_apply(r->to, r->views, r->count, r->error);
    r->next_seq = r->max_seq + 1;
    r->count = 0;
    r->payloads.size = 0;
    return status;
}

/* Files come one after another, each a run of consecutive seqs in key order: whenever what was
 * collected has no gap, it is a whole number of files, and can go in. */
static bool rebuild_visit(void *context, const record_view *record) {
    rebuild *r = context;
    if (r->count == r->capacity) {
        r->capacity = r->capacity == 0 ? 4096 : 2 * r->capacity;
        r->views = mem_realloc(r->views, r->capacity * sizeof *r->views);
    }
    record_view *view = &r->views[r->count++];
    *view = *record;
    view->payload = (const void *)(uintptr_t)r->payloads.size;
    buffer_append(&r->payloads, record->payload, record->size);
    r->max_seq = record->seq > r->max_seq ? record->seq : r->max_seq;
    if (r->max_seq - r->next_seq + 1 == r->count) {
        r->status = rebuild_apply(r);
    }
    return r->status == TAPE_OK;
}

static tape_status rebuild_from_store(tape *db, tape_error *error) {
    rebuild r = {.to = db->columns, .next_seq = 1, .error = error};
    tape_status status = store_visit_flushed(db->store, rebuild_visit, &r, error);
    status = status == TAPE_OK ? r.status : status;
    if (status == TAPE_OK && r.count > 0) {
        status = error_set(error, TAPE_CORRUPT,
                           "the store's files lack records between seq %" PRIu64 " and %" PRIu64,
                           r.next_seq, r.max_seq);
    }
    free(r.views);
    buffer_deinit(&r.payloads);
    return status;
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
    tape_status status = columns_create(&db->columns, db->options.columns_bytes_max, error);
    if (status == TAPE_OK && journal_oldest_seq(db->journal) > 1) {
        status = rebuild_from_store(db, error);
    }
    if (status == TAPE_OK) {
        cursor_sink sink = {columns_sink_apply, columns_sink_position, db->columns};
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
