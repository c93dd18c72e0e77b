/* SQL: the query engine, opened at the first statement, and the columns, filled when a statement
 * first needs them and kept up by the background from then on.
 *
 * Columns begin after the archive. They are filled from the journal where it reaches back that far.
 * What it no longer has comes from the store's files first: every record they keep that is older
 * than the oldest segment. A segment begins with an append, so the seq before it ends one, whatever
 * the store has let go.
 *
 * Invariants
 *  S1 A statement's S is fixed before anything of it runs, and the columns reach S before it scans.
 *  S2 The pin on the store is at the archive's seq or a later one, so that the archived version
 *     which a hot row supersedes is always found.
 *  S3 Columns that were filled from the store's files answer for no seq whose versions the store
 *     had let go: TOO_OLD. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* --- records from the store's files --- */

typedef struct rebuild {
    tape *db;
    uint64_t first_seq; /* the archive has those before */
    uint64_t end_seq;   /* the journal's oldest: from here on it has them */
    tape_status status;
    tape_error *error;
} rebuild;

static bool rebuild_visit(void *context, const record_view *record) {
    rebuild *r = context;
    if (record->seq >= r->end_seq) {
        return false;
    }
    if (record->seq < r->first_seq) {
        return true;
    }
    columns *c = r->db->columns;
    r->status = columns_apply(c, record, 1, r->error);
    while (r->status == TAPE_BUSY) {
        uint64_t seq = columns_seq(c);
        if (r->db->options.archive_by_hand || seq <= archive_seq(r->db->archive)) {
            r->status = TAPE_NO_MEMORY;
            if (r->error != NULL) {
                r->error->status = TAPE_NO_MEMORY;
            }
            break;
        }
        r->status =
            engine_archive(r->db, seq, (archive_beat){engine_archive_beat, r->db}, r->error);
        if (r->status == TAPE_OK) {
            r->status = columns_apply(c, record, 1, r->error);
        }
    }
    return r->status == TAPE_OK;
}

static tape_status rebuild_from_store(tape *db, uint64_t oldest, tape_error *error) {
    rebuild r = {
        .db = db, .first_seq = columns_base(db->columns) + 1, .end_seq = oldest, .error = error};
    tape_status status = store_visit_flushed(db->store, rebuild_visit, &r, error);
    status = status == TAPE_OK ? r.status : status;
    if (status == TAPE_OK && columns_seq(db->columns) < oldest - 1) {
        columns_settle(db->columns, oldest - 1);
    }
    atomic_store(&db->rebuilt_seq, oldest - 1);
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

/* --- the columns' cursor --- */

static tape_status columns_sink_apply(void *context, const record_view *records, size_t count,
                                      tape_error *error) {
    tape *db = context;
    tape_status status = columns_apply(db->columns, records, count, error);
    int64_t append_ns = records[count - 1].append_ts;
    if (status == TAPE_OK && append_ns >= db->opened_ns) {
        atomic_store_explicit(&db->columns_lag_ns, clock_realtime_ns() - append_ns,
                              memory_order_relaxed);
    }
    return status;
}

static uint64_t columns_sink_position(void *context) {
    const tape *db = context;
    return columns_seq(db->columns);
}

static tape_status columns_sink_relieve(void *context, tape_error *error) {
    return engine_relieve_columns(context, error);
}

/* --- what the columns and the query engine ask --- */

/* The version of a key that the archive shows: see S2. `at` is the base the columns had when they
 * asked; if it has moved since, the key had no newer version in between. */
static tape_status find_archived(void *context, const tape_table_info *table, slice key,
                                 uint64_t at, uint64_t *seq, tape_error *error) {
    tape *db = context;
    _Alignas(8) uint8_t row[TAPE_RECORD_BYTES_MAX];
    tape_status status = TAPE_OK;
    (void)at;
    *seq = 0;
    pthread_mutex_lock(&db->pin_mutex);
    if (db->archive_pin != NULL) {
        status =
            store_get(db->store, store_pin_moment(db->archive_pin), table, key, row, NULL, error);
    } else if (archive_seq(db->archive) > 0) {
        status = error_set(error, TAPE_TOO_OLD,
                           "the store let versions go that the archive's rows (up to seq %" PRIu64
                           ") are told by: remove the directories store and archive of %s while "
                           "nobody has it open; both are built again from the journal, if that "
                           "was kept from the start",
                           archive_seq(db->archive), db->dir);
    }
    pthread_mutex_unlock(&db->pin_mutex);
    if (status == TAPE_OK && archive_seq(db->archive) > 0) {
        *seq = load_u64(row);
    }
    return status == TAPE_NOT_FOUND ? TAPE_OK : status;
}

static tape_status query_get(void *context, const tape_table_info *table, slice key, uint64_t at,
                             void *payload, uint16_t *version, tape_error *error) {
    tape *db = context;
    if (db->options.keep_ns[table->id] != 0) {
        return error_set(error, TAPE_TOO_OLD, "the store may have let the row go");
    }
    tape_status status = TAPE_OK;
    if (UNLIKELY(store_applied_seq(db->store) < at)) {
        status = cursor_reach(&db->store_cursor, at, INT64_MAX, error);
    }
    store_moment moment = {.at = at};
    return status == TAPE_OK ? store_get(db->store, &moment, table, key, payload, version, error)
                             : status;
}

static tape_status query_reach(void *context, uint64_t seq, int64_t deadline_ns,
                               tape_error *error) {
    tape *db = context;
    tape_status status = engine_columns_reach(db, seq, deadline_ns, error);
    if (status == TAPE_OK && seq < atomic_load(&db->rebuilt_seq) &&
        seq > archive_seq(db->archive)) {
        /* S3: a pin tells whether the store still knew the versions of that time. */
        store_pin *pin = NULL;
        status = store_pin_open(db->store, seq, &pin, error);
        store_pin_close(&pin);
    }
    return status;
}

static void query_stats_fill(void *context, tape_stats *out) {
    *out = (tape_stats){.size_bytes = sizeof *out};
    tape_status ignored = tape_stats_read(context, false, out, NULL);
    (void)ignored;
}

/* --- bringing them up --- */

/* With columns_mutex held. */
static tape_status query_start(tape *db, tape_error *error) {
    tape_status status = TAPE_OK;
    if (db->columns == NULL) {
        columns_options options = {.bytes_max = db->options.columns_bytes_max,
                                   .base_seq = archive_seq(db->archive),
                                   .archived = find_archived,
                                   .archived_context = db};
        status = columns_create(&db->columns, &options, error);
    }
    char *temp = mem_printf("%s/tmp", db->dir);
    char *archived = mem_printf("%s/archive", db->dir);
    if (status == TAPE_OK) {
        status = os_dir_make(db->disk, temp, error);
        status = status == TAPE_EXISTS ? TAPE_OK : status;
    }
    if (status == TAPE_OK) {
        query_options options = {
            .columns = db->columns,
            .archive = db->archive,
            .archive_dir = archived,
            .temp_dir = temp,
            .memory_bytes = db->options.query_memory_bytes,
            .threads = db->options.query_threads,
            .running_max = db->options.queries_max,
            .cache_bytes = db->options.result_cache_bytes,
            .get = query_get,
            .reach = query_reach,
            .stats = query_stats_fill,
            .context = db,
        };
        status = query_open(&db->query, &options, error);
    }
    free(archived);
    free(temp);
    if (status == TAPE_OK) {
        atomic_store_explicit(&db->query_live, true, memory_order_release);
    }
    return status;
}

static tape_status query_ensure(tape *db, tape_error *error) {
    tape_status status = TAPE_OK;
    if (LIKELY(atomic_load_explicit(&db->query_live, memory_order_acquire))) {
        return TAPE_OK;
    }
    pthread_mutex_lock(&db->columns_mutex);
    if (!atomic_load_explicit(&db->query_live, memory_order_acquire)) {
        status = query_start(db, error);
    }
    pthread_mutex_unlock(&db->columns_mutex);
    return status;
}

/* With columns_mutex held. What fails half way goes on from there when it is called again. */
static tape_status columns_start(tape *db, tape_error *error) {
    tape_status status = engine_archive_pin(db, error);
    if (status == TAPE_OK && !db->archive_attached) {
        status = archive_attach(db->archive, db->columns, error);
        db->archive_attached = status == TAPE_OK;
    }
    uint64_t oldest = journal_hold(db, true);
    if (status == TAPE_OK && oldest > columns_base(db->columns) + 1) {
        status = rebuild_from_store(db, oldest, error);
    }
    if (status == TAPE_OK) {
        cursor_sink sink = {.apply = columns_sink_apply,
                            .position = columns_sink_position,
                            .relieve = columns_sink_relieve,
                            .context = db};
        status = cursor_open(&db->columns_cursor, db->journal, sink, error);
    }
    if (status == TAPE_OK) {
        atomic_store_explicit(&db->columns_live, true, memory_order_release);
    }
    (void)journal_hold(db, false);
    return status;
}

tape_status engine_columns_reach(tape *db, uint64_t seq, int64_t deadline_ns, tape_error *error) {
    tape_status status = query_ensure(db, error);
    if (status == TAPE_OK && !atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
        pthread_mutex_lock(&db->columns_mutex);
        if (!atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
            status = columns_start(db, error);
        }
        pthread_mutex_unlock(&db->columns_mutex);
    }
    return status == TAPE_OK ? cursor_reach(&db->columns_cursor, seq, deadline_ns, error) : status;
}

/* --- the public face --- */

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
    tape_status status = query_ensure(db, error);
    return status == TAPE_OK ? query_run(db->query, sql, seq, &taken, out, error) : status;
}

static tape_status check_function(const char *name, const tape_type *arguments, size_t count,
                                  tape_type result, tape_error *error) {
    bool good = name != NULL && name[0] != '\0' && (count == 0 || arguments != NULL);
    for (const char *c = name; good && *c != '\0'; c++) {
        good = (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9' && c != name) || *c == '_';
    }
    if (!good) {
        return error_set(error, TAPE_INVALID,
                         "%s is no name for a function: use lower-case letters, digits and _",
                         name == NULL ? "NULL" : name);
    }
    bool known = result >= TAPE_TYPE_BOOL && result <= TAPE_TYPE_TIME;
    for (size_t n = 0; n < count; n++) {
        known = known && arguments[n] >= TAPE_TYPE_BOOL && arguments[n] <= TAPE_TYPE_TIME;
    }
    if (!known) {
        return error_set(error, TAPE_INVALID, "%s has an argument or result of no known tape_type",
                         name);
    }
    return TAPE_OK;
}

tape_status tape_add_function(tape *db, const tape_function *function, tape_error *error) {
    if (function->size_bytes < sizeof *function || function->call == NULL) {
        return error_set(error, TAPE_INVALID, "a function without size_bytes or call");
    }
    tape_status status = check_function(function->name, function->arguments,
                                        function->argument_count, function->result, error);
    if (status == TAPE_OK) {
        status = query_ensure(db, error);
    }
    return status == TAPE_OK ? query_add_function(db->query, function, error) : status;
}

tape_status tape_add_aggregate(tape *db, const tape_aggregate *aggregate, tape_error *error) {
    if (aggregate->size_bytes < sizeof *aggregate || aggregate->update == NULL ||
        aggregate->combine == NULL || aggregate->finish == NULL || aggregate->state_bytes == 0) {
        return error_set(error, TAPE_INVALID,
                         "an aggregate without size_bytes, state_bytes, update, combine or finish");
    }
    tape_status status = check_function(aggregate->name, aggregate->arguments,
                                        aggregate->argument_count, aggregate->result, error);
    if (status == TAPE_OK) {
        status = query_ensure(db, error);
    }
    return status == TAPE_OK ? query_add_aggregate(db->query, aggregate, error) : status;
}
