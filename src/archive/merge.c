/* merge.c: files put together, and superseded rows moved out of `current` files.
 *
 * Of one table and day, files of about one size become one, when there are eight that have at most
 * an eighth of file_rows_max, or a 64th, or ...; the smallest first. So a row is written again a
 * few times at most, however many files it passes through, and what is large already stays.
 *
 * A merge of `current` files leaves the newest rows there and writes the others as `past`, with
 * what superseded them up to the archive's seq; their pairs leave the `superseded` files.
 *
 * Invariants
 *  G1 every row of a `current` file that was superseded at or before the archive's seq has its pair
 *     in one `superseded` file, and every pair there has its row in a `current` file.
 *  G2 pairs are forgotten up to the one before the first that a `superseded` file still has. */
#include "archive/archive_internal.h"

#include <inttypes.h>

#define SMALL_FILES_MIN 8u
#define TIER_FACTOR 8u
/* Superseded rows are moved when they are this share of all rows of `current` files, and as many
 * as PAIRS_MIN(file_rows_max). */
#define PAIRS_SHARE 4u
#define PAIRS_MIN(rows_max) ((rows_max) / 256)

/* --- SQL over files --- */

/* Rows of files of one kind, each schema version by itself; `more` follows the columns, `where` may
 * be empty. */
static void put_rows(buffer *sql, const tape_table_info *table, archive_file *const *files,
                     size_t count, const char *more, const char *where) {
    archive_file **same = mem_alloc((count + 1) * sizeof(archive_file *));
    bool joined = false;
    for (uint16_t version = 1; version <= table->version; version++) {
        size_t same_count = 0;
        for (size_t i = 0; i < count; i++) {
            if (files[i]->info.schema_version == version) {
                same[same_count++] = files[i];
            }
        }
        if (same_count > 0) {
            buffer_append_text(sql, joined ? " UNION ALL SELECT " : "SELECT ");
            archive_put_columns(sql, table, version);
            buffer_printf(sql, "%s FROM ", more);
            archive_put_files(sql, same, same_count);
            buffer_append_text(sql, where);
            joined = true;
        }
    }
    free(same);
}

static uint64_t count_rows(archive_file *const *files, size_t count) {
    uint64_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        rows += files[i]->info.rows;
    }
    return rows;
}

/* --- what a merge of one day works on --- */

typedef struct merge {
    archive_edit *e;
    const tape_table_info *table;
    archive_file **current, **past, **pairs;
    size_t current_count, past_count, pairs_count;
    char *is_superseded; /* of a row of a `current` file, as SQL */
    uint64_t moved;      /* rows of `current` files that were superseded */
    uint64_t total;      /* rows to write */
    uint64_t done;
} merge;

static tape_status count_moved(merge *m, uint64_t *moved, tape_error *error) {
    buffer sql = {0};
    int64_t count = 0;
    *moved = 0;
    if (m->current_count == 0 || m->pairs_count == 0) {
        return TAPE_OK;
    }
    buffer_append_text(&sql, "SELECT count(*) FROM ");
    archive_put_files(&sql, m->current, m->current_count);
    buffer_printf(&sql, " WHERE %s", m->is_superseded);
    buffer_end(&sql);
    tape_status status =
        archive_run_integers(m->e->session, (const char *)sql.data, &count, 1, error);
    buffer_deinit(&sql);
    *moved = (uint64_t)count;
    return status;
}

static tape_status write(merge *m, archive_kind kind, int32_t day, buffer *sql, uint64_t rows,
                         tape_error *error) {
    archive_file_info info = {.table = m->table->id,
                              .kind = (uint8_t)kind,
                              .schema_version = m->table->version,
                              .day = day};
    buffer_end(sql);
    archive_watch_step(m->e, m->done, rows, m->total);
    tape_status status = archive_write_rows(m->e, &info, (const char *)sql->data, rows,
                                            m->e->a->options.file_rows_max, error);
    m->done += rows;
    return status;
}

static tape_status write_current(merge *m, tape_error *error) {
    const archive_file_info *first = &m->current[0]->info;
    uint64_t rows = count_rows(m->current, m->current_count) - m->moved;
    tape_status status = TAPE_OK;
    if (rows > 0) {
        buffer sql = {0};
        char *where =
            m->moved > 0 ? mem_printf(" WHERE NOT (%s)", m->is_superseded) : mem_strdup("");
        put_rows(&sql, m->table, m->current, m->current_count, "", where);
        status = write(m, ARCHIVE_CURRENT, first->day, &sql, rows, error);
        buffer_deinit(&sql);
        free(where);
    }
    for (size_t i = 0; i < m->current_count; i++) {
        archive_edit_remove(m->e, m->current[i]);
    }
    return status;
}

static tape_status write_past(merge *m, int32_t day, tape_error *error) {
    buffer sql = {0};
    put_rows(&sql, m->table, m->past, m->past_count, ", superseded_by", "");
    if (m->moved > 0) {
        char *more = mem_printf(", tape_superseded_by('%s', seq) AS superseded_by", m->table->name);
        char *where = mem_printf(" WHERE %s", m->is_superseded);
        buffer_append_text(&sql, m->past_count > 0 ? " UNION ALL " : "");
        put_rows(&sql, m->table, m->current, m->current_count, more, where);
        free(more);
        free(where);
    }
    tape_status status =
        write(m, ARCHIVE_PAST, day, &sql, m->moved + count_rows(m->past, m->past_count), error);
    buffer_deinit(&sql);
    for (size_t i = 0; i < m->past_count; i++) {
        archive_edit_remove(m->e, m->past[i]);
    }
    return status;
}

/* The pairs whose rows stay in `current` files. */
static tape_status write_pairs(merge *m, tape_error *error) {
    uint64_t rows = count_rows(m->pairs, m->pairs_count) - m->moved;
    tape_status status = TAPE_OK;
    if (rows > 0) {
        buffer sql = {0};
        buffer_append_text(&sql, "SELECT seq, superseded_by FROM ");
        archive_put_files(&sql, m->pairs, m->pairs_count);
        if (m->moved > 0) {
            buffer_append_text(&sql, " AS p ANTI JOIN (SELECT seq AS moved FROM ");
            archive_put_files(&sql, m->current, m->current_count);
            buffer_printf(&sql, " WHERE %s) ON p.seq = moved", m->is_superseded);
        }
        status = write(m, ARCHIVE_SUPERSEDED, 0, &sql, rows, error);
        buffer_deinit(&sql);
    }
    for (size_t i = 0; i < m->pairs_count; i++) {
        archive_edit_remove(m->e, m->pairs[i]);
    }
    return status;
}

/* Up to where no `superseded` file has a pair any more, once the edit is done. */
static uint64_t forgettable(const merge *m) {
    uint64_t by = m->e->seq;
    for (size_t i = 0; i < m->e->added_count; i++) {
        const archive_file_info *f = &m->e->added[i]->info;
        if (f->kind == ARCHIVE_SUPERSEDED && f->min_by <= by) {
            by = f->min_by - 1;
        }
    }
    return by;
}

static tape_status merge_entity(merge *m, tape_error *error) {
    archive *a = m->e->a;
    int32_t day = m->current_count > 0 ? m->current[0]->info.day : m->past[0]->info.day;
    tape_status status = count_moved(m, &m->moved, error);
    bool currents = m->moved > 0 || m->current_count > 1;
    bool pasts = m->moved > 0 || m->past_count > 1;
    if (status != TAPE_OK || (!currents && !pasts)) {
        return status;
    }
    m->total = (currents ? count_rows(m->current, m->current_count) : 0) +
               (pasts ? count_rows(m->past, m->past_count) : 0) +
               (m->moved > 0 ? count_rows(m->pairs, m->pairs_count) - m->moved : 0);
    if (currents) {
        status = write_current(m, error);
    }
    if (status == TAPE_OK && pasts) {
        status = write_past(m, day, error);
    }
    if (status == TAPE_OK && m->moved > 0) {
        status = write_pairs(m, error);
    }
    uint64_t forget = forgettable(m);
    if (status == TAPE_OK) {
        status = archive_edit_commit(m->e, error);
    }
    if (status == TAPE_OK && m->moved > 0) {
        archive_forget_later(a, m->table->id, forget);
    }
    return status;
}

static tape_status merge_events(merge *m, archive_file *const *files, size_t count,
                                tape_error *error) {
    buffer sql = {0};
    if (count < 2) {
        return TAPE_OK;
    }
    put_rows(&sql, m->table, files, count, "", "");
    m->total = count_rows(files, count);
    tape_status status = write(m, ARCHIVE_ROWS, files[0]->info.day, &sql, m->total, error);
    buffer_deinit(&sql);
    for (size_t i = 0; i < count; i++) {
        archive_edit_remove(m->e, files[i]);
    }
    return status == TAPE_OK ? archive_edit_commit(m->e, error) : status;
}

/* The files of a table and kind: [*first, *end) of the version's. */
static void find_kind(const archive_version *v, uint16_t table, archive_kind kind, size_t *first,
                      size_t *end) {
    *first = v->first[table];
    while (*first < v->first[table + 1] && v->files[*first]->info.kind < kind) {
        (*first)++;
    }
    *end = *first;
    while (*end < v->first[table + 1] && v->files[*end]->info.kind == kind) {
        (*end)++;
    }
}

tape_status archive_merge_files(archive_edit *e, uint16_t table, archive_file *const *files,
                                size_t count, tape_error *error) {
    const archive_version *v = e->base;
    merge m = {.e = e, .table = record_table(table)};
    size_t first = 0;
    size_t end = 0;
    tape_status status = TAPE_OK;
    find_kind(v, table, ARCHIVE_SUPERSEDED, &first, &end);
    m.current = mem_alloc((count + 1) * sizeof(archive_file *));
    m.past = mem_alloc((count + 1) * sizeof(archive_file *));
    m.pairs = v->files + first;
    m.pairs_count = end - first;
    m.is_superseded = mem_printf("tape_superseded_by('%s', seq) IS NOT NULL", m.table->name);
    for (size_t i = 0; i < count; i++) {
        switch (files[i]->info.kind) {
        case ARCHIVE_CURRENT:
            m.current[m.current_count++] = files[i];
            break;
        case ARCHIVE_PAST:
            m.past[m.past_count++] = files[i];
            break;
        default:
            break;
        }
    }
    if (m.current_count + m.past_count > 0) {
        status = merge_entity(&m, error);
    } else if (count > 0 && files[0]->info.kind == ARCHIVE_ROWS) {
        status = merge_events(&m, files, count, error);
    } else if (count > 1) {
        m.pairs = mem_alloc(count * sizeof(archive_file *));
        m.pairs_count = count;
        memcpy(m.pairs, files, count * sizeof(archive_file *));
        m.total = count_rows(files, count);
        status = write_pairs(&m, error);
        if (status == TAPE_OK) {
            status = archive_edit_commit(e, error);
        }
        free(m.pairs);
    }
    free(m.current);
    free(m.past);
    free(m.is_superseded);
    return status;
}

/* --- what to merge --- */

typedef struct choice {
    uint16_t table;
    archive_file **files;
    size_t count;
} choice;

/* How many of `files` have at most `rows` rows; they go to `out` (may be NULL). */
static size_t smaller(archive_file *const *files, size_t count, uint64_t rows, archive_file **out) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (files[i]->info.rows <= rows) {
            if (out != NULL) {
                out[found] = files[i];
            }
            found++;
        }
    }
    return found;
}

/* Of the files of one table, kind and day: those of the lowest tier that has enough; 0: none. */
static uint64_t wanted_tier(const archive *a, archive_file *const *files, size_t count) {
    uint64_t tier = 0;
    uint64_t rows = a->options.file_rows_max / TIER_FACTOR;
    for (; count >= SMALL_FILES_MIN && rows > 0; rows /= TIER_FACTOR) {
        if (smaller(files, count, rows, NULL) < SMALL_FILES_MIN) {
            break;
        }
        tier = rows;
    }
    return tier;
}

static bool same_run(const archive_file_info *a, const archive_file_info *b) {
    return a->table == b->table && a->kind == b->kind && a->day == b->day;
}

/* The run of files that has the most small ones. */
static void choose_small(const archive *a, const archive_version *v, choice *out) {
    size_t end = 0;
    for (size_t first = 0; first < v->file_count; first = end) {
        for (end = first + 1; end < v->file_count; end++) {
            if (!same_run(&v->files[first]->info, &v->files[end]->info)) {
                break;
            }
        }
        uint64_t tier = wanted_tier(a, v->files + first, end - first);
        size_t count = tier == 0 ? 0 : smaller(v->files + first, end - first, tier, NULL);
        if (count > out->count) {
            free(out->files);
            out->files = mem_alloc(count * sizeof(archive_file *));
            out->count = smaller(v->files + first, end - first, tier, out->files);
            out->table = v->files[first]->info.table;
        }
    }
}

/* The day of a table that has the most superseded rows, when there are many in all. */
static tape_status choose_superseded(archive_edit *e, uint16_t table, choice *out,
                                     tape_error *error) {
    const archive_version *v = e->base;
    merge m = {.e = e, .table = record_table(table)};
    size_t first = 0;
    size_t end = 0;
    uint64_t most = 0;
    tape_status status = TAPE_OK;
    find_kind(v, table, ARCHIVE_SUPERSEDED, &first, &end);
    m.pairs_count = end - first;
    m.is_superseded = mem_printf("tape_superseded_by('%s', seq) IS NOT NULL", m.table->name);
    find_kind(v, table, ARCHIVE_CURRENT, &first, &end);
    for (size_t next = first; status == TAPE_OK && first < end; first = next) {
        while (next < end && v->files[next]->info.day == v->files[first]->info.day) {
            next++;
        }
        uint64_t moved = 0;
        m.current = v->files + first;
        m.current_count = next - first;
        status = count_moved(&m, &moved, error);
        if (status == TAPE_OK && moved > most) {
            most = moved;
            free(out->files);
            out->count = next - first;
            out->files = mem_alloc(out->count * sizeof(archive_file *));
            memcpy(out->files, v->files + first, out->count * sizeof(archive_file *));
            out->table = table;
        }
    }
    free(m.is_superseded);
    return status;
}

/* The table whose `current` files have the most superseded rows for their size; 0: none has many.
 */
static uint16_t table_with_pairs(const archive *a, const archive_version *v) {
    uint16_t best = 0;
    double best_share = 0;
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        size_t first = 0;
        size_t end = 0;
        find_kind(v, table, ARCHIVE_SUPERSEDED, &first, &end);
        uint64_t pairs = count_rows(v->files + first, end - first);
        find_kind(v, table, ARCHIVE_CURRENT, &first, &end);
        uint64_t rows = count_rows(v->files + first, end - first);
        double share = rows == 0 ? 0 : (double)pairs / (double)rows;
        if (pairs > 0 && pairs >= PAIRS_MIN(a->options.file_rows_max) &&
            pairs >= rows / PAIRS_SHARE && share > best_share) {
            best = table;
            best_share = share;
        }
    }
    return best;
}

static tape_status merge_chosen(archive_edit *e, const choice *c, bool *worked, tape_error *error) {
    int64_t started = clock_monotonic_ns();
    uint64_t before = e->base->number;
    tape_status status = archive_merge_files(e, c->table, c->files, c->count, error);
    *worked = e->a->current->number != before;
    if (status == TAPE_OK && *worked) {
        atomic_fetch_add(&e->a->merges, 1);
    }
    atomic_fetch_add(&e->a->merge_ns, clock_monotonic_ns() - started);
    return status;
}

tape_status archive_merge(archive *a, archive_beat beat, bool *worked, tape_error *error) {
    archive_edit e = {0};
    choice c = {0};
    tape_status status = TAPE_OK;
    *worked = false;
    pthread_mutex_lock(&a->write_lock);
    choose_small(a, a->current, &c);
    uint16_t table = c.count > 0 ? 0 : table_with_pairs(a, a->current);
    if (atomic_load(&a->columns) != NULL && (c.count > 0 || table != 0)) {
        status = archive_edit_begin(&e, a, true, beat, error);
        if (status == TAPE_OK && table != 0) {
            status = choose_superseded(&e, table, &c, error);
        }
        if (status == TAPE_OK && c.count > 0) {
            status = merge_chosen(&e, &c, worked, error);
        }
        archive_edit_end(&e);
    }
    pthread_mutex_unlock(&a->write_lock);
    free(c.files);
    if (status != TAPE_OK) {
        error_prefix(error, "putting files of the archive together");
    }
    return status;
}

/* The table's files of a day. */
static void choose_day(const archive_version *v, uint16_t table, int32_t day, choice *out) {
    *out = (choice){.table = table};
    out->files = mem_alloc((v->first[table + 1] - v->first[table] + 1) * sizeof(archive_file *));
    for (size_t i = v->first[table]; i < v->first[table + 1]; i++) {
        const archive_file_info *f = &v->files[i]->info;
        if (f->kind != ARCHIVE_SUPERSEDED && f->day == day) {
            out->files[out->count++] = v->files[i];
        }
    }
}

tape_status archive_merge_day(archive *a, int32_t day, archive_beat beat, tape_error *error) {
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&a->write_lock);
    ASSERT(atomic_load(&a->columns) != NULL);
    for (uint16_t table = 1; status == TAPE_OK && table <= TAPE_TABLE_COUNT; table++) {
        archive_edit e = {0};
        choice c;
        bool worked = false;
        choose_day(a->current, table, day, &c);
        if (c.count > 0) {
            status = archive_edit_begin(&e, a, true, beat, error);
            if (status == TAPE_OK) {
                status = merge_chosen(&e, &c, &worked, error);
            }
            archive_edit_end(&e);
        }
        free(c.files);
    }
    pthread_mutex_unlock(&a->write_lock);
    if (status != TAPE_OK) {
        char text[16];
        archive_day_text(day, text);
        error_prefix(error, "putting the files of %s together", text);
    }
    return status;
}
