/* take.c: rows move from the hot columns into files.
 *
 * With A the archive's seq and S where it is to be: of an event table, rows with A < seq <= S; of
 * an entity table those of them that nothing superseded up to S (`current`), the others (`past`),
 * and what in A < by <= S superseded rows of seq <= A, which earlier files have as `current`
 * (`superseded`). So together with the manifest's seq the files always tell, of everything up to
 * it, all that happened up to it. */
#include "archive/archive_internal.h"

#include <inttypes.h>

typedef struct day_rows {
    int32_t day;
    uint64_t rows;
} day_rows;

typedef struct days {
    day_rows *days;
    size_t count;
} days;

static void days_add(days *d, int32_t day, uint64_t rows) {
    d->days = mem_realloc(d->days, (d->count + 1) * sizeof *d->days);
    d->days[d->count++] = (day_rows){day, rows};
}

static tape_status group_by_day(const archive_edit *e, const char *from, days *out,
                                tape_error *error) {
    int64_t begins = e->a->options.day_begins_ns;
    duck_result *r = NULL;
    size_t rows = 0;
    /* Rounded down, as archive_day_of does. */
    char *sql =
        mem_printf("SELECT n // %" PRId64 " - (n %% %" PRId64 " < 0)::BIGINT AS day, count(*) FROM "
                   "(SELECT least(" ARCHIVE_TS_NS ", %" PRId64 ") + %" PRId64 " AS n FROM %s) "
                   "GROUP BY day ORDER BY day",
                   ARCHIVE_DAY_NS, ARCHIVE_DAY_NS, INT64_MAX - begins, begins, from);
    tape_status status = duck_session_start(e->session, sql, &r, error);
    while (status == TAPE_OK) {
        status = duck_result_next(r, &rows, error);
        for (size_t i = 0; status == TAPE_OK && i < rows; i++) {
            duck_value day;
            duck_value count;
            duck_result_value(r, 0, i, &day);
            duck_result_value(r, 1, i, &count);
            days_add(out, (int32_t)day.integer, (uint64_t)count.integer);
        }
        if (rows == 0) {
            break;
        }
    }
    duck_result_close(&r);
    free(sql);
    return status;
}

/* The days of the rows of `from`, and how many there are of each. */
static tape_status find_days(const archive_edit *e, const char *from, days *out,
                             tape_error *error) {
    int64_t values[3];
    char *sql = mem_printf(
        "SELECT count(*), min(t), max(t) FROM (SELECT " ARCHIVE_TS_NS " AS t FROM %s)", from);
    tape_status status = archive_run_integers(e->session, sql, values, COUNT_OF(values), error);
    free(sql);
    int32_t day = archive_day_of(e->a, values[1]);
    if (status != TAPE_OK || values[0] == 0) {
        return status;
    }
    if (archive_day_of(e->a, values[2]) != day) {
        return group_by_day(e, from, out, error);
    }
    days_add(out, day, (uint64_t)values[0]);
    return TAPE_OK;
}

/* Rows that are sorted at once: as many as there is memory for, going by twice the struct's size.
 */
static uint64_t rows_max(const archive *a, const tape_table_info *table) {
    uint64_t fit = a->options.memory_bytes / (2 * table->size_bytes);
    uint64_t most = a->options.file_rows_max;
    fit = fit < ARCHIVE_ROW_GROUP_ROWS ? ARCHIVE_ROW_GROUP_ROWS : fit;
    return fit < most ? fit : most;
}

/* The rows of a table that tape_scan gives as `what`, as files of `kind`, one or more per day. */
static tape_status take_rows(archive_edit *e, const tape_table_info *table, archive_kind kind,
                             const char *what, uint64_t *done, uint64_t total, tape_error *error) {
    days found = {0};
    char *from = mem_printf("tape_scan('%s', '%s')", table->name, what);
    tape_status status = find_days(e, from, &found, error);
    for (size_t i = 0; status == TAPE_OK && i < found.count; i++) {
        archive_file_info info = {.table = table->id,
                                  .kind = (uint8_t)kind,
                                  .schema_version = table->version,
                                  .day = found.days[i].day};
        columns_hint hint = {0};
        buffer sql = {0};
        archive_day_range(e->a, info.day, &hint.ts_min, &hint.ts_max);
        buffer_append_text(&sql, "SELECT ");
        archive_put_columns(&sql, table, table->version);
        buffer_printf(&sql, "%s FROM %s", kind == ARCHIVE_PAST ? ", superseded_by" : "", from);
        if (found.count > 1) {
            archive_put_ts_range(&sql, hint.ts_min, hint.ts_max);
        }
        buffer_end(&sql);
        archive_watch_step(e, *done, found.days[i].rows, total);
        duck_session_hint(e->session, table->id, &hint);
        status = archive_write_rows(e, &info, (const char *)sql.data, found.days[i].rows,
                                    rows_max(e->a, table), error);
        duck_session_hint(e->session, table->id, NULL);
        *done += found.days[i].rows;
        buffer_deinit(&sql);
    }
    free(found.days);
    free(from);
    return status;
}

/* What superseded rows that are in files already. */
static tape_status take_superseded(archive_edit *e, const tape_table_info *table,
                                   tape_error *error) {
    archive_file_info info = {
        .table = table->id, .kind = ARCHIVE_SUPERSEDED, .schema_version = table->version};
    int64_t rows = 0;
    if (columns_superseded_read(atomic_load(&e->a->columns), table->id, e->base->seq, e->seq, 0,
                                &(columns_superseded){0}, 1) == 0) {
        return TAPE_OK;
    }
    char *from =
        mem_printf("FROM tape_superseded('%s') WHERE seq <= %" PRIu64, table->name, e->base->seq);
    char *count = mem_printf("SELECT count(*) %s", from);
    char *pairs = mem_printf("SELECT seq, superseded_by %s", from);
    tape_status status = archive_run_integers(e->session, count, &rows, 1, error);
    if (status == TAPE_OK && rows > 0) {
        status =
            archive_write_rows(e, &info, pairs, (uint64_t)rows, e->a->options.file_rows_max, error);
    }
    free(pairs);
    free(count);
    free(from);
    return status;
}

static tape_status take_table(archive_edit *e, const tape_table_info *table, uint64_t *done,
                              uint64_t total, tape_error *error) {
    const columns *c = atomic_load(&e->a->columns);
    bool any =
        columns_row_after(c, table->id, e->base->seq) < columns_row_after(c, table->id, e->seq);
    tape_status status = TAPE_OK;
    if (table->kind == TAPE_KIND_EVENT) {
        return any ? take_rows(e, table, ARCHIVE_ROWS, "all", done, total, error) : TAPE_OK;
    }
    if (any) {
        status = take_rows(e, table, ARCHIVE_CURRENT, "newest", done, total, error);
    }
    if (status == TAPE_OK && any) {
        status = take_rows(e, table, ARCHIVE_PAST, "superseded", done, total, error);
    }
    return status == TAPE_OK ? take_superseded(e, table, error) : status;
}

static uint64_t rows_between(const columns *c, uint16_t table, uint64_t after, uint64_t seq) {
    return columns_row_after(c, table, seq) - columns_row_after(c, table, after);
}

static tape_status take(archive *a, archive_edit *e, uint64_t seq, archive_beat beat,
                        tape_error *error) {
    uint64_t total = 0;
    uint64_t done = 0;
    columns *c = atomic_load(&a->columns);
    tape_status status = archive_edit_begin(e, a, true, beat, error);
    if (status == TAPE_OK) {
        ASSERT(columns_pin_base(e->pin) <= e->base->seq);
        status = columns_hand_over(c, seq, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    e->seq = seq;
    duck_session_see(e->session, e->base->seq, seq);
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        total += rows_between(c, table, e->base->seq, seq);
    }
    archive_watch_step(e, 0, 0, total);
    for (uint16_t table = 1; status == TAPE_OK && table <= TAPE_TABLE_COUNT; table++) {
        status = take_table(e, record_table(table), &done, total, error);
    }
    if (status == TAPE_OK && done != total) {
        status = error_set(error, TAPE_FAILED,
                           "%" PRIu64 " rows were to be archived, but DuckDB found %" PRIu64
                           "; nothing was changed",
                           total, done);
    }
    if (status == TAPE_OK) {
        status = archive_edit_commit(e, error);
    }
    if (status == TAPE_OK) {
        atomic_fetch_add(&a->takes, 1);
        atomic_fetch_add(&a->taken_rows, total);
    }
    return status;
}

tape_status archive_take(archive *a, uint64_t seq, archive_beat beat, tape_error *error) {
    archive_edit e = {0};
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&a->write_lock);
    int64_t started = clock_monotonic_ns();
    ASSERT(atomic_load(&a->columns) != NULL && seq <= columns_seq(atomic_load(&a->columns)));
    if (seq > archive_seq(a)) {
        status = take(a, &e, seq, beat, error);
        archive_edit_end(&e);
        atomic_fetch_add(&a->take_ns, clock_monotonic_ns() - started);
    }
    pthread_mutex_unlock(&a->write_lock);
    if (status != TAPE_OK) {
        error_prefix(error, "archiving up to seq %" PRIu64, seq);
    }
    return status;
}
