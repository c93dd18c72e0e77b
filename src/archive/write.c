/* write.c: one Parquet file, written by DuckDB, taken over, read back. */
#include "archive/archive_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#define READ_PIECE_BYTES MIB(1)

/* --- results --- */

tape_status archive_run_integers(duck_session *s, const char *sql, int64_t *out, size_t count,
                                 tape_error *error) {
    duck_result *r = NULL;
    size_t rows = 0;
    memset(out, 0, count * sizeof *out);
    tape_status status = duck_session_start(s, sql, &r, error);
    if (status == TAPE_OK) {
        status = duck_result_next(r, &rows, error);
    }
    if (status == TAPE_OK && rows != 1) {
        status =
            error_set(error, TAPE_FAILED, "DuckDB answered with %zu rows instead of one", rows);
    }
    for (size_t i = 0; status == TAPE_OK && i < count; i++) {
        duck_value value;
        duck_result_value(r, i, 0, &value);
        out[i] = value.kind == DUCK_INTEGER ? (int64_t)value.integer : 0;
    }
    duck_result_close(&r);
    return status;
}

static void text_add(void *context, const char *text) {
    buffer *list = context;
    buffer_append(list, text, strlen(text) + 1);
}

/* --- bytes --- */

tape_status archive_hash_file(const archive *a, const char *path, uint64_t *size, uint64_t *xxh3,
                              bool (*go_on)(void *context, uint64_t bytes), void *context,
                              tape_error *error) {
    os_file *file = NULL;
    uint8_t *piece = mem_alloc(READ_PIECE_BYTES);
    XXH3_state_t *hash = XXH3_createState();
    size_t got = 0;
    ASSERT(hash != NULL);
    XXH3_64bits_reset(hash);
    *size = 0;
    tape_status status = os_file_open(a->disk, path, OS_READ, &file, error);
    do {
        if (status == TAPE_OK) {
            status = os_file_read(file, *size, piece, READ_PIECE_BYTES, &got, error);
        }
        if (status == TAPE_OK) {
            XXH3_64bits_update(hash, piece, got);
            *size += got;
        }
        if (status == TAPE_OK && go_on != NULL && !go_on(context, got)) {
            status = error_set(error, TAPE_CANCELLED, "reading %s was stopped", path);
        }
    } while (status == TAPE_OK && got == READ_PIECE_BYTES);
    *xxh3 = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    os_file_close(&file);
    free(piece);
    return status;
}

/* --- what a file holds --- */

static void set_instrument(archive_file_info *info, size_t at, const char *text) {
    size_t size = strnlen(text, ARCHIVE_INSTRUMENT_BYTES);
    memset(info->instruments[at], 0, ARCHIVE_INSTRUMENT_BYTES);
    memcpy(info->instruments[at], text, size);
}

static tape_status read_instruments(const archive_edit *e, const char *from,
                                    const tape_field_info *field, archive_file_info *info,
                                    tape_error *error) {
    buffer texts = {0};
    char *sql = mem_printf("SELECT DISTINCT \"%s\" AS i FROM %s WHERE i IS NOT NULL ORDER BY i",
                           field->name, from);
    ASSERT(field->size_bytes <= ARCHIVE_INSTRUMENT_BYTES);
    tape_status status = duck_session_each(e->session, sql, text_add, &texts, error);
    size_t count = 0;
    const char *last = NULL;
    for (size_t at = 0; status == TAPE_OK && at < texts.size; count++) {
        last = (const char *)texts.data + at;
        at += strlen(last) + 1;
        if (count < ARCHIVE_INSTRUMENTS_MAX) {
            set_instrument(info, count, last);
        }
    }
    info->instrument_count = (uint8_t)count;
    if (count > ARCHIVE_INSTRUMENTS_MAX) {
        info->instrument_count = ARCHIVE_INSTRUMENT_RANGE;
        set_instrument(info, 1, last);
        memset(info->instruments[2], 0, sizeof info->instruments - 2 * ARCHIVE_INSTRUMENT_BYTES);
    }
    buffer_deinit(&texts);
    free(sql);
    return status;
}

/* Reads the written file as any reader would, and takes down what is in it. */
static tape_status inspect(const archive_edit *e, const char *literal, archive_file_info *info,
                           tape_error *error) {
    const tape_table_info *table = record_table(info->table);
    const tape_field_info *instrument = archive_instrument_field(table);
    bool has_by = info->kind == ARCHIVE_PAST || info->kind == ARCHIVE_SUPERSEDED;
    bool has_fields = info->kind != ARCHIVE_SUPERSEDED;
    int64_t values[7];
    char *from = mem_printf("read_parquet(%s, hive_partitioning = false)", literal);
    char *sql = mem_printf("SELECT count(*), min(seq), max(seq)%s%s FROM (SELECT seq%s%s FROM %s)",
                           has_fields ? ", min(t), max(t)" : ", 0, 0",
                           has_by ? ", min(superseded_by), max(superseded_by)" : ", 0, 0",
                           has_fields ? ", " ARCHIVE_TS_NS " AS t" : "",
                           has_by ? ", superseded_by" : "", from);
    tape_status status = archive_run_integers(e->session, sql, values, COUNT_OF(values), error);
    info->rows = (uint64_t)values[0];
    info->min_seq = (uint64_t)values[1];
    info->max_seq = (uint64_t)values[2];
    info->min_ts = values[3];
    info->max_ts = values[4];
    info->min_by = (uint64_t)values[5];
    info->max_by = (uint64_t)values[6];
    if (status == TAPE_OK && has_fields && instrument != NULL) {
        status = read_instruments(e, from, instrument, info, error);
    }
    free(sql);
    free(from);
    return status;
}

/* --- writing --- */

/* Rows stand in groups of this many instruments, neighbours by name; in a group by time. A reader
 * of one instrument passes over nearly all row groups, as if each stood alone; but identifiers,
 * times and seqs of neighbours go on from each other, and pack better; and an aggregate by
 * instrument does not add to the same sum row after row, each addition waiting for the one before:
 * measured, 36 ms with instruments one by one, 19 in eights, 16 by time alone. */
#define INSTRUMENTS_TOGETHER 8u

static char *copy_statement(const archive *a, const archive_file_info *info, const char *select,
                            const char *literal) {
    const tape_table_info *table = record_table(info->table);
    bool pairs = info->kind == ARCHIVE_SUPERSEDED;
    bool has_by = pairs || info->kind == ARCHIVE_PAST;
    buffer sql = {0};
    const tape_field_info *instrument = pairs ? NULL : archive_instrument_field(table);
    if (instrument == NULL) {
        buffer_printf(&sql, "COPY (%s ORDER BY %s", select,
                      pairs ? "superseded_by, seq" : "ts, seq");
    } else {
        buffer_printf(&sql,
                      "COPY (SELECT r.* FROM (%s) r LEFT JOIN (SELECT i, (row_number() OVER "
                      "(ORDER BY i) - 1) // %u AS g FROM (SELECT DISTINCT \"%s\" AS i FROM (%s))) "
                      "ON \"%s\" IS NOT DISTINCT FROM i ORDER BY g, ts, seq",
                      select, INSTRUMENTS_TOGETHER, instrument->name, select, instrument->name);
    }
    buffer_printf(&sql,
                  ") TO %s (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION %s, ROW_GROUP_SIZE %u, "
                  "USE_TMP_FILE false, KV_METADATA {tape_table: '%s', tape_kind: '%s', "
                  "tape_schema_version: '%u'}, FIELD_IDS {",
                  literal, a->options.codec == ARCHIVE_SNAPPY ? "snappy" : "zstd",
                  ARCHIVE_ROW_GROUP_ROWS, table->name, archive_kind_name(info->kind),
                  (unsigned)info->schema_version);
    if (pairs) {
        buffer_printf(&sql, "seq: %d", ARCHIVE_SEQ_FIELD_ID);
    }
    for (uint32_t i = 0; !pairs && i < table->field_count; i++) {
        buffer_printf(&sql, "%s%s: %u", i > 0 ? ", " : "", table->fields[i].name, i + 1);
    }
    if (has_by) {
        buffer_printf(&sql, ", superseded_by: %d", ARCHIVE_BY_FIELD_ID);
    }
    buffer_append_text(&sql, "})");
    buffer_end(&sql);
    return (char *)sql.data;
}

/* Gives the written file its place, its name and its entry. */
static tape_status take_over(archive_edit *e, const char *tmp, const archive_file_info *info,
                             tape_error *error) {
    archive *a = e->a;
    archive_file *f = archive_file_make(a, info);
    char *table = archive_table_dir(a, info);
    char *day = archive_day_dir(a, info);
    char *above = mem_strdup(table);
    *strrchr(above, '/') = '\0';
    tape_status status = archive_make_dir(a, above, error);
    if (status == TAPE_OK) {
        status = archive_make_dir(a, table, error);
    }
    if (status == TAPE_OK) {
        status = archive_make_dir(a, day, error);
    }
    if (status == TAPE_OK) {
        status = os_file_adopt(a->disk, tmp, f->path, error);
    }
    if (status == TAPE_OK) {
        if (e->added_count == e->added_capacity) {
            e->added_capacity = e->added_capacity == 0 ? 16 : 2 * e->added_capacity;
            e->added = mem_realloc(e->added, e->added_capacity * sizeof(archive_file *));
        }
        e->added[e->added_count++] = f;
        status = archive_hash_file(a, f->path, &f->info.size_bytes, &f->info.content_xxh3, NULL,
                                   NULL, error);
    } else {
        archive_file_free(f);
        a->settled = false; /* the file may be in either place, or in both */
    }
    free(above);
    free(table);
    free(day);
    return status;
}

/* One file; *rows tells how many there were, and none is made of none. */
static tape_status write_file(archive_edit *e, const archive_file_info *given, const char *select,
                              uint64_t *rows, tape_error *error) {
    archive *a = e->a;
    archive_file_info info = *given;
    info.number = a->next_number++;
    char *tmp = archive_tmp_path(a, info.number);
    char *literal = duck_quote(tmp);
    char *copy = copy_statement(a, &info, select, literal);
    bool taken = false;
    *rows = 0;
    tape_status status = archive_watch_check(e, error);
    if (status == TAPE_OK) {
        status = duck_session_run(e->session, copy, error);
    }
    if (status == TAPE_OK) {
        status = inspect(e, literal, &info, error);
    }
    if (status == TAPE_OK && info.rows > 0) {
        *rows = info.rows;
        status = take_over(e, tmp, &info, error);
        taken = true;
    }
    if (!taken && os_remove(os_disk_linux(), tmp, NULL) == TAPE_IO) {
        a->settled = false;
    }
    if (status != TAPE_OK && archive_watch_check(e, NULL) != TAPE_OK) {
        status = archive_watch_check(e, error);
    }
    free(copy);
    free(literal);
    free(tmp);
    return status;
}

/* Seqs that cut the rows of `select` into `parts` of about one size, as texts. */
static tape_status find_cuts(const archive_edit *e, const char *select, uint64_t parts,
                             buffer *cuts, tape_error *error) {
    buffer sql = {0};
    buffer_append_text(&sql, "SELECT DISTINCT c::UBIGINT AS c FROM (SELECT unnest("
                             "approx_quantile(seq, [");
    for (uint64_t i = 1; i < parts; i++) {
        buffer_printf(&sql, "%s%" PRIu64 "::FLOAT / %" PRIu64, i > 1 ? ", " : "", i, parts);
    }
    buffer_printf(&sql, "])) AS c FROM (%s)) ORDER BY c", select);
    buffer_end(&sql);
    tape_status status =
        duck_session_each(e->session, (const char *)sql.data, text_add, cuts, error);
    buffer_deinit(&sql);
    return status;
}

tape_status archive_write_rows(archive_edit *e, const archive_file_info *info, const char *select,
                               uint64_t expected, uint64_t max, tape_error *error) {
    uint64_t parts = expected / max + (expected % max != 0);
    buffer cuts = {0};
    uint64_t written = 0;
    tape_status status = parts > 1 ? find_cuts(e, select, parts, &cuts, error) : TAPE_OK;
    const char *from = "0";
    size_t at = 0;
    for (bool last = false; status == TAPE_OK && !last;) {
        last = at >= cuts.size;
        const char *to = last ? "18446744073709551615" : (const char *)cuts.data + at;
        uint64_t rows = 0;
        char *part = mem_printf(
            parts > 1 ? "SELECT * FROM (%s) WHERE seq > %s AND seq <= %s" : "%s", select, from, to);
        status = write_file(e, info, part, &rows, error);
        written += rows;
        free(part);
        from = to;
        at += last ? 0 : strlen(to) + 1;
    }
    if (status == TAPE_OK && written != expected) {
        status = error_set(error, TAPE_FAILED,
                           "%" PRIu64 " rows of %s were to be archived, but DuckDB wrote %" PRIu64
                           "; nothing was changed",
                           expected, record_table(info->table)->name, written);
    }
    buffer_deinit(&cuts);
    return status;
}
