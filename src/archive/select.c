/* select.c: which files a statement has to read, and the SQL that reads them.
 *
 * A row r of an entity table that b superseded (seq q) is found once at every S >= q, be it
 *   in a `current` file   when tape_newest says at S that nothing superseded it
 *   in a `past` file      when S < b, by the column superseded_by
 * and for every version asked for, by q <= S alone: it is in one of the two. */
#include "archive/archive_internal.h"

#include <inttypes.h>
#include <stdio.h>

const tape_field_info *archive_instrument_field(const tape_table_info *table) {
    return record_field_named(table, "instrument_id");
}

static const char *sql_type(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return "UBIGINT";
    case TAPE_FIELD_TIME:
        return "TIMESTAMP_NS";
    case TAPE_FIELD_F64:
        return "DOUBLE";
    case TAPE_FIELD_ENUM:
    case TAPE_FIELD_ID:
        break;
    }
    return "VARCHAR";
}

void archive_put_columns(buffer *sql, const tape_table_info *table, uint16_t schema_version) {
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        bool missing = field->since_version > schema_version;
        char count[16] = "";
        if (field->count > 1) {
            (void)snprintf(count, sizeof count, "[%" PRIu32 "]", field->count);
        }
        buffer_append_text(sql, i > 0 ? ", " : "");
        if (missing) {
            buffer_printf(sql, "NULL::%s%s AS %s", sql_type(field), count, field->name);
        } else if (field->count > 1) {
            /* Parquet has lists alone. */
            buffer_printf(sql, "%s::%s%s AS %s", field->name, sql_type(field), count, field->name);
        } else {
            buffer_append_text(sql, field->name);
        }
    }
}

void archive_put_files(buffer *sql, archive_file *const *files, size_t count) {
    buffer_append_text(sql, "read_parquet([");
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(sql, i > 0 ? ", " : "");
        buffer_append_text(sql, files[i]->literal);
    }
    buffer_append_text(sql, "], hive_partitioning = false)");
}

void archive_put_ts_range(buffer *sql, int64_t from, int64_t to) {
    const char *joint = " WHERE ";
    /* The ends are DuckDB's infinite times, which no literal gives: nothing lies beyond them. */
    if (from > INT64_MIN + 1) {
        buffer_printf(sql, "%sts >= make_timestamp_ns(%" PRId64 ")", joint, from);
        joint = " AND ";
    }
    if (to < INT64_MAX) {
        buffer_printf(sql, "%sts <= make_timestamp_ns(%" PRId64 ")", joint, to);
    }
}

/* --- pruning --- */

static int compare_instrument(const char *text, const char stored[ARCHIVE_INSTRUMENT_BYTES]) {
    size_t size = strlen(text);
    size_t stored_size = strnlen(stored, ARCHIVE_INSTRUMENT_BYTES);
    return slice_compare((slice){(const uint8_t *)text, size},
                         (slice){(const uint8_t *)stored, stored_size});
}

static bool has_instrument(const archive_file_info *f, const char *text) {
    if (f->instrument_count == ARCHIVE_INSTRUMENT_RANGE) {
        return compare_instrument(text, f->instruments[0]) >= 0 &&
               compare_instrument(text, f->instruments[1]) <= 0;
    }
    for (size_t i = 0; i < f->instrument_count; i++) {
        if (compare_instrument(text, f->instruments[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_wanted(const archive_file_info *f, const columns_hint *hint, bool instruments) {
    if (hint == NULL) {
        return true;
    }
    if (f->max_ts < hint->ts_min || f->min_ts > hint->ts_max) {
        return false;
    }
    if (!instruments || hint->instruments == NULL) {
        return true;
    }
    for (size_t i = 0; i < hint->instrument_count; i++) {
        if (has_instrument(f, hint->instruments[i])) {
            return true;
        }
    }
    return false;
}

/* Whether the file may have a row that is seen at `seq`. */
static bool is_visible(const archive_file_info *f, archive_rows rows, uint64_t seq) {
    switch (f->kind) {
    case ARCHIVE_ROWS:
    case ARCHIVE_CURRENT:
        return f->min_seq <= seq;
    case ARCHIVE_PAST:
        return f->min_seq <= seq && (rows == ARCHIVE_VERSIONS || seq < f->max_by);
    default:
        return false;
    }
}

/* --- SQL --- */

/* Files that one SELECT reads. */
typedef struct group {
    uint8_t kind;
    bool straddling; /* some of its rows have a seq above S */
    uint16_t schema_version;
} group;

static group group_of(const archive_file_info *f, uint64_t seq) {
    return (group){f->kind, f->max_seq > seq, f->schema_version};
}

static void put_select(buffer *sql, const tape_table_info *table, const group *g, archive_rows rows,
                       uint64_t seq, archive_file *const *files, size_t count) {
    buffer_append_text(sql, "SELECT ");
    archive_put_columns(sql, table, g->schema_version);
    buffer_append_text(sql, " FROM ");
    archive_put_files(sql, files, count);
    const char *joint = " WHERE ";
    if (g->straddling) {
        buffer_printf(sql, "%sseq <= %" PRIu64, joint, seq);
        joint = " AND ";
    }
    if (rows == ARCHIVE_NEWEST && g->kind == ARCHIVE_CURRENT) {
        buffer_printf(sql, "%stape_newest('%s', seq)", joint, table->name);
    } else if (rows == ARCHIVE_NEWEST && g->kind == ARCHIVE_PAST) {
        buffer_printf(sql, "%ssuperseded_by > %" PRIu64, joint, seq);
    }
}

/* Takes the first file's group out of `files` (count left in *count), in order. */
static size_t take_group(archive_file **files, size_t *count, uint64_t seq, archive_file **out) {
    group first = group_of(&files[0]->info, seq);
    size_t taken = 0;
    size_t left = 0;
    for (size_t i = 0; i < *count; i++) {
        group g = group_of(&files[i]->info, seq);
        if (g.kind == first.kind && g.straddling == first.straddling &&
            g.schema_version == first.schema_version) {
            out[taken++] = files[i];
        } else {
            files[left++] = files[i];
        }
    }
    *count = left;
    return taken;
}

bool archive_view_sql(const archive_view *view, const tape_table_info *table, archive_rows rows,
                      uint64_t seq, const columns_hint *hint, buffer *sql,
                      archive_pruning *pruning) {
    const archive_version *v = view->version;
    size_t first = v->first[table->id];
    size_t end = v->first[table->id + 1];
    bool instruments = archive_instrument_field(table) != NULL;
    archive_pruning local = {0};
    archive_file **files = mem_alloc((end - first + 1) * sizeof(archive_file *));
    archive_file **group_files = mem_alloc((end - first + 1) * sizeof(archive_file *));
    size_t count = 0;
    for (size_t i = first; i < end; i++) {
        const archive_file_info *f = &v->files[i]->info;
        if (!is_visible(f, rows, seq)) {
            continue;
        }
        bool wanted = is_wanted(f, hint, instruments);
        local.files++;
        local.rows += f->rows;
        local.files_pruned += !wanted;
        local.rows_pruned += wanted ? 0 : f->rows;
        if (wanted) {
            files[count++] = v->files[i];
        }
    }
    bool any = count > 0;
    for (bool more = false; count > 0; more = true) {
        group g = group_of(&files[0]->info, seq);
        size_t taken = take_group(files, &count, seq, group_files);
        buffer_append_text(sql, more ? " UNION ALL " : "");
        put_select(sql, table, &g, rows, seq, group_files, taken);
    }
    if (pruning != NULL) {
        pruning->files += local.files;
        pruning->files_pruned += local.files_pruned;
        pruning->rows += local.rows;
        pruning->rows_pruned += local.rows_pruned;
    }
    free(group_files);
    free(files);
    return any;
}
